#include "ev_tf/base/executor.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace ev {
namespace {

// One Run() call.  Workers and the caller draw task numbers from `next`; the last to finish wakes the caller.
struct Job {
  Job(int tasks_in, const std::function<void(int)>& task_in) : tasks(tasks_in), task(task_in) {}

  // Draws and runs tasks until none is left to draw.
  void Work() {
    for (int i = next.fetch_add(1); i < tasks; i = next.fetch_add(1)) {
      task(i);
      if (done.fetch_add(1) + 1 == tasks) {
        std::lock_guard<std::mutex> lock(mu);
        finished.notify_all();
      }
    }
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mu);
    finished.wait(lock, [this] { return done.load() == tasks; });
  }

  const int tasks;
  const std::function<void(int)>& task;  // lives until Wait() returns; not touched once `next` >= tasks
  std::atomic<int> next{0};
  std::atomic<int> done{0};
  std::mutex mu;
  std::condition_variable finished;
};

class ThreadPoolExecutor final : public Executor {
 public:
  explicit ThreadPoolExecutor(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Loop(); });
  }
  ~ThreadPoolExecutor() override {
    {
      std::lock_guard<std::mutex> lock(mu_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int parallelism() const override { return static_cast<int>(workers_.size()) + 1; }

  void Run(int tasks, const std::function<void(int)>& task) override {
    if (tasks <= 1 || workers_.empty()) {
      for (int i = 0; i < tasks; ++i) task(i);
      return;
    }
    auto job = std::make_shared<Job>(tasks, task);
    {
      std::lock_guard<std::mutex> lock(mu_);
      for (int i = 1; i < tasks && i < parallelism(); ++i) queue_.push_back(job);
    }
    wake_.notify_all();
    job->Work();
    job->Wait();
  }

 private:
  void Loop() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mu_);
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) return;
        job = std::move(queue_.front());
        queue_.pop_front();
      }
      job->Work();
    }
  }

  std::vector<std::thread> workers_;  // constant after the constructor
  std::mutex mu_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;  // guarded by mu_
  bool stopping_ = false;                   // guarded by mu_
};

}  // namespace

std::unique_ptr<Executor> NewThreadPoolExecutor(int threads) {
  if (threads <= 1) return std::make_unique<SerialExecutor>();
  return std::make_unique<ThreadPoolExecutor>(threads);
}

}  // namespace ev
