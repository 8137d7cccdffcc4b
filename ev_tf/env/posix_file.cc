#include "ev_tf/env/posix_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace ev {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

// open(), and once more with every descriptor that the hard limit allows: a table of 1 TB has 16,000 segments.
int OpenRetrying(const char* path, int flags) {
  for (bool raised = false;;) {
    const int fd = ::open(path, flags | O_CLOEXEC, 0644);
    if (fd >= 0) return fd;
    if (errno == EINTR) continue;
    rlimit limit{};
    if (errno != EMFILE || raised || ::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) {
      return -1;
    }
    raised = true;
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
      errno = EMFILE;
      return -1;
    }
  }
}

// A whole block in another unit than ours cannot be read or written directly.
bool DirectBlocksFit(int fd) {
#if defined(STATX_DIOALIGN)
  struct statx info {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 && (info.stx_mask & STATX_DIOALIGN) != 0) {
    return info.stx_dio_offset_align != 0 && kDirectAlignment % info.stx_dio_offset_align == 0;
  }
#else
  static_cast<void>(fd);
#endif
  return true;
}

class PosixFile final : public File {
 public:
  PosixFile(std::string path, int fd, bool direct) : path_(std::move(path)), fd_(fd), direct_(direct) {}
  ~PosixFile() override {
    if (map_ != nullptr) ::munmap(map_, map_bytes_);
  }

  const std::string& path() const override { return path_; }
  bool direct() const override { return direct_; }
  int descriptor() const override { return fd_.get(); }

  Status ReadAt(uint64_t offset, Span<std::byte> out) override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::pread(fd_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed("read", offset + done, out.size() - done, errno);
      if (n == 0) {
        return IoError(path_ + " @ " + std::to_string(offset) + ": read: expected " + std::to_string(out.size()) +
                       " bytes, found " + std::to_string(done));
      }
      done += static_cast<size_t>(n);
    }
    return OkStatus();
  }

  Status WriteAt(uint64_t offset, Span<const std::byte> data) override {
    size_t done = 0;
    while (done < data.size()) {
      const ssize_t n = ::pwrite(fd_.get(), data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed("write", offset + done, data.size() - done, errno);
      if (n == 0) return Failed("write", offset + done, data.size() - done, ENOSPC);
      done += static_cast<size_t>(n);
      // A short direct write may end inside a block; that block goes again.
      if (direct_ && done < data.size()) done = done / kDirectAlignment * kDirectAlignment;
    }
    return OkStatus();
  }

  Status Allocate(uint64_t offset, uint64_t bytes) override {
    for (;;) {
      if (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) {
        return OkStatus();
      }
      if (errno == EINTR) continue;
      if (errno == EOPNOTSUPP || errno == ENOSYS) return OkStatus();  // space is then taken by the writes
      return Failed("allocate", offset, bytes, errno);
    }
  }

  Status Truncate(uint64_t size) override {
    while (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return Failed("truncate", size, 0, errno);
    }
    return OkStatus();
  }

  Status Sync() override {
    while (::fdatasync(fd_.get()) != 0) {
      if (errno != EINTR) return ErrnoStatus(path_, "fdatasync", errno);
    }
    return OkStatus();
  }

  Status Size(uint64_t* size) override {
    struct stat info {};
    if (::fstat(fd_.get(), &info) != 0) return ErrnoStatus(path_, "fstat", errno);
    *size = static_cast<uint64_t>(info.st_size);
    return OkStatus();
  }

  const std::byte* Map(size_t bytes) override {
    if (map_ != nullptr) return static_cast<const std::byte*>(map_);
    void* map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd_.get(), 0);
    if (map == MAP_FAILED) return nullptr;
    static_cast<void>(::madvise(map, bytes, MADV_RANDOM));  // a row is no sign that its neighbours will be read
    map_ = map;
    map_bytes_ = bytes;
    return static_cast<const std::byte*>(map_);
  }

 private:
  Status Failed(const char* what, uint64_t offset, uint64_t bytes, int error) const {
    return ErrnoStatus(path_ + " @ " + std::to_string(offset),
                       std::string(what) + ": expected " + std::to_string(bytes) + " bytes", error);
  }

  const std::string path_;
  const Descriptor fd_;
  const bool direct_;
  void* map_ = nullptr;  // set once, by the opener, before others see the file
  size_t map_bytes_ = 0;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(int fd) : fd_(fd) {}

 private:
  Descriptor fd_;  // closing it unlocks
};

}  // namespace

Status ErrnoStatus(const std::string& path, const std::string& what, int error) {
  std::string message = path + ": " + what + ", found " + std::strerror(error);
  if (error == EMFILE) message += " (raise the limit of open files, ulimit -n)";
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) return OutOfSpace(std::move(message));
  if (error == ENOENT) return NotFound(std::move(message));
  return IoError(std::move(message));
}

Status OpenPosixFile(const std::string& path, const OpenOptions& options, std::unique_ptr<File>* file) {
  const int flags = (options.write ? O_RDWR : O_RDONLY) | (options.create ? O_CREAT | O_TRUNC : 0);
  bool direct = options.direct;
  int fd = direct ? OpenRetrying(path.c_str(), flags | O_DIRECT) : -1;
  if (fd >= 0 && !DirectBlocksFit(fd)) {
    ::close(fd);
    fd = -1;
  } else if (direct && fd < 0 && errno != EINVAL) {
    return ErrnoStatus(path, "open", errno);
  }
  if (fd < 0) {
    direct = false;
    fd = OpenRetrying(path.c_str(), flags);
    if (fd < 0) return ErrnoStatus(path, "open", errno);
    static_cast<void>(::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
  }
  *file = std::make_unique<PosixFile>(path, fd, direct);
  return OkStatus();
}

Status LockPosixFile(const std::string& path, std::unique_ptr<FileLock>* lock) {
  const int fd = OpenRetrying(path.c_str(), O_RDWR | O_CREAT);
  if (fd < 0) return ErrnoStatus(path, "open", errno);
  auto held = std::make_unique<PosixLock>(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return Unavailable(path + ": expected a directory that nobody uses, found it locked by this or another process");
    }
    return ErrnoStatus(path, "lock", errno);
  }
  *lock = std::move(held);
  return OkStatus();
}

}  // namespace ev
