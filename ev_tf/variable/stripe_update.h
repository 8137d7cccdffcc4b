// StripeUpdate: one optimizer step on the keys of one stripe, or of several if the call has few: dedup, find or insert what the
// filter admits, sum the gradients of duplicates, update each row once.  The memory of one worker; made to be used again.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/admission/admission.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/batch/dedup.h"
#include "ev_tf/optim/optimizer.h"
#include "ev_tf/store/store.h"
#include "ev_tf/variable/changed_keys.h"

namespace ev {

// What one Apply does, the same for all stripes.
struct UpdateStep {
  const UpdateRule* rule;
  size_t slot_offsets[kMaxSlots];  // of the rule's slots in a row, in floats
  const float* grads;              // [keys, dim]
  bool record_frequency;
  bool record_version;
  uint32_t version_plus1;  // 0: leave the rows' versions
  const ColdRows* cold;    // the rows of the batch that lie below
  uint32_t tick;           // of this call
  Admission* admission;    // null: every key has a row
  ChangedKeys* changed_keys;
};

struct UpdateCounts {
  int64_t rows = 0;
  int64_t inserts = 0;
};

class StripeUpdate final : private InsertGate {
 public:
  // Requires: the keys of a stripe stand together; the stripes' locks and a guard of the store are held.
  Status Run(const UpdateStep& step, Span<const KeyAt> entries, Store* store, UpdateCounts* counts);

 private:
  // The gradient of the i-th distinct key: where it stands, or summed into sum_.
  const float* GradientOf(size_t i, const UpdateStep& step, int64_t dim);

  // Counts the keys that have no row; those that the filter does not admit get none.
  Status Ask(Span<const Key> keys, Span<Location> locations) override;
  // The keys that have a row now leave the filter; the rows take over their counts, unless the call failed after it had made
  // some (then refs_ has no addresses).
  void Admit(const UpdateStep& step, bool resolved);
  // Notes the keys whose rows or counts the call changes.
  void NoteChanges(const UpdateStep& step, Span<const KeyAt> entries);

  StripeDedup dedup_;
  // Of the keys without a row that the running call asks the filter about:
  const UpdateStep* step_ = nullptr;
  std::vector<Key> asked_;
  std::vector<uint32_t> asked_places_;  // in dedup_.keys()
  std::vector<uint32_t> asked_counts_;
  std::vector<uint32_t> frequencies_;
  std::vector<Key> changed_;
  RowRefs refs_;
  std::vector<float> sum_;
  std::vector<float> wide_;  // a value as floats; empty where rows have floats
};

}  // namespace ev
