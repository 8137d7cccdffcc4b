// Rows that stay in files of the last tier: which of them a save has, and how they become rows of a table again.
#include <algorithm>
#include <cstring>
#include <utility>

#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/impl.h"
#include "ev_tf/variable/saved_segments.h"

namespace ev {
namespace {

// Slots that wait in one taker: together no more than the cache of a core holds, unless segments are many.
constexpr size_t kWaitingSlots = size_t{64} << 10;
constexpr size_t kFewestWaiting = 16;
constexpr size_t kMostWaiting = 1024;

}  // namespace

Status SavedSegments::Open(SegmentedTier* tier, Env* env, const std::string& table_path, SegmentLinks::PathOf path_of) {
  table_path_ = table_path;
  std::vector<SegmentedTier::Sealed> sealed;
  EV_RETURN_IF_ERROR(tier->HoldSealed(&sealed, &hold_));
  EV_RETURN_IF_ERROR(SegmentLinks::Create(env, table_path, std::move(path_of), &links_));
  for (SegmentedTier::Sealed& one : sealed) {
    EV_RETURN_IF_ERROR(links_->Add(one.file));
    most_slots_ = one.file.most_slots;
    const size_t number = one.first / most_slots_;
    if (by_number_.size() <= number) by_number_.resize(number + 1);
    by_number_[number] = static_cast<uint32_t>(segments_.size()) + 1;
    Segment& segment = segments_.emplace_back();
    segment.live.resize(checkpoint::SlotWords(one.file.slots));
    segment.file = std::move(one.file);
  }
  return OkStatus();
}

SavedSegments::Taker::Taker(SavedSegments* segments)
    : segments_(segments),
      most_slots_(segments->most_slots_),
      reciprocal_((uint64_t{1} << 63) / segments->most_slots_ + 1),
      most_(std::clamp(kWaitingSlots / segments->segments_.size(), kFewestWaiting, kMostWaiting)),
      waiting_(segments->by_number_.size()),
      slots_(segments->segments_.size() * most_) {
  for (size_t number = 0; number < waiting_.size(); ++number) {
    if (segments->by_number_[number] == 0) continue;
    const uint32_t segment = segments->by_number_[number] - 1;
    uint32_t* const first = slots_.data() + segment * most_;
    waiting_[number] = {first, first + most_, segment, false};
  }
}

SavedSegments::Taker::~Taker() {
  for (Waiting& waiting : waiting_) {
    if (waiting.next != nullptr) SetBits(&waiting);
  }
}

void SavedSegments::Taker::SetBits(Waiting* waiting) {
  Segment& taken = segments_->segments_[waiting->segment];
  uint32_t* const first = waiting->end - most_;
  const std::lock_guard<std::mutex> lock(segments_->lock_of(waiting->segment));
  for (const uint32_t* slot = first; slot != waiting->next; ++slot) taken.SetLive(*slot);
  waiting->next = first;
  waiting->all_buckets = taken.HasAllBuckets();
}

EV_ALWAYS_INLINE bool SavedSegments::Taker::Take(Key key, Position position) {
  const auto number = static_cast<Position>((static_cast<unsigned __int128>(position) * reciprocal_) >> 63);
  if (number >= waiting_.size() || waiting_[number].next == nullptr) return false;
  Waiting& waiting = waiting_[number];
  if (!waiting.all_buckets) segments_->segments_[waiting.segment].SetBucket(key);
  uint32_t* const next = waiting.next;
  waiting.next = next + 1;
  *next = position - number * most_slots_;
  if (next + 1 == waiting.end) SetBits(&waiting);
  return true;
}

void SavedSegments::Taker::Take(Span<const Key> keys, Span<const Location> locations, int tier,
                                std::vector<Key>* others) {
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool taken = TierOf(locations[i]) == tier && Take(keys[i], PositionOf(locations[i]));
    if (!taken) others->push_back(keys[i]);
  }
}

