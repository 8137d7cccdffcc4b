// EmbeddingVariable::Impl: the variable behind the facade.  Its methods are in
//   embedding_variable.cc  lookups, updates, eviction, metrics
//   transfer.cc            rows out and in: ReadRows, WriteRows, Remove
//   filtered_keys.cc       what a filter has counted, out and in
//   shrink.cc              rows that are not worth keeping
//   save.cc                rows to a file: Save
//   save_delta.cc          what has changed to a file: SaveBase, SaveDelta
//   segments.cc            rows that stay in files of the last tier: what Save links, and AdoptSegment
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "ev_tf/admission/admission.h"
#include "ev_tf/base/fair_shared_mutex.h"
#include "ev_tf/base/scratch.h"
#include "ev_tf/batch/partition.h"
#include "ev_tf/checkpoint/buckets.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/eviction/eviction_pool.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/store/store.h"
#include "ev_tf/variable/changed_keys.h"
#include "ev_tf/variable/embedding_variable.h"
#include "ev_tf/variable/saved_segments.h"
#include "ev_tf/variable/stripe_update.h"

namespace ev {

// The largest global step that a row can keep.
inline constexpr int64_t kMaxVersion = std::numeric_limits<uint32_t>::max() - int64_t{1};
// Keys that are in flight between two releases of the stripes' locks where a call goes through many of them.
inline constexpr size_t kKeysPerStep = 4096;
// Keys that a save sorts at once: what bounds its memory, 36 bytes each.  More make the pieces of a bucket longer, and
// reading the share of one partition less scattered.
inline constexpr size_t kKeysPerRun = size_t{1} << 20;

inline Status SizeMismatch(const std::string& name, const char* what, size_t expected, size_t found) {
  return InvalidArgument(name + ": " + what + ": expected " + std::to_string(expected) + " elements, found " +
                         std::to_string(found));
}

// Locks, outermost first:
//   chain_mu_   a save that is a link of a chain
//   layout_mu_  shared by every call; alone for Relayout and Clear
//   a stripe    whoever writes a row of the stripe, or reads value and slots as of one moment
// A call holds one guard of the store from before its first look in the index, and the threads that work for it hold none;
// an Apply without tiers below has its threads hold one each instead.
class EmbeddingVariable::Impl final : public EvictionClient {
 public:
  Impl(const VariableOptions& options, Span<const float> default_rows)
      : options_(options),
        defaults_(options.admission.enabled()
                      ? DefaultRows(default_rows, options.dim, options.value_type, options.default_value_no_permission)
                      : DefaultRows(default_rows, options.dim, options.value_type)),
        store_(StoreOptionsOf(options), RowLayout(options.dim, options.value_type), &defaults_) {}
  ~Impl() override {
    if (store_.tiered()) EvictionPool::Global().Unregister(this);
  }
  Status Open() {
    if (options_.storage.open_lower) {
      int threads = 0;
      EV_RETURN_IF_ERROR(EvictionPool::ThreadsFromEnvironment(&threads));
    }
    EV_RETURN_IF_ERROR(MakeAdmission(options_.admission, &admission_));
    EV_RETURN_IF_ERROR(store_.Open());
    if (store_.tiered()) EvictionPool::Global().Register(this);
    return OkStatus();
  }

