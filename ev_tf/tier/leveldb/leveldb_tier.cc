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
#include <system_error>
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/tier/leveldb/leveldb_status.h"

namespace ev {
namespace {

using leveldb_format::kFormatBytes;
using leveldb_format::kFormatKey;
using leveldb_format::kFormatKeyBytes;
using leveldb_format::kMagic;
using leveldb_format::kRowKeyBytes;

constexpr uint64_t kPositions = uint64_t{kMaxPosition} + 1;
constexpr size_t kSharedCacheBytes = size_t{256} << 20;
// Rows of one write.  A bigger Put is several writes, and is undone if a later one fails: a batch is copied twice on its way.
constexpr size_t kBatchBytes = size_t{32} << 20;
// Deletions of 12 bytes that may wait for a write; more are written by who removes.
constexpr size_t kManyKept = size_t{1} << 20;

leveldb::Cache* SharedCache() {
  static leveldb::Cache* cache =
      leveldb::NewLRUCache(kSharedCacheBytes);  // never destroyed: a tier may outlive statics
  return cache;
}

// Indices [first, last) in the order of their keys: that of the database, in which blocks are read once, and the paths to
// neighbours in LevelDB's memory are in the cache.
std::vector<uint32_t> InKeyOrder(Span<const Key> keys, size_t first, size_t last) {
  std::vector<uint32_t> order(last - first);
  std::iota(order.begin(), order.end(), static_cast<uint32_t>(first));
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
  return order;
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
  tuning.compress = true;
  tuning.verify_checksums = false;
  return tuning;
}

LevelDbTier::LevelDbTier(const LevelDbOptions& options)
    : path_(options.path), row_bytes_(options.row_bytes), asked_(options) {}

LevelDbTier::~LevelDbTier() {
  if (db_ == nullptr) return;
  std::lock_guard<std::mutex> lock(mu_);
  static_cast<void>(WriteAllDeletions());  // what cannot be removed is found by who keeps old rows, as after a crash
}

Status LevelDbTier::Open(const LevelDbOptions& options, std::unique_ptr<LevelDbTier>* out) {
  if (options.row_bytes == 0 || options.row_bytes > UINT32_MAX) {
    return InvalidArgument("leveldb tier " + options.path + ": row_bytes: expected 1 to 2^32 - 1, found " +
                           std::to_string(options.row_bytes));
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
  if (version != leveldb_format::kVersion) {
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
    next_ = asked_.first_position;
    char format[kFormatBytes];
    std::memcpy(format, kMagic, sizeof(kMagic));
    leveldb_format::EncodeLittleEndian32(leveldb_format::kVersion, format + sizeof(kMagic));
    leveldb_format::EncodeLittleEndian32(static_cast<uint32_t>(row_bytes_), format + sizeof(kMagic) + sizeof(uint32_t));
    leveldb::WriteOptions synced;
    synced.sync = true;
    return FromLevelDb(db_->Put(synced, FormatKey(), leveldb::Slice(format, kFormatBytes)),
                       Where() + ": write the format");
  }
  size_t count = 0;
  uint64_t next = 0;
  EV_RETURN_IF_ERROR(Scan([&](Key, Position position, Span<const std::byte>) {
    ++count;
    next = std::max(next, uint64_t{position} + 1);
  }));
  // Numbers above the highest are free until the count starts again.
  next_ = next;
  size_ = count;
  return OkStatus();
}

Status LevelDbTier::Scan(const Visitor& visit) const {
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  std::vector<RowKey> removed;
  std::unique_ptr<leveldb::Iterator> it;
  {
    const std::scoped_lock lock(mu_, kept_mu_);
    removed = kept_;
    vacated_.ForEach([&](const VacatedPositions::Entry& entry) {
      leveldb_format::EncodeRowKey(entry.key, entry.position, removed.emplace_back().data());
    });
    it.reset(db_->NewIterator(options));
  }
  std::sort(removed.begin(), removed.end());
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const leveldb::Slice key = it->key();
    const leveldb::Slice row = it->value();
    if (key == FormatKey()) continue;
    RowKey row_key{};
    std::memcpy(row_key.data(), key.data(), std::min(key.size(), row_key.size()));
    if (std::binary_search(removed.begin(), removed.end(), row_key)) continue;
    if (key.size() != kRowKeyBytes || row.size() != row_bytes_) {
      return Corruption(Where() + ": expected keys of 12 bytes and rows of " + std::to_string(row_bytes_) +
                        " bytes, found " + std::to_string(key.size()) + " and " + std::to_string(row.size()));
    }
    visit(leveldb_format::DecodeKey(key.data()), leveldb_format::DecodePosition(key.data()),
          {reinterpret_cast<const std::byte*>(row.data()), row.size()});
  }
  return FromLevelDb(it->status(), Where() + ": scan");
}

Status LevelDbTier::Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) {
  leveldb::ReadOptions options;
  options.verify_checksums = asked_.tuning.verify_checksums;
  std::string row;
  RowKey row_key;
  for (const uint32_t i : InKeyOrder(keys, 0, keys.size())) {
    leveldb_format::EncodeRowKey(keys[i], positions[i], row_key.data());
    const leveldb::Status status = db_->Get(options, leveldb::Slice(row_key.data(), row_key.size()), &row);
    if (!status.ok()) {
      return FromLevelDb(status, Where() + ": key " + std::to_string(keys[i]) + " at " + std::to_string(positions[i]));
    }
    if (row.size() != row_bytes_) {
      return Corruption(Where() + ": key " + std::to_string(keys[i]) + ": expected a row of " +
                        std::to_string(row_bytes_) + " bytes, found " + std::to_string(row.size()));
    }
    std::memcpy(rows.data() + i * row_bytes_, row.data(), row_bytes_);
  }
  return OkStatus();
}

Status LevelDbTier::TakePosition(Key key, Position* position) {
  for (;;) {
    const uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
    const auto candidate = static_cast<Position>(number % kPositions);
    leveldb::Status status = leveldb::Status::NotFound("");
    if (number >= kPositions) {  // before, nobody has had it
      RowKey row_key;
      leveldb_format::EncodeRowKey(key, candidate, row_key.data());
      std::string row;
      status = db_->Get(leveldb::ReadOptions(), leveldb::Slice(row_key.data(), row_key.size()), &row);
    }
    if (status.IsNotFound()) {
      *position = candidate;
      return OkStatus();
    }
    if (!status.ok()) return FromLevelDb(status, Where() + ": look for a free position");
  }
}

Status LevelDbTier::PutChunk(Span<const Key> keys, Span<const std::byte> rows, size_t first, size_t last,
                             Span<Position> positions, std::vector<RowKey>* added) {
  leveldb::WriteBatch batch;
  const std::vector<uint32_t> order = InKeyOrder(keys, first, last);
  std::lock_guard<std::mutex> lock(mu_);
  {
    std::lock_guard<std::mutex> kept(kept_mu_);
    for (const uint32_t i : order) positions[i] = vacated_.Take(keys[i]);
  }
  Status status;
  for (const uint32_t i : order) {
    if (positions[i] == VacatedPositions::kNone && status.ok()) status = TakePosition(keys[i], &positions[i]);
    if (positions[i] == VacatedPositions::kNone) continue;
    RowKey& row_key = added->emplace_back();
    leveldb_format::EncodeRowKey(keys[i], positions[i], row_key.data());
    batch.Put(leveldb::Slice(row_key.data(), row_key.size()),
              leveldb::Slice(reinterpret_cast<const char*>(rows.data()) + i * row_bytes_, row_bytes_));
  }
  return status.ok() ? Write(&batch) : status;
}

Status LevelDbTier::Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
  const size_t n = keys.size();
  const size_t before = size_.fetch_add(n, std::memory_order_relaxed);
  if (before + n > kPositions) {
    size_.fetch_sub(n, std::memory_order_relaxed);
    return OutOfSpace(Where() + ": expected at most " + std::to_string(kPositions) + " rows, " +
                      std::to_string(before) + " are there and " + std::to_string(n) + " more are wanted");
  }
  const size_t step = std::max<size_t>(1, kBatchBytes / row_bytes_);
  std::vector<RowKey> added;
  added.reserve(n);
  for (size_t first = 0; first < n; first += step) {
    Status status = PutChunk(keys, rows, first, std::min(first + step, n), positions, &added);
    if (!status.ok()) {
      size_.fetch_sub(n, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(kept_mu_);
      kept_.insert(kept_.end(), added.begin(), added.end());  // also what failed: LevelDB's log may hold it
      return status;
    }
  }
  return OkStatus();
}

void LevelDbTier::Remove(Span<const Key> keys, Span<const Position> positions) {
  if (keys.empty()) return;
  size_.fetch_sub(keys.size(), std::memory_order_relaxed);
  size_t kept = 0;
  {
    std::lock_guard<std::mutex> lock(kept_mu_);
    vacated_.Fit(size() + keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      VacatedPositions::Entry lost;
      vacated_.Add(keys[i], positions[i], &lost);
      if (lost.position == VacatedPositions::kNone) continue;
      leveldb_format::EncodeRowKey(lost.key, lost.position, kept_.emplace_back().data());
    }
    kept = kept_.size();
  }
  if (kept < kManyKept) return;
  const std::unique_lock<std::mutex> lock(mu_, std::try_to_lock);
  if (lock.owns_lock()) static_cast<void>(Write(nullptr));  // or they wait on, and the next Put or Flush says why
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
  std::vector<RowKey> removed;
  {
    std::lock_guard<std::mutex> lock(kept_mu_);
    removed = kept_;
  }
  if (!removed.empty()) {
    std::sort(removed.begin(), removed.end());
    leveldb::WriteBatch deletions;
    for (const RowKey& row_key : removed) deletions.Delete(leveldb::Slice(row_key.data(), row_key.size()));
    const leveldb::Status status = db_->Write(leveldb::WriteOptions(), &deletions);
    log_is_torn_ = !status.ok();
    EV_RETURN_IF_ERROR(FromLevelDb(status, Where() + ": remove rows"));
    std::lock_guard<std::mutex> lock(kept_mu_);
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(removed.size()));
  }
  if (batch == nullptr) return OkStatus();
  const leveldb::Status status = db_->Write(leveldb::WriteOptions(), batch);
  log_is_torn_ = !status.ok();
  return FromLevelDb(status, Where() + ": write");
}

Status LevelDbTier::WriteAllDeletions() {
  {
    std::lock_guard<std::mutex> lock(kept_mu_);
    vacated_.ForEach([&](const VacatedPositions::Entry& entry) {
      leveldb_format::EncodeRowKey(entry.key, entry.position, kept_.emplace_back().data());
    });
    vacated_.Clear();
  }
  return Write(nullptr);
}

Status LevelDbTier::Flush() {
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(WriteAllDeletions());
  // A synced write would make the newest log durable, not one that LevelDB has just left for it.  The second call waits
  // until what the first one handed over stands in a file, which LevelDB syncs.
  EV_RETURN_IF_ERROR(StartNewLog());
  return StartNewLog();
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
