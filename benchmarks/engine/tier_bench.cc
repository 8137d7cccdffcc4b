// Training of tables that DRAM holds a part of: steps of lookup and Adagrad through the facade, one table for each way to keep
// the rest, in turn, A-B-A-B, on the same ids.  Each table has a process of its own: LevelDB maps a thousand files of a process.
//
//   dram              all rows in DRAM
//   ssd_buffered      DRAM_SSDHASH as a variable makes it: through the page cache
//   ssd_direct        the same with TF_SSDHASH_IO_SCHEME=directio: past the page cache, by io_uring
//   leveldb           DRAM_LEVELDB as a variable makes it
//   leveldb_defaults  the same with LevelDB's own settings
//   leveldb_plain     LevelDB's own settings, and one Get() or Put() a row (plain_leveldb.h)
//   map_and_drop      the log of ssd_buffered, each row read through a mapping that is dropped after it
//   one_direct_read   the log of ssd_direct, each row read by a read of its own that is waited for
//
// With a table of ssd_direct, the device is read beside it, in turn as well: as many reads of the same files at random, of the
// same length, at the same depth, with nothing done to them.
//
// Axes (default):  --tiers dram,ssd_buffered,...   --rows 8000000   --dim 32    --batch 65536   --dists zipf1.05
//                  --percent 10 (of the rows in DRAM)               --strategy lfu              --threads 2
//                  --warmup 40 --steps 60 (of a round)              --rounds 3                  --compaction sync
//                  --warmup_seconds 16 --round_seconds 8 (at most)  --path . (files go into a new directory there, which is
//                  --turnovers 0                                    deleted)
// With --turnovers the tiers of a variable are warmed up, for as long as it takes, until so many times their rows were put to
// them since the fill.  After two of them no file of the fill is left in a log, so that compaction copies as much as it will go on
// to, and LevelDB's positions have gone round.
// Sweeps --dists; a line of JSON for each distribution, round and table.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <mutex>
#include <numeric>
#include <thread>

#include "benchmarks/engine/baseline_tiers.h"
#include "benchmarks/engine/harness.h"
#include "benchmarks/engine/ids.h"
#include "benchmarks/engine/turns.h"
#include "ev_tf/base/executor.h"
#include "ev_tf/optim/adagrad.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#include "ev_tf/variable/embedding_variable.h"
#if EV_HAVE_LEVELDB
#include "benchmarks/engine/plain_leveldb.h"
#include "ev_tf/tier/leveldb/leveldb_tier.h"
#endif

namespace ev::bench {
namespace {

struct Axes {
  std::string tiers;  // --tiers
  uint64_t rows;
  int64_t dim;
  size_t batch;
  int64_t percent;
  CacheStrategy strategy;
  int threads;
  size_t warmup;
  size_t steps;
  double warmup_seconds;
  double turnovers;
  double round_seconds;
  bool async_compaction;
  std::string directory;

  size_t row_bytes() const { return static_cast<size_t>(dim) * 2 * sizeof(float); }  // value and accumulator
};

// A tier as it is, with a clock: the seconds in which at least one Get was under way, the rows, and those of Put.
class TimedTier final : public Tier {
 public:
  TimedTier(std::shared_ptr<Tier> tier, SsdLogTier* log) : tier_(std::move(tier)), log_(log) {}

  const char* name() const override { return tier_->name(); }
  size_t row_bytes() const override { return tier_->row_bytes(); }
  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override {
    gets_.Enter(keys.size());
    const Status status = tier_->Get(keys, positions, rows);
    gets_.Leave();
    return status;
  }
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override {
    puts_.Enter(keys.size());
    const Status status = tier_->Put(keys, rows, positions);
    puts_.Leave();
    return status;
  }
  void Remove(Span<const Key> keys, Span<const Position> positions) override { tier_->Remove(keys, positions); }
  Status Flush() override { return tier_->Flush(); }
  size_t size() const override { return tier_->size(); }
  size_t bytes() const override { return tier_->bytes(); }
  TierMetrics tier_metrics() const override { return tier_->tier_metrics(); }

  struct Spent {
    int64_t rows = 0;
    double seconds = 0;
  };
  Spent gets() { return gets_.Read(); }
  Spent puts() { return puts_.Read(); }
  SsdLogTier* log() const { return log_; }  // null: the tier is none

