#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "ev_tf/base/executor.h"
#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/closer.h"
#include "ev_tf/env/env.h"
#include "ev_tf/env/posix_file.h"
#include "ev_tf/env/uring_reader.h"

namespace ev {
namespace {

// Rings wait here between batches: as many as ran at once lately, four at most.
class UringPool {
 public:
  // Takes a ring or makes one.
  Status Take(std::unique_ptr<UringReader>* ring) {
    {
      std::lock_guard<std::mutex> lock(mu_);
      if (!free_.empty()) {
        *ring = std::move(free_.back());
        free_.pop_back();
        return OkStatus();
      }
    }
    return UringReader::Create(ring);
  }
  void Give(std::unique_ptr<UringReader> ring) {
    if (ring->broken()) return;
    std::lock_guard<std::mutex> lock(mu_);
    if (free_.size() < kKept) free_.push_back(std::move(ring));
  }

 private:
  static constexpr size_t kKept = 4;
  std::mutex mu_;
  std::vector<std::unique_ptr<UringReader>> free_;  // guarded by mu_
};

class PosixEnv final : public Env {
 public:
  explicit PosixEnv(bool try_uring) {
    if (!try_uring) {
      why_no_uring_ = "not asked for";
      return;
    }
    std::unique_ptr<UringReader> ring;
    const Status status = rings_.Take(&ring);
    uring_ = status.ok();
    if (uring_) rings_.Give(std::move(ring));
    why_no_uring_ = status.message();
  }

  Status Open(const std::string& path, const OpenOptions& options, std::unique_ptr<File>* file) override {
    return OpenPosixFile(path, options, file);
  }
  Status Lock(const std::string& path, std::unique_ptr<FileLock>* lock) override { return LockPosixFile(path, lock); }

  Status CreateDirectories(const std::string& path) override {
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      const std::string part = path.substr(0, end);
      if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return ErrnoStatus(part, "create directory", errno);
      if (end == std::string::npos) break;
    }
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "stat", errno);
    if (!S_ISDIR(info.st_mode)) return IoError(path + ": expected a directory, found a file");
    return OkStatus();
  }

