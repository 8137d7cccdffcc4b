#include "ev_tf/admission/counter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ev_tf/base/cpu.h"

namespace ev {
namespace {

constexpr size_t kMinCapacity = 64;
constexpr float kGrowth = 1.25f;
constexpr float kMaxLoad = 0.75f;
constexpr float kSparse = 0.5f;  // a table that would do with less than this of its entries gets smaller
constexpr size_t kLead = 16;     // entries asked for this many keys before they are looked at

uint32_t SaturatingAdd(uint32_t a, uint32_t b) { return a > UINT32_MAX - b ? UINT32_MAX : a + b; }

}  // namespace

size_t Counter::Table::Home(Key key) const {
  const uint64_t fraction = HashKey(key) << kStripeBits;
  return static_cast<size_t>((static_cast<unsigned __int128>(fraction) * capacity) >> 64);
}

size_t Counter::Table::Find(Key key) const {
  const FilteredKey* table = entries();
  size_t at = Home(key);
  while (table[at].frequency != 0 && table[at].key != key) at = Next(at);
  return at;
}

void Counter::Table::Erase(size_t at) {
  FilteredKey* table = entries();
  const auto distance = [this](size_t from, size_t to) { return to >= from ? to - from : to + capacity - from; };
  for (size_t next = Next(at); table[next].frequency != 0; next = Next(next)) {
    if (distance(Home(table[next].key), next) < distance(at, next)) continue;  // it may not stand before its home
    table[at] = table[next];
    at = next;
  }
  table[at] = FilteredKey{};
  --used;
}

Counter::Counter(uint32_t threshold) : Admission(threshold) {
  for (int s = 0; s < kStripes; ++s) {
    tables_[s].max_load = kMaxLoad * std::pow(kGrowth, -static_cast<float>(s) / kStripes);
  }
}

Status Counter::Resize(Table* table, size_t capacity) {
  Table fresh;
  EV_RETURN_IF_ERROR(MemoryRegion::Reserve(capacity * sizeof(FilteredKey), kHugePageBytes, &fresh.memory));
  fresh.capacity = capacity;
  fresh.max_load = table->max_load;
  for (size_t i = 0; i < table->capacity; ++i) {
    const FilteredKey& entry = table->entries()[i];
    if (entry.frequency == 0) continue;
    fresh.entries()[fresh.Find(entry.key)] = entry;
    ++fresh.used;
  }
  bytes_.fetch_add((static_cast<int64_t>(capacity) - static_cast<int64_t>(table->capacity)) *
                       static_cast<int64_t>(sizeof(FilteredKey)),
                   std::memory_order_relaxed);
  *table = std::move(fresh);
  return OkStatus();
}

Status Counter::Reserve(Table* table, size_t more) {
  const auto limit = [&](size_t capacity) {
    return static_cast<size_t>(static_cast<float>(capacity) * table->max_load);
  };
  if (table->used + more <= limit(table->capacity)) return OkStatus();
  size_t capacity = std::max(table->capacity, kMinCapacity);
  while (limit(capacity) < table->used + more) {
    capacity = static_cast<size_t>(static_cast<float>(capacity) * kGrowth) + 1;
  }
  return Resize(table, capacity);
}

void Counter::Trim(Table* table) {
  const auto wanted = static_cast<size_t>(static_cast<float>(table->used) * kGrowth / table->max_load);
  const size_t capacity = std::max(wanted, kMinCapacity);
  if (static_cast<float>(capacity) >= kSparse * static_cast<float>(table->capacity)) return;
  static_cast<void>(Resize(table, capacity));  // without memory for a smaller table the larger one stays
}

Status Counter::Count(int stripe, Span<const Key> keys, Span<const uint32_t> counts, uint32_t version_plus1,
                      Span<uint32_t> frequencies) {
  Table& table = tables_[stripe];
  EV_RETURN_IF_ERROR(Reserve(&table, keys.size()));
  FilteredKey* entries = table.entries();
  size_t fresh = 0;
  for (size_t i = 0; i < std::min(kLead, keys.size()); ++i) PrefetchForRead(entries + table.Home(keys[i]));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i + kLead < keys.size()) PrefetchForRead(entries + table.Home(keys[i + kLead]));
    FilteredKey& entry = entries[table.Find(keys[i])];
    if (entry.frequency == 0) {
      entry = {keys[i], 0, 0};
      ++fresh;
    }
    entry.frequency = SaturatingAdd(entry.frequency, counts[i]);
    if (version_plus1 != 0) entry.version_plus1 = version_plus1;
    frequencies[i] = entry.frequency;
  }
  table.used += fresh;
  size_.fetch_add(static_cast<int64_t>(fresh), std::memory_order_relaxed);
  return OkStatus();
}

void Counter::Forget(int stripe, Span<const Key> keys) {
  Table& table = tables_[stripe];
  if (table.used == 0) return;
  const size_t before = table.used;
  for (const Key key : keys) {
    const size_t at = table.Find(key);
    if (table.entries()[at].frequency != 0) table.Erase(at);
  }
  size_.fetch_sub(static_cast<int64_t>(before - table.used), std::memory_order_relaxed);
  Trim(&table);
}

FilteredKey Counter::Get(int stripe, Key key) const {
  const Table& table = tables_[stripe];
  if (table.used == 0) return {key, 0, 0};
  const FilteredKey& entry = table.entries()[table.Find(key)];
  return entry.frequency == 0 ? FilteredKey{key, 0, 0} : entry;
}

void Counter::Scan(int stripe, const std::function<void(const FilteredKey&)>& visit) const {
  const Table& table = tables_[stripe];
  for (size_t i = 0; i < table.capacity; ++i) {
    if (table.entries()[i].frequency != 0) visit(table.entries()[i]);
  }
}

void Counter::DropOlder(int stripe, int64_t step, int64_t steps_to_live) {
  Table& table = tables_[stripe];
  if (table.used == 0) return;
  const size_t before = table.used;
  FilteredKey* entries = table.entries();
  for (size_t i = 0; i < table.capacity; ++i) {
    FilteredKey& entry = entries[i];
    // What an erased entry lets move here has not been looked at, unless it came round from the front.
    while (entry.frequency != 0) {
      if (entry.version_plus1 == 0) entry.version_plus1 = static_cast<uint32_t>(step + 1);
      if (step - (int64_t{entry.version_plus1} - 1) <= steps_to_live) break;
      table.Erase(i);
    }
  }
  size_.fetch_sub(static_cast<int64_t>(before - table.used), std::memory_order_relaxed);
  Trim(&table);
}

void Counter::Clear(int stripe) {
  Table& table = tables_[stripe];
  size_.fetch_sub(static_cast<int64_t>(table.used), std::memory_order_relaxed);
  bytes_.fetch_sub(static_cast<int64_t>(table.capacity * sizeof(FilteredKey)), std::memory_order_relaxed);
  const float max_load = table.max_load;
  table = Table{};
  table.max_load = max_load;
}

}  // namespace ev