 private:
  class Clock {
   public:
    void Enter(size_t rows) {
      std::lock_guard<std::mutex> lock(mu_);
      if (under_way_++ == 0) since_ = WallSeconds();
      spent_.rows += static_cast<int64_t>(rows);
    }
    void Leave() {
      std::lock_guard<std::mutex> lock(mu_);
      if (--under_way_ == 0) spent_.seconds += WallSeconds() - since_;
    }
    Spent Read() {
      std::lock_guard<std::mutex> lock(mu_);
      return spent_;
    }

   private:
    std::mutex mu_;
    int under_way_ = 0;
    double since_ = 0;
    Spent spent_;
  };

  const std::shared_ptr<Tier> tier_;
  SsdLogTier* const log_;
  Clock gets_;
  Clock puts_;
};

Status OpenLower(const std::string& kind, const Axes& axes, size_t record_bytes, Relocator* relocator,
                 std::shared_ptr<TimedTier>* out) {
  const std::string path = axes.directory + "/" + kind + std::to_string(record_bytes);
#if EV_HAVE_LEVELDB
  if (kind == "leveldb_plain") {
    *out = std::make_shared<TimedTier>(OpenPlainLevelDb(path, record_bytes), nullptr);
    return OkStatus();
  }
  if (kind == "leveldb" || kind == "leveldb_defaults") {
    LevelDbOptions options;
    options.path = path;
    options.row_bytes = record_bytes;
    if (kind == "leveldb_defaults") options.tuning = LevelDbTuning::LevelDbDefaults();
    std::unique_ptr<LevelDbTier> tier;
    EV_RETURN_IF_ERROR(LevelDbTier::Open(options, &tier));
    *out = std::make_shared<TimedTier>(std::move(tier), nullptr);
    return OkStatus();
  }
#endif
  SsdLogOptions log;
  log.path = path;
  log.row_bytes = record_bytes;
  log.durable = false;
  log.delete_on_close = true;
  log.async_compaction = axes.async_compaction;
  log.relocator = relocator;
  const bool direct = kind == "ssd_direct" || kind == "one_direct_read";
  log.io_mode = direct ? SsdIoMode::kDirect : SsdIoMode::kBuffered;
  if (kind == "map_and_drop" || kind == "one_direct_read") {
    std::shared_ptr<Tier> tier;
    EV_RETURN_IF_ERROR(OpenOneByOneTier(direct ? OneByOne::kDirectPread : OneByOne::kMapAndDrop, log, &tier));
    *out = std::make_shared<TimedTier>(std::move(tier), nullptr);
    return OkStatus();
  }
  if (kind != "ssd_direct" && kind != "ssd_buffered") return Unavailable("--tiers: this build has no " + kind);
  std::unique_ptr<SsdLogTier> tier;
  EV_RETURN_IF_ERROR(SsdLogTier::Open(log, &tier));
  SsdLogTier* const opened = tier.get();
  *out = std::make_shared<TimedTier>(std::move(tier), opened);
  return OkStatus();
}

// Waits until this process has nothing to do: compactions of one table are no work for the next one's time.
void WaitForQuiet() {
  for (int i = 0; i < 100; ++i) {
    const double before = CpuSeconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (CpuSeconds() - before < 0.01) return;
  }
}

// As weights are: no two alike, nothing to compress.
std::vector<float> Weights(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> weights(n);
  for (float& weight : weights) weight = static_cast<float>(random.Unit() - 0.5) * 0.1f;
  return weights;
}

// Whether it is warmed up until it has settled, as a variable's own tiers are; others would take minutes for it.
bool Settles(const std::string& kind) { return kind == "ssd_buffered" || kind == "ssd_direct" || kind == "leveldb"; }

class Table {
 public:
  Table(std::string kind, const Axes& axes)
      : kind_(std::move(kind)),
        axes_(axes),
        slots_{{"accumulator", axes.dim, 0.1f}},
        grads_(Weights(axes.batch * static_cast<size_t>(axes.dim), 5)),
        out_(axes.batch * static_cast<size_t>(axes.dim)),
        executor_(NewThreadPoolExecutor(axes.threads)) {
    VariableOptions options;
    options.name = kind_;
    options.dim = axes.dim;
    if (kind_ != "dram") {
      options.storage.dram_bytes = static_cast<int64_t>(axes.rows * axes.row_bytes() / 100) * axes.percent;
      options.storage.cache_strategy = axes.strategy;
      options.storage.open_lower = [this](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out) {
        EV_RETURN_IF_ERROR(OpenLower(kind_, axes_, record_bytes, relocator, &lower_));
        *out = lower_;
        return OkStatus();
      };
    }
    const std::vector<float> defaults = Weights(size_t{4096} * static_cast<size_t>(axes.dim), 6);
    Check(EmbeddingVariable::Create(options, defaults, &variable_));
    Apply(KeysOf({0}));  // the slot, before there are rows
  }

