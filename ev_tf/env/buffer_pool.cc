#include "ev_tf/env/buffer_pool.h"

#include <sys/mman.h>

#include <cstdlib>
#include <utility>

namespace ev {

void AlignedFree::operator()(std::byte* p) const { std::free(p); }

AlignedBytes NewAlignedBytes(size_t bytes) {
  const size_t unit = bytes <= kHugeBufferBytes / 2 ? kBufferAlignment : kHugeBufferBytes;
  const size_t rounded = (bytes + unit - 1) / unit * unit;
  void* const memory = std::aligned_alloc(unit, rounded);
  if (memory != nullptr && unit == kHugeBufferBytes) ::madvise(memory, rounded, MADV_HUGEPAGE);  // advice
  return AlignedBytes(static_cast<std::byte*>(memory));
}

BufferPool& BufferPool::Global() {
  static BufferPool* const pool = new BufferPool;  // never destroyed: tables may outlive every static object
  return *pool;
}

AlignedBytes BufferPool::Take(size_t bytes) {
  {
    std::lock_guard<std::mutex> lock(mu_);
    ++lent_;
    if (bytes <= kBufferBytes && !free_.empty()) {
      AlignedBytes buffer = std::move(free_.back());
      free_.pop_back();
      return buffer;
    }
  }
  AlignedBytes buffer = NewAlignedBytes(bytes <= kBufferBytes ? kBufferBytes : bytes);
  if (buffer == nullptr) {
    std::lock_guard<std::mutex> lock(mu_);
    --lent_;
  }
  return buffer;
}

void BufferPool::Give(AlignedBytes buffer, size_t bytes) {
  std::lock_guard<std::mutex> lock(mu_);
  --lent_;
  if (bytes <= kBufferBytes && free_.size() < kKept) free_.push_back(std::move(buffer));
}

size_t BufferPool::lent() const {
  std::lock_guard<std::mutex> lock(mu_);
  return lent_;
}

}  // namespace ev
