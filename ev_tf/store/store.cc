#include "ev_tf/store/store.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "ev_tf/base/scratch.h"
#include "ev_tf/base/sync_point.h"
#include "ev_tf/store/gather.h"

namespace ev {
namespace {

// Looks at the index again after a record has moved away under a read; more than this is not a race any more.
constexpr int kFetchRounds = 100;
// Keys that are looked for at a time where what is found is looked at once.
constexpr size_t kKeysPerFind = 2048;
// Rows ahead of the one that is brought up whose lines are asked for.
constexpr size_t kAhead = 8;
constexpr size_t kLineFloats = 16;
constexpr size_t kPrefetchedFloats = 256;  // of one row; the hardware follows a longer run by itself

uint32_t RowsIn(int64_t bytes, const RowLayout& layout) {
  const auto rows = static_cast<int64_t>(static_cast<size_t>(bytes) / layout.row_bytes());
  return static_cast<uint32_t>(std::clamp<int64_t>(rows, 1, RowPool::kMaxRows));
}

uint64_t Nanos() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

double Micros(uint64_t nanos) { return static_cast<double>(nanos) / 1000; }

double Ratio(int64_t a, double b) { return b == 0 ? 0 : static_cast<double>(a) / b; }

}  // namespace

Store::Store(const StoreOptions& options, const RowLayout& layout, const DefaultRows* defaults)
    : options_(options),
      defaults_(defaults),
      layout_(layout),
      index_(std::make_unique<HashIndex>(&epochs_)),
      hot_(NewHotTier(layout)) {}

Store::~Store() {
  for (const auto& level : levels_) level->Rest();
  DrainEpochs();  // what waits there goes back to the tiers
}

std::shared_ptr<HotTier> Store::NewHotTier(const RowLayout& layout) const {
  const uint32_t capacity = options_.open_lower ? RowsIn(options_.hot_bytes, layout) : 0;
  return std::make_shared<HotTier>(layout.row_bytes(), options_.with_meta, capacity, options_.cache_strategy);
}

Status Store::OpenLevels(const RowLayout& layout, std::vector<std::shared_ptr<Level>>* levels) {
  if (!options_.open_lower) return OkStatus();
  const size_t bytes = RecordBytes(layout);
  const auto open = [&](const TierOpener& opener, uint32_t capacity) {
    const int tier = static_cast<int>(levels->size()) + 1;
    levels->push_back(std::make_shared<Level>(
        capacity, options_.cache_strategy,
        [this, tier](Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved) {
          Relocate(tier, keys, from, to, moved);
        },
        &epochs_));
    return levels->back()->Open(opener, bytes);
  };
  if (options_.between.size() + 2 > kMaxTiers) {
    return InvalidArgument("tiers: expected at most " + std::to_string(kMaxTiers) + ", found " +
                           std::to_string(options_.between.size() + 2));
  }
  for (const StoreOptions::Between& between : options_.between) {
    EV_RETURN_IF_ERROR(open(between.open, RowsIn(between.bytes, layout)));
  }
  return open(options_.open_lower, 0);
}

Status Store::Open() {
  std::vector<std::shared_ptr<Level>> levels;
  EV_RETURN_IF_ERROR(OpenLevels(layout_, &levels));
  levels_ = std::move(levels);
  for (const auto& level : levels_) level->Use();
  return OkStatus();
}

Status Store::Gather(Span<const Key> keys, uint32_t tick, float* out, int64_t* missing, ColdRows* cold) const {
  std::vector<uint32_t> cold_parts;
  const IndexProbe probe(*index_);
  const GatherArgs args{&probe, hot_.get(), defaults_, &layout_, options_.asks_between_copies, tick, cold, &cold_parts};
  *missing = GatherRows(args, keys.data(), keys.size(), out);
  counts(kHotTier).hits.fetch_add(static_cast<int64_t>(keys.size() - cold_parts.size()) - *missing,
                                  std::memory_order_relaxed);
  if (!tiered()) return OkStatus();
  touches_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  if (cold->empty()) return OkStatus();
  CountByTier hits{};
  for (const Location location : cold->locations()) ++hits[static_cast<size_t>(TierOf(location))];
  for (int tier = 1; tier < tiers(); ++tier) {
    counts(tier).hits.fetch_add(hits[static_cast<size_t>(tier)], std::memory_order_relaxed);
  }
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
    layout_.ReadValue(record, out + part * dim);
  }
  return OkStatus();
}

