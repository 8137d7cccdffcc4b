// HashIndex: key -> Location of its row, whatever the tier.  One probe, one cache line, no lock for readers.
//
// Layout.  Of the 32 bits of a key's place, PlaceOf(key), the top ones choose a segment through a directory, and what follows
// them a home line in the segment's run of lines; a full line overflows into the next one.  A segment grows line run by line
// run, by about a tenth, and splits in two when it would have 12 pages, or at once while there are few segments; they have
// different load limits, so that they do not all grow in the same batch.  Between 0.62 and 0.75 of the entries are used once a
// segment has grown past a few pages: 17
// to 21 bytes a key, also while growing.
//
// Threads:     any method, from any thread, at once.  Whoever calls Find, Insert, Move, Remove, PartAfter or a scan holds an
//              EpochGuard of epochs(), one and no more, until it is done with the rows it found.
// Locks:       a writer holds its segment's lock; changes of the directory hold directory_mu_ as well, inside it.
// Invariants:  H1  a key is in the index at most once.
//              H2  Find of a key that no writer touches gives the same location before, during and after a rebuild.
//              H3  what a rebuild replaces is freed only when no guard can see it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "ev_tf/alloc/page_arena.h"
#include "ev_tf/base/epoch.h"
#include "ev_tf/base/executor.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/index/line.h"
#include "ev_tf/index/location.h"

namespace ev {

class HashIndex {
 public:
  // `epochs` outlives the index.
  explicit HashIndex(EpochDomain* epochs);
  // Requires: no guard is held.
  ~HashIndex();

  // Takes the memory that `keys` keys want, so that they are inserted without a rebuild; more of them are welcome.
  // Requires: nobody else uses the index, which has no key and has had none.
  // OutOfSpace: then nothing has changed.
  Status Reserve(int64_t keys, Executor& executor);

  // locations[i] = where the row of keys[i] is, kNoLocation if it has none.  Duplicates are welcome.
  void Find(Span<const Key> keys, Location* locations) const;

  // Makes key -> location.  *existing = kNoLocation then; if the key has a location already, nothing changes and
  // *existing is that one.
  Status Insert(Key key, Location location, Location* existing);

  // Moves key from `from` to `to`.  False, and no change, if it is not at `from` any more.
  bool Move(Key key, Location from, Location to);

  // Drops key.  Returns where it was, kNoLocation if it was nowhere.
  Location Remove(Key key);

  // The 32 bits that say which lines a key may be in.  Rows keep them instead of the key.
  static uint32_t PlaceOf(Key key) { return static_cast<uint32_t>(HashKey(key) >> 32); }
  // The key of that place whose row is at `location`.  False if there is none.
  bool FindKeyAt(uint32_t place, Location location, Key* key) const;
  // The key of that place of whose location `is` says true, which is asked about keys of that place alone.
  template <typename Is>
  bool FindKeyIf(uint32_t place, Is&& is, Key* key) const;
  // Asks for the line that FindKeyAt, or Move of a key of that place, will look at first.
  void PrefetchPlace(uint32_t place) const;

  // Visits every (key, location) once, without a lock.  A key that is inserted, moved or removed meanwhile may be seen
  // before or after, or not at all.
  template <typename Visitor>
  void Scan(Visitor&& visit) const {
    const auto visit_each = [&](Span<const Key> keys, Span<const Location> locations) {
      for (size_t i = 0; i < keys.size(); ++i) visit(keys[i], locations[i]);
    };
    for (uint64_t cursor = 0; ScanPart(&cursor, visit_each);) {
    }
  }
  // Visits a part of what Scan visits, no more than a segment has: the one at *cursor, 0 for the first.  Moves *cursor to the
  // next; false when that was the last.  Guards may come and go between parts.  visit(keys, locations): up to a few hundred
  // at a time, or none.
  template <typename Visitor>
  bool ScanPart(uint64_t* cursor, Visitor&& visit) const;
  // Where the part behind the one at `cursor` begins; 0: there is none.  A part may become several, never the other way round.
  uint64_t PartAfter(uint64_t cursor) const { return EndOf(*FindView(cursor)->segment); }

