#include "ev_tf/tier/ssd_log/log.h"

namespace ev::ssd_log {

Log::Log(Env* env, const WriterOptions& options, const Geometry& geometry, SegmentTable* table, Counters* counters)
    : puts_(env, options, geometry, Stream::kPuts, &numbers_, table, counters),
      copies_(env, options, geometry, Stream::kCopies, &numbers_, table, counters) {}

void Log::StartAt(uint64_t ordinal, uint64_t sequence) {
  numbers_.next_ordinal = ordinal;
  numbers_.next_sequence = sequence;
  puts_.StartAt(ordinal);
  copies_.StartAt(ordinal);
}

LogWriter::Found Log::ReadBuffered(const Segment* segment, uint32_t slot, Key key, std::byte* row) {
  return (segment->stream == Stream::kCopies ? copies_ : puts_).ReadBuffered(segment, slot, key, row);
}

Status Log::WriteOut() {
  EV_RETURN_IF_ERROR(puts_.WriteOut());
  return copies_.WriteOut();
}

// A row that compaction copies meanwhile is safe where it was, whose segment is then not unlinked: any order will do.
Status Log::Flush() {
  EV_RETURN_IF_ERROR(puts_.Flush());
  return copies_.Flush();
}

bool Log::TakeSyncWish() {
  const bool puts = puts_.TakeSyncWish();
  return copies_.TakeSyncWish() || puts;
}

Status Log::GiveBackSpace() {
  EV_RETURN_IF_ERROR(puts_.GiveBackSpace());
  return copies_.GiveBackSpace();
}

Status Log::ClosePoorSegments(double live_share, bool* closed) {
  for (LogWriter* writer : {&puts_, &copies_}) {
    if (!writer->OpenSegmentIsPoor(live_share)) continue;
    *closed = true;
    EV_RETURN_IF_ERROR(writer->CloseOpenSegment());
  }
  return OkStatus();
}

Status Log::CloseOpenSegments(uint32_t rows) {
  EV_RETURN_IF_ERROR(puts_.CloseOpenSegment(rows));
  return copies_.CloseOpenSegment(rows);
}

}  // namespace ev::ssd_log
