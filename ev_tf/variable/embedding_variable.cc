#include "ev_tf/variable/embedding_variable.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "ev_tf/base/fair_shared_mutex.h"
#include "ev_tf/batch/partition.h"
#include "ev_tf/eviction/eviction_pool.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/store/store.h"
#include "ev_tf/variable/stripe_update.h"

namespace ev {
namespace {

// Bytes of rows that make one more thread worth waking.
constexpr size_t kBytesPerTask = 256 << 10;
constexpr int64_t kMaxVersion = std::numeric_limits<uint32_t>::max() - int64_t{1};
// Keys of one ReadRows or WriteRows step: what is in flight between two releases of the stripes' locks.
constexpr size_t kKeysPerStep = 4096;
// Eviction leaves this share of a tier empty.
constexpr size_t kHeadroomShare = 64;

int TasksFor(size_t keys, size_t row_bytes, const Executor& executor) {
  return static_cast<int>(std::clamp<size_t>(keys * row_bytes / kBytesPerTask, 1,
                                             static_cast<size_t>(executor.parallelism())));
}

Status SizeMismatch(const std::string& name, const char* what, size_t expected, size_t found) {
  return InvalidArgument(name + ": " + what + ": expected " + std::to_string(expected) + " elements, found " +
                         std::to_string(found));
}

// The first failure of threads that work on one call.
class FirstError {
 public:
  void Keep(const Status& status) {
    if (status.ok()) return;
    std::lock_guard<std::mutex> lock(mu_);
    if (status_.ok()) status_ = status;
  }
  Status status() const {
    std::lock_guard<std::mutex> lock(mu_);
    return status_;
  }

 private:
  mutable std::mutex mu_;
  Status status_;  // guarded by mu_
};

// Memory of updates between calls, shared by all variables: as much as runs at once, not as much as there are variables.
template <typename T>
class ScratchPool {
 public:
  std::unique_ptr<T> Take() {
    std::lock_guard<std::mutex> lock(mu_);
    if (free_.empty()) return std::make_unique<T>();
    std::unique_ptr<T> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void Return(std::unique_ptr<T> scratch) {
    std::lock_guard<std::mutex> lock(mu_);
    free_.push_back(std::move(scratch));
  }
  static ScratchPool& Global() {
    static auto* pool = new ScratchPool();  // never destroyed: calls may outlive static destruction
    return *pool;
  }

 private:
  std::mutex mu_;
  std::vector<std::unique_ptr<T>> free_;  // guarded by mu_
};

template <typename T>
class Scratch {
 public:
  Scratch() : value_(ScratchPool<T>::Global().Take()) {}
  ~Scratch() { ScratchPool<T>::Global().Return(std::move(value_)); }
  T* operator->() { return value_.get(); }
  T& operator*() { return *value_; }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace

// Locks, outermost first:
//   layout_mu_  shared by every call; alone for Relayout and Clear
//   a stripe    whoever writes a row of the stripe, or reads value and slots as of one moment
// A call holds one guard of the store from before its first look in the index; the threads that work for it hold none.
class EmbeddingVariable::Impl final : public EvictionClient {
 public:
  Impl(const VariableOptions& options, Span<const float> default_rows)
      : options_(options),
        defaults_(default_rows, options.dim),
        store_(StoreOptionsOf(options), RowLayout(options.dim), &defaults_) {}
  ~Impl() override {
    if (store_.tiered()) EvictionPool::Global().Unregister(this);
  }
  Status Open() {
    EV_RETURN_IF_ERROR(store_.Open());
    if (store_.tiered()) EvictionPool::Global().Register(this);
    return OkStatus();
  }

  Status Lookup(Span<const Key> keys, Span<float> rows, Executor& executor) const;
  Status Apply(const UpdateRule& rule, Span<const SlotSpec> slots, Span<const Key> keys, Span<const float> grads,
               int64_t global_step, Executor& executor);
  Status ReadRows(Span<const Key> keys, const RowBatch& out, Span<bool> found) const;
  Status WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows);
  int64_t Remove(Span<const Key> keys);
  Status Clear();
  std::vector<Key> Keys() const;
  Status LookupTier(Span<const Key> keys, Span<int32_t> tiers) const;
  Status FlushEvictions();
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
  void ReadRow(const float* row, const RowMeta* meta, size_t i, const RowBatch& out) const;

