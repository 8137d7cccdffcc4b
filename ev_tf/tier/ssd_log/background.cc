#include "ev_tf/tier/ssd_log/background.h"

#include <algorithm>

namespace ev::ssd_log {

Background& Background::Global() {
  static Background* const background = new Background;  // never destroyed: the process may end during a step
  return *background;
}

void Background::Register(Env* env, BackgroundWorker* worker) {
  std::lock_guard<std::mutex> one(lifecycle_);
  std::lock_guard<std::mutex> lock(mu_);
  workers_.push_back(worker);
  if (!thread_.joinable()) {
    stopping_ = false;
    thread_ = env->StartThread("ev-compaction", [this] { Loop(); });
  }
}

void Background::Unregister(BackgroundWorker* worker) {
  std::lock_guard<std::mutex> one(lifecycle_);
  bool last = false;
  {
    std::unique_lock<std::mutex> lock(mu_);
    workers_.erase(std::remove(workers_.begin(), workers_.end(), worker), workers_.end());
    queue_.erase(std::remove(queue_.begin(), queue_.end(), worker), queue_.end());
    changed_.wait(lock, [&] { return running_ != worker; });
    last = workers_.empty();
    stopping_ = last;
  }
  if (!last) return;
  changed_.notify_all();
  thread_.join();
}

void Background::Wake(BackgroundWorker* worker) {
  {
    std::lock_guard<std::mutex> lock(mu_);
    if (std::find(queue_.begin(), queue_.end(), worker) != queue_.end()) return;
    queue_.push_back(worker);
  }
  changed_.notify_all();
}

void Background::Loop() {
  std::unique_lock<std::mutex> lock(mu_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    BackgroundWorker* const worker = queue_.front();
    queue_.pop_front();
    running_ = worker;
    lock.unlock();
    const bool more = worker->RunStep();
    lock.lock();
    running_ = nullptr;
    const bool known = std::find(workers_.begin(), workers_.end(), worker) != workers_.end();
    const bool queued = std::find(queue_.begin(), queue_.end(), worker) != queue_.end();
    if (more && known && !queued) queue_.push_back(worker);
    changed_.notify_all();
  }
}

}  // namespace ev::ssd_log
