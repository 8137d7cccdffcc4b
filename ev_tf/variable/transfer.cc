#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "ev_tf/variable/impl.h"

namespace ev {
void EmbeddingVariable::Impl::ReadRow(const float* row, const RowMeta* meta, size_t i, const RowBatch& out) const {
  const RowLayout& layout = store_.layout();
  const auto dim = static_cast<size_t>(layout.dim());
  if (!out.values.empty()) layout.ReadValue(row, out.values.data() + i * dim);
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
  return ReadLocked(keys, out, found);
}

Status EmbeddingVariable::Impl::ReadLocked(Span<const Key> keys, const RowBatch& out, Span<bool> found) const {
  RowRefs refs;
  return ForEachStripe(
      keys, [&](Span<const KeyAt> entries, size_t first, Span<const Key> stripe_keys, const ColdRows& cold) -> Status {
        EV_RETURN_IF_ERROR(store_.Read(stripe_keys, cold, &refs));
        for (size_t e = 0; e < entries.size(); ++e) {
          const size_t i = first + entries[e].position;
          found[i] = refs.rows[e] != nullptr;
          if (!found[i] && admission_ != nullptr) {
            const FilteredKey known = admission_->Get(StripeOf(HashKey(stripe_keys[e])), stripe_keys[e]);
            if (!out.frequencies.empty()) out.frequencies[i] = known.frequency;
            if (!out.versions.empty()) out.versions[i] = int64_t{known.version_plus1} - 1;
          }
          if (found[i]) ReadRow(refs.rows[e], refs.meta.empty() ? nullptr : refs.meta[e], i, out);
        }
        return OkStatus();
      });
}

Status EmbeddingVariable::Impl::CheckRows(size_t n, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows) const {
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
  for (const int64_t frequency : rows.frequencies) {
    if (frequency < 0) {
      return InvalidArgument(name + ": frequencies: expected at least 0, found " + std::to_string(frequency));
    }
  }
  if (!options_.record_version) return OkStatus();
  for (const int64_t version : rows.versions) {
    if (version < -1 || version > kMaxVersion) {
      return InvalidArgument(name + ": versions: expected -1 to " + std::to_string(kMaxVersion) + ", found " +
                             std::to_string(version));
    }
  }
  return OkStatus();
}

namespace {

// Puts rows of a batch where they are in memory.
class RowWriter {
 public:
  using Rows = EmbeddingVariable::ConstRowBatch;

  // Requires: the layout has every one of `slots`.
  RowWriter(const RowLayout& layout, Span<const SlotSpec> slots, const Rows& rows)
      : layout_(layout),
        values_(rows.values.data()),
        columns_(rows.slots.data()),
        all_slots_(slots.size() == layout.slots().size()) {
    for (const SlotSpec& slot : slots) {
      slots_.push_back({layout.slot_offset(layout.FindSlot(slot.name)), static_cast<size_t>(slot.dim)});
      width_ += static_cast<size_t>(slot.dim);
    }
  }

  void Write(size_t i, float* row) const {
    layout_.WriteValue(values_ + i * static_cast<size_t>(layout_.dim()), row);
    if (!all_slots_) layout_.InitSlots(row);
    const float* from = columns_ + i * width_;
    for (const Slot& slot : slots_) {
      std::memcpy(row + slot.offset, from, slot.n * sizeof(float));
      from += slot.n;
    }
  }

 private:
  struct Slot {
    size_t offset;
    size_t n;
  };

