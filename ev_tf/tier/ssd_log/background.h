// Background: the one thread of the process that compacts every log whose owner chose so.
//
// It sleeps until woken, exists only while someone is registered, and serves them in turn, a step each.
//
// Threads:  any method, from any thread, at once; not from a worker's own RunStep().
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "ev_tf/env/env.h"

namespace ev::ssd_log {

class BackgroundWorker {
 public:
  virtual ~BackgroundWorker() = default;
  // Some work.  True: there is more.
  virtual bool RunStep() = 0;
};

class Background {
 public:
  static Background& Global();

  void Register(Env* env, BackgroundWorker* worker);
  // Waits for a step of it that is under way; none follows.
  void Unregister(BackgroundWorker* worker);
  // RunStep() soon.  Requires: registered.
  void Wake(BackgroundWorker* worker);

 private:
  void Loop();

  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  std::vector<BackgroundWorker*> workers_;
  std::deque<BackgroundWorker*> queue_;  // each at most once
  BackgroundWorker* running_ = nullptr;
  bool stopping_ = false;
  std::thread thread_;
  std::mutex lifecycle_;  // one registers or unregisters; before mu_
};

}  // namespace ev::ssd_log
