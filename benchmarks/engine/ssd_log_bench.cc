// Rows of an SSD log, missed rows a second: batches of reads against the device's own rate in the same run, against one
// direct pread a row, and against one mapping read and dropped a row; the page cache; write amplification in steady state.
//
// Usage: ssd_log_bench [directory] [rows] [row_bytes]     prints one JSON line a case
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"

namespace {

using namespace ev;  // NOLINT(google-build-using-namespace): a program of one file

constexpr size_t kBatch = 8192;
constexpr int kRounds = 5;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}
void Ok(const Status& status) {
  if (!status.ok()) Die(status.ToString());
}

// Positions by key; compaction tells it what moves.  One thread.
class Index final : public Relocator {
 public:
  explicit Index(size_t rows) : positions(rows) {}
  void Relocate(Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      Position& position = positions[static_cast<size_t>(keys[i])];
      moved[i] = position == from[i];
      if (moved[i]) position = to[i];
    }
  }
  void WhenUnseen(std::function<void()> free) override { free(); }
  std::vector<Position> positions;
};

// Rows a second of one call of work.
double Once(size_t rows, const std::function<void()>& work) {
  const uint64_t start = Env::Default().NowNanos();
  work();
  return static_cast<double>(rows) * 1e9 / static_cast<double>(Env::Default().NowNanos() - start);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Rows a second of work(n rows): the median of kRounds.
double Rate(size_t rows, const std::function<void(int)>& work) {
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) rates.push_back(Once(rows, [&] { work(round); }));
  return Median(rates);
}

void Print(const char* what, double rate, double limit) {
  std::printf("{\"case\": \"%s\", \"rows_per_s\": %.0f, \"of_raw_reads\": %.3f}\n", what, rate, rate / limit);
  std::fflush(stdout);
}

struct Table {
  std::string dir;
  size_t rows;
  size_t row_bytes;
  ssd_log::Geometry geometry;
  std::unique_ptr<Index> index;
  std::unique_ptr<SsdLogTier> tier;

  void Open(SsdIoMode mode, bool durable) {
    SsdLogOptions options;
    options.path = dir;
    options.row_bytes = row_bytes;
    options.io_mode = mode;
    options.existing = SsdExisting::kDelete;
    options.delete_on_close = true;
    options.durable = durable;
    index = std::make_unique<Index>(rows);
    options.relocator = index.get();
    tier.reset();
    Ok(SsdLogTier::Open(options, &tier));
  }
  void Put(const std::vector<Key>& keys, const std::vector<std::byte>& bytes, bool replace) {
    std::vector<Position> positions(keys.size());
    Ok(tier->Put(keys, bytes, positions));
    for (size_t i = 0; i < keys.size(); ++i) {
      Position& position = index->positions[static_cast<size_t>(keys[i])];
      if (replace) tier->Remove({&keys[i], 1}, {&position, 1});
      position = positions[i];
    }
  }
  double Load() {
    const uint64_t start = Env::Default().NowNanos();
    std::vector<std::byte> bytes(kBatch * row_bytes, std::byte{1});
    for (size_t first = 0; first < rows; first += kBatch) {
      std::vector<Key> keys(std::min(kBatch, rows - first));
      std::iota(keys.begin(), keys.end(), static_cast<Key>(first));
      Put(keys, {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(keys.size() * row_bytes)}, false);
    }
    Ok(tier->Flush());
    return static_cast<double>(rows) * 1e9 / static_cast<double>(Env::Default().NowNanos() - start);
  }
  std::vector<Key> RandomKeys(size_t n, uint64_t seed) const {
    std::mt19937_64 random(seed);
    std::vector<Key> keys(n);
    for (Key& k : keys) k = static_cast<Key>(random() % rows);
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    std::shuffle(keys.begin(), keys.end(), random);
    return keys;
  }
  void Get(const std::vector<Key>& keys, std::vector<std::byte>* bytes) const {
    std::vector<Position> positions(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) positions[i] = index->positions[static_cast<size_t>(keys[i])];
    bytes->resize(keys.size() * row_bytes);
    Ok(tier->Get(keys, positions, *bytes));
  }
  std::string PathOf(Position position) const { return dir + "/" + ssd_log::SegmentName(position / geometry.slots); }
};

