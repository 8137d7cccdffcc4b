// Update: EmbeddingVariable::Apply on rows that exist, against a loop that reads and writes as many rows at known positions.
//
// Axes (default; a list sweeps):  --rows 10000000   --dims 16    --optimizers adagrad,adam   --threads 1,2
//                                 --dists unique    --batch 65536   --batches 16 (cycled)    --repeats 7
// With a distribution that has duplicates the ceiling moves each distinct row once, and sums no gradients.
#include <algorithm>
#include <cmath>

#include "benchmarks/engine/rows.h"
#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adam.h"

namespace ev::bench {
namespace {

struct Optimizer {
  std::string name;
  UpdateRule rule;
  std::vector<SlotSpec> slots;
};

Optimizer MakeOptimizer(const std::string& name, int64_t dim) {
  if (name == "adagrad") return {name, Adagrad(0.01f, 0.0f), {{"accumulator", dim, 0.1f}}};
  if (name == "adam") {
    return {name, Adam(0.01f, 0.9f, 0.999f, 1e-8f, 0.9f, 0.999f), {{"m", dim, 0.0f}, {"v", dim, 0.0f}}};
  }
  Fail("--optimizers: expected adagrad or adam, found " + name);
}

template <size_t kDim>
class UpdateBench {
 public:
  UpdateBench(uint64_t rows, size_t batch, Optimizer optimizer)
      : rows_(rows),
        optimizer_(std::move(optimizer)),
        parts_(1 + static_cast<int64_t>(optimizer_.slots.size())),
        variable_(FilledVariable(rows, kDim, optimizer_.slots)),
        known_(rows * kDim * static_cast<size_t>(parts_) * sizeof(float)),
        grads_(batch * kDim * sizeof(float)) {
    std::fill_n(grads_.floats(), batch * kDim, 1e-3f);
    CheckOneStep();
  }

  void Run(const std::string& dist, int threads, size_t batch, size_t batches, int repeats) {
    const auto drawn = RowBatches(dist, rows_, batch, batches, 11);
    std::vector<std::vector<Key>> keys;
    std::vector<std::vector<uint32_t>> at = drawn;
    double distinct = 0;
    for (auto& rows : at) {
      keys.push_back(KeysOf(rows));
      if (dist != "unique") {  // the ceiling's order stays random: distinct rows, not sorted ones
        std::vector<uint32_t> sorted = rows;
        std::sort(sorted.begin(), sorted.end());
        sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
        Random random(3);
        for (size_t i = sorted.size(); i > 1; --i) std::swap(sorted[i - 1], sorted[random.Below(i)]);
        rows = sorted;
      }
      distinct += static_cast<double>(rows.size());
    }
    const std::unique_ptr<Executor> executor = NewThreadPoolExecutor(threads);
    const auto apply = [&] {
      for (const auto& batch_keys : keys) {
        Check(variable_->Apply(optimizer_.rule, optimizer_.slots, batch_keys, Grads(batch), -1, *executor));
      }
    };
    const auto move = [&] {
      for (const auto& rows : at) {
        InParallel(*executor, rows.size(), [&](size_t first, size_t count) {
          UpdateKnown<kDim>(known_.floats(), parts_, rows.data() + first, count, grads_.floats() + first * kDim);
        });
      }
    };
    const Comparison result = Compare(repeats, static_cast<double>(batch * batches), apply, move);
    JsonLine()
        .Add("bench", "engine_update")
        .Add("optimizer", optimizer_.name)
        .Add("rows", static_cast<int64_t>(rows_))
        .Add("dim", static_cast<int64_t>(kDim))
        .Add("row_bytes", static_cast<int64_t>(kDim * sizeof(float)) * parts_)
        .Add("threads", static_cast<int64_t>(threads))
        .Add("dist", dist)
        .Add("batch", static_cast<int64_t>(batch))
        .Add("distinct", distinct / static_cast<double>(batches))
        .Add(result);
  }

 private:
  Span<const float> Grads(size_t batch) const { return Span<const float>(grads_.floats(), batch * kDim); }

  // The first step of Adagrad on one row, by hand.
  void CheckOneStep() {
    if (optimizer_.name != "adagrad") return;
    SerialExecutor serial;
    const Key key = KeyOfRow(5);
    std::vector<float> row(kDim);
    Check(variable_->Apply(optimizer_.rule, optimizer_.slots, Span<const Key>(&key, 1), Grads(1), -1, serial));
    Check(variable_->Lookup(Span<const Key>(&key, 1), row, serial));
    const float grad = grads_.floats()[0];
    const float expected = ValueOf(5, 3) - 0.01f * grad / std::sqrt(0.1f + grad * grad);
    if (std::abs(row[3] - expected) > 1e-5f) Fail("one Adagrad step gave " + std::to_string(row[3]));
  }

  const uint64_t rows_;
  const Optimizer optimizer_;
  const int64_t parts_;
  std::unique_ptr<EmbeddingVariable> variable_;
  HugeBuffer known_;
  HugeBuffer grads_;
};

struct Axes {
  std::vector<std::string> dists;
  std::vector<int64_t> threads;
  size_t batch;
  size_t batches;
  int repeats;
};

template <size_t kDim>
void RunDim(uint64_t rows, const std::string& optimizer, const Axes& axes) {
  UpdateBench<kDim> bench(rows, axes.batch, MakeOptimizer(optimizer, kDim));
  for (const std::string& dist : axes.dists) {
    for (const int64_t threads : axes.threads) {
      bench.Run(dist, static_cast<int>(threads), axes.batch, axes.batches, axes.repeats);
    }
  }
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  using namespace ev::bench;
  Arguments arguments(argc, argv);
  const auto rows = arguments.Ints("rows", {10000000});
  const auto dims = arguments.Ints("dims", {16});
  const auto optimizers = arguments.Texts("optimizers", {"adagrad", "adam"});
  Axes axes;
  axes.threads = arguments.Ints("threads", {1, 2});
  axes.dists = arguments.Texts("dists", {"unique"});
  axes.batch = static_cast<size_t>(arguments.Int("batch", kBatch));
  axes.batches = static_cast<size_t>(arguments.Int("batches", 16));
  axes.repeats = static_cast<int>(arguments.Int("repeats", 7));
  arguments.Done();
  for (const int64_t n : rows) {
    for (const int64_t dim : dims) {
      for (const std::string& optimizer : optimizers) {
        const auto run = dim == 16 ? RunDim<16> : dim == 32 ? RunDim<32> : dim == 64 ? RunDim<64> : nullptr;
        if (run == nullptr) Fail("--dims: expected 16, 32 or 64, found " + std::to_string(dim));
        run(static_cast<uint64_t>(n), optimizer, axes);
      }
    }
  }
}
