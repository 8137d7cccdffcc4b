// One optimizer step on many variables in one call: threads share the tables of a step, so that small ones are not too small
// for a second thread.
//
// Threads:     any; like EmbeddingVariable::Apply.
// Invariants:  U1  a table's rows are the same, to the bit, whatever other tables are in the call and whatever the threads.
#pragma once

#include "ev_tf/base/executor.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/variable/embedding_variable.h"

namespace ev {

// One table of a call: what EmbeddingVariable::Apply takes.
struct TableUpdate {
  EmbeddingVariable* variable;
  Span<const SlotSpec> slots;
  Span<const Key> keys;
  Span<const float> grads;  // [keys, dim]
};

// Each table is updated for itself, in no order; one that stands twice has both updates, one after the other.
// The first error of any table, of those of Apply; what an Apply that succeeded has done to another table stays.
Status ApplyTables(const UpdateRule& rule, Span<const TableUpdate> tables, int64_t global_step, Executor& executor);

}  // namespace ev
