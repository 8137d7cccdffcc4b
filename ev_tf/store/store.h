// Store: one index over tiers in an order.  It finds a key's row, makes one for a key that has none, brings rows up to the
// hot tier and moves them down from it, drops rows, and moves all of them to a new layout.
//
// Tier 0 is the hot one, where rows are read and updated in place.  Below it lie the levels, from fast to slow: their rows are
// read in batches and never change, so what is updated is first brought up, from whichever level.  All tiers but the last are
// bounded: what is too much for one goes to the next.  The index says for each key in which tier its row is, and a change of
// that one entry, under the lock of the key's stripe, is what moves a row.  A row that came up for a lookup may keep a copy
// below, and that one a copy further down.
//
// Memory:      only HotTier, the kernels of Gather and whoever uses RowRefs::rows know that tier 0 is memory of this machine.
//              A tier 0 in the memory of a device is another HotTier, whose Pack and Unpack copy rows from and to the device,
//              with its own kernels for Gather and for updates; DRAM is then the first level, and all else stays as it is.
// Threads:     any method from any thread at once, except Open, Relayout and Clear, which run alone (but for tiers that move
//              rows by themselves).
// Locks:       FindOrInsert, Read and Remove want the stripe locks of their keys held by the caller; Gather, Fetch, Promote,
//              Demote and CopyDown want none held.  A guard of epochs() is held by the caller of every method that says so, one a
//              thread, from before it looks in the index until it is done with the rows.
// Invariants:  S1  a row that FindOrInsert gave has the same address while the key's stripe lock is held.
//              S2  a removed key is not found again until it is inserted again, whatever copies the tiers still hold.
//              S3  a record of a level is the row of a key, or the copy of one; else it is on its way to be removed.
//              E1  no lost update: a row that is updated while its copy is being written keeps the update, not the copy.
//              E3  a row, or a position of a lower tier, that a guard may still see is not used again.
//              E4  Gather and Promote never wait for a write of a lower tier.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "ev_tf/base/cpu.h"
#include "ev_tf/base/epoch.h"
#include "ev_tf/base/histogram.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/index/hash_index.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/row/row_layout.h"
#include "ev_tf/store/cold_rows.h"
#include "ev_tf/store/hot_tier.h"
#include "ev_tf/store/level.h"
#include "ev_tf/store/stripe_locks.h"
#include "ev_tf/tier/segmented_tier.h"
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

inline constexpr Position kNoPosition = ~Position{0};
inline constexpr Location kRefused = MakeLocation(1, kMaxPosition + 1);  // which no row has

struct StoreOptions {
  // A tier between the hot one and the last.
  struct Between {
    TierOpener open;
    int64_t bytes = 0;  // of rows that it should hold
  };

  bool with_meta = false;  // keep a RowMeta for each row
  // Bytes of rows that the hot tier should hold; tiers below take the rest.  Without one there is no limit.
  int64_t hot_bytes = 0;
  CacheStrategy cache_strategy = CacheStrategy::kLfu;
  std::vector<Between> between;  // from fast to slow
  // The last tier; null: DRAM only.  Each tier is opened again for each new layout, while the one of the old is still there.
  TierOpener open_lower;
  // A gather of wide rows asks for lines of the index between its copies, not with its compares.
  bool asks_between_copies = IsIntel();
};

// What a store counts of one tier; see TierMetrics.
struct TierCounts {
  std::atomic<int64_t> rows{0};      // of a level; the hot tier has what the others have not
  std::atomic<int64_t> retiring{0};  // positions that wait for their last reader
  std::atomic<int64_t> hits{0};
  std::atomic<int64_t> promotions{0};
  std::atomic<int64_t> demotions{0};
  std::atomic<int64_t> clean_demotions{0};
  std::atomic<int64_t> reads{0};
  std::atomic<int64_t> cold_reads{0};  // of these, for calls that wanted the rows; the others were on their way down
  std::atomic<int64_t> late_reads{0};
  std::atomic<int64_t> writes{0};
  std::atomic<int64_t> put_bytes{0};  // of those rows
  // Of tiers that this one has replaced.
  std::atomic<int64_t> past_device_reads{0};
  std::atomic<int64_t> past_written_bytes{0};
  std::atomic<int64_t> past_compaction_bytes{0};
  Histogram read_ns;   // a batch each
  Histogram write_ns;  // a batch each
};

