// Store: one index over tiers in an order.  It finds a key's row, makes one for a key that has none, brings rows up to the
// hot tier and moves them down from it, drops rows, and moves all of them to a new layout.
//
// The hot tier is DRAM, where rows are read and updated in place; below it may lie one tier whose rows are read in batches
// and never change: what is updated is first brought up.  The index says for each key in which tier its row is, and a
// change of that one entry, under the lock of the key's stripe, is what moves a row.
//
// Threads:     any method from any thread at once, except Open, Relayout and Clear, which run alone.
// Locks:       FindOrInsert, Read and Remove want the stripe locks of their keys held by the caller; Gather, Fetch, Promote
//              and Demote want none held.  A guard of epochs() is held by the caller of every method that says so, one a
//              thread, from before it looks in the index until it is done with the rows.
// Invariants:  S1  a row that FindOrInsert gave has the same address while the key's stripe lock is held.
//              S2  a removed key is not found again until it is inserted again, whatever copies the tiers still hold.
//              E1  no lost update: a row that is updated while its copy is being written keeps the update, not the copy.
//              E3  a row, or a position of a lower tier, that a guard may still see is not used again.
//              E4  Gather and Promote never wait for a write of a lower tier.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "ev_tf/base/epoch.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/index/hash_index.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/row/row_layout.h"
#include "ev_tf/store/cold_rows.h"
#include "ev_tf/store/hot_tier.h"
#include "ev_tf/store/stripe_locks.h"
#include "ev_tf/tier/tier.h"

namespace ev {

// Where the rows of some keys are.  Made to be used again, as its memory stays.
struct RowRefs {
  std::vector<Location> locations;
  std::vector<float*> rows;     // null: the key has no row
  std::vector<RowMeta*> meta;   // empty unless the store keeps meta
  std::vector<std::byte> late;  // records that had to be read under the lock
};

// FindOrInsert asks it which keys without a row may have one.
class InsertGate {
 public:
  virtual ~InsertGate() = default;
  // Makes kRefused of locations[i] == kNoLocation where keys[i] may not have a row.  On an error nothing is inserted.
  virtual Status Ask(Span<const Key> keys, Span<Location> locations) = 0;
};

inline constexpr Location kRefused = kLeaving - 1;

struct StoreOptions {
  bool with_meta = false;  // keep a RowMeta for each row
  // Bytes of rows that the hot tier should hold; a tier below takes the rest.  Without one there is no limit.
  int64_t hot_bytes = 0;
  CacheStrategy cache_strategy = CacheStrategy::kLfu;
  // Opens an empty tier below for records of a size; null: DRAM only.  Asked again for each new layout, while the tier of
  // the old one is still there.
  std::function<Status(size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out)> open_lower;
};

struct StoreCounts {
  std::atomic<int64_t> promotions{0};       // rows brought up
  std::atomic<int64_t> demotions{0};        // rows moved down
  std::atomic<int64_t> clean_demotions{0};  // of these, rows whose copy below was still good: nothing was written
  std::atomic<int64_t> cold_reads{0};       // records read from below
  std::atomic<int64_t> late_reads{0};       // of these, one by one under a lock, after a row had moved
};

class Store final : public Relocator {
 public:
  Store(const StoreOptions& options, const RowLayout& layout, const DefaultRows* defaults);
  // Requires: no call is running, no guard is held.
  ~Store() override;

  // Opens the tier below, if there is to be one.  To be called once, first.
  Status Open();

  const RowLayout& layout() const { return layout_; }
  EpochDomain& epochs() const { return epochs_; }
  StripeLocks& stripes() const { return stripes_; }
  bool tiered() const { return lower_ != nullptr; }
  // The number of a new call, for the ranks of the rows that it touches.
  uint32_t NextTick() const { return tick_.fetch_add(1, std::memory_order_relaxed) + 1; }

  // out[i * dim, (i + 1) * dim) = the value of keys[i], its default row if it has none.  *missing = how many had none.
  // Rows below are read together, into *cold, and may then be promoted.  Requires: a guard; one thread for *cold.
  // Takes no lock; see variable/embedding_variable.h on reading while others write.
  Status Gather(Span<const Key> keys, uint32_t tick, float* out, int64_t* missing, ColdRows* cold) const;

  // Adds to *cold the rows below of `keys`.  Requires: a guard.
  void FindCold(Span<const Key> keys, ColdRows* cold) const;
  // Reads what *cold wants, together.  Requires: the guard under which it was found.
  Status Fetch(ColdRows* cold) const;
  // Brings up to `room` rows of `cold`, unless they have moved.  Requires: the guard of Fetch.
  Status Promote(const ColdRows& cold, size_t room, uint32_t tick);

