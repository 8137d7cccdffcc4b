// TableReader: reads one table file.  Nothing in it is believed before its checksum.
//
// Threads:  any method, from any thread, at once.
// Errors:   Corruption (names file, offset, expected, found), FailedPrecondition (another version), NotFound, IoError.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/format.h"
#include "ev_tf/env/env.h"

namespace ev {

// Rows of one block; spans are into the bytes that it was read to.  Columns that the table lacks are empty.
struct TableRows {
  Span<const Key> keys;
  Span<const int64_t> frequencies;
  Span<const int64_t> versions;
  Span<const float> values;  // [n, dim]
  Span<const float> slots;   // [n, slot_floats]
};

class TableReader {
 public:
  // Reads header, directory and description.  `env` outlives the reader.
  static Status Open(Env* env, const std::string& path, std::unique_ptr<TableReader>* out);

  const std::string& path() const { return path_; }
  const checkpoint::TableDescription& table() const { return table_; }
  int64_t rows() const { return static_cast<int64_t>(footer_.rows); }
  uint64_t file_bytes() const { return footer_.file_bytes; }

  // Row-major [default_value_dim, dim].
  Status ReadDefaultRows(std::vector<float>* out) const;

  // Blocks of rows, and of filtered keys.
  size_t blocks() const { return blocks_.size() - kFirstRows; }
  const checkpoint::BlockEntry& block(size_t i) const { return blocks_[kFirstRows + i]; }
  // *rows = the rows of block i, in *buffer, which is made longer as needed.  Every key is of the block's buckets.
  // Requires: block(i) is of rows.
  Status ReadBlock(size_t i, std::vector<int64_t>* buffer, TableRows* rows) const;

  // Requires: block(i) is of filtered keys.
  Status ReadFilteredKeys(size_t i, std::vector<checkpoint::FilteredEntry>* keys) const;

  // Reads every byte that has a checksum.
  Status Verify() const;

 private:
  static constexpr size_t kFirstRows = 2;  // behind the description and the default rows

  TableReader(std::string path, std::unique_ptr<File> file) : path_(std::move(path)), file_(std::move(file)) {}
  Status ReadFrame();
  Status ReadChecked(const checkpoint::BlockEntry& block, std::byte* out) const;
  Status CheckSizes() const;

  const std::string path_;
  const std::unique_ptr<File> file_;
  checkpoint::Footer footer_{};
  checkpoint::TableDescription table_;
  std::vector<checkpoint::BlockEntry> blocks_;
};

}  // namespace ev
