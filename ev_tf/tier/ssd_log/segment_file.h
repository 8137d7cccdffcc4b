// A segment file apart from its log: reading one that nobody changes any more.
#pragma once

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/env/env.h"
#include "ev_tf/tier/segmented_tier.h"

namespace ev::ssd_log {

// Reads all of `file` and calls row() for each slot of `live`, in their order, until it returns an error.
// Requires: live.size() * 64 >= file.slots.
// Corruption, with file, offset, expected and found: the file is not the one that `file` says, byte for byte of its records.
// FailedPrecondition: it is of another version or layout.  NotFound, IoError; what row() returned.
Status ReadSegment(Env* env, const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row);

}  // namespace ev::ssd_log
