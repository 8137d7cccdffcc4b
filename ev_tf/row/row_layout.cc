#include "ev_tf/row/row_layout.h"

#include <algorithm>

namespace ev {
namespace {

constexpr size_t kPartFloats = kRowPartAlignment / sizeof(float);

size_t PaddedFloats(int64_t dim) { return (static_cast<size_t>(dim) + kPartFloats - 1) / kPartFloats * kPartFloats; }

}  // namespace

RowLayout::RowLayout(int64_t dim) : dim_(dim), row_floats_(PaddedFloats(dim)) {}

int RowLayout::FindSlot(const std::string& name) const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

Status RowLayout::WithSlot(const SlotSpec& slot, RowLayout* out) const {
  if (slot.dim < 1 || slot.dim > dim_) {
    return InvalidArgument("slot '" + slot.name + "': expected a dim from 1 to " + std::to_string(dim_) + ", found " +
                           std::to_string(slot.dim));
  }
  const int existing = FindSlot(slot.name);
  if (existing >= 0) {
    return InvalidArgument("slot '" + slot.name + "' exists with dim " + std::to_string(slots_[existing].dim));
  }
  *out = *this;
  out->slots_.push_back(slot);
  out->slot_offsets_.push_back(row_floats_);
  out->row_floats_ += PaddedFloats(slot.dim);
  out->slot_floats_ += slot.dim;
  return OkStatus();
}

void RowLayout::InitRow(const float* value, float* row) const {
  std::copy_n(value, dim_, row);
  for (size_t i = 0; i < slots_.size(); ++i) {
    std::fill_n(row + slot_offsets_[i], slots_[i].dim, slots_[i].initial);
  }
}

}  // namespace ev