  const std::string& kind() const { return kind_; }
  TimedTier* lower() const { return lower_.get(); }

  // `order`: the rows, hot ones last.
  double Fill(const std::vector<uint32_t>& order) {
    const double start = WallSeconds();
    std::vector<uint32_t> rows;
    for (size_t first = 0; first < order.size(); first += axes_.batch) {
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
      rows.assign(begin, begin + static_cast<std::ptrdiff_t>(std::min(axes_.batch, order.size() - first)));
      Apply(KeysOf(rows));
    }
    if (variable_->size() != static_cast<int64_t>(axes_.rows)) Fail(kind_ + ": the fill lost rows");
    if (lower_ != nullptr) filled_with_ = lower_->puts().rows;
    return WallSeconds() - start;
  }

  void Step(const std::vector<Key>& keys) {
    Check(variable_->Lookup(keys, out_, *executor_));
    Apply(keys);
  }

  void WarmUp(const std::vector<std::vector<Key>>& batches) {
    const double start = WallSeconds();
    for (size_t i = 0; !batches.empty(); ++i) {
      const bool due = i < batches.size() && WallSeconds() - start <= axes_.warmup_seconds;
      if (!due && (!Settles(kind_) || Turnovers() >= axes_.turnovers)) break;
      Step(batches[i % batches.size()]);
    }
  }

  // One line of JSON for a round of steps over `batches`.
  void Round(const std::vector<std::vector<Key>>& batches, const std::string& dist, int round, JsonLine* line);

 private:
  // Rows put to the lower tier since the fill / rows in it.
  double Turnovers() const {
    const auto rows = static_cast<double>(std::max<size_t>(lower_->size(), 1));
    return static_cast<double>(lower_->puts().rows - filled_with_) / rows;
  }

  void Apply(const std::vector<Key>& keys) {
    const Span<const float> grads(grads_.data(), keys.size() * static_cast<size_t>(axes_.dim));
    Check(variable_->Apply(Adagrad(0.01f, 0.0f), slots_, keys, grads, -1, *executor_));
  }

