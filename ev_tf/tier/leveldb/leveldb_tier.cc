#include "ev_tf/tier/leveldb/leveldb_tier.h"

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/iterator.h>
#include <leveldb/options.h>
#include <leveldb/write_batch.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <sstream>
#include <system_error>
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/tier/leveldb/leveldb_status.h"

namespace ev {
namespace {

using leveldb_format::kFormatBytes;
using leveldb_format::kFormatKey;
using leveldb_format::kFormatKeyBytes;
using leveldb_format::kKeyBytes;
using leveldb_format::kMagic;
using leveldb_format::kRowKeyBytes;

constexpr size_t kSharedCacheBytes = size_t{256} << 20;
// Rows of one write.  A bigger Put is several writes, and is undone if a later one fails: a batch is copied twice on its way.
constexpr size_t kBatchBytes = size_t{8} << 20;
// Deletions of one write.
constexpr size_t kDeletions = size_t{1} << 14;

leveldb::Cache* SharedCache() {
  static leveldb::Cache* cache =
      leveldb::NewLRUCache(kSharedCacheBytes);  // never destroyed: a tier may outlive statics
  return cache;
}

// The order of the database, in which blocks are read once, and the paths to neighbours are in the cache.
std::vector<uint32_t> InOrder(Span<const Position> positions) {
  std::vector<uint32_t> order(positions.size());
  std::iota(order.begin(), order.end(), uint32_t{0});
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return positions[a] < positions[b]; });
  return order;
}

class RowKey {
 public:
  explicit RowKey(Position position) { leveldb_format::EncodePosition(position, bytes_); }
  leveldb::Slice slice() const { return {bytes_, sizeof(bytes_)}; }

 private:
  char bytes_[kRowKeyBytes];
};

// What LevelDB has done since it was opened, by its own account, which is rounded to MB.
struct TableBytes {
  int64_t written = 0;  // of tables
  int64_t merged = 0;   // read by compactions
};

TableBytes TableBytesOf(leveldb::DB& db) {
  std::string text;
  db.GetProperty("leveldb.stats", &text);
  std::istringstream lines(text);
  TableBytes bytes;
  for (std::string line; std::getline(lines, line);) {  // of a level each, under a heading
    std::istringstream fields(line);
    double level = 0, files = 0, size = 0, seconds = 0, read = 0, written = 0;
    if (!(fields >> level >> files >> size >> seconds >> read >> written)) continue;
    bytes.written += static_cast<int64_t>(written * (1 << 20));
    bytes.merged += static_cast<int64_t>(read * (1 << 20));
  }
  return bytes;
}

leveldb::Slice FormatKey() { return {kFormatKey, kFormatKeyBytes}; }

std::mutex& GrantMutex() {
  static auto* mu = new std::mutex();
  return *mu;
}
size_t granted_bytes = 0;  // guarded by GrantMutex()

}  // namespace

WriteBufferGrant::WriteBufferGrant() {
  std::lock_guard<std::mutex> lock(GrantMutex());
  const size_t left = kProcessBytes - std::min(kProcessBytes, granted_bytes);
  bytes_ = std::clamp(left / 16, kMinBytes, kMaxBytes);
  granted_bytes += bytes_;
}

WriteBufferGrant::~WriteBufferGrant() {
  std::lock_guard<std::mutex> lock(GrantMutex());
  granted_bytes -= bytes_;
}

LevelDbTuning LevelDbTuning::LevelDbDefaults() {
  const leveldb::Options defaults;
  LevelDbTuning tuning;
  tuning.bloom_bits = 0;
  tuning.write_buffer_bytes = defaults.write_buffer_size;
  tuning.cache_bytes = size_t{8} << 20;
  tuning.block_bytes = defaults.block_size;
  tuning.file_bytes = defaults.max_file_size;
  tuning.open_files = defaults.max_open_files;
  tuning.compress = true;
  tuning.verify_checksums = false;
  return tuning;
}

LevelDbTier::LevelDbTier(const LevelDbOptions& options)
    : path_(options.path), row_bytes_(options.row_bytes), asked_(options), sweep_(options.most_rows) {}

LevelDbTier::~LevelDbTier() = default;

