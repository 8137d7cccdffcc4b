// Rows that the variable's ShrinkRule gives up, and counts of keys that age with them.
#include <algorithm>

#include "ev_tf/variable/impl.h"

namespace ev {

Status EmbeddingVariable::Impl::ShrinkSome(Span<const Key> keys, int64_t step, int64_t* dropped) {
  EV_RETURN_IF_ERROR(MakeRoom(keys.size(), keys.size()));  // for rows below that get a version
  const uint32_t tick = store_.NextTick();
  RowRefs refs;
  std::vector<Key> leaving, unversioned;
  std::vector<float> value(static_cast<size_t>(options_.dim));
  Status status =
      ForEachStripe(keys, [&](Span<const KeyAt>, size_t, Span<const Key> stripe_keys, const ColdRows& cold) -> Status {
        EV_RETURN_IF_ERROR(store_.Read(stripe_keys, cold, &refs));
        leaving.clear();
        unversioned.clear();
        for (size_t i = 0; i < stripe_keys.size(); ++i) {
          if (refs.rows[i] == nullptr) continue;
          const RowMeta* meta = refs.meta.empty() ? nullptr : refs.meta[i];
          if (options_.shrink.by_weight()) store_.layout().ReadValue(refs.rows[i], value.data());
          const Verdict verdict = Judge(options_.shrink, value.data(), options_.dim, meta, step);
          if (verdict == Verdict::kLeaves) leaving.push_back(stripe_keys[i]);
          if (verdict == Verdict::kStartsToAge) unversioned.push_back(stripe_keys[i]);
        }
        const int stripe = StripeOf(HashKey(stripe_keys[0]));
        changed_keys_.Add(stripe, leaving);
        changed_keys_.Add(stripe, unversioned);
        size_t inserted = 0;
        EV_RETURN_IF_ERROR(store_.FindOrInsert(unversioned, cold, tick, &refs, &inserted));
        for (size_t i = 0; i < unversioned.size(); ++i) refs.meta[i]->version_plus1 = static_cast<uint32_t>(step + 1);
        *dropped += static_cast<int64_t>(store_.Remove(leaving));
        return OkStatus();
      });
  store_.epochs().Collect();
  WakeEviction();
  return status;
}

void EmbeddingVariable::Impl::NoteAging(int stripe, int64_t step) {
  if (!changed_keys_.on(stripe)) return;
  admission_->Scan(stripe, [&](const FilteredKey& key) {
    const bool leaves = step - (int64_t{key.version_plus1} - 1) > options_.shrink.steps_to_live;
    if (key.version_plus1 == 0 || leaves) changed_keys_.Add(stripe, Span<const Key>(&key.key, 1));
  });
}

Status EmbeddingVariable::Impl::Shrink(int64_t global_step, int64_t* dropped) {
  *dropped = 0;
  const ShrinkRule& rule = options_.shrink;
  if (global_step > kMaxVersion) {
    return InvalidArgument(options_.name + ": global_step: expected at most " + std::to_string(kMaxVersion) +
                           ", found " + std::to_string(global_step));
  }
  const int64_t step = global_step >= 0 ? global_step : latest_step_.load(std::memory_order_relaxed);
  if (!rule.enabled() || (step < 0 && !rule.by_weight())) return OkStatus();
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  std::vector<Key> keys;
  uint64_t cursor = 0;
  for (bool more = true; more;) {
    keys.clear();
    {
      const EpochGuard guard(store_.epochs());
      more = store_.ScanKeysPart(&cursor, [&](Key key) { keys.push_back(key); });
    }
    for (size_t first = 0; first < keys.size(); first += kKeysPerStep) {
      const Span<const Key> some(keys.data() + first, std::min(kKeysPerStep, keys.size() - first));
      int64_t left = 0;
      const Status status = ShrinkSome(some, step, &left);
      *dropped += left;
      removes_.fetch_add(left, std::memory_order_relaxed);
      EV_RETURN_IF_ERROR(status);
    }
  }
  if (admission_ == nullptr || !rule.by_age()) return OkStatus();
  for (int s = 0; s < kStripes; ++s) {
    std::lock_guard<std::mutex> lock(store_.stripes().of(s));
    NoteAging(s, step);
    admission_->DropOlder(s, step, rule.steps_to_live);
  }
  return OkStatus();
}

}  // namespace ev
