// A tier keeps rows in one kind of memory.  Tiers do not know each other, and not which key is where: the store's index
// does, and names a row by its key and by the position that Put() gave it.
//
// Threads:     any method, from any thread, at once.  Two calls on the same position are the caller's to order.
// Ownership:   spans are borrowed for the call; a tier keeps none of them.
// Readers:     a Get may be under way while its position is removed or its row is moved: it reads the old bytes or fails
//              with NotFound, and the caller looks in the index again.  A tier never reads memory that it has freed.
// Durability:  what a tier promises over a crash stands in its own header; DRAM promises nothing.
// Invariants:  T1  a Get of a position that Put gave reads the bytes that were put, until Remove.
//              T2  a failed Put takes no position and leaves every row as it was.
//              T3  size() counts the positions given and not removed.
//              T4  a row that a tier moves by itself is readable at its old position or its new one at any moment.
#pragma once

#include <cstddef>
#include <functional>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/index/location.h"
#include "ev_tf/tier/tier_metrics.h"

namespace ev {

// Whom a tier asks before it moves a row by itself, as compaction does.
class Relocator {
 public:
  virtual ~Relocator() = default;
  // The row of keys[i] at from[i] has a copy at to[i].  moved[i] true: to[i] is the row's position from now on, and from[i] is
  // free.  False: the row is not at from[i] any more, or must not move now; it is where it was, and to[i] is free.
  virtual void Relocate(Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved) = 0;
  // Calls free() once nobody is left who may have read a row at a position from which it was moved since: such positions
  // are given to other rows only then.  At once or later, in any thread; free() may outlive the tier.
  virtual void WhenUnseen(std::function<void()> free) = 0;
};

class SegmentedTier;

class Tier {
 public:
  virtual ~Tier() = default;

  virtual const char* name() const = 0;
  virtual size_t row_bytes() const = 0;  // constant

  // rows[i * row_bytes(), (i + 1) * row_bytes()) = the row of keys[i] at positions[i].
  // Requires: rows.size() == keys.size() * row_bytes().
  // Errors:   NotFound (a position was removed meanwhile), IoError, Corruption; then `rows` is unspecified.
  virtual Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) = 0;

  // Stores rows.size() / row_bytes() rows; positions[i] = where the row of keys[i] is.
  // Errors:   OutOfSpace, IoError.
  virtual Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) = 0;

  // Gives positions back.  No new Get of them follows; one that is under way may still end.  Does not wait for a write
  // to a device: callers hold locks that readers want.
  virtual void Remove(Span<const Key> keys, Span<const Position> positions) = 0;

  // What was put before is where the tier promises to keep it.
  virtual Status Flush() = 0;

  virtual size_t size() const = 0;
  virtual size_t bytes() const = 0;  // memory or disk held

  // What the tier knows of itself that its caller does not: bytes, index_bytes, device_reads, written_bytes and
  // compaction_bytes; of a tier that counts nothing, its bytes.  written_bytes 0: a row is written once, as it is.
  virtual TierMetrics tier_metrics() const {
    TierMetrics m;
    m.bytes = static_cast<int64_t>(bytes());
    return m;
  }

  // Itself, where its rows are in files that do not change; else null.
  virtual SegmentedTier* segments() { return nullptr; }
};

}  // namespace ev
