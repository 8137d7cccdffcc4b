#include "ev_tf/alloc/row_pool.h"

#include <algorithm>
#include <cstdlib>

namespace ev {
namespace {

constexpr size_t kChunkBytes = size_t{32} << 20;  // address space, not memory
constexpr int kMinChunkShift = 14;                // at most 65,536 chunks, whatever the row size
// Chunks whose meta stands in small pages: a huge page that is there for its first row is 2 bytes for each of a million rows.
constexpr size_t kSmallMetaChunks = 16;

}  // namespace

RowPool::RowPool(size_t row_bytes, bool with_meta) : row_bytes_(row_bytes), with_meta_(with_meta) {
  chunk_shift_ = kMinChunkShift;
  while ((row_bytes << chunk_shift_) < kChunkBytes) ++chunk_shift_;
  chunk_mask_ = (uint32_t{1} << chunk_shift_) - 1;
  const size_t table_bytes = ((size_t{kMaxRows} >> chunk_shift_) + 1) * sizeof(void*);
  // Half a MiB of address space, small pages: touched a few bytes at a time.
  if (!MemoryRegion::Reserve(table_bytes, table_bytes + kHugePageBytes, &chunk_table_).ok() ||
      (with_meta && !MemoryRegion::Reserve(table_bytes, table_bytes + kHugePageBytes, &meta_table_).ok())) {
    std::abort();  // no address space for a table of pointers: nothing can run
  }
}

Status RowPool::AddChunk() {
  const size_t index = chunks_.size();
  // The first 2 MiB of a table in small pages: a process may have thousands of small tables.
  const size_t huge_from = index == 0 ? kHugePageBytes : 0;
  MemoryRegion rows;
  MemoryRegion meta;
  EV_RETURN_IF_ERROR(MemoryRegion::Reserve(row_bytes_ << chunk_shift_, huge_from, &rows));
  if (with_meta_) {
    // The meta of a chunk of wide rows would leave most of a huge page unused.
    const size_t bytes = sizeof(RowMeta) << chunk_shift_;
    const bool huge = bytes % kHugePageBytes == 0 && index >= kSmallMetaChunks;
    EV_RETURN_IF_ERROR(MemoryRegion::Reserve(bytes, huge ? 0 : bytes + kHugePageBytes, &meta));
    meta_table()[index].store(reinterpret_cast<RowMeta*>(meta.data()), std::memory_order_relaxed);
    meta_chunks_.push_back(std::move(meta));
  }
  reinterpret_cast<std::atomic<char*>*>(chunk_table_.data())[index].store(rows.data(), std::memory_order_relaxed);
  chunks_.push_back(std::move(rows));
  return OkStatus();
}

Status RowPool::Allocate(size_t n, uint32_t* positions) {
  std::lock_guard<std::mutex> lock(mu_);
  const size_t reused = std::min(n, free_.size());
  const uint32_t first = high_water_.load(std::memory_order_relaxed);
  const size_t fresh = n - reused;
  if (fresh > kMaxRows - first) {
    return OutOfSpace("rows: expected at most " + std::to_string(kMaxRows) + " rows in one tier, " +
                      std::to_string(first) + " are in use and " + std::to_string(fresh) + " more are wanted");
  }
  while ((size_t{first} + fresh) > (chunks_.size() << chunk_shift_)) EV_RETURN_IF_ERROR(AddChunk());
  std::copy(free_.end() - static_cast<std::ptrdiff_t>(reused), free_.end(), positions);
  free_.resize(free_.size() - reused);
  if (with_meta_) {
    for (size_t i = 0; i < reused; ++i) *meta(positions[i]) = RowMeta{};  // fresh ones are zero from the system
  }
  for (size_t i = 0; i < fresh; ++i) positions[reused + i] = first + static_cast<uint32_t>(i);
  high_water_.store(first + static_cast<uint32_t>(fresh), std::memory_order_release);
  return OkStatus();
}

void RowPool::Free(Span<const uint32_t> positions) {
  std::lock_guard<std::mutex> lock(mu_);
  free_.insert(free_.end(), positions.begin(), positions.end());
}

size_t RowPool::used_rows() const {
  std::lock_guard<std::mutex> lock(mu_);
  return high_water_.load(std::memory_order_relaxed) - free_.size();
}

}  // namespace ev