  const std::string kind_;
  const Axes axes_;
  const std::vector<SlotSpec> slots_;
  const std::vector<float> grads_;
  std::vector<float> out_;
  std::unique_ptr<Executor> executor_;
  std::shared_ptr<TimedTier> lower_;
  int64_t filled_with_ = 0;                      // rows put to the lower tier by then
  std::unique_ptr<EmbeddingVariable> variable_;  // before its tier
};

double Over(int64_t a, int64_t b) { return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b); }

void AddLog(const SsdLogMetrics& before, const SsdLogMetrics& after, JsonLine* line) {
  const auto more = [&](uint64_t SsdLogMetrics::*field) { return static_cast<int64_t>(after.*field - before.*field); };
  line->Add("io", after.io)
      .Add("reads_per_row", Over(more(&SsdLogMetrics::reads), more(&SsdLogMetrics::rows_got)))
      .Add("bytes_per_read", Over(more(&SsdLogMetrics::read_bytes), more(&SsdLogMetrics::reads)))
      .Add("copied_rows", more(&SsdLogMetrics::rows_copied))
      .Add("rows_put", more(&SsdLogMetrics::rows_put))
      .Add("live_share", after.live_share);
}

void Table::Round(const std::vector<std::vector<Key>>& batches, const std::string& dist, int round, JsonLine* line) {
  const Contention contention;
  const VariableMetrics before = variable_->metrics();
  const TimedTier::Spent gets = lower_ == nullptr ? TimedTier::Spent() : lower_->gets();
  const TimedTier::Spent puts = lower_ == nullptr ? TimedTier::Spent() : lower_->puts();
  SsdLogTier* const log = lower_ == nullptr ? nullptr : lower_->log();
  const SsdLogMetrics log_before = log == nullptr ? SsdLogMetrics() : log->metrics();
  const int64_t written_before = lower_ == nullptr ? 0 : lower_->tier_metrics().written_bytes;
  const int64_t read_before = lower_ == nullptr ? 0 : DeviceReadBytes();
  std::vector<double> seconds;
  const double start = WallSeconds();
  const double cpu = CpuSeconds();
  double last = start;
  for (const auto& keys : batches) {
    Step(keys);
    const double now = WallSeconds();
    seconds.push_back(now - last);
    last = now;
    if (now - start > axes_.round_seconds && seconds.size() >= 5) break;
  }
  // What the steps have left behind belongs to them.
  Check(variable_->FlushEvictions());
  const double wall = WallSeconds() - start;
  const VariableMetrics after = variable_->metrics();
  const auto steps = static_cast<int64_t>(seconds.size());
  const int64_t misses = after.cold_reads - before.cold_reads;
  const int64_t dirty = after.demotions - before.demotions - (after.clean_demotions - before.clean_demotions);
  line->Add("bench", "tier_train")
      .Add("tier", kind_)
      .Add("dist", dist)
      .Add("round", static_cast<int64_t>(round))
      .Add("rows", static_cast<int64_t>(axes_.rows))
      .Add("dim", axes_.dim)
      .Add("batch", static_cast<int64_t>(axes_.batch))
      .Add("percent", axes_.percent)
      .Add("in_turn", axes_.tiers)
      .Add("strategy", axes_.strategy == CacheStrategy::kLru ? "lru" : "lfu")
      .Add("compaction", axes_.async_compaction ? "async" : "sync")
      .Add("steps", steps)
      .Add("ids_per_s", static_cast<double>(axes_.batch) * static_cast<double>(steps) / wall)
      .Add("cpu_per_wall", (CpuSeconds() - cpu) / wall)
      .Add("step_p50_s", Quantile(seconds, 0.5))
      .Add("step_p99_s", Quantile(seconds, 0.99))
      .Add("step_max_s", Quantile(seconds, 1.0))
      .Add("misses_per_step", Over(misses, steps))
      .Add("late_reads", after.late_reads - before.late_reads)
      .Add("dirty_per_step", Over(dirty, steps))
      .Add("hot_rows", after.hot_rows)
      .Add("row_bytes", after.row_bytes);
  if (lower_ != nullptr) {
    const TimedTier::Spent got = lower_->gets();
    const TimedTier::Spent put = lower_->puts();
    line->Add("missed_per_s", static_cast<double>(misses) / wall)
        .Add("read_rows_per_s", static_cast<double>(got.rows - gets.rows) / std::max(1e-9, got.seconds - gets.seconds))
        .Add("read_s_per_step", (got.seconds - gets.seconds) / static_cast<double>(steps))
        .Add("put_s_per_step", (put.seconds - puts.seconds) / static_cast<double>(steps))
        .Add("device_read_bytes_per_step", Over(DeviceReadBytes() - read_before, steps))
        .Add("lower_bytes", after.lower_bytes)
        .Add("turnovers", Turnovers());
    // Of tiers that count it.
    const int64_t written = lower_->tier_metrics().written_bytes;
    if (written > 0) line->Add("written_per_dirty_byte", Over(written - written_before, dirty * after.row_bytes));
  }
  if (log != nullptr) AddLog(log_before, log->metrics(), line);
  line->Add("other_cpu", contention.Read());
}

// Reads a second of the device: of the log files in `directory` at random, `length` bytes each, in batches of 8192.
double RawReads(const std::string& directory, uint32_t length, uint64_t seed) {
  constexpr size_t kReads = 8192;
  constexpr int kBatches = 8;
  Env& env = Env::Default();
  std::vector<std::unique_ptr<File>> files;
  std::vector<uint64_t> blocks;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.path().extension() != ".ssd" || entry.file_size() < (uint64_t{32} << 20)) continue;
    OpenOptions how;
    how.write = false;
    how.direct = true;
    std::unique_ptr<File> file;
    Check(env.Open(entry.path().string(), how, &file));
    blocks.push_back((entry.file_size() - 4096) / 512);
    files.push_back(std::move(file));
  }
  if (files.empty()) Fail("no log file of " + directory + " is long enough to read the device by");
  Random random(seed);
  std::vector<ReadRequest> requests(kReads);
  ReadStats stats;
  double seconds = 0;
  for (int b = 0; b < kBatches; ++b) {
    for (ReadRequest& request : requests) {
      const size_t f = random.Below(files.size());
      request = {files[f].get(), random.Below(blocks[f]) * 512, length};
    }
    const auto ignore = [](size_t, const std::byte*) { return OkStatus(); };
    const double start = WallSeconds();
    Check(env.ReadBatch(requests, kReadMemory, ignore, &stats));
    seconds += WallSeconds() - start;
  }
  return kReads * kBatches / seconds;
}

std::vector<std::vector<Key>> KeyBatches(const Axes& axes, const std::string& dist, size_t batches, uint64_t seed) {
  std::vector<std::vector<Key>> keys;
  for (const auto& rows : RowBatches(dist, axes.rows, axes.batch, batches, seed)) keys.push_back(KeysOf(rows));
  return keys;
}

