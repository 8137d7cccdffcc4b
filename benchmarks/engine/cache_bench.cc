// What a cache strategy costs and how well it chooses.
//
// upkeep  nanoseconds an id: a touch of the row's rank, and the choice of the victims that make room, as many as a training of
//         the tier benchmark needs (--misses of 1000 ids).
// hits    the share of the ids of a batch whose rows are in DRAM, in training through the facade, against exact simulations of
//         the same stream: a list in the order of the last touch, and a list in the order of counts, oldest first among equals.
//         DRAM is within its capacity after every step.  The tier below is memory: nothing here waits for a device.
//
// Axes (default):  --what upkeep,hits   --capacity 800000   --misses 130   --repeats 9
//                  --rows 1000000   --batch 8192   --percents 1,5,10,20   --dists zipf0.9,zipf1.05,zipf1.2
//                  --strategies lru,lfu   --warmup 150   --steps 100
#include <algorithm>
#include <list>
#include <set>
#include <unordered_map>

#include "benchmarks/engine/harness.h"
#include "benchmarks/engine/ids.h"
#include "ev_tf/base/executor.h"
#include "ev_tf/optim/sgd.h"
#include "ev_tf/store/residents.h"
#include "ev_tf/tier/tier_factory.h"
#include "ev_tf/variable/embedding_variable.h"

namespace ev::bench {
namespace {

CacheStrategy StrategyOf(const std::string& name) {
  if (name == "lru") return CacheStrategy::kLru;
  if (name == "lfu") return CacheStrategy::kLfu;
  Fail("--strategies: expected lru or lfu, received " + name);
}

// --- upkeep ----------------------------------------------------------------------------------------------------------

void Upkeep(const std::string& strategy, uint32_t capacity, double misses_per_id, int repeats) {
  constexpr size_t kBatches = 16;
  constexpr size_t kVictimShare = 32;  // as the store asks for them
  const Residents tier(capacity, StrategyOf(strategy));
  const auto batches = RowBatches("zipf1.05", capacity, kBatch, kBatches, 1);
  uint32_t tick = 1;
  for (uint32_t i = 0; i < capacity; ++i) tier.SetRank(i, TouchedRank(tier.strategy(), kNoRow, tick + i % 64));
  tick += 64;
  std::vector<double> touch;
  std::vector<double> choice;
  std::vector<double> both;
  std::vector<Victim> victims;
  const Contention contention;
  for (int repeat = -1; repeat < repeats; ++repeat) {
    const double start = WallSeconds();
    for (const auto& batch : batches) {
      ++tick;
      for (const uint32_t position : batch) tier.Touch(position, tick);
    }
    const double middle = WallSeconds();
    SelectVictims(tier.strategy(), tick, tier.ranks(), capacity, capacity / kVictimShare, &victims);
    const double end = WallSeconds();
    if (victims.empty()) Fail("no victims");
    for (const Victim& victim : victims) tier.SetRank(victim.position, TouchedRank(tier.strategy(), kNoRow, tick));
    if (repeat < 0) continue;
    touch.push_back((middle - start) * 1e9 / static_cast<double>(kBatch * kBatches));
    choice.push_back((end - middle) * 1e9 / static_cast<double>(victims.size()));
    both.push_back(touch.back() + misses_per_id * choice.back());
  }
  JsonLine()
      .Add("bench", "cache_upkeep")
      .Add("strategy", strategy)
      .Add("capacity", static_cast<int64_t>(capacity))
      .Add("misses_per_id", misses_per_id)
      .Add("touch_ns", touch)
      .Add("victim_ns", choice)
      .Add("upkeep_ns", both)
      .Add("other_cpu", contention.Read());
}

// --- hits --------------------------------------------------------------------------------------------------------------

class Simulation {
 public:
  virtual ~Simulation() = default;
  // True: it was there.  It is there afterwards.
  virtual bool Touch(uint32_t row) = 0;
};

class ExactLru final : public Simulation {
 public:
  ExactLru(size_t rows, size_t capacity) : at_(rows, order_.end()), capacity_(capacity) {}
  bool Touch(uint32_t row) override {
    const bool there = at_[row] != order_.end();
    if (there) {
      order_.splice(order_.begin(), order_, at_[row]);
      return true;
    }
    order_.push_front(row);
    at_[row] = order_.begin();
    if (order_.size() > capacity_) {
      at_[order_.back()] = order_.end();
      order_.pop_back();
    }
    return false;
  }

 private:
  std::list<uint32_t> order_;  // newest first
  std::vector<std::list<uint32_t>::iterator> at_;
  const size_t capacity_;
};

class ExactLfu final : public Simulation {
 public:
  ExactLfu(size_t rows, size_t capacity) : entry_(rows), capacity_(capacity) {}
  bool Touch(uint32_t row) override {
    Entry& entry = entry_[row];
    const bool there = entry.count > 0;
    if (there) order_.erase({entry.count, entry.stamp, row});
    if (!there && order_.size() == capacity_) {
      entry_[std::get<2>(*order_.begin())].count = 0;
      order_.erase(order_.begin());
    }
    ++entry.count;
    entry.stamp = ++now_;
    order_.insert({entry.count, entry.stamp, row});
    return there;
  }