size_t Store::FindCold(Span<const Key> keys, ColdRows* cold, uint32_t touch) const {
  std::array<Location, kKeysPerFind> locations;
  size_t not_hot = 0;
  for (size_t first = 0; first < keys.size(); first += kKeysPerFind) {
    const Span<const Key> some = keys.subspan(first, std::min(kKeysPerFind, keys.size() - first));
    index_->Find(some, locations.data());
    for (size_t i = 0; i < some.size(); ++i) {
      if (TierOf(locations[i]) == kHotTier && locations[i] != kNoLocation) {
        if (touch != 0) hot_->residents()->Touch(PositionOf(locations[i]), touch);
        continue;
      }
      ++not_hot;
      if (locations[i] != kNoLocation) cold->Want(some[i], locations[i]);
    }
  }
  if (touch != 0) touches_.fetch_add(static_cast<int64_t>(keys.size() - not_hot), std::memory_order_relaxed);
  return not_hot;
}

Status Store::ReadLevel(int tier, Span<const Key> keys, Span<const Position> positions, Span<std::byte> records) const {
  const uint64_t start = Nanos();
  EV_RETURN_IF_ERROR(level(tier).tier().Get(keys, positions, records));
  counts(tier).read_ns.Record(Nanos() - start);
  counts(tier).reads.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  return OkStatus();
}

Status Store::PutLevel(int tier, const Level& level, Span<const Key> keys, Span<const std::byte> records,
                       Span<Position> positions) const {
  const uint64_t start = Nanos();
  EV_RETURN_IF_ERROR(level.tier().Put(keys, records, positions));
  TierCounts& counted = counts(tier);
  counted.write_ns.Record(Nanos() - start);
  counted.writes.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  counted.put_bytes.fetch_add(static_cast<int64_t>(records.size()), std::memory_order_relaxed);
  return OkStatus();
}

Status Store::Fetch(ColdRows* cold) const {
  std::vector<Position> positions;
  for (int round = 0;; ++round) {
    cold->Prepare(record_bytes());
    positions.clear();
    for (const Location location : cold->locations()) positions.push_back(PositionOf(location));
    Status status;
    for (int tier = 1; tier < tiers() && status.ok(); ++tier) {
      const size_t first = cold->begin(tier);
      const size_t n = cold->end(tier) - first;
      if (n == 0) continue;
      status = ReadLevel(tier, cold->keys().subspan(first, n), Span<const Position>(positions.data() + first, n),
                         cold->records(tier));
      if (status.ok()) counts(tier).cold_reads.fetch_add(static_cast<int64_t>(n), std::memory_order_relaxed);
    }
    if (status.ok()) EV_SYNC_POINT("fetch.read");
    if (status.ok() || status.code() != StatusCode::kNotFound || round == kFetchRounds) return status;
    // A row has moved since its location was read: look where all of them are now.
    const std::vector<Key> keys(cold->keys().begin(), cold->keys().end());
    cold->Clear();
    FindCold(keys, cold);
  }
}

