// Insert with growth: a table grows from nothing to --rows by batches of new keys, one Adagrad step each, and is told
// nothing beforehand.  How long a batch takes, its worst one too, and what a row costs beyond its value and slot, at every
// batch from 1 M rows up: by the engine's own count, and by the process's resident memory.
//
// With --bare 1, after each batch as many threads touch as many bytes as its rows take, of memory that nobody has touched
// before: what the system asks for new rows, whoever makes them.  That memory stays, so that both always get fresh pages.
//
// Axes (default; a list sweeps):  --rows 10000000   --dims 64   --threads 2   --meta 0 (1: frequency and version)
//                                 --batch 65536     --bare 0
#include <algorithm>

#include "benchmarks/engine/rows.h"
#include "ev_tf/alloc/memory.h"
#include "ev_tf/optim/adagrad.h"

namespace ev::bench {
namespace {

constexpr int64_t kCountedFrom = 1000000;  // rows; below it fixed costs dominate

struct Overhead {
  double worst_counted = 0;  // bytes beyond value and slot, per row
  double worst_resident = 0;
  int64_t worst_resident_rows = 0;
  double last_counted = 0;
  double last_resident = 0;
  int64_t worst_rows = 0;  // the table's size when worst_counted was seen, and what made it up
  double worst_index = 0;
  double worst_pool = 0;

  void See(const VariableMetrics& metrics, double ideal, int64_t resident) {
    const auto rows = static_cast<double>(metrics.rows);
    const auto counted = static_cast<double>(metrics.row_pool_bytes + metrics.index_bytes + metrics.meta_bytes);
    last_counted = counted / rows - ideal;
    last_resident = static_cast<double>(resident) / rows - ideal;
    if (metrics.rows < kCountedFrom) return;
    if (last_counted > worst_counted) {
      worst_counted = last_counted;
      worst_rows = metrics.rows;
      worst_index = static_cast<double>(metrics.index_bytes) / rows;
      worst_pool = static_cast<double>(metrics.row_pool_bytes) / rows - ideal;
    }
    if (last_resident > worst_resident) {
      worst_resident = last_resident;
      worst_resident_rows = metrics.rows;
    }
  }
};

// Memory in huge pages that is touched for the first time, a part at a time.
class FirstTouch {
 public:
  explicit FirstTouch(size_t bytes) { Check(MemoryRegion::Reserve(bytes, 0, &memory_)); }
  // How long the next `bytes` take.
  double SecondsOfNext(size_t bytes, Executor& executor) {
    char* const next = memory_.data() + touched_;
    touched_ += bytes;
    return SecondsOf([&] {
      InParallel(executor, bytes / kSmallPageBytes, [&](size_t first, size_t pages) {
        for (size_t page = first; page < first + pages; ++page) {
          *const_cast<volatile char*>(next + page * kSmallPageBytes) = 1;
        }
      });
    });
  }
  size_t touched() const { return touched_; }

