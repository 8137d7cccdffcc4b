// Moving all rows to a wider layout, and dropping all of them.  Both run alone: nobody holds a guard or a lock, and a
// tier that wants to move rows by itself is told that they stay.
#include <algorithm>
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/store/store.h"

namespace ev {
namespace {

constexpr int kHot = 0;
constexpr size_t kRowsPerStep = 4096;

}  // namespace

Status Store::Relayout(const RowLayout& layout) {
  const std::lock_guard<std::shared_mutex> alone(relocate_mu_);
  epochs_.Collect();  // runs alone: whatever waited is free now, and belongs to the old tiers
  std::vector<std::pair<Key, Location>> entries;
  {
    const EpochGuard guard(epochs_);
    entries.reserve(static_cast<size_t>(index_->size()));
    index_->Scan([&](Key key, Location location) { entries.emplace_back(key, location); });
  }
  // Read everything before anything changes: a failure leaves the store as it was.
  const auto fresh_hot = NewHotTier(layout);
  std::vector<Position> positions(entries.size());
  EV_RETURN_IF_ERROR(fresh_hot->rows().Allocate(positions));
  const size_t common = layout_.row_floats();
  std::vector<std::byte> record(record_bytes());
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto& [key, location] = entries[i];
    const Position from = PositionOf(location);
    const float* row = nullptr;
    const RowMeta* meta = nullptr;
    if (TierOf(location) == kHot) {
      row = hot_->rows().row(from);
      if (options_.with_meta) meta = hot_->rows().meta(from);
    } else {
      EV_RETURN_IF_ERROR(lower_->Get(Span<const Key>(&key, 1), Span<const Position>(&from, 1), record));
      row = reinterpret_cast<const float*>(record.data());
      if (options_.with_meta) meta = reinterpret_cast<const RowMeta*>(record.data() + layout_.row_bytes());
    }
    float* to = fresh_hot->rows().row(positions[i]);
    layout.InitRow(row, to);
    std::copy_n(row, common, to);
    if (meta != nullptr) *fresh_hot->rows().meta(positions[i]) = *meta;
  }
  EV_SYNC_POINT("relayout.read");
  std::shared_ptr<Tier> fresh_lower;
  if (options_.open_lower) {
    const size_t fresh_bytes = layout.row_bytes() + record_bytes() - layout_.row_bytes();
    EV_RETURN_IF_ERROR(options_.open_lower(fresh_bytes, this, &fresh_lower));
  }
  layout_ = layout;
  hot_ = fresh_hot;
  lower_ = std::move(fresh_lower);
  const EpochGuard guard(epochs_);
  for (size_t i = 0; i < entries.size(); ++i) {
    if (tiered()) Settle(entries[i].first, positions[i], kNoLocation, NextTick());
    index_->Move(entries[i].first, entries[i].second, MakeLocation(kHot, positions[i]));
  }
  return OkStatus();
}

Status Store::Clear() {
  const std::lock_guard<std::shared_mutex> alone(relocate_mu_);
  index_.reset();  // also frees what waits in epochs_
  EV_SYNC_POINT("clear.dropped");
  index_ = std::make_unique<HashIndex>(&epochs_);
  hot_ = NewHotTier(layout_);
  if (!options_.open_lower) return OkStatus();
  return options_.open_lower(record_bytes(), this, &lower_);
}

}  // namespace ev
