// Dedup as the engine's update does it: keys grouped by stripe, then, stripe by stripe, the distinct keys and the positions
// of each.  benchmarks/ops/dedup.py times tf.unique on batches of the same distribution and size.
//
// Axes (default; a list sweeps):  --sizes 65536,1048576   --dists uniform,zipf1.05   --threads 1,2
//                                 --rows 10000000         --repeats 7
#include <algorithm>
#include <atomic>
#include <memory>
#include <unordered_set>

#include "benchmarks/engine/harness.h"
#include "benchmarks/engine/ids.h"
#include "ev_tf/batch/dedup.h"

namespace ev::bench {
namespace {

constexpr size_t kIdsPerRepeat = size_t{1} << 22;

// What a call keeps between batches: one dedup for each task.
class Deduplicator {
 public:
  explicit Deduplicator(int threads)
      : executor_(NewThreadPoolExecutor(threads)), dedups_(static_cast<size_t>(threads)) {}

  // Calls visit(dedup of one stripe) on each stripe, from `threads` threads.  Returns the number of distinct keys.
  template <typename Visit>
  size_t Run(const std::vector<Key>& keys, const Visit& visit) {
    partition_.Build(keys, *executor_);
    std::atomic<int> next{0};
    std::atomic<size_t> distinct{0};
    executor_->Run(executor_->parallelism(), [&](int task) {
      size_t found = 0;
      for (int s = next.fetch_add(1); s < kStripes; s = next.fetch_add(1)) {
        StripeDedup& dedup = dedups_[static_cast<size_t>(task)];
        dedup.Run(partition_.stripe(s));
        found += dedup.keys().size();
        visit(dedup);
      }
      distinct += found;
    });
    return distinct;
  }

 private:
  std::unique_ptr<Executor> executor_;
  Partition partition_;
  std::vector<StripeDedup> dedups_;
};

// Every position of the batch comes once, under its own key, and no key comes twice.
size_t CheckedDistinct(const std::vector<Key>& keys) {
  Deduplicator dedup(1);
  std::unordered_set<Key> seen;
  std::vector<bool> covered(keys.size());
  const size_t found = dedup.Run(keys, [&](const StripeDedup& stripe) {
    for (size_t k = 0; k < stripe.keys().size(); ++k) {
      if (!seen.insert(stripe.keys()[k]).second) Fail("dedup gave a key twice");
      for (const uint32_t position : stripe.positions(k)) {
        if (covered[position] || keys[position] != stripe.keys()[k]) Fail("dedup gave a wrong position");
        covered[position] = true;
      }
    }
  });
  if (std::find(covered.begin(), covered.end(), false) != covered.end()) Fail("dedup lost a position");
  return found;
}

void Run(uint64_t rows, size_t size, const std::string& dist, int threads, int repeats) {
  std::vector<std::vector<Key>> batches;
  for (const auto& batch : RowBatches(dist, rows, size, 4, 5)) batches.push_back(KeysOf(batch));
  const size_t found = CheckedDistinct(batches[0]);
  Deduplicator dedup(threads);
  const auto run = [&] {
    for (size_t done = 0; done < kIdsPerRepeat; done += size) {
      dedup.Run(batches[done / size % batches.size()], [](const StripeDedup&) {});
    }
  };
  std::vector<double> per_s;
  std::vector<double> other_cpu;
  run();
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const Contention contention;
    const double start = WallSeconds();
    run();
    per_s.push_back(static_cast<double>(kIdsPerRepeat) / (WallSeconds() - start));
    other_cpu.push_back(contention.Read());
  }
  JsonLine()
      .Add("bench", "engine_dedup")
      .Add("size", static_cast<int64_t>(size))
      .Add("dist", dist)
      .Add("threads", static_cast<int64_t>(threads))
      .Add("distinct", static_cast<int64_t>(found))
      .Add("per_s", per_s)
      .Add("other_cpu", other_cpu);
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  using namespace ev::bench;
  Arguments arguments(argc, argv);
  const auto rows = static_cast<uint64_t>(arguments.Int("rows", 10000000));
  const auto sizes = arguments.Ints("sizes", {65536, 1048576});
  const auto dists = arguments.Texts("dists", {"uniform", "zipf1.05"});
  const auto threads = arguments.Ints("threads", {1, 2});
  const int repeats = static_cast<int>(arguments.Int("repeats", 7));
  arguments.Done();
  for (const int64_t size : sizes) {
    for (const std::string& dist : dists) {
      for (const int64_t t : threads) Run(rows, static_cast<size_t>(size), dist, static_cast<int>(t), repeats);
    }
  }
}
