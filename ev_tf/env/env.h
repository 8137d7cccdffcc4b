// Env: every file, clock and thread that the engine's storage uses comes through here, so that tests can lie.
//
// Threads:     any method, from any thread, at once.
// Ownership:   an Env outlives the files, locks and threads that it gave.
// Durability:  bytes are kept over a loss of power once File::Sync() has returned OK after they were written; a file that
//              was created, renamed or removed is so once SyncDirectory() of its directory has.
// Errors:      OutOfSpace where the disk or a quota is full, NotFound where there is no such file, else IoError: each with
//              the path, the offset, what was expected and what was found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"

namespace ev {

// What a direct file asks of offsets, lengths and addresses.
inline constexpr size_t kDirectAlignment = 512;

class File {
 public:
  virtual ~File() = default;

  virtual const std::string& path() const = 0;
  // Reads and writes go past the page cache.  Then offsets, lengths and addresses are multiples of kDirectAlignment.
  virtual bool direct() const = 0;

  // Exactly out.size() bytes; less, at the end of the file, is an IoError.
  virtual Status ReadAt(uint64_t offset, Span<std::byte> out) = 0;
  virtual Status WriteAt(uint64_t offset, Span<const std::byte> data) = 0;
  // Takes disk space for [offset, offset + bytes) without changing the size, where the file system can.
  virtual Status Allocate(uint64_t offset, uint64_t bytes) = 0;
  virtual Status Truncate(uint64_t size) = 0;
  virtual Status Sync() = 0;
  virtual Status Size(uint64_t* size) = 0;
  // The first `bytes` bytes as memory, for as long as the file is open; null where the file cannot be mapped.  Bytes past its
  // end, or that the device cannot read, end the process: touch them by GuardedCopy alone.
  virtual const std::byte* Map(size_t bytes) = 0;
  // Of an operating system's file; -1 for others.
  virtual int descriptor() const { return -1; }
};

// Held by one process, and once in it, until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

struct ReadRequest {
  File* file;
  uint64_t offset;
  uint32_t length;
};

// What a batch of reads may take where nobody has a reason to give it less.
inline constexpr size_t kReadMemory = size_t{8} << 20;

struct ReadStats {
  uint64_t reads = 0;
  uint64_t bytes = 0;
  uint32_t max_depth = 0;  // reads in flight at once
};

// done(i, data) is called once for each request i that was read; data is good until it returns, and aligned for direct
// files.  It may be called from several threads at once, and an error that it returns ends the batch.
using ReadDone = std::function<Status(size_t, const std::byte*)>;

struct OpenOptions {
  bool create = false;  // with what is there already cut to nothing
  bool write = true;
  bool direct = false;  // a wish: refused by some file systems, e.g. tmpfs; File::direct() says what came of it
};

// How a file got a second name.
enum class LinkKind : uint8_t {
  kHardLink,  // two names of one file
  kReflink,   // another file, which shares the bytes until one of them is written to
  kCopy,      // another file, with its own bytes
};

class Env {
 public:
  virtual ~Env() = default;

  // The operating system's.
  static Env& Default();

  virtual Status Open(const std::string& path, const OpenOptions& options, std::unique_ptr<File>* file) = 0;
  // Unavailable: another process, or another lock of this one, holds it.
  virtual Status Lock(const std::string& path, std::unique_ptr<FileLock>* lock) = 0;
  virtual Status CreateDirectories(const std::string& path) = 0;
  // The names in a directory, sorted.
  virtual Status List(const std::string& path, std::vector<std::string>* names) = 0;
  virtual Status Unlink(const std::string& path) = 0;
  // Closes a file that nobody uses any more, now or soon in another thread: giving back the space of one without a name may
  // take long.
  virtual void CloseLater(std::unique_ptr<File> file) { file.reset(); }
  // Closes what was to be closed later; false: there was none.
  virtual bool CloseNow() { return false; }
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  virtual Status SyncDirectory(const std::string& path) = 0;
  // Gives the file `from` the name `to` as well, which nobody has; where the file system cannot, makes a copy of it, whose bytes
  // are synced.  The name is kept once the directory of `to` is synced.  After an error there is nothing of that name.
  virtual Status Link(const std::string& from, const std::string& to, LinkKind* kind) = 0;

  // All requests, as many at once as the device likes and, if they are longer than a page, as fit into `memory` bytes, but one
  // at least; returns when the last has ended.  After an error the requests that were not begun are left out.
  virtual Status ReadBatch(Span<const ReadRequest> requests, size_t memory, const ReadDone& done, ReadStats* stats) = 0;
  // How ReadBatch reads, and why not the better way: "io_uring", "pread pool (io_uring: Operation not permitted)".
  virtual std::string read_backend() const = 0;

  virtual uint64_t NowNanos() = 0;  // monotonic
  virtual std::thread StartThread(const std::string& name, std::function<void()> body) = 0;
};

// Reads by 32 threads and pread: what Default() falls back to where io_uring is missing or refused.
std::unique_ptr<Env> NewPreadPoolEnv();

}  // namespace ev
