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

// The entry of id `i`, and whether its indices are in range.
Status EntryOf(const SparseIds& ids, size_t i, int64_t* entry) {
  const int64_t* index = ids.indices.data() + i * static_cast<size_t>(ids.columns);
  if (index[0] < 0 || index[0] >= ids.rows) return OutOfRange(i, "row", ids.rows, index[0]);
  *entry = index[0];
  if (ids.kind != SparseIds::Kind::kCell) return OkStatus();
  if (index[1] < 0 || index[1] >= ids.width) return OutOfRange(i, "column", ids.width, index[1]);
  *entry = index[0] * ids.width + index[1];
  return OkStatus();
}

bool OneIdInEachRow(const SparseIds& ids, size_t entries) {
  if (ids.kind == SparseIds::Kind::kCell || ids.ids() != entries) return false;
  int64_t different = 0;
  for (size_t i = 0; i < entries; ++i) {
    different |= ids.indices[i * static_cast<size_t>(ids.columns)] ^ static_cast<int64_t>(i);
  }
  return different == 0;
}

}  // namespace

Status CountEntries(const SparseIds& ids, size_t* entries) {
  if (ids.ids() > std::numeric_limits<uint32_t>::max()) {
    return InvalidArgument("indices: expected fewer than 2^32, found " + std::to_string(ids.ids()));
  }
  const int64_t cells = ids.kind == SparseIds::Kind::kCell ? ids.width : 1;
  if (ids.rows < 0 || cells < 0 || (cells != 0 && ids.rows > kMaxEntries / cells)) {
    return InvalidArgument("dense shape: expected at most " + std::to_string(kMaxEntries) + " entries, found " +
                           std::to_string(ids.rows) + " x " + std::to_string(cells));
  }
  *entries = static_cast<size_t>(ids.rows * cells);
  if (ids.kind != SparseIds::Kind::kTrimmedRow) return OkStatus();
  *entries = 0;
  if (ids.ids() == 0) return OkStatus();
  int64_t last = 0;
  EV_RETURN_IF_ERROR(EntryOf(ids, ids.ids() - 1, &last));
  *entries = static_cast<size_t>(last) + 1;
  return OkStatus();
}

Status Entries::Build(const SparseIds& ids) {
  size_t entries = 0;
  EV_RETURN_IF_ERROR(CountEntries(ids, &entries));
  starts_.resize(entries + 1);
  one_each_ = OneIdInEachRow(ids, entries);
  if (one_each_) {
    for (size_t e = 0; e <= entries; ++e) starts_[e] = static_cast<uint32_t>(e);
    return OkStatus();
  }
  const size_t n = ids.ids();
  int64_t at = -1;  // the entry of the id before
  for (size_t i = 0; i < n; ++i) {
    int64_t entry = 0;
    EV_RETURN_IF_ERROR(EntryOf(ids, i, &entry));
    if (entry < at || entry >= static_cast<int64_t>(entries)) {  // the last id's entry is the last trimmed one
      return InvalidArgument("indices[" + std::to_string(entry < at ? i : n - 1) +
                             "]: expected ids in row-major order, found an index smaller than one before; see "
                             "tf.sparse.reorder");
    }
    while (at < entry) starts_[static_cast<size_t>(++at)] = static_cast<uint32_t>(i);
  }
  while (at < static_cast<int64_t>(entries)) starts_[static_cast<size_t>(++at)] = static_cast<uint32_t>(n);
  one_each_ = n == entries;
  for (size_t e = 0; one_each_ && e < n; ++e) one_each_ = starts_[e] == e;
  return OkStatus();
}

}  // namespace ev
