// RowLane: what one thread of a save puts the blocks of its rows together in, wherever they go from there.
//
// Threads:     one.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "ev_tf/base/status.h"

namespace ev::checkpoint {

class RowLane {
 public:
  RowLane() = default;
  RowLane(const RowLane&) = delete;
  RowLane& operator=(const RowLane&) = delete;
  virtual ~RowLane() = default;

  // *block = room for the next block, of `bytes` at most, aligned to kBlockAlignment.  It is of no use after another Begin.
  // IoError, OutOfSpace: of what stood there before, or there is no memory.
  [[nodiscard]] virtual Status Begin(size_t bytes, std::byte** block) = 0;
  // The block holds n rows as RowColumns, of buckets first_bucket to last_bucket, in `bytes` bytes.
  [[nodiscard]] virtual Status AddRows(int first_bucket, int last_bucket, size_t n, size_t bytes) = 0;
};

// Each thread of a save makes one for itself.
using NewRowLane = std::function<std::unique_ptr<RowLane>()>;

}  // namespace ev::checkpoint
