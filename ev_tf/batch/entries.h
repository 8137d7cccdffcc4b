// The ids of a sparse batch, entry by entry: which ids are looked up and combined into one output.
//
// A batch is TensorFlow's sparse matrix in row-major order: `indices[i]` says in which row, and column, id i stands.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"

namespace ev {

class Entries {
 public:
  // What is one entry.
  enum class Kind : uint8_t {
    kRow,         // a row of the matrix
    kTrimmedRow,  // a row; the empty rows at the end are left out
    kCell,        // a cell: row r and column c are entry r * width + c
  };

  // `indices` is row-major [n, columns]: row and, for cells, column of each id.  The matrix has `rows` x `width`; the
  // width counts for cells only.
  // InvalidArgument: an index is out of range, or the ids are not in row-major order.
  Status Build(Span<const int64_t> indices, int64_t columns, int64_t rows, int64_t width, Kind kind);

  size_t size() const { return starts_.size() - 1; }
  size_t ids() const { return starts_.back(); }
  // Entry e has the ids [starts()[e], starts()[e + 1]).
  const uint32_t* starts() const { return starts_.data(); }
  // Whether entry e has id e and no other.
  bool one_each() const { return one_each_; }

 private:
  std::vector<uint32_t> starts_ = {0};
  bool one_each_ = true;
};

}  // namespace ev
