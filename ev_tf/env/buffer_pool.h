// BufferPool: aligned buffers, lent to whoever writes or reads at the moment.
//
// A thousand tables that rest hold no buffer: one is taken when a row is to be written and comes back when it is.
//
// Threads: any method, from any thread, at once.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace ev {

inline constexpr size_t kBufferAlignment = 4096;

struct AlignedFree {
  void operator()(std::byte* p) const;
};
using AlignedBytes = std::unique_ptr<std::byte, AlignedFree>;
// Null where memory is out.  The size is rounded up to kBufferAlignment.  More than half of kHugeBufferBytes is in huge pages where
// the system has them: a device that is told of 256 pages for a megabyte reads past the page cache at a third of the
// speed, and writes at two thirds (checkpoint_bench).
inline constexpr size_t kHugeBufferBytes = size_t{2} << 20;
AlignedBytes NewAlignedBytes(size_t bytes);

class BufferPool {
 public:
  static constexpr size_t kBufferBytes = size_t{1} << 20;  // a write this long runs at the speed of the device

  static BufferPool& Global();

  // At least `bytes` of unspecified contents; null where memory is out.
  AlignedBytes Take(size_t bytes);
  // Requires: `buffer` came from Take(bytes).
  void Give(AlignedBytes buffer, size_t bytes);

  // Buffers lent now.
  size_t lent() const;

 private:
  static constexpr size_t kKept = 4;  // free buffers kept for the next taker

  mutable std::mutex mu_;
  std::vector<AlignedBytes> free_;  // guarded by mu_; each of kBufferBytes
  size_t lent_ = 0;                 // guarded by mu_
};

}  // namespace ev
