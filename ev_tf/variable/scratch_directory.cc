#include "ev_tf/variable/scratch_directory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

namespace ev {
namespace {

namespace fs = std::filesystem;

constexpr int kTries = 100;
constexpr char kPrefix[] = "ev_";
constexpr std::string_view kGone = ".gone";
// File systems whose locks are seen by every process that sees their files: there is one kernel.
constexpr std::array<int64_t, 8> kLocal = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                           TMPFS_MAGIC,      RAMFS_MAGIC,     OVERLAYFS_SUPER_MAGIC,
                                           F2FS_SUPER_MAGIC, 0x2fc12fc1 /* ZFS */};

void RemoveAll(const std::string& path) {
  std::error_code ignored;  // nothing depends on it any more
  // Under a name by which nobody makes files in it any more.
  const std::string gone = path + std::string(kGone);
  const bool renamed = std::rename(path.c_str(), gone.c_str()) == 0;
  fs::remove_all(renamed ? gone : path, ignored);
}

// A directory, locked by this process; -1 if it could not be, with errno.
int LockDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

bool IsNamed(int fd, const std::string& path) {
  struct stat held {};
  struct stat named {};
  return fstat(fd, &held) == 0 && stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

// Whether a name is one that a process gives: ev_<number>_<letters>, maybe with what RemoveAll() adds.
bool IsOurs(const std::string& name) {
  if (name.rfind(kPrefix, 0) != 0) return false;
  const size_t end = name.find_first_not_of("0123456789", sizeof(kPrefix) - 1);
  if (end == std::string::npos || end == sizeof(kPrefix) - 1 || name[end] != '_') return false;
  const size_t letters = name.size() - end - 1;
  return letters == 6 || (letters == 6 + kGone.size() && name.substr(end + 7) == kGone);
}

// Takes away the directories of processes that are no more.
void RemoveStale(const std::string& parent) {
  struct statfs info {};
  if (statfs(parent.c_str(), &info) != 0) return;
  if (std::find(kLocal.begin(), kLocal.end(), int64_t{info.f_type}) == kLocal.end()) return;
  std::error_code error;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    std::error_code ignored;
    if (!IsOurs(it->path().filename().string()) || !it->is_directory(ignored) || it->is_symlink(ignored)) continue;
    const int fd = LockDirectory(path);
    if (fd < 0) continue;  // somebody lives there
    if (IsNamed(fd, path)) fs::remove_all(path, ignored);
    close(fd);  // not before: who has just made it must not believe that it is his
  }
}

}  // namespace

// The directory of this process in one parent.
class ProcessDirectory {
 public:
  static Status Make(const std::string& parent, std::shared_ptr<ProcessDirectory>* out) {
    std::error_code error;
    fs::create_directories(parent, error);
    std::string path;
    int fd = -1;
    for (int i = 0; !error && fd < 0 && i < kTries; ++i) {
      path = (fs::path(parent) / (kPrefix + std::to_string(getpid()) + "_XXXXXX")).string();
      if (mkdtemp(path.data()) == nullptr) {
        error = std::error_code(errno, std::generic_category());
        break;
      }
      fd = LockDirectory(path);
      if (fd >= 0 && IsNamed(fd, path)) break;
      // Another process that tidies up was faster than the lock; it has taken the directory, or will.  Where there are no
      // locks nobody tidies up either.
      const bool no_locks = fd < 0 && errno != EWOULDBLOCK && errno != ENOENT;
      if (fd >= 0) close(fd);
      fd = -1;
      if (no_locks) break;
      std::error_code ignored;
      fs::remove(path, ignored);
      path.clear();
    }
    if (path.empty() && !error) error = std::make_error_code(std::errc::device_or_resource_busy);
    if (error) {
      if (path.empty()) path = parent;
      return InvalidArgument("storage_path: " + path + " cannot be made: " + error.message());
    }
    out->reset(new ProcessDirectory(std::move(path), fd));
    return OkStatus();
  }
  ~ProcessDirectory() {
    if (IsMine()) RemoveAll(path_);
    if (fd_ >= 0) close(fd_);
  }

  // A directory in it.
  Status Add(std::string* path) {
    *path = path_ + "/" + std::to_string(next_++);
    if (mkdir(path->c_str(), 0755) == 0) return OkStatus();
    return InvalidArgument("storage_path: " + *path +
                           " cannot be made: " + std::error_code(errno, std::generic_category()).message());
  }
  bool IsThere() const { return access(path_.c_str(), F_OK) == 0; }
  // Not in a child that was forked: the parent uses it.
  bool IsMine() const { return getpid() == process_; }
  const std::string& path() const { return path_; }

 private:
  ProcessDirectory(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::string path_;
  const int fd_;  // -1: the file system has no locks
  const pid_t process_ = getpid();
  std::atomic<int> next_{0};
};

namespace {

// The directories that this process has, by their parents.
class Registry {
 public:
  // Never destroyed: background threads may still be at work when the process exits.
  static Registry& Global() {
    static auto* registry = new Registry;
    return *registry;
  }

  Status Get(const std::string& parent, std::shared_ptr<ProcessDirectory>* out) {
    std::lock_guard<std::mutex> lock(mu_);
    if (!registered_) std::atexit([] { Global().RemoveAllOfThisProcess(); });
    registered_ = true;
    std::weak_ptr<ProcessDirectory>& known = directories_[{getpid(), parent}];
    *out = known.lock();
    if (*out != nullptr && (*out)->IsThere()) return OkStatus();
    RemoveStale(parent);
    EV_RETURN_IF_ERROR(ProcessDirectory::Make(parent, out));
    known = *out;
    return OkStatus();
  }

 private:
  // A child that was forked has the list of its parent, whose directories are in use.
  void RemoveAllOfThisProcess() {
    std::lock_guard<std::mutex> lock(mu_);
    for (const auto& [where, directory] : directories_) {
      if (where.first != getpid()) continue;
      if (const auto alive = directory.lock()) RemoveAll(alive->path());
    }
  }

  std::mutex mu_;
  bool registered_ = false;  // guarded by mu_
  // Guarded by mu_.
  std::map<std::pair<pid_t, std::string>, std::weak_ptr<ProcessDirectory>> directories_;
};

}  // namespace

Status ScratchDirectory::Make(const std::string& parent, std::unique_ptr<ScratchDirectory>* out) {
  std::shared_ptr<ProcessDirectory> process;
  EV_RETURN_IF_ERROR(Registry::Global().Get(parent, &process));
  std::string path;
  EV_RETURN_IF_ERROR(process->Add(&path));
  out->reset(new ScratchDirectory(std::move(process), std::move(path)));
  return OkStatus();
}

ScratchDirectory::ScratchDirectory(std::shared_ptr<ProcessDirectory> process, std::string path)
    : process_(std::move(process)), path_(std::move(path)) {}

ScratchDirectory::~ScratchDirectory() {
  if (process_->IsMine()) RemoveAll(path_);
}

}  // namespace ev
