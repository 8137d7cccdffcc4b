// TierMetrics: what is counted of one tier.  A tier fills in what only it knows (Tier::tier_metrics), a store what it did with it.
#pragma once

#include <cstdint>

namespace ev {

// Gauges, and counters since the variable's creation.
struct TierMetrics {
  int64_t rows = 0;                // rows whose place is here
  int64_t capacity = 0;            // rows that it should hold; 0: no limit
  int64_t copies = 0;              // of rows that are further up
  int64_t bytes = 0;               // memory or disk held
  int64_t index_bytes = 0;         // main memory that knows of its rows, beside the table's index
  int64_t hits = 0;                // keys that were looked for, and whose row was here
  int64_t misses = 0;              // keys whose row was further down
  int64_t promotions = 0;          // rows that left it upwards
  int64_t demotions = 0;           // rows that left it downwards
  int64_t clean_demotions = 0;     // of these, rows whose copy below was still good: nothing was written
  int64_t reads = 0;               // rows read from it
  int64_t late_reads = 0;          // of these, one by one under a lock, after a row had moved
  int64_t writes = 0;              // rows written to it
  int64_t device_reads = 0;        // reads of its files that answered them; a tier in memory has none
  int64_t written_bytes = 0;       // by it, whatever for
  int64_t compaction_bytes = 0;    // of rows that it copied by itself to keep its files small
  double write_amplification = 0;  // written_bytes / bytes of `writes` rows; 0 before the first
  double space_amplification = 0;  // bytes / bytes of the rows and copies; 0 without any
  double read_p50_us = 0;          // of a batch of reads; upper bounds, at most twice the value
  double read_p99_us = 0;
  double write_p50_us = 0;  // of a batch of writes
  double write_p99_us = 0;
};

// Calls visit(name, value) for each of them: an int64_t or a double.  Their names and order are the same for every tier; new
// ones come at the end.
template <typename Visit>
void ForEachMetric(const TierMetrics& m, Visit&& visit) {
  visit("rows", m.rows);
  visit("capacity", m.capacity);
  visit("copies", m.copies);
  visit("bytes", m.bytes);
  visit("index_bytes", m.index_bytes);
  visit("hits", m.hits);
  visit("misses", m.misses);
  visit("promotions", m.promotions);
  visit("demotions", m.demotions);
  visit("clean_demotions", m.clean_demotions);
  visit("reads", m.reads);
  visit("late_reads", m.late_reads);
  visit("writes", m.writes);
  visit("device_reads", m.device_reads);
  visit("written_bytes", m.written_bytes);
  visit("compaction_bytes", m.compaction_bytes);
  visit("write_amplification", m.write_amplification);
  visit("space_amplification", m.space_amplification);
  visit("read_p50_us", m.read_p50_us);
  visit("read_p99_us", m.read_p99_us);
  visit("write_p50_us", m.write_p50_us);
  visit("write_p99_us", m.write_p99_us);
}

}  // namespace ev
