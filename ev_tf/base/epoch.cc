#include "ev_tf/base/epoch.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <thread>

namespace ev {

EpochDomain::~EpochDomain() {
  for (Retired& r : retired_) r.free();
}

EpochDomain::Place* EpochDomain::Enter() {
  // Threads start at different places, so that a place is mostly taken at the first try and stays in one core's cache.
  static std::atomic<unsigned> threads_seen{0};
  thread_local const unsigned start = threads_seen.fetch_add(1, std::memory_order_relaxed);
  for (unsigned i = start;; ++i) {
    Place& place = places_[i % kPlaces];
    uint64_t expected = 0;
    if (place.epoch.load(std::memory_order_relaxed) == 0 &&
        place.epoch.compare_exchange_strong(expected, epoch_.load(std::memory_order_seq_cst),
                                            std::memory_order_seq_cst)) {
      return &place;
    }
    if ((i - start) % kPlaces == kPlaces - 1) std::this_thread::yield();
  }
}

uint64_t EpochDomain::OldestGuard() const {
  uint64_t oldest = std::numeric_limits<uint64_t>::max();
  for (const Place& place : places_) {
    const uint64_t epoch = place.epoch.load(std::memory_order_seq_cst);
    if (epoch != 0) oldest = std::min(oldest, epoch);
  }
  return oldest;
}

void EpochDomain::Retire(std::function<void()> free) {
  RetireLater(std::move(free));
  Collect();
}

void EpochDomain::RetireLater(std::function<void()> free) {
  std::lock_guard<std::mutex> lock(mu_);
  retired_.push_back({epoch_.fetch_add(1, std::memory_order_seq_cst), std::move(free)});
}

void EpochDomain::Collect() {
  std::vector<Retired> ready;
  {
    std::lock_guard<std::mutex> lock(mu_);
    if (retired_.empty()) return;
    const uint64_t oldest = OldestGuard();
    auto end = std::find_if(retired_.begin(), retired_.end(), [&](const Retired& r) { return r.epoch >= oldest; });
    ready.assign(std::make_move_iterator(retired_.begin()), std::make_move_iterator(end));
    retired_.erase(retired_.begin(), end);
  }
  for (Retired& r : ready) r.free();
}

size_t EpochDomain::pending() const {
  std::lock_guard<std::mutex> lock(mu_);
  return retired_.size();
}

}  // namespace ev