  const RowLayout& layout_;
  const float* const values_;
  const float* const columns_;
  const bool all_slots_;
  std::vector<Slot> slots_;
  size_t width_ = 0;  // floats of the columns of a row
};

}  // namespace

void EmbeddingVariable::Impl::WriteMeta(const ConstRowBatch& rows, size_t i, RowMeta* meta) {
  *meta = RowMeta{};
  // Whoever has a row was admitted, however often that was.
  if (admission_ != nullptr && options_.record_frequency) meta->frequency = admission_->threshold();
  if (options_.record_frequency && !rows.frequencies.empty()) {
    meta->frequency =
        static_cast<uint32_t>(std::min<int64_t>(rows.frequencies[i], std::numeric_limits<uint32_t>::max()));
  }
  if (options_.record_version && !rows.versions.empty()) {
    meta->version_plus1 = static_cast<uint32_t>(rows.versions[i] + 1);
    SawStep(rows.versions[i]);
  }
}

Status EmbeddingVariable::Impl::WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs,
                                          const ConstRowBatch& rows) {
  EV_RETURN_IF_ERROR(CheckRows(keys.size(), slot_specs, rows));
  std::shared_lock<FairSharedMutex> lock;
  EV_RETURN_IF_ERROR(LockWithSlots(slot_specs, &lock));
  const RowWriter writer(store_.layout(), slot_specs, rows);
  RowRefs refs;
  const uint32_t tick = store_.NextTick();
  const auto write_stripe = [&](Span<const KeyAt> entries, size_t first, Span<const Key> stripe_keys,
                                const ColdRows& cold) -> Status {
    size_t inserted = 0;
    const Status found = store_.FindOrInsert(stripe_keys, cold, tick, &refs, &inserted);
    changed_keys_.Add(StripeOf(HashKey(stripe_keys[0])), stripe_keys);
    EV_RETURN_IF_ERROR(found);
    inserts_.fetch_add(static_cast<int64_t>(inserted), std::memory_order_relaxed);
    if (admission_ != nullptr) admission_->Forget(StripeOf(HashKey(stripe_keys[0])), stripe_keys);
    for (size_t e = 0; e < entries.size(); ++e) {
      const size_t i = first + entries[e].position;
      writer.Write(i, refs.rows[e]);
      if (!refs.meta.empty()) WriteMeta(rows, i, refs.meta[e]);
    }
    return OkStatus();
  };
  for (size_t first = 0; first < keys.size(); first += kKeysPerStep) {
    const size_t step = std::min(kKeysPerStep, keys.size() - first);
    EV_RETURN_IF_ERROR(MakeRoom(step, step));
    EV_RETURN_IF_ERROR(ForEachStripe(keys.subspan(first, step), [&](Span<const KeyAt> entries, size_t within,
                                                                    Span<const Key> stripe_keys, const ColdRows& cold) {
      return write_stripe(entries, first + within, stripe_keys, cold);
    }));
    WakeEviction();
  }
  return OkStatus();
}

Status EmbeddingVariable::Impl::Reserve(int64_t rows, Executor& executor) {
  const std::unique_lock<FairSharedMutex> alone(layout_mu_);
  return store_.Reserve(rows, executor);
}

Status EmbeddingVariable::Impl::AddRows(Span<const Key> keys, Span<const SlotSpec> slot_specs,
                                        const ConstRowBatch& rows, int64_t* added) {
  *added = 0;
  EV_RETURN_IF_ERROR(CheckRows(keys.size(), slot_specs, rows));
  std::shared_lock<FairSharedMutex> lock;
  EV_RETURN_IF_ERROR(LockWithSlots(slot_specs, &lock));
  const RowWriter writer(store_.layout(), slot_specs, rows);
  const DramTier& hot = store_.hot().rows();
  const bool with_meta = hot.pool().with_meta();
  const size_t record_bytes = store_.record_bytes();
  const uint32_t tick = store_.NextTick();
  std::vector<Position> positions;
  RecordBuffer records;
  const auto add_on_top = [&](size_t first, size_t n, size_t* shown) -> Status {
    positions.resize(n);
    EV_RETURN_IF_ERROR(store_.NewRows(positions));
    for (size_t i = 0; i < n; ++i) {
      writer.Write(first + i, hot.row(positions[i]));
      if (with_meta) WriteMeta(rows, first + i, hot.meta(positions[i]));
    }
    const EpochGuard guard(store_.epochs());
    return store_.ShowRows(keys.subspan(first, n), positions, tick, shown);
  };
  const auto add_below = [&](int tier, size_t first, size_t n, size_t* shown) -> Status {
    records.Reserve(n * record_bytes);
    std::memset(records.data(), 0, n * record_bytes);  // padding is written, too
    for (size_t i = 0; i < n; ++i) {
      std::byte* record = records.data() + i * record_bytes;
      writer.Write(first + i, reinterpret_cast<float*>(record));
      if (with_meta) WriteMeta(rows, first + i, reinterpret_cast<RowMeta*>(record + store_.layout().row_bytes()));
    }
    return store_.AddBelow(tier, keys.subspan(first, n), {records.data(), n * record_bytes}, tick, shown);
  };
  Status status = TakeBackgroundError();
  for (size_t first = 0; first < keys.size() && status.ok();) {
    int tier = kHotTier;
    const size_t n = std::min({kKeysPerStep, keys.size() - first, store_.RoomForNew(&tier)});
    size_t shown = 0;
    status = tier == kHotTier ? add_on_top(first, n, &shown) : add_below(tier, first, n, &shown);
    *added += static_cast<int64_t>(shown);
    inserts_.fetch_add(static_cast<int64_t>(shown), std::memory_order_relaxed);
    first += n;
  }
  WakeEviction();  // several threads may have seen the same room
  return status.ok() ? TakeBackgroundError() : status;
}

