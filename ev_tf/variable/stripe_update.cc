#include "ev_tf/variable/stripe_update.h"

#include <algorithm>

#include "ev_tf/base/cpu.h"
#include "ev_tf/optim/kernels.h"

namespace ev {
namespace {

// Rows, and gradients, asked for this many keys before they are used.
constexpr size_t kRowLead = 8;
constexpr size_t kGradLead = 16;
constexpr size_t kLineFloats = 16;
constexpr size_t kPrefetchedFloats = 256;  // of one row; the hardware follows a longer run by itself

void PrefetchFloats(const float* p, size_t n) {
  for (size_t f = 0; f < std::min(n, kPrefetchedFloats); f += kLineFloats) PrefetchForRead(p + f);
}

// Where the keys of the stripe of keys[first] end.
size_t EndOfStripe(Span<const Key> keys, size_t first) {
  const int stripe = StripeOf(HashKey(keys[first]));
  size_t end = first + 1;
  while (end < keys.size() && StripeOf(HashKey(keys[end])) == stripe) ++end;
  return end;
}

uint32_t SaturatingAdd(uint32_t a, size_t b) { return static_cast<uint32_t>(std::min<size_t>(a + b, UINT32_MAX)); }

}  // namespace

const float* StripeUpdate::GradientOf(size_t i, const UpdateStep& step, int64_t dim) {
  const Span<const uint32_t> positions = dedup_.positions(i);
  const auto grad = [&](size_t j) { return step.grads + static_cast<int64_t>(positions[j]) * dim; };
  if (positions.size() == 1) return grad(0);
  std::copy_n(grad(0), dim, sum_.data());
  for (size_t j = 1; j < positions.size(); ++j) {
    if (j + kGradLead < positions.size()) PrefetchFloats(grad(j + kGradLead), static_cast<size_t>(dim));
    Kernels().add(sum_.data(), grad(j), dim);
  }
  return sum_.data();
}

Status StripeUpdate::Ask(Span<const Key> keys, Span<Location> locations) {
  asked_.clear();
  asked_places_.clear();
  asked_counts_.clear();
  for (size_t i = 0; i < keys.size(); ++i) {
    if (locations[i] != kNoLocation) continue;
    asked_.push_back(keys[i]);
    asked_places_.push_back(static_cast<uint32_t>(i));
    asked_counts_.push_back(static_cast<uint32_t>(dedup_.positions(i).size()));
  }
  frequencies_.resize(asked_.size());
  const Span<const Key> asked(asked_);
  const Span<const uint32_t> counts(asked_counts_);
  for (size_t first = 0, end = 0; first < asked.size(); first = end) {
    end = EndOfStripe(asked, first);
    EV_RETURN_IF_ERROR(step_->admission->Count(
        StripeOf(HashKey(asked[first])), asked.subspan(first, end - first), counts.subspan(first, end - first),
        step_->record_version ? step_->version_plus1 : 0, Span<uint32_t>(frequencies_.data() + first, end - first)));
  }
  for (size_t i = 0; i < asked_.size(); ++i) {
    if (frequencies_[i] < step_->admission->threshold()) locations[asked_places_[i]] = kRefused;
  }
  return OkStatus();
}

void StripeUpdate::Admit(const UpdateStep& step, bool resolved) {
  size_t admitted = 0;
  for (size_t i = 0; i < asked_.size(); ++i) {
    const uint32_t place = asked_places_[i];
    const Location location = refs_.locations[place];
    if (location == kNoLocation || location == kRefused) continue;
    // This call's own count is added with its update.
    if (resolved && step.record_frequency) refs_.meta[place]->frequency = frequencies_[i] - asked_counts_[i];
    asked_[admitted++] = asked_[i];
  }
  const Span<const Key> keys(asked_.data(), admitted);
  for (size_t first = 0, end = 0; first < admitted; first = end) {
    end = EndOfStripe(keys, first);
    step.admission->Forget(StripeOf(HashKey(keys[first])), keys.subspan(first, end - first));
  }
}

void StripeUpdate::NoteChanges(const UpdateStep& step, Span<const KeyAt> entries) {
  const auto is_on = [&](const KeyAt& entry) { return step.changed_keys->on(StripeOfTop(entry.top)); };
  if (std::none_of(entries.begin(), entries.end(), is_on)) return;
  Span<const Key> keys = dedup_.keys();
  if (step.admission != nullptr && !step.admission->exact()) {
    changed_.clear();  // what a Bloom filter counts is not saved
    for (size_t i = 0; i < keys.size(); ++i) {
      if (refs_.locations[i] != kRefused) changed_.push_back(keys[i]);
    }
    keys = changed_;
  }
  for (size_t first = 0, end = 0; first < keys.size(); first = end) {
    end = EndOfStripe(keys, first);
    const int stripe = StripeOf(HashKey(keys[first]));
    if (step.changed_keys->on(stripe)) step.changed_keys->Add(stripe, keys.subspan(first, end - first));
  }
}

Status StripeUpdate::Run(const UpdateStep& step, Span<const KeyAt> entries, Store* store, UpdateCounts* counts) {
  const RowLayout& layout = store->layout();
  const int64_t dim = layout.dim();
  dedup_.Run(entries);
  const Span<const Key> keys = dedup_.keys();
  size_t inserted = 0;
  step_ = &step;
  InsertGate* gate = step.admission == nullptr ? nullptr : this;
  const Status status = store->FindOrInsert(keys, *step.cold, step.tick, &refs_, &inserted, gate);
  NoteChanges(step, entries);  // after a failure too: some may have got their row
  if (gate != nullptr && inserted != 0) Admit(step, status.ok());
  EV_RETURN_IF_ERROR(status);
  counts->inserts += static_cast<int64_t>(inserted);
  sum_.resize(static_cast<size_t>(dim));
  wide_.resize(layout.value_type() == ValueType::kFloat32 ? 0 : static_cast<size_t>(dim));

  const auto first_grad = [&](size_t i) { return step.grads + static_cast<int64_t>(dedup_.positions(i)[0]) * dim; };
  float* slots[kMaxSlots] = {};
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i + kRowLead < keys.size() && refs_.rows[i + kRowLead] != nullptr) {
      PrefetchFloats(refs_.rows[i + kRowLead], layout.row_floats());
      if (!refs_.meta.empty()) PrefetchForWrite(refs_.meta[i + kRowLead]);
    }
    if (i + kGradLead < keys.size()) PrefetchFloats(first_grad(i + kGradLead), static_cast<size_t>(dim));
    float* row = refs_.rows[i];
    if (row == nullptr) continue;  // not admitted
    ++counts->rows;
    for (int s = 0; s < step.rule->slots.count; ++s) slots[s] = row + step.slot_offsets[s];
    const float* grad = GradientOf(i, step, dim);
    if (wide_.empty()) {
      step.rule->update(step.rule->hyper, dim, grad, row, slots);
    } else {
      layout.ReadValue(row, wide_.data());
      step.rule->update(step.rule->hyper, dim, grad, wide_.data(), slots);
      layout.WriteValue(wide_.data(), row);
    }
    if (refs_.meta.empty()) continue;
    RowMeta* meta = refs_.meta[i];
    if (step.record_frequency) meta->frequency = SaturatingAdd(meta->frequency, dedup_.positions(i).size());
    if (step.record_version && step.version_plus1 != 0) meta->version_plus1 = step.version_plus1;
  }
  return OkStatus();
}

}  // namespace ev
