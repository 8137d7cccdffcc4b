// TableWriter: writes one table file, so that a crash at any moment leaves the old file of that name, or the new one whole.
//
// Everything goes to `<path>.tmp`; Commit() syncs it, gives it its name and syncs the directory.
//
// Threads:     AddRows and AddFilteredKeys from any threads at once; Create and Commit before and after.
// Durability:  the file is there, whole, once Commit() has returned OK.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/format.h"
#include "ev_tf/env/env.h"

namespace ev {

class TableWriter {
 public:
  // Requires: default_rows.size() == table.default_value_dim * table.dim; env outlives the writer.
  // IoError, OutOfSpace, NotFound (no such directory).
  static Status Create(Env* env, const std::string& path, const checkpoint::TableDescription& table,
                       Span<const float> default_rows, std::unique_ptr<TableWriter>* out);
  // Without a Commit() the unfinished file is deleted.
  ~TableWriter();

  // `block` holds n rows as checkpoint::RowColumns, of buckets first_bucket to last_bucket.
  Status AddRows(int first_bucket, int last_bucket, size_t n, Span<const std::byte> block);

  // Keys that a filter counts, of any buckets.
  Status AddFilteredKeys(Span<const checkpoint::FilteredEntry> keys);

  // After an error of AddRows too, which it then returns.
  Status Commit();

  // Bytes written so far.
  uint64_t bytes() const;

 private:
  TableWriter(Env* env, std::string path);
  Status Open();
  Status AddBlock(checkpoint::BlockEntry entry, Span<const std::byte> block);
  Status Finish();

  Env* const env_;
  const std::string path_;
  const std::string temporary_path_;
  std::unique_ptr<File> file_;
  bool committed_ = false;

  mutable std::mutex mu_;
  uint64_t end_;                                // guarded by mu_
  std::vector<checkpoint::BlockEntry> blocks_;  // guarded by mu_; ascending offsets
  Status error_;                                // guarded by mu_; the first
};

}  // namespace ev
