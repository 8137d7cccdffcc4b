#include "ev_tf/env/closer.h"

#include <pthread.h>

#include <thread>
#include <utility>

namespace ev {

Closer& Closer::Global() {
  static auto* const closer = new Closer;  // never destroyed: its thread goes on while the process exits
  return *closer;
}

void Closer::Add(std::unique_ptr<File> file) {
  std::unique_lock<std::mutex> lock(mu_);
  if (!started_) {
    started_ = true;
    std::thread thread([this] { Loop(); });
    pthread_setname_np(thread.native_handle(), "ev-close");
    thread.detach();
  }
  closed_.wait(lock, [this] { return waiting_.size() < kMostWaiting; });
  waiting_.push_back(std::move(file));
  added_.notify_one();
}

bool Closer::Wait() {
  std::unique_lock<std::mutex> lock(mu_);
  if (waiting_.empty() && !closing_) return false;
  closed_.wait(lock, [this] { return waiting_.empty() && !closing_; });
  return true;
}

void Closer::Loop() {
  std::unique_lock<std::mutex> lock(mu_);
  for (;;) {
    added_.wait(lock, [this] { return !waiting_.empty(); });
    std::unique_ptr<File> file = std::move(waiting_.front());
    waiting_.pop_front();
    closing_ = true;
    lock.unlock();
    file.reset();
    lock.lock();
    closing_ = false;
    closed_.notify_all();
  }
}

}  // namespace ev