class Store final {
 public:
  Store(const StoreOptions& options, const RowLayout& layout, const DefaultRows* defaults);
  // Requires: no call is running, no guard is held.
  ~Store();

  // Opens the levels, if there are to be any.  To be called once, first.
  Status Open();

  const RowLayout& layout() const { return layout_; }
  EpochDomain& epochs() const { return epochs_; }
  StripeLocks& stripes() const { return stripes_; }
  int tiers() const { return 1 + static_cast<int>(levels_.size()); }
  bool tiered() const { return !levels_.empty(); }
  // The number of a new call, for the ranks of the rows that it touches.
  uint32_t NextTick() const { return tick_.fetch_add(1, std::memory_order_relaxed) + 1; }

  // out[i * dim, (i + 1) * dim) = the value of keys[i], its default row if it has none.  *missing = how many had none.
  // Rows below are read together, into *cold, and may then be promoted.  Requires: a guard; one thread for *cold.
  // Takes no lock; see variable/embedding_variable.h on reading while others write.
  Status Gather(Span<const Key> keys, uint32_t tick, float* out, int64_t* missing, ColdRows* cold) const;

  // Adds to *cold the rows below of `keys`, and touches those in the hot tier at `touch`, unless it is 0.  Returns how many
  // of `keys`, duplicates counted, have no row in the hot tier.  Requires: a guard.
  size_t FindCold(Span<const Key> keys, ColdRows* cold, uint32_t touch = 0) const;
  // Reads what *cold wants, together.  Requires: the guard under which it was found.
  Status Fetch(ColdRows* cold) const;
  // Brings up to `room` rows of `cold`, unless they have moved.  Requires: the guard of Fetch.
  Status Promote(const ColdRows& cold, size_t room, uint32_t tick);

