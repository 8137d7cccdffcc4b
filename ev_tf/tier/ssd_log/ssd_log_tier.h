// SsdLogTier: rows in append-only files of a directory.  FORMAT.md has the bytes.
//
// Main memory per row: one bit.  Rows of a batch that are on the device are read together.  Memory per table: at most two
// write buffers of 1 MiB for rows that are put, and two for rows that compaction copies; none when everything is written; of
// all tables of a process 16 may wait with one for more rows.
//
// Threads:     as for any tier.  Put() and Settle() may call the Relocator, in the calling thread: hold no lock that it
//              takes.  Get() and Remove() never do.
// Durability:  with `durable`, a row survives a crash and a loss of power once Flush() has returned OK after its Put().
//              What Remove() took away, or an older version of it, may be found again by recovery until its segment is
//              gone: the log is a place for rows, and who needs removals to last keeps them elsewhere.
// Errors:      what goes wrong in the background, or for rows that Put() accepted before, is returned by the next Put();
//              all rows stay readable.
// Invariants:  T1 to T4 of Tier.
//              S1  once Settle() has returned OK, bytes of live rows / bytes of files >= 0.6, for rows of 128 bytes and more.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "ev_tf/env/env.h"
#include "ev_tf/tier/segmented_tier.h"
#include "ev_tf/tier/ssd_log/recovery.h"
#include "ev_tf/tier/tier.h"

namespace ev {

enum class SsdIoMode : uint8_t {
  kDirect,    // past the page cache: tables larger than memory
  kBuffered,  // through the page cache
};

enum class SsdExisting : uint8_t { kRefuse, kDelete, kRecover };  // segment files found in the directory

struct SsdLogOptions {
  std::string path;  // a directory of its own; made if missing
  size_t row_bytes = 0;
  uint64_t segment_bytes = uint64_t{64} << 20;
  uint32_t segment_slots = 0;  // records of a segment, instead of segment_bytes, unless 0
  SsdIoMode io_mode = SsdIoMode::kDirect;
  SsdExisting existing = SsdExisting::kRefuse;
  bool durable = true;           // false: Flush() hands rows to the operating system, and nothing waits for the device
  bool delete_on_close = false;  // a scratch directory: files go with the tier
  // A log that nobody writes to, without a directory (`path` and what is said of it mean nothing): Adopt() reads files where
  // they are, under the names they have, and they stay; any number of logs, of any processes, may do so at once.
  bool read_in_place = false;
  bool async_compaction = false;
  Relocator* relocator = nullptr;    // outlives the tier; null: nothing is compacted but segments without rows
  ssd_log::RecoveryVisitor visitor;  // for kRecover
  Env* env = nullptr;                // null: Env::Default()

  // TF_SSDHASH_ASYNC_COMPACTION: 1 = async; unset or 0 = sync.  InvalidArgument for anything else.
  Status ReadEnvironment();
};

struct SsdLogMetrics {
  uint64_t rows = 0, file_bytes = 0, segments = 0, index_bytes = 0;
  uint64_t rows_put = 0, rows_got = 0, rows_got_buffered = 0, rows_removed = 0, rows_copied = 0;
  uint64_t written_bytes = 0, reads = 0, read_bytes = 0, max_read_depth = 0, compaction_read_bytes = 0;
  uint64_t segments_made = 0, segments_unlinked = 0, syncs = 0;
  double write_amplification = 0;                                           // bytes written / bytes of rows put
  double live_share = 0;                                                    // bytes of live rows / bytes of files
  uint64_t get_p50_ns = 0, get_p99_ns = 0, put_p50_ns = 0, put_p99_ns = 0;  // batches; upper bounds
  uint64_t write_p99_ns = 0, compaction_p99_ns = 0;
  std::string io;  // "direct, io_uring", or what was chosen instead and why
};

class SsdLogTier final : public Tier, public SegmentedTier {
 public:
  // InvalidArgument, FailedPrecondition (files of another layout, or files where kRefuse wants none), Unavailable (the
  // directory is in use), Corruption, IoError, OutOfSpace.
  static Status Open(const SsdLogOptions& options, std::unique_ptr<SsdLogTier>* tier);
  // Writes what is in memory, unless delete_on_close.  Requires: no call is under way.
  ~SsdLogTier() override;

  const char* name() const override { return "ssd_log"; }
  size_t row_bytes() const override;
  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override;
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override;
  void Remove(Span<const Key> keys, Span<const Position> positions) override;
  Status Flush() override;
  size_t size() const override;
  size_t bytes() const override;
  TierMetrics tier_metrics() const override;

  SegmentedTier* segments() override { return this; }
  // Closes a file with a quarter of the rows that it has room for, unless there are files for a quarter of all positions: each
  // keeps those of a full one.
  Status CloseSegments() override;
  // Files that are full, or were closed.
  Status HoldSealed(std::vector<Sealed>* segments, std::unique_ptr<Hold>* hold) override;
  // A durable log takes none: recovery by the order of sequences would mix the rows of two logs.
  bool CanAdopt(uint32_t row_bytes, uint32_t most_slots) const override;
  Status Adopt(const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row, Position* first,
               LinkKind* kind) override;

  // Flush(), and compacts until there is nothing left to gain.
  Status Settle();
  SsdLogMetrics metrics() const;
  const ssd_log::RecoveryReport& recovery() const;

 private:
  class Impl;
  explicit SsdLogTier(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ev