// All rows: first those that are asked for seldom, in the order of their keys, as leveldb_plain takes them best; then the others, as
// many as DRAM holds, the most popular last, as a table that was trained for long would have them.
std::vector<uint32_t> FillOrder(const Axes& axes, const std::string& dist) {
  std::vector<uint32_t> by_rank = RowsByRank(dist, axes.rows);
  const size_t hot = axes.rows / 100 * static_cast<size_t>(axes.percent);
  std::reverse(by_rank.begin(), by_rank.end());
  std::sort(by_rank.begin(), by_rank.end() - static_cast<std::ptrdiff_t>(hot),
            [](uint32_t a, uint32_t b) { return KeyOfRow(a) < KeyOfRow(b); });
  return by_rank;
}

// What the process of one table does, turn by turn: it fills it, and for each distribution warms it up and trains it for rounds,
// and ends it.
void RunTable(const std::string& tier, const std::vector<std::string>& dists, int rounds, const Axes& axes,
              const Turns::Turn& turn) {
  turn.Wait();
  auto table = std::make_unique<Table>(tier, axes);
  const double seconds = table->Fill(FillOrder(axes, dists.front()));
  JsonLine()
      .Add("bench", "tier_fill")
      .Add("tier", tier)
      .Add("rows", static_cast<int64_t>(axes.rows))
      .Add("rows_per_s", static_cast<double>(axes.rows) / seconds);
  const auto next_turn = [&] {
    WaitForQuiet();
    turn.Done();
    turn.Wait();
  };
  uint64_t seed = 1;  // of the same batches in each process
  for (const std::string& dist : dists) {
    next_turn();
    table->WarmUp(KeyBatches(axes, dist, axes.warmup, seed++));
    for (int round = 0; round < rounds; ++round) {
      next_turn();
      JsonLine line;
      table->Round(KeyBatches(axes, dist, axes.steps, seed++), dist, round, &line);
      if (tier == "ssd_direct") line.Add("device_reads_per_s", RawReads(axes.directory, 1024, seed));
    }
  }
  next_turn();
  table.reset();
  turn.Done();
}

void Run(const std::vector<std::string>& tiers, const std::vector<std::string>& dists, int rounds, const Axes& axes) {
  Turns turns;
  for (const std::string& tier : tiers) {
    turns.Add([&](const Turns::Turn& turn) { RunTable(tier, dists, rounds, axes, turn); });
  }
  turns.Run(1 + static_cast<int>(dists.size()) * (1 + rounds) + 1);
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  using namespace ev::bench;  // NOLINT: a program
  Arguments arguments(argc, argv);
  const auto tiers = arguments.Texts("tiers", {"dram", "ssd_buffered", "map_and_drop", "leveldb", "leveldb_defaults"});
  const auto dists = arguments.Texts("dists", {"zipf1.05"});
  const auto rounds = static_cast<int>(arguments.Int("rounds", 3));
  const std::string strategy = arguments.Text("strategy", "lfu");
  const std::string compaction = arguments.Text("compaction", "sync");
  if (strategy != "lfu" && strategy != "lru") Fail("--strategy: expected lfu or lru, received " + strategy);
  if (compaction != "sync" && compaction != "async")
    Fail("--compaction: expected sync or async, received " + compaction);
  Axes axes;
  for (const std::string& tier : tiers) axes.tiers += (axes.tiers.empty() ? "" : ",") + tier;
  axes.rows = static_cast<uint64_t>(arguments.Int("rows", 8000000));
  axes.dim = arguments.Int("dim", 32);
  axes.batch = static_cast<size_t>(arguments.Int("batch", kBatch));
  axes.percent = arguments.Int("percent", 10);
  axes.strategy = strategy == "lru" ? ev::CacheStrategy::kLru : ev::CacheStrategy::kLfu;
  axes.threads = static_cast<int>(arguments.Int("threads", 2));
  axes.warmup = static_cast<size_t>(arguments.Int("warmup", 40));
  axes.steps = static_cast<size_t>(arguments.Int("steps", 60));
  axes.warmup_seconds = static_cast<double>(arguments.Int("warmup_seconds", 16));
  axes.turnovers = static_cast<double>(arguments.Int("turnovers", 0));
  axes.round_seconds = static_cast<double>(arguments.Int("round_seconds", 8));
  axes.async_compaction = compaction == "async";
  const ScratchSpace scratch(arguments.Text("path", "."));
  arguments.Done();
  axes.directory = scratch.path();
  Run(tiers, dists, rounds, axes);
  return 0;
}