// The device's own rate: the same offsets and lengths, at the same depth, with nothing done to them.
double RawReads(const Table& table, size_t rows, uint64_t round) {
  static std::vector<std::unique_ptr<File>> files(1 << 12);
  return Once(rows, [&] {
    std::vector<ReadRequest> requests;
    for (const Key key : table.RandomKeys(rows, 100 + round)) {
      const Position position = table.index->positions[static_cast<size_t>(key)];
      auto& file = files[position / table.geometry.slots];
      OpenOptions how;
      how.write = false;
      how.direct = true;
      if (file == nullptr) Ok(Env::Default().Open(table.PathOf(position), how, &file));
      const uint64_t offset = table.geometry.offset(position % table.geometry.slots);
      const uint64_t begin = offset / 512 * 512;
      const uint64_t end = (offset + table.geometry.record_bytes + 511) / 512 * 512;
      requests.push_back({file.get(), begin, static_cast<uint32_t>(end - begin)});
    }
    ReadStats stats;
    Ok(Env::Default().ReadBatch(
        requests, kReadMemory, [](size_t, const std::byte*) { return OkStatus(); }, &stats));
  });
}

double OneDirectRead(const Table& table, size_t rows) {
  AlignedBytes buffer = NewAlignedBytes(1 << 16);
  return Rate(rows, [&](int round) {
    for (const Key key : table.RandomKeys(rows, 200 + static_cast<uint64_t>(round))) {
      const Position position = table.index->positions[static_cast<size_t>(key)];
      static std::vector<int> files(1 << 12, -1);
      int& fd = files[position / table.geometry.slots];
      if (fd < 0) fd = ::open(table.PathOf(position).c_str(), O_RDONLY | O_DIRECT);
      const uint64_t offset = table.geometry.offset(position % table.geometry.slots);
      const uint64_t begin = offset / 512 * 512;
      const uint64_t end = (offset + table.geometry.record_bytes + 511) / 512 * 512;
      if (::pread(fd, buffer.get(), end - begin, static_cast<off_t>(begin)) < 0) Die("pread");
    }
  });
}

double MapAndDrop(const Table& table, size_t rows) {
  return Rate(rows, [&](int round) {
    for (size_t number = 0; number < table.rows / table.geometry.slots + 2;
         ++number) {  // cold: what was read is let go
      const int fd = ::open((table.dir + "/" + ssd_log::SegmentName(static_cast<uint32_t>(number))).c_str(), O_RDONLY);
      if (fd < 0) continue;
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      ::close(fd);
    }
    std::vector<std::byte> row(table.row_bytes);
    static std::vector<void*> maps(1 << 12, nullptr);
    const size_t length = table.geometry.file_bytes();
    for (const Key key : table.RandomKeys(rows, 300 + static_cast<uint64_t>(round))) {
      const Position position = table.index->positions[static_cast<size_t>(key)];
      void*& map = maps[position / table.geometry.slots];
      if (map == nullptr) {
        const int fd = ::open(table.PathOf(position).c_str(), O_RDONLY);
        map = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, 0);
        ::close(fd);
        if (map == MAP_FAILED) Die("mmap");
      }
      std::memcpy(row.data(), static_cast<char*>(map) + table.geometry.offset(position % table.geometry.slots),
                  row.size());
      ::madvise(map, length, MADV_DONTNEED);
    }
  });
}