  Status Lookup(Span<const Key> keys, Span<float> rows, Executor& executor) const;
  Status Apply(const UpdateRule& rule, Span<const SlotSpec> slots, Span<const Key> keys, Span<const float> grads,
               int64_t global_step, Executor& executor);
  Status ReadRows(Span<const Key> keys, const RowBatch& out, Span<bool> found) const;
  Status Save(Env* env, const std::string& path, const SaveOptions& save, Executor& executor, SaveReport* report) const;
  Status SaveBase(Env* env, const std::string& path, Executor& executor);
  Status SaveDelta(Env* env, const std::string& path, Executor& executor);
  bool CanAdopt(const SegmentFile& file, Span<const SlotSpec> slots, bool has_frequency, bool has_version) const;
  Status AdoptSegment(const SegmentFile& file, Span<const uint64_t> live, const std::function<Status(Key)>& check,
                      int64_t* adopted);
  Status WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows);
  Status Reserve(int64_t rows, Executor& executor);
  Status AddRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows, int64_t* added);
  Status InsertMissing(Span<const Key> keys, Span<const float> values);
  int64_t Remove(Span<const Key> keys);
  Status Clear();
  std::vector<Key> Keys() const;
  std::vector<FilteredKey> FilteredKeys() const;
  Status WriteFilteredKeys(Span<const FilteredKey> keys);
  Status Shrink(int64_t global_step, int64_t* dropped);
  Status LookupTier(Span<const Key> keys, Span<int32_t> tiers) const;
  Status FlushEvictions();
  Status Prefetch(Span<const Key> keys);
  void Freeze() { frozen_.store(true, std::memory_order_release); }
  bool frozen() const { return frozen_.load(std::memory_order_acquire); }
  // FailedPrecondition: it is frozen.
  Status CheckNotFrozen() const;
  VariableMetrics metrics() const;
  bool EvictSome() override;
  int64_t size() const {
    std::shared_lock<FairSharedMutex> layout(layout_mu_);
    return store_.size();
  }
  std::vector<SlotSpec> slots() const {
    std::shared_lock<FairSharedMutex> layout(layout_mu_);
    return store_.layout().slots();
  }

  const VariableOptions options_;
  const DefaultRows defaults_;

 private:
  static StoreOptions StoreOptionsOf(const VariableOptions& options) {
    StoreOptions store;
    store.with_meta = options.record_frequency || options.record_version;
    store.hot_bytes = options.storage.dram_bytes;
    store.cache_strategy = options.storage.cache_strategy;
    store.open_lower = options.storage.open_lower;
    for (const auto& [open, bytes] : options.storage.between) store.between.push_back({open, bytes});
    return store;
  }

  // Makes the layout have `slots`, moving all rows if it must; then holds `layout` shared.
  Status LockWithSlots(Span<const SlotSpec> slots, std::shared_lock<FairSharedMutex>* layout);
  Status CheckSlots(Span<const SlotSpec> slots, bool* missing) const;  // requires: layout_mu_
  // The rows of one Apply.  Requires: room was made for them.
  Status ApplyStripes(UpdateStep step, Span<const Key> keys, Executor& executor);
  // Store::FindCold, by all threads, of fresh *cold.  Requires: a guard.
  size_t FindCold(Span<const Key> keys, uint32_t touch, Executor& executor, ColdRows* cold) const;
  // The rows below of `keys`, read under *guard, with room for all of them in DRAM; those there are touched at `touch`,
  // unless it is 0.
  Status FetchCold(Span<const Key> keys, uint32_t touch, Executor& executor, std::optional<EpochGuard>* guard,
                   ColdRows* cold);
  // One part of a Lookup, on one thread.
  Status LookupPart(Span<const Key> keys, uint32_t tick, size_t room, float* out) const;
  // Before a call that makes or brings up rows: fails with what a move in the background met, and moves rows down here
  // or waits for those who do, if those in DRAM and the `incoming` ones are near to `batch` too many.  Requires: no guard.
  Status MakeRoom(size_t incoming, size_t batch);
  Status TakeBackgroundError();
  bool HasRoom(size_t incoming, size_t batch) const;
  // Rows that an update of `batch` keys may leave in DRAM.
  size_t UpdateBound(size_t batch) const;
  // After such a call.  Requires: no guard.
  void WakeEviction() const;
  // Calls visit(entries, first, keys, cold) for the keys of one stripe after another, with its lock and a guard held, a few
  // thousand keys at a time.  `entries` count from `first`; `keys` are theirs; `cold` has their rows below.
  template <typename Visitor>
  Status ForEachStripe(Span<const Key> keys, Visitor&& visit) const;
  // One step of Shrink: of some keys, at a step.  Requires: layout_mu_, no guard.
  Status ShrinkSome(Span<const Key> keys, int64_t step, int64_t* dropped);
  // For the next delta; each requires the lock of the stripe.  Which of `keys` Remove will take something from, and which
  // counts Shrink will drop or give a version.
  void NoteRemovals(int stripe, Span<const Key> keys);
  void NoteAging(int stripe, int64_t step);
  // The step of a version that came in.
  void SawStep(int64_t step) {
    int64_t latest = latest_step_.load(std::memory_order_relaxed);
    while (latest < step && !latest_step_.compare_exchange_weak(latest, step, std::memory_order_relaxed)) {
    }
  }
  // What may be wrong with n rows that come in.
  Status CheckRows(size_t n, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows) const;
  // *meta = what rows[i] brings, as a row that is new has it.
  void WriteMeta(const ConstRowBatch& rows, size_t i, RowMeta* meta);
  // ReadRows, of sizes that were checked.  Requires: layout_mu_.
  Status ReadLocked(Span<const Key> keys, const RowBatch& out, Span<bool> found) const;

  // Saves, step by step.  Each requires: layout_mu_.
  checkpoint::TableDescription Describe() const;
  Status SaveAll(Env* env, const std::string& path, const SaveOptions& save, const checkpoint::Lineage* lineage,
                 Executor& executor, SaveReport* report) const;
  // Only what lookups read; see SaveOptions::Frozen.
  Status SaveFrozen(Env* env, const std::string& path, const SaveOptions& save, Executor& executor,
                    SaveReport* report) const;
  static Status CommitSave(Env* env, const std::string& path, const SaveOptions& save, SavedSegments* segments,
                           TableWriter* writer, SaveReport* report);
  static checkpoint::NewRowLane LanesOf(TableWriter* writer);
  // Every row: those in `segments`, unless that is null, are taken there, the others go to lanes.
  Status SaveRows(const checkpoint::TableDescription& table, SavedSegments* segments,
                  const checkpoint::NewRowLane& new_lane, Executor& executor) const;
  // Keys of rows, and where each was a moment ago, if that is known and all rows are in memory.
  struct LocatedKeys {
    std::vector<Key> keys;
    std::vector<Location> locations;  // none: not known
  };
  // Those of rows that are written together, by bucket, and the blocks that they make.
  struct SortedRun : LocatedKeys {
    std::vector<checkpoint::BlockRange> pieces;
  };
  // `keys` that stand by stripe do so inside each bucket as well.
  static void SortRun(const checkpoint::TableDescription& table, const LocatedKeys& keys, SortedRun* run);
  // Adds those from *cursor on (Store::ScanPart), as many as are a run.  *more: there are others behind.
  void NextRun(uint64_t* cursor, bool* more, LocatedKeys* keys) const;
  // The same without those whose rows are in `segments`, which takes them.  By all threads, as most keys are there.
  void NextRunTaking(uint64_t* cursor, bool* more, SavedSegments* segments, Executor& executor,
                     std::vector<Key>* keys) const;
  // The rows of `keys`, which should stand by stripe; locations as in LocatedKeys, spans as for ReadRows.
  Status ReadSorted(Span<const Key> keys, Span<const Location> locations, const RowBatch& out, Span<bool> found) const;
  // Writes one block of the run; keys that have no row any more are added to *absent.
  Status SaveBlock(const checkpoint::TableDescription& table, const SortedRun& run, const checkpoint::BlockRange& piece,
                   checkpoint::RowLane* lane, std::vector<Key>* absent) const;
  // Writes the rows of distinct keys; *absent = those that have none.  meanwhile(), where there is one, is called once, by
  // one of the threads.
  Status SaveRun(const checkpoint::TableDescription& table, const SortedRun& run,
                 const checkpoint::NewRowLane& new_lane, Executor& executor, std::vector<Key>* absent,
                 const std::function<void()>& meanwhile) const;
  Status SaveFilteredKeys(TableWriter* writer) const;
  // Of a delta: the counts of keys without a row, and who has none either.
  Status SaveAbsentKeys(const std::vector<Key>& keys, TableWriter* writer) const;
  Status SaveChanges(Env* env, const std::string& path, const checkpoint::Lineage& lineage,
                     const std::vector<ChangedKeys::Changes>& changes, Executor& executor) const;
  // By stripe.
  std::vector<ChangedKeys::Changes> TakeChanges();
  void GiveBackChanges(std::vector<ChangedKeys::Changes> taken);
  // Takes out of *run the keys whose row, or an identical copy of it, is in one of the taker's segments.  Requires: layout_mu_.
  void TakeCopies(std::vector<Key>* run, SavedSegments::Taker* taker) const;

  void ReadRow(const float* row, const RowMeta* meta, size_t i, const RowBatch& out) const;

  mutable FairSharedMutex layout_mu_;
  mutable Store store_;                   // a lookup may bring rows up
  std::unique_ptr<Admission> admission_;  // null: every key has a row with its first update.  Constant after Open
  std::atomic<bool> frozen_{false};       // nobody but lookups; never false again
  std::atomic<int64_t> latest_step_{-1};  // the largest version that came in
  std::atomic<unsigned> applies_{0};
  ChangedKeys changed_keys_;

  std::mutex chain_mu_;
  std::optional<checkpoint::Lineage> chain_;  // guarded by chain_mu_: the last link; none: nothing to build on
  bool cleared_ = false;                      // since then; written under chain_mu_, or with layout_mu_ held alone

  std::mutex error_mu_;
  Status background_error_;  // guarded by error_mu_; of a move in the background, until the next write returns it

  mutable std::atomic<int64_t> lookup_keys_{0};
  mutable std::atomic<int64_t> lookup_misses_{0};
  std::atomic<int64_t> update_keys_{0};
  std::atomic<int64_t> update_rows_{0};
  std::atomic<int64_t> inserts_{0};
  std::atomic<int64_t> removes_{0};
};

template <typename Visitor>
Status EmbeddingVariable::Impl::ForEachStripe(Span<const Key> keys, Visitor&& visit) const {
  SerialExecutor serial;
  Scratch<Partition> partition;
  std::vector<Key> stripe_keys;
  ColdRows cold;
  for (size_t first = 0; first < keys.size(); first += kKeysPerStep) {
    const Span<const Key> step = keys.subspan(first, std::min(kKeysPerStep, keys.size() - first));
    partition->Build(step, serial);
    const EpochGuard guard(store_.epochs());
    cold.Clear();
    if (store_.tiered()) {
      store_.FindCold(step, &cold);
      EV_RETURN_IF_ERROR(store_.Fetch(&cold));
    }
    for (int s = 0; s < kStripes; ++s) {
      const Span<const KeyAt> entries = partition->stripe(s);
      if (entries.empty()) continue;
      stripe_keys.clear();
      for (const KeyAt& entry : entries) stripe_keys.push_back(entry.key);
      std::lock_guard<std::mutex> lock(store_.stripes().of(s));
      EV_RETURN_IF_ERROR(visit(entries, first, stripe_keys, cold));
    }
  }
  return OkStatus();
}

}  // namespace ev
