// Log: where rows are appended, in two streams, each to segments of its own: rows that are put, and copies of rows that
// compaction keeps.
//
// A row that is copied has outlived those that were put with it, and is likely to stay for long.  Beside rows just put, many of
// which will soon be dead, it would be copied again with each of their segments; among its like it lies still.
//
// A stream has a file and a buffer once something was appended to it: a log that was never compacted has one of each.
//
// Threads:     any method, from any thread, at once.
// Durability:  a row survives a loss of power once Flush() has returned OK after its Append(), wherever compaction copies it
//              meanwhile, as long as nobody unlinks a segment without asking IsDurable().
#pragma once

#include "ev_tf/tier/ssd_log/log_writer.h"

namespace ev::ssd_log {

class Log {
 public:
  Log(Env* env, const WriterOptions& options, const Geometry& geometry, SegmentTable* table, Counters* counters);

  // What comes next has ordinals and sequence numbers from these on.  Requires: nothing was appended.
  void StartAt(uint64_t ordinal, uint64_t sequence);

  // What is put from now on has sequence numbers from this one on.  For a log that takes rows of another one, with smaller
  // numbers; it is not recovered.
  void SkipTo(uint64_t sequence) { numbers_.SkipTo(sequence); }

  // LogWriter's, each of its stream.
  Status Append(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
    return puts_.Append(keys, rows, positions);
  }
  Status AppendCopies(Span<const RecordView> records, Span<Position> positions) {
    return copies_.AppendCopies(records, positions);
  }
  LogWriter::Found ReadBuffered(const Segment* segment, uint32_t slot, Key key, std::byte* row);

  // LogWriter's, of both streams.
  Status WriteOut();
  Status Flush();
  bool TakeSyncWish();
  Status GiveBackSpace();

  // Closes the open segments of which less than live_share of the rows are live, and sets *closed if there is one.
  Status ClosePoorSegments(double live_share, bool* closed);
  // LogWriter::CloseOpenSegment, of both streams.
  Status CloseOpenSegments(uint32_t rows);

  // Both ends.  A row may have gone because of one that was put, or because of its copy: a segment without live rows may be
  // unlinked once IsDurable(what end() was when that was found).
  LogEnd end() const { return {puts_.end(), copies_.end()}; }
  bool IsDurable(const LogEnd& end) const {
    return puts_.durable_end() >= end.puts && copies_.durable_end() >= end.copies;
  }

 private:
  LogNumbers numbers_;
  LogWriter puts_;
  LogWriter copies_;
};

}  // namespace ev::ssd_log
