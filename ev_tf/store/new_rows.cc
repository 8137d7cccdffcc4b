// Rows that come in by the million, of keys that nobody else names: they are put into the index without being looked for.
#include <algorithm>
#include <limits>
#include <vector>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/store/store.h"

namespace ev {

template <typename Unused>
Status Store::InsertAll(int tier, Span<const Key> keys, Span<const Position> positions, size_t* inserted,
                        Unused&& unused) {
  constexpr size_t kLinesAhead = 16;  // that are asked for while one is written
  *inserted = 0;
  Status status;
  for (size_t i = 0; i < std::min(kLinesAhead, keys.size()); ++i) index_->PrefetchPlace(HashIndex::PlaceOf(keys[i]));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i + kLinesAhead < keys.size()) index_->PrefetchPlace(HashIndex::PlaceOf(keys[i + kLinesAhead]));
    Location existing = kNoLocation;
    if (status.ok()) status = index_->Insert(keys[i], MakeLocation(tier, positions[i]), &existing);
    if (status.ok() && existing == kNoLocation) {
      ++*inserted;
    } else {
      unused(i);
    }
  }
  return status;
}

Status Store::ShowRows(Span<const Key> keys, Span<const Position> positions, uint32_t tick, size_t* shown) {
  if (tiered()) {
    touches_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
    for (size_t i = 0; i < keys.size(); ++i) Settle(keys[i], positions[i], kNoLocation, kNoLocation, tick);
  }
  std::vector<Position> left;
  Status status = InsertAll(kHotTier, keys, positions, shown, [&](size_t i) { left.push_back(positions[i]); });
  if (left.empty()) return status;
  for (const Position position : left) {
    if (tiered()) hot_->residents()->SetRank(position, kNoRow);
  }
  hot_->rows().Remove({}, left);
  return status;
}

Status Store::AdoptRows(Span<const Key> keys, Span<const Position> positions, size_t* adopted) {
  const int last = tiers() - 1;
  Status status = InsertAll(last, keys, positions, adopted, [](size_t) {});
  counts(last).rows.fetch_add(static_cast<int64_t>(*adopted), std::memory_order_relaxed);
  return status;
}

size_t Store::RoomForNew(int* tier) const {
  for (*tier = 0; residents(*tier) != nullptr; ++*tier) {
    const size_t held = *tier == kHotTier ? hot_rows() : RowsOf(*tier);
    const size_t capacity = residents(*tier)->capacity();
    if (held < capacity) return capacity - held;
  }
  return std::numeric_limits<size_t>::max();
}

Status Store::AddBelow(int tier, Span<const Key> keys, Span<const std::byte> records, uint32_t tick, size_t* added) {
  *added = 0;
  std::vector<Position> positions(keys.size());
  EV_RETURN_IF_ERROR(PutLevel(tier, level(tier), keys, records, positions));
  EV_SYNC_POINT("add_below.put");
  const EpochGuard guard(epochs_);
  if (Residents* const bounded = residents(tier)) {
    const Rank rank = TouchedRank(bounded->strategy(), kNoRow, tick);
    for (size_t i = 0; i < keys.size(); ++i) {
      bounded->Settle(positions[i], HashIndex::PlaceOf(keys[i]), kNoLocation, rank);
    }
  }
  Garbage left;
  Status status = InsertAll(tier, keys, positions, added,
                            [&](size_t i) { left.emplace_back(keys[i], MakeLocation(tier, positions[i])); });
  counts(tier).rows.fetch_add(static_cast<int64_t>(*added), std::memory_order_relaxed);
  RetireLower(left);
  return status;
}

}  // namespace ev
