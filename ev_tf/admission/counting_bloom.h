// CountingBloom: counts of keys without a row in a fixed number of counters, each shared by many keys.
//
// A key has k counters, and its count is the smallest of them.  Only counters that are below the new count are raised, so
// that a key takes part in as few other keys' counts as may be (conservative update: Estan, Varghese, SIGCOMM 2002).  Keys
// are not kept: what a key was counted cannot be forgotten, and Forget does nothing.
//
// To age, the counters have two generations.  A count is the sum of both; the older one is dropped, and a new one begun,
// when DropOlder finds that the younger one is older than steps_to_live.  The second takes memory from then on.
//
// A filter may be laid out for far more keys than ever come, as programs do that do not know how many will: memory is taken
// when a counter is first raised, and those of a large filter lie in small pages, so that it is taken a little at a time.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "ev_tf/admission/admission.h"
#include "ev_tf/alloc/memory.h"
#include "ev_tf/batch/partition.h"

namespace ev {

class CountingBloom final : public Admission {
 public:
  // Requires: what MakeAdmission checks.
  static Status Make(const AdmissionOptions& options, std::unique_ptr<CountingBloom>* out);

  bool exact() const override { return false; }
  Status Count(int stripe, Span<const Key> keys, Span<const uint32_t> counts, uint32_t version_plus1,
               Span<uint32_t> frequencies) override;
  void Forget(int, Span<const Key>) override {}
  FilteredKey Get(int stripe, Key key) const override;
  void Scan(int, const std::function<void(const FilteredKey&)>&) const override {}
  void DropOlder(int stripe, int64_t step, int64_t steps_to_live) override;
  void Clear(int stripe) override;
  int64_t size() const override { return 0; }
  int64_t bytes() const override { return bytes_.load(std::memory_order_relaxed); }

  int hashes() const { return hashes_; }
  int64_t counters() const { return static_cast<int64_t>(counters_ * kStripes); }

 private:
  CountingBloom(const AdmissionOptions& options, int hashes, size_t counters);

  static constexpr int kMaxHashes = 32;

  // The counters of one key, within its stripe.
  struct Places {
    size_t at[kMaxHashes];
  };
  void Find(Key key, Places* places) const;
  size_t stripe_bytes() const { return counters_ * static_cast<size_t>(counter_bytes_); }
  size_t generation_bytes() const { return kStripes * stripe_bytes(); }

  // The same for every width of a counter.
  template <typename T>
  void CountIn(int stripe, Span<const Key> keys, Span<const uint32_t> counts, Span<uint32_t> frequencies);
  const MemoryRegion& young(int stripe) const { return generations_[younger_[stripe]]; }
  const MemoryRegion& old(int stripe) const { return generations_[1 - younger_[stripe]]; }
  void Zero(int generation, int stripe);

  template <typename T>
  T* Stripe(const MemoryRegion& memory, int stripe) const {
    return reinterpret_cast<T*>(memory.data()) + static_cast<size_t>(stripe) * counters_;
  }
  template <typename T>
  uint32_t Smallest(const MemoryRegion& memory, int stripe, const Places& places) const;
  uint32_t SmallestOf(const MemoryRegion& memory, int stripe, const Places& places) const;

  const int counter_bytes_;  // 1, 2 or 4: a frequency has 32 bits, so wider counters would only take memory
  const int hashes_;
  const size_t counters_;                    // of a stripe
  MemoryRegion generations_[2];              // [kStripes, counters_]; each stripe guarded by its lock
  std::array<uint8_t, kStripes> younger_{};  // which of the generations is the younger one; as above
  std::array<int64_t, kStripes> begun_;      // step at which the young generation began, -1: not known; as above
  std::array<bool, kStripes> aged_{};        // whether the old one has anything; as above
  std::atomic<int64_t> bytes_{0};
};

}  // namespace ev