Status Store::Promote(const ColdRows& cold, size_t room, uint32_t tick) {
  const size_t n = std::min(cold.size(), room);
  if (n == 0) return OkStatus();
  std::vector<Position> positions(n);
  EV_RETURN_IF_ERROR(hot_->rows().Allocate(positions));
  EV_SYNC_POINT("promote.started");
  SerialExecutor serial;
  Partition partition;
  partition.Build(cold.keys().subspan(0, n), serial);
  size_t used = 0;
  CountByTier comers{};
  for (int s = 0; s < kStripes; ++s) {
    if (partition.stripe(s).empty()) continue;
    const Span<const KeyAt> entries = partition.stripe(s);
    std::lock_guard<std::mutex> lock(stripes_.of(s));
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i + kAhead < entries.size()) index_->PrefetchPlace(entries[i + kAhead].top);
      if (used + kAhead < n) PrefetchHot(positions[used + kAhead]);
      const KeyAt& entry = entries[i];
      const Location from = cold.location(entry.position);
      const Position position = positions[used];
      hot_->Unpack(cold.record(entry.position), position);
      Settle(entry.key, position, from, from, tick);
      if (!index_->Move(entry.key, from, MakeLocation(kHotTier, position))) {
        hot_->residents()->SetRank(position, kNoRow);
        continue;
      }
      ++used;
      ++comers[static_cast<size_t>(TierOf(from))];
      if (const Residents* below = residents(TierOf(from))) below->SetRank(PositionOf(from), kCopyRank);
    }
  }
  hot_->rows().Remove({}, Span<const Position>(positions.data() + used, n - used));
  CountComers(comers);
  return OkStatus();
}

void Store::PrefetchHot(Position position) const {
  hot_->residents()->Prefetch(position);
  PrefetchRow(position);
}

void Store::PrefetchRow(Position position) const {
  const float* row = hot_->rows().row(position);
  for (size_t f = 0; f < std::min(layout_.row_floats(), kPrefetchedFloats); f += kLineFloats) PrefetchForRead(row + f);
}

void Store::CountComers(const CountByTier& from) const {
  for (int tier = 1; tier < tiers(); ++tier) {
    const int64_t n = from[static_cast<size_t>(tier)];
    if (n == 0) continue;
    counts(tier).promotions.fetch_add(n, std::memory_order_relaxed);
    counts(tier).rows.fetch_sub(n, std::memory_order_relaxed);
  }
}

Status Store::RecordOf(Key key, Location location, const ColdRows& cold, std::byte* late,
                       const std::byte** record) const {
  *record = cold.Find(key, location);
  if (*record != nullptr) return OkStatus();
  const Position position = PositionOf(location);
  const int tier = TierOf(location);
  EV_RETURN_IF_ERROR(ReadLevel(tier, Span<const Key>(&key, 1), Span<const Position>(&position, 1),
                               Span<std::byte>(late, record_bytes())));
  counts(tier).cold_reads.fetch_add(1, std::memory_order_relaxed);
  counts(tier).late_reads.fetch_add(1, std::memory_order_relaxed);
  *record = late;
  return OkStatus();
}

void Store::Settle(Key key, Position position, Location from, Location copy, uint32_t tick) const {
  Residents& hot = *hot_->residents();
  const Residents* below = from == kNoLocation ? nullptr : residents(TierOf(from));
  const Rank before = below == nullptr ? kNoRow : below->rank(PositionOf(from));
  hot.Settle(position, HashIndex::PlaceOf(key), copy, TouchedRank(hot.strategy(), before, tick));
}

void Store::MarkDirty(Key key, Position position, Garbage* garbage) const {
  RelaxedLocation& copy = hot_->residents()->copy(position);
  if (copy == kNoLocation) return;
  if (copy != kLeaving) Discard(key, copy, garbage);
  copy = kNoLocation;
}

void Store::Discard(Key key, Location location, Garbage* garbage) const {
  while (location != kNoLocation && location != kLeaving) {
    garbage->emplace_back(key, location);
    const Residents* bounded = residents(TierOf(location));
    if (bounded == nullptr) return;
    const Position position = PositionOf(location);
    bounded->SetRank(position, kNoRow);
    location = bounded->copy(position);
    bounded->copy(position) = kNoLocation;
  }
}