 private:
  static constexpr size_t kSmallPageBytes = 4096;
  MemoryRegion memory_;
  size_t touched_ = 0;
};

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

void Run(uint64_t rows, int64_t dim, int threads, bool meta, size_t batch, bool bare) {
  const std::vector<SlotSpec> slots = {{"accumulator", dim, 0.1f}};
  const UpdateRule rule = Adagrad(0.01f, 0.0f);
  const std::unique_ptr<Executor> executor = NewThreadPoolExecutor(threads);
  const std::vector<float> grads(batch * static_cast<size_t>(dim), 1e-3f);
  const std::vector<float> defaults(static_cast<size_t>(dim), 0.5f);
  std::vector<Key> keys(batch);
  const auto ideal = static_cast<double>(2 * dim * static_cast<int64_t>(sizeof(float)));

  VariableOptions options;
  options.name = "bench";
  options.dim = dim;
  options.record_frequency = options.record_version = meta;
  std::unique_ptr<EmbeddingVariable> variable;
  // A batch on a variable that is thrown away: what calls share, whatever the number of rows, is there before counting.
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = KeyOfRow(i);
  Check(EmbeddingVariable::Create(options, defaults, &variable));
  Check(variable->Apply(rule, slots, keys, grads, 1, *executor));
  variable.reset();
  const int64_t before = ResidentBytes();
  Check(EmbeddingVariable::Create(options, defaults, &variable));
  std::vector<double> wall;
  std::vector<double> cpu;
  std::vector<double> touch;
  FirstTouch fresh(bare ? rows * static_cast<size_t>(ideal) : 0);
  Overhead overhead;
  const Contention contention;
  for (uint64_t row = 0; row < rows; row += keys.size()) {
    keys.resize(std::min<uint64_t>(batch, rows - row));
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = KeyOfRow(row + i);
    const Span<const float> grad(grads.data(), keys.size() * static_cast<size_t>(dim));
    const double cpu_start = CpuSeconds();
    const double start = WallSeconds();
    Check(variable->Apply(rule, slots, keys, grad, 1, *executor));
    if (keys.size() == batch) {
      wall.push_back(WallSeconds() - start);
      cpu.push_back(CpuSeconds() - cpu_start);
      if (bare) touch.push_back(fresh.SecondsOfNext(batch * static_cast<size_t>(ideal), *executor));
    }
    overhead.See(variable->metrics(), ideal, ResidentBytes() - before - static_cast<int64_t>(fresh.touched()));
  }
  const double other_cpu = contention.Read();
  if (variable->size() != static_cast<int64_t>(rows)) Fail("the growth lost rows");
  JsonLine line;
  line.Add("bench", "engine_insert")
      .Add("rows", static_cast<int64_t>(rows))
      .Add("dim", dim)
      .Add("threads", static_cast<int64_t>(threads))
      .Add("meta", static_cast<int64_t>(meta))
      .Add("batch", static_cast<int64_t>(batch))
      .Add("mean_per_s", static_cast<double>(batch) / Mean(wall))
      .Add("median_ms", Median(wall) * 1e3)
      .Add("p99_ms", Quantile(wall, 0.99) * 1e3)
      .Add("worst_ms", Quantile(wall, 1) * 1e3)
      .Add("worst_to_median", Quantile(wall, 1) / Median(wall))
      .Add("cpu_worst_to_median", Quantile(cpu, 1) / Median(cpu))
      .Add("overhead_worst", overhead.worst_counted)
      .Add("overhead_worst_resident", overhead.worst_resident)
      .Add("overhead_worst_resident_at_rows", overhead.worst_resident_rows)
      .Add("overhead_worst_at_rows", overhead.worst_rows)
      .Add("overhead_worst_index", overhead.worst_index)
      .Add("overhead_worst_pool", overhead.worst_pool)
      .Add("overhead_end", overhead.last_counted)
      .Add("overhead_end_resident", overhead.last_resident)
      .Add("other_cpu", other_cpu);
  if (!bare) return;
  line.Add("touch_median_ms", Median(touch) * 1e3)
      .Add("touch_worst_ms", Quantile(touch, 1) * 1e3)
      .Add("median_to_touch", Median(wall) / Median(touch))
      .Add("mean_to_touch", Mean(wall) / Mean(touch))
      .Add("worst_to_touch", Quantile(wall, 1) / Quantile(touch, 1));
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  using namespace ev::bench;
  Arguments arguments(argc, argv);
  const auto rows = arguments.Ints("rows", {10000000});
  const auto dims = arguments.Ints("dims", {64});
  const auto threads = arguments.Ints("threads", {2});
  const auto meta = arguments.Ints("meta", {0});
  const auto batch = static_cast<size_t>(arguments.Int("batch", kBatch));
  const bool bare = arguments.Int("bare", 0) != 0;
  arguments.Done();
  for (const int64_t n : rows) {
    for (const int64_t dim : dims) {
      for (const int64_t t : threads) {
        for (const int64_t m : meta) Run(static_cast<uint64_t>(n), dim, static_cast<int>(t), m != 0, batch, bare);
      }
    }
  }
}
