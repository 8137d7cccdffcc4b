// TableReader: reads one table file.  Nothing in it is believed before its checksum.
//
// Threads:  any method, from any thread, at once.
// Errors:   Corruption (names file, offset, expected, found), FailedPrecondition (another version), NotFound, IoError.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/format.h"
#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/env.h"
#include "ev_tf/tier/segmented_tier.h"

namespace ev {

// Rows of one block; spans are into the bytes that it was read to.  Columns that the table lacks are empty.
struct TableRows {
  Span<const Key> keys;
  Span<const int64_t> frequencies;
  Span<const int64_t> versions;
  Span<const float> values;  // [n, dim]
  Span<const float> slots;   // [n, slot_floats]
};

// A segment of the table, and which of its slots are rows.
struct TableSegment {
  SegmentFile file;
  SlotBits live;
  checkpoint::SegmentEntry entry{};

  bool HasBucket(int64_t bucket) const {
    return HasSlot({entry.buckets.data(), entry.buckets.size()}, static_cast<uint32_t>(bucket));
  }
};

// Blocks of rows that lie one behind another, to be read at once: [first, end).
struct BlockRun {
  size_t first;
  size_t end;
};

class TableReader {
 public:
  static constexpr uint64_t kRunBytes = kHugeBufferBytes;  // a read this long runs at the speed of the device

  // Reads header, directory and description.  `env` outlives the reader.
  static Status Open(Env* env, const std::string& path, std::unique_ptr<TableReader>* out);

  const std::string& path() const { return path_; }
  const checkpoint::TableDescription& table() const { return table_; }
  int64_t rows() const { return static_cast<int64_t>(footer_.rows) + segment_rows_; }
  int64_t segment_rows() const { return segment_rows_; }      // of them, those in segments
  uint64_t file_bytes() const { return footer_.file_bytes; }  // of the table file itself
  // Depends on every byte of it that has a checksum.
  uint32_t checksum() const { return footer_.crc; }
  // Null: a full save that no delta builds on.
  const checkpoint::Lineage* lineage() const { return lineage_ ? &*lineage_ : nullptr; }
  bool delta() const { return lineage_ && lineage_->delta(); }

  // Row-major [default_value_dim, dim].  Requires: no delta.
  Status ReadDefaultRows(std::vector<float>* out) const;

  // Blocks of rows, of filtered keys and of segments, and, of a delta, of removed keys.
  size_t blocks() const { return blocks_.size() - kFirstRows; }
  const checkpoint::BlockEntry& block(size_t i) const { return blocks_[kFirstRows + i]; }
  // *rows = the rows of block i, in *buffer, which is made longer as needed.  Every key is of the block's buckets.
  // Requires: block(i) is of rows.
  Status ReadBlock(size_t i, std::vector<int64_t>* buffer, TableRows* rows) const;

  // Where a run of blocks that begins with `first` has to end at the latest, so that it lies together and is no more
  // than one read of the device should bring.  Requires: block(first) is of rows.
  size_t EndOfRun(size_t first) const;
  // Reads runs, as many at once as fit into `memory` bytes, past the page cache where the file is large, and calls
  // visit(r, bytes) for each: the bytes of runs[r], good until it returns.  An error that it returns ends the call.  It is
  // called by the calling thread, or, where there is no io_uring, by several at once.
  // Requires: no run is longer than EndOfRun says.
  Status ReadRuns(Span<const BlockRun> runs, size_t memory,
                  const std::function<Status(size_t, const std::byte*)>& visit) const;
  // *rows = the rows of block i, which is of `run`; checked as by ReadBlock.
  Status RowsIn(const BlockRun& run, const std::byte* bytes, size_t i, TableRows* rows) const;

  // Requires: block(i) is of filtered keys; of removed keys.
  Status ReadFilteredKeys(size_t i, std::vector<checkpoint::FilteredEntry>* keys) const;
  Status ReadRemovedKeys(size_t i, std::vector<Key>* keys) const;

  // n rows as their columns are in memory.
  TableRows Columns(const checkpoint::RowColumns<const std::byte>& columns, size_t n) const;

  // Requires: block(i) is of a segment.
  Status ReadSegment(size_t i, TableSegment* segment) const;
  // Calls row() for each row of `segment`; see ssd_log::ReadSegment.
  Status ReadSegmentRows(const TableSegment& segment, const SegmentRow& row) const;
  // Corruption: `key`, of `segment`, is of none of its buckets.
  static Status CheckBucket(const TableSegment& segment, Key key);

  // Reads every byte that has a checksum, those of segments too.
  Status Verify() const;

 private:
  static constexpr size_t kFirstRows = 2;  // behind the description and the default rows

  TableReader(Env* env, std::string path, std::unique_ptr<File> file)
      : env_(env), path_(std::move(path)), file_(std::move(file)) {}
  Status ReadFrame();
  // Takes the block of the lineage, if there is one, out of blocks_.
  Status ReadLineage();
  Status ReadChecked(const checkpoint::BlockEntry& block, std::byte* out) const;
  Status CheckCrc(const checkpoint::BlockEntry& block, const std::byte* bytes) const;
  // The rows of a block whose bytes these are.
  Status CheckedRows(const checkpoint::BlockEntry& block, const std::byte* bytes, TableRows* rows) const;
  // Where to read a run.
  ReadRequest RequestOf(const BlockRun& run) const;
  Status CheckSizes() const;
  // What a block of that kind and number of rows has to have.
  uint64_t BytesOfBlock(const checkpoint::BlockEntry& entry) const;
  Status CheckBucket(const checkpoint::BlockEntry& entry, Key key) const;
  Status DecodeSegment(const checkpoint::BlockEntry& block, Span<const std::byte> bytes, TableSegment* segment) const;
  Status VerifySegment(size_t i) const;

  Env* const env_;
  const std::string path_;
  const std::unique_ptr<File> file_;
  std::unique_ptr<File> direct_file_;  // the same, for runs of blocks; null where it is small.  Constant after Open
  checkpoint::Footer footer_{};
  checkpoint::TableDescription table_;
  std::optional<checkpoint::Lineage> lineage_;
  std::vector<checkpoint::BlockEntry> blocks_;
  int64_t segment_rows_ = 0;
};

}  // namespace ev
