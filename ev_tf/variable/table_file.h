// A table file without a variable: what tools read and write.  ev_tf/checkpoint/FORMAT.md says what the bytes are.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/admission/admission.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/buckets.h"
#include "ev_tf/checkpoint/table_reader.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/variable/checkpoint.h"

namespace ev {

// A saved table, read a block at a time: the memory of one block, whatever the table.
//
// Threads:  any method, from any thread, at once.
// Errors:   as TableReader's: Corruption names file, offset, expected, found.
class SavedTable {
 public:
  // InvalidArgument: the file is a delta.
  static Status Open(const std::string& path, std::unique_ptr<SavedTable>* out, Env* env = nullptr);

  const std::string& path() const { return reader_->path(); }
  const TableInfo& info() const { return info_; }
  // Depends on every byte that has a checksum.
  uint32_t checksum() const { return reader_->checksum(); }
  Status ReadDefaultRows(std::vector<float>* out) const { return reader_->ReadDefaultRows(out); }

  size_t blocks() const { return reader_->blocks(); }
  // Whether block i is of rows, which may be those of a linked segment.
  bool has_rows(size_t i) const {
    const checkpoint::BlockKind kind = reader_->block(i).kind;
    return kind == checkpoint::BlockKind::kRows || kind == checkpoint::BlockKind::kSegment;
  }
  // Whether block i is of keys that a filter counts, which have no row yet.
  bool is_filtered(size_t i) const { return reader_->block(i).kind == checkpoint::BlockKind::kFilteredKeys; }
  // Every key of block i is of a bucket from first to last; a key's is FloorMod(key, 1000).
  int first_bucket(size_t i) const { return reader_->block(i).first_bucket; }
  int last_bucket(size_t i) const { return reader_->block(i).last_bucket; }
  bool Touches(size_t i, const checkpoint::Part& part) const { return part.Touches(reader_->block(i)); }

  // *rows = the rows of block i that are of `part`, in *buffer, which is made longer as needed.
  // Requires: block i is of rows; part is valid.
  Status ReadRows(size_t i, const checkpoint::Part& part, std::vector<int64_t>* buffer, TableRows* rows) const;
  // Requires: block i is of filtered keys; part is valid.
  Status ReadFilteredKeys(size_t i, const checkpoint::Part& part, std::vector<FilteredKey>* keys) const;

 private:
  SavedTable(std::unique_ptr<TableReader> reader, TableInfo info)
      : reader_(std::move(reader)), info_(std::move(info)) {}

  const std::unique_ptr<TableReader> reader_;
  const TableInfo info_;
};

// A new table file, from rows in any order.  As with TableWriter, a crash leaves the file of that name as it was.
//
// Threads:  Add and AddFilteredKeys from any threads at once; Create and Commit before and after.
class TableBuilder {
 public:
  // Requires: default_rows.size() == table.default_value_dim * table.dim.
  // InvalidArgument: a dim is out of range or two slots have one name.  IoError, OutOfSpace, NotFound (no such directory).
  static Status Create(const std::string& path, const checkpoint::TableDescription& table,
                       Span<const float> default_rows, std::unique_ptr<TableBuilder>* out, Env* env = nullptr);
  // Without a Commit() nothing is left.
  ~TableBuilder() = default;

  const checkpoint::TableDescription& table() const { return table_; }

  // Rows of distinct keys that are in no other call either: who calls sees to that.
  // Many rows a call make few, long blocks; it takes as much memory again as `rows` has bytes, at most a block a thread.
  // InvalidArgument: a column is not of keys.size() rows, a frequency is below 0 or a version below -1.
  Status Add(const TableRows& rows);
  Status AddFilteredKeys(Span<const FilteredKey> keys);
  Status Commit() { return writer_->Commit(); }

  int64_t rows() const { return rows_.load(std::memory_order_relaxed); }
  uint64_t bytes() const { return writer_->bytes(); }

 private:
  TableBuilder(checkpoint::TableDescription table, std::unique_ptr<TableWriter> writer)
      : table_(std::move(table)), writer_(std::move(writer)) {}
  Status Check(const TableRows& rows) const;

  const checkpoint::TableDescription table_;
  const std::unique_ptr<TableWriter> writer_;
  std::atomic<int64_t> rows_{0};  // a count, nothing else
};

}  // namespace ev
