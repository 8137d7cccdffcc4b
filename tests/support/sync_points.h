// Orders of events that a test forces at sync points (ev_tf/base/sync_point.h).
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "ev_tf/base/sync_point.h"

#if !defined(NDEBUG)

namespace ev::test {

// A flag that threads wait for; far longer than anything takes is a failure.
class Event {
 public:
  void Set() {
    std::lock_guard<std::mutex> lock(mu_);
    set_ = true;
    changed_.notify_all();
  }
  // Whether it was set in time.
  bool Wait(std::chrono::milliseconds patience = std::chrono::seconds(60)) {
    std::unique_lock<std::mutex> lock(mu_);
    return changed_.wait_for(lock, patience, [this] { return set_; });
  }
  bool IsSet() {
    std::lock_guard<std::mutex> lock(mu_);
    return set_;
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool set_ = false;  // guarded by mu_
};

// Takes back what a test had put at sync points.
class SyncPointsGuard {
 public:
  SyncPointsGuard() = default;
  SyncPointsGuard(const SyncPointsGuard&) = delete;
  SyncPointsGuard& operator=(const SyncPointsGuard&) = delete;
  ~SyncPointsGuard() { SyncPoints::Global().Clear(); }

  // The first thread that comes by runs `action`; others pass.
  void Once(const std::string& name, std::function<void()> action) {
    auto first = std::make_shared<std::atomic<bool>>(true);
    SyncPoints::Global().At(name, [first, action = std::move(action)] {
      if (first->exchange(false)) action();
    });
  }
  // The first thread that comes by is held, until `go` is set; `there` says that it has come.
  void Hold(const std::string& name, std::shared_ptr<Event> there, std::shared_ptr<Event> go) {
    Once(name, [there = std::move(there), go = std::move(go)] {
      there->Set();
      go->Wait();
    });
  }
  void Signal(const std::string& name, std::shared_ptr<Event> there) {
    Once(name, [there = std::move(there)] { there->Set(); });
  }
};

}  // namespace ev::test

#endif