  mutable FairSharedMutex layout_mu_;
  mutable Store store_;  // a lookup may bring rows up
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

Status EmbeddingVariable::Impl::LookupPart(Span<const Key> keys, uint32_t tick, size_t room, float* out) const {
  ColdRows cold;
  int64_t missing = 0;
  EV_RETURN_IF_ERROR(store_.Gather(keys, tick, out, &missing, &cold));
  lookup_misses_.fetch_add(missing, std::memory_order_relaxed);
  return cold.empty() ? OkStatus() : store_.Promote(cold, room, tick);
}

Status EmbeddingVariable::Impl::Lookup(Span<const Key> keys, Span<float> rows, Executor& executor) const {
  const auto dim = static_cast<size_t>(options_.dim);
  if (rows.size() != keys.size() * dim) return SizeMismatch(options_.name, "rows", keys.size() * dim, rows.size());
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const int tasks = TasksFor(keys.size(), dim * sizeof(float), executor);
  const uint32_t tick = store_.NextTick();
  // Lookups may exceed the budget by one batch, as updates may, and never wait for room.
  const size_t hot = store_.tiered() ? store_.hot_rows() : 0;
  const size_t bound = store_.hot_capacity() + keys.size();
  const size_t room = hot < bound ? (bound - hot) / static_cast<size_t>(tasks) : 0;
  FirstError error;
  {
    const EpochGuard guard(store_.epochs());
    const auto part = [&](int task) {
      const size_t first = keys.size() * static_cast<size_t>(task) / static_cast<size_t>(tasks);
      const size_t end = keys.size() * static_cast<size_t>(task + 1) / static_cast<size_t>(tasks);
      error.Keep(LookupPart(keys.subspan(first, end - first), tick, room, rows.data() + first * dim));
    };
    if (tasks == 1) {
      part(0);
    } else {
      executor.Run(tasks, part);
    }
  }
  WakeEviction();
  lookup_keys_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  return error.status();
}

Status EmbeddingVariable::Impl::MakeRoom(size_t incoming, size_t batch) {
  {
    std::lock_guard<std::mutex> lock(error_mu_);
    EV_RETURN_IF_ERROR(std::exchange(background_error_, OkStatus()));
  }
  const size_t bound = store_.hot_capacity() + batch;
  if (!store_.tiered() || store_.hot_rows() + incoming <= bound) return OkStatus();
  return store_.Demote(bound - std::min(incoming, bound));
}

void EmbeddingVariable::Impl::WakeEviction() const {
  if (store_.Excess() != 0) EvictionPool::Global().Wake(const_cast<Impl*>(this));
}

bool EmbeddingVariable::Impl::EvictSome() {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const size_t before = store_.Excess();
  if (before == 0) return false;
  // A little below the capacity, so that not every batch starts a move; exactly at it for a tier of a few rows.
  const size_t capacity = store_.hot_capacity();
  const Status status = store_.Demote(capacity - capacity / kHeadroomShare);
  if (!status.ok()) {
    std::lock_guard<std::mutex> lock(error_mu_);
    background_error_ = status;
    return false;
  }
  const size_t after = store_.Excess();
  return after != 0 && after < before;
}

Status EmbeddingVariable::Impl::FlushEvictions() {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  if (!store_.tiered()) return OkStatus();
  EV_RETURN_IF_ERROR(MakeRoom(0, 0));
  return store_.Demote(store_.hot_capacity());
}

Status EmbeddingVariable::Impl::LookupTier(Span<const Key> keys, Span<int32_t> tiers) const {
  if (tiers.size() != keys.size()) return SizeMismatch(options_.name, "tiers", keys.size(), tiers.size());
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const EpochGuard guard(store_.epochs());
  store_.FindTiers(keys, tiers.data());
  return OkStatus();
}

Status EmbeddingVariable::Impl::CheckSlots(Span<const SlotSpec> slots, bool* missing) const {
  const RowLayout& layout = store_.layout();
  *missing = false;
  for (size_t i = 0; i < slots.size(); ++i) {
    const SlotSpec& slot = slots[i];
    for (size_t before = 0; before < i; ++before) {
      if (slots[before].name != slot.name) continue;
      return InvalidArgument(options_.name + ": slot '" + slot.name + "': expected once, found twice");
    }
    const int at = layout.FindSlot(slot.name);
    if (at < 0) {
      *missing = true;
    } else if (layout.slots()[at].dim != slot.dim) {
      return InvalidArgument(options_.name + ": slot '" + slot.name + "': expected dim " +
                             std::to_string(layout.slots()[at].dim) + ", found " + std::to_string(slot.dim));
    }
  }
  return OkStatus();
}

Status EmbeddingVariable::Impl::LockWithSlots(Span<const SlotSpec> slots,
                                              std::shared_lock<FairSharedMutex>* layout) {
  bool missing = false;
  *layout = std::shared_lock<FairSharedMutex>(layout_mu_);
  EV_RETURN_IF_ERROR(CheckSlots(slots, &missing));
  if (!missing) return OkStatus();
  layout->unlock();
  {
    std::unique_lock<FairSharedMutex> alone(layout_mu_);
    EV_RETURN_IF_ERROR(CheckSlots(slots, &missing));
    RowLayout wanted = store_.layout();
    for (const SlotSpec& slot : slots) {
      if (wanted.FindSlot(slot.name) < 0) EV_RETURN_IF_ERROR(RowLayout(wanted).WithSlot(slot, &wanted));
    }
    if (missing) EV_RETURN_IF_ERROR(store_.Relayout(wanted));
  }
  layout->lock();  // a slot, once there, stays
  return OkStatus();
}

Status EmbeddingVariable::Impl::Apply(const UpdateRule& rule, Span<const SlotSpec> slots, Span<const Key> keys,
                                      Span<const float> grads, int64_t global_step, Executor& executor) {
  const auto dim = static_cast<size_t>(options_.dim);
  if (grads.size() != keys.size() * dim) return SizeMismatch(options_.name, "grads", keys.size() * dim, grads.size());
  if (slots.size() != static_cast<size_t>(rule.slots)) {
    return SizeMismatch(options_.name, "slots", static_cast<size_t>(rule.slots), slots.size());
  }
  for (const SlotSpec& slot : slots) {  // a rule writes as many floats to each slot as to the value
    if (slot.dim == options_.dim) continue;
    return InvalidArgument(options_.name + ": slot '" + slot.name + "': expected dim " + std::to_string(dim) +
                           ", found " + std::to_string(slot.dim));
  }
  if (keys.size() > std::numeric_limits<uint32_t>::max()) {
    return InvalidArgument(options_.name + ": keys: expected fewer than 2^32, found " + std::to_string(keys.size()));
  }
  if (options_.record_version && global_step > kMaxVersion) {
    return InvalidArgument(options_.name + ": global_step: expected at most " + std::to_string(kMaxVersion) +
                           ", found " + std::to_string(global_step));
  }
  std::shared_lock<FairSharedMutex> layout;
  EV_RETURN_IF_ERROR(LockWithSlots(slots, &layout));
  UpdateStep step{&rule, {}, grads.data(), options_.record_frequency, options_.record_version,
                  global_step < 0 ? 0 : static_cast<uint32_t>(global_step + 1), nullptr, store_.NextTick()};
  for (size_t i = 0; i < slots.size(); ++i) {
    step.slot_offsets[i] = store_.layout().slot_offset(store_.layout().FindSlot(slots[i].name));
  }
  if (store_.tiered()) EV_RETURN_IF_ERROR(MakeRoom(keys.size(), keys.size()));
  const Status status = ApplyStripes(step, keys, executor);
  WakeEviction();
  update_keys_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  return status;
}

Status EmbeddingVariable::Impl::ApplyStripes(UpdateStep step, Span<const Key> keys, Executor& executor) {
  const EpochGuard guard(store_.epochs());
  ColdRows cold;
  if (store_.tiered()) {
    store_.FindCold(keys, &cold);
    EV_RETURN_IF_ERROR(store_.Fetch(&cold));
  }
  step.cold = &cold;
  Scratch<Partition> partition;
  partition->Build(keys, executor);
  const int tasks =
      TasksFor(keys.size(), store_.layout().row_bytes() + static_cast<size_t>(options_.dim) * sizeof(float), executor);
  // Calls that run at once start at different stripes, so that they do not queue up behind one another.
  const unsigned first = applies_.fetch_add(1, std::memory_order_relaxed) * 17;
  std::atomic<unsigned> next{0};
  FirstError error;
  const auto work = [&](int) {
    Scratch<StripeUpdate> update;
    UpdateCounts counts;
    for (unsigned i = next.fetch_add(1); i < kStripes && error.status().ok(); i = next.fetch_add(1)) {
      const int s = static_cast<int>((first + i) % kStripes);
      const Span<const KeyAt> entries = partition->stripe(s);
      if (entries.empty()) continue;
      std::lock_guard<std::mutex> lock(store_.stripes().of(s));
      error.Keep(update->Run(step, entries, &store_, &counts));
    }
    update_rows_.fetch_add(counts.rows, std::memory_order_relaxed);
    inserts_.fetch_add(counts.inserts, std::memory_order_relaxed);
  };
  if (tasks == 1) {
    work(0);
  } else {
    executor.Run(tasks, work);
  }
  return error.status();
}

std::vector<Key> EmbeddingVariable::Impl::Keys() const {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  std::vector<Key> keys;
  keys.reserve(static_cast<size_t>(store_.size()));
  const EpochGuard guard(store_.epochs());
  store_.ScanKeys([&](Key key) { keys.push_back(key); });
  return keys;
}

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

void EmbeddingVariable::Impl::ReadRow(const float* row, const RowMeta* meta, size_t i, const RowBatch& out) const {
  const RowLayout& layout = store_.layout();
  const auto dim = static_cast<size_t>(layout.dim());
  if (!out.values.empty()) std::copy_n(row, dim, out.values.data() + i * dim);
  if (!out.slots.empty()) {
    float* to = out.slots.data() + i * static_cast<size_t>(layout.slot_floats());
    for (size_t s = 0; s < layout.slots().size(); ++s) {
      to = std::copy_n(row + layout.slot_offset(static_cast<int>(s)), layout.slots()[s].dim, to);
    }
  }
  if (!out.frequencies.empty()) out.frequencies[i] = meta == nullptr ? 0 : meta->frequency;
  if (!out.versions.empty()) out.versions[i] = meta == nullptr ? -1 : int64_t{meta->version_plus1} - 1;
}

Status EmbeddingVariable::Impl::ReadRows(Span<const Key> keys, const RowBatch& out, Span<bool> found) const {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const size_t n = keys.size();
  const size_t values = n * static_cast<size_t>(options_.dim);
  const size_t slots = n * static_cast<size_t>(store_.layout().slot_floats());
  const std::string& name = options_.name;
  if (found.size() != n) return SizeMismatch(name, "found", n, found.size());
  if (!out.values.empty() && out.values.size() != values) {
    return SizeMismatch(name, "values", values, out.values.size());
  }
  if (!out.slots.empty() && out.slots.size() != slots) return SizeMismatch(name, "slots", slots, out.slots.size());
  if (!out.frequencies.empty() && out.frequencies.size() != n) {
    return SizeMismatch(name, "frequencies", n, out.frequencies.size());
  }
  if (!out.versions.empty() && out.versions.size() != n) return SizeMismatch(name, "versions", n, out.versions.size());

  RowRefs refs;
  return ForEachStripe(keys, [&](Span<const KeyAt> entries, size_t first, Span<const Key> stripe_keys,
                                 const ColdRows& cold) -> Status {
    EV_RETURN_IF_ERROR(store_.Read(stripe_keys, cold, &refs));
    for (size_t e = 0; e < entries.size(); ++e) {
      const size_t i = first + entries[e].position;
      found[i] = refs.rows[e] != nullptr;
      if (found[i]) ReadRow(refs.rows[e], refs.meta.empty() ? nullptr : refs.meta[e], i, out);
    }
    return OkStatus();
  });
}

Status EmbeddingVariable::Impl::WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs,
                                          const ConstRowBatch& rows) {
  const size_t n = keys.size();
  const auto dim = static_cast<size_t>(options_.dim);
  size_t columns = 0;
  for (const SlotSpec& slot : slot_specs) columns += static_cast<size_t>(slot.dim);
  const std::string& name = options_.name;
  if (rows.values.size() != n * dim) return SizeMismatch(name, "values", n * dim, rows.values.size());
  if (rows.slots.size() != n * columns) return SizeMismatch(name, "slots", n * columns, rows.slots.size());
  if (!rows.frequencies.empty() && rows.frequencies.size() != n) {
    return SizeMismatch(name, "frequencies", n, rows.frequencies.size());
  }
  if (!rows.versions.empty() && rows.versions.size() != n) {
    return SizeMismatch(name, "versions", n, rows.versions.size());
  }
  if (options_.record_version) {
    for (const int64_t version : rows.versions) {
      if (version < -1 || version > kMaxVersion) {
        return InvalidArgument(name + ": versions: expected -1 to " + std::to_string(kMaxVersion) + ", found " +
                               std::to_string(version));
      }
    }
  }
  std::shared_lock<FairSharedMutex> lock;
  EV_RETURN_IF_ERROR(LockWithSlots(slot_specs, &lock));
  const RowLayout& layout = store_.layout();

  RowRefs refs;
  const uint32_t tick = store_.NextTick();
  const auto write_stripe = [&](Span<const KeyAt> entries, size_t first, Span<const Key> stripe_keys,
                                const ColdRows& cold) -> Status {
    size_t inserted = 0;
    EV_RETURN_IF_ERROR(store_.FindOrInsert(stripe_keys, cold, tick, &refs, &inserted));
    inserts_.fetch_add(static_cast<int64_t>(inserted), std::memory_order_relaxed);
    for (size_t e = 0; e < entries.size(); ++e) {
      const size_t i = first + entries[e].position;
      float* row = refs.rows[e];
      layout.InitRow(rows.values.data() + i * dim, row);
      const float* from = rows.slots.data() + i * columns;
      for (const SlotSpec& slot : slot_specs) {
        std::copy_n(from, slot.dim, row + layout.slot_offset(layout.FindSlot(slot.name)));
        from += slot.dim;
      }
      if (refs.meta.empty()) continue;
      *refs.meta[e] = RowMeta{};
      if (options_.record_frequency && !rows.frequencies.empty()) {
        refs.meta[e]->frequency = static_cast<uint32_t>(
            std::clamp<int64_t>(rows.frequencies[i], 0, std::numeric_limits<uint32_t>::max()));
      }
      if (options_.record_version && !rows.versions.empty()) {
        refs.meta[e]->version_plus1 = static_cast<uint32_t>(rows.versions[i] + 1);
      }
    }
    return OkStatus();
  };
  for (size_t first = 0; first < n; first += kKeysPerStep) {
    const size_t step = std::min(kKeysPerStep, n - first);
    EV_RETURN_IF_ERROR(MakeRoom(step, step));
    EV_RETURN_IF_ERROR(ForEachStripe(
        keys.subspan(first, step),
        [&](Span<const KeyAt> entries, size_t within, Span<const Key> stripe_keys, const ColdRows& cold) {
          return write_stripe(entries, first + within, stripe_keys, cold);
        }));
    WakeEviction();
  }
  return OkStatus();
}

int64_t EmbeddingVariable::Impl::Remove(Span<const Key> keys) {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  SerialExecutor serial;
  Scratch<Partition> partition;
  partition->Build(keys, serial);
  int64_t removed = 0;
  std::vector<Key> stripe_keys;
  const EpochGuard guard(store_.epochs());
  for (int s = 0; s < kStripes; ++s) {
    if (partition->stripe(s).empty()) continue;
    stripe_keys.clear();
    for (const KeyAt& entry : partition->stripe(s)) stripe_keys.push_back(entry.key);
    std::lock_guard<std::mutex> lock(store_.stripes().of(s));
    removed += static_cast<int64_t>(store_.Remove(stripe_keys));
  }
  removes_.fetch_add(removed, std::memory_order_relaxed);
  return removed;
}

Status EmbeddingVariable::Impl::Clear() {
  std::unique_lock<FairSharedMutex> alone(layout_mu_);
  removes_.fetch_add(store_.size(), std::memory_order_relaxed);
  return store_.Clear();
}

VariableMetrics EmbeddingVariable::Impl::metrics() const {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const RowPool& pool = store_.hot().rows().pool();
  VariableMetrics m;
  m.rows = store_.size();
  m.row_bytes = static_cast<int64_t>(store_.layout().row_bytes());
  m.row_pool_bytes = static_cast<int64_t>(pool.bytes());
  m.index_bytes = store_.index_bytes();
  m.meta_bytes = static_cast<int64_t>(pool.meta_bytes() + store_.hot().state_bytes());
  m.lookup_keys = lookup_keys_.load(std::memory_order_relaxed);
  m.lookup_misses = lookup_misses_.load(std::memory_order_relaxed);
  m.update_keys = update_keys_.load(std::memory_order_relaxed);
  m.update_rows = update_rows_.load(std::memory_order_relaxed);
  m.inserts = inserts_.load(std::memory_order_relaxed);
  m.removes = removes_.load(std::memory_order_relaxed);
  m.hot_rows = static_cast<int64_t>(store_.hot_rows());
  m.hot_capacity = static_cast<int64_t>(store_.hot_capacity());
  if (!store_.tiered()) return m;
  const StoreCounts& counts = store_.counts();
  m.lower_rows = static_cast<int64_t>(store_.lower()->size());
  m.lower_bytes = static_cast<int64_t>(store_.lower()->bytes());
  m.promotions = counts.promotions.load(std::memory_order_relaxed);
  m.demotions = counts.demotions.load(std::memory_order_relaxed);
  m.clean_demotions = counts.clean_demotions.load(std::memory_order_relaxed);
  m.cold_reads = counts.cold_reads.load(std::memory_order_relaxed);
  m.late_reads = counts.late_reads.load(std::memory_order_relaxed);
  return m;
}

Status EmbeddingVariable::Create(const VariableOptions& options, Span<const float> default_rows,
                                 std::unique_ptr<EmbeddingVariable>* out) {
  if (options.dim < 1 || options.dim > kMaxDim) {
    return InvalidArgument(options.name + ": dim: expected 1 to " + std::to_string(kMaxDim) + ", found " +
                           std::to_string(options.dim));
  }
  if (default_rows.empty() || default_rows.size() % static_cast<size_t>(options.dim) != 0) {
    return InvalidArgument(options.name + ": default_rows: expected a positive multiple of dim " +
                           std::to_string(options.dim) + " elements, found " + std::to_string(default_rows.size()));
  }
  auto impl = std::make_unique<Impl>(options, default_rows);
  EV_RETURN_IF_ERROR(impl->Open());
  out->reset(new EmbeddingVariable(std::move(impl)));
  return OkStatus();
}

EmbeddingVariable::EmbeddingVariable(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EmbeddingVariable::~EmbeddingVariable() = default;

const VariableOptions& EmbeddingVariable::options() const { return impl_->options_; }
int64_t EmbeddingVariable::size() const { return impl_->size(); }
std::vector<SlotSpec> EmbeddingVariable::slots() const { return impl_->slots(); }
VariableMetrics EmbeddingVariable::metrics() const { return impl_->metrics(); }
Span<const float> EmbeddingVariable::default_rows() const { return impl_->defaults_.all(); }
Status EmbeddingVariable::Lookup(Span<const Key> keys, Span<float> rows, Executor& executor) const {
  return impl_->Lookup(keys, rows, executor);
}
Status EmbeddingVariable::Apply(const UpdateRule& rule, Span<const SlotSpec> slots, Span<const Key> keys,
                                Span<const float> grads, int64_t global_step, Executor& executor) {
  return impl_->Apply(rule, slots, keys, grads, global_step, executor);
}
std::vector<Key> EmbeddingVariable::Keys() const { return impl_->Keys(); }
Status EmbeddingVariable::ReadRows(Span<const Key> keys, const RowBatch& out, Span<bool> found) const {
  return impl_->ReadRows(keys, out, found);
}
Status EmbeddingVariable::WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs,
                                    const ConstRowBatch& rows) {
  return impl_->WriteRows(keys, slot_specs, rows);
}
int64_t EmbeddingVariable::Remove(Span<const Key> keys) { return impl_->Remove(keys); }
Status EmbeddingVariable::Clear() { return impl_->Clear(); }
Status EmbeddingVariable::LookupTier(Span<const Key> keys, Span<int32_t> tiers) const {
  return impl_->LookupTier(keys, tiers);
}
Status EmbeddingVariable::FlushEvictions() { return impl_->FlushEvictions(); }
Status EmbeddingVariable::Prefetch(Span<const Key> keys, Executor& executor) const {
  std::vector<float> unwanted(keys.size() * static_cast<size_t>(dim()));
  return impl_->Lookup(keys, unwanted, executor);
}

}  // namespace ev
