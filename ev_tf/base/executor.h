// Executor: the threads a call may use.  The engine owns no compute threads: TensorFlow lends its pool through
// ops/bridge, a program without TensorFlow uses ThreadPoolExecutor or SerialExecutor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace ev {

class Executor {
 public:
  virtual ~Executor() = default;
  // How many tasks may run at once, the caller included.  At least 1.
  virtual int parallelism() const = 0;
  // Runs task(0) .. task(tasks - 1), each once, on any thread, and returns when all have returned.
  // Tasks must not wait for one another: they may all run on the calling thread.
  virtual void Run(int tasks, const std::function<void(int)>& task) = 0;
};

// Runs everything on the calling thread.
class SerialExecutor final : public Executor {
 public:
  int parallelism() const override { return 1; }
  void Run(int tasks, const std::function<void(int)>& task) override {
    for (int i = 0; i < tasks; ++i) task(i);
  }
};

// `threads` threads, the caller of Run() included: threads - 1 are started here and joined in the destructor.
// Run() may be called from several threads at once.  Requires: threads >= 1.
std::unique_ptr<Executor> NewThreadPoolExecutor(int threads);

}  // namespace ev
