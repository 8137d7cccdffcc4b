#include "ev_tf/alloc/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace ev {

MemoryRegion& MemoryRegion::operator=(MemoryRegion&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(huge_from_, other.huge_from_);
  return *this;
}

MemoryRegion::~MemoryRegion() {
  if (data_ != nullptr) munmap(data_, size_);
}

Status MemoryRegion::Reserve(size_t bytes, size_t huge_from, MemoryRegion* out) {
  const size_t size = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  // mmap aligns to small pages: take one huge page more and give back both ends.
  const size_t taken = size + kHugePageBytes;
  void* raw = mmap(nullptr, taken, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) {
    return OutOfSpace("memory: expected " + std::to_string(taken) +
                      " bytes of address space, mmap says: " + std::strerror(errno));
  }
  const auto start = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (start + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  if (aligned > start) munmap(raw, aligned - start);
  if (aligned + size < start + taken) {
    munmap(reinterpret_cast<void*>(aligned + size), start + taken - aligned - size);
  }
  MemoryRegion region;
  region.data_ = reinterpret_cast<char*>(aligned);
  region.size_ = size;
  region.huge_from_ = huge_from;
  if (huge_from < size) {
    madvise(region.data_ + huge_from, size - huge_from, MADV_HUGEPAGE);  // advice: small pages work too
  } else if (huge_from == kNoHugePages) {
    madvise(region.data_, size, MADV_NOHUGEPAGE);  // also where the system would give them unasked
  }
  *out = std::move(region);
  return OkStatus();
}

void MemoryRegion::Zero(size_t offset, size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t end = offset + bytes;
  const size_t first = std::min((offset + page - 1) / page * page, end);
  const size_t last = std::max(std::min(end, huge_from_) / page * page, first);
  std::memset(data_ + offset, 0, first - offset);
  if (last > first && madvise(data_ + first, last - first, MADV_DONTNEED) != 0)
    std::memset(data_ + first, 0, last - first);
  std::memset(data_ + last, 0, end - last);
}

}  // namespace ev
