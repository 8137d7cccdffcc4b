// FairSharedMutex: a reader-writer lock under which a writer's turn comes however many readers there are.
//
// std::shared_mutex lets readers in as long as one is inside: lookups that never pause would keep a writer out for ever.
// Here readers that come after a waiting writer queue up behind it.  A thread must not take it shared twice.
#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace ev {

class FairSharedMutex {
 public:
  void lock() {
    gate_.lock();
    writer_waits_.store(true, std::memory_order_relaxed);
    mu_.lock();
    writer_waits_.store(false, std::memory_order_relaxed);
    gate_.unlock();
  }
  void unlock() { mu_.unlock(); }
  void lock_shared() {
    if (writer_waits_.load(std::memory_order_relaxed)) std::lock_guard<std::mutex> behind_writer(gate_);
    mu_.lock_shared();
  }
  void unlock_shared() { mu_.unlock_shared(); }

 private:
  std::mutex gate_;                        // held by the writer that waits
  std::atomic<bool> writer_waits_{false};  // a hint: whoever misses it is one reader more to wait for
  std::shared_mutex mu_;
};

}  // namespace ev
