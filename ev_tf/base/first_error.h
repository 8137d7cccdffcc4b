// The first failure of threads that work on one call.
#pragma once

#include <mutex>

#include "ev_tf/base/status.h"

namespace ev {

class FirstError {
 public:
  void Keep(const Status& status) {
    if (status.ok()) return;
    std::lock_guard<std::mutex> lock(mu_);
    if (status_.ok()) status_ = status;
  }
  Status status() const {
    std::lock_guard<std::mutex> lock(mu_);
    return status_;
  }
  bool ok() const { return status().ok(); }

 private:
  mutable std::mutex mu_;
  Status status_;  // guarded by mu_
};

}  // namespace ev
