// LevelDbTier: rows in a LevelDB database, one database for each tier, in a directory of its own (FORMAT.md).
//
// Positions:   LevelDB needs none, the store does: a copy that is to be removed must not take a newer one with it.  So every
//              row that is put gets a number of its own, which is part of its key in the database.  Two copies of one key
//              live side by side, Remove() is the deletion of exactly one of them, without a look at the other, and size()
//              is a count.  A key whose row was removed and still stands in the database gets its position again
//              (vacated.h).  The other numbers count up; after 2^30 - 1 of them they start again, and from then on Put()
//              looks whether its number is free.
// Threads:     any method, from any thread, at once.  LevelDB brings one thread for the compactions of all databases of the
//              process.
// Memory:      one block cache for all tiers of the process; write buffers shrink as tiers become many (WriteBufferGrant).
// Durability:  a row that was put before a Flush() that returned OK survives a power cut; one put later may be lost, never
//              torn.  A row removed later than that may be back after a crash, at the position it had.
// Removals:    Remove() notes what a later Put() overwrites or deletes, or Flush(), so that nobody who holds a lock waits
//              for the device.
// Failures:    after a write that failed nothing is added to LevelDB's log, whose end may be torn: the next Put() or
//              Flush() starts a new one.  Where a compaction failed, LevelDB refuses all writes until the database is opened
//              anew.  Rows stay readable throughout.  A deletion that cannot be written is kept for the next write.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ev_tf/tier/leveldb/format.h"
#include "ev_tf/tier/leveldb/vacated.h"
#include "ev_tf/tier/tier.h"

namespace leveldb {
class Cache;
class DB;
class FilterPolicy;
struct Options;
class WriteBatch;
}  // namespace leveldb

namespace ev {

// What to do with rows that are in a tier's directory when it is opened.
enum class OldRows : uint8_t {
  kKeep,  // they are rows of the tier; see LevelDbTier::Scan
  kDrop,  // they are deleted
};

// How LevelDB is set.  The defaults were chosen by benchmarks/engine/lsm_tier_bench.cc.
struct LevelDbTuning {
  int bloom_bits = 10;            // of the Bloom filter, a row; 0: none, and a Get reads a block of each level
  size_t write_buffer_bytes = 0;  // 0: 32 MiB, less where a process has many tiers
  size_t cache_bytes = 0;         // 0: the cache that all tiers share
  size_t block_bytes = 2 << 10;   // each is verified and searched for one row
  size_t file_bytes = 8 << 20;    // LevelDB maps the first 1,000 files: big ones keep a big tier mapped
  bool compress = false;          // trained floats do not shrink
  bool verify_checksums = true;   // of every block read: a flipped bit is an error, not a weight

  // LevelDB as it comes, to be compared with.
  static LevelDbTuning LevelDbDefaults();
};

struct LevelDbOptions {
  std::string path;  // the tier's directory, made if it is missing; its parent must be there
  size_t row_bytes = 0;
  OldRows old_rows = OldRows::kKeep;
  LevelDbTuning tuning;
  Position first_position = 0;  // where a new database starts to count
};

// The share of one tier in the write buffers of the process: 32 MiB for the first ones, then a sixteenth of what is left, at
// least 1 MiB.
class WriteBufferGrant {
 public:
  static constexpr size_t kProcessBytes = size_t{1} << 30;
  static constexpr size_t kMaxBytes = size_t{32} << 20;
  static constexpr size_t kMinBytes = size_t{1} << 20;

  WriteBufferGrant();
  ~WriteBufferGrant();
  WriteBufferGrant(const WriteBufferGrant&) = delete;
  WriteBufferGrant& operator=(const WriteBufferGrant&) = delete;
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
};

class LevelDbTier final : public Tier {
 public:
  // InvalidArgument: row_bytes is 0, or another one than the database's; the directory holds something else.
  // Unavailable: another tier or process has it open.  IoError, OutOfSpace, Corruption: as LevelDB says, with the path.
  static Status Open(const LevelDbOptions& options, std::unique_ptr<LevelDbTier>* out);
  ~LevelDbTier() override;

  const char* name() const override { return "leveldb"; }
  size_t row_bytes() const override { return row_bytes_; }
  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override;
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override;
  void Remove(Span<const Key> keys, Span<const Position> positions) override;
  Status Flush() override;
  size_t size() const override { return size_.load(std::memory_order_relaxed); }
  size_t bytes() const override;  // of the files in the directory

  using Visitor = std::function<void(Key, Position, Span<const std::byte> row)>;
  // Visits every row of one moment, in the order of the keys.
  Status Scan(const Visitor& visit) const;

 private:
  using RowKey = std::array<char, leveldb_format::kRowKeyBytes>;

  explicit LevelDbTier(const LevelDbOptions& options);
  Status OpenDatabase();
  Status CheckFormat(bool* ours) const;
  Status DropRows();
  // Writes the format if the database is new, else counts its rows and finds a position to go on from.
  Status Recover();

  Status TakePosition(Key key, Position* position);
  // Writes rows [first, last) of a Put; their keys go into `added` even if it fails.
  Status PutChunk(Span<const Key> keys, Span<const std::byte> rows, size_t first, size_t last, Span<Position> positions,
                  std::vector<RowKey>* added);
  // All writes come through here: a new log first if the last write failed, then deletions that were kept, then `batch`.
  // Requires: mu_ is held.
  Status Write(leveldb::WriteBatch* batch);
  // Deletes what no Put has overwritten, and what was kept.  Requires: mu_ is held.
  Status WriteAllDeletions();
  // LevelDB starts a new log and hands what is in memory to its thread, when that has written out what it had before.
  Status StartNewLog();
  std::string Where() const { return "leveldb tier " + path_; }

  // Constant after Open.
  const std::string path_;
  const size_t row_bytes_;
  const LevelDbOptions asked_;
  const WriteBufferGrant buffer_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::Cache> own_cache_;
  std::unique_ptr<leveldb::DB> db_;  // after what it uses, so that it goes first

  std::atomic<uint64_t> next_{0};  // numbers ever given, the next one modulo the number of positions
  std::atomic<size_t> size_{0};    // relaxed: a count, it orders nothing

  mutable std::mutex mu_;  // LevelDB orders writers anyway; from when a Put takes vacated positions until it is written
  bool log_is_torn_ = false;    // guarded by mu_; the last write failed
  mutable std::mutex kept_mu_;  // after mu_; never held for longer than a copy takes
  // Guarded by kept_mu_, taken from under mu_ alone.
  VacatedPositions vacated_;
  std::vector<RowKey> kept_;  // deletions that are not written yet
};

}  // namespace ev
