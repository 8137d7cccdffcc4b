#include "ev_tf/variable/changed_keys.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "ev_tf/base/cpu.h"

namespace ev {
namespace {

constexpr size_t kMinCapacity = 16;
constexpr float kGrowth = 1.5f;
constexpr float kMaxLoad = 0.75f;
constexpr size_t kLead = 16;  // entries asked for this many keys before they are looked at

// Tables of different stripes grow at different loads, so that no batch waits for all of them.
float MaxLoadOf(int stripe) { return kMaxLoad / (1 + (kGrowth - 1) * static_cast<float>(stripe) / kStripes); }

}  // namespace

KeySet& KeySet::operator=(KeySet&& other) noexcept {
  entries_ = std::move(other.entries_);
  capacity_ = std::exchange(other.capacity_, 0);
  used_ = std::exchange(other.used_, 0);
  has_zero_ = std::exchange(other.has_zero_, false);
  return *this;
}

size_t KeySet::Find(const Key* entries, size_t capacity, Key key) {
  size_t at = HomeOf(key, capacity);
  while (entries[at] != 0 && entries[at] != key) at = at + 1 == capacity ? 0 : at + 1;
  return at;
}

bool KeySet::Reserve(size_t more, float max_load) {
  const auto limit = [&](size_t capacity) { return static_cast<size_t>(static_cast<float>(capacity) * max_load); };
  if (used_ + more <= limit(capacity_)) return true;
  size_t capacity = std::max(capacity_, kMinCapacity);
  while (limit(capacity) < used_ + more) {
    capacity = static_cast<size_t>(static_cast<float>(capacity) * kGrowth) + 1;
  }
  std::unique_ptr<Key[], Free> entries(static_cast<Key*>(std::calloc(capacity, sizeof(Key))));
  if (entries == nullptr) return false;
  for (size_t i = 0; i < capacity_; ++i) {
    if (entries_[i] != 0) entries[Find(entries.get(), capacity, entries_[i])] = entries_[i];
  }
  entries_ = std::move(entries);
  capacity_ = capacity;
  return true;
}

bool KeySet::Add(Span<const Key> keys, float max_load) {
  if (!Reserve(keys.size(), max_load)) return false;
  Key* entries = entries_.get();
  for (size_t i = 0; i < std::min(kLead, keys.size()); ++i) PrefetchForRead(entries + HomeOf(keys[i], capacity_));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i + kLead < keys.size()) PrefetchForRead(entries + HomeOf(keys[i + kLead], capacity_));
    if (keys[i] == 0) {
      has_zero_ = true;
      continue;
    }
    Key& entry = entries[Find(entries, capacity_, keys[i])];
    used_ += entry == 0 ? 1 : 0;
    entry = keys[i];
  }
  return true;
}

void ChangedKeys::Add(int stripe, Span<const Key> keys) {
  if (on(stripe)) Put(stripe, keys);
}

void ChangedKeys::Put(int stripe, Span<const Key> keys) {
  Changes& changes = stripes_[static_cast<size_t>(stripe)].changes;
  if (changes.lost) return;
  const size_t size = changes.keys.size();
  const size_t bytes = changes.keys.bytes();
  if (!changes.keys.Add(keys, MaxLoadOf(stripe))) {
    Count(changes.keys, -1);
    changes = {KeySet(), true};
    return;
  }
  size_.fetch_add(static_cast<int64_t>(changes.keys.size() - size), std::memory_order_relaxed);
  bytes_.fetch_add(static_cast<int64_t>(changes.keys.bytes() - bytes), std::memory_order_relaxed);
}

void ChangedKeys::Count(const KeySet& keys, int64_t sign) {
  size_.fetch_add(sign * static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  bytes_.fetch_add(sign * static_cast<int64_t>(keys.bytes()), std::memory_order_relaxed);
}

ChangedKeys::Changes ChangedKeys::Take(int stripe) {
  Stripe& from = stripes_[static_cast<size_t>(stripe)];
  from.on = true;
  Count(from.changes.keys, -1);
  return std::exchange(from.changes, Changes());
}

void ChangedKeys::GiveBack(int stripe, Changes changes) {
  Changes& now = stripes_[static_cast<size_t>(stripe)].changes;
  std::vector<Key> keys;
  keys.reserve(now.keys.size());
  now.keys.ForEach([&](Key key) { keys.push_back(key); });
  Count(now.keys, -1);
  changes.lost = changes.lost || now.lost;
  now = std::move(changes);
  Count(now.keys, 1);
  Put(stripe, keys);
}

void ChangedKeys::Forget(int stripe) {
  Changes& changes = stripes_[static_cast<size_t>(stripe)].changes;
  Count(changes.keys, -1);
  changes = Changes();
}

void ChangedKeys::Stop(int stripe) {
  Forget(stripe);
  stripes_[static_cast<size_t>(stripe)].on = false;
}

}  // namespace ev
