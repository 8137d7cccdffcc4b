// A table to a file and back, against the same bytes written and read in one run of 1 MiB pieces, through the page cache
// and past it: seconds, and the memory that a save takes beside the table.  Files are new ones each time: to give back the
// space of those of before is no part of a write.  A load also stands against its floor: the same bytes read, and as much
// memory as the table takes touched for the first time.  Then deltas: one of 1 % of the rows against the full save, and what
// a training step pays for remembering which rows it changes.
//
// Usage: checkpoint_bench [--directory .] [--rows 20000000] [--dim 16]; rows have an Adagrad slot.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/engine/harness.h"
#include "ev_tf/alloc/memory.h"
#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/optim/adagrad.h"
#include "ev_tf/variable/checkpoint.h"

namespace ev::bench {
namespace {

constexpr int kThreads = 2;
constexpr int kRounds = 3;
constexpr size_t kPiece = 1 << 20;

void CheckCall(bool ok, const char* what) {
  if (!ok) Fail(std::string(what) + ": " + std::strerror(errno));
}

// What was there before is gone, its space too.
void Delete(const std::string& path) { CheckCall(::unlink(path.c_str()) == 0 || errno == ENOENT, "unlink"); }

// direct: past the page cache.
void RawWrite(const std::string& path, size_t bytes, bool direct) {
  const AlignedBytes piece = NewAlignedBytes(kPiece);
  std::memset(piece.get(), 'x', kPiece);
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | (direct ? O_DIRECT : 0), 0644);
  CheckCall(fd >= 0, "open");
  for (size_t done = 0; done < bytes; done += kPiece) CheckCall(::write(fd, piece.get(), kPiece) == kPiece, "write");
  CheckCall(::fsync(fd) == 0, "fsync");
  ::close(fd);
}

void RawRead(const std::string& path, bool direct) {
  const AlignedBytes piece = NewAlignedBytes(kPiece);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
  CheckCall(fd >= 0, "open");
  while (::read(fd, piece.get(), kPiece) > 0) {
  }
  ::close(fd);
}

// The first touch of `bytes` of memory, by all threads: what nobody who fills a table can do without.
void TouchMemory(size_t bytes, Executor* executor) {
  MemoryRegion region;
  Check(MemoryRegion::Reserve(bytes, 0, &region));
  std::atomic<size_t> next{0};
  executor->Run(executor->parallelism(), [&](int) {
    for (size_t at = next.fetch_add(kHugePageBytes); at < bytes; at = next.fetch_add(kHugePageBytes)) {
      for (size_t page = 0; page < kHugePageBytes; page += 4096) region.data()[at + page] = 1;
    }
  });
}

// The file's pages leave the page cache.
void Evict(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  CheckCall(fd >= 0, "open");
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

constexpr Key KeyOfRow(int64_t row) { return row * 7919; }

std::unique_ptr<EmbeddingVariable> Fill(int64_t rows, int64_t dim) {
  VariableOptions options;
  options.name = "table";
  options.dim = dim;
  std::unique_ptr<EmbeddingVariable> variable;
  Check(EmbeddingVariable::Create(options, std::vector<float>(static_cast<size_t>(dim), 0.1f), &variable));
  constexpr int64_t kBatch = 65536;
  const std::vector<SlotSpec> slots = {{"Adagrad/accumulator", dim, 0.1f}};
  const std::vector<float> values(static_cast<size_t>(kBatch * dim), 0.5f);
  std::vector<Key> keys;
  for (int64_t first = 0; first < rows; first += kBatch) {
    keys.clear();
    for (int64_t i = first; i < std::min(rows, first + kBatch); ++i) keys.push_back(KeyOfRow(i));
    const Span<const float> batch(values.data(), keys.size() * static_cast<size_t>(dim));
    Check(variable->WriteRows(keys, slots, {batch, batch, {}, {}}));
  }
  return variable;
}

// One step on `keys`.
void Train(EmbeddingVariable* variable, const std::vector<Key>& keys, Executor* executor) {
  const auto dim = static_cast<size_t>(variable->dim());
  const std::vector<float> grads(keys.size() * dim, 0.01f);
  Check(variable->Apply(Adagrad(0.1f, 0.0f), variable->slots(), keys, grads, -1, *executor));
}

// Nanoseconds an update, of steps on random rows.
double NanosAnUpdate(EmbeddingVariable* variable, int64_t rows, Executor* executor) {
  constexpr int64_t kBatch = 65536;
  constexpr int kSteps = 40;
  std::mt19937_64 random(1);
  std::vector<std::vector<Key>> batches(kSteps);
  for (std::vector<Key>& keys : batches) {
    for (int64_t i = 0; i < kBatch; ++i)
      keys.push_back(KeyOfRow(static_cast<int64_t>(random() % static_cast<uint64_t>(rows))));
  }
  const double seconds = SecondsOf([&] {
    for (const std::vector<Key>& keys : batches) Train(variable, keys, executor);
  });
  return seconds / (kSteps * kBatch) * 1e9;
}

void BenchDeltas(EmbeddingVariable* variable, int64_t rows, const std::string& directory, double full_seconds,
                 Executor* executor) {
  const std::string base_path = directory + "/base";
  const std::string delta_path = directory + "/delta";
  std::vector<double> off, on, first, deltas;
  for (int round = 0; round < kRounds; ++round) off.push_back(NanosAnUpdate(variable, rows, executor));
  Check(SaveBase(variable, base_path, *executor));
  for (int round = 0; round < kRounds; ++round) {
    first.push_back(NanosAnUpdate(variable, rows, executor));  // the keys are new to the set
    on.push_back(NanosAnUpdate(variable, rows, executor));
    if (round + 1 < kRounds) Check(SaveDelta(variable, delta_path, *executor));
  }
  const VariableMetrics metrics = variable->metrics();
  JsonLine()
      .Add("bench", "checkpoint")
      .Add("case", "remember")
      .Add("off_ns", Median(off))
      .Add("first_ns", Median(first))
      .Add("again_ns", Median(on))
      .Add("bytes_a_key", static_cast<double>(metrics.changed_keys_bytes) / static_cast<double>(metrics.changed_keys));
  std::mt19937_64 random(2);
  TableInfo info;
  for (int round = 0; round < kRounds; ++round) {
    Check(SaveDelta(variable, delta_path, *executor));
    std::vector<Key> keys;
    for (int64_t i = 0; i < rows / 100; ++i)
      keys.push_back(KeyOfRow(static_cast<int64_t>(random() % static_cast<uint64_t>(rows))));
    Train(variable, keys, executor);
    deltas.push_back(SecondsOf([&] { Check(SaveDelta(variable, delta_path, *executor)); }));
    Check(InspectTable(delta_path, &info));
  }
  JsonLine()
      .Add("bench", "checkpoint")
      .Add("case", "delta")
      .Add("rows", info.rows)
      .Add("file_bytes", info.file_bytes)
      .Add("seconds", Median(deltas))
      .Add("of_full", Median(deltas) / full_seconds);
}

void Run(const std::string& directory, int64_t rows, int64_t dim) {
  const ScratchSpace scratch(directory);
  const std::string table_path = scratch.path() + "/table";
  const std::string raw_path = scratch.path() + "/raw";
  const auto executor = NewThreadPoolExecutor(kThreads);
  std::unique_ptr<EmbeddingVariable> variable = Fill(rows, dim);
  std::vector<double> saves, cached_writes, direct_writes, loads, cached_reads, direct_reads, touches;
  int64_t extra_bytes = 0;
  TableInfo info;
  for (int round = 0; round < kRounds; ++round) {
    Delete(table_path);
    Delete(raw_path);
    ForgetPeak();
    const int64_t before = ResidentBytes();
    saves.push_back(SecondsOf([&] { Check(SaveTable(*variable, table_path, *executor)); }));
    extra_bytes = std::max(extra_bytes, PeakResidentBytes() - before);
    Check(InspectTable(table_path, &info));
    const auto bytes = static_cast<size_t>(info.file_bytes);
    cached_writes.push_back(SecondsOf([&] { RawWrite(raw_path, bytes, false); }));
    Delete(raw_path);
    direct_writes.push_back(SecondsOf([&] { RawWrite(raw_path, bytes, true); }));
  }
  JsonLine()
      .Add("bench", "checkpoint")
      .Add("case", "save")
      .Add("rows", info.rows)
      .Add("file_bytes", info.file_bytes)
      .Add("seconds", Median(saves))
      .Add("cached_write_seconds", Median(cached_writes))
      .Add("direct_write_seconds", Median(direct_writes))
      .Add("of_cached_write", Median(cached_writes) / Median(saves))
      .Add("of_direct_write", Median(direct_writes) / Median(saves))
      .Add("extra_bytes", extra_bytes);
  BenchDeltas(variable.get(), rows, scratch.path(), Median(saves), executor.get());
  const VariableOptions options = variable->options();
  const VariableMetrics metrics = variable->metrics();
  const auto table_bytes = static_cast<size_t>(metrics.row_pool_bytes + metrics.index_bytes + metrics.meta_bytes);
  variable.reset();
  const std::vector<std::string> paths = {table_path};
  for (int round = 0; round < kRounds; ++round) {
    Evict(table_path);
    std::unique_ptr<EmbeddingVariable> loaded;
    loads.push_back(SecondsOf([&] { Check(LoadTable(options, paths, {}, *executor, &loaded)); }));
    loaded.reset();
    touches.push_back(SecondsOf([&] { TouchMemory(table_bytes, executor.get()); }));
    Evict(raw_path);
    cached_reads.push_back(SecondsOf([&] { RawRead(raw_path, false); }));
    Evict(raw_path);
    direct_reads.push_back(SecondsOf([&] { RawRead(raw_path, true); }));
  }
  JsonLine()
      .Add("bench", "checkpoint")
      .Add("case", "load")
      .Add("rows", info.rows)
      .Add("seconds", Median(loads))
      .Add("cached_read_seconds", Median(cached_reads))
      .Add("direct_read_seconds", Median(direct_reads))
      .Add("touch_seconds", Median(touches))
      .Add("of_cached_read", Median(cached_reads) / Median(loads))
      .Add("of_direct_read", Median(direct_reads) / Median(loads))
      .Add("of_floor", (std::min(Median(cached_reads), Median(direct_reads)) + Median(touches)) / Median(loads));
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  ev::bench::Arguments arguments(argc, argv);
  const std::string directory = arguments.Text("directory", ".");
  const int64_t rows = arguments.Int("rows", 20'000'000);
  const int64_t dim = arguments.Int("dim", 16);
  arguments.Done();
  ev::bench::Run(directory, rows, dim);
  return 0;
}
