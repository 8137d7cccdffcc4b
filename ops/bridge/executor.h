// TensorFlow's intra-op threads, lent to the engine for one kernel call.
#pragma once

#include <functional>

#include "ev_tf/base/executor.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::bridge {

// Threads:     the calling thread takes tasks like any helper, and waits only for tasks that a helper is already running.
//              So Run() ends however busy the pool is, also when it is called from a thread of that pool.
// Lifetime:    the kernel context outlives it.
class PoolExecutor final : public Executor {
 public:
  explicit PoolExecutor(tensorflow::OpKernelContext* ctx);

  int parallelism() const override { return threads_; }
  void Run(int tasks, const std::function<void(int)>& task) override;

 private:
  tensorflow::thread::ThreadPool* pool_ = nullptr;
  int threads_ = 1;
};

}  // namespace ev::bridge
