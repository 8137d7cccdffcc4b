// LogWriter: the end of one stream of the log, where records are appended.
//
// Rows are encoded into a buffer; a full one is sealed and written by the thread that needs room, while others fill the
// next: two buffers at most, and none when everything is written.  A buffer that could not be written stays, so that its
// rows can be read, and is tried again by the next append.
//
// Threads:     any method, from any thread, at once.
// Ends:        a point of the stream is its segment's ordinal << 32 | slot; points never fall.
// Invariants:  W1  buffers are written in the order of the stream, one at a time.
//              W2  a failed Append leaves no row live.
//              W3  a row below appended() is in a buffer or, below flushed(), in the file.
//              W4  the sequence number of a row is in the window of its file, and below next_sequence.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "ev_tf/base/fair_shared_mutex.h"
#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/env.h"
#include "ev_tf/tier/ssd_log/counters.h"
#include "ev_tf/tier/ssd_log/segment.h"

namespace ev::ssd_log {

// Records that one write of a full buffer brings.
inline uint32_t SlotsOfBuffer(const Geometry& g) {
  const uint64_t groups = std::max<uint64_t>(1, BufferPool::kBufferBytes / g.group_bytes);
  return static_cast<uint32_t>(std::min<uint64_t>(groups * g.records_per_group, g.slots));
}

struct WriterOptions {
  std::string path;  // the directory
  bool direct = true;
  bool durable = true;  // Flush() and closing a segment wait for the device
};

// What all streams of a log draw from.
struct LogNumbers {
  std::atomic<uint64_t> next_ordinal{0};
  std::atomic<uint64_t> next_sequence{1};

  // The first of n numbers, one after the other, that rows may have.  Requires: n < 2^32; positions are fewer.
  uint64_t DrawSequences(uint64_t n);
  // What is drawn from now on is at least `sequence`.
  void SkipTo(uint64_t sequence);
};

class LogWriter {
 public:
  LogWriter(Env* env, const WriterOptions& options, const Geometry& geometry, Stream stream, LogNumbers* numbers,
            SegmentTable* table, Counters* counters);
  ~LogWriter();

  // Its segments will have ordinals from this one on.  Requires: nothing was appended.
  void StartAt(uint64_t ordinal);

  // Appends rows, which get the next sequence numbers; positions[i] = where.  OutOfSpace, IoError.
  Status Append(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions);
  // Appends copies of records of the log, as they are: with the sequence numbers and checksums of their originals, unless they
  // are too old for that; see Fill().
  Status AppendCopies(Span<const RecordView> records, Span<Position> positions);

  // Everything appended before is in the files, and no buffer is held.
  Status WriteOut();
  // WriteOut(), and where durable everything appended before survives a loss of power.
  Status Flush();
  // Closes the open segment, if there is one and `rows` or more were appended to it, although it has room.  The segments before
  // it are then written out in any case.
  Status CloseOpenSegment(uint32_t rows = 0);
  // WriteOut(), and gives back the disk space that the open segment has taken ahead.
  Status GiveBackSpace();
  // True once after a segment was closed: then Flush() makes what waits for it durable.
  bool TakeSyncWish();

  enum class Found { kCopied, kInFile, kAbsent };
  // Copies the row at a slot that is not in the file yet.  Requires: an EpochGuard of the table's domain; a segment of this
  // stream.
  Found ReadBuffered(const Segment* segment, uint32_t slot, Key key, std::byte* row);

  uint64_t end() const { return end_.load(std::memory_order_acquire); }
  uint64_t durable_end() const { return durable_end_.load(std::memory_order_acquire); }
  // Whether less than live_share of the rows of the segment that is written to now are live.
  bool OpenSegmentIsPoor(double live_share);

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Buffer {
    AlignedBytes bytes;
    Segment* segment = nullptr;
    uint32_t first = 0;  // slot at the start of the buffer
    uint32_t end = 0;    // behind the last slot that is taken; grows without view_mu_
  };

  // All require `lock` on mu_; those that write may unlock it meanwhile, unless they are to be alone.
  // For one record or more, of which the first has this sequence number.
  Status MakeRoom(Lock& lock, uint64_t sequence);
  Status OpenSegment();
  Status TakeBuffer();
  uint32_t RoomOfActive() const;
  void Seal();
  Status WriteSealed(Lock& lock, bool alone = false);
  Status WaitForSealed(Lock& lock);
  // sequence_of(i) is the number of the row of positions[i]; write(i, sequence, record) makes its record with the one given.
  template <typename SequenceOf, typename Write>
  Status AppendEach(Span<Position> positions, const SequenceOf& sequence_of, const Write& write);
  // Those of [begin, end) that come before the first above the window of the open file: returns where that is.
  template <typename SequenceOf, typename Write>
  size_t Fill(size_t begin, size_t end, Position* positions, const SequenceOf& sequence_of, const Write& write);
  void AddFillers();
  // The open segment is complete.
  void Close();
  Status WriteOutLocked(Lock& lock);
  Status GiveBackSpaceLocked(Lock& lock);
  Status CloseOpenLocked(Lock& lock);

  Status WriteBuffer(const Buffer& buffer);
  // Both require mu_.
  static bool IsComplete(const Segment& segment);  // closed, and in the file
  bool IsUnsynced(const Segment* segment) const;
  Status Reserve(Segment* segment, uint64_t end);
  Status WriteMark(Segment* segment, uint32_t synced, bool closed);
  void Forget(Span<const Position> positions);
  std::byte* at(const Buffer& buffer, uint32_t slot) const {
    return buffer.bytes.get() + (geometry_.offset(slot) - geometry_.offset(buffer.first));
  }

  static uint64_t PointOf(const Segment& segment, uint32_t slot) { return segment.ordinal << 32 | slot; }

  // Constant.
  Env* const env_;
  const WriterOptions options_;
  const Geometry geometry_;
  const Stream stream_;
  LogNumbers* const numbers_;
  SegmentTable* const table_;
  Counters* const counters_;
  const uint32_t buffer_slots_;
  const size_t buffer_bytes_;

  std::mutex mu_;  // one appends
  std::condition_variable sealed_written_;
  // Guarded by mu_; a buffer comes and goes under view_mu_ too, so that readers may hold on to it.
  Buffer active_;
  Buffer sealed_;
  bool writing_ = false;  // sealed_ is being written
  Segment* open_ = nullptr;
  uint64_t flushed_end_ = 0;
  std::vector<Segment*> unsynced_;  // written to since they were last synced; where durable
  bool directory_changed_ = false;
  std::atomic<bool> sync_wish_{false};
  std::atomic<uint64_t> end_{0};
  std::atomic<uint64_t> durable_end_{0};

  FairSharedMutex view_mu_;
  std::mutex flush_mu_;  // one syncs; before mu_
};

}  // namespace ev::ssd_log