void SavedSegments::Segment::SetBucket(Key key) {
  const auto bucket = static_cast<uint32_t>(FloorMod(key, checkpoint::kBuckets));
  const uint64_t bit = uint64_t{1} << (bucket % 64);
  uint64_t* const buckets = &entry.buckets[bucket / 64];
  // Soon all of them are there, and the line stays with every core.
  if ((__atomic_load_n(buckets, __ATOMIC_RELAXED) & bit) == 0) __atomic_fetch_or(buckets, bit, __ATOMIC_RELAXED);
}

bool SavedSegments::Segment::HasAllBuckets() const {
  int found = 0;
  for (const uint64_t& word : entry.buckets) found += __builtin_popcountll(__atomic_load_n(&word, __ATOMIC_RELAXED));
  return found == checkpoint::kBuckets;
}

void SavedSegments::Segment::CountRows() {
  rows = 0;
  for (const uint64_t word : live) rows += static_cast<uint32_t>(__builtin_popcountll(word));
}

Status SavedSegments::OpenNew(size_t row_bytes, uint64_t segment_bytes, Env* env, const std::string& table_path,
                              SegmentLinks::PathOf path_of) {
  env_ = env;
  table_path_ = table_path;
  EV_RETURN_IF_ERROR(ssd_log::MakeGeometry(row_bytes, segment_bytes, &geometry_));
  return SegmentLinks::Create(env, table_path, std::move(path_of), &links_);
}

Status SavedSegments::StartNew() {
  Segment& segment = segments_.emplace_back();
  segment.live.resize(checkpoint::SlotWords(geometry_.slots));
  const auto number = static_cast<uint32_t>(segments_.size()) - 1;
  return ssd_log::SegmentWriter::Create(env_, links_->AddNew(), geometry_, number, &writer_);
}

Status SavedSegments::FinishNew() {
  Segment& segment = segments_.back();
  EV_RETURN_IF_ERROR(writer_->Finish(&segment.file));
  segment.live.resize(checkpoint::SlotWords(segment.file.slots));
  writer_.reset();
  return OkStatus();
}

Status SavedSegments::Put(Span<const Key> keys, Span<const std::byte> rows) {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (writer_ == nullptr) EV_RETURN_IF_ERROR(StartNew());
    segments_.back().SetBucket(keys[i]);
    segments_.back().SetLive(writer_->rows());
    EV_RETURN_IF_ERROR(writer_->Append(keys[i], rows.data() + i * geometry_.row_bytes));
    if (writer_->full()) EV_RETURN_IF_ERROR(FinishNew());
  }
  return OkStatus();
}

Status SavedSegments::Write(TableWriter* writer, SaveReport* report) {
  if (writer_ != nullptr) EV_RETURN_IF_ERROR(FinishNew());
  if (segments_.empty()) return OkStatus();
  for (size_t i = 0; i < segments_.size(); ++i) {
    Segment& segment = segments_[i];
    segment.CountRows();
    if (segment.rows == 0) {
      EV_RETURN_IF_ERROR(links_->Drop(i));
      continue;
    }
    (hold_ == nullptr ? report->rows_written : report->rows_linked) += segment.rows;
    const checkpoint::NameBeside name = checkpoint::NameSegment(table_path_, links_->path(i));
    checkpoint::SegmentEntry& entry = segment.entry;
    entry.ordinal = segment.file.ordinal;
    entry.number = segment.file.number;
    entry.row_bytes = segment.file.row_bytes;
    entry.slots = segment.file.slots;
    entry.most_slots = segment.file.most_slots;
    entry.records_crc = segment.file.records_crc;
    entry.name_strip = name.strip;
    entry.name_bytes = static_cast<uint16_t>(name.name.size());
    const Span<const uint64_t> buckets(entry.buckets.data(), entry.buckets.size());
    int first = 0;
    int last = checkpoint::kBuckets - 1;
    while (!HasSlot(buckets, static_cast<uint32_t>(first))) ++first;
    while (!HasSlot(buckets, static_cast<uint32_t>(last))) --last;
    EV_RETURN_IF_ERROR(writer->AddSegment(first, last, segment.rows, entry, segment.live, name.name));
  }
  report->segments_linked = links_->count(LinkKind::kHardLink);
  report->segments_reflinked = links_->count(LinkKind::kReflink);
  report->segments_copied = links_->count(LinkKind::kCopy);
  return links_->Sync();
}

