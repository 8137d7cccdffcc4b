// DefaultRows: what a row is before it is trained: default_rows[FloorMod(key, rows)], drawn once by any initializer.
//
// So an id that was never trained reads the same row each time, a lookup need not insert to remember it, and a variable
// equals a dense one of the same initializer and seed for ids below the number of rows.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"

namespace ev {

class DefaultRows {
 public:
  // `rows` is row-major [n, dim], n >= 1, and is copied.
  DefaultRows(Span<const float> rows, int64_t dim)
      : rows_(rows.begin(), rows.end()), dim_(dim), count_(static_cast<int64_t>(rows.size()) / dim) {}
  // The same, where a key without a row reads `absent` in every element.
  DefaultRows(Span<const float> rows, int64_t dim, float absent) : DefaultRows(rows, dim) {
    absent_.assign(static_cast<size_t>(dim), absent);
  }

  // What a new row of `key` begins as: dim floats.
  const float* row(Key key) const { return rows_.data() + FloorMod(key, count_) * dim_; }
  // What a key without a row reads: dim floats.
  const float* read(Key key) const { return absent_.empty() ? row(key) : absent_.data(); }
  Span<const float> all() const { return rows_; }

 private:
  const std::vector<float> rows_;
  const int64_t dim_;
  const int64_t count_;
  std::vector<float> absent_;  // empty: the key's default row.  Constant after construction
};

}  // namespace ev