RelaxedLocation* Store::FindLink(Location location, Location target) const {
  while (location != kNoLocation && location != kLeaving) {
    const Residents* bounded = residents(TierOf(location));
    if (bounded == nullptr) return nullptr;
    RelaxedLocation& copy = bounded->copy(PositionOf(location));
    if (copy == target) return &copy;
    location = copy;
  }
  return nullptr;
}

void Store::Resolve(RowRefs* refs) const {
  const size_t n = refs->locations.size();
  refs->rows.resize(n);
  refs->meta.assign(options_.with_meta ? n : 0, nullptr);
  for (size_t i = 0; i < n; ++i) {
    const Location location = refs->locations[i];
    const bool hot = location != kNoLocation && TierOf(location) == kHotTier;
    refs->rows[i] = hot ? hot_->rows().row(PositionOf(location)) : nullptr;
    if (hot && options_.with_meta) refs->meta[i] = hot_->rows().meta(PositionOf(location));
  }
}

void Store::AskFor(Key key, Location location) const {
  index_->PrefetchPlace(HashIndex::PlaceOf(key));
  if (location != kNoLocation && TierOf(location) == kHotTier) PrefetchRow(PositionOf(location));
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
    if (location == kNoLocation || TierOf(location) == kHotTier) continue;
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
    return location == kNoLocation || (TierOf(location) != kHotTier && location != kRefused);
  };
  std::vector<Position> positions(static_cast<size_t>(std::count_if(locations.begin(), locations.end(), absent)));
  if (!positions.empty()) EV_RETURN_IF_ERROR(hot_->rows().Allocate(positions));
  const int64_t refused = gate == nullptr ? 0 : std::count(locations.begin(), locations.end(), kRefused);
  counts(kHotTier).hits.fetch_add(static_cast<int64_t>(keys.size() - positions.size()) - refused,
                                  std::memory_order_relaxed);
  const Residents* hot = hot_->residents();
  if (tiered()) {
    refs->late.resize(record_bytes());
    touches_.fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
  }
  size_t used = 0;
  CountByTier comers{};
  Status status;
  for (size_t i = 0; i < keys.size() && status.ok(); ++i) {
    const Location found = locations[i];
    if (!absent(found)) {
      if (!tiered() || found == kRefused) continue;
      hot->Touch(PositionOf(found), tick);
      MarkDirty(keys[i], PositionOf(found), &garbage);
      continue;
    }
    const Position position = positions[used];
    const Location here = MakeLocation(kHotTier, position);
    Location existing = kNoLocation;
    if (found == kNoLocation) {
      layout_.InitRow(defaults_->row(keys[i]), hot_->rows().row(position));
      if (tiered()) Settle(keys[i], position, kNoLocation, kNoLocation, tick);
      status = index_->Insert(keys[i], here, &existing);
    } else {
      const std::byte* record = nullptr;
      status = RecordOf(keys[i], found, cold, refs->late.data(), &record);
      if (!status.ok()) break;
      hot_->Unpack(record, position);
      Settle(keys[i], position, found, kNoLocation, tick);
      index_->Move(keys[i], found, here);  // whoever else would move it waits for the stripe
      Discard(keys[i], found, &garbage);
      ++comers[static_cast<size_t>(TierOf(found))];
    }
    const bool made = status.ok() && existing == kNoLocation;
    locations[i] = made ? here : existing;
    if (made) ++used;
    if (made && found == kNoLocation) ++*inserted;
  }
  if (used < positions.size()) {  // a key that stands twice, or a failure
    if (tiered()) {
      for (size_t i = used; i < positions.size(); ++i) hot->SetRank(positions[i], kNoRow);
    }
    hot_->rows().Remove({}, Span<const Position>(positions.data() + used, positions.size() - used));
  }
  if (tiered()) {
    CountComers(comers);
    for (int tier = 1; tier < tiers(); ++tier) {
      const int64_t n = comers[static_cast<size_t>(tier)];
      if (n != 0) counts(tier).hits.fetch_add(n, std::memory_order_relaxed);
    }
    RetireLower(garbage);
  }
  EV_RETURN_IF_ERROR(status);
  Resolve(refs);
  return OkStatus();
}

