#include "ev_tf/index/hash_index.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "ev_tf/base/first_error.h"
#include "ev_tf/base/sync_point.h"
#include "ev_tf/index/probe.h"

namespace ev {
namespace {

constexpr int kFirstBits = 1;         // a filler is a key of another segment: there are always two at least
constexpr int kMaxBits = 20;          // 12 bits of the place are left to choose a line: 2^20 segments, 15 G keys
constexpr uint32_t kFirstLines = 16;  // 1 KiB: a table of a few rows takes a few KiB
// Segments split while they are small until there are this many bits of them.  Keys come a stripe of the hash at a time
// (StripeOf, batch/partition.h): fewer segments would each get them into a few of its lines, and threads would wait for its
// lock.
constexpr int kEarlyBits = 6;
// Load limits spread over the segments.  Above 0.75 more than one key in ten overflows; below 0.68 memory is wasted.
constexpr float kLoadLimits[] = {0.68f, 0.72f, 0.70f, 0.74f, 0.69f, 0.73f, 0.71f, 0.75f};
constexpr float kFill = 0.92f;  // share of its limit that a rebuilt segment may have reached
// What readers may keep of it before writers give way: each key that a growing index gets leaves some 100 bytes behind.
constexpr int64_t kMuchReplaced = int64_t{1} << 20;
constexpr int64_t kMuchReplacedShare = 64;  // of the index
constexpr std::chrono::microseconds kGivingWay{50};

constexpr Key FirstKeyWithTopBit(uint64_t bit) {
  Key key = 0;
  while (HashKey(key) >> 63 != bit) ++key;
  return key;
}
constexpr Key kFillers[2] = {FirstKeyWithTopBit(1), FirstKeyWithTopBit(0)};  // by the segment's own top bit

}  // namespace

HashIndex::View::~View() {
  if (own_block) {
    std::free(pages[0]);
    return;
  }
  for (uint32_t i = 0; i < lines / kPageLines; ++i) PageArena::Global().Free(reinterpret_cast<char*>(pages[i]));
}

HashIndex::HashIndex(EpochDomain* epochs) : epochs_(epochs) {
  SerialExecutor serial;
  std::vector<std::unique_ptr<Segment>> segments;
  if (!NewSegments(kFirstBits, 0, serial, &segments).ok()) std::abort();  // 1 KiB of malloc: nothing can run
  Use(kFirstBits, std::move(segments));
}

Status HashIndex::NewSegments(int bits, uint32_t keys, Executor& executor,
                              std::vector<std::unique_ptr<Segment>>* segments) {
  segments->resize(size_t{1} << bits);
  std::atomic<size_t> next{0};
  FirstError error;
  executor.Run(std::min(executor.parallelism(), 1 << bits), [&](int) {
    for (size_t i = next.fetch_add(1); i < segments->size() && error.ok(); i = next.fetch_add(1)) {
      std::unique_ptr<Segment> segment(NewSegment(bits, i));
      std::unique_ptr<View> view;
      const Status made = NewView(segment.get(), LinesFor(keys, segment->max_load), &view);
      error.Keep(made);
      if (!made.ok()) return;
      segment->view = view.release();
      (*segments)[i] = std::move(segment);
    }
  });
  if (!error.ok()) {
    for (const auto& segment : *segments) {
      if (segment != nullptr) delete segment->view;
    }
  }
  return error.status();
}

void HashIndex::Use(int bits, std::vector<std::unique_ptr<Segment>> segments) {
  auto directory = std::make_unique<Directory>(bits);
  int64_t lines = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    directory->views[i].store(segments[i]->view);
    lines += segments[i]->view->lines;
  }
  for (const auto& segment : segments_) delete segment->view;
  segments_ = std::move(segments);
  bytes_ = lines * static_cast<int64_t>(sizeof(Line));
  delete directory_.exchange(directory.release());
}

Status HashIndex::Reserve(int64_t keys, Executor& executor) {
  const int64_t most = std::min<int64_t>(keys, int64_t{kMaxPosition} + 1);
  const auto in_segment = [&](int bits) { return static_cast<uint32_t>((most + (int64_t{1} << bits) - 1) >> bits); };
  int bits = kFirstBits;
  while (bits < kMaxBits && LinesFor(in_segment(bits), kLoadLimits[0]) > MostLines(bits)) ++bits;
  std::vector<std::unique_ptr<Segment>> segments;
  EV_RETURN_IF_ERROR(NewSegments(bits, in_segment(bits), executor, &segments));
  Use(bits, std::move(segments));
  return OkStatus();
}

