// SegmentedTier: what a tier can do whose rows are in files, segments, that nobody changes any more once they are closed.
//
// A save gives such files a second name instead of writing their rows again, and a table is made from them again by giving
// them a name in another tier's directory.
//
// Threads:     any method, from any thread, at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/env/env.h"
#include "ev_tf/index/location.h"

namespace ev {

// A segment that will not change: what its file is known by, whatever its name.
struct SegmentFile {
  std::string path;
  uint32_t number = 0;       // that its header says
  uint32_t row_bytes = 0;    // of each record
  uint32_t slots = 0;        // records, whole
  uint32_t most_slots = 0;   // what a full file of that log holds
  uint64_t ordinal = 0;      // of its header
  uint32_t records_crc = 0;  // CRC-32C of the checksums of all its records, in their order
};

// Slots of a segment, a bit each: bit s % 64 of word s / 64.
using SlotBits = std::vector<uint64_t>;
inline bool HasSlot(Span<const uint64_t> bits, uint32_t slot) { return (bits[slot / 64] >> (slot % 64) & 1) != 0; }

// Told of a record: its slot, its key and its row, which is good until it returns.
using SegmentRow = std::function<Status(uint32_t slot, Key key, const std::byte* row)>;

class SegmentedTier {
 public:
  // While it lives the tier removes no file, and gives no position of a removed one to another row.
  class Hold {
   public:
    virtual ~Hold() = default;
  };
  struct Sealed {
    SegmentFile file;
    Position first = 0;  // slot s is at first + s
  };

  virtual ~SegmentedTier() = default;

  // Rows that were put so far are in segments that nobody writes to any more, but for those in a segment that is to be filled
  // first, as there are few of them, or many segments.
  virtual Status CloseSegments() = 0;
  // The segments that have rows and that nobody writes to any more.  What was read from them survives a loss of power under
  // any name that does.  IoError: of a sync.
  virtual Status HoldSealed(std::vector<Sealed>* segments, std::unique_ptr<Hold>* hold) = 0;

  // Whether files of such records can become this tier's, which has room for one more.
  virtual bool CanAdopt(uint32_t row_bytes, uint32_t most_slots) const = 0;
  // Gives the file a name in this tier's directory (a tier that reads files where they are leaves it at its own, and *kind as
  // it was), reads all of it, and calls row(slot, key, row) for each slot of `live`:
  // these are rows of this tier from then on, slot s at *first + s.  *kind = how the file got its name.
  // Requires: CanAdopt; nobody reads these positions before it has returned.
  // Corruption (see ReadSegment), IoError, OutOfSpace, and what row() returns: the tier is of no use any more.
  virtual Status Adopt(const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row, Position* first,
                       LinkKind* kind) = 0;
};

}  // namespace ev
