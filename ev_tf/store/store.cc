#include "ev_tf/store/store.h"

#include <algorithm>
#include <utility>

#include "ev_tf/store/gather.h"

namespace ev {
namespace {

// Keys of one guard: a long batch does not hold back what waits to be freed.
constexpr size_t kKeysPerGuard = 16384;
constexpr int kDramTier = 0;

}  // namespace

Store::Store(const RowLayout& layout, const DefaultRows* defaults, bool with_meta)
    : defaults_(defaults),
      with_meta_(with_meta),
      layout_(layout),
      index_(std::make_unique<HashIndex>(&epochs_)),
      dram_(std::make_shared<DramTier>(layout.row_bytes(), with_meta)) {}

Store::~Store() = default;

int64_t Store::Gather(Span<const Key> keys, float* out) const {
  int64_t missing = 0;
  for (size_t first = 0; first < keys.size(); first += kKeysPerGuard) {
    const size_t n = std::min(kKeysPerGuard, keys.size() - first);
    const EpochGuard guard(epochs_);
    const IndexProbe probe(*index_);
    const ev::GatherArgs args{&probe, dram_.get(), defaults_, layout_.dim()};
    missing += GatherRows(args, keys.data() + first, n, out + first * static_cast<size_t>(layout_.dim()));
  }
  return missing;
}

void Store::Resolve(RowRefs* refs) const {
  const size_t n = refs->locations.size();
  refs->rows.resize(n);
  refs->meta.assign(with_meta_ ? n : 0, nullptr);
  for (size_t i = 0; i < n; ++i) {
    const Location location = refs->locations[i];
    const bool found = location != kNoLocation;
    refs->rows[i] = found ? dram_->row(PositionOf(location)) : nullptr;
    if (found && with_meta_) refs->meta[i] = dram_->meta(PositionOf(location));
  }
}

void Store::Find(Span<const Key> keys, RowRefs* refs) const {
  refs->locations.resize(keys.size());
  index_->Find(keys, refs->locations.data());
  Resolve(refs);
}

Status Store::FindOrInsert(Span<const Key> keys, RowRefs* refs, size_t* inserted) {
  std::vector<Location>& locations = refs->locations;
  locations.resize(keys.size());
  index_->Find(keys, locations.data());
  *inserted = 0;
  const auto missing = static_cast<size_t>(std::count(locations.begin(), locations.end(), kNoLocation));
  if (missing != 0) {
    std::vector<Position> positions(missing);
    EV_RETURN_IF_ERROR(dram_->Allocate(positions));
    Status status;
    for (size_t i = 0; i < keys.size() && status.ok(); ++i) {
      if (locations[i] != kNoLocation) continue;
      const Position position = positions[*inserted];
      layout_.InitRow(defaults_->row(keys[i]), dram_->row(position));
      Location existing = kNoLocation;
      status = index_->Insert(keys[i], MakeLocation(kDramTier, position), &existing);
      const bool made = status.ok() && existing == kNoLocation;
      locations[i] = made ? MakeLocation(kDramTier, position) : existing;
      if (made) ++*inserted;
    }
    if (*inserted < missing) {  // a key that stands twice, or a failure
      dram_->Remove({}, Span<const Position>(positions.data() + *inserted, missing - *inserted));
    }
    EV_RETURN_IF_ERROR(status);
  }
  Resolve(refs);
  return OkStatus();
}

size_t Store::Remove(Span<const Key> keys) {
  std::vector<Position> dropped;
  for (const Key key : keys) {
    const Location location = index_->Remove(key);
    if (location != kNoLocation) dropped.push_back(PositionOf(location));
  }
  const size_t count = dropped.size();
  if (count != 0) {
    epochs_.Retire([tier = dram_, positions = std::move(dropped)] { tier->Remove({}, positions); });
  }
  return count;
}

Status Store::Relayout(const RowLayout& layout) {
  epochs_.Collect();  // runs alone: whatever waited is free now, and belongs to the old tier
  auto fresh = std::make_shared<DramTier>(layout.row_bytes(), with_meta_);
  const size_t common = layout_.row_floats();
  const EpochGuard guard(epochs_);
  std::vector<std::pair<Key, Location>> entries;
  entries.reserve(static_cast<size_t>(index_->size()));
  index_->Scan([&](Key key, Location location) { entries.emplace_back(key, location); });
  std::vector<Position> positions(entries.size());
  EV_RETURN_IF_ERROR(fresh->Allocate(positions));
  for (size_t i = 0; i < entries.size(); ++i) {
    const Position from = PositionOf(entries[i].second);
    float* to = fresh->row(positions[i]);
    const float* row = dram_->row(from);
    layout.InitRow(row, to);
    std::copy_n(row, common, to);
    if (with_meta_) *fresh->meta(positions[i]) = *dram_->meta(from);
    index_->Move(entries[i].first, entries[i].second, MakeLocation(kDramTier, positions[i]));
  }
  dram_ = std::move(fresh);
  layout_ = layout;
  return OkStatus();
}

void Store::Clear() {
  index_.reset();  // also frees what waits in epochs_
  index_ = std::make_unique<HashIndex>(&epochs_);
  dram_ = std::make_shared<DramTier>(layout_.row_bytes(), with_meta_);
}

}  // namespace ev
