// Memory that calls use and give back, shared by all variables: as much as runs at once, not as much as there are variables.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace ev {

template <typename T>
class ScratchPool {
 public:
  std::unique_ptr<T> Take() {
    std::lock_guard<std::mutex> lock(mu_);
    if (free_.empty()) return std::make_unique<T>();
    std::unique_ptr<T> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void Return(std::unique_ptr<T> scratch) {
    std::lock_guard<std::mutex> lock(mu_);
    free_.push_back(std::move(scratch));
  }
  static ScratchPool& Global() {
    static auto* pool = new ScratchPool();  // never destroyed: calls may outlive static destruction
    return *pool;
  }

 private:
  std::mutex mu_;
  std::vector<std::unique_ptr<T>> free_;  // guarded by mu_
};

template <typename T>
class Scratch {
 public:
  Scratch() : value_(ScratchPool<T>::Global().Take()) {}
  ~Scratch() { ScratchPool<T>::Global().Return(std::move(value_)); }
  T* operator->() { return value_.get(); }
  T& operator*() { return *value_; }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace ev
