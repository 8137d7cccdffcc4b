// Closer: closes files that nobody uses any more, in one thread of the process.
//
// Closing a file that has lost its name gives back its space, and a file system that tells its device of every block that is
// free (mounted with discard) takes some fifty milliseconds over 32 MiB: not in a thread that moves rows.
//
// Threads:     any method, from any thread, at once.  The thread is started by the first file and never ends.
// Invariants:  C1  no more than kMostWaiting files wait: where giving back is slower than making, whoever makes waits.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "ev_tf/env/env.h"

namespace ev {

class Closer {
 public:
  static Closer& Global();

  void Add(std::unique_ptr<File> file);
  // Returns when what was added before is closed; false: nothing was waiting.
  bool Wait();

 private:
  static constexpr size_t kMostWaiting = 8;

  void Loop();

  std::mutex mu_;
  std::condition_variable added_;
  std::condition_variable closed_;
  // Guarded by mu_.
  std::deque<std::unique_ptr<File>> waiting_;
  bool closing_ = false;
  bool started_ = false;
};

}  // namespace ev
