#include "ops/bridge/executor.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>

#include "tensorflow/core/platform/threadpool.h"

namespace ev::bridge {
namespace {

// One Run().  Helpers may start after Run() has returned: they find no task left and do not touch `task`.
class SharedRun {
 public:
  SharedRun(int tasks, const std::function<void(int)>& task) : tasks_(tasks), task_(&task) {}

  // Takes tasks until none is left.
  void Work() {
    int finished = 0;
    for (int i = next_.fetch_add(1, std::memory_order_relaxed); i < tasks_;
         i = next_.fetch_add(1, std::memory_order_relaxed)) {
      try {
        (*task_)(i);
      } catch (...) {
        KeepFirstError();
      }
      ++finished;
    }
    if (finished == 0) return;
    // acq_rel: what the tasks wrote is seen by whoever sees the count complete.
    if (done_.fetch_add(finished, std::memory_order_acq_rel) + finished == tasks_) {
      std::lock_guard<std::mutex> lock(mu_);
      all_done_.notify_one();
    }
  }

  // Returns when every task has returned, and throws what the first failed one threw.
  void Wait() {
    if (done_.load(std::memory_order_acquire) != tasks_) {
      std::unique_lock<std::mutex> lock(mu_);
      all_done_.wait(lock, [this] { return done_.load(std::memory_order_acquire) == tasks_; });
    }
    if (failed_.load(std::memory_order_acquire)) std::rethrow_exception(error_);
  }

 private:
  void KeepFirstError() {
    std::lock_guard<std::mutex> lock(mu_);
    if (failed_.load(std::memory_order_relaxed)) return;
    error_ = std::current_exception();
    failed_.store(true, std::memory_order_release);
  }

  const int tasks_;
  const std::function<void(int)>* const task_;
  std::atomic<int> next_{0};
  std::atomic<int> done_{0};
  std::atomic<bool> failed_{false};  // release after error_ is set
  std::mutex mu_;
  std::condition_variable all_done_;
  std::exception_ptr error_;
};

}  // namespace

PoolExecutor::PoolExecutor(tensorflow::OpKernelContext* ctx) {
  const auto* workers = ctx->device()->tensorflow_cpu_worker_threads();
  if (workers == nullptr || workers->workers == nullptr) return;
  pool_ = workers->workers;
  threads_ = std::max(1, workers->num_threads);
}

void PoolExecutor::Run(int tasks, const std::function<void(int)>& task) {
  const int helpers = std::min(tasks, threads_) - 1;
  if (helpers <= 0) {
    for (int i = 0; i < tasks; ++i) task(i);
    return;
  }
  auto run = std::make_shared<SharedRun>(tasks, task);
  for (int h = 0; h < helpers; ++h) pool_->Schedule([run] { run->Work(); });
  run->Work();
  run->Wait();
}

}  // namespace ev::bridge
