// TableWriter: writes one table file, so that a crash at any moment leaves the old file of that name, or the new one whole.
//
// Everything goes to `<path>.tmp`; Commit() syncs it, gives it its name and syncs the directory.  Blocks are gathered in
// buffers, which are written past the page cache when they are full: that takes a tenth of the CPU's time, and a save
// drives nothing out of the cache.  Full ones are written behind those who fill the next.
//
// Threads:     the Add methods, and lanes, one each, from any threads at once; Create and Commit before and after.
// Durability:  the file is there, whole, once Commit() has returned OK.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/format.h"
#include "ev_tf/checkpoint/row_lane.h"
#include "ev_tf/checkpoint/write_behind.h"
#include "ev_tf/env/env.h"

namespace ev {

class TableWriter {
 private:
  // Blocks that one write takes to the file.
  struct Buffer {
    checkpoint::LentBytes bytes;
    size_t used = 0;
    std::vector<checkpoint::BlockEntry> blocks;  // offsets in the buffer

    std::byte* data() const { return bytes.memory.get(); }
  };

 public:
  // Requires: default_rows.size() == table.default_value_dim * table.dim, or, for a delta, none; env outlives the writer.
  // IoError, OutOfSpace, NotFound (no such directory).
  static Status Create(Env* env, const std::string& path, const checkpoint::TableDescription& table,
                       Span<const float> default_rows, std::unique_ptr<TableWriter>* out);
  // Without a Commit() the unfinished file is deleted.
  ~TableWriter();

  // It borrows a buffer of the writer as long as it lives; blocks are in the file once that is full, or the writer commits.
  class Lane final : public checkpoint::RowLane {
   public:
    explicit Lane(TableWriter* writer) : writer_(writer), buffer_(writer->TakeBuffer()) {}
    ~Lane() override { writer_->GiveBuffer(std::move(buffer_)); }

    Status Begin(size_t bytes, std::byte** block) override;
    Status AddRows(int first_bucket, int last_bucket, size_t n, size_t bytes) override;

   private:
    friend class TableWriter;
    void Add(checkpoint::BlockEntry entry, size_t bytes);

    TableWriter* const writer_;
    Buffer buffer_;
  };

  // `block` holds n rows as checkpoint::RowColumns, of buckets first_bucket to last_bucket.
  Status AddRows(int first_bucket, int last_bucket, size_t n, Span<const std::byte> block);

  // Keys that a filter counts, and keys that a delta says are gone: as many blocks as it takes.
  Status AddFilteredKeys(const std::vector<checkpoint::FilteredEntry>& keys);
  Status AddRemovedKeys(const std::vector<Key>& keys);

  // At most once.
  Status AddLineage(const checkpoint::Lineage& lineage);

  // A segment that holds `rows` rows of buckets first_bucket to last_bucket; `segment` says how long `live` and `name` are.
  Status AddSegment(int first_bucket, int last_bucket, size_t rows, const checkpoint::SegmentEntry& segment,
                    Span<const uint64_t> live, const std::string& name);

  // After an error of an Add method too, which it then returns.
  Status Commit();
  // Whether the file of that name is the new one: so it may be after a Commit() that failed, too.
  bool in_place() const { return in_place_; }

  // Bytes of what has been added, and rows in blocks of them that have been written: once committed, in all.
  uint64_t bytes() const;
  int64_t rows() const;

 private:
  TableWriter(Env* env, std::string path);
  Status Open();
  template <typename T>
  Status AddKeys(checkpoint::BlockKind kind, const std::vector<T>& keys);
  Status AddBuckets(checkpoint::BlockKind kind, int first_bucket, int last_bucket, size_t n,
                    Span<const std::byte> block);
  Status AddBlock(checkpoint::BlockEntry entry, Span<const std::byte> block);
  Buffer TakeBuffer();
  void GiveBuffer(Buffer buffer);
  // What the buffer has, if it has anything, and the head before, is written, or, WriteBehind, will be.  Afterwards the
  // buffer is empty, and may have no memory.
  Status Flush(Buffer* buffer);
  Status FlushBehind(Buffer* buffer);
  Status Write(Buffer* buffer);
  // Takes the blocks of the buffer to the end of the file: its *bytes are to be written at *offset.
  Status TakePlace(Buffer* buffer, uint64_t* offset, size_t* bytes);
  // The same for the head, if it is not written yet.
  Status WriteHead();
  // The status, or, if it is an error, the first one.
  Status KeepError(const Status& status);
  // Takes the blocks out of the buffer, which is at `offset` of the file, and into blocks_.
  // Requires: mu_, or nobody else is adding.
  void NoteBlocks(Buffer* buffer, uint64_t offset);
  // Puts the head before what the buffer has, if it is not written yet and there is room.
  void TakeHead(Buffer* buffer);
  Status Finish();
  // Puts directory and footer behind what the lane has.
  Status AddDirectory(Lane* lane, uint64_t* file_bytes);

  Env* const env_;
  const std::string path_;
  const std::string temporary_path_;
  std::unique_ptr<File> file_;
  std::optional<checkpoint::WriteBehind> behind_;  // from Open() on
  bool in_place_ = false;

  mutable std::mutex mu_;
  uint64_t end_ = 0;                            // guarded by mu_; a multiple of kPieceAlignment
  std::vector<checkpoint::BlockEntry> blocks_;  // guarded by mu_; ascending offsets
  Status error_;                                // guarded by mu_; the first
  std::vector<Buffer> buffers_;                 // guarded by mu_; that no lane has
  std::optional<Buffer> head_;  // guarded by mu_; header, description, default rows, until they are written
};

}  // namespace ev
