// Memory from the operating system: anonymous, zero, 2 MiB aligned, in huge pages where asked.
//
// A gather of random rows is bounded by cache lines and page walks: huge pages are worth 2.8x at 64-byte rows and 1.4x at
// 512 bytes.  Guests hand them out only on madvise, and malloc never asks.
#pragma once

#include <cstddef>
#include <limits>

#include "ev_tf/base/status.h"

namespace ev {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;
inline constexpr size_t kNoHugePages = std::numeric_limits<size_t>::max();  // for huge_from

class MemoryRegion {
 public:
  MemoryRegion() = default;
  MemoryRegion(MemoryRegion&& other) noexcept { *this = static_cast<MemoryRegion&&>(other); }
  MemoryRegion& operator=(MemoryRegion&& other) noexcept;
  ~MemoryRegion();

  // Reserves `bytes` (rounded up to 2 MiB); memory is taken when first touched.  Pages at offset >= huge_from are huge
  // where the system can; below it they are small, so that a small table stays small.
  static Status Reserve(size_t bytes, size_t huge_from, MemoryRegion* out);

  // Makes [offset, offset + bytes) zero again.  Small pages that are wholly in it are given back; in huge ones nothing is.
  // Other bytes may be used meanwhile.
  void Zero(size_t offset, size_t bytes);

  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  size_t huge_from_ = 0;
};

}  // namespace ev