Status LevelDbTier::Open(const LevelDbOptions& options, std::unique_ptr<LevelDbTier>* out) {
  if (options.row_bytes == 0 || options.row_bytes > UINT32_MAX) {
    return InvalidArgument("leveldb tier " + options.path + ": row_bytes: expected 1 to 2^32 - 1, found " +
                           std::to_string(options.row_bytes));
  }
  if (options.most_rows == 0 || options.most_rows > size_t{kMaxPosition} + 1) {
    return InvalidArgument("leveldb tier " + options.path + ": most_rows: expected 1 to 2^30 - 1, found " +
                           std::to_string(options.most_rows));
  }
  if (options.path.empty()) return InvalidArgument("leveldb tier: path: expected a directory, found an empty string");
  std::unique_ptr<LevelDbTier> tier(new LevelDbTier(options));
  EV_RETURN_IF_ERROR(tier->OpenDatabase());
  if (options.old_rows == OldRows::kDrop) EV_RETURN_IF_ERROR(tier->DropRows());
  EV_RETURN_IF_ERROR(tier->Recover());
  *out = std::move(tier);
  return OkStatus();
}

Status LevelDbTier::OpenDatabase() {
  const LevelDbTuning& tuning = asked_.tuning;
  leveldb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;  // damage stops the tier instead of costing rows in silence
  options.write_buffer_size = tuning.write_buffer_bytes != 0 ? tuning.write_buffer_bytes : buffer_.bytes();
  options.block_size = tuning.block_bytes;
  options.max_file_size = tuning.file_bytes;
  options.max_open_files = tuning.open_files;
  options.compression = tuning.compress ? leveldb::kSnappyCompression : leveldb::kNoCompression;
  if (tuning.bloom_bits > 0 && filter_ == nullptr) filter_.reset(leveldb::NewBloomFilterPolicy(tuning.bloom_bits));
  options.filter_policy = filter_.get();
  if (tuning.cache_bytes != 0 && own_cache_ == nullptr) own_cache_.reset(leveldb::NewLRUCache(tuning.cache_bytes));
  options.block_cache = own_cache_ != nullptr ? own_cache_.get() : SharedCache();
  leveldb::DB* db = nullptr;
  const leveldb::Status status = leveldb::DB::Open(options, path_, &db);
  db_.reset(db);
  return FromLevelDb(status, Where() + ": open");
}

Status LevelDbTier::CheckFormat(bool* ours) const {
  std::string value;
  const leveldb::Status status = db_->Get(leveldb::ReadOptions(), FormatKey(), &value);
  *ours = false;
  if (status.IsNotFound()) {
    const std::unique_ptr<leveldb::Iterator> first(db_->NewIterator(leveldb::ReadOptions()));
    first->SeekToFirst();
    if (first->Valid())
      return InvalidArgument(Where() + ": expected a tier's database, found one without a format key");
    return FromLevelDb(first->status(), Where() + ": read");
  }
  EV_RETURN_IF_ERROR(FromLevelDb(status, Where() + ": read the format key"));
  if (value.size() < kFormatBytes || std::memcmp(value.data(), kMagic, sizeof(kMagic)) != 0) {
    return InvalidArgument(Where() + ": expected a tier's database, found one with another format key");
  }
  const uint32_t version = leveldb_format::DecodeLittleEndian32(value.data() + sizeof(kMagic));
  const bool old = version < leveldb_format::kVersion && asked_.old_rows == OldRows::kDrop;
  if (version != leveldb_format::kVersion && !old) {
    return InvalidArgument(Where() + ": format version: expected " + std::to_string(leveldb_format::kVersion) +
                           ", found " + std::to_string(version));
  }
  *ours = true;
  const uint32_t row_bytes = leveldb_format::DecodeLittleEndian32(value.data() + sizeof(kMagic) + sizeof(uint32_t));
  if (row_bytes != row_bytes_ && asked_.old_rows == OldRows::kKeep) {
    return InvalidArgument(Where() + ": row_bytes: expected " + std::to_string(row_bytes_) + ", found rows of " +
                           std::to_string(row_bytes) + " bytes");
  }
  return OkStatus();
}

Status LevelDbTier::DropRows() {
  bool ours = false;
  EV_RETURN_IF_ERROR(CheckFormat(&ours));  // what no tier made is not ours to delete
  if (!ours) return OkStatus();
  db_.reset();
  EV_RETURN_IF_ERROR(FromLevelDb(leveldb::DestroyDB(path_, leveldb::Options()), Where() + ": delete old rows"));
  return OpenDatabase();
}

