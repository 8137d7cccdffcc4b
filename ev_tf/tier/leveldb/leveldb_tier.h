// LevelDbTier: rows in a LevelDB database, one database for each tier, in a directory of its own (FORMAT.md).
//
// The database is in the order of the positions, which go round (position_sweep.h): a Put overwrites rows that are gone, in a
// narrow range of LevelDB's files, and a read finds most of these out of the question by their range.  In the order of the keys
// every row that is put would be merged with files from all over the database, and read through all levels.  Removing a row
// writes nothing: it is overwritten when the sweep comes by, or deleted where stale rows have become more than others.
//
// Threads:     any method, from any thread, at once.  LevelDB brings one thread for the compactions of all databases of the
//              process.
// Memory:      two bits a position; one block cache for all tiers of the process; write buffers shrink as tiers become many
//              (WriteBufferGrant); of files beyond the first thousand of the process, which are mapped, their indexes and
//              filters: some 5 bytes a row of 256.
// Durability:  a row that was put before a Flush() that returned OK survives a power cut; one put later may be lost, never
//              torn.  A row that was removed later than that, or whose Put failed, may be there when the database is opened
//              again, at the position that it had.
// Space:       stale rows are half as many as rows, while these stay as many; in a table that has become smaller, up to as
//              many: only a Put or a Flush deletes what there is too much of.
// Failures:    after a write that failed nothing is added to LevelDB's log, whose end may be torn: the next Put() or
//              Flush() starts a new one.  Where a compaction failed, LevelDB refuses all writes until the database is opened
//              anew.  Rows stay readable throughout.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ev_tf/tier/leveldb/format.h"
#include "ev_tf/tier/leveldb/position_sweep.h"
#include "ev_tf/tier/tier.h"

namespace leveldb {
class Cache;
class DB;
class FilterPolicy;
class Iterator;
struct Options;
class WriteBatch;
}  // namespace leveldb

namespace ev {

// What to do with rows that are in a tier's directory when it is opened.
enum class OldRows : uint8_t {
  kKeep,  // they are rows of the tier; see LevelDbTier::Scan
  kDrop,  // they are deleted, those of an older format too
};

// How LevelDB is set.  The defaults were chosen by benchmarks/engine/tier_bench.cc.
struct LevelDbTuning {
  int bloom_bits = 10;            // of the Bloom filter, a row; 0: none, and a Get reads a block of each level
  size_t write_buffer_bytes = 0;  // 0: 8 MiB, less where a process has many tiers
  size_t cache_bytes = 0;         // 0: the cache that all tiers share
  size_t block_bytes = 2 << 10;   // each is verified and searched for one row
  size_t file_bytes = 32 << 20;   // LevelDB maps the first 1,000 files: big ones keep a big tier mapped
  int open_files = 50000;        // whose indexes it keeps, the most it takes: a read of any other file reads that first
  bool compress = false;         // trained floats do not shrink
  bool verify_checksums = true;  // of every block read: a flipped bit is an error, not a weight

  // LevelDB as it comes, to be compared with.
  static LevelDbTuning LevelDbDefaults();
};

struct LevelDbOptions {
  std::string path;  // the tier's directory, made if it is missing; its parent must be there
  size_t row_bytes = 0;
  OldRows old_rows = OldRows::kKeep;
  LevelDbTuning tuning;
  size_t most_rows = size_t{kMaxPosition} + 1;  // or fewer
};

// The share of one tier in the write buffers of the process: 8 MiB for the first ones, then a sixteenth of what is left, at
// least 1 MiB.
class WriteBufferGrant {
 public:
  static constexpr size_t kProcessBytes = size_t{256} << 20;
  static constexpr size_t kMaxBytes = size_t{8} << 20;
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
  // InvalidArgument: row_bytes is 0, or another one than the database's; most_rows is 0, too many, or at or below the
  // position of a row; the directory holds something else.
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
  size_t bytes() const override;              // of the files in the directory
  TierMetrics tier_metrics() const override;  // bytes of tables are exact to a MB

  using Visitor = std::function<void(Key, Position, Span<const std::byte> row)>;
  // Visits every row of one moment, in the order of the positions.
  Status Scan(const Visitor& visit) const;

 private:
  explicit LevelDbTier(const LevelDbOptions& options);
  Status OpenDatabase();
  Status CheckFormat(bool* ours) const;
  Status DropRows();
  // Writes the format if the database is new, else takes the positions of its rows.
  Status Recover();

  std::unique_ptr<leveldb::Iterator> NewScan() const;
  // Corruption: neither the format key's entry nor a row's.
  Status CheckEntry(const leveldb::Iterator& entry) const;
  // Returns how many were taken.
  size_t GiveBack(Span<const Position> positions);

  // Writes rows [first, last) of a Put, whose positions are taken even if it fails.  Requires: mu_ is held.
  Status PutChunk(Span<const Key> keys, Span<const std::byte> rows, size_t first, size_t last,
                  Span<Position> positions);
  // All writes come through here: a new log first if the last write failed.  Requires: mu_ is held.
  Status Write(leveldb::WriteBatch* batch);
  // Deletes up to n of the rows that are stale now.  Requires: mu_ is held.
  Status DeleteStale(size_t n);
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

  std::atomic<size_t> size_{0};        // relaxed: a count, it orders nothing
  std::atomic<int64_t> log_bytes_{0};  // relaxed, the same; written to LevelDB's log

  mutable std::mutex mu_;        // LevelDB orders writers anyway; from when a Put takes positions until it is written
  bool log_is_torn_ = false;     // guarded by mu_; the last write failed
  mutable std::mutex sweep_mu_;  // after mu_; never held while the device is waited for
  PositionSweep sweep_;  // guarded by sweep_mu_; positions are taken, and stale ones cleaned up, under mu_ as well
};

}  // namespace ev
