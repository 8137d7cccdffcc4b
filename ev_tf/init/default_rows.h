// DefaultRows: what a row is before it is trained: default_rows[FloorMod(key, rows)], drawn once by any initializer.
//
// So an id that was never trained reads the same row each time, a lookup need not insert to remember it, and a variable
// equals a dense one of the same initializer and seed for ids below the number of rows.  They are rounded to what the rows'
// values can be.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/row/row_layout.h"

namespace ev {

class DefaultRows {
 public:
  // `rows` is row-major [n, dim], n >= 1, and is copied.
  DefaultRows(Span<const float> rows, int64_t dim, ValueType type = ValueType::kFloat32)
      : rows_(rows.begin(), rows.end()),
        dim_(dim),
        count_(static_cast<int64_t>(rows.size()) / dim),
        stride_(static_cast<int64_t>(RowLayout(dim, type).row_floats())) {
    if (type != ValueType::kFloat32) narrow_ = Narrow(RowLayout(dim, type), &rows_);
  }
  // The same, where a key without a row reads `absent` in every element.
  DefaultRows(Span<const float> rows, int64_t dim, ValueType type, float absent) : DefaultRows(rows, dim, type) {
    absent_.assign(static_cast<size_t>(dim), absent);
    if (type != ValueType::kFloat32) absent_ = Narrow(RowLayout(dim, type), &absent_);
  }

  // What a new row of `key` begins as: dim floats.
  const float* row(Key key) const { return rows_.data() + FloorMod(key, count_) * dim_; }
  // What a key without a row reads, as the value of a row is stored.
  const float* read(Key key) const {
    if (!absent_.empty()) return absent_.data();
    return narrow_.empty() ? row(key) : narrow_.data() + FloorMod(key, count_) * stride_;
  }
  Span<const float> all() const { return rows_; }

 private:
  // Rounds `rows`; gives them as the values of rows without slots.
  static std::vector<float> Narrow(const RowLayout& layout, std::vector<float>* rows) {
    const auto dim = static_cast<size_t>(layout.dim());
    std::vector<float> narrow(rows->size() / dim * layout.row_floats());
    for (size_t i = 0; i < rows->size() / dim; ++i) {
      layout.WriteValue(rows->data() + i * dim, narrow.data() + i * layout.row_floats());
      layout.ReadValue(narrow.data() + i * layout.row_floats(), rows->data() + i * dim);
    }
    return narrow;
  }

  // All constant after construction.
  std::vector<float> rows_;
  std::vector<float> narrow_;  // empty: the rows' values are floats
  std::vector<float> absent_;  // as the value of a row; empty: the key's default row
  const int64_t dim_;
  const int64_t count_;
  const int64_t stride_;  // floats of a row in narrow_
};

}  // namespace ev
