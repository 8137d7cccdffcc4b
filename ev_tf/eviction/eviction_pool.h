// EvictionPool: the threads that move rows down, one pool for all variables of the process.
//
// TF_MULTI_TIER_EV_EVICTION_THREADS threads (1 to 256, default 1), started when the first client comes, woken by a condition variable.
// Clients wait in one queue and go back to its end after each turn, so that none is left behind by a busy neighbour.
//
// Threads:     any method, from any thread, at once.
// Invariants:  E5  once Unregister has returned, no turn of that client is running or will run.
// The pool is never destroyed: a process may exit while a turn is running.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "ev_tf/base/status.h"

namespace ev {

class EvictionClient {
 public:
  virtual ~EvictionClient() = default;
  // One turn.  True: there is more to do.
  virtual bool EvictSome() = 0;
};

class EvictionPool {
 public:
  static EvictionPool& Global();
  // InvalidArgument: the environment asks for a number of threads that cannot be.
  static Status CheckEnvironment();
  explicit EvictionPool(int threads) : threads_(threads) {}

  void Register(EvictionClient* client);
  // Waits for the client's turn, if one is running.
  void Unregister(EvictionClient* client);
  // Gives the client a turn.  Cheap if it waits for one already.
  void Wake(EvictionClient* client);

  int threads() const { return threads_; }

 private:
  struct State {
    bool queued = false;
    bool running = false;
    bool again = false;    // woken while its turn was running
    bool leaving = false;  // Unregister waits for its turn to end
  };

  void Loop();

  const int threads_;
  std::mutex mu_;
  std::condition_variable wake_;
  std::condition_variable turn_ended_;
  bool started_ = false;                                // guarded by mu_
  std::deque<EvictionClient*> queue_;                   // guarded by mu_
  std::unordered_map<EvictionClient*, State> clients_;  // guarded by mu_
};

}  // namespace ev
