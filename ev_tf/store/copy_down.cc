// Copies of the hot tier's rows in the last tier, which the rows keep until they are written again: whoever takes the files of
// that tier has these rows too, and one that goes down later is not written once more.  In three steps, as rows that leave
// (demote.cc), and in turn with them; threads of one turn have positions of their own, so that a mark is that of one of them:
//   start   under its stripe's lock: a row without a copy is marked kLeaving, and copied into a record
//   write   all records together, without a lock
//   finish  under its stripe's lock again: if the mark is still there the row has the copy; if not, the row was updated or
//           dropped meanwhile, and it is the copy that goes
#include <algorithm>
#include <utility>

#include "ev_tf/base/first_error.h"
#include "ev_tf/base/sync_point.h"
#include "ev_tf/store/store.h"

namespace ev {
namespace {

// Of all threads together: who needs room waits for a turn, which has a record for each of them.
constexpr uint32_t kPositionsPerTurn = 4096;
constexpr size_t kAhead = 8;  // rows ahead of the one that is looked at whose lines are asked for

}  // namespace

Status Store::CopyDown(Executor& executor) {
  if (tiers() != 2 || residents(kHotTier) == nullptr) return OkStatus();
  const Residents& from = *residents(kHotTier);
  const int threads = executor.parallelism();
  const uint32_t share = std::max(kPositionsPerTurn / static_cast<uint32_t>(threads), uint32_t{1});
  for (uint32_t first = 0; first < from.high_water(); first += static_cast<uint32_t>(threads) * share) {
    std::unique_lock<std::mutex> lock(demote_mu_);
    // Who needs room goes first, but once: somebody may need room all the time.
    const uint64_t turn = turns_;
    demoted_.wait(lock, [&] { return turns_ != turn || (!demoting_ && waiting_for_turn_ == 0); });
    ++copies_next_;
    demoted_.wait(lock, [&] { return !demoting_; });
    --copies_next_;
    EV_RETURN_IF_ERROR(TakeTurn(std::move(lock), [&] {
      FirstError error;
      executor.Run(threads, [&](int thread) {
        const uint32_t begin = first + static_cast<uint32_t>(thread) * share;
        error.Keep(CopyPositions(begin, std::min(begin + share, from.high_water())));
      });
      return error.status();
    }));
  }
  return OkStatus();
}

Status Store::CopyPositions(Position first, Position end) {
  const Residents& from = *residents(kHotTier);
  // Neighbours in the hash share a stripe's lock.  Places are read once: one that changes under a sort breaks it.
  std::vector<std::pair<uint32_t, Position>> placed;
  for (Position position = first; position < end; ++position) {
    if (from.rank(position) == kNoRow || from.copy(position) != kNoLocation) continue;
    placed.emplace_back(from.place(position), position);
  }
  std::sort(placed.begin(), placed.end());
  std::vector<Leaving> rows;
  RecordBuffer records;
  records.Reserve(placed.size() * record_bytes());
  StartCopying(placed, &rows, records.data());
  if (rows.empty()) return OkStatus();
  std::vector<Key> keys;
  keys.reserve(rows.size());
  for (const Leaving& row : rows) keys.push_back(row.key);
  std::vector<Position> positions(rows.size());
  EV_SYNC_POINT("copy_down.started");
  Status status =
      PutLevel(kHotTier + 1, level(kHotTier + 1), keys, {records.data(), rows.size() * record_bytes()}, positions);
  EV_SYNC_POINT("copy_down.written");
  FinishCopying(rows, positions, status.ok());
  epochs_.Collect();
  return status;
}

void Store::StartCopying(Span<const std::pair<uint32_t, Position>> placed, std::vector<Leaving>* rows,
                         std::byte* records) const {
  const EpochGuard guard(epochs_);
  const Residents& from = *residents(kHotTier);
  for (size_t i = 0; i < placed.size();) {
    const int stripe = StripeOfTop(placed[i].first);
    std::lock_guard<std::mutex> lock(stripes_.of(stripe));
    for (; i < placed.size() && StripeOfTop(placed[i].first) == stripe; ++i) {
      if (i + kAhead < placed.size()) PrefetchVictim(kHotTier, placed[i + kAhead].second);
      const auto [place, position] = placed[i];
      Key key = 0;
      // Another one's by now, dropped, or with a copy.
      if (from.place(position) != place || from.copy(position) != kNoLocation ||
          !index_->FindKeyAt(place, MakeLocation(kHotTier, position), &key)) {
        continue;
      }
      hot_->Pack(position, records + rows->size() * record_bytes());
      rows->push_back({position, key, kNoLocation});
      from.copy(position) = kLeaving;
    }
  }
}

void Store::FinishCopying(Span<const Leaving> rows, Span<const Position> positions, bool written) {
  const EpochGuard guard(epochs_);
  const Residents& from = *residents(kHotTier);
  Garbage garbage;
  for (size_t i = 0; i < rows.size();) {
    const int stripe = StripeOf(HashKey(rows[i].key));
    std::lock_guard<std::mutex> lock(stripes_.of(stripe));
    for (; i < rows.size() && StripeOf(HashKey(rows[i].key)) == stripe; ++i) {
      if (i + kAhead < rows.size()) index_->PrefetchPlace(HashIndex::PlaceOf(rows[i + kAhead].key));
      const auto& [position, key, none] = rows[i];
      const Location copy = written ? MakeLocation(kHotTier + 1, positions[i]) : kNoLocation;
      Key now = 0;
      if (index_->FindKeyAt(HashIndex::PlaceOf(key), MakeLocation(kHotTier, position), &now) && now == key &&
          from.copy(position) == kLeaving) {
        from.copy(position) = copy;
      } else if (written) {
        garbage.emplace_back(key, copy);
      }
    }
  }
  RetireLower(garbage);
}

}  // namespace ev
