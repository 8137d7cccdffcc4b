#include "ev_tf/store/store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ev_tf/store/gather.h"

namespace ev {
namespace {

constexpr int kHot = 0;
constexpr int kLower = 1;
// Looks at the index again after a record has moved away under a read; more than this is not a race any more.
constexpr int kFetchRounds = 100;

uint32_t CapacityOf(const StoreOptions& options, const RowLayout& layout) {
  if (!options.open_lower) return 0;
  const auto rows = static_cast<int64_t>(static_cast<size_t>(options.hot_bytes) / layout.row_bytes());
  return static_cast<uint32_t>(std::clamp<int64_t>(rows, 1, RowPool::kMaxRows));
}

}  // namespace

Store::Store(const StoreOptions& options, const RowLayout& layout, const DefaultRows* defaults)
    : options_(options),
      defaults_(defaults),
      layout_(layout),
      index_(std::make_unique<HashIndex>(&epochs_)),
      hot_(NewHotTier(layout)) {}

Store::~Store() {
  epochs_.Collect();  // what waits there goes back to the tiers
}

std::shared_ptr<HotTier> Store::NewHotTier(const RowLayout& layout) const {
  return std::make_shared<HotTier>(layout.row_bytes(), options_.with_meta, CapacityOf(options_, layout),
                                   options_.cache_strategy);
}

Status Store::Open() {
  if (!options_.open_lower) return OkStatus();
  return options_.open_lower(record_bytes(), this, &lower_);
}

Status Store::Gather(Span<const Key> keys, uint32_t tick, float* out, int64_t* missing, ColdRows* cold) const {
  std::vector<uint32_t> cold_parts;
  const IndexProbe probe(*index_);
  const GatherArgs args{&probe, hot_.get(), defaults_, layout_.dim(), tick, cold, &cold_parts};
  *missing = GatherRows(args, keys.data(), keys.size(), out);
  if (!tiered()) return OkStatus();
  touches_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  if (cold->empty()) return OkStatus();
  EV_RETURN_IF_ERROR(Fetch(cold));
  const auto dim = static_cast<size_t>(layout_.dim());
  for (const uint32_t part : cold_parts) {
    const std::byte* record = cold->Find(keys[part]);
    if (record == nullptr) {  // it went up, or away, before it could be read
      int64_t gone = 0;
      ColdRows again;
      EV_RETURN_IF_ERROR(Gather(keys.subspan(part, 1), tick, out + part * dim, &gone, &again));
      *missing += gone;
      continue;
    }
    std::memcpy(out + part * dim, record, dim * sizeof(float));
  }
  return OkStatus();
}

void Store::FindCold(Span<const Key> keys, ColdRows* cold) const {
  std::vector<Location> locations(keys.size());
  index_->Find(keys, locations.data());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (locations[i] != kNoLocation && TierOf(locations[i]) != kHot) cold->Want(keys[i], locations[i]);
  }
}

Status Store::Fetch(ColdRows* cold) const {
  cold->Prepare(record_bytes());
  std::vector<Position> positions;
  for (int round = 0; !cold->empty(); ++round) {
    positions.clear();
    for (const Location location : cold->locations()) positions.push_back(PositionOf(location));
    const Status status = lower_->Get(cold->keys(), positions, cold->records());
    if (status.ok()) break;
    if (status.code() != StatusCode::kNotFound || round == kFetchRounds) return status;
    // A row has moved since its location was read: look where all of them are now.
    const std::vector<Key> keys(cold->keys().begin(), cold->keys().end());
    cold->Clear();
    FindCold(keys, cold);
    cold->Prepare(record_bytes());
  }
  counts_.cold_reads.fetch_add(static_cast<int64_t>(cold->size()), std::memory_order_relaxed);
  return OkStatus();
}

Status Store::Promote(const ColdRows& cold, size_t room, uint32_t tick) {
  const size_t n = std::min(cold.size(), room);
  if (n == 0) return OkStatus();
  std::vector<Position> positions(n);
  EV_RETURN_IF_ERROR(hot_->rows().Allocate(positions));
  SerialExecutor serial;
  Partition partition;
  partition.Build(cold.keys().subspan(0, n), serial);
  size_t used = 0;
  for (int s = 0; s < kStripes; ++s) {
    if (partition.stripe(s).empty()) continue;
    std::lock_guard<std::mutex> lock(stripes_.of(s));
    for (const KeyAt& entry : partition.stripe(s)) {
      const Location from = cold.location(entry.position);
      const Position position = positions[used];
      Unpack(cold.record(entry.position), position);
      Settle(entry.key, position, from, tick);
      if (index_->Move(entry.key, from, MakeLocation(kHot, position))) {
        ++used;
      } else {
        hot_->SetRank(position, kNoRow);
      }
    }
  }
  hot_->rows().Remove({}, Span<const Position>(positions.data() + used, n - used));
  counts_.promotions.fetch_add(static_cast<int64_t>(used), std::memory_order_relaxed);
  return OkStatus();
}