HashIndex::~HashIndex() {
  epochs_->Collect();  // what waits there gives its bytes back to this index
  for (const auto& segment : segments_) delete segment->view;
  delete directory_.load();
}

HashIndex::Segment* HashIndex::NewSegment(int depth, uint64_t prefix) {
  auto segment = std::make_unique<Segment>();
  segment->depth = depth;
  segment->prefix = prefix;
  // Neighbours in the directory were split from one segment and have grown alike: give them different limits.
  segment->max_load = kLoadLimits[(prefix * 0x9e3779b97f4a7c15ULL) >> 61];
  segment->filler = kFillers[prefix >> (depth - 1)];
  return segment.release();
}

uint32_t HashIndex::MostLines(int depth) { return depth < kEarlyBits ? kFirstLines : kMaxPages * kPageLines; }

uint32_t HashIndex::LinesFor(uint32_t keys, float max_load) {
  const float wanted = static_cast<float>(keys) / (kFill * max_load * kLineKeys);
  uint32_t lines = kFirstLines;
  while (lines < kPageLines && static_cast<float>(lines) < wanted) lines *= 2;
  if (static_cast<float>(lines) >= wanted) return lines;
  return (static_cast<uint32_t>(wanted) / kPageLines + 1) * kPageLines;
}

Status HashIndex::NewView(Segment* segment, uint32_t lines, std::unique_ptr<View>* out) {
  auto view = std::make_unique<View>();
  view->segment = segment;
  view->depth = static_cast<uint8_t>(segment->depth);
  if (lines < kPageLines) {
    view->own_block = true;
    view->pages[0] = static_cast<Line*>(std::aligned_alloc(sizeof(Line), lines * sizeof(Line)));
    if (view->pages[0] == nullptr) return OutOfSpace("index: no memory for " + std::to_string(lines) + " lines");
    view->lines = lines;
  } else {
    for (uint32_t i = 0; i < lines / kPageLines; ++i) {
      char* page = nullptr;
      EV_RETURN_IF_ERROR(PageArena::Global().Allocate(&page));
      view->pages[i] = reinterpret_cast<Line*>(page);
      view->lines += kPageLines;  // so that the destructor frees what has been taken
    }
  }
  for (uint32_t i = 0; i < lines; ++i) {
    Line* line = view->line(i);
    line->Clear(segment->filler);
    line->last = i + 1 == lines || (i + 1) % kPageLines == 0;
  }
  *out = std::move(view);
  return OkStatus();
}

void HashIndex::Place(View* view, uint64_t hash, Key key, Location location) {
  uint32_t i = view->HomeLine(hash);
  while (view->line(i)->count == kLineKeys) {
    view->line(i)->set_overflow();
    i = view->Next(i);
  }
  view->line(i)->Append(key, location);
}

Line* HashIndex::FindEntry(const View* view, uint64_t hash, Key key, int* place) {
  uint32_t i = view->HomeLine(hash);
  for (uint32_t steps = 0; steps < view->lines; ++steps, i = view->Next(i)) {
    Line* line = view->line(i);
    *place = line->Match(key);
    if (*place >= 0) return line;
    if (!line->overflowed()) return nullptr;
  }
  return nullptr;
}

HashIndex::Segment* HashIndex::LockSegment(uint64_t hash, std::unique_lock<std::mutex>* lock) {
  for (;;) {
    Segment* segment = FindView(hash)->segment;
    *lock = std::unique_lock<std::mutex>(segment->mu);
    if (!segment->split) return segment;
    lock->unlock();
  }
}

