#include "ev_tf/row/row_layout.h"

#include <algorithm>

namespace ev {
namespace {

constexpr size_t kPartFloats = kRowPartAlignment / sizeof(float);

size_t PaddedFloats(size_t bytes) { return (bytes + kRowPartAlignment - 1) / kRowPartAlignment * kPartFloats; }

}  // namespace

RowLayout::RowLayout(int64_t dim, ValueType value_type)
    : dim_(dim), value_type_(value_type), row_floats_(PaddedFloats(value_bytes())) {}

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
  out->row_floats_ += PaddedFloats(static_cast<size_t>(slot.dim) * sizeof(float));
  out->slot_floats_ += slot.dim;
  return OkStatus();
}

void RowLayout::InitRow(const float* value, float* row) const {
  WriteValue(value, row);
  InitSlots(row);
}

void RowLayout::InitSlots(float* row) const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    std::fill_n(row + slot_offsets_[i], slots_[i].dim, slots_[i].initial);
  }
}

}  // namespace ev
