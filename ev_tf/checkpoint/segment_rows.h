// The rows of a segment, as columns.
#pragma once

#include <functional>
#include <vector>

#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/table_reader.h"

namespace ev::checkpoint {

// Calls put(rows) with the rows of `segment`, of the table of `reader`, up to some thousand at once; they are good until it
// returns.  Corruption: of the segment, or its rows are not the table's.  What put() returns.
Status ReadSegmentColumns(const TableReader& reader, const TableSegment& segment,
                          const std::function<Status(const TableRows&)>& put);

// The same at once: *rows = all of block i of `reader`, in *buffer, as TableReader::ReadBlock has them.
// Requires: block i is of a segment.
Status ReadWholeSegment(const TableReader& reader, size_t i, std::vector<int64_t>* buffer, TableRows* rows);

}  // namespace ev::checkpoint