Status HashIndex::Insert(Key key, Location location, Location* existing) {
  const uint64_t hash = HashKey(key);
  *existing = kNoLocation;
  for (;;) {
    std::unique_lock<std::mutex> lock;
    Segment* segment = LockSegment(hash, &lock);
    int place = 0;
    Line* line = FindEntry(segment->view, hash, key, &place);
    if (line != nullptr) {
      *existing = line->location(place);
      if (*existing == kNoLocation) {
        line->set_location(place, location);
        segment->live.store(segment->live.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      }
      return OkStatus();
    }
    if (segment->used < segment->limit()) {
      Place(segment->view, hash, key, location);
      ++segment->used;
      segment->live.store(segment->live.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return OkStatus();
    }
    EV_RETURN_IF_ERROR(Rebuild(segment));
  }
}

bool HashIndex::Move(Key key, Location from, Location to) {
  const uint64_t hash = HashKey(key);
  std::unique_lock<std::mutex> lock;
  Segment* segment = LockSegment(hash, &lock);
  int place = 0;
  Line* line = FindEntry(segment->view, hash, key, &place);
  if (line == nullptr || line->location(place) != from || from == kNoLocation) return false;
  line->set_location(place, to);
  return true;
}

Location HashIndex::Remove(Key key) {
  const uint64_t hash = HashKey(key);
  std::unique_lock<std::mutex> lock;
  Segment* segment = LockSegment(hash, &lock);
  int place = 0;
  Line* line = FindEntry(segment->view, hash, key, &place);
  if (line == nullptr) return kNoLocation;
  const Location location = line->location(place);
  if (location == kNoLocation) return kNoLocation;
  line->set_location(place, kNoLocation);
  const uint32_t live = segment->live.load(std::memory_order_relaxed) - 1;
  segment->live.store(live, std::memory_order_relaxed);
  // Half of the entries are dropped ones: give the memory back.  Without memory for the copy they simply stay.
  if (segment->used > kFirstLines * kLineKeys && live < segment->used / 2) Rebuild(segment).ok();
  return location;
}

void HashIndex::PrefetchPlace(uint32_t place) const {
  const uint64_t hash = uint64_t{place} << 32;
  const View* view = FindView(hash);
  PrefetchForRead(view->line(view->HomeLine(hash)));
}

bool HashIndex::FindKeyAt(uint32_t place, Location location, Key* key) const {
  return AnyEntry(place, [&](const Segment& segment, const Line& line, int j) {
    if (line.location(j) != location) return false;
    *key = line.key(j);
    return *key != segment.filler;  // an entry that is being appended has its location before its key
  });
}

Status HashIndex::Rebuild(Segment* segment) {
  const uint32_t live = segment->live.load(std::memory_order_relaxed);
  const uint32_t lines = LinesFor(live + 1, segment->max_load);
  if (lines > MostLines(segment->depth)) return Split(segment);
  std::unique_ptr<View> fresh;
  EV_RETURN_IF_ERROR(NewView(segment, lines, &fresh));
  View* old = segment->view;
  for (uint32_t i = 0; i < old->lines; ++i) {
    const Line* line = old->line(i);
    for (int j = 0; j < line->count; ++j) {
      const Location location = line->location(j);
      if (location != kNoLocation) Place(fresh.get(), HashKey(line->keys[j]), line->keys[j], location);
    }
  }
  segment->used = live;
  segment->view = fresh.release();
  bytes_ += static_cast<int64_t>(segment->view->lines * sizeof(Line));
  Publish(segment->view);
  RetireView(old);
  return OkStatus();
}

Status HashIndex::Split(Segment* segment) {
  View* old = segment->view;
  const int depth = segment->depth + 1;
  if (depth > kMaxBits)
    return OutOfSpace("index: 2^20 segments are in use, or too many keys share their hash's first 20 bits");
  uint32_t live[2] = {0, 0};
  const auto for_each_live = [&](auto&& visit) {
    for (uint32_t i = 0; i < old->lines; ++i) {
      const Line* line = old->line(i);
      for (int j = 0; j < line->count; ++j) {
        if (line->location(j) == kNoLocation) continue;
        const uint64_t hash = HashKey(line->keys[j]);
        visit(hash, (hash >> (64 - depth)) & 1, line->keys[j], line->location(j));
      }
    }
  };
  for_each_live([&](uint64_t, uint64_t half, Key, Location) { ++live[half]; });
  std::unique_ptr<Segment> halves[2];
  std::unique_ptr<View> views[2];
  for (uint64_t half = 0; half < 2; ++half) {
    halves[half].reset(NewSegment(depth, segment->prefix * 2 + half));
    // A half that got nearly all keys may want more than a segment has: it is full at once, and splits again.
    const uint32_t lines = std::min(LinesFor(live[half] + 1, halves[half]->max_load), kMaxPages * kPageLines);
    EV_RETURN_IF_ERROR(NewView(halves[half].get(), lines, &views[half]));
    halves[half]->used = live[half];
    halves[half]->live.store(live[half], std::memory_order_relaxed);
  }
  for_each_live(
      [&](uint64_t hash, uint64_t half, Key key, Location location) { Place(views[half].get(), hash, key, location); });
  for (uint64_t half = 0; half < 2; ++half) {
    halves[half]->view = views[half].release();
    bytes_ += static_cast<int64_t>(halves[half]->view->lines * sizeof(Line));
  }
  {
    // Nobody sees the halves before both are shown, so nobody waits for their locks.
    std::lock_guard<std::mutex> lock(directory_mu_);
    Directory* directory = directory_.load(std::memory_order_relaxed);
    if (depth > directory->bits) {
      auto doubled = std::make_unique<Directory>(depth);
      for (size_t i = 0; i < doubled->views.size(); ++i) {
        doubled->views[i].store(directory->views[i / 2].load(std::memory_order_relaxed), std::memory_order_relaxed);
      }
      Directory* replaced = directory;
      directory = doubled.release();
      directory_.store(directory, std::memory_order_release);
      epochs_->Retire([replaced] { delete replaced; });
    }
    const int shared = directory->bits - depth;
    // The second half first: who sees the first one as a part (PartAfter) then finds the second as the next, not both halves.
    for (const int h : {1, 0}) {
      const uint64_t first = halves[h]->prefix << shared;
      for (uint64_t i = 0; i < (uint64_t{1} << shared); ++i) {
        directory->views[first + i].store(halves[h]->view, std::memory_order_release);
      }
      EV_SYNC_POINT("index.half_shown");
      segments_.push_back(std::move(halves[h]));
    }
  }
  segment->split = true;
  segment->used = 0;
  segment->live.store(0, std::memory_order_relaxed);
  segment->view = nullptr;
  RetireView(old);
  return OkStatus();
}

void HashIndex::Publish(View* view) {
  const Segment* segment = view->segment;
  std::lock_guard<std::mutex> lock(directory_mu_);
  Directory* directory = directory_.load(std::memory_order_relaxed);
  const int shared = directory->bits - segment->depth;
  const uint64_t first = segment->prefix << shared;
  for (uint64_t i = 0; i < (uint64_t{1} << shared); ++i) {
    directory->views[first + i].store(view, std::memory_order_release);
  }
}

void HashIndex::RetireView(View* view) {
  const auto bytes = static_cast<int64_t>(view->lines * sizeof(Line));
  replaced_bytes_ += bytes;
  epochs_->Retire([this, view, bytes] {
    bytes_ -= bytes;
    replaced_bytes_ -= bytes;
    delete view;
  });
}

void HashIndex::GiveWay(int* waits) const {
  const auto much = [this] {
    return replaced_bytes_.load(std::memory_order_relaxed) >
           std::max(kMuchReplaced, bytes_.load(std::memory_order_relaxed) / kMuchReplacedShare);
  };
  for (; *waits > 0 && much(); --*waits) {
    epochs_->Collect();
    if (!much()) return;
    std::this_thread::sleep_for(kGivingWay);
  }
}

int64_t HashIndex::size() const {
  std::lock_guard<std::mutex> lock(directory_mu_);
  int64_t size = 0;
  for (const auto& segment : segments_) size += segment->live.load(std::memory_order_relaxed);
  return size;
}

int64_t HashIndex::bytes() const {
  std::lock_guard<std::mutex> lock(directory_mu_);
  const auto segments = static_cast<int64_t>(segments_.size() * (sizeof(Segment) + sizeof(View)));
  const auto directory = static_cast<int64_t>(directory_.load(std::memory_order_relaxed)->views.size() * sizeof(View*));
  return bytes_.load(std::memory_order_relaxed) + segments + directory;
}

// HashIndex::Find, once for each instruction set.
#define EV_DEFINE_FIND                                                                          \
  static void FindAll(const IndexProbe& probe, const Key* keys, size_t n, Location* out) {      \
    const auto keep = [&](size_t i, Location location) EV_INLINE_LAMBDA { out[i] = location; }; \
    ForEachBlock<false>(probe, keys, n, keep, keep, [](size_t, size_t, const auto&) {});        \
  }
// The order of these includes is their meaning.
// clang-format off
namespace plain {
EV_DEFINE_FIND
}  // namespace plain
#if EV_X86_KERNELS
namespace avx2 {
#include "ev_tf/base/begin_avx2.h"
EV_DEFINE_FIND
#include "ev_tf/base/end_target.h"
}  // namespace avx2
namespace avx512 {
#include "ev_tf/base/begin_avx512.h"
EV_DEFINE_FIND
#include "ev_tf/base/end_target.h"
}  // namespace avx512
#endif
// clang-format on
#undef EV_DEFINE_FIND

void HashIndex::Find(Span<const Key> keys, Location* locations) const {
  const IndexProbe probe(*this);
#if EV_X86_KERNELS
  switch (BestIsa()) {
    case Isa::kAvx512: return avx512::FindAll(probe, keys.data(), keys.size(), locations);
    case Isa::kAvx2: return avx2::FindAll(probe, keys.data(), keys.size(), locations);
    case Isa::kPlain: break;
  }
#endif
  plain::FindAll(probe, keys.data(), keys.size(), locations);
}

}  // namespace ev
