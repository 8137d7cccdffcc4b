// What a row is, byte by byte.  The same bytes in every tier:
//
//   [ value: dim elements | slot 0 | slot 1 | ... ]      each part padded with zeros to 16 bytes
//
// The elements of a value are of the layout's type (value_type.h), those of slots float32.  A row is addressed, and its parts
// are counted, in floats, whatever its value is made of.
// Frequency and version, where recorded, stand in a side array of the row pool (RowMeta), not in the row.
// A layout is immutable; a variable whose optimizer brings slots to rows that exist moves to a new layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ev_tf/base/status.h"
#include "ev_tf/row/value_type.h"

namespace ev {

inline constexpr size_t kRowPartAlignment = 16;  // bytes; DeepRec's EV_DATA_ALIGNED
inline constexpr int64_t kMaxDim = 65536;

// One optimizer slot of every row, e.g. {"Adagrad/accumulator", 64, 0.1f}.
struct SlotSpec {
  std::string name;      // unique within a variable
  int64_t dim = 0;       // floats; 1 to the variable's dim (1 for row-wise optimizers)
  float initial = 0.0f;  // every element of the slot of a row that has just been inserted
};

// Frequency and version of one row.
struct RowMeta {
  uint32_t frequency = 0;      // times an update named the key, duplicates counted; stays at UINT32_MAX
  uint32_t version_plus1 = 0;  // global step of the last update + 1; 0 = never given
};
static_assert(sizeof(RowMeta) == 8);

class RowLayout {
 public:
  RowLayout() = default;
  // Requires: 1 <= dim <= kMaxDim.
  explicit RowLayout(int64_t dim, ValueType value_type = ValueType::kFloat32);

  // This layout with `slot` behind the others.  InvalidArgument: the name is taken by another dim or the dim is
  // out of [1, dim()].
  Status WithSlot(const SlotSpec& slot, RowLayout* out) const;

  int64_t dim() const { return dim_; }
  ValueType value_type() const { return value_type_; }
  // Size of a value in bytes, without padding.
  size_t value_bytes() const { return static_cast<size_t>(dim_) * ValueBytes(value_type_); }
  const std::vector<SlotSpec>& slots() const { return slots_; }
  // Index in slots(), -1 if there is none of that name.
  int FindSlot(const std::string& name) const;
  // Offset of slot i from the start of the row, in floats.
  size_t slot_offset(int i) const { return slot_offsets_[i]; }
  // Size of a row in floats and bytes, padding included.
  size_t row_floats() const { return row_floats_; }
  size_t row_bytes() const { return row_floats_ * sizeof(float); }
  // Floats of all slots without padding: the width of an exported row is dim() + this.
  int64_t slot_floats() const { return slot_floats_; }

  // Between the value of a row, or what stands for one, and dim() floats.
  void ReadValue(const void* row, float* value) const { CodecOf(value_type_).widen(row, value, dim_); }
  void WriteValue(const float* value, void* row) const { CodecOf(value_type_).narrow(value, row, dim_); }
  // Fills every slot with its initial value.
  void InitSlots(float* row) const;
  // Writes a row that has just been inserted: `value` (dim() floats), then every slot's initial value.
  void InitRow(const float* value, float* row) const;

 private:
  int64_t dim_ = 0;
  ValueType value_type_ = ValueType::kFloat32;
  std::vector<SlotSpec> slots_;
  std::vector<size_t> slot_offsets_;
  size_t row_floats_ = 0;
  int64_t slot_floats_ = 0;
};

}  // namespace ev
