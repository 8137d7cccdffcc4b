#include "ev_tf/env/guarded_copy.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ev {
namespace {

constexpr size_t kMinBytes = 256 << 10;

}  // namespace

GuardedCopy::~GuardedCopy() {
  if (memory_ != nullptr) ::munmap(memory_, bytes_);
  if (fd_ >= 0) ::close(fd_);
}

int64_t GuardedCopy::DeviceWaits() {
  rusage usage{};
  static_cast<void>(::getrusage(RUSAGE_THREAD, &usage));
  return usage.ru_majflt;
}

bool GuardedCopy::MakeRoom(size_t bytes) {
  if (bytes <= bytes_) return true;
  if (fd_ < 0) fd_ = ::memfd_create("ev-guarded-copy", MFD_CLOEXEC);
  if (fd_ < 0) return false;
  const size_t wanted = std::max(bytes, kMinBytes);
  if (::ftruncate(fd_, static_cast<off_t>(wanted)) != 0) return false;
  void* memory = ::mmap(nullptr, wanted, PROT_READ, MAP_SHARED, fd_, 0);
  if (memory == MAP_FAILED) return false;
  if (memory_ != nullptr) ::munmap(memory_, bytes_);
  memory_ = static_cast<std::byte*>(memory);
  bytes_ = wanted;
  return true;
}

bool GuardedCopy::Run(Span<const iovec> pieces) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  if (!MakeRoom(bytes)) return false;
  ssize_t written = 0;
  do {
    written = ::pwritev(fd_, pieces.data(), static_cast<int>(pieces.size()), 0);
  } while (written < 0 && errno == EINTR);
  return written == static_cast<ssize_t>(bytes);
}

}  // namespace ev