void SavedSegments::Keep() {
  if (links_ != nullptr) links_->Keep();
}

void EmbeddingVariable::Impl::TakeCopies(std::vector<Key>* run, SavedSegments::Taker* taker) const {
  SerialExecutor serial;
  Scratch<Partition> partition;
  std::vector<Key> stripe_keys;
  std::vector<Position> positions;
  size_t kept = 0;
  for (size_t first = 0; first < run->size(); first += kKeysPerStep) {
    partition->Build(Span<const Key>(*run).subspan(first, std::min(kKeysPerStep, run->size() - first)), serial);
    const EpochGuard guard(store_.epochs());
    for (int s = 0; s < kStripes; ++s) {
      if (partition->stripe(s).empty()) continue;
      stripe_keys.clear();
      for (const KeyAt& entry : partition->stripe(s)) stripe_keys.push_back(entry.key);
      positions.resize(stripe_keys.size());
      {
        std::lock_guard<std::mutex> lock(store_.stripes().of(s));
        store_.FindInLast(stripe_keys, positions);
      }
      for (size_t i = 0; i < stripe_keys.size(); ++i) {
        const bool taken = positions[i] != kNoPosition && taker->Take(stripe_keys[i], positions[i]);
        if (!taken) (*run)[kept++] = stripe_keys[i];
      }
    }
  }
  run->resize(kept);
}

bool EmbeddingVariable::Impl::CanAdopt(const SegmentFile& file, Span<const SlotSpec> slots, bool has_frequency,
                                       bool has_version) const {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const std::vector<SlotSpec>& own = store_.layout().slots();
  const bool same_slots =
      std::equal(own.begin(), own.end(), slots.begin(), slots.end(),
                 [](const SlotSpec& a, const SlotSpec& b) { return a.name == b.name && a.dim == b.dim; });
  return same_slots && has_frequency == options_.record_frequency && has_version == options_.record_version &&
         file.row_bytes == store_.record_bytes() && store_.segments() != nullptr &&
         store_.segments()->CanAdopt(file.row_bytes, file.most_slots);
}

Status EmbeddingVariable::Impl::AdoptSegment(const SegmentFile& file, Span<const uint64_t> live,
                                             const std::function<Status(Key)>& check, int64_t* adopted) {
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  std::vector<Key> keys;
  std::vector<Position> positions;
  int64_t latest = -1;
  *adopted = 0;
  const auto adopt_some = [&] {
    const EpochGuard guard(store_.epochs());
    size_t made = 0;
    Status status = store_.AdoptRows(keys, positions, &made);
    *adopted += static_cast<int64_t>(made);
    keys.clear();
    positions.clear();
    return status;
  };
  Position first = 0;
  LinkKind kind{};
  EV_RETURN_IF_ERROR(store_.segments()->Adopt(
      file, live,
      [&](uint32_t slot, Key key, const std::byte* row) -> Status {
        EV_RETURN_IF_ERROR(check(key));
        keys.push_back(key);
        positions.push_back(first + slot);
        if (options_.record_version) {
          RowMeta meta;
          std::memcpy(&meta, row + store_.layout().row_bytes(), sizeof(meta));
          latest = std::max(latest, int64_t{meta.version_plus1} - 1);
        }
        return keys.size() == kKeysPerStep ? adopt_some() : OkStatus();
      },
      &first, &kind));
  EV_RETURN_IF_ERROR(adopt_some());
  SawStep(latest);
  inserts_.fetch_add(*adopted, std::memory_order_relaxed);
  return OkStatus();
}

}  // namespace ev
