// MapIndex: key -> position under one mutex, which stands in for the store's index in tests of tiers.
#pragma once

#include <functional>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "ev_tf/tier/tier.h"

namespace ev::testing {

class MapIndex final : public Relocator {
 public:
  void Relocate(Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved) override {
    std::lock_guard<std::mutex> lock(mu_);
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto it = map_.find(keys[i]);
      moved[i] = it != map_.end() && it->second == from[i];
      if (moved[i]) it->second = to[i];
    }
  }
  void WhenUnseen(std::function<void()> free) override { free(); }  // a reader here looks again, and compares versions
  bool Find(Key key, Position* position) const {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = map_.find(key);
    if (it == map_.end()) return false;
    *position = it->second;
    return true;
  }
  // True: *old was its position.
  bool Set(Key key, Position position, Position* old) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto [it, is_new] = map_.try_emplace(key, position);
    if (is_new) return false;
    *old = it->second;
    it->second = position;
    return true;
  }
  bool Erase(Key key, Position* old) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = map_.find(key);
    if (it == map_.end()) return false;
    *old = it->second;
    map_.erase(it);
    return true;
  }
  std::vector<Key> Keys() const {
    std::lock_guard<std::mutex> lock(mu_);
    std::vector<Key> keys;
    for (const auto& [key, position] : map_) keys.push_back(key);
    return keys;
  }
  void Clear() {
    std::lock_guard<std::mutex> lock(mu_);
    map_.clear();
  }
  size_t size() const {
    std::lock_guard<std::mutex> lock(mu_);
    return map_.size();
  }

 private:
  mutable std::mutex mu_;
  std::unordered_map<Key, Position> map_;  // guarded by mu_
};

}  // namespace ev::testing
