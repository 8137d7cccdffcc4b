// Store: one index over tiers in an order.  It finds a key's row, makes one for a key that has none, drops rows, and moves
// all of them to a new layout.  Today the order has one tier, DRAM; a location already says which tier a row is in.
//
// Threads:     any method from any thread at once, except Relayout and Clear, which run alone.
// Locks:       the caller orders writers of one key (variable/ holds the key's stripe); readers hold nothing.
// Rows:        an address is good as long as the EpochGuard of the call that gave it; a dropped row is used again only when
//              every guard that could see it has gone.
// Invariants:  S1  a key that FindOrInsert found or made has the same address until Remove, Relayout or Clear.
//              S2  a removed key is not found again until it is inserted again.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ev_tf/base/epoch.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/index/hash_index.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/row/row_layout.h"
#include "ev_tf/tier/dram/dram_tier.h"

namespace ev {

// Where the rows of some keys are.  Made to be used again, as its memory stays.
struct RowRefs {
  std::vector<Location> locations;
  std::vector<float*> rows;    // null: the key has no row
  std::vector<RowMeta*> meta;  // empty unless the store keeps meta
};

class Store {
 public:
  Store(const RowLayout& layout, const DefaultRows* defaults, bool with_meta);
  // Requires: no call is running, no guard is held.
  ~Store();

  const RowLayout& layout() const { return layout_; }
  EpochDomain& epochs() const { return epochs_; }

  // out[i * dim, (i + 1) * dim) = the value of keys[i], its default row if it has none.  Returns how many had none.
  // Takes no lock; see variable/embedding_variable.h on reading while others write.
  int64_t Gather(Span<const Key> keys, float* out) const;

  // Where the rows of `keys` are.  Requires: a guard is held.
  void Find(Span<const Key> keys, RowRefs* refs) const;

  // The same, but a key that has no row gets one: its default row, and the slots' initial values.  *inserted = how many.
  // Requires: keys are distinct; their other writers are kept out by the caller; a guard is held.
  // OutOfSpace: some keys may have their row already; it holds what they read before.
  Status FindOrInsert(Span<const Key> keys, RowRefs* refs, size_t* inserted);

  // Drops the rows of `keys`; returns how many there were.  Requires: a guard is held.
  size_t Remove(Span<const Key> keys);

  // Visits every key; see HashIndex::Scan.
  template <typename Visitor>
  void ScanKeys(Visitor&& visit) const {
    const EpochGuard guard(epochs_);
    index_->Scan([&](Key key, Location) { visit(key); });
  }

  // Moves every row to `layout`, which extends layout(): the new slots get their initial values.  Runs alone.
  Status Relayout(const RowLayout& layout);
  // Drops every row.  Runs alone.
  void Clear();

  int64_t size() const { return index_->size(); }
  int64_t index_bytes() const { return index_->bytes(); }
  const DramTier& dram() const { return *dram_; }

 private:
  void Resolve(RowRefs* refs) const;

  mutable EpochDomain epochs_;
  const DefaultRows* const defaults_;
  const bool with_meta_;
  RowLayout layout_;
  std::unique_ptr<HashIndex> index_;
  std::shared_ptr<DramTier> dram_;  // rows that wait for their last reader keep their tier
};

}  // namespace ev