namespace {

// Refuses nobody; remembers who had no row.
class AbsentKeys final : public InsertGate {
 public:
  Status Ask(Span<const Key> keys, Span<Location> locations) override {
    places_.clear();
    for (size_t i = 0; i < keys.size(); ++i) {
      if (locations[i] == kNoLocation) places_.push_back(i);
    }
    return OkStatus();
  }
  const std::vector<size_t>& places() const { return places_; }

 private:
  std::vector<size_t> places_;
};

}  // namespace

Status EmbeddingVariable::Impl::InsertMissing(Span<const Key> keys, Span<const float> values) {
  const auto dim = static_cast<size_t>(options_.dim);
  if (values.size() != keys.size() * dim) {
    return SizeMismatch(options_.name, "values", keys.size() * dim, values.size());
  }
  if (admission_ != nullptr) {
    return InvalidArgument(options_.name +
                           ": rows for missing keys: expected no filter, found one that says who has a row");
  }
  std::vector<int32_t> tiers(keys.size());
  EV_RETURN_IF_ERROR(LookupTier(keys, tiers));
  std::vector<Key> missing;
  std::vector<size_t> places;  // of `missing` in `keys`
  for (size_t i = 0; i < keys.size(); ++i) {
    if (tiers[i] >= 0) continue;
    missing.push_back(keys[i]);
    places.push_back(i);
  }
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const uint32_t tick = store_.NextTick();
  RowRefs refs;
  AbsentKeys absent;
  for (size_t first = 0; first < missing.size(); first += kKeysPerStep) {
    const size_t step = std::min(kKeysPerStep, missing.size() - first);
    EV_RETURN_IF_ERROR(MakeRoom(step, step));
    EV_RETURN_IF_ERROR(ForEachStripe(
        Span<const Key>(missing.data() + first, step),
        [&](Span<const KeyAt> entries, size_t within, Span<const Key> stripe_keys, const ColdRows& cold) -> Status {
          size_t inserted = 0;
          const Status found = store_.FindOrInsert(stripe_keys, cold, tick, &refs, &inserted, &absent);
          for (const size_t place : absent.places()) {
            changed_keys_.Add(StripeOf(HashKey(stripe_keys[place])), stripe_keys.subspan(place, 1));
          }
          EV_RETURN_IF_ERROR(found);
          inserts_.fetch_add(static_cast<int64_t>(inserted), std::memory_order_relaxed);
          for (auto at = absent.places().rbegin(); at != absent.places().rend(); ++at) {  // the first one stays
            const size_t i = places[first + within + entries[*at].position];
            store_.layout().InitRow(values.data() + i * dim, refs.rows[*at]);
          }
          return OkStatus();
        }));
    WakeEviction();
  }
  return OkStatus();
}

void EmbeddingVariable::Impl::NoteRemovals(int stripe, Span<const Key> keys) {
  if (!changed_keys_.on(stripe)) return;
  std::vector<int32_t> tiers(keys.size());
  store_.FindTiers(keys, tiers.data());
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool counted =
        admission_ != nullptr && admission_->exact() && admission_->Get(stripe, keys[i]).frequency != 0;
    if (tiers[i] >= 0 || counted) changed_keys_.Add(stripe, keys.subspan(i, 1));
  }
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
    NoteRemovals(s, stripe_keys);
    removed += static_cast<int64_t>(store_.Remove(stripe_keys));
    if (admission_ != nullptr) admission_->Forget(s, stripe_keys);
  }
  removes_.fetch_add(removed, std::memory_order_relaxed);
  return removed;
}

}  // namespace ev
