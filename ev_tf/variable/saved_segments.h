// SavedSegments: the segments of a save, and which of their slots are rows of the table.  They are those of the table's own log
// (Open, then Take), or are written for this save (OpenNew, then Put).
//
// A row of a segment never changes.  So whoever finds in the index that a key's row is in one of them has found the row of that
// moment, whatever happens to the key later; and as the save looks at each key once, each is in it once.
//
// Threads:     Take from any thread at once, while nobody calls anything else; the rest from one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
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
  // The row of `key` is the one at `position` of the tier.  False: that is in none of the segments.
  bool Take(Key key, Position position);
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
    void Take(Key key, uint32_t slot);
    void CountRows();

    SegmentFile file;
    SlotBits live;
    checkpoint::SegmentEntry entry{};
    uint32_t rows = 0;  // once all are taken
  };

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
};

}  // namespace ev
