// The ids of a sparse batch, entry by entry: which ids are looked up and combined into one output.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"

namespace ev {

// Where the ids of a batch stand in their sparse matrix, and what an entry is.
struct SparseIds {
  enum class Kind : uint8_t {
    kRow,         // an entry is a row of the matrix
    kTrimmedRow,  // a row; the empty rows at the end are left out
    kCell,        // a cell: row r and column c are entry r * width + c
  };

  Span<const int64_t> indices;  // row-major [ids, columns]: row and, for cells, column of each id; in row-major order
  int64_t columns = 1;
  int64_t rows = 0;
  int64_t width = 1;  // of the matrix, for cells only
  Kind kind = Kind::kRow;

  size_t ids() const { return indices.size() / static_cast<size_t>(columns); }
};

// *entries = how many entries there are, as far as can be told without reading all indices.
// InvalidArgument: there are more ids or entries than can be counted, or fewer than none.
Status CountEntries(const SparseIds& ids, size_t* entries);

// Made to be used again, as its memory stays.
class Entries {
 public:
  // Requires: CountEntries was OK.
  // InvalidArgument: an index is out of range, or the ids are not in row-major order.
  Status Build(const SparseIds& ids);

  size_t size() const { return starts_.size() - 1; }
  // Entry e has the ids [starts()[e], starts()[e + 1]).
  const uint32_t* starts() const { return starts_.data(); }
  // Whether entry e has id e and no other.
  bool one_each() const { return one_each_; }

 private:
  std::vector<uint32_t> starts_ = {0};
  bool one_each_ = true;
};

}  // namespace ev
