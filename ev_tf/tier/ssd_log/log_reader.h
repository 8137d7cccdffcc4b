// LogReader: the rows of a batch, each from where it is: a write buffer, the page cache, or one batch of device reads.
//
// Files that are read through the page cache are mapped, and what is in memory is copied from there (env/guarded_copy.h).  Other
// reads are sorted by position and merged where they share a page; key and checksum of each row are verified.
//
// Threads: any method, from any thread, at once.
#pragma once

#include <atomic>
#include <vector>

#include "ev_tf/env/env.h"
#include "ev_tf/tier/ssd_log/counters.h"
#include "ev_tf/tier/ssd_log/log.h"
#include "ev_tf/tier/ssd_log/segment.h"

namespace ev::ssd_log {

class LogReader {
 public:
  LogReader(Env* env, const Geometry& geometry, SegmentTable* table, Log* log, Counters* counters)
      : env_(env), geometry_(geometry), table_(table), log_(log), counters_(counters) {}

  // See Tier::Get.
  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows);

 private:
  struct Wanted {
    Position position;
    uint32_t index;  // in the batch
    Segment* segment;
  };
  struct Run;  // wanted rows that one read brings

  // Copies what is in memory and puts the rest into `wanted`.
  Status FindAll(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows,
                 std::vector<Wanted>* wanted);
  // Reads from mapped files and takes what was read out of `wanted`: all, unless some of it is not in memory or cannot be read.
  Status ReadMapped(Span<const Key> keys, std::vector<Wanted>* wanted, Span<std::byte> rows);
  bool LooksCached();
  Status ReadFiles(Span<const Key> keys, std::vector<Wanted>* wanted, Span<std::byte> rows);
  Status TakeRow(const std::byte* record, const Wanted& wanted, Key key, std::byte* row) const;

  Env* const env_;
  const Geometry geometry_;
  SegmentTable* const table_;
  Log* const log_;
  Counters* const counters_;
  std::atomic<int> not_cached_{0};  // batches until mapped files are tried again
};

}  // namespace ev::ssd_log