Status LevelDbTier::Recover() {
  bool ours = false;
  EV_RETURN_IF_ERROR(CheckFormat(&ours));
  if (!ours) {
    char format[kFormatBytes];
    std::memcpy(format, kMagic, sizeof(kMagic));
    leveldb_format::EncodeLittleEndian32(leveldb_format::kVersion, format + sizeof(kMagic));
    leveldb_format::EncodeLittleEndian32(static_cast<uint32_t>(row_bytes_), format + sizeof(kMagic) + sizeof(uint32_t));
    leveldb::WriteOptions synced;
    synced.sync = true;
    return FromLevelDb(db_->Put(synced, FormatKey(), leveldb::Slice(format, kFormatBytes)),
                       Where() + ": write the format");
  }
  const std::unique_ptr<leveldb::Iterator> it(NewScan());
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    if (it->key() == FormatKey()) continue;
    EV_RETURN_IF_ERROR(CheckEntry(*it));
    const Position position = leveldb_format::DecodePosition(it->key().data());
    if (position > kMaxPosition) {
      return Corruption(Where() + ": expected positions below 2^30 - 1, found " + std::to_string(position));
    }
    if (position >= asked_.most_rows) {
      return InvalidArgument(Where() + ": most_rows: expected more than " + std::to_string(position) +
                             ", where a row is, found " + std::to_string(asked_.most_rows));
    }
    sweep_.TakeThis(position);
  }
  size_ = sweep_.taken();
  return FromLevelDb(it->status(), Where() + ": scan");
}

std::unique_ptr<leveldb::Iterator> LevelDbTier::NewScan() const {
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  return std::unique_ptr<leveldb::Iterator>(db_->NewIterator(options));
}

Status LevelDbTier::CheckEntry(const leveldb::Iterator& entry) const {
  if (entry.key().size() == kRowKeyBytes && entry.value().size() == kKeyBytes + row_bytes_) return OkStatus();
  return Corruption(Where() + ": expected keys of " + std::to_string(kRowKeyBytes) + " bytes and values of " +
                    std::to_string(kKeyBytes + row_bytes_) + " bytes, found " + std::to_string(entry.key().size()) +
                    " and " + std::to_string(entry.value().size()));
}

Status LevelDbTier::Scan(const Visitor& visit) const {
  std::unique_ptr<leveldb::Iterator> it;
  std::unique_ptr<const PositionSweep> rows;  // of the same moment
  {
    std::lock_guard<std::mutex> lock(mu_);  // positions are taken under it
    it = NewScan();
    std::lock_guard<std::mutex> sweep(sweep_mu_);
    rows = std::make_unique<const PositionSweep>(sweep_);
  }
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    if (it->key() == FormatKey()) continue;
    EV_RETURN_IF_ERROR(CheckEntry(*it));
    const Position position = leveldb_format::DecodePosition(it->key().data());
    if (!rows->IsTaken(position)) continue;
    const char* value = it->value().data();
    visit(leveldb_format::DecodeKey(value), position,
          {reinterpret_cast<const std::byte*>(value) + kKeyBytes, row_bytes_});
  }
  return FromLevelDb(it->status(), Where() + ": scan");
}

Status LevelDbTier::Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) {
  leveldb::ReadOptions options;
  options.verify_checksums = asked_.tuning.verify_checksums;
  std::string value;
  for (const uint32_t i : InOrder(positions)) {
    const auto here = [&] {
      return Where() + ": key " + std::to_string(keys[i]) + " at " + std::to_string(positions[i]);
    };
    const leveldb::Status status = db_->Get(options, RowKey(positions[i]).slice(), &value);
    if (!status.ok()) return FromLevelDb(status, here());
    if (value.size() != kKeyBytes + row_bytes_) {
      return Corruption(here() + ": expected a value of " + std::to_string(kKeyBytes + row_bytes_) + " bytes, found " +
                        std::to_string(value.size()));
    }
    if (leveldb_format::DecodeKey(value.data()) != keys[i]) return NotFound(here() + ": found another key's row");
    std::memcpy(rows.data() + i * row_bytes_, value.data() + kKeyBytes, row_bytes_);
  }
  return OkStatus();
}

Status LevelDbTier::PutChunk(Span<const Key> keys, Span<const std::byte> rows, size_t first, size_t last,
                             Span<Position> positions) {
  {
    std::lock_guard<std::mutex> lock(sweep_mu_);
    for (size_t i = first; i < last; ++i) positions[i] = sweep_.Take();
  }
  leveldb::WriteBatch batch;
  std::string value(kKeyBytes + row_bytes_, '\0');
  for (size_t i = first; i < last; ++i) {
    leveldb_format::EncodeKey(keys[i], value.data());
    std::memcpy(value.data() + kKeyBytes, rows.data() + i * row_bytes_, row_bytes_);
    batch.Put(RowKey(positions[i]).slice(), value);
  }
  return Write(&batch);
}

