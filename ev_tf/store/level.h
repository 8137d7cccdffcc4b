// Level: a tier below the hot one, as a store has it.
//
// Rows of a level never change.  All levels but the last are bounded: the store knows of each of their rows which one goes
// first (Residents), and their tiers move no row by themselves.
//
// Threads:     Relocate and WhenUnseen from any thread; Use and Rest from one at a time.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "ev_tf/base/epoch.h"
#include "ev_tf/store/residents.h"
#include "ev_tf/tier/tier.h"

namespace ev {

// Opens an empty tier for records of a size.  `relocator` outlives the tier; null: the tier moves no row.
using TierOpener = std::function<Status(size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out)>;

class Level final : public Relocator {
 public:
  // Relocator::Relocate.
  using Relocation =
      std::function<void(Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved)>;

  // capacity: rows it should hold; 0: the last level, which takes what there is.
  // `epochs` outlives the level, and what it is given to free.
  Level(uint32_t capacity, CacheStrategy strategy, Relocation relocation, EpochDomain* epochs)
      : residents_(capacity == 0 ? nullptr : std::make_unique<Residents>(capacity, strategy)),
        relocation_(std::move(relocation)),
        epochs_(epochs) {}

  Status Open(const TierOpener& open, size_t record_bytes) {
    return open(record_bytes, residents_ == nullptr ? this : nullptr, &tier_);
  }

  Tier& tier() const { return *tier_; }
  // Null: not bounded.
  Residents* residents() const { return residents_.get(); }

  // From here on the tier may move rows by itself; a level begins at rest.
  void Use() {
    std::lock_guard<std::mutex> lock(mu_);
    in_use_ = true;
  }
  // Once it has returned, no row is being moved, and none will be.
  void Rest() {
    std::lock_guard<std::mutex> lock(mu_);
    in_use_ = false;
  }
  void Relocate(Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved) override {
    std::lock_guard<std::mutex> lock(mu_);
    if (in_use_) {
      relocation_(keys, from, to, moved);
    } else {
      std::fill(moved.begin(), moved.end(), false);
    }
  }
  // Nothing is freed here: what waits may belong to an index that is just being dropped.
  void WhenUnseen(std::function<void()> free) override { epochs_->RetireLater(std::move(free)); }

 private:
  const std::unique_ptr<Residents> residents_;
  const Relocation relocation_;
  EpochDomain* const epochs_;
  std::mutex mu_;
  bool in_use_ = false;         // guarded by mu_
  std::shared_ptr<Tier> tier_;  // constant after Open; last, so that it goes first: it may be asking until it has gone
};

}  // namespace ev
