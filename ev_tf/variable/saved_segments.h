// SavedSegments: the segments of a save, and which of their slots are rows of the table.  They are those of the table's own log
// (Open, then Takers), or are written for this save (OpenNew, then Put).
//
// A row of a segment never changes.  So whoever finds in the index that a key's row is in one of them has found the row of that
// moment, whatever happens to the key later; and as the save looks at each key once, each is in it once.
//
// Threads:     Takers of many threads at once, while nobody calls anything else; the rest from one.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/segment_links.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/index/location.h"
#include "ev_tf/tier/segmented_tier.h"
#include "ev_tf/tier/ssd_log/segment_writer.h"

namespace ev {

struct SaveReport;

class SavedSegments {
 public:
  // Links every segment of `tier` that does not change any more; they stay until this goes.  `tier` and `env` outlive it.
  Status Open(SegmentedTier* tier, Env* env, const std::string& table_path, SegmentLinks::PathOf path_of);

  bool empty() const { return segments_.empty(); }

  // What one thread takes.  Slots wait until there are many of a segment: set one by one, at random all over the table, a bit
  // is mostly in another core's cache.  All are set once the taker has gone.
  class Taker {
   public:
    explicit Taker(SavedSegments* segments);
    ~Taker();
    Taker(const Taker&) = delete;
    Taker& operator=(const Taker&) = delete;

    // The row of `key` is the one at `position` of the tier.  False: that is in none of the segments.
    bool Take(Key key, Position position);
    // Takes the rows at those locations that are in tier `tier`, the segments'; adds the keys of all others to *others.
    void Take(Span<const Key> keys, Span<const Location> locations, int tier, std::vector<Key>* others);

   private:
    // Slots that wait, of the segment that has one number of the log.
    struct Waiting {
      uint32_t* next = nullptr;  // where another one goes; null: none of the segments has the number
      uint32_t* end = nullptr;   // there are as many as there is room for
      uint32_t segment = 0;
      bool all_buckets = false;  // the segment has rows of each
    };
    void SetBits(Waiting* waiting);

    SavedSegments* const segments_;
    const uint32_t most_slots_;
    const uint64_t reciprocal_;     // position * reciprocal_ >> 63 = position / most_slots_, for any of 30 bits
    const size_t most_;             // of a segment that wait
    std::vector<Waiting> waiting_;  // by number
    std::vector<uint32_t> slots_;   // those of segment s from s * most_ on
  };

  // New files of segment_bytes, for rows of row_bytes.  `env` outlives it.
  Status OpenNew(size_t row_bytes, uint64_t segment_bytes, Env* env, const std::string& table_path,
                 SegmentLinks::PathOf path_of);
  // Writes rows of keys that were not named before; rows.size() == keys.size() * row_bytes.
  Status Put(Span<const Key> keys, Span<const std::byte> rows);

  // Says to `writer` what was taken or put, and syncs the names.
  Status Write(TableWriter* writer, SaveReport* report);
  // The table file is in place.
  void Keep();
  // SegmentLinks::number().
  uint64_t number() const { return links_ == nullptr ? 0 : links_->number(); }

 private:
  struct Segment {
    void SetBucket(Key key);
    void SetLive(uint32_t slot) { live[slot / 64] |= uint64_t{1} << (slot % 64); }
    bool HasAllBuckets() const;
    void CountRows();

    SegmentFile file;
    SlotBits live;  // with takers, under lock_of(segment)
    checkpoint::SegmentEntry entry{};
    uint32_t rows = 0;  // once all are taken
  };

  std::mutex& lock_of(size_t segment) { return locks_[segment % locks_.size()]; }
  Status StartNew();
  Status FinishNew();

  Env* env_ = nullptr;
  ssd_log::Geometry geometry_;                      // of new files
  std::unique_ptr<ssd_log::SegmentWriter> writer_;  // of the last of segments_; null: that is whole
  std::string table_path_;
  std::unique_ptr<SegmentLinks> links_;
  std::unique_ptr<SegmentedTier::Hold> hold_;
  uint32_t most_slots_ = 1;
  std::vector<Segment> segments_;
  std::vector<uint32_t> by_number_;  // position / most_slots_ -> place in segments_ + 1; 0: none
  std::array<std::mutex, 64> locks_;
};

}  // namespace ev