Status LevelDbTier::Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
  const size_t n = keys.size();
  const size_t step = std::max<size_t>(1, kBatchBytes / row_bytes_);
  std::lock_guard<std::mutex> lock(mu_);
  size_t excess = 0;
  {
    std::lock_guard<std::mutex> sweep(sweep_mu_);
    if (n > asked_.most_rows - sweep_.taken()) {
      return OutOfSpace(Where() + ": expected at most " + std::to_string(asked_.most_rows) + " rows, " +
                        std::to_string(sweep_.taken()) + " are there and " + std::to_string(n) + " more are wanted");
    }
    excess = sweep_.stale() - std::min(sweep_.stale(), sweep_.taken() + n);
  }
  for (size_t first = 0; first < n; first += step) {
    const size_t last = std::min(first + step, n);
    Status status = PutChunk(keys, rows, first, last, positions);
    if (status.ok()) continue;
    static_cast<void>(GiveBack(positions.subspan(0, last)));  // what failed may be in LevelDB's log
    return status;
  }
  size_.fetch_add(n, std::memory_order_relaxed);
  // If this fails they stay stale, and are deleted another time.
  if (excess > 0) static_cast<void>(DeleteStale(std::min(excess, kDeletions)));
  return OkStatus();
}

void LevelDbTier::Remove(Span<const Key> /*keys*/, Span<const Position> positions) {
  size_.fetch_sub(GiveBack(positions), std::memory_order_relaxed);
}

size_t LevelDbTier::GiveBack(Span<const Position> positions) {
  std::lock_guard<std::mutex> lock(sweep_mu_);
  size_t given_back = 0;
  for (const Position position : positions) given_back += sweep_.GiveBack(position) ? 1 : 0;
  return given_back;
}

Status LevelDbTier::StartNewLog() {
  // No batch: LevelDB's own way to have its memory written out.
  return FromLevelDb(db_->Write(leveldb::WriteOptions(), nullptr), Where() + ": start a new log");
}

Status LevelDbTier::Write(leveldb::WriteBatch* batch) {
  EV_SYNC_POINT("leveldb.write");
  if (log_is_torn_) {
    EV_RETURN_IF_ERROR(StartNewLog());
    log_is_torn_ = false;
  }
  const leveldb::Status status = db_->Write(leveldb::WriteOptions(), batch);
  log_is_torn_ = !status.ok();
  if (status.ok()) log_bytes_.fetch_add(static_cast<int64_t>(batch->ApproximateSize()), std::memory_order_relaxed);
  return FromLevelDb(status, Where() + ": write");
}

Status LevelDbTier::DeleteStale(size_t n) {
  std::vector<Position> positions;
  {
    std::lock_guard<std::mutex> lock(sweep_mu_);
    positions = sweep_.TakeStale(n);
  }
  for (size_t first = 0; first < positions.size(); first += kDeletions) {
    leveldb::WriteBatch batch;
    for (size_t i = first; i < std::min(first + kDeletions, positions.size()); ++i) {
      batch.Delete(RowKey(positions[i]).slice());
    }
    Status status = Write(&batch);
    if (status.ok()) continue;
    std::lock_guard<std::mutex> lock(sweep_mu_);
    sweep_.MarkStale(Span<const Position>(positions).subspan(first, positions.size() - first));
    return status;
  }
  return OkStatus();
}

Status LevelDbTier::Flush() {
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(DeleteStale(asked_.most_rows));
  // A synced write would make the newest log durable, not one that LevelDB has just left for it.  The second call waits
  // until what the first one handed over stands in a file, which LevelDB syncs.
  EV_RETURN_IF_ERROR(StartNewLog());
  log_is_torn_ = false;
  return StartNewLog();
}

TierMetrics LevelDbTier::tier_metrics() const {
  TierMetrics m = Tier::tier_metrics();
  const TableBytes tables = TableBytesOf(*db_);
  m.written_bytes = log_bytes_.load(std::memory_order_relaxed) + tables.written;
  m.compaction_bytes = tables.merged;
  std::lock_guard<std::mutex> lock(sweep_mu_);
  m.index_bytes = static_cast<int64_t>(sweep_.bytes());
  return m;
}

size_t LevelDbTier::bytes() const {
  size_t bytes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;  // a compaction may delete it under way
    const auto size = it->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

}  // namespace ev