  // Waits a moment, *waits times at most, while readers keep much of what rebuilds replaced: a writer that does so between its
  // batches lets a growing index stay small where a reader is stopped.  Requires: the caller holds no guard.
  void GiveWay(int* waits) const;

  // Number of keys.
  int64_t size() const;
  // Memory held: lines, segments and directory.
  int64_t bytes() const;
  EpochDomain& epochs() const { return *epochs_; }

 private:
  friend struct IndexProbe;

  static constexpr uint32_t kPageLines = PageArena::kPageBytes / sizeof(Line);
  static constexpr uint32_t kMaxPages = 11;  // a segment that needs more splits

  struct Segment;

  // A run of lines that readers may see.  Constant but for the lines themselves.
  struct View {
    ~View();
    Line* line(uint32_t i) const { return pages[i / kPageLines] + i % kPageLines; }
    // The bits of the place below the segment's own, as a fraction of its lines.
    uint32_t HomeLine(uint64_t hash) const {
      const uint32_t fraction = static_cast<uint32_t>(hash >> 32) << depth;
      return static_cast<uint32_t>((uint64_t{fraction} * lines) >> 32);
    }
    uint32_t Next(uint32_t i) const { return i + 1 == lines ? 0 : i + 1; }

    uint32_t lines = 0;
    uint8_t depth = 0;       // the segment's
    bool own_block = false;  // lines < kPageLines: pages[0] is malloc'ed, not a page of the arena
    Segment* segment = nullptr;
    Line* pages[kMaxPages] = {};
  };

  struct Segment {
    std::mutex mu;
    bool split = false;             // guarded by mu: the segment has been replaced, look in the directory again
    uint32_t used = 0;              // guarded by mu: entries live or dropped
    std::atomic<uint32_t> live{0};  // written under mu
    View* view = nullptr;           // guarded by mu; what the directory shows
    int depth = 0;                  // constant: top bits of the hash shared by the segment's keys,
    uint64_t prefix = 0;            // constant: and their value
    float max_load = 0;             // constant
    Key filler = 0;                 // constant: a key of another segment

    uint32_t limit() const { return static_cast<uint32_t>(max_load * kLineKeys * static_cast<float>(view->lines)); }
  };

  struct Directory {
    explicit Directory(int bits_in) : bits(bits_in), views(size_t{1} << bits_in) {}
    std::atomic<View*>& at(uint64_t hash) { return views[hash >> (64 - bits)]; }
    const std::atomic<View*>& at(uint64_t hash) const { return views[hash >> (64 - bits)]; }
    const int bits;
    std::vector<std::atomic<View*>> views;
  };

  const View* FindView(uint64_t hash) const {
    return directory_.load(std::memory_order_acquire)->at(hash).load(std::memory_order_acquire);
  }
  // The first hash behind those of the segment, 0 for the last one.
  static uint64_t EndOf(const Segment& segment) { return (segment.prefix + 1) << (64 - segment.depth); }
  // Whether is(segment, line, j) of one of the entries that a key of `place` may have, in the order of a probe.
  template <typename Is>
  bool AnyEntry(uint32_t place, Is&& is) const;
  // Locks and returns the segment that owns `hash`.
  Segment* LockSegment(uint64_t hash, std::unique_lock<std::mutex>* lock);

