#include "ev_tf/tier/pmem/extent_tier.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ev_tf/base/cpu.h"
#include "ev_tf/row/row_layout.h"

namespace ev {
namespace {

constexpr size_t kMinChunkBytes = size_t{1} << 20;
constexpr int kMinChunkShift = 6;  // chunks of 64 rows are multiples of a cache line and of 1 KiB
constexpr uint64_t kMaxRows = uint64_t{kMaxPosition} + 1;
constexpr size_t kGrowthDivisor = 8;  // an extent is an eighth of what is there

// Rows asked for ahead of the copy, in bytes and rows: enough to hide memory, not more than the first-level cache holds.
constexpr size_t kAheadBytes = 4096;
constexpr size_t kMaxAhead = 16;
constexpr size_t kLineBytes = 64;

size_t RoundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

ExtentTier::ExtentTier(size_t row_bytes) : row_bytes_(row_bytes), stride_(RoundUp(row_bytes, kRowPartAlignment)) {
  chunk_shift_ = kMinChunkShift;
  while (chunk_bytes() < kMinChunkBytes) ++chunk_shift_;
  chunk_mask_ = (uint32_t{1} << chunk_shift_) - 1;
}

Status ExtentTier::CheckRowBytes(const std::string& where, size_t row_bytes) {
  constexpr size_t kMaxRowBytes = size_t{1} << 24;
  if (row_bytes != 0 && row_bytes <= kMaxRowBytes) return OkStatus();
  return InvalidArgument(where + ": row_bytes: expected 1 to " + std::to_string(kMaxRowBytes) + ", found " +
                         std::to_string(row_bytes));
}

Status ExtentTier::ReserveTable() {
  const size_t table_bytes = ((kMaxRows >> chunk_shift_) + 1) * sizeof(char*);
  return MemoryRegion::Reserve(table_bytes, table_bytes + kHugePageBytes, &table_);  // small pages, touched as it grows
}

Status ExtentTier::AddChunks(size_t count) {
  char* address = nullptr;
  EV_RETURN_IF_ERROR(AddExtent(count * chunk_bytes(), &address));
  extents_.push_back({address, count * chunk_bytes()});
  for (size_t i = 0; i < count; ++i) {
    chunks()[chunk_count_++].store(address + i * chunk_bytes(), std::memory_order_relaxed);
  }
  return OkStatus();
}

Status ExtentTier::Grow(size_t rows) {
  const uint64_t wanted = (high_water_ + rows + chunk_mask_) >> chunk_shift_;
  if (wanted <= chunk_count_) return OkStatus();
  const size_t needed = wanted - chunk_count_;
  const size_t most = (kMaxRows >> chunk_shift_) + 1 - chunk_count_;
  const size_t roomy = std::min(std::max(needed, chunk_count_ / kGrowthDivisor), most);
  const Status status = AddChunks(roomy);
  return status.ok() || roomy == needed ? status : AddChunks(needed);  // the last of a device is used too
}

Status ExtentTier::Allocate(Span<Position> positions) {
  std::lock_guard<std::mutex> lock(mu_);
  const size_t reused = std::min(positions.size(), free_.size());
  const size_t fresh = positions.size() - reused;
  if (fresh > kMaxRows - high_water_) {
    return OutOfSpace(std::string(name()) + ": expected at most " + std::to_string(kMaxRows) + " rows, " +
                      std::to_string(high_water_) + " are in use and " + std::to_string(fresh) + " more are wanted");
  }
  EV_RETURN_IF_ERROR(Grow(fresh));
  std::copy(free_.end() - static_cast<std::ptrdiff_t>(reused), free_.end(), positions.begin());
  free_.resize(free_.size() - reused);
  for (size_t i = 0; i < fresh; ++i) positions[reused + i] = static_cast<Position>(high_water_ + i);
  high_water_ += fresh;
  return OkStatus();
}

Status ExtentTier::Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) {
  const size_t n = keys.size();
  const size_t ahead = std::clamp<size_t>(kAheadBytes / stride_, 1, kMaxAhead);
  const size_t lines = std::min(row_bytes_, kAheadBytes);
  for (size_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const char* next = reinterpret_cast<const char*>(row(positions[i + ahead]));
      for (size_t offset = 0; offset < lines; offset += kLineBytes) PrefetchForRead(next + offset);
    }
    std::memcpy(rows.data() + i * row_bytes_, row(positions[i]), row_bytes_);
  }
  return OkStatus();
}

Status ExtentTier::Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
  EV_RETURN_IF_ERROR(Allocate(positions));
  for (size_t i = 0; i < keys.size(); ++i) {
    std::memcpy(row(positions[i]), rows.data() + i * row_bytes_, row_bytes_);
  }
  return OkStatus();
}

void ExtentTier::Remove(Span<const Key> /*keys*/, Span<const Position> positions) {
  std::lock_guard<std::mutex> lock(mu_);
  free_.insert(free_.end(), positions.begin(), positions.end());
}

size_t ExtentTier::size() const {
  std::lock_guard<std::mutex> lock(mu_);
  return high_water_ - free_.size();
}

size_t ExtentTier::bytes() const {
  std::lock_guard<std::mutex> lock(mu_);
  return chunk_count_ * chunk_bytes();
}

std::vector<ExtentTier::Extent> ExtentTier::UsedExtents() const {
  std::lock_guard<std::mutex> lock(mu_);
  std::vector<Extent> used;
  size_t left = RoundUp(high_water_, size_t{chunk_mask_} + 1) * stride_;
  for (const Extent& extent : extents_) {
    const size_t bytes = std::min(left, extent.bytes);
    if (bytes != 0) used.push_back({extent.address, bytes});
    left -= bytes;
  }
  return used;
}

}  // namespace ev
