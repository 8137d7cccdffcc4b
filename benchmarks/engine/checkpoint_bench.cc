// A table to a file and back, against the same bytes written and read in one run of 1 MiB pieces: seconds, and the memory that
// a save takes beside the table.
//
// Usage: checkpoint_bench [directory] [rows] [dim]     prints one JSON line a case; rows have an Adagrad slot
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "ev_tf/env/env.h"
#include "ev_tf/variable/checkpoint.h"

namespace {

using namespace ev;  // NOLINT(google-build-using-namespace): a program of one file

constexpr int kThreads = 2;
constexpr int kRounds = 3;
constexpr size_t kPiece = 1 << 20;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}
void Ok(const Status& status) {
  if (!status.ok()) Die(status.ToString());
}
void Check(bool ok, const char* what) {
  if (!ok) Die(std::string(what) + ": " + std::strerror(errno));
}

double Seconds(const std::function<void()>& work) {
  const uint64_t start = Env::Default().NowNanos();
  work();
  return static_cast<double>(Env::Default().NowNanos() - start) * 1e-9;
}

// Kilobytes of the line `field` of /proc/self/status.
long StatusKb(const char* field) {
  FILE* file = std::fopen("/proc/self/status", "r");
  char line[256];
  long kb = -1;
  while (file != nullptr && std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::strncmp(line, field, std::strlen(field)) == 0) kb = std::atol(line + std::strlen(field) + 1);
  }
  if (file != nullptr) std::fclose(file);
  return kb;
}

// The next VmHWM counts from now.
void ResetPeak() {
  FILE* file = std::fopen("/proc/self/clear_refs", "w");
  if (file == nullptr) return;
  std::fputs("5", file);
  std::fclose(file);
}

void RawWrite(const std::string& path, size_t bytes) {
  const std::vector<char> piece(kPiece, 'x');
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  Check(fd >= 0, "open");
  for (size_t done = 0; done < bytes; done += kPiece) Check(::write(fd, piece.data(), kPiece) == kPiece, "write");
  Check(::fsync(fd) == 0, "fsync");
  ::close(fd);
}

void RawRead(const std::string& path) {
  std::vector<char> piece(kPiece);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  Check(fd >= 0, "open");
  while (::read(fd, piece.data(), kPiece) > 0) {
  }
  ::close(fd);
}

// The file's pages leave the page cache.
void Evict(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  Check(fd >= 0, "open");
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

std::unique_ptr<EmbeddingVariable> Fill(int64_t rows, int64_t dim) {
  VariableOptions options;
  options.name = "table";
  options.dim = dim;
  std::unique_ptr<EmbeddingVariable> variable;
  Ok(EmbeddingVariable::Create(options, std::vector<float>(static_cast<size_t>(dim), 0.1f), &variable));
  constexpr int64_t kBatch = 65536;
  const std::vector<SlotSpec> slots = {{"Adagrad/accumulator", dim, 0.1f}};
  const std::vector<float> values(static_cast<size_t>(kBatch * dim), 0.5f);
  std::vector<Key> keys;
  for (int64_t first = 0; first < rows; first += kBatch) {
    keys.clear();
    for (int64_t i = first; i < std::min(rows, first + kBatch); ++i) keys.push_back(i * 7919);
    const Span<const float> batch(values.data(), keys.size() * static_cast<size_t>(dim));
    Ok(variable->WriteRows(keys, slots, {batch, batch, {}, {}}));
  }
  return variable;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const std::string directory = argc > 1 ? argv[1] : ".";
  const int64_t rows = argc > 2 ? std::atoll(argv[2]) : 20'000'000;
  const int64_t dim = argc > 3 ? std::atoll(argv[3]) : 16;
  const std::string table_path = directory + "/checkpoint_bench.table";
  const std::string raw_path = directory + "/checkpoint_bench.raw";
  const auto executor = NewThreadPoolExecutor(kThreads);
  std::unique_ptr<EmbeddingVariable> variable = Fill(rows, dim);
  std::vector<double> saves, raw_writes, loads, raw_reads;
  long extra_kb = 0;
  TableInfo info;
  for (int round = 0; round < kRounds; ++round) {
    ResetPeak();
    const long before = StatusKb("VmRSS:");
    saves.push_back(Seconds([&] { Ok(SaveTable(*variable, table_path, *executor)); }));
    extra_kb = std::max(extra_kb, StatusKb("VmHWM:") - before);
    Ok(InspectTable(table_path, &info));
    raw_writes.push_back(Seconds([&] { RawWrite(raw_path, static_cast<size_t>(info.file_bytes)); }));
  }
  std::printf(
      "{\"case\": \"save\", \"rows\": %lld, \"file_bytes\": %lld, \"seconds\": %.3f, \"raw_seconds\": %.3f, "
      "\"of_raw\": %.3f, \"extra_rss_mb\": %.1f}\n",
      static_cast<long long>(info.rows), static_cast<long long>(info.file_bytes), Median(saves), Median(raw_writes),
      Median(raw_writes) / Median(saves), static_cast<double>(extra_kb) / 1024);
  std::fflush(stdout);
  VariableOptions options = variable->options();
  variable.reset();
  const std::vector<std::string> paths = {table_path};
  for (int round = 0; round < kRounds; ++round) {
    Evict(table_path);
    std::unique_ptr<EmbeddingVariable> loaded;
    loads.push_back(Seconds([&] { Ok(LoadTable(options, paths, {}, *executor, &loaded)); }));
    loaded.reset();
    Evict(raw_path);
    raw_reads.push_back(Seconds([&] { RawRead(raw_path); }));
  }
  std::printf("{\"case\": \"load\", \"rows\": %lld, \"seconds\": %.3f, \"raw_seconds\": %.3f, \"of_raw\": %.3f}\n",
              static_cast<long long>(info.rows), Median(loads), Median(raw_reads), Median(raw_reads) / Median(loads));
  ::unlink(table_path.c_str());
  ::unlink(raw_path.c_str());
  return 0;
}