 private:
  struct Entry {
    uint32_t count = 0;  // 0: not there
    uint64_t stamp = 0;
  };
  std::vector<Entry> entry_;
  std::set<std::tuple<uint32_t, uint64_t, uint32_t>> order_;  // what goes first, first
  const size_t capacity_;
  uint64_t now_ = 0;
};

struct HitAxes {
  uint64_t rows;
  size_t batch;
  size_t warmup;
  size_t steps;
};

// The share of ids that hit in the last axes.steps batches of training.
double EngineHits(const HitAxes& axes, CacheStrategy strategy, size_t capacity, const std::vector<uint32_t>& fill,
                  const std::vector<std::vector<uint32_t>>& batches) {
  constexpr int64_t kDim = 4;
  VariableOptions options;
  options.name = "hits";
  options.dim = kDim;
  options.storage.dram_bytes = static_cast<int64_t>(capacity * kDim * sizeof(float));
  options.storage.cache_strategy = strategy;
  options.storage.open_lower = [](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
    TierOptions tier;
    tier.kind = TierKind::kDram;
    tier.row_bytes = record_bytes;
    std::unique_ptr<Tier> opened;
    EV_RETURN_IF_ERROR(OpenTier(tier, &opened));
    *out = std::move(opened);
    return OkStatus();
  };
  std::unique_ptr<EmbeddingVariable> variable;
  Check(EmbeddingVariable::Create(options, std::vector<float>(kDim, 0.5f), &variable));
  const std::vector<float> grads(axes.batch * kDim, 1e-3f);
  std::vector<float> out(axes.batch * kDim);
  SerialExecutor serial;
  const auto apply = [&](const std::vector<Key>& keys) {
    Check(variable->Apply(Sgd(0.01f), {}, keys, Span<const float>(grads.data(), keys.size() * kDim), -1, serial));
    Check(variable->FlushEvictions());
  };
  std::vector<uint32_t> part;
  for (size_t first = 0; first < fill.size(); first += axes.batch) {
    const auto begin = fill.begin() + static_cast<std::ptrdiff_t>(first);
    part.assign(begin, begin + static_cast<std::ptrdiff_t>(std::min(axes.batch, fill.size() - first)));
    apply(KeysOf(part));
  }
  int64_t before = 0;
  for (size_t b = 0; b < batches.size(); ++b) {
    if (b == axes.warmup) before = variable->metrics().cold_reads;
    const std::vector<Key> keys = KeysOf(batches[b]);
    Check(variable->Lookup(keys, out, serial));
    apply(keys);
  }
  const VariableMetrics end = variable->metrics();
  if (end.hot_rows > static_cast<int64_t>(capacity)) Fail("DRAM is above its capacity");
  return 1 - static_cast<double>(end.cold_reads - before) / static_cast<double>(axes.steps * axes.batch);
}

double SimulatedHits(const HitAxes& axes, Simulation* cache, const std::vector<uint32_t>& fill,
                     const std::vector<std::vector<uint32_t>>& batches) {
  for (const uint32_t row : fill) cache->Touch(row);
  size_t hits = 0;
  for (size_t b = 0; b < batches.size(); ++b) {
    for (const uint32_t row : batches[b]) hits += cache->Touch(row) && b >= axes.warmup ? 1 : 0;
  }
  return static_cast<double>(hits) / static_cast<double>(axes.steps * axes.batch);
}

void Hits(const HitAxes& axes, const std::string& dist, int64_t percent, const std::vector<std::string>& strategies) {
  const auto batches = RowBatches(dist, axes.rows, axes.batch, axes.warmup + axes.steps, 3);
  std::vector<uint32_t> fill = RowsByRank(dist, axes.rows);
  std::reverse(fill.begin(), fill.end());
  const size_t capacity = axes.rows / 100 * static_cast<size_t>(percent);
  for (const std::string& strategy : strategies) {
    std::unique_ptr<Simulation> exact;
    if (StrategyOf(strategy) == CacheStrategy::kLru) {
      exact = std::make_unique<ExactLru>(axes.rows, capacity);
    } else {
      exact = std::make_unique<ExactLfu>(axes.rows, capacity);
    }
    const double simulated = SimulatedHits(axes, exact.get(), fill, batches);
    const double ours = EngineHits(axes, StrategyOf(strategy), capacity, fill, batches);
    JsonLine()
        .Add("bench", "cache_hits")
        .Add("strategy", strategy)
        .Add("dist", dist)
        .Add("percent", percent)
        .Add("rows", static_cast<int64_t>(axes.rows))
        .Add("ours", ours)
        .Add("exact", simulated);
  }
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  using namespace ev::bench;  // NOLINT: a program
  Arguments arguments(argc, argv);
  const auto what = arguments.Texts("what", {"upkeep", "hits"});
  const auto strategies = arguments.Texts("strategies", {"lru", "lfu"});
  const auto capacity = static_cast<uint32_t>(arguments.Int("capacity", 800000));
  const double misses = static_cast<double>(arguments.Int("misses", 130)) / 1000;
  const auto repeats = static_cast<int>(arguments.Int("repeats", 9));
  const auto percents = arguments.Ints("percents", {1, 5, 10, 20});
  const auto dists = arguments.Texts("dists", {"zipf0.9", "zipf1.05", "zipf1.2"});
  HitAxes axes;
  axes.rows = static_cast<uint64_t>(arguments.Int("rows", 1000000));
  axes.batch = static_cast<size_t>(arguments.Int("batch", 8192));
  axes.warmup = static_cast<size_t>(arguments.Int("warmup", 150));
  axes.steps = static_cast<size_t>(arguments.Int("steps", 100));
  arguments.Done();
  for (const std::string& part : what) {
    if (part == "upkeep") {
      for (const std::string& strategy : strategies) Upkeep(strategy, capacity, misses, repeats);
    } else if (part == "hits") {
      for (const std::string& dist : dists) {
        for (const int64_t percent : percents) Hits(axes, dist, percent, strategies);
      }
    } else {
      Fail("--what: expected upkeep or hits, received " + part);
    }
  }
  return 0;
}