void Store::RetireHot(std::vector<Position> positions) {
  if (positions.empty()) return;
  std::atomic<int64_t>* retiring = &counts(kHotTier).retiring;
  retiring->fetch_add(static_cast<int64_t>(positions.size()), std::memory_order_relaxed);
  epochs_.Retire([tier = hot_, positions = std::move(positions), retiring] {
    if (const Residents* residents = tier->residents()) {
      // Not before: a lookup that still sees the row may touch it.
      for (const Position position : positions) residents->SetRank(position, kNoRow);
    }
    tier->rows().Remove({}, positions);
    retiring->fetch_sub(static_cast<int64_t>(positions.size()), std::memory_order_relaxed);
  });
}

void Store::RetireLower(const Garbage& garbage) {
  for (size_t i = 0; i < levels_.size() && !garbage.empty(); ++i) {
    std::vector<Key> keys;
    std::vector<Position> positions;
    for (const auto& [key, location] : garbage) {
      if (TierOf(location) != static_cast<int>(i) + 1) continue;
      keys.push_back(key);
      positions.push_back(PositionOf(location));
    }
    if (keys.empty()) continue;
    std::atomic<int64_t>* retiring = &counts(static_cast<int>(i) + 1).retiring;
    retiring->fetch_add(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
    epochs_.Retire([level = levels_[i], keys = std::move(keys), positions = std::move(positions), retiring] {
      if (const Residents* residents = level->residents()) {
        for (const Position position : positions) residents->SetRank(position, kNoRow);
      }
      level->tier().Remove(keys, positions);
      retiring->fetch_sub(static_cast<int64_t>(keys.size()), std::memory_order_relaxed);
    });
  }
}

size_t Store::Remove(Span<const Key> keys) {
  std::vector<Position> dropped;
  Garbage garbage;
  size_t count = 0;
  for (const Key key : keys) {
    const Location location = index_->Remove(key);
    if (location == kNoLocation) continue;
    EV_SYNC_POINT("remove.unlisted");
    ++count;
    if (TierOf(location) != kHotTier) {
      counts(TierOf(location)).rows.fetch_sub(1, std::memory_order_relaxed);
      Discard(key, location, &garbage);
      continue;
    }
    const Position position = PositionOf(location);
    if (tiered()) MarkDirty(key, position, &garbage);
    dropped.push_back(position);
  }
  RetireHot(std::move(dropped));
  RetireLower(garbage);
  return count;
}

void Store::FindTiers(Span<const Key> keys, int32_t* tiers) const {
  std::vector<Location> locations(keys.size());
  index_->Find(keys, locations.data());
  for (size_t i = 0; i < keys.size(); ++i) tiers[i] = locations[i] == kNoLocation ? -1 : TierOf(locations[i]);
}

void Store::FindInLast(Span<const Key> keys, Span<Position> positions) const {
  std::vector<Location> locations(keys.size());
  index_->Find(keys, locations.data());
  const int last = tiers() - 1;
  for (size_t i = 0; i < keys.size(); ++i) {
    Location at = locations[i];
    while (at != kNoLocation && at != kLeaving && TierOf(at) != last) at = residents(TierOf(at))->copy(PositionOf(at));
    positions[i] = at == kNoLocation || at == kLeaving ? kNoPosition : PositionOf(at);
  }
}

void Store::Relocate(int tier, Span<const Key> keys, Span<const Position> from, Span<const Position> to,
                     Span<bool> moved) {
  SerialExecutor serial;
  Scratch<Partition> partition;
  partition->Build(keys, serial);
  const EpochGuard guard(epochs_);
  for (int s = 0; s < kStripes; ++s) {
    const Span<const KeyAt> entries = partition->stripe(s);
    if (entries.empty()) continue;
    for (const KeyAt& entry : entries) index_->PrefetchPlace(entry.top);
    std::lock_guard<std::mutex> lock(stripes_.of(s));
    for (const KeyAt& entry : entries) {
      const size_t i = entry.position;
      const Location was = MakeLocation(tier, from[i]);
      const Location is = MakeLocation(tier, to[i]);
      moved[i] = index_->Move(entry.key, was, is);
      if (moved[i]) continue;
      Location location = kNoLocation;
      index_->Find(Span<const Key>(&entry.key, 1), &location);
      RelaxedLocation* const link = FindLink(location, was);
      moved[i] = link != nullptr;
      if (link != nullptr) *link = is;
    }
  }
}

size_t Store::RowsOf(int tier) const {
  const int64_t retiring = counts(tier).retiring.load(std::memory_order_relaxed);
  const size_t held = tier == kHotTier ? hot_rows() : level(tier).tier().size();
  return held - std::min(held, static_cast<size_t>(retiring));
}

size_t Store::Excess() const {
  size_t excess = 0;
  for (int tier = 0; tier < tiers(); ++tier) {
    const Residents* bounded = residents(tier);
    if (bounded == nullptr) continue;
    const size_t rows = RowsOf(tier);
    excess += rows > bounded->capacity() ? rows - bounded->capacity() : 0;
  }
  return excess;
}

int64_t Store::cold_reads() const {
  int64_t reads = 0;
  for (const TierCounts& counted : counts_) reads += counted.cold_reads.load(std::memory_order_relaxed);
  return reads;
}

TierMetrics Store::metrics(int tier) const {
  const auto value = [](const std::atomic<int64_t>& count) { return count.load(std::memory_order_relaxed); };
  const TierCounts& counted = counts(tier);
  const Residents* bounded = residents(tier);
  TierMetrics m = tier == kHotTier ? hot_->rows().tier_metrics() : level(tier).tier().tier_metrics();
  int64_t below = 0;
  for (int lower = tier + 1; lower < tiers(); ++lower) {
    below += value(counts(lower).rows);
    m.misses += value(counts(lower).hits);
  }
  m.rows = tier == kHotTier ? std::max<int64_t>(size() - below, 0) : value(counted.rows);
  m.capacity = bounded == nullptr ? 0 : bounded->capacity();
  const auto held = static_cast<int64_t>(RowsOf(tier));
  m.copies = std::max<int64_t>(held - m.rows, 0);
  if (bounded != nullptr) m.index_bytes += static_cast<int64_t>(bounded->bytes());
  m.hits = value(counted.hits);
  m.promotions = value(counted.promotions);
  m.demotions = value(counted.demotions);
  m.clean_demotions = value(counted.clean_demotions);
  m.reads = value(counted.reads);
  m.late_reads = value(counted.late_reads);
  m.writes = value(counted.writes);
  m.device_reads += value(counted.past_device_reads);
  m.written_bytes += value(counted.past_written_bytes);
  m.compaction_bytes += value(counted.past_compaction_bytes);
  if (m.written_bytes == 0) m.written_bytes = value(counted.put_bytes);
  m.write_amplification = Ratio(m.written_bytes, static_cast<double>(value(counted.put_bytes)));
  const size_t record = tier == kHotTier ? layout_.row_bytes() : record_bytes();
  m.space_amplification = Ratio(m.bytes, static_cast<double>(held) * static_cast<double>(record));
  m.read_p50_us = Micros(counted.read_ns.Quantile(0.5));
  m.read_p99_us = Micros(counted.read_ns.Quantile(0.99));
  m.write_p50_us = Micros(counted.write_ns.Quantile(0.5));
  m.write_p99_us = Micros(counted.write_ns.Quantile(0.99));
  return m;
}

}  // namespace ev
