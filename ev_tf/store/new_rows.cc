// Rows that come in by the million, of keys that nobody else names: they are put into the index without being looked for.
#include <algorithm>
#include <vector>

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

Status Store::AddBelow(Span<const Key> keys, Span<const std::byte> records, size_t* added) {
  *added = 0;
  const int last = tiers() - 1;
  std::vector<Position> positions(keys.size());
  EV_RETURN_IF_ERROR(PutLevel(last, level(last), keys, records, positions));
  const EpochGuard guard(epochs_);
  Garbage left;
  Status status = InsertAll(last, keys, positions, added,
                            [&](size_t i) { left.emplace_back(keys[i], MakeLocation(last, positions[i])); });
  counts(last).rows.fetch_add(static_cast<int64_t>(*added), std::memory_order_relaxed);
  RetireLower(left);
  return status;
}

}  // namespace ev
