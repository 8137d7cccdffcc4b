// Moving all rows to a wider layout, and dropping all of them.  Both run alone: nobody holds a guard or a lock, and the levels
// rest.  What is new is made beside what is there, which is let go once nothing can fail any more.
#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/store/store.h"

namespace ev {
namespace {

// Rows under way at once.
constexpr size_t kRowsPerStep = 4096;

}  // namespace

void Store::DrainEpochs() {
  while (epochs_.pending() != 0) {
    epochs_.Collect();
    std::this_thread::yield();  // a guard of whoever was still asking about a move
  }
}

Status Store::OpenContent(const RowLayout& layout, Content* fresh) {
  fresh->index = std::make_unique<HashIndex>(&epochs_);
  fresh->hot = NewHotTier(layout);
  return OpenLevels(layout, &fresh->levels);
}

void Store::Adopt(Content fresh) {
  for (const auto& level : levels_) level->Rest();
  DrainEpochs();  // whatever waited belongs to the old tiers
  EV_SYNC_POINT("adopt.drained");
  for (size_t i = 0; i < levels_.size(); ++i) {
    const TierMetrics m = levels_[i]->tier().tier_metrics();
    TierCounts& counted = counts(static_cast<int>(i) + 1);
    counted.past_device_reads += m.device_reads;
    counted.past_written_bytes += m.written_bytes;
    counted.past_compaction_bytes += m.compaction_bytes;
  }
  index_ = std::move(fresh.index);
  hot_ = std::move(fresh.hot);
  levels_ = std::move(fresh.levels);
  for (const auto& level : levels_) level->Use();
}

Status Store::Clear() {
  Content fresh;
  EV_RETURN_IF_ERROR(OpenContent(layout_, &fresh));
  Adopt(std::move(fresh));
  for (TierCounts& counted : counts_) counted.rows = 0;
  return OkStatus();
}

Status Store::Relayout(const RowLayout& layout) {
  Content fresh;
  EV_RETURN_IF_ERROR(OpenContent(layout, &fresh));
  for (const auto& level : levels_) level->Rest();
  if (Status status = CopyRows(layout, &fresh); !status.ok()) {
    DrainEpochs();  // of the fresh index
    for (const auto& level : levels_) level->Use();
    return status;
  }
  EV_SYNC_POINT("relayout.read");
  Adopt(std::move(fresh));
  layout_ = layout;
  return OkStatus();
}

Status Store::CopyRows(const RowLayout& layout, Content* fresh) {
  std::vector<std::pair<Key, Location>> hot;
  ColdRows cold;
  const auto copy_step = [&]() -> Status {
    const EpochGuard guard(epochs_);
    EV_RETURN_IF_ERROR(CopyHotRows(layout, hot, fresh));
    hot.clear();
    EV_RETURN_IF_ERROR(Fetch(&cold));
    for (int tier = 1; tier < tiers(); ++tier) EV_RETURN_IF_ERROR(CopyColdRows(layout, cold, tier, fresh));
    cold.Clear();
    return OkStatus();
  };
  Status status;
  // Without a guard: nobody changes the index while this runs alone.  One for the whole of it would keep all that the fresh
  // index leaves behind as it grows.
  index_->Scan([&](Key key, Location location) {
    if (!status.ok()) return;
    if (TierOf(location) == kHotTier) {
      hot.emplace_back(key, location);
    } else {
      cold.Want(key, location);
    }
    if (hot.size() + cold.size() == kRowsPerStep) status = copy_step();
  });
  EV_RETURN_IF_ERROR(status);
  return copy_step();
}

void Store::Widen(const RowLayout& layout, const float* from, float* to) const {
  layout.InitSlots(to);
  std::memcpy(to, from, layout_.row_bytes());  // its slots are the first of the new layout's
}

Status Store::CopyHotRows(const RowLayout& layout, Span<const std::pair<Key, Location>> rows, Content* fresh) const {
  std::vector<Position> positions(rows.size());
  DramTier& to = fresh->hot->rows();
  EV_RETURN_IF_ERROR(to.Allocate(positions));
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& [key, location] = rows[i];
    const Position from = PositionOf(location);
    Widen(layout, hot_->rows().row(from), to.row(positions[i]));
    if (options_.with_meta) *to.meta(positions[i]) = *hot_->rows().meta(from);
    if (Residents* residents = fresh->hot->residents()) {
      residents->Settle(positions[i], HashIndex::PlaceOf(key), kNoLocation, hot_->residents()->rank(from));
    }
    Location existing = kNoLocation;
    EV_RETURN_IF_ERROR(fresh->index->Insert(key, MakeLocation(kHotTier, positions[i]), &existing));
  }
  return OkStatus();
}

Status Store::CopyColdRows(const RowLayout& layout, const ColdRows& cold, int tier, Content* fresh) const {
  const size_t first = cold.begin(tier);
  const size_t n = cold.end(tier) - first;
  if (n == 0) return OkStatus();
  const Span<const Key> keys = cold.keys().subspan(first, n);
  const size_t bytes = RecordBytes(layout);
  std::vector<std::byte> records(n * bytes);
  for (size_t i = 0; i < n; ++i) {
    const std::byte* from = cold.record(first + i);
    std::byte* to = records.data() + i * bytes;
    Widen(layout, reinterpret_cast<const float*>(from), reinterpret_cast<float*>(to));
    if (options_.with_meta) std::memcpy(to + layout.row_bytes(), from + layout_.row_bytes(), kRowPartAlignment);
  }
  const Level& level = *fresh->levels[static_cast<size_t>(tier) - 1];
  std::vector<Position> positions(n);
  EV_RETURN_IF_ERROR(PutLevel(tier, level, keys, records, positions));
  for (size_t i = 0; i < n; ++i) {
    if (Residents* residents = level.residents()) {
      const Rank rank = this->residents(tier)->rank(PositionOf(cold.location(first + i)));
      residents->Settle(positions[i], HashIndex::PlaceOf(keys[i]), kNoLocation, rank);
    }
    Location existing = kNoLocation;
    EV_RETURN_IF_ERROR(fresh->index->Insert(keys[i], MakeLocation(tier, positions[i]), &existing));
  }
  return OkStatus();
}

}  // namespace ev