double Overwrite(Table& table, double turnovers, uint64_t* put_p99_ns) {
  std::vector<std::byte> bytes(kBatch * table.row_bytes, std::byte{2});
  SsdLogMetrics before = table.tier->metrics();
  const auto batches = static_cast<size_t>(turnovers * static_cast<double>(table.rows) / kBatch);
  for (size_t b = 0; b < batches; ++b) {
    const std::vector<Key> keys = table.RandomKeys(kBatch, 1000 + b);
    table.Put(keys, {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(keys.size() * table.row_bytes)}, true);
    if (b == batches / 2) before = table.tier->metrics();  // from here on in a steady state
  }
  const SsdLogMetrics after = table.tier->metrics();
  *put_p99_ns = after.put_p99_ns;
  return static_cast<double>(after.written_bytes - before.written_bytes) /
         (static_cast<double>(after.rows_put - before.rows_put) * static_cast<double>(table.row_bytes));
}

}  // namespace

int main(int argc, char** argv) {
  Table table;
  table.dir = argc > 1 ? argv[1] : "/tmp/ssd_log_bench";
  table.rows = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 2000000;
  table.row_bytes = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 256;
  Ok(ssd_log::MakeGeometry(table.row_bytes, uint64_t{64} << 20, &table.geometry));
  std::vector<std::byte> bytes;

  table.Open(SsdIoMode::kDirect, true);
  const double loaded = table.Load();
  // By turns, as the device is shared with others.
  std::vector<double> raws;
  std::vector<double> ours;
  std::vector<double> ratios;
  for (uint64_t round = 0; round < 9; ++round) {
    raws.push_back(RawReads(table, kBatch, round));
    ours.push_back(Once(kBatch, [&] { table.Get(table.RandomKeys(kBatch, 50 + round), &bytes); }));
    ratios.push_back(ours.back() / raws.back());
  }
  const double raw = Median(raws);
  Print("load, direct", loaded, raw);
  Print("raw reads, depth 128", raw, raw);
  Print("direct, one batch", Median(ours), raw);
  std::printf("{\"case\": \"direct / raw by turns\", \"median\": %.3f, \"min\": %.3f, \"max\": %.3f}\n", Median(ratios),
              *std::min_element(ratios.begin(), ratios.end()), *std::max_element(ratios.begin(), ratios.end()));
  Print("one direct pread a row", OneDirectRead(table, 4000), raw);
  Print("map, read, drop a row, cold", MapAndDrop(table, 1000), raw);
  SsdLogMetrics m = table.tier->metrics();
  std::printf(
      "{\"case\": \"reads\", \"io\": \"%s\", \"reads_per_row\": %.3f, \"bytes_per_row\": %.0f, \"max_depth\": %lu}\n",
      m.io.c_str(), static_cast<double>(m.reads) / static_cast<double>(m.rows_got),
      static_cast<double>(m.read_bytes) / static_cast<double>(m.rows_got), m.max_read_depth);
  uint64_t p99 = 0;
  const double amplification = Overwrite(table, 6, &p99);
  m = table.tier->metrics();
  std::printf(
      "{\"case\": \"overwrite\", \"write_amplification\": %.3f, \"live_share\": %.3f, \"put_p50_ms\": %.2f, "
      "\"put_p99_ms\": %.2f}\n",
      amplification, m.live_share, static_cast<double>(m.put_p50_ns) / 1e6, static_cast<double>(p99) / 1e6);
  Ok(table.tier->Settle());
  m = table.tier->metrics();
  std::printf("{\"case\": \"settled\", \"live_share\": %.3f, \"index_bits_per_row\": %.2f}\n", m.live_share,
              static_cast<double>(m.index_bytes) * 8 / static_cast<double>(m.rows));
  table.Open(SsdIoMode::kBuffered, false);
  Print("load, buffered", table.Load(), raw);
  table.Get(table.RandomKeys(kBatch * 16, 1), &bytes);
  Print(
      "buffered, in the page cache",
      Rate(kBatch * 8, [&](int r) { table.Get(table.RandomKeys(kBatch * 8, 50 + static_cast<uint64_t>(r)), &bytes); }),
      raw);
  return 0;
}
