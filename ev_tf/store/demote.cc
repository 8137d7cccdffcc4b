// Moving rows down, from a bounded tier to the next one.  A row leaves in three steps, so that no lock is held while a device
// is written:
//   start   under its stripe's lock: a row whose copy in the next tier is still good goes at once; another one is marked
//           kLeaving, and copied into a record if it could change meanwhile
//   write   all records together, without a lock
//   finish  under its stripe's lock again: if the mark is still there the index is turned to the copy; if not, the row was
//           updated or dropped meanwhile, and it is the copy that goes
// A victim that is but the copy of a row further up is given up, and the row keeps what copy that one had; if its row went up
// while the copy was being written, the row gets the new copy in its place.
#include <algorithm>
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/store/store.h"

namespace ev {
namespace {

constexpr size_t kRowsPerWrite = 4096;
// Rows ahead of the one that is looked at whose lines are asked for.
constexpr size_t kAhead = 8;
// Choosing victims looks at every rank: a thirty-second of the tier at a time makes that small against moving them.
constexpr size_t kVictimShare = 32;
// Touches, in capacities, after which the counts of an LFU tier are halved.
constexpr int64_t kTouchesPerAging = 50;

}  // namespace

Status Store::Demote(size_t rows) {
  if (!tiered()) return OkStatus();
  std::unique_lock<std::mutex> lock(demote_mu_);
  ++waiting_for_turn_;
  demoted_.wait(lock, [this] { return !demoting_ && copies_next_ == 0; });
  --waiting_for_turn_;
  return TakeTurn(std::move(lock), [&] { return DemoteTo(kHotTier, rows); });
}

Status Store::DemoteOrWait(size_t rows) {
  if (!tiered()) return OkStatus();
  std::unique_lock<std::mutex> lock(demote_mu_);
  ++waiting_for_turn_;
  demoted_.wait(lock, [&] { return (!demoting_ && copies_next_ == 0) || RowsOf(kHotTier) <= rows; });
  --waiting_for_turn_;
  if (demoting_ || copies_next_ > 0) return OkStatus();
  return TakeTurn(std::move(lock), [&] { return DemoteTo(kHotTier, rows); });
}

int Store::waiting_for_turn() {
  const std::lock_guard<std::mutex> lock(demote_mu_);
  return waiting_for_turn_;
}

Status Store::TakeTurn(std::unique_lock<std::mutex> lock, const std::function<Status()>& move) {
  demoting_ = true;
  ++turns_;
  lock.unlock();
  Status status = move();
  lock.lock();
  demoting_ = false;
  demoted_.notify_all();
  return status;
}

Status Store::DemoteTo(int tier, size_t rows) {
  if (residents(tier) == nullptr) return OkStatus();
  const size_t share = residents(tier)->capacity() / kVictimShare;
  for (;;) {
    epochs_.Collect();
    // What came from here may be too much for the next one.
    if (const Residents* next = residents(tier + 1)) EV_RETURN_IF_ERROR(DemoteTo(tier + 1, next->capacity()));
    const size_t now = RowsOf(tier);
    if (now <= rows) return OkStatus();
    size_t moved = 0;
    EV_RETURN_IF_ERROR(DemoteSome(tier, std::max(now - rows, share), &moved));
    epochs_.Collect();
    if (moved == 0 || RowsOf(tier) >= now) return OkStatus();  // the rest is held by running calls
  }
}

Status Store::DemoteSome(int tier, size_t wanted, size_t* moved) {
  const Residents& from = *residents(tier);
  if (tier == kHotTier && from.strategy() == CacheStrategy::kLfu &&
      touches_.load(std::memory_order_relaxed) >= kTouchesPerAging * int64_t{from.capacity()}) {
    touches_.store(0, std::memory_order_relaxed);
    for (int each = 0; each < tiers(); ++each) {  // one count for all of them: a row takes it along
      if (residents(each) != nullptr) AgeCounts(residents(each)->ranks(), residents(each)->high_water());
    }
  }
  std::vector<Victim> victims;
  SelectVictims(from.strategy(), tick_.load(std::memory_order_relaxed), from.ranks(), from.high_water(), wanted,
                &victims);
  // Neighbours in the hash share a stripe's lock.  Places are read once: one that changes under a sort breaks it.
  std::vector<std::pair<uint32_t, Victim>> placed;
  placed.reserve(victims.size());
  for (const Victim& victim : victims) placed.emplace_back(from.place(victim.position), victim);
  std::sort(placed.begin(), placed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < victims.size(); ++i) victims[i] = placed[i].second;
  for (size_t first = 0; first < victims.size(); first += kRowsPerWrite) {
    const size_t n = std::min(kRowsPerWrite, victims.size() - first);
    if (const Residents* next = residents(tier + 1)) EV_RETURN_IF_ERROR(DemoteTo(tier + 1, next->capacity()));
    EV_RETURN_IF_ERROR(DemoteBatch(tier, Span<const Victim>(victims.data() + first, n), moved));
    { std::lock_guard<std::mutex> seen(demote_mu_); }  // who waits has looked before, and sleeps
    demoted_.notify_all();
  }
  return OkStatus();
}

Status Store::DemoteBatch(int tier, Span<const Victim> victims, size_t* moved) {
  std::vector<Leaving> leaving;
  RecordBuffer records;
  records.Reserve(victims.size() * record_bytes());
  leaving.reserve(victims.size());
  StartLeaving(tier, victims, &leaving, records.data(), moved);
  if (leaving.empty()) return OkStatus();
  std::vector<Key> keys(leaving.size());
  std::vector<Position> positions(leaving.size());
  for (size_t i = 0; i < leaving.size(); ++i) {
    keys[i] = leaving[i].key;
    positions[i] = leaving[i].position;
  }
  const Span<std::byte> bytes(records.data(), leaving.size() * record_bytes());
  EV_SYNC_POINT("demote.started");
  Status status;
  if (tier != kHotTier) {
    const EpochGuard guard(epochs_);
    status = ReadLevel(tier, keys, positions, bytes);
  }
  const bool gone =
      status.code() == StatusCode::kNotFound;  // one was dropped before the guard: the others another time
  if (status.ok()) status = PutLevel(tier + 1, level(tier + 1), keys, bytes, positions);
  EV_SYNC_POINT("demote.written");
  FinishLeaving(tier, leaving, positions, status.ok(), moved);
  return gone ? OkStatus() : status;
}

void Store::PrefetchVictim(int tier, Position position) const {
  const Residents& from = *residents(tier);
  index_->PrefetchPlace(from.place(position));
  if (tier == kHotTier) {
    PrefetchHot(position);
  } else {
    from.Prefetch(position);
  }
}

void Store::StartLeaving(int tier, Span<const Victim> victims, std::vector<Leaving>* leaving, std::byte* records,
                         size_t* moved) {
  const EpochGuard guard(epochs_);
  const Residents& from = *residents(tier);
  const Residents* to = residents(tier + 1);
  std::vector<Position> gone;
  Garbage garbage;
  for (size_t i = 0; i < victims.size();) {
    const int stripe = StripeOfTop(from.place(victims[i].position));
    std::lock_guard<std::mutex> lock(stripes_.of(stripe));
    for (; i < victims.size(); ++i) {
      if (i + kAhead < victims.size()) PrefetchVictim(tier, victims[i + kAhead].position);
      const Position position = victims[i].position;
      const Location here = MakeLocation(tier, position);
      const uint32_t place = from.place(position);
      if (StripeOfTop(place) != stripe) break;
      // It may have been touched, dropped, or given to another key since it was chosen.
      if (from.rank(position) != victims[i].rank) continue;
      Key key = 0;
      if (!index_->FindKeyAt(place, here, &key)) {
        if (tier != kHotTier && GiveUpCopy(place, here, kNoLocation, &key)) garbage.emplace_back(key, here);
        continue;
      }
      RelaxedLocation& copy = from.copy(position);
      const bool has_copy = copy != kNoLocation && copy != kLeaving;
      if (has_copy && TierOf(copy) == tier + 1) {
        if (!index_->Move(key, here, copy)) continue;
        if (to != nullptr) to->SetRank(PositionOf(copy), victims[i].rank);
        gone.push_back(position);
        if (tier != kHotTier) {
          from.SetRank(position, kNoRow);
          garbage.emplace_back(key, here);
        }
        continue;
      }
      // Rows of a level do not change: they are read later.
      if (tier == kHotTier) hot_->Pack(position, records + leaving->size() * record_bytes());
      leaving->push_back({position, key, has_copy ? copy : kNoLocation});
      copy = kLeaving;
    }
  }
  const size_t given_up = garbage.size() - (tier == kHotTier ? 0 : gone.size());
  *moved += gone.size() + given_up;
  CountDemotions(tier, gone.size());
  counts(tier).clean_demotions.fetch_add(static_cast<int64_t>(gone.size()), std::memory_order_relaxed);
  if (tier == kHotTier) RetireHot(std::move(gone));
  RetireLower(garbage);
}

void Store::FinishLeaving(int tier, Span<const Leaving> leaving, Span<const Position> positions, bool written,
                          size_t* moved) {
  const EpochGuard guard(epochs_);
  const Residents& from = *residents(tier);
  Residents* to = residents(tier + 1);
  std::vector<Position> gone;
  Garbage garbage;
  size_t down = 0;
  for (size_t i = 0; i < leaving.size();) {
    const int stripe = StripeOf(HashKey(leaving[i].key));
    std::lock_guard<std::mutex> lock(stripes_.of(stripe));
    for (; i < leaving.size() && StripeOf(HashKey(leaving[i].key)) == stripe; ++i) {
      if (i + kAhead < leaving.size()) index_->PrefetchPlace(HashIndex::PlaceOf(leaving[i + kAhead].key));
      const auto& [position, key, copy] = leaving[i];
      const uint32_t place = HashIndex::PlaceOf(key);
      const Location here = MakeLocation(tier, position);
      const Location there = MakeLocation(tier + 1, positions[i]);
      Key now = 0;
      const bool in_place = index_->FindKeyAt(place, here, &now) && now == key && from.copy(position) == kLeaving;
      if (!written) {
        // Where the row still is, up or here, it keeps the copy that it had.
        if (in_place || (tier != kHotTier && HasCopy(place, here, key))) {
          from.copy(position) = copy;
        } else {
          Discard(key, copy, &garbage);
        }
      } else if (in_place && index_->Move(key, here, there)) {
        if (to != nullptr) to->Settle(positions[i], place, copy, from.rank(position));
        ++down;
        if (tier == kHotTier) {
          gone.push_back(position);
        } else {
          from.SetRank(position, kNoRow);
          garbage.emplace_back(key, here);
        }
      } else if (tier != kHotTier && GiveUpCopy(place, here, there, &now)) {
        if (to != nullptr) to->Settle(positions[i], place, copy, kCopyRank);
        garbage.emplace_back(key, here);
        ++*moved;
      } else {
        garbage.emplace_back(key, there);
        Discard(key, copy, &garbage);
      }
    }
  }
  *moved += down;
  CountDemotions(tier, down);
  RetireHot(std::move(gone));
  RetireLower(garbage);
}

bool Store::HasCopy(uint32_t place, Location copy, Key key) const {
  Key holder = 0;
  return index_->FindKeyIf(
             place, [&](Location row) { return FindLink(row, copy) != nullptr; }, &holder) &&
         holder == key;
}

bool Store::GiveUpCopy(uint32_t place, Location copy, Location instead, Key* key) const {
  RelaxedLocation* link = nullptr;
  const auto holds = [&](Location row) { return (link = FindLink(row, copy)) != nullptr; };
  if (!index_->FindKeyIf(place, holds, key)) return false;
  const Residents& bounded = *residents(TierOf(copy));
  const Location further = bounded.copy(PositionOf(copy));
  *link = instead == kNoLocation ? further : instead;
  bounded.copy(PositionOf(copy)) = kNoLocation;
  bounded.SetRank(PositionOf(copy), kNoRow);
  return true;
}

void Store::CountDemotions(int tier, size_t rows) const {
  const auto n = static_cast<int64_t>(rows);
  counts(tier).demotions.fetch_add(n, std::memory_order_relaxed);
  if (tier != kHotTier) counts(tier).rows.fetch_sub(n, std::memory_order_relaxed);
  counts(tier + 1).rows.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace ev