  // locations[i] = where the row of keys[i] is now.  Requires: a guard.
  void Locate(Span<const Key> keys, Location* locations) const { index_->Find(keys, locations); }
  // Asks for the line of the index, and for the row, that a Read of `key` will want soon.  `location`: where the row was not long
  // ago, or kNoLocation.  Requires: a guard.
  void AskFor(Key key, Location location) const;
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
    return index_->ScanPart(cursor, [&](Span<const Key> keys, Span<const Location>) {
      for (const Key key : keys) visit(key);
    });
  }
  // The same with where each row is: visit(keys, locations).
  template <typename Visitor>
  bool ScanPart(uint64_t* cursor, Visitor&& visit) const {
    return index_->ScanPart(cursor, visit);
  }
  // See HashIndex::PartAfter.
  uint64_t PartAfter(uint64_t cursor) const { return index_->PartAfter(cursor); }
  // positions[i] = where in the last tier the row of keys[i] lies, or an identical copy of it; kNoPosition: nowhere.
  // Requires: a guard, the stripe locks.
  void FindInLast(Span<const Key> keys, Span<Position> positions) const;
  // Memory for `rows` rows in the index, so that they are inserted without a rebuild.  Runs alone, on a store that has had
  // no rows.  OutOfSpace: then nothing has changed.
  Status Reserve(int64_t rows, Executor& executor) { return index_->Reserve(rows, executor); }
  // Positions of new rows of the hot tier, that the caller fills; nobody finds them before ShowRows has them.
  Status NewRows(Span<Position> positions) { return hot_->rows().Allocate(positions); }
  // Makes them the rows of `keys`; one for a key that has a row already is given back.  *shown = how many are rows now.
  // Requires: a guard; nobody else names these keys.  OutOfSpace: some keys have their row already.
  Status ShowRows(Span<const Key> keys, Span<const Position> positions, uint32_t tick, size_t* shown);
  // Makes rows of what lies in the last tier already.  Returns how many keys had none before; the others stay as they are.
  // Requires: a guard; nobody else names these keys.  OutOfSpace: some keys have their row already.
  Status AdoptRows(Span<const Key> keys, Span<const Position> positions, size_t* adopted);
  // How many new rows the first tier that is not full has room for; the last one never is.
  size_t RoomForNew(int* tier) const;
  // Puts `records` (cold_rows.h) into a tier below the hot one and makes them the rows of `keys`; what is put for a key that has
  // a row is dropped.  *added = how many had none.
  // Requires: no guard; nobody else names these keys.  OutOfSpace, IoError: some keys may have their row already.
  Status AddBelow(int tier, Span<const Key> keys, Span<const std::byte> records, uint32_t tick, size_t* added);
  // Of the last tier, where its rows are in files that do not change; else null.
  SegmentedTier* segments() const { return tiered() ? level(tiers() - 1).tier().segments() : nullptr; }
  // Bytes of a row as a level has it: the row, and its RowMeta where there is one.
  size_t record_bytes() const { return RecordBytes(layout_); }

  // tiers[i] = the tier of keys[i]'s row, -1 if it has none.  Requires: a guard.
  void FindTiers(Span<const Key> keys, int32_t* tiers) const;

  // Moves rows down until the hot tier holds at most `rows` and each bounded level what it should, or all that can be moved
  // have been.  Callers take turns.  On its way a level may hold one batch of writes more.
  // Requires: no guard, no lock.  IoError, OutOfSpace: of a tier below; rows that could not be written stay up.
  Status Demote(size_t rows);
  // The same for the hot tier alone, and while it is somebody's turn this waits no longer than until that has moved enough.
  Status DemoteOrWait(size_t rows);
  // Of two tiers: gives each row of the hot one that has no copy below one, which it has until it is written again.  It
  // takes turns with Demote, which goes first, and ends whoever else wants one.  Requires: no guard, no lock.  IoError,
  // OutOfSpace: of the tier below; some rows have no copy then.
  Status CopyDown(Executor& executor);
  // Threads that wait to move rows down.
  int waiting_for_turn();
  // Rows of bounded tiers above their capacity.
  size_t Excess() const;
  size_t hot_capacity() const { return hot_->residents() == nullptr ? 0 : hot_->residents()->capacity(); }
  // With those that wait for their last reader.
  size_t hot_rows() const { return hot_->rows().size(); }

  // Moves every row to `layout`, which extends layout(): the new slots get their initial values.  Runs alone.  Besides the
  // tiers of the new layout it takes an index of memory, and rows of one step.  After an error nothing has changed.
  Status Relayout(const RowLayout& layout);
  // Drops every row.  Runs alone.  After an error nothing has changed.
  Status Clear();

  // HashIndex's.  Requires: no guard, no lock of a stripe.
  void GiveWay(int* waits) const { index_->GiveWay(waits); }

  int64_t size() const { return index_->size(); }
  int64_t index_bytes() const { return index_->bytes(); }
  const HotTier& hot() const { return *hot_; }
  // Requires: tier < tiers().
  TierMetrics metrics(int tier) const;
  // Rows read from levels for calls that wanted them.
  int64_t cold_reads() const;

 private:
  // A row on its way down.
  struct Leaving {
    Position position;
    Key key;
    Location copy;  // which it had further down already
  };
  using Garbage = std::vector<std::pair<Key, Location>>;  // records of levels that are copies no more
  using CountByTier = std::array<int64_t, kMaxTiers>;
  // All that a store holds.
  struct Content {
    std::unique_ptr<HashIndex> index;
    std::shared_ptr<HotTier> hot;
    std::vector<std::shared_ptr<Level>> levels;
  };

  size_t RecordBytes(const RowLayout& layout) const {
    return layout.row_bytes() + (options_.with_meta ? kRowPartAlignment : 0);
  }
  std::shared_ptr<HotTier> NewHotTier(const RowLayout& layout) const;
  Status OpenLevels(const RowLayout& layout, std::vector<std::shared_ptr<Level>>* levels);
  Level& level(int tier) const { return *levels_[static_cast<size_t>(tier) - 1]; }
  // Null for the last tier.
  Residents* residents(int tier) const { return tier == kHotTier ? hot_->residents() : level(tier).residents(); }
  TierCounts& counts(int tier) const { return counts_[static_cast<size_t>(tier)]; }
  // Rows and copies, without what waits for its last reader.
  size_t RowsOf(int tier) const;
  // Tier::Put into a level of that number, counted.
  Status PutLevel(int tier, const Level& level, Span<const Key> keys, Span<const std::byte> records,
                  Span<Position> positions) const;
  // Tier::Get, counted.
  Status ReadLevel(int tier, Span<const Key> keys, Span<const Position> positions, Span<std::byte> records) const;
  // The record of a key at `location`: staged, or read now into *late.
  Status RecordOf(Key key, Location location, const ColdRows& cold, std::byte* late, const std::byte** record) const;
  void Resolve(RowRefs* refs) const;
  // Puts keys into the index, where they are not; unused(i) for each keys[i] that was not put.  *inserted = how many were.
  template <typename Unused>
  Status InsertAll(int tier, Span<const Key> keys, Span<const Position> positions, size_t* inserted, Unused&& unused);
  // The row at `position` of the hot tier is new there; it was at `from`, which it may keep as a `copy`.
  void Settle(Key key, Position position, Location from, Location copy, uint32_t tick) const;
  void CountComers(const CountByTier& from) const;
  // The row at `position` of the hot tier is about to be written: copies below are none any more.
  void MarkDirty(Key key, Position position, Garbage* garbage) const;
  // The record at `location`, and copies further down, are of no use.
  void Discard(Key key, Location location, Garbage* garbage) const;
  // Where it is written that `target` is a copy of the row at `location`; null: nowhere.
  RelaxedLocation* FindLink(Location location, Location target) const;
  void RetireHot(std::vector<Position> positions);
  void RetireLower(const Garbage& garbage);
  // Asks for what is known of the row at `position` of the hot tier, and for the row; for the row alone.
  void PrefetchHot(Position position) const;
  void PrefetchRow(Position position) const;
  // What compaction asks; see tier.h.
  void Relocate(int tier, Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved);

  // Demote, step by step; see demote.cc.
  // Moves rows while nobody else does.  Requires: it is nobody's turn.
  Status TakeTurn(std::unique_lock<std::mutex> lock, const std::function<Status()>& move);
  Status DemoteTo(int tier, size_t rows);
  Status DemoteSome(int tier, size_t wanted, size_t* moved);
  Status DemoteBatch(int tier, Span<const Victim> victims, size_t* moved);
  void PrefetchVictim(int tier, Position position) const;
  // records: of rows of the hot tier, as many as are leaving.
  void StartLeaving(int tier, Span<const Victim> victims, std::vector<Leaving>* leaving, std::byte* records,
                    size_t* moved);
  void FinishLeaving(int tier, Span<const Leaving> leaving, Span<const Position> positions, bool written,
                     size_t* moved);
  // Whether `copy` is the copy of the row of `key`.
  bool HasCopy(uint32_t place, Location copy, Key key) const;
  // Takes `copy`, of a bounded level, from the row of that place which has it; the row gets `instead`, or, if that is
  // kNoLocation, what copy that one had.  False: no row has it.
  bool GiveUpCopy(uint32_t place, Location copy, Location instead, Key* key) const;
  void CountDemotions(int tier, size_t rows) const;

  // CopyDown, step by step; see copy_down.cc.
  Status CopyPositions(Position first, Position end);
  void StartCopying(Span<const std::pair<uint32_t, Position>> placed, std::vector<Leaving>* rows,
                    std::byte* records) const;
  void FinishCopying(Span<const Leaving> rows, Span<const Position> positions, bool written);

  // Relayout and Clear, step by step; see relayout.cc.
  Status OpenContent(const RowLayout& layout, Content* fresh);
  Status CopyRows(const RowLayout& layout, Content* fresh);
  Status CopyHotRows(const RowLayout& layout, Span<const std::pair<Key, Location>> rows, Content* fresh) const;
  Status CopyColdRows(const RowLayout& layout, const ColdRows& cold, int tier, Content* fresh) const;
  void Widen(const RowLayout& layout, const float* from, float* to) const;
  void Adopt(Content fresh);
  void DrainEpochs();

  mutable EpochDomain epochs_;
  mutable StripeLocks stripes_;
  mutable std::atomic<uint32_t> tick_{kCopyRank};  // a touched row stands above every copy
  mutable std::atomic<int64_t> touches_{0};        // of rows of the hot tier, since its counts were last halved
  mutable std::array<TierCounts, kMaxTiers> counts_;
  const StoreOptions options_;
  const DefaultRows* const defaults_;
  RowLayout layout_;
  std::unique_ptr<HashIndex> index_;
  std::shared_ptr<HotTier> hot_;                // rows that wait for their last reader keep their tier
  std::vector<std::shared_ptr<Level>> levels_;  // levels_[i] is tier i + 1
  std::mutex demote_mu_;
  std::condition_variable demoted_;  // rows have moved, or a turn has ended
  // Guarded by demote_mu_.
  bool demoting_ = false;     // it is somebody's turn
  uint64_t turns_ = 0;        // that have begun
  int waiting_for_turn_ = 0;  // of those who need room
  int copies_next_ = 0;       // CopyDowns that have let somebody go first: nobody else begins a turn
};

}  // namespace ev
