// Sync points: named places in the code at which a test holds a thread, or does something, to force one order of events.
//
//   EV_SYNC_POINT("demote.write");                       // in the code
//   SyncPoints::Global().At("demote.write", [] {...});   // in the test: whoever comes by runs this
//
// Nothing is left of them in a build without asserts (NDEBUG): neither code nor names.
//
// Threads:  any method, from any thread, at once.  A function given to At() runs in the thread that came by, with whatever
//           locks and guards that thread holds there; it may wait, and may itself come by sync points.
#pragma once

#if defined(NDEBUG)
#define EV_SYNC_POINT(name) static_cast<void>(0)
#else

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#define EV_SYNC_POINT(name) ::ev::SyncPoints::Global().Reach(name)

namespace ev {

class SyncPoints {
 public:
  static SyncPoints& Global() {
    static auto* const points = new SyncPoints;  // never destroyed: threads may come by while the process exits
    return *points;
  }

  // From now on `action` runs wherever a thread comes by `name`, instead of what was to run there before.
  void At(const std::string& name, std::function<void()> action) {
    std::lock_guard<std::mutex> lock(mu_);
    actions_[name] = std::make_shared<std::function<void()>>(std::move(action));
    any_.store(true, std::memory_order_release);
  }
  // Nothing runs anywhere; what is running goes on.
  void Clear() {
    std::lock_guard<std::mutex> lock(mu_);
    actions_.clear();
    any_.store(false, std::memory_order_release);
  }

  void Reach(const char* name) {
    if (!any_.load(std::memory_order_acquire)) return;
    std::shared_ptr<std::function<void()>> action;
    {
      std::lock_guard<std::mutex> lock(mu_);
      const auto it = actions_.find(name);
      if (it != actions_.end()) action = it->second;
    }
    if (action) (*action)();
  }

 private:
  SyncPoints() = default;

  std::atomic<bool> any_{false};  // a hint that spares everybody the lock
  std::mutex mu_;
  std::map<std::string, std::shared_ptr<std::function<void()>>> actions_;  // guarded by mu_
};

}  // namespace ev

#endif
