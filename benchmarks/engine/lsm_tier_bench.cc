// The tiers that stand on libraries of others.
//
// leveldb   the tier as it is, in turn with two others in one run:
//             plain     LevelDB as it comes, one Put() and one Get() a row (plain_leveldb.h)
//             defaults  the same tier (batches, sorted, one entry a copy) with LevelDB's own settings
//           and three kinds of work:
//             put       new rows, batch by batch
//             get       rows at random
//             step      what a store under training does: read rows, put them back changed, remove the old copies
//           "trusting" prices the checksums: the tier, and the tier without their verification.
// pmem      Get() of rows at random from each PMEM tier against a plain gather from small pages, positions known.
//
// Axes (default):  --what leveldb,pmem   --rows 1000000   --row_bytes 256   --batch 10000   --repeats 5
//                  --batches 8 (of one repeat)   --path . (the databases and files go into a new directory there)
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/engine/harness.h"
#include "benchmarks/engine/ids.h"
#include "benchmarks/engine/plain_leveldb.h"
#include "ev_tf/base/cpu.h"
#include "ev_tf/tier/leveldb/leveldb_tier.h"
#include "ev_tf/tier/tier_factory.h"

namespace ev::bench {
namespace {

struct Axes {
  uint64_t rows;
  size_t row_bytes;
  size_t batch;
  size_t batches;
  int repeats;
  std::string directory;
};

void FillRow(uint64_t row, uint32_t version, size_t row_bytes, std::byte* out) {
  Random random(row * 31 + version);
  for (size_t i = 0; i < row_bytes; i += sizeof(float)) {  // as weights are: no two rows alike, nothing to compress
    const auto value = static_cast<float>(random.Unit() - 0.5);
    std::memcpy(out + i, &value, sizeof(value));
  }
}

// A tier, and what its store would know: where each row is.
class Table {
 public:
  Table(const Axes& axes, std::unique_ptr<Tier> tier) : axes_(axes), tier_(std::move(tier)), positions_(axes.rows) {}

  Tier& tier() { return *tier_; }

  void Fill() {
    std::vector<uint32_t> rows;
    for (uint64_t first = 0; first < axes_.rows; first += axes_.batch) {
      rows.resize(std::min<uint64_t>(axes_.batch, axes_.rows - first));
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint32_t>(first + i);
      Put(rows, 0);
    }
  }
  void Put(const std::vector<uint32_t>& rows, uint32_t version) {
    keys_ = KeysOf(rows);
    bytes_.resize(rows.size() * axes_.row_bytes);
    for (size_t i = 0; i < rows.size(); ++i)
      FillRow(rows[i], version, axes_.row_bytes, bytes_.data() + i * axes_.row_bytes);
    PutBytes(rows);
  }
  void Get(const std::vector<uint32_t>& rows) {
    keys_ = KeysOf(rows);
    Locate(rows);
    bytes_.resize(rows.size() * axes_.row_bytes);
    Check(tier_->Get(keys_, at_, bytes_));
  }
  void Step(const std::vector<uint32_t>& rows) {
    Get(rows);
    for (size_t i = 0; i < rows.size(); ++i) bytes_[i * axes_.row_bytes] ^= std::byte{1};
    const std::vector<Position> old = at_;
    PutBytes(rows);
    tier_->Remove(keys_, old);
  }
  // The rows of version 0 are what Fill put.
  void CheckRows(const std::vector<uint32_t>& rows) {
    Get(rows);
    std::vector<std::byte> expected(axes_.row_bytes);
    for (size_t i = 0; i < rows.size(); ++i) {
      FillRow(rows[i], 0, axes_.row_bytes, expected.data());
      if (std::memcmp(expected.data(), bytes_.data() + i * axes_.row_bytes, axes_.row_bytes) != 0) Fail("a wrong row");
    }
  }
  const std::vector<Position>& positions() const { return positions_; }

 private:
  void Locate(const std::vector<uint32_t>& rows) {
    at_.resize(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) at_[i] = positions_[rows[i]];
  }
  void PutBytes(const std::vector<uint32_t>& rows) {
    std::vector<Position> given(rows.size());
    Check(tier_->Put(keys_, bytes_, given));
    for (size_t i = 0; i < rows.size(); ++i) positions_[rows[i]] = given[i];
  }

