// Recovery: what is in the segment files of a directory.
//
// The newest sequence number of a key wins.  What stands behind the last synced slot of a file may be torn; it is read up
// to the first record that is not whole, and cut there.  A bad record before that slot is damage: Corruption.
#pragma once

#include <functional>
#include <string>

#include "ev_tf/env/env.h"
#include "ev_tf/tier/ssd_log/counters.h"
#include "ev_tf/tier/ssd_log/log_writer.h"
#include "ev_tf/tier/ssd_log/segment.h"

namespace ev::ssd_log {

// Told of each key that has a row.  False: it is not wanted, and its position is free.
using RecoveryVisitor = std::function<bool(Key, Position)>;

struct RecoveryReport {
  uint64_t segments = 0;
  uint64_t rows = 0;           // that the visitor was told of
  uint64_t older_rows = 0;     // of a key that has a newer row
  uint64_t torn_segments = 0;  // cut behind their last whole record
  uint64_t dropped_files = 0;  // made, but never synced or never written to
  uint64_t next_ordinal = 0;
  uint64_t next_sequence = 1;
};

// One record of a scan: its slot, and what it says.
using ScanRow = std::function<void(uint32_t slot, const RecordView& record)>;

struct ScanResult {
  bool has_header = false;  // false: never synced, and empty
  FileHeader header{};
  uint32_t slots = 0;        // whole records from the start, fillers included
  uint32_t records_crc = 0;  // of their checksums
  bool torn = false;         // something that is not whole stands behind them
};

// Reads a segment file from its start.  Corruption, FailedPrecondition, IoError; memory does not depend on the contents.
// whole: slots that must be whole, whatever the mark says.
Status ScanSegment(File* file, const Geometry& geometry, uint32_t number, const ScanRow& row, ScanResult* result,
                   uint32_t whole = 0);

// Finds the segments of options.path, fills the table, counts, and tells the visitor (may be null).
Status Recover(Env* env, const WriterOptions& options, const Geometry& geometry, SegmentTable* table,
               Counters* counters, const RecoveryVisitor& visitor, RecoveryReport* report);

}  // namespace ev::ssd_log