Status Store::RecordOf(Key key, Location location, const ColdRows& cold, std::byte* late,
                       const std::byte** record) const {
  *record = cold.Find(key, location);
  if (*record != nullptr) return OkStatus();
  const Position position = PositionOf(location);
  EV_RETURN_IF_ERROR(
      lower_->Get(Span<const Key>(&key, 1), Span<const Position>(&position, 1), Span<std::byte>(late, record_bytes())));
  counts_.cold_reads.fetch_add(1, std::memory_order_relaxed);
  counts_.late_reads.fetch_add(1, std::memory_order_relaxed);
  *record = late;
  return OkStatus();
}

void Store::Pack(Position position, std::byte* record) const {
  std::memcpy(record, hot_->rows().row(position), layout_.row_bytes());
  if (!options_.with_meta) return;
  std::memset(record + layout_.row_bytes(), 0, kRowPartAlignment);
  std::memcpy(record + layout_.row_bytes(), hot_->rows().meta(position), sizeof(RowMeta));
}

void Store::Unpack(const std::byte* record, Position position) const {
  std::memcpy(hot_->rows().row(position), record, layout_.row_bytes());
  if (options_.with_meta) std::memcpy(hot_->rows().meta(position), record + layout_.row_bytes(), sizeof(RowMeta));
}

void Store::Settle(Key key, Position position, Location copy, uint32_t tick) const {
  hot_->SetPlace(position, HashIndex::PlaceOf(key));
  hot_->copy(position) = copy;
  hot_->SetRank(position, TouchedRank(hot_->strategy(), kNoRow, tick));
}

void Store::MarkDirty(Key key, Position position, Garbage* garbage) const {
  Location& copy = hot_->copy(position);
  if (copy == kNoLocation) return;
  if (copy != kLeaving) garbage->emplace_back(key, PositionOf(copy));
  copy = kNoLocation;
}

void Store::Resolve(RowRefs* refs) const {
  const size_t n = refs->locations.size();
  refs->rows.resize(n);
  refs->meta.assign(options_.with_meta ? n : 0, nullptr);
  for (size_t i = 0; i < n; ++i) {
    const Location location = refs->locations[i];
    const bool hot = location != kNoLocation && TierOf(location) == kHot;
    refs->rows[i] = hot ? hot_->rows().row(PositionOf(location)) : nullptr;
    if (hot && options_.with_meta) refs->meta[i] = hot_->rows().meta(PositionOf(location));
  }
}

Status Store::Read(Span<const Key> keys, const ColdRows& cold, RowRefs* refs) const {
  refs->locations.resize(keys.size());
  index_->Find(keys, refs->locations.data());
  Resolve(refs);
  if (!tiered()) return OkStatus();
  // Room first: addresses into `late` are handed out.
  refs->late.resize(keys.size() * record_bytes());
  for (size_t i = 0; i < keys.size(); ++i) {
    const Location location = refs->locations[i];
    if (location == kNoLocation || TierOf(location) == kHot) continue;
    const std::byte* record = nullptr;
    std::byte* own = refs->late.data() + i * record_bytes();
    EV_RETURN_IF_ERROR(RecordOf(keys[i], location, cold, own, &record));
    if (record != own) std::memcpy(own, record, record_bytes());
    refs->rows[i] = reinterpret_cast<float*>(own);
    if (options_.with_meta) refs->meta[i] = reinterpret_cast<RowMeta*>(own + layout_.row_bytes());
  }
  return OkStatus();
}