  // 2^bits segments without a key, each with room for `keys` keys.
  Status NewSegments(int bits, uint32_t keys, Executor& executor, std::vector<std::unique_ptr<Segment>>* segments);
  // Shows them, in the place of those that there are.  Requires: nobody else uses the index.
  void Use(int bits, std::vector<std::unique_ptr<Segment>> segments);
  static Segment* NewSegment(int depth, uint64_t prefix);
  // Lines that a segment of that depth may have; one that needs more splits.
  static uint32_t MostLines(int depth);
  // The smallest run of lines that holds `keys` with room to grow; more than kMaxPages pages if there is none.
  static uint32_t LinesFor(uint32_t keys, float max_load);
  static Status NewView(Segment* segment, uint32_t lines, std::unique_ptr<View>* out);
  // Puts a key that is not in `view` into it.  Requires: nobody else writes to it.
  static void Place(View* view, uint64_t hash, Key key, Location location);
  // Entry of `key`: line and place, or null.
  static Line* FindEntry(const View* view, uint64_t hash, Key key, int* place);

  // Gives `segment` a run of lines that fits what lives in it; splits it where no run does.  Requires: its lock is held.
  Status Rebuild(Segment* segment);
  Status Split(Segment* segment);
  // Shows `view` for every hash of the segment it belongs to.
  void Publish(View* view);
  void RetireView(View* view);

  EpochDomain* const epochs_;
  std::atomic<Directory*> directory_{nullptr};      // replaced under directory_mu_
  mutable std::mutex directory_mu_;                 // the directory's entries, segments_
  std::vector<std::unique_ptr<Segment>> segments_;  // guarded by directory_mu_; split ones stay until the end
  std::atomic<int64_t> bytes_{0};                   // of lines, those in replaced_bytes_ too
  std::atomic<int64_t> replaced_bytes_{0};          // of lines that only readers of before may see
};

template <typename Is>
bool HashIndex::AnyEntry(uint32_t place, Is&& is) const {
  const uint64_t hash = uint64_t{place} << 32;
  const View* view = FindView(hash);
  uint32_t i = view->HomeLine(hash);
  for (uint32_t steps = 0; steps < view->lines; ++steps, i = view->Next(i)) {
    const Line* line = view->line(i);
    for (int j = 0; j < kLineKeys; ++j) {
      if (is(*view->segment, *line, j)) return true;
    }
    if (!line->overflowed()) return false;
  }
  return false;
}

template <typename Is>
bool HashIndex::FindKeyIf(uint32_t place, Is&& is, Key* key) const {
  return AnyEntry(place, [&](const Segment&, const Line& line, int j) {
    const Location location = line.location(j);
    *key = line.key(j);  // an entry that is being appended has the filler's, which is of another place
    return location != kNoLocation && PlaceOf(*key) == place && is(location);
  });
}

template <typename Visitor>
bool HashIndex::ScanPart(uint64_t* cursor, Visitor&& visit) const {
  constexpr uint32_t kLinesAtOnce = 64;  // of one page
  constexpr int kLinesAhead = 24;        // the hardware alone follows too late: 3.5 ns a key for 2.3
  static_assert(kPageLines % kLinesAtOnce == 0 && kLineKeys == 5);
  Key keys[kLinesAtOnce * kLineKeys];
  Location locations[kLinesAtOnce * kLineKeys];
  const View* view = FindView(*cursor);
  const Segment* segment = view->segment;
  const Key filler = segment->filler;
  for (uint32_t first = 0; first < view->lines; first += kLinesAtOnce) {
    const Line* line = view->line(first);
    const Line* const end = line + std::min(kLinesAtOnce, view->lines - first);
    size_t n = 0;
    for (; line != end; ++line) {
      PrefetchForRead(line + kLinesAhead);
      // No branch on what is there: a guess would be wrong as often as a line is not full.
#pragma GCC unroll 5
      for (int j = 0; j < kLineKeys; ++j) {
        const Key key = line->key(j);
        const Location location = line->location(j);
        keys[n] = key;
        locations[n] = location;
        // An entry that is being appended has a location beside the filler for a moment: it is not live yet.
        n += (location != kNoLocation ? 1 : 0) & (key != filler ? 1 : 0);
      }
    }
    visit(Span<const Key>(keys, n), Span<const Location>(locations, n));
  }
  *cursor = EndOf(*segment);
  return *cursor != 0;
}

}  // namespace ev
