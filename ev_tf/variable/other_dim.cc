#include "ev_tf/variable/other_dim.h"

#include <algorithm>
#include <utility>

namespace ev {

Status OtherDim::Create(int64_t from, int64_t to, Span<const float> own_default_rows, std::vector<SlotSpec> slots,
                        OtherDim* out) {
  if (to > from && own_default_rows.empty()) {
    return InvalidArgument("dim: expected " + std::to_string(to) + ", found " + std::to_string(from) +
                           "; the new columns come from the variable's initial rows: run its initializer before the "
                           "restore");
  }
  out->from_ = from;
  out->to_ = to;
  out->own_default_rows_ = own_default_rows;
  out->old_slots_ = std::move(slots);
  out->slots_ = out->old_slots_;
  for (SlotSpec& slot : out->slots_) slot.dim = slot.dim == from ? to : std::min(slot.dim, to);
  return OkStatus();
}

template <typename KeyOf>
std::vector<float> OtherDim::Change(size_t n, Span<const float> rows, KeyOf&& key_of) const {
  const int64_t kept = std::min(from_, to_);
  const int64_t own = static_cast<int64_t>(own_default_rows_.size()) / to_;
  std::vector<float> changed(n * static_cast<size_t>(to_));
  const float* from = rows.data();
  float* to = changed.data();
  for (size_t i = 0; i < n; ++i, from += from_, to += to_) {
    std::copy_n(from, kept, to);
    if (kept == to_) continue;
    const float* filled = own_default_rows_.data() + FloorMod(key_of(i), own) * to_;
    std::copy_n(filled + kept, to_ - kept, to + kept);
  }
  return changed;
}

std::vector<float> OtherDim::Values(Span<const Key> keys, Span<const float> rows) const {
  return Change(keys.size(), rows, [&](size_t i) { return keys[i]; });
}

std::vector<float> OtherDim::DefaultRows(Span<const float> rows) const {
  return Change(rows.size() / static_cast<size_t>(from_), rows, [](size_t i) { return static_cast<Key>(i); });
}

std::vector<float> OtherDim::Slots(size_t n, Span<const float> columns) const {
  int64_t width = 0;
  for (const SlotSpec& slot : slots_) width += slot.dim;
  std::vector<float> changed(n * static_cast<size_t>(width));
  const float* from = columns.data();
  float* to = changed.data();
  for (size_t i = 0; i < n; ++i) {
    for (size_t s = 0; s < slots_.size(); ++s) {
      const int64_t kept = std::min(old_slots_[s].dim, slots_[s].dim);
      std::copy_n(from, kept, to);
      std::fill(to + kept, to + slots_[s].dim, slots_[s].initial);
      from += old_slots_[s].dim;
      to += slots_[s].dim;
    }
  }
  return changed;
}

}  // namespace ev