  const Axes axes_;
  std::unique_ptr<Tier> tier_;
  std::vector<Position> positions_;
  std::vector<Key> keys_;
  std::vector<Position> at_;
  std::vector<std::byte> bytes_;
};

std::unique_ptr<Table> OpenLevelDb(const Axes& axes, const std::string& name, const LevelDbTuning& tuning) {
  LevelDbOptions options;
  options.path = axes.directory + "/" + name;
  options.row_bytes = axes.row_bytes;
  options.tuning = tuning;
  std::unique_ptr<LevelDbTier> tier;
  Check(LevelDbTier::Open(options, &tier));
  return std::make_unique<Table>(axes, std::move(tier));
}

void Report(const Axes& axes, const char* what, const Comparison& comparison) {
  JsonLine()
      .Add("what", what)
      .Add("rows", static_cast<int64_t>(axes.rows))
      .Add("row_bytes", static_cast<int64_t>(axes.row_bytes))
      .Add("batch", static_cast<int64_t>(axes.batch))
      .Add(comparison);
}

void LevelDbBench(const Axes& axes) {
  LevelDbTuning unchecked;
  unchecked.verify_checksums = false;
  const auto tier = OpenLevelDb(axes, "tier", LevelDbTuning());
  const auto trusting = OpenLevelDb(axes, "trusting", unchecked);
  const auto defaults = OpenLevelDb(axes, "defaults", LevelDbTuning::LevelDbDefaults());
  const auto plain = std::make_unique<Table>(axes, OpenPlainLevelDb(axes.directory + "/plain", axes.row_bytes));
  const std::vector<std::pair<const char*, Table*>> all = {
      {"tier", tier.get()}, {"trusting", trusting.get()}, {"defaults", defaults.get()}, {"plain", plain.get()}};
  const auto batches = RowBatches("unique", axes.rows, axes.batch, axes.batches * 8, 1);
  // The fill comes once: a table is new once.
  for (const auto& [name, table] : all) {
    const double start = WallSeconds();
    table->Fill();
    Check(table->tier().Flush());
    const double seconds = WallSeconds() - start;
    table->CheckRows(batches[0]);
    JsonLine()
        .Add("what", std::string("leveldb put: ") + name)
        .Add("rows_per_s", static_cast<double>(axes.rows) / seconds)
        .Add("bytes", static_cast<int64_t>(table->tier().bytes()));
  }
  // Each side walks through the batches by itself.
  const auto walk = [&](Table* table, void (Table::*call)(const std::vector<uint32_t>&)) {
    auto next = std::make_shared<size_t>(0);
    return [&axes, &batches, table, call, next] {
      for (size_t i = 0; i < axes.batches; ++i) (table->*call)(batches[(*next)++ % batches.size()]);
    };
  };
  const double units = static_cast<double>(axes.batch * axes.batches);
  for (const auto& [name, table] : all) {
    if (table == tier.get()) continue;
    const std::string against = std::string("tier, ") + name;
    Report(axes, ("leveldb get: " + against).c_str(),
           Compare(axes.repeats, units, walk(tier.get(), &Table::Get), walk(table, &Table::Get)));
    Report(axes, ("leveldb step: " + against).c_str(),
           Compare(axes.repeats, units, walk(tier.get(), &Table::Step), walk(table, &Table::Step)));
  }
}

// Memory in small pages, touched.
class SmallPages {
 public:
  explicit SmallPages(size_t bytes) : bytes_(bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) Fail("no memory for the gather to compare with");
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    data_ = static_cast<char*>(memory);
    std::memset(data_, 1, bytes);
  }
  ~SmallPages() { munmap(data_, bytes_); }
  SmallPages(const SmallPages&) = delete;
  SmallPages& operator=(const SmallPages&) = delete;
  const char* data() const { return data_; }

 private:
  char* data_;
  size_t bytes_;
};

void GatherFrom(const char* memory, const std::vector<uint32_t>& rows, size_t row_bytes, std::byte* out) {
  constexpr size_t kAhead = 16;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i + kAhead < rows.size()) {
      const char* next = memory + rows[i + kAhead] * row_bytes;
      for (size_t offset = 0; offset < row_bytes; offset += 64) PrefetchForRead(next + offset);
    }
    std::memcpy(out + i * row_bytes, memory + rows[i] * row_bytes, row_bytes);
  }
}

void PmemBench(const Axes& axes, TierKind kind) {
  TierOptions options;
  options.kind = kind;
  options.row_bytes = axes.row_bytes;
  options.path = axes.directory;
  std::unique_ptr<Tier> tier;
  const Status status = OpenTier(options, &tier);
  if (status.code() == StatusCode::kUnavailable) {
    JsonLine().Add("what", TierKindName(kind)).Add("left_out", status.message());
    return;
  }
  Check(status);
  Table table(axes, std::move(tier));
  table.Fill();
  const auto batches = RowBatches("uniform", axes.rows, kBatch, 16, 1);
  table.CheckRows(batches[0]);
  const SmallPages pages(axes.rows * axes.row_bytes);
  std::vector<std::vector<Position>> positions;
  std::vector<std::vector<Key>> keys;
  for (const auto& batch : batches) {
    keys.push_back(KeysOf(batch));
    positions.emplace_back();
    for (const uint32_t row : batch) positions.back().push_back(table.positions()[row]);
  }
  std::vector<std::byte> out(kBatch * axes.row_bytes);
  Report(axes, (std::string(TierKindName(kind)) + " get, and a gather from 4 KiB pages").c_str(),
         Compare(
             axes.repeats, static_cast<double>(kBatch * batches.size()),
             [&] {
               for (size_t b = 0; b < batches.size(); ++b) Check(table.tier().Get(keys[b], positions[b], out));
             },
             [&] {
               for (const auto& batch : batches) GatherFrom(pages.data(), batch, axes.row_bytes, out.data());
             }));
}

}  // namespace
}  // namespace ev::bench

int main(int argc, char** argv) {
  using namespace ev::bench;  // NOLINT: a program
  Arguments arguments(argc, argv);
  const std::vector<std::string> what = arguments.Texts("what", {"leveldb", "pmem"});
  Axes axes;
  axes.rows = static_cast<uint64_t>(arguments.Int("rows", 1000000));
  axes.row_bytes = static_cast<size_t>(arguments.Int("row_bytes", 256));
  axes.batch = static_cast<size_t>(arguments.Int("batch", 10000));
  axes.batches = static_cast<size_t>(arguments.Int("batches", 8));
  axes.repeats = static_cast<int>(arguments.Int("repeats", 5));
  const ScratchSpace scratch(arguments.Text("path", "."));
  arguments.Done();
  axes.directory = scratch.path();
  for (const std::string& name : what) {
    if (name == "leveldb") {
      LevelDbBench(axes);
    } else if (name == "pmem") {
      PmemBench(axes, ev::TierKind::kPmemLibpmem);
      PmemBench(axes, ev::TierKind::kPmemMemkind);
    } else {
      Fail("--what: expected leveldb or pmem, received " + name);
    }
  }
  return 0;
}