  Status List(const std::string& path, std::vector<std::string>* names) override {
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) return ErrnoStatus(path, "list", errno);
    names->clear();
    errno = 0;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names->push_back(name);
      errno = 0;
    }
    const int error = errno;
    ::closedir(dir);
    if (error != 0) return ErrnoStatus(path, "list", error);
    std::sort(names->begin(), names->end());
    return OkStatus();
  }

  Status Unlink(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? OkStatus() : ErrnoStatus(path, "unlink", errno);
  }
  void CloseLater(std::unique_ptr<File> file) override { Closer::Global().Add(std::move(file)); }
  bool CloseNow() override { return Closer::Global().Wait(); }
  Status Rename(const std::string& from, const std::string& to) override {
    return std::rename(from.c_str(), to.c_str()) == 0 ? OkStatus() : ErrnoStatus(from, "rename to " + to, errno);
  }
  Status SyncDirectory(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return ErrnoStatus(path, "open", errno);
    const int error = ::fsync(fd) == 0 ? 0 : errno;
    ::close(fd);
    return error == 0 ? OkStatus() : ErrnoStatus(path, "fsync", error);
  }

  Status Link(const std::string& from, const std::string& to, LinkKind* kind) override {
    return LinkPosixFile(from, to, kind);
  }

  Status ReadBatch(Span<const ReadRequest> requests, size_t memory, const ReadDone& done, ReadStats* stats) override {
    if (requests.size() <= 1) return ReadOne(requests, done, stats);
    if (uring_) {
      std::unique_ptr<UringReader> ring;
      // A ring more may be refused where locked memory is short: then this batch goes the other way.
      if (rings_.Take(&ring).ok()) {
        Status status = ring->Read(requests, memory, done, stats);
        rings_.Give(std::move(ring));
        return status;
      }
    }
    return ReadByPool(requests, memory, done, stats);
  }

  std::string read_backend() const override { return uring_ ? "io_uring" : "pread pool (" + why_no_uring_ + ")"; }

  uint64_t NowNanos() override {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
            .count());
  }

  std::thread StartThread(const std::string& name, std::function<void()> body) override {
    std::thread thread(std::move(body));
    pthread_setname_np(thread.native_handle(), name.substr(0, 15).c_str());
    return thread;
  }

 private:
  static constexpr int kPoolThreads = 32;  // at 32 synchronous reads a device gives five sixths of its rate

  static Status ReadOne(Span<const ReadRequest> requests, const ReadDone& done, ReadStats* stats) {
    if (requests.empty()) return OkStatus();
    const ReadRequest& request = requests[0];
    ++stats->reads;
    stats->bytes += request.length;
    stats->max_depth = std::max(stats->max_depth, 1U);
    AlignedBytes buffer = BufferPool::Global().Take(request.length);
    if (buffer == nullptr) return NoMemory(request.length);
    Status status = request.file->ReadAt(request.offset, {buffer.get(), request.length});
    if (status.ok()) status = done(0, buffer.get());
    BufferPool::Global().Give(std::move(buffer), request.length);
    return status;
  }

  Status ReadByPool(Span<const ReadRequest> requests, size_t memory, const ReadDone& done, ReadStats* stats) {
    size_t longest = 1;
    for (const ReadRequest& request : requests) longest = std::max<size_t>(longest, request.length);
    const size_t most = std::clamp<size_t>(memory / longest, 1, kPoolThreads);
    const int tasks = static_cast<int>(std::min(requests.size(), most));
    std::atomic<size_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mu;
    Status first_error;
    uint64_t bytes = 0;
    uint64_t reads = 0;
    pool()->Run(tasks, [&](int) {
      AlignedBytes buffer = NewAlignedBytes(longest);
      Status status = buffer == nullptr ? NoMemory(longest) : OkStatus();
      uint64_t my_bytes = 0;
      uint64_t my_reads = 0;
      for (size_t i = next.fetch_add(1); status.ok() && i < requests.size() && !failed.load(); i = next.fetch_add(1)) {
        status = requests[i].file->ReadAt(requests[i].offset, {buffer.get(), requests[i].length});
        ++my_reads;
        my_bytes += requests[i].length;
        if (status.ok()) status = done(i, buffer.get());
      }
      std::lock_guard<std::mutex> lock(mu);
      bytes += my_bytes;
      reads += my_reads;
      if (!status.ok() && !failed.exchange(true)) first_error = status;
    });
    stats->reads += reads;
    stats->bytes += bytes;
    stats->max_depth = std::max(stats->max_depth, static_cast<uint32_t>(tasks));
    return first_error;
  }

  static Status NoMemory(size_t bytes) {
    return IoError("read: expected " + std::to_string(bytes) + " bytes of memory, found none");
  }

  Executor* pool() {
    std::call_once(pool_once_, [this] { pool_ = NewThreadPoolExecutor(kPoolThreads); });
    return pool_.get();
  }

  bool uring_ = false;        // constant after the constructor
  std::string why_no_uring_;  // constant after the constructor
  UringPool rings_;
  std::once_flag pool_once_;
  std::unique_ptr<Executor> pool_;
};

bool UringWanted() {
  const char* wanted = std::getenv("EV_IO_URING");
  return wanted == nullptr || std::strcmp(wanted, "0") != 0;
}

}  // namespace

Env& Env::Default() {
  static Env* const env = new PosixEnv(UringWanted());  // never destroyed: tables may outlive every static object
  return *env;
}

std::unique_ptr<Env> NewPreadPoolEnv() { return std::make_unique<PosixEnv>(/*try_uring=*/false); }

}  // namespace ev
