// Keys that a filter has counted and not admitted: out, and in.
#include "ev_tf/variable/impl.h"

namespace ev {

std::vector<FilteredKey> EmbeddingVariable::Impl::FilteredKeys() const {
  std::vector<FilteredKey> keys;
  if (admission_ == nullptr) return keys;
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  keys.reserve(static_cast<size_t>(admission_->size()));
  for (int s = 0; s < kStripes; ++s) {
    std::lock_guard<std::mutex> lock(store_.stripes().of(s));
    admission_->Scan(s, [&](const FilteredKey& key) { keys.push_back(key); });
  }
  return keys;
}

Status EmbeddingVariable::Impl::WriteFilteredKeys(Span<const FilteredKey> keys) {
  for (const FilteredKey& filtered : keys) {
    if (filtered.frequency == 0) return InvalidArgument(options_.name + ": frequencies: expected at least 1, found 0");
  }
  if (admission_ == nullptr) return OkStatus();
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const EpochGuard guard(store_.epochs());
  for (const FilteredKey& filtered : keys) {
    const int stripe = StripeOf(HashKey(filtered.key));
    const Span<const Key> key(&filtered.key, 1);
    std::lock_guard<std::mutex> lock(store_.stripes().of(stripe));
    int32_t tier = 0;
    store_.FindTiers(key, &tier);
    if (tier >= 0) continue;
    uint32_t frequency = 0;
    if (admission_->exact()) changed_keys_.Add(stripe, key);
    EV_RETURN_IF_ERROR(admission_->Count(stripe, key, Span<const uint32_t>(&filtered.frequency, 1),
                                         options_.record_version ? filtered.version_plus1 : 0,
                                         Span<uint32_t>(&frequency, 1)));
  }
  return OkStatus();
}

}  // namespace ev