Status Store::FindOrInsert(Span<const Key> keys, const ColdRows& cold, uint32_t tick, RowRefs* refs, size_t* inserted,
                           InsertGate* gate) {
  std::vector<Location>& locations = refs->locations;
  locations.resize(keys.size());
  index_->Find(keys, locations.data());
  *inserted = 0;
  if (gate != nullptr) EV_RETURN_IF_ERROR(gate->Ask(keys, locations));
  Garbage garbage;
  // What is to be put into the hot tier: keys without a row, and rows below.
  const auto absent = [](Location location) {
    return location == kNoLocation || (TierOf(location) != kHot && location != kRefused);
  };
  std::vector<Position> positions(static_cast<size_t>(std::count_if(locations.begin(), locations.end(), absent)));
  if (!positions.empty()) EV_RETURN_IF_ERROR(hot_->rows().Allocate(positions));
  if (tiered()) {
    refs->late.resize(record_bytes());
    touches_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  }
  size_t used = 0;
  Status status;
  for (size_t i = 0; i < keys.size() && status.ok(); ++i) {
    const Location found = locations[i];
    if (!absent(found)) {
      if (!tiered() || found == kRefused) continue;
      hot_->Touch(PositionOf(found), tick);
      MarkDirty(keys[i], PositionOf(found), &garbage);
      continue;
    }
    const Position position = positions[used];
    const Location here = MakeLocation(kHot, position);
    Location existing = kNoLocation;
    if (found == kNoLocation) {
      layout_.InitRow(defaults_->row(keys[i]), hot_->rows().row(position));
      if (tiered()) Settle(keys[i], position, kNoLocation, tick);
      status = index_->Insert(keys[i], here, &existing);
    } else {
      const std::byte* record = nullptr;
      status = RecordOf(keys[i], found, cold, refs->late.data(), &record);
      if (!status.ok()) break;
      Unpack(record, position);
      Settle(keys[i], position, kNoLocation, tick);
      index_->Move(keys[i], found, here);  // whoever else would move it waits for the stripe
      garbage.emplace_back(keys[i], PositionOf(found));
      counts_.promotions.fetch_add(1, std::memory_order_relaxed);
    }
    const bool made = status.ok() && existing == kNoLocation;
    locations[i] = made ? here : existing;
    if (made) ++used;
    if (made && found == kNoLocation) ++*inserted;
  }
  if (used < positions.size()) {  // a key that stands twice, or a failure
    if (tiered()) {
      for (size_t i = used; i < positions.size(); ++i) hot_->SetRank(positions[i], kNoRow);
    }
    hot_->rows().Remove({}, Span<const Position>(positions.data() + used, positions.size() - used));
  }
  RetireLower(std::move(garbage));
  EV_RETURN_IF_ERROR(status);
  Resolve(refs);
  return OkStatus();
}

void Store::RetireHot(std::vector<Position> positions) {
  if (positions.empty()) return;
  epochs_.Retire([tier = hot_, positions = std::move(positions)] {
    if (tier->bounded()) {
      // Not before: a lookup that still sees the row may touch it.
      for (const Position position : positions) tier->SetRank(position, kNoRow);
    }
    tier->rows().Remove({}, positions);
  });
}

void Store::RetireLower(Garbage garbage) {
  if (garbage.empty()) return;
  epochs_.Retire([tier = lower_, garbage = std::move(garbage)] {
    std::vector<Key> keys;
    std::vector<Position> positions;
    for (const auto& [key, position] : garbage) {
      keys.push_back(key);
      positions.push_back(position);
    }
    tier->Remove(keys, positions);
  });
}

size_t Store::Remove(Span<const Key> keys) {
  std::vector<Position> dropped;
  Garbage garbage;
  size_t count = 0;
  for (const Key key : keys) {
    const Location location = index_->Remove(key);
    if (location == kNoLocation) continue;
    ++count;
    const Position position = PositionOf(location);
    if (TierOf(location) != kHot) {
      garbage.emplace_back(key, position);
      continue;
    }
    if (tiered()) MarkDirty(key, position, &garbage);
    dropped.push_back(position);
  }
  RetireHot(std::move(dropped));
  RetireLower(std::move(garbage));
  return count;
}

void Store::FindTiers(Span<const Key> keys, int32_t* tiers) const {
  std::vector<Location> locations(keys.size());
  index_->Find(keys, locations.data());
  for (size_t i = 0; i < keys.size(); ++i) tiers[i] = locations[i] == kNoLocation ? -1 : TierOf(locations[i]);
}

bool Store::Relocate(Key key, Position from, Position to) {
  std::lock_guard<std::mutex> lock(stripes_.of(StripeOf(HashKey(key))));
  const EpochGuard guard(epochs_);
  Location location = kNoLocation;
  index_->Find(Span<const Key>(&key, 1), &location);
  if (location == kNoLocation) return false;
  if (TierOf(location) != kHot) return index_->Move(key, MakeLocation(kLower, from), MakeLocation(kLower, to));
  Location& copy = hot_->copy(PositionOf(location));
  if (copy != MakeLocation(kLower, from)) return false;
  copy = MakeLocation(kLower, to);
  return true;
}

size_t Store::Excess() const {
  if (!tiered()) return 0;
  const size_t rows = hot_->rows().size();
  return rows > hot_->capacity() ? rows - hot_->capacity() : 0;
}

}  // namespace ev
