// WriteBehind: writes buffers to a file in threads of its own, so that who fills the next ones does not wait for the device.
//
// No more than kBehind buffers are on their way; who brings another one waits for the first of them.  The threads begin with the
// first buffer: a file that needs none has none.  Where the system gives no thread, who brings a buffer writes it.
//
// Threads:     any method, from any thread, at once.
// Invariants:  B1  buffers that were emptied are filled again: there are no more of them than on their way, and with who fills one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "ev_tf/base/status.h"
#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/env.h"

namespace ev::checkpoint {

// Memory of the BufferPool, as long as it lives.
struct LentBytes {
  AlignedBytes memory;
  size_t capacity = 0;  // 0: no memory

  LentBytes() = default;
  LentBytes(LentBytes&& other) noexcept { *this = std::move(other); }
  LentBytes& operator=(LentBytes&& other) noexcept;
  ~LentBytes() { Release(); }
  // Other memory, of `bytes`.  False: there is none.
  bool Borrow(size_t bytes);
  void Release();
};

class WriteBehind {
 public:
  // Few, as each is memory that a save takes; two, so that one is being written while another begins or ends.
  static constexpr int kBehind = 2;

  // Both outlive it.
  WriteBehind(Env* env, File* file) : env_(env), file_(file) {}
  // What is not being written yet never will be.
  ~WriteBehind();

  // Takes the buffer, whose first `bytes` are to be at `offset` soon, and leaves an empty one there, or none.  After an error
  // of this or an earlier buffer: that error, and nothing is taken.
  Status Write(uint64_t offset, size_t bytes, LentBytes* buffer);
  // Every buffer is in the file, or the first error.
  Status Finish();

 private:
  struct Piece {
    uint64_t offset;
    size_t bytes;
    LentBytes buffer;
  };
  void Loop();
  // Whether there is a thread, a free one if the system gives it.  Requires: mu_.
  bool HasThread();

  Env* const env_;
  File* const file_;

  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  std::deque<Piece> waiting_;
  int on_their_way_ = 0;  // waiting or being written
  std::vector<LentBytes> empty_;
  Status error_;  // the first
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ev::checkpoint
