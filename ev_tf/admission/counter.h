// Counter: exact counts of keys without a row, 16 bytes each in an open table a stripe.
//
// Tables are probed from where the hash says, in the order of hashes, and an entry that leaves lets those behind it move up:
// nothing is left where it was.  A table grows by a quarter; those of different stripes at different loads, so that they
// do not all grow in one batch, and gets smaller when half of it would do.  Between a half and three quarters of the entries
// of a table that grows are used: 21 to 31 bytes a key.
#pragma once

#include <array>
#include <atomic>

#include "ev_tf/admission/admission.h"
#include "ev_tf/alloc/memory.h"
#include "ev_tf/batch/partition.h"

namespace ev {

class Counter final : public Admission {
 public:
  explicit Counter(uint32_t threshold);

  bool exact() const override { return true; }
  Status Count(int stripe, Span<const Key> keys, Span<const uint32_t> counts, uint32_t version_plus1,
               Span<uint32_t> frequencies) override;
  void Forget(int stripe, Span<const Key> keys) override;
  FilteredKey Get(int stripe, Key key) const override;
  void Scan(int stripe, const std::function<void(const FilteredKey&)>& visit) const override;
  void DropOlder(int stripe, int64_t step, int64_t steps_to_live) override;
  void Clear(int stripe) override;
  int64_t size() const override { return size_.load(std::memory_order_relaxed); }
  int64_t bytes() const override { return bytes_.load(std::memory_order_relaxed); }

 private:
  // The keys of one stripe.  An entry with a frequency of 0 is free: the memory comes zeroed.
  struct Table {
    FilteredKey* entries() const { return reinterpret_cast<FilteredKey*>(memory.data()); }
    // Where the search for a key begins; the stripe's own bits of the hash say nothing here.
    size_t Home(Key key) const;
    size_t Next(size_t at) const { return at + 1 == capacity ? 0 : at + 1; }
    // The entry of `key`, or the free one where it would be.  Requires: capacity > 0.
    size_t Find(Key key) const;
    void Erase(size_t at);

    MemoryRegion memory;
    size_t capacity = 0;
    size_t used = 0;
    float max_load = 0;  // constant
  };

  // Moves a table's entries to one of `capacity` entries.
  Status Resize(Table* table, size_t capacity);
  // Gives back memory that many keys which left have freed.
  void Trim(Table* table);
  // Makes room for `more` keys.
  Status Reserve(Table* table, size_t more);

  std::array<Table, kStripes> tables_;  // each guarded by its stripe
  std::atomic<int64_t> size_{0};
  std::atomic<int64_t> bytes_{0};
};

}  // namespace ev
