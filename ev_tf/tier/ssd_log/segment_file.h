// A segment file apart from its log: reading one that nobody changes any more.
#pragma once

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/env/env.h"
#include "ev_tf/tier/segmented_tier.h"
#include "ev_tf/tier/ssd_log/format.h"

namespace ev::ssd_log {

// The sequence numbers of a segment file.
struct SegmentSequences {
  SequenceWindow window{0};
  uint64_t end = 0;  // above those of the rows that were read
};

// FailedPrecondition, with file, expected and found: it is of another version.  NotFound, IoError, Corruption.
Status CheckSegmentVersion(Env* env, const SegmentFile& file);

// Reads all of `file` and calls row() for each slot of `live`, in their order, until it returns an error.
// Requires: live.size() * 64 >= file.slots.
// Corruption, with file, offset, expected and found: the file is not the one that `file` says, byte for byte of its records.
// FailedPrecondition: it is of another version or layout.  NotFound, IoError; what row() returned.
// sequences: set, unless null.
Status ReadSegment(Env* env, const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row,
                   SegmentSequences* sequences = nullptr);

}  // namespace ev::ssd_log
