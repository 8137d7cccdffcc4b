// A table over an SSD log, saved with the files of the log linked: against writing all of it, at first and after 1 % of its rows
// changed.  Seconds, bytes that are the save's own, and memory.
//
// Usage: linked_save_bench [--directory .] [--rows 20000000] [--dim 16] [--repeats 5]; rows have an Adagrad slot, DRAM has room
// for 5 %, and 1 % changes that many times.
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/engine/harness.h"
#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/storage_type.h"

namespace ev::bench {
namespace {

constexpr int kThreads = 2;
constexpr int64_t kBatch = 65536;

// Of the files of a table, those that nobody else has: what deleting the save would give back.
int64_t OwnBytes(const std::string& path) {
  std::vector<std::string> paths;
  Check(TableFiles(path, &paths));
  int64_t bytes = 0;
  for (const std::string& one : paths) {
    struct stat info {};
    if (::stat(one.c_str(), &info) == 0 && info.st_nlink == 1) bytes += int64_t{info.st_blocks} * 512;
  }
  return bytes;
}

class Bench {
 public:
  Bench(const std::string& directory, int64_t rows, int64_t dim) : scratch_(directory), rows_(rows), dim_(dim) {
    options_.name = "table";
    options_.dim = dim;
    const int64_t bytes = rows * dim * 2 * static_cast<int64_t>(sizeof(float));
    Check(MakeStorage(StorageType::kDramSsdHash, PathOf("tiers"), bytes / 20, CacheStrategy::kLru, &options_.storage));
    Check(EmbeddingVariable::Create(options_, std::vector<float>(static_cast<size_t>(dim), 0.1f), &table_));
    Write(rows, [](int64_t i) { return i; });
  }

  // Puts n rows, row key_of(i) * 7919 each.
  void Write(int64_t n, const std::function<int64_t(int64_t)>& key_of) {
    const std::vector<SlotSpec> slots = {{"Adagrad/accumulator", dim_, 0.1f}};
    const std::vector<float> values(static_cast<size_t>(kBatch * dim_), 0.5f);
    std::vector<Key> keys;
    for (int64_t first = 0; first < n; first += kBatch) {
      keys.clear();
      for (int64_t i = first; i < std::min(n, first + kBatch); ++i) keys.push_back(key_of(i) * 7919);
      const Span<const float> batch(values.data(), keys.size() * static_cast<size_t>(dim_));
      Check(table_->WriteRows(keys, slots, {batch, batch, {}, {}}));
    }
    Check(table_->FlushEvictions());
  }

  void Save(const char* what, const std::string& name, bool link) {
    SaveOptions save;
    save.link_segments = link;
    SaveReport report;
    ForgetPeak();
    const int64_t before = ResidentBytes();
    const std::string path = PathOf(name);
    const double seconds = SecondsOf([&] { Check(SaveTable(*table_, path, *executor_, nullptr, save, &report)); });
    JsonLine()
        .Add("case", what)
        .Add("rows", table_->size())
        .Add("seconds", seconds)
        .Add("own_bytes", OwnBytes(path))
        .Add("rows_written", report.rows_written)
        .Add("segments", report.segments_linked + report.segments_reflinked + report.segments_copied)
        .Add("extra_bytes", PeakResidentBytes() - before);
  }

  void Load(const char* what, const std::string& name) {
    const std::vector<std::string> paths = {PathOf(name)};
    std::unique_ptr<EmbeddingVariable> loaded;
    LoadReport report;
    const double seconds =
        SecondsOf([&] { Check(LoadTable(options_, paths, {}, *executor_, &loaded, nullptr, &report)); });
    JsonLine()
        .Add("case", what)
        .Add("rows", loaded->size())
        .Add("seconds", seconds)
        .Add("rows_adopted", report.rows_adopted);
  }

  void Remove(const std::string& name) { Check(RemoveTable(PathOf(name))); }
  int64_t rows() const { return rows_; }

 private:
  std::string PathOf(const std::string& name) const { return scratch_.path() + "/" + name; }

  const ScratchSpace scratch_;
  const int64_t rows_;
  const int64_t dim_;
  const std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(kThreads);
  VariableOptions options_;
  std::unique_ptr<EmbeddingVariable> table_;
};

void Run(const std::string& directory, int64_t rows, int64_t dim, int64_t repeats) {
  Bench bench(directory, rows, dim);
  bench.Save("all rows written", "full", false);
  bench.Load("all rows read", "full");
  bench.Remove("full");
  bench.Save("first save, linked", "linked0", true);
  const int64_t changed = bench.rows() / 100;
  std::string last = "linked0";
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    // Rows all over the table, others each time.
    bench.Write(changed, [&](int64_t i) { return (repeat * changed + i) * 97 % bench.rows(); });
    const std::string next = "linked" + std::to_string(repeat + 1);
    bench.Save("1 % changed, linked", next, true);
    bench.Remove(last);
    last = next;
  }
  bench.Load("linked", last);
  bench.Remove(last);
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  ev::bench::Arguments arguments(argc, argv);
  const std::string directory = arguments.Text("directory", ".");
  const int64_t rows = arguments.Int("rows", 20'000'000);
  const int64_t dim = arguments.Int("dim", 16);
  const int64_t repeats = arguments.Int("repeats", 5);
  arguments.Done();
  ev::bench::Run(directory, rows, dim, repeats);
  return 0;
}
