// EmbeddingVariable::Impl: the variable behind the facade.  Its methods are in
//   embedding_variable.cc  lookups, updates, eviction, metrics
//   transfer.cc            rows out and in: ReadRows, WriteRows, Remove
//   filtered_keys.cc       what a filter has counted, out and in
//   shrink.cc              rows that are not worth keeping
//   save.cc                rows to a file: Save
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "ev_tf/admission/admission.h"
#include "ev_tf/base/fair_shared_mutex.h"
#include "ev_tf/base/scratch.h"
#include "ev_tf/batch/partition.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/eviction/eviction_pool.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/store/store.h"
#include "ev_tf/variable/embedding_variable.h"
#include "ev_tf/variable/stripe_update.h"

namespace ev {

// The largest global step that a row can keep.
inline constexpr int64_t kMaxVersion = std::numeric_limits<uint32_t>::max() - int64_t{1};
// Keys that are in flight between two releases of the stripes' locks where a call goes through many of them.
inline constexpr size_t kKeysPerStep = 4096;

inline Status SizeMismatch(const std::string& name, const char* what, size_t expected, size_t found) {
  return InvalidArgument(name + ": " + what + ": expected " + std::to_string(expected) + " elements, found " +
                         std::to_string(found));
}

// Locks, outermost first:
//   layout_mu_  shared by every call; alone for Relayout and Clear
//   a stripe    whoever writes a row of the stripe, or reads value and slots as of one moment
// A call holds one guard of the store from before its first look in the index, and the threads that work for it hold none;
// an Apply without tiers below has its threads hold one each instead.
class EmbeddingVariable::Impl final : public EvictionClient {
 public:
  Impl(const VariableOptions& options, Span<const float> default_rows)
      : options_(options),
        defaults_(options.admission.enabled()
                      ? DefaultRows(default_rows, options.dim, options.default_value_no_permission)
                      : DefaultRows(default_rows, options.dim)),
        store_(StoreOptionsOf(options), RowLayout(options.dim), &defaults_) {}
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

  // calls_ahead: of how many calls later the rows count as touched; see cache/rank.h.
  Status Lookup(Span<const Key> keys, Span<float> rows, uint32_t calls_ahead, Executor& executor) const;
  Status Apply(const UpdateRule& rule, Span<const SlotSpec> slots, Span<const Key> keys, Span<const float> grads,
               int64_t global_step, Executor& executor);
  Status ReadRows(Span<const Key> keys, const RowBatch& out, Span<bool> found) const;
  Status Save(Env* env, const std::string& path, Executor& executor) const;
  Status WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows);
  Status InsertMissing(Span<const Key> keys, Span<const float> values);
  int64_t Remove(Span<const Key> keys);
  Status Clear();
  std::vector<Key> Keys() const;
  std::vector<FilteredKey> FilteredKeys() const;
  Status WriteFilteredKeys(Span<const FilteredKey> keys);
  Status Shrink(int64_t global_step, int64_t* dropped);
  Status LookupTier(Span<const Key> keys, Span<int32_t> tiers) const;
  Status FlushEvictions();
  Status Prefetch(Span<const Key> keys, Executor& executor);
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
  // One part of a Lookup, on one thread.
  Status LookupPart(Span<const Key> keys, uint32_t tick, size_t room, float* out) const;
  // Before a call that makes or brings up rows: fails with what a move in the background met, and moves rows down here
  // if those in DRAM and the `incoming` ones are more than `batch` too many.  Requires: no guard.
  Status MakeRoom(size_t incoming, size_t batch);
  // After such a call.  Requires: no guard.
  void WakeEviction() const;
  // Calls visit(entries, first, keys, cold) for the keys of one stripe after another, with its lock and a guard held, a few
  // thousand keys at a time.  `entries` count from `first`; `keys` are theirs; `cold` has their rows below.
  template <typename Visitor>
  Status ForEachStripe(Span<const Key> keys, Visitor&& visit) const;
  // One step of Shrink: of some keys, at a step.  Requires: layout_mu_, no guard.
  Status ShrinkSome(Span<const Key> keys, int64_t step, int64_t* dropped);
  // The step of a version that came in.
  void SawStep(int64_t step) {
    int64_t latest = latest_step_.load(std::memory_order_relaxed);
    while (latest < step && !latest_step_.compare_exchange_weak(latest, step, std::memory_order_relaxed)) {
    }
  }
  // ReadRows, of sizes that were checked.  Requires: layout_mu_.
  Status ReadLocked(Span<const Key> keys, const RowBatch& out, Span<bool> found) const;
  // *buffer = the rows of `keys` as checkpoint::RowColumns; keys that have none are taken out.  Requires: layout_mu_.
  Status ReadBlock(const checkpoint::TableDescription& table, std::vector<Key>* keys,
                   std::vector<int64_t>* buffer) const;
  // Writes the rows of distinct keys.  Requires: layout_mu_.
  Status SaveRun(const checkpoint::TableDescription& table, const std::vector<Key>& run, TableWriter* writer,
                 Executor& executor) const;
  Status SaveFilteredKeys(TableWriter* writer) const;
  void ReadRow(const float* row, const RowMeta* meta, size_t i, const RowBatch& out) const;

  mutable FairSharedMutex layout_mu_;
  mutable Store store_;                   // a lookup may bring rows up
  std::unique_ptr<Admission> admission_;  // null: every key has a row with its first update.  Constant after Open
  std::atomic<int64_t> latest_step_{-1};  // the largest version that came in
  std::atomic<unsigned> applies_{0};
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
