// EpochDomain: memory that lock-free readers may still see is freed only when the last of them has left.
//
// A reader holds an EpochGuard for the length of one batch.  A writer first unlinks a thing, so that no new reader finds
// it, then Retire()s it; it is freed by a later Retire() or Collect() once every guard that was there has gone.
//
// Threads:     any method, from any thread, at once.  A thread holds one guard of a domain at most: a second one could wait
//              for a place for ever.
// Order:       entering a guard and reading the guards are sequentially consistent, so that a reader either is seen by the
//              collector or sees the unlinking.
// Invariants:  G1  nothing retired while a guard is held is freed before that guard is released.
//              G2  the destructor frees everything that is left.  Requires: no guard is held.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace ev {

class EpochDomain {
 public:
  EpochDomain() = default;
  EpochDomain(const EpochDomain&) = delete;
  EpochDomain& operator=(const EpochDomain&) = delete;
  ~EpochDomain();

  // Calls free() once no guard held now is held any more.
  void Retire(std::function<void()> free);
  // The same, but frees nothing now, not even what could be: a later Retire() or Collect() does.
  void RetireLater(std::function<void()> free);
  // Frees what can be freed now.
  void Collect();
  // How many retired things wait.
  size_t pending() const;

 private:
  friend class EpochGuard;

  // Guards that can be held at once; one more waits for a place.  64 lines of 64 bytes per domain.
  static constexpr int kPlaces = 64;
  struct alignas(64) Place {
    std::atomic<uint64_t> epoch{0};  // 0 = free; else the epoch in which the guard was taken
  };
  struct Retired {
    uint64_t epoch;
    std::function<void()> free;
  };

  Place* Enter();
  // Smallest epoch of a held guard, UINT64_MAX when none is held.
  uint64_t OldestGuard() const;

  std::atomic<uint64_t> epoch_{1};
  std::array<Place, kPlaces> places_;
  mutable std::mutex mu_;
  std::vector<Retired> retired_;  // guarded by mu_; epochs never fall
};

class EpochGuard {
 public:
  explicit EpochGuard(EpochDomain& domain) : place_(domain.Enter()) {}
  ~EpochGuard() { place_->epoch.store(0, std::memory_order_release); }
  EpochGuard(const EpochGuard&) = delete;
  EpochGuard& operator=(const EpochGuard&) = delete;

 private:
  EpochDomain::Place* place_;
};

}  // namespace ev
