// Compactor: keeps the files small by copying the live rows of one segment after the other to the stream of copies.
//
// The victim is the closed segment that gives back most for what it costs: dead rows for each live one, times the segment's
// age, as in an old one those that are live will stay so, while a young one gives back more if it is left alone.  Live rows
// are counted as they come and go, so that no index is scanned.  A row is copied, then the store is asked (Relocator) whose
// copy counts.  A segment without live rows is unlinked; where the log is durable, only after everything that was appended
// before is synced, so that no row is lost whose only synced bytes it holds.
//
// Threads:     any method, from any thread, at once; one step at a time.
// Invariants:  C1  a row of the victim stays live until Relocate() says that it moved or its owner removes it.
#pragma once

#include <mutex>
#include <vector>

#include "ev_tf/env/env.h"
#include "ev_tf/tier/ssd_log/counters.h"
#include "ev_tf/tier/ssd_log/log.h"
#include "ev_tf/tier/ssd_log/segment.h"
#include "ev_tf/tier/tier.h"

namespace ev::ssd_log {

struct CompactorOptions {
  std::string path;  // the directory
  bool durable = true;
  double live_share = 0.6;         // of the slots of all segments, below which it works
  Relocator* relocator = nullptr;  // null: only segments without live rows go
};

class Compactor {
 public:
  Compactor(Env* env, const CompactorOptions& options, const Geometry& geometry, SegmentTable* table, Log* log,
            Counters* counters);

  // Whether a step may find something to do.
  bool Wanted() const;
  // Whether the files have grown past what waiting for another thread may cost.
  bool Urgent() const;
  // Unlinks what can go and copies up to a buffer of rows.  Sets *copied, to 0 when there is nothing to copy.
  // After an error the rows are where they were.
  Status Step(size_t* copied);
  // Step() if nobody else is at it.
  Status TryStep(size_t* copied);
  // Segments whose last rows were not anybody's yet when they were copied may be victims again.
  void TryAllAgain();
  // From now on works below this share of live rows instead of options.live_share.  Requires: at least that.
  void WorkBelow(double live_share) { share_.store(live_share, std::memory_order_relaxed); }
  // Between the two no file is unlinked; the dead ones wait.  Holds nest.
  void Hold();
  void Release();
  // A row went, and its segment has no other.
  void NoteEmpty() { look_for_dead_.store(true, std::memory_order_relaxed); }

 private:
  // All require mu_.
  Status StepLocked(size_t* copied);
  Status UnlinkDead();
  void FindDead();
  Segment* PickVictim() const;
  // What copying the live rows of a closed segment is worth; 0: nothing.
  double Worth(const Segment& segment) const;
  Status CopySome(Segment* victim, size_t* copied);
  // Appends the records of slots_ again: keys_ are theirs, copies_ where they are.
  Status CopyLive(Segment* victim);
  // keys_ and records_ of slots_, verified, in `bytes` from file offset `begin` on.
  Status FindRecords(const Segment& victim, uint64_t begin, const std::byte* bytes);
  void FinishVictim();
  bool TooManyDeadRows(double share) const;

  // Constant.
  Env* const env_;
  const CompactorOptions options_;
  const Geometry geometry_;
  SegmentTable* const table_;
  Log* const log_;
  Counters* const counters_;

  std::atomic<double> share_;
  std::atomic<bool> look_for_dead_{false};  // a hint
  std::atomic<bool> stuck_{false};          // a hint: no segment is worth copying until more rows were put
  std::atomic<uint64_t> stuck_at_{0};       // how many had been put

  std::mutex mu_;
  // Guarded by mu_.
  Segment* victim_ = nullptr;
  uint32_t next_slot_ = 0;  // of the victim
  std::vector<Segment*> dead_;
  int holds_ = 0;
  std::vector<uint32_t> slots_;
  std::vector<Key> keys_;
  std::vector<RecordView> records_;
  std::vector<Position> from_;
  std::vector<Position> copies_;
};

}  // namespace ev::ssd_log
