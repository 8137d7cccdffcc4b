// GuardedCopy: copies pieces of mapped files.  What cannot be read, as the device fails or the file was cut, is false here;
// whoever touched the mapping himself would get a signal that ends the process.
//
// It is the kernel that copies: the pieces are written, in one call, to a file that is nothing but memory, and read there.  Once
// the pages are in the page cache a piece takes a tenth of the time that a read of the file would.
//
// Threads: one at a time; made to be used again, as its memory stays.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "ev_tf/base/span.h"

namespace ev {

class GuardedCopy {
 public:
  static constexpr size_t kMaxPieces = 512;  // of one call; more than that are not quicker

  GuardedCopy() = default;
  ~GuardedCopy();
  GuardedCopy(const GuardedCopy&) = delete;
  GuardedCopy& operator=(const GuardedCopy&) = delete;

  // data() = the pieces, one behind the other, until the next Run.  False: one of them cannot be read, or the system has no
  // such files.  Requires: at most kMaxPieces pieces.
  bool Run(Span<const iovec> pieces);
  const std::byte* data() const { return memory_; }

  // How often this thread has had to wait for a page to come from a device.
  static int64_t DeviceWaits();

 private:
  bool MakeRoom(size_t bytes);

  int fd_ = -1;
  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace ev
