// What a log counts, always.
#pragma once

#include <atomic>
#include <cstdint>

#include "ev_tf/base/histogram.h"

namespace ev::ssd_log {

using Counter = std::atomic<uint64_t>;

struct Counters {
  Counter rows{0};        // given and not removed
  Counter slots{0};       // of all segments, taken by rows, copies and fillers
  Counter dead_slots{0};  // of them, in segments that wait to be unlinked
  Counter file_bytes{0};  // disk space held
  Counter rows_put{0};
  Counter rows_got{0};
  Counter rows_got_buffered{0};
  Counter rows_removed{0};
  Counter rows_copied{0};    // by compaction
  Counter written_bytes{0};  // to files, headers and fillers included
  Counter reads{0};          // that a device or the page cache served
  Counter read_bytes{0};
  Counter max_read_depth{0};  // reads in flight at once
  Counter compaction_read_bytes{0};
  Counter segments_made{0};
  Counter segments_unlinked{0};
  Counter syncs{0};
  Histogram get_ns;  // a batch each
  Histogram put_ns;
  Histogram write_ns;       // a buffer each
  Histogram compaction_ns;  // a step each
};

inline void Add(Counter& counter, uint64_t n) { counter.fetch_add(n, std::memory_order_relaxed); }
inline void Subtract(Counter& counter, uint64_t n) { counter.fetch_sub(n, std::memory_order_relaxed); }
inline uint64_t Value(const Counter& counter) { return counter.load(std::memory_order_relaxed); }

}  // namespace ev::ssd_log
