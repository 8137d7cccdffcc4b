#include "ev_tf/batch/entries.h"

#include <algorithm>
#include <limits>
#include <string>

namespace ev {
namespace {

constexpr int64_t kMaxEntries = std::numeric_limits<int32_t>::max();

Status OutOfRange(size_t i, const char* what, int64_t size, int64_t found) {
  return InvalidArgument("indices[" + std::to_string(i) + "]: " + what + ": expected 0 to " + std::to_string(size - 1) +
                         ", found " + std::to_string(found));
}

}  // namespace

Status Entries::Build(Span<const int64_t> indices, int64_t columns, int64_t rows, int64_t width, Kind kind) {
  const size_t n = indices.size() / static_cast<size_t>(columns);
  if (n > std::numeric_limits<uint32_t>::max()) {
    return InvalidArgument("indices: expected fewer than 2^32, found " + std::to_string(n));
  }
  const int64_t cells = kind == Kind::kCell ? width : 1;
  if (rows < 0 || cells < 0 || (cells != 0 && rows > kMaxEntries / cells)) {
    return InvalidArgument("dense shape: expected at most " + std::to_string(kMaxEntries) + " entries, found " +
                           std::to_string(rows) + " x " + std::to_string(cells));
  }
  int64_t entries = rows * cells;
  if (kind == Kind::kTrimmedRow) {
    const int64_t last = n == 0 ? -1 : indices[(n - 1) * static_cast<size_t>(columns)];
    entries = std::min(entries, last + 1);
  }
  starts_.resize(static_cast<size_t>(std::max<int64_t>(entries, 0)) + 1);
  int64_t at = -1;  // the entry of the id before
  for (size_t i = 0; i < n; ++i) {
    const int64_t* index = indices.data() + i * static_cast<size_t>(columns);
    if (index[0] < 0 || index[0] >= rows) return OutOfRange(i, "row", rows, index[0]);
    int64_t entry = index[0];
    if (kind == Kind::kCell) {
      if (index[1] < 0 || index[1] >= width) return OutOfRange(i, "column", width, index[1]);
      entry = entry * width + index[1];
    }
    if (entry < at || entry >= entries) {
      return InvalidArgument("indices[" + std::to_string(i) +
                             "]: expected ids in row-major order, found an index smaller than the one before; see "
                             "tf.sparse.reorder");
    }
    while (at < entry) starts_[static_cast<size_t>(++at)] = static_cast<uint32_t>(i);
  }
  while (at + 1 < static_cast<int64_t>(starts_.size())) starts_[static_cast<size_t>(++at)] = static_cast<uint32_t>(n);
  one_each_ = n == size();
  for (size_t e = 0; one_each_ && e < n; ++e) one_each_ = starts_[e] == e;
  return OkStatus();
}

}  // namespace ev
