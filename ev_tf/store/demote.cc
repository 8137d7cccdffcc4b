// Moving rows down.  A row leaves in three steps, so that no lock is held while a device is written:
//   start   under its stripe's lock: a row whose copy below is still good goes at once; a dirty one is copied into a record and
//           marked kLeaving
//   write   all records together, without a lock
//   finish  under its stripe's lock again: if the mark is still there the index is turned to the copy; if not, the row was
//           updated or dropped meanwhile, and it is the copy that goes
#include <algorithm>
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/store/store.h"

namespace ev {
namespace {

constexpr int kHot = 0;
constexpr int kLower = 1;
constexpr size_t kRowsPerWrite = 4096;
// Choosing victims looks at every rank: a thirty-second of the tier at a time makes that small against moving them.
constexpr size_t kVictimShare = 32;
// Touches, in capacities, after which the counts of an LFU tier are halved.
constexpr int64_t kTouchesPerAging = 10;

}  // namespace

Status Store::Demote(size_t rows) {
  std::lock_guard<std::mutex> turn(demote_mu_);
  for (;;) {
    epochs_.Collect();
    const size_t now = hot_->rows().size();
    if (!tiered() || now <= rows) return OkStatus();
    const size_t share = hot_->capacity() / kVictimShare;
    size_t moved = 0;
    EV_RETURN_IF_ERROR(DemoteSome(std::max(now - rows, share), &moved));
    epochs_.Collect();
    if (moved == 0 || hot_->rows().size() >= now) return OkStatus();  // the rest is held by running calls
  }
}

Status Store::DemoteSome(size_t wanted, size_t* moved) {
  const uint32_t used = hot_->rows().pool().high_water();
  if (hot_->strategy() == CacheStrategy::kLfu &&
      touches_.load(std::memory_order_relaxed) >= kTouchesPerAging * int64_t{hot_->capacity()}) {
    touches_.store(0, std::memory_order_relaxed);
    AgeCounts(hot_->ranks(), used);
  }
  std::vector<Victim> victims;
  SelectVictims(hot_->strategy(), tick_.load(std::memory_order_relaxed), hot_->ranks(), used, wanted, &victims);
  // Neighbours in the hash share a stripe's lock.  Places are read once: one that changes under a sort breaks it.
  std::vector<std::pair<uint32_t, Victim>> placed;
  placed.reserve(victims.size());
  for (const Victim& victim : victims) placed.emplace_back(hot_->place(victim.position), victim);
  std::sort(placed.begin(), placed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < victims.size(); ++i) victims[i] = placed[i].second;
  std::vector<Leaving> leaving;
  std::vector<std::byte> records;
  std::vector<Key> keys;
  for (size_t first = 0; first < victims.size(); first += kRowsPerWrite) {
    const size_t n = std::min(kRowsPerWrite, victims.size() - first);
    leaving.clear();
    records.clear();
    StartLeaving(Span<const Victim>(victims.data() + first, n), &leaving, &records, moved);
    if (leaving.empty()) continue;
    keys.clear();
    for (const Leaving& row : leaving) keys.push_back(row.key);
    EV_SYNC_POINT("demote.started");
    std::vector<Position> positions(leaving.size());
    const Status written = lower_->Put(keys, records, positions);
    EV_SYNC_POINT("demote.written");
    FinishLeaving(leaving, positions, written.ok(), moved);
    EV_RETURN_IF_ERROR(written);
  }
  return OkStatus();
}

void Store::StartLeaving(Span<const Victim> victims, std::vector<Leaving>* leaving, std::vector<std::byte>* records,
                         size_t* moved) {
  const EpochGuard guard(epochs_);
  std::vector<Position> gone;
  for (size_t i = 0; i < victims.size();) {
    const int stripe = StripeOf(uint64_t{hot_->place(victims[i].position)} << 32);
    std::lock_guard<std::mutex> lock(stripes_.of(stripe));
    for (; i < victims.size(); ++i) {
      const Position position = victims[i].position;
      const uint32_t place = hot_->place(position);
      if (StripeOf(uint64_t{place} << 32) != stripe) break;
      // It may have been touched, dropped, or given to another key since it was chosen.
      Key key = 0;
      if (hot_->rank(position) != victims[i].rank) continue;
      if (!index_->FindKeyAt(place, MakeLocation(kHot, position), &key)) continue;
      Location& copy = hot_->copy(position);
      if (copy != kNoLocation && copy != kLeaving) {
        if (!index_->Move(key, MakeLocation(kHot, position), copy)) continue;
        gone.push_back(position);
        continue;
      }
      copy = kLeaving;
      leaving->push_back({position, key});
      records->resize(records->size() + record_bytes());
      Pack(position, records->data() + records->size() - record_bytes());
    }
  }
  *moved += gone.size();
  counts_.demotions.fetch_add(static_cast<int64_t>(gone.size()), std::memory_order_relaxed);
  counts_.clean_demotions.fetch_add(static_cast<int64_t>(gone.size()), std::memory_order_relaxed);
  RetireHot(std::move(gone));
}

void Store::FinishLeaving(Span<const Leaving> leaving, Span<const Position> positions, bool written, size_t* moved) {
  const EpochGuard guard(epochs_);
  std::vector<Position> gone;
  Garbage garbage;
  for (size_t i = 0; i < leaving.size();) {
    const int stripe = StripeOf(HashKey(leaving[i].key));
    std::lock_guard<std::mutex> lock(stripes_.of(stripe));
    for (; i < leaving.size() && StripeOf(HashKey(leaving[i].key)) == stripe; ++i) {
      const auto& [position, key] = leaving[i];
      Key now = 0;
      const bool same = index_->FindKeyAt(HashIndex::PlaceOf(key), MakeLocation(kHot, position), &now) && now == key &&
                        hot_->copy(position) == kLeaving;
      if (same && !written) hot_->copy(position) = kNoLocation;
      if (!written) continue;
      if (same && index_->Move(key, MakeLocation(kHot, position), MakeLocation(kLower, positions[i]))) {
        gone.push_back(position);
      } else {
        garbage.emplace_back(key, positions[i]);
      }
    }
  }
  *moved += gone.size();
  counts_.demotions.fetch_add(static_cast<int64_t>(gone.size()), std::memory_order_relaxed);
  RetireHot(std::move(gone));
  RetireLower(std::move(garbage));
}

}  // namespace ev
