// Lookup: EmbeddingVariable::Lookup against a gather of as many rows whose positions are known.
//
// Axes (default; a list sweeps):  --rows 10000000   --dims 16 (64-byte rows)   --threads 1,2   --dists unique
//                                 --batch 65536     --batches 32 (cycled)      --repeats 7
#include <cstring>

#include "benchmarks/engine/rows.h"

namespace ev::bench {
namespace {

template <size_t kDim>
class LookupBench {
 public:
  LookupBench(uint64_t rows, size_t batch)
      : rows_(rows),
        variable_(FilledVariable(rows, kDim, {})),
        known_(rows * kDim * sizeof(float)),
        out_(batch * kDim * sizeof(float)) {
    for (uint64_t row = 0; row < rows; ++row) {
      for (size_t j = 0; j < kDim; ++j) known_.floats()[row * kDim + j] = ValueOf(row, j);
    }
  }

  void Run(const std::string& dist, int threads, size_t batch, size_t batches, int repeats) {
    const auto at = RowBatches(dist, rows_, batch, batches, 7);
    std::vector<std::vector<Key>> keys;
    for (const auto& rows : at) keys.push_back(KeysOf(rows));
    const std::unique_ptr<Executor> executor = NewThreadPoolExecutor(threads);
    const auto lookup = [&](size_t b) {
      Check(variable_->Lookup(keys[b], Span<float>(out_.floats(), batch * kDim), *executor));
    };
    const auto gather = [&](size_t b) {
      InParallel(*executor, batch, [&](size_t first, size_t count) {
        GatherKnown<kDim>(known_.floats(), at[b].data() + first, count, out_.floats() + first * kDim);
      });
    };
    CheckEqual(batch, lookup, gather);
    const auto all = [&](const auto& one) {
      for (size_t b = 0; b < batches; ++b) one(b);
    };
    const Comparison result = Compare(
        repeats, static_cast<double>(batch * batches), [&] { all(lookup); }, [&] { all(gather); });
    JsonLine()
        .Add("bench", "engine_lookup")
        .Add("rows", static_cast<int64_t>(rows_))
        .Add("dim", static_cast<int64_t>(kDim))
        .Add("row_bytes", static_cast<int64_t>(kDim * sizeof(float)))
        .Add("threads", static_cast<int64_t>(threads))
        .Add("dist", dist)
        .Add("batch", static_cast<int64_t>(batch))
        .Add("ours_gb_per_s", Median(result.ours) * kDim * sizeof(float) / 1e9)
        .Add("ceiling_gb_per_s", Median(result.ceiling) * kDim * sizeof(float) / 1e9)
        .Add(result);
  }

 private:
  template <typename Lookup, typename Gather>
  void CheckEqual(size_t batch, const Lookup& lookup, const Gather& gather) {
    lookup(0);
    const std::vector<float> got(out_.floats(), out_.floats() + batch * kDim);
    gather(0);
    if (std::memcmp(got.data(), out_.floats(), got.size() * sizeof(float)) != 0) Fail("lookup and gather differ");
  }

  const uint64_t rows_;
  std::unique_ptr<EmbeddingVariable> variable_;
  HugeBuffer known_;
  HugeBuffer out_;
};

template <size_t kDim>
void RunDim(uint64_t rows, const std::vector<std::string>& dists, const std::vector<int64_t>& threads, size_t batch,
            size_t batches, int repeats) {
  LookupBench<kDim> bench(rows, batch);
  for (const std::string& dist : dists) {
    for (const int64_t t : threads) bench.Run(dist, static_cast<int>(t), batch, batches, repeats);
  }
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  using namespace ev::bench;
  Arguments arguments(argc, argv);
  const auto rows = arguments.Ints("rows", {10000000});
  const auto dims = arguments.Ints("dims", {16});
  const auto threads = arguments.Ints("threads", {1, 2});
  const std::vector<std::string> dists = arguments.Texts("dists", {"unique"});
  const auto batch = static_cast<size_t>(arguments.Int("batch", kBatch));
  const auto batches = static_cast<size_t>(arguments.Int("batches", 32));
  const int repeats = static_cast<int>(arguments.Int("repeats", 7));
  arguments.Done();
  for (const int64_t n : rows) {
    for (const int64_t dim : dims) {
      const auto run = dim == 16 ? RunDim<16> : dim == 32 ? RunDim<32> : dim == 64 ? RunDim<64> : nullptr;
      if (run == nullptr) Fail("--dims: expected 16, 32 or 64, found " + std::to_string(dim));
      run(static_cast<uint64_t>(n), dists, threads, batch, batches, repeats);
    }
  }
}
