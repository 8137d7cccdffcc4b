// Which files build on which: full saves, each with the deltas that follow it.
#pragma once

#include <memory>
#include <vector>

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/table_reader.h"

namespace ev::checkpoint {

using Readers = std::vector<std::unique_ptr<TableReader>>;

struct Chain {
  const TableReader* full = nullptr;  // which has the default rows
  // What makes up the table, in the order in which it is to be read: `full` and its deltas, or, where a delta says that the
  // table had been cleared, those from the last such delta on.
  std::vector<const TableReader*> files;

  const TableReader& newest() const { return *files.back(); }
};

// Opens files.
Status OpenTables(Env* env, Span<const std::string> paths, Readers* readers);

// *chains = the readers, given in any order.  Full saves may be parts of one table; each delta follows one of them.
// InvalidArgument: a delta's full save is not among them, a delta between is missing or given twice, or is of another run.
Status SortIntoChains(const Readers& readers, std::vector<Chain>* chains);

}  // namespace ev::checkpoint
