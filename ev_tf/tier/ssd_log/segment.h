// Segment: one file of the log and what is known about it: two numbers, and one bit a row.
//
// States:   open -> closed (its last slot is taken) -> gone (no row of it is live; the file is unlinked).
// Threads:  any method, from any thread, at once, but where it says otherwise.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "ev_tf/alloc/memory.h"
#include "ev_tf/base/epoch.h"
#include "ev_tf/env/env.h"
#include "ev_tf/index/location.h"
#include "ev_tf/tier/ssd_log/format.h"

namespace ev::ssd_log {

// What a segment is filled with; see Log.
enum class Stream : uint8_t { kPuts, kCopies };

// The ends of both streams at one moment; see Log::end().
struct LogEnd {
  uint64_t puts = 0;
  uint64_t copies = 0;
};

class Segment {
 public:
  Segment(uint32_t number, uint64_t ordinal, SequenceWindow window, const Geometry& geometry,
          std::unique_ptr<File> file)
      : number(number),
        ordinal(ordinal),
        window(window),
        first_position(number * geometry.slots),
        file(std::move(file)),
        bits_((geometry.slots + 63) / 64) {}

  // True if it was not live before.
  bool SetLive(uint32_t slot) {
    const bool was = (bits_[slot / 64].fetch_or(Bit(slot), std::memory_order_relaxed) & Bit(slot)) != 0;
    if (!was) live.fetch_add(1, std::memory_order_relaxed);
    return !was;
  }
  // True if it was live before.
  bool ClearLive(uint32_t slot) {
    const bool was = (bits_[slot / 64].fetch_and(~Bit(slot), std::memory_order_relaxed) & Bit(slot)) != 0;
    // Who finds no live row also finds, in the ends of the log, whatever made the last ones dead.
    if (was) live.fetch_sub(1, std::memory_order_release);
    return was;
  }
  bool IsLive(uint32_t slot) const { return (bits_[slot / 64].load(std::memory_order_relaxed) & Bit(slot)) != 0; }
  size_t bitmap_bytes() const { return bits_.size() * sizeof(uint64_t); }

  // Constant.
  const uint32_t number;        // names the file; used again after the segment is gone
  const uint64_t ordinal;       // how many segments were made before it
  const SequenceWindow window;  // that the file's header says
  const Position first_position;
  Stream stream = Stream::kPuts;    // whose writer has those of its rows that are not in the file yet
  std::unique_ptr<File> file;       // until nobody reads it any more
  const std::byte* map = nullptr;   // of the whole file, where it is read through the page cache; see File::Map
  uint32_t header_number = number;  // what the file says it is, which for one from another log is not what it is here

  // The writer's until the segment is closed, then constant.
  uint32_t records_crc = 0;  // CRC-32C of the checksums of its records
  uint64_t closed_at = 0;    // how many rows had been put to the log

  // Slots below `appended` are written in memory, those below `flushed` in the file; released after the bytes.
  std::atomic<uint32_t> appended{0};
  std::atomic<uint32_t> flushed{0};
  std::atomic<uint32_t> live{0};  // a statistic until the segment is closed
  std::atomic<bool> closed{false};
  std::atomic<uint64_t> held_bytes{0};  // disk space
  std::atomic<bool> synced{false};      // whole, closed and on the device
  std::atomic<bool> unsyncable{false};  // a sync failed: what is on the device is not known

  // The compactor's.
  bool unreadable = false;  // not a victim again
  uint64_t rest_until = 0;  // not a victim before so many rows were put
  bool dead = false;        // no row of it is live
  LogEnd dead_since;        // the end of the log when that was found

 private:
  static constexpr uint64_t Bit(uint32_t slot) { return uint64_t{1} << (slot % 64); }
  std::vector<std::atomic<uint64_t>> bits_;
};

// SegmentTable: number -> segment, read without a lock.
//
// Readers hold an EpochGuard of domain() while they use a segment that they found.
class SegmentTable {
 public:
  static constexpr uint32_t kMaxSegments = uint32_t{1} << 20;  // 8 MiB of address space, touched as used

  // Requires: called once, before anything else; `env`, whose files the segments have, outlives the table.
  Status Init(const Geometry& geometry, Env* env);

  // Sequentially consistent, as entering the guard is: see EpochDomain.
  Segment* Find(uint32_t number) const {
    return number < limit_ ? slots()[number].load(std::memory_order_seq_cst) : nullptr;
  }
  EpochDomain& domain() { return domain_; }

  // The smallest free number.  OutOfSpace: positions have no bits for one segment more.
  Status TakeNumber(uint32_t* number);
  void GiveNumber(uint32_t number) { numbers_->Give(number); }
  // Requires: the number was taken.
  void Install(std::unique_ptr<Segment> segment);
  // Takes a number that a file has already.  Requires: number < limit().
  void InstallFound(std::unique_ptr<Segment> segment);
  // No new reader finds it; it is closed and freed when the last one has left.  Returns what makes its number free again,
  // which may be called after the table has gone.
  [[nodiscard]] std::function<void()> Remove(Segment* segment);
  // All segments, by number.  Good as long as nobody else may Remove, or a guard is held.
  std::vector<Segment*> All() const;
  uint32_t limit() const { return limit_; }
  size_t count() const;

  ~SegmentTable();

 private:
  // Numbers that segments have, or had.
  class Numbers {
   public:
    bool Take(uint32_t limit, uint32_t* number);
    void TakeThis(uint32_t number);
    void Give(uint32_t number);
    uint32_t high_water() const;

   private:
    mutable std::mutex mu_;
    std::vector<uint32_t> free_;  // guarded by mu_; a heap, smallest first
    uint32_t high_water_ = 0;     // guarded by mu_; numbers from here on were never given
  };

  std::atomic<Segment*>* slots() const { return reinterpret_cast<std::atomic<Segment*>*>(table_.data()); }

  uint32_t limit_ = 0;  // constant after Init
  Env* env_ = nullptr;  // constant after Init
  MemoryRegion table_;  // constant after Init; of std::atomic<Segment*>, zero at first
  const std::shared_ptr<Numbers> numbers_ = std::make_shared<Numbers>();
  EpochDomain domain_;  // last: it frees segments
};

}  // namespace ev::ssd_log
