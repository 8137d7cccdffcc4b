// Rows of a table whose embeddings have another dim than the variable that takes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/row/row_layout.h"

namespace ev {

// Columns beyond `to` are cut.  Columns that lack are, of a key's row, those of its own default row, and of a slot as wide as the
// embedding its initial value.  Slots of other widths, such as one float a row, stay as they are.
//
// Threads:    any, for the const methods.
// Ownership:  own_default_rows outlives it.
class OtherDim {
 public:
  // `own_default_rows`: row-major [any, to], of the variable that takes the rows; `slots`: of the table.
  // InvalidArgument: columns are to be added, and own_default_rows is empty.
  static Status Create(int64_t from, int64_t to, Span<const float> own_default_rows, std::vector<SlotSpec> slots,
                       OtherDim* out);

  // What the columns of Slots() are.
  const std::vector<SlotSpec>& slots() const { return slots_; }

  // [n, from] to [n, to].  Requires: rows.size() == keys.size() * from.
  std::vector<float> Values(Span<const Key> keys, Span<const float> rows) const;
  // Those of a table, from its own ones, [default_value_dim, from].
  std::vector<float> DefaultRows(Span<const float> rows) const;
  // The slots of n rows.
  std::vector<float> Slots(size_t n, Span<const float> columns) const;

 private:
  template <typename KeyOf>
  std::vector<float> Change(size_t n, Span<const float> rows, KeyOf&& key_of) const;

  int64_t from_ = 0;
  int64_t to_ = 0;
  Span<const float> own_default_rows_;
  std::vector<SlotSpec> old_slots_;
  std::vector<SlotSpec> slots_;
};

}  // namespace ev