  // Where the rows of `keys` are; rows below are the records in `cold`, or read now.  Read only.
  // Requires: a guard, the stripe locks.
  Status Read(Span<const Key> keys, const ColdRows& cold, RowRefs* refs) const;

  // Rows of `keys` in the hot tier, to be written: brought up from `cold`, or read now, where they are below; made where
  // there is none, from the default row and the slots' initial values.  *inserted = how many were made.
  // `gate`, where there is one, may refuse a key: it stays without a row, and its rows[i] is null.
  // Requires: distinct keys, a guard, the stripe locks.
  // OutOfSpace: some keys may have their row already; it holds what they read before.
  Status FindOrInsert(Span<const Key> keys, const ColdRows& cold, uint32_t tick, RowRefs* refs, size_t* inserted,
                      InsertGate* gate = nullptr);

  // Drops the rows of `keys`; returns how many there were.  Requires: a guard, the stripe locks.
  size_t Remove(Span<const Key> keys);

  // Visits every key; see HashIndex::Scan.  Requires: a guard.
  template <typename Visitor>
  void ScanKeys(Visitor&& visit) const {
    index_->Scan([&](Key key, Location) { visit(key); });
  }
  // The same, a part at a time; see HashIndex::ScanPart.
  template <typename Visitor>
  bool ScanKeysPart(uint64_t* cursor, Visitor&& visit) const {
    return index_->ScanPart(cursor, [&](Key key, Location) { visit(key); });
  }
  // tiers[i] = the tier of keys[i]'s row: 0 the hot one, 1 the one below, -1 none.  Requires: a guard.
  void FindTiers(Span<const Key> keys, int32_t* tiers) const;

  // Moves rows down until the hot tier holds at most `rows`, or all that can be moved have been.  Callers take turns.
  // Requires: no guard, no lock.  IoError, OutOfSpace: of the tier below; rows that could not be written stay up.
  Status Demote(size_t rows);
  // Rows of the hot tier above its capacity; 0 without a tier below.
  size_t Excess() const;
  size_t hot_capacity() const { return hot_->capacity(); }
  size_t hot_rows() const { return hot_->rows().size(); }

  // What compaction asks; see Relocator.
  bool Relocate(Key key, Position from, Position to) override;

  // Moves every row to `layout`, which extends layout(): the new slots get their initial values.  Runs alone.
  Status Relayout(const RowLayout& layout);
  // Drops every row.  Runs alone.
  Status Clear();

  int64_t size() const { return index_->size(); }
  int64_t index_bytes() const { return index_->bytes(); }
  const HotTier& hot() const { return *hot_; }
  const Tier* lower() const { return lower_.get(); }
  const StoreCounts& counts() const { return counts_; }

 private:
  // A row on its way down.
  struct Leaving {
    Position position;
    Key key;
  };
  using Garbage = std::vector<std::pair<Key, Position>>;  // records of the tier below that are copies no more

  size_t record_bytes() const { return layout_.row_bytes() + (options_.with_meta ? kRowPartAlignment : 0); }
  std::shared_ptr<HotTier> NewHotTier(const RowLayout& layout) const;
  void Pack(Position position, std::byte* record) const;
  void Unpack(const std::byte* record, Position position) const;
  // The record of a key at `location`: staged, or read now into *late.
  Status RecordOf(Key key, Location location, const ColdRows& cold, std::byte* late, const std::byte** record) const;
  void Resolve(RowRefs* refs) const;
  // The row at `position` is new here.
  void Settle(Key key, Position position, Location copy, uint32_t tick) const;
  // The row at `position` is about to be written: its copy below is one no more.
  void MarkDirty(Key key, Position position, Garbage* garbage) const;
  void RetireHot(std::vector<Position> positions);
  void RetireLower(Garbage garbage);

  // Demote, step by step; see demote.cc.
  Status DemoteSome(size_t wanted, size_t* moved);
  void StartLeaving(Span<const Victim> victims, std::vector<Leaving>* leaving, std::vector<std::byte>* records,
                    size_t* moved);
  void FinishLeaving(Span<const Leaving> leaving, Span<const Position> positions, bool written, size_t* moved);

  mutable EpochDomain epochs_;
  mutable StripeLocks stripes_;
  mutable std::atomic<uint32_t> tick_{0};
  mutable std::atomic<int64_t> touches_{0};  // of rows of the hot tier, since its counts were last halved
  mutable StoreCounts counts_;
  const StoreOptions options_;
  const DefaultRows* const defaults_;
  RowLayout layout_;
  std::unique_ptr<HashIndex> index_;
  std::shared_ptr<HotTier> hot_;  // rows that wait for their last reader keep their tier
  std::shared_ptr<Tier> lower_;   // null: none
  std::mutex demote_mu_;          // one demotion at a time
};

}  // namespace ev
