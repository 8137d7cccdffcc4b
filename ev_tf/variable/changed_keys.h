// ChangedKeys: the keys of one variable whose rows or counts have changed since a save, so that the next one writes only them.
//
// Off until it is first asked what has changed.  A key stands once, in a set of its stripe: 11 to 24 bytes each.  Where there
// is no memory for a set, the changes of its stripe are lost, and whoever takes them is told so.
//
// Threads:     a method that takes a stripe wants the lock of that stripe held by the caller; size() and bytes() may be asked
//              at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/batch/partition.h"

namespace ev {

// Keys of one stripe, each once, in an open table.
class KeySet {
 public:
  KeySet() = default;
  KeySet(KeySet&& other) noexcept { *this = std::move(other); }
  KeySet& operator=(KeySet&& other) noexcept;

  // max_load: the share of the table's entries from which on it grows.  False, and no key is added: no memory.
  bool Add(Span<const Key> keys, float max_load);
  template <typename Visitor>
  void ForEach(Visitor&& visit) const {
    if (has_zero_) visit(Key{0});
    for (size_t i = 0; i < capacity_; ++i) {
      if (entries_[i] != 0) visit(entries_[i]);
    }
  }
  size_t size() const { return used_ + (has_zero_ ? 1 : 0); }
  size_t bytes() const { return capacity_ * sizeof(Key); }

 private:
  struct Free {
    void operator()(Key* entries) const { std::free(entries); }
  };
  // Where the search for a key begins; the stripe's own bits of the hash say nothing here.
  static size_t HomeOf(Key key, size_t capacity) {
    return static_cast<size_t>((static_cast<unsigned __int128>(HashKey(key) << kStripeBits) * capacity) >> 64);
  }
  // The entry of `key`, or the free one where it would be.
  static size_t Find(const Key* entries, size_t capacity, Key key);
  bool Reserve(size_t more, float max_load);

  std::unique_ptr<Key[], Free> entries_;  // 0: free
  size_t capacity_ = 0;
  size_t used_ = 0;
  bool has_zero_ = false;  // key 0 is in the set
};

class ChangedKeys {
 public:
  // What has changed in a stripe.
  struct Changes {
    KeySet keys;
    bool lost = false;  // and some of them are not known
  };

  bool on(int stripe) const { return stripes_[static_cast<size_t>(stripe)].on; }
  void Add(int stripe, Span<const Key> keys);

  // What has changed since the last Take; begins anew, or at all.
  Changes Take(int stripe);
  // Of a save that failed: what it took has changed still.
  void GiveBack(int stripe, Changes changes);
  // Of a variable that was cleared: nothing is known to have changed.
  void Forget(int stripe);
  void Stop(int stripe);

  int64_t size() const { return size_.load(std::memory_order_relaxed); }
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  struct Stripe {
    bool on = false;
    Changes changes;
  };
  // Add, whether the stripe is on or not.
  void Put(int stripe, Span<const Key> keys);
  // sign: 1, they come, or -1, they leave.
  void Count(const KeySet& keys, int64_t sign);

  std::array<Stripe, kStripes> stripes_;
  std::atomic<int64_t> size_{0};
  std::atomic<int64_t> bytes_{0};
};

}  // namespace ev
