#include "ev_tf/variable/embedding_variable.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "ev_tf/base/first_error.h"
#include "ev_tf/base/scratch.h"
#include "ev_tf/batch/partition.h"
#include "ev_tf/variable/impl.h"

namespace ev {
namespace {

// Bytes of rows that make one more thread worth waking.
constexpr size_t kBytesPerTask = 256 << 10;
// Keys of an update that are worth a visit: their lines, and their rows, are fetched beside one another.  Stripes that have
// fewer are visited together.  Chosen by benchmarks/engine/update_bench.
constexpr size_t kKeysPerVisit = 256;
// Half of them, so that calls that run at once have room; and the thread sanitizer follows no more than 64 locks of a thread.
constexpr size_t kMostStripesPerVisit = kStripes / 2;
// Times that a thread of an update gives way to readers, so that an index which grows under them stays small: some milliseconds.
// Not where there are tiers below: such an update holds one guard to its end.
constexpr int kMostWaits = 64;
// Eviction leaves this share of a tier empty.
constexpr size_t kHeadroomShare = 64;
// Updates leave this share of a batch to the next lookup: what that has no room for is read again by its update.
constexpr size_t kLookupShare = 4;

int TasksFor(size_t keys, size_t row_bytes, const Executor& executor) {
  return static_cast<int>(
      std::clamp<size_t>(keys * row_bytes / kBytesPerTask, 1, static_cast<size_t>(executor.parallelism())));
}

// How many stripes one visit of an update of `keys` takes: a power of two.
int StripesPerVisit(size_t keys) {
  size_t stripes = 1;
  while (stripes < kMostStripesPerVisit && keys * stripes < kKeysPerVisit * kStripes) stripes *= 2;
  return static_cast<int>(stripes);
}

}  // namespace

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

Status EmbeddingVariable::Impl::TakeBackgroundError() {
  std::lock_guard<std::mutex> lock(error_mu_);
  return std::exchange(background_error_, OkStatus());
}

Status EmbeddingVariable::Impl::MakeRoom(size_t incoming, size_t batch) {
  EV_RETURN_IF_ERROR(TakeBackgroundError());
  if (HasRoom(incoming, batch)) return OkStatus();
  const size_t bound = UpdateBound(batch);
  return store_.DemoteOrWait(bound - std::min(incoming, bound));
}

size_t EmbeddingVariable::Impl::UpdateBound(size_t batch) const {
  return store_.hot_capacity() + batch - batch / kLookupShare;
}

bool EmbeddingVariable::Impl::HasRoom(size_t incoming, size_t batch) const {
  return !store_.tiered() || store_.hot_rows() + incoming <= UpdateBound(batch);
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

Status EmbeddingVariable::Impl::Prefetch(Span<const Key> keys) {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  if (!store_.tiered()) return OkStatus();
  const uint32_t tick = store_.NextTick() + kPrefetchCalls;
  SerialExecutor here;
  {
    std::optional<EpochGuard> guard;
    ColdRows cold;
    EV_RETURN_IF_ERROR(FetchCold(keys, tick, here, &guard, &cold));
    EV_RETURN_IF_ERROR(store_.Promote(cold, cold.size(), tick));
  }
  store_.epochs().Collect();
  WakeEviction();
  return OkStatus();
}

Status EmbeddingVariable::Impl::LookupTier(Span<const Key> keys, Span<int32_t> tiers) const {
  if (tiers.size() != keys.size()) return SizeMismatch(options_.name, "tiers", keys.size(), tiers.size());
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const EpochGuard guard(store_.epochs());
  store_.FindTiers(keys, tiers.data());
  return OkStatus();
}

Status EmbeddingVariable::Impl::CheckNotFrozen() const {
  if (!frozen()) return OkStatus();
  return FailedPrecondition(
      options_.name +
      ": expected lookups only, as it was loaded from a table that was frozen for serving, found a "
      "call that changes it: restore a checkpoint of the training");
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

Status EmbeddingVariable::Impl::LockWithSlots(Span<const SlotSpec> slots, std::shared_lock<FairSharedMutex>* layout) {
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
  if (slots.size() != static_cast<size_t>(rule.slots.count)) {
    return SizeMismatch(options_.name, "slots", static_cast<size_t>(rule.slots.count), slots.size());
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    const int64_t written = rule.slots.dim(static_cast<int>(i), options_.dim);
    if (slots[i].dim == written) continue;
    return InvalidArgument(options_.name + ": slot '" + slots[i].name + "': expected dim " + std::to_string(written) +
                           ", found " + std::to_string(slots[i].dim));
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
  UpdateStep step{&rule,
                  {},
                  grads.data(),
                  options_.record_frequency,
                  options_.record_version,
                  global_step < 0 ? 0 : static_cast<uint32_t>(global_step + 1),
                  nullptr,
                  UpdateTick(options_.storage.cache_strategy, store_.NextTick()),
                  admission_.get(),
                  &changed_keys_};
  for (size_t i = 0; i < slots.size(); ++i) {
    step.slot_offsets[i] = store_.layout().slot_offset(store_.layout().FindSlot(slots[i].name));
  }
  if (options_.record_version) SawStep(global_step);
  Status status = ApplyStripes(step, keys, executor);
  store_.epochs().Collect();
  WakeEviction();
  update_keys_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  return status;
}

size_t EmbeddingVariable::Impl::FindCold(Span<const Key> keys, uint32_t touch, Executor& executor,
                                         ColdRows* cold) const {
  cold->Clear();
  const int tasks = TasksFor(keys.size(), sizeof(Line), executor);
  if (tasks == 1) return store_.FindCold(keys, cold, touch);
  std::vector<ColdRows> parts(static_cast<size_t>(tasks));
  std::atomic<size_t> not_hot{0};
  executor.Run(tasks, [&](int task) {
    const size_t first = keys.size() * static_cast<size_t>(task) / parts.size();
    const size_t end = keys.size() * static_cast<size_t>(task + 1) / parts.size();
    not_hot += store_.FindCold(keys.subspan(first, end - first), &parts[static_cast<size_t>(task)], touch);
  });
  for (const ColdRows& part : parts) cold->WantAll(part);
  return not_hot;
}

Status EmbeddingVariable::Impl::FetchCold(Span<const Key> keys, uint32_t touch, Executor& executor,
                                          std::optional<EpochGuard>* guard, ColdRows* cold) {
  EV_RETURN_IF_ERROR(MakeRoom(0, keys.size()));
  guard->emplace(store_.epochs());
  // The rows of a step are up already, as a rule: its lookup brought them.
  const size_t incoming = FindCold(keys, touch, executor, cold);
  if (!HasRoom(incoming, keys.size())) {
    guard->reset();
    EV_RETURN_IF_ERROR(MakeRoom(incoming, keys.size()));
    guard->emplace(store_.epochs());
    FindCold(keys, touch, executor, cold);
  }
  return store_.Fetch(cold);
}

Status EmbeddingVariable::Impl::ApplyStripes(UpdateStep step, Span<const Key> keys, Executor& executor) {
  // Rows below are good under the guard they were read under.  Without any, a guard a visit lets what a growing index
  // leaves behind be freed while the batch is still running.
  std::optional<EpochGuard> guard;
  ColdRows cold;
  if (store_.tiered()) EV_RETURN_IF_ERROR(FetchCold(keys, /*touch=*/0, executor, &guard, &cold));
  step.cold = &cold;
  Scratch<Partition> partition;
  partition->Build(keys, executor);
  const int tasks =
      TasksFor(keys.size(), store_.layout().row_bytes() + static_cast<size_t>(options_.dim) * sizeof(float), executor);
  const int stripes = StripesPerVisit(keys.size());
  const auto visits = static_cast<unsigned>(kStripes / stripes);
  // Calls that run at once start at different stripes, so that they do not queue up behind one another.
  const unsigned first = applies_.fetch_add(1, std::memory_order_relaxed) * 17;
  std::atomic<unsigned> next{0};
  FirstError error;
  const auto work = [&](int) {
    Scratch<StripeUpdate> update;
    UpdateCounts counts;
    int waits = kMostWaits;
    for (unsigned i = next.fetch_add(1); i < visits && error.ok(); i = next.fetch_add(1)) {
      const int s = static_cast<int>((first + i) % visits) * stripes;
      const Span<const KeyAt> entries = partition->stripes(s, s + stripes);
      if (entries.empty()) continue;
      if (!guard) store_.GiveWay(&waits);
      const StripesGuard lock(store_.stripes(), *partition, s, s + stripes);
      std::optional<EpochGuard> visit_guard;
      if (!guard) visit_guard.emplace(store_.epochs());
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

Status EmbeddingVariable::Impl::Clear() {
  std::unique_lock<FairSharedMutex> alone(layout_mu_);
  removes_.fetch_add(store_.size(), std::memory_order_relaxed);
  for (int s = 0; admission_ != nullptr && s < kStripes; ++s) admission_->Clear(s);
  EV_RETURN_IF_ERROR(store_.Clear());
  for (int s = 0; s < kStripes; ++s) changed_keys_.Forget(s);
  cleared_ = true;
  return OkStatus();
}

VariableMetrics EmbeddingVariable::Impl::metrics() const {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const RowPool& pool = store_.hot().rows().pool();
  VariableMetrics m;
  m.rows = store_.size();
  m.row_bytes = static_cast<int64_t>(store_.layout().row_bytes());
  m.row_pool_bytes = static_cast<int64_t>(pool.bytes());
  m.index_bytes = store_.index_bytes();
  m.meta_bytes = static_cast<int64_t>(pool.meta_bytes());
  m.lookup_keys = lookup_keys_.load(std::memory_order_relaxed);
  m.lookup_misses = lookup_misses_.load(std::memory_order_relaxed);
  m.update_keys = update_keys_.load(std::memory_order_relaxed);
  m.update_rows = update_rows_.load(std::memory_order_relaxed);
  m.inserts = inserts_.load(std::memory_order_relaxed);
  m.removes = removes_.load(std::memory_order_relaxed);
  if (admission_ != nullptr) {
    m.filtered_keys = admission_->size();
    m.filter_bytes = admission_->bytes();
  }
  m.changed_keys = changed_keys_.size();
  m.changed_keys_bytes = changed_keys_.bytes();
  m.hot_rows = static_cast<int64_t>(store_.hot_rows());
  m.hot_capacity = static_cast<int64_t>(store_.hot_capacity());
  for (int tier = 0; tier < store_.tiers(); ++tier) {
    const TierMetrics& t = m.tiers.emplace_back(store_.metrics(tier));
    m.meta_bytes += t.index_bytes;
    m.promotions += t.promotions;
    m.demotions += t.demotions;
    m.clean_demotions += t.clean_demotions;
    m.late_reads += t.late_reads;
    if (tier == kHotTier) continue;
    m.lower_rows += t.rows + t.copies;
    m.lower_bytes += t.bytes;
  }
  m.cold_reads = store_.cold_reads();
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
  if (options.shrink.by_age() && !options.record_version) {
    return InvalidArgument(options.name + ": record_version: expected true, as rows leave by age, found false");
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
  EV_RETURN_IF_ERROR(impl_->CheckNotFrozen());
  return impl_->Apply(rule, slots, keys, grads, global_step, executor);
}
std::vector<Key> EmbeddingVariable::Keys() const { return impl_->Keys(); }
Status EmbeddingVariable::ReadRows(Span<const Key> keys, const RowBatch& out, Span<bool> found) const {
  return impl_->ReadRows(keys, out, found);
}
Status EmbeddingVariable::WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows) {
  EV_RETURN_IF_ERROR(impl_->CheckNotFrozen());
  return impl_->WriteRows(keys, slot_specs, rows);
}
Status EmbeddingVariable::Save(Env* env, const std::string& path, const SaveOptions& save, Executor& executor,
                               SaveReport* report) const {
  return impl_->Save(env, path, save, executor, report);
}
bool EmbeddingVariable::CanAdopt(const SegmentFile& file, Span<const SlotSpec> slots, bool has_frequency,
                                 bool has_version) const {
  return impl_->CanAdopt(file, slots, has_frequency, has_version);
}
Status EmbeddingVariable::AdoptSegment(const SegmentFile& file, Span<const uint64_t> live,
                                       const std::function<Status(Key)>& check, int64_t* adopted) {
  return impl_->AdoptSegment(file, live, check, adopted);
}
Status EmbeddingVariable::SaveBase(Env* env, const std::string& path, Executor& executor) {
  return impl_->SaveBase(env, path, executor);
}
Status EmbeddingVariable::SaveDelta(Env* env, const std::string& path, Executor& executor) {
  return impl_->SaveDelta(env, path, executor);
}
int64_t EmbeddingVariable::Remove(Span<const Key> keys) { return frozen() ? 0 : impl_->Remove(keys); }
Status EmbeddingVariable::AddRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows,
                                  int64_t* added) {
  return impl_->AddRows(keys, slot_specs, rows, added);
}
Status EmbeddingVariable::Reserve(int64_t rows, Executor& executor) { return impl_->Reserve(rows, executor); }
Status EmbeddingVariable::InsertMissing(Span<const Key> keys, Span<const float> values) {
  EV_RETURN_IF_ERROR(impl_->CheckNotFrozen());
  return impl_->InsertMissing(keys, values);
}
Status EmbeddingVariable::Clear() {
  EV_RETURN_IF_ERROR(impl_->CheckNotFrozen());
  return impl_->Clear();
}
void EmbeddingVariable::Freeze() { impl_->Freeze(); }
bool EmbeddingVariable::frozen() const { return impl_->frozen(); }
Status EmbeddingVariable::Shrink(int64_t global_step, int64_t* dropped) {
  EV_RETURN_IF_ERROR(impl_->CheckNotFrozen());
  return impl_->Shrink(global_step, dropped);
}
std::vector<FilteredKey> EmbeddingVariable::FilteredKeys() const { return impl_->FilteredKeys(); }
Status EmbeddingVariable::WriteFilteredKeys(Span<const FilteredKey> keys) {
  EV_RETURN_IF_ERROR(impl_->CheckNotFrozen());
  return impl_->WriteFilteredKeys(keys);
}
Status EmbeddingVariable::LookupTier(Span<const Key> keys, Span<int32_t> tiers) const {
  return impl_->LookupTier(keys, tiers);
}
Status EmbeddingVariable::FlushEvictions() { return impl_->FlushEvictions(); }
Status EmbeddingVariable::Prefetch(Span<const Key> keys) const { return impl_->Prefetch(keys); }

}  // namespace ev
