// Lookups of many variables in one call: each one's rows are read and combined part by part, so that what is read is still
// in the cache when it is combined, and threads share all tables of a step.
//
// Threads:     any; like EmbeddingVariable::Lookup.
// Invariants:  L1  a table's output is the same, to the bit, whatever other tables are in the call and whatever the threads.
#pragma once

#include "ev_tf/base/executor.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/batch/combine.h"
#include "ev_tf/batch/entries.h"
#include "ev_tf/variable/embedding_variable.h"

namespace ev {

// One table of a call.
struct TableLookup {
  const EmbeddingVariable* variable;
  Span<const Key> keys;
  const SparseIds* ids;  // where the keys stand, and CountEntries of it is OK; null: every key is its own entry
  CombineRule rule;
  const float* weights;  // [keys], or null for ones
  float* rows;           // [keys, dim], where to keep the rows that were read, or null
  float* out;            // [entries, dim]
};
// Requires: keys.size() == ids->ids().
// The first error of any table, then no output is to be used; InvalidArgument as in Entries::Build, naming the table.
Status LookupTables(Span<const TableLookup> tables, Executor& executor);

// Rows that are there already, to be combined; and the gradient.
struct TableCombine {
  int64_t dim;
  const Entries* entries;
  CombineRule rule;
  const float* weights;    // [ids], or null for ones
  const float* rows;       // [ids, dim]; null in a gradient that needs none, see CombineGradient
  float* out;              // [entries, dim]; unused by the gradient
  const float* out_grads;  // [entries, dim]; this and the next two are the gradient's
  float* row_grads;        // [ids, dim]
  float* weight_grads;     // [ids], or null: not wanted
};
void CombineTables(Span<const TableCombine> tables, Executor& executor);
void CombineTablesGradient(Span<const TableCombine> tables, Executor& executor);

}  // namespace ev
