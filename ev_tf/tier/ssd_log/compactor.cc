#include "ev_tf/tier/ssd_log/compactor.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/env/buffer_pool.h"

namespace ev::ssd_log {
namespace {

constexpr size_t kReadBytes = BufferPool::kBufferBytes;
constexpr double kNotWorthCopying = 0.9;  // a segment with more live rows gives back less than it costs
constexpr double kUrgentShare = 0.75;     // of the wanted share of live rows

}  // namespace

Compactor::Compactor(Env* env, const CompactorOptions& options, const Geometry& geometry, SegmentTable* table, Log* log,
                     Counters* counters)
    : env_(env),
      options_(options),
      geometry_(geometry),
      table_(table),
      log_(log),
      counters_(counters),
      share_(options.live_share) {}

bool Compactor::TooManyDeadRows(double share) const {
  const uint64_t dead = Value(counters_->dead_slots);
  const uint64_t slots = Value(counters_->slots);
  return slots > dead && static_cast<double>(Value(counters_->rows)) < share * static_cast<double>(slots - dead);
}

bool Compactor::Wanted() const {
  if (look_for_dead_.load(std::memory_order_relaxed)) return true;
  if (!TooManyDeadRows(share_.load(std::memory_order_relaxed))) return false;
  return !stuck_.load(std::memory_order_relaxed) ||
         stuck_at_.load(std::memory_order_relaxed) != Value(counters_->rows_put);
}

bool Compactor::Urgent() const { return Wanted() && TooManyDeadRows(options_.live_share * kUrgentShare); }

Status Compactor::Step(size_t* copied) {
  std::lock_guard<std::mutex> lock(mu_);
  return StepLocked(copied);
}

Status Compactor::TryStep(size_t* copied) {
  *copied = 0;
  std::unique_lock<std::mutex> lock(mu_, std::try_to_lock);
  return lock.owns_lock() ? StepLocked(copied) : OkStatus();
}

void Compactor::TryAllAgain() {
  std::lock_guard<std::mutex> lock(mu_);
  for (Segment* segment : table_->All()) segment->rest_until = 0;
  stuck_.store(false, std::memory_order_relaxed);
}

Status Compactor::StepLocked(size_t* copied) {
  *copied = 0;
  const uint64_t start = env_->NowNanos();
  if (victim_ != nullptr && victim_->live.load(std::memory_order_acquire) == 0) FinishVictim();
  if (look_for_dead_.exchange(false, std::memory_order_relaxed)) FindDead();
  EV_RETURN_IF_ERROR(UnlinkDead());
  const double share = share_.load(std::memory_order_relaxed);
  if (options_.relocator == nullptr || !TooManyDeadRows(share)) return OkStatus();
  // A victim may have lost its last rows meanwhile: then it is the next one's turn.
  while (*copied == 0 && TooManyDeadRows(share)) {
    if (victim_ == nullptr) {
      FindDead();
      victim_ = PickVictim();
      next_slot_ = 0;
    }
    if (victim_ == nullptr) {
      stuck_at_.store(Value(counters_->rows_put), std::memory_order_relaxed);
      stuck_.store(true, std::memory_order_relaxed);
      return UnlinkDead();
    }
    stuck_.store(false, std::memory_order_relaxed);
    Status status = CopySome(victim_, copied);
    if (!status.ok()) {
      victim_->unreadable = status.code() == StatusCode::kCorruption;
      FinishVictim();
      return status;
    }
    if (next_slot_ >= victim_->appended.load(std::memory_order_relaxed)) FinishVictim();
  }
  counters_->compaction_ns.Record(env_->NowNanos() - start);
  return UnlinkDead();
}

void Compactor::FinishVictim() {
  // Rows that are live still belong to someone who is about to say where they are: not again before he did.
  victim_->rest_until = Value(counters_->rows_put) + 1;
  victim_ = nullptr;
  // A thousand tables that rest hold no rows here.
  keys_ = {};
  records_ = {};
  from_ = {};
  copies_ = {};
  slots_ = {};
  FindDead();
}

void Compactor::FindDead() {
  for (Segment* s : table_->All()) {
    if (s->dead || s == victim_ || !s->closed.load(std::memory_order_acquire) ||
        s->live.load(std::memory_order_acquire) != 0 ||
        s->flushed.load(std::memory_order_acquire) != s->appended.load(std::memory_order_relaxed)) {
      continue;
    }
    s->dead = true;
    s->dead_since = log_->end();
    dead_.push_back(s);
    Add(counters_->dead_slots, s->appended.load(std::memory_order_relaxed));
  }
}

void Compactor::Hold() {
  std::lock_guard<std::mutex> lock(mu_);
  ++holds_;
}

void Compactor::Release() {
  {
    std::lock_guard<std::mutex> lock(mu_);
    --holds_;
  }
  NoteEmpty();  // what waited can be unlinked
}

Status Compactor::UnlinkDead() {
  if (holds_ > 0) return OkStatus();
  for (size_t i = 0; i < dead_.size();) {
    Segment* const s = dead_[i];
    if (options_.durable && !log_->IsDurable(s->dead_since)) {
      ++i;
      continue;
    }
    EV_RETURN_IF_ERROR(env_->Unlink(s->file->path()));
    dead_.erase(dead_.begin() + static_cast<std::ptrdiff_t>(i));
    const uint32_t slots = s->appended.load(std::memory_order_relaxed);
    Subtract(counters_->slots, slots);
    Subtract(counters_->dead_slots, slots);
    Subtract(counters_->file_bytes, s->held_bytes.load(std::memory_order_relaxed));
    Add(counters_->segments_unlinked, 1);
    std::function<void()> give_number = table_->Remove(s);
    // Its rows have moved: who has read one here must not find another one under the same position.
    if (options_.relocator != nullptr) {
      options_.relocator->WhenUnseen(std::move(give_number));
    } else {
      give_number();
    }
  }
  table_->domain().Collect();
  return OkStatus();
}

Segment* Compactor::PickVictim() const {
  Segment* best = nullptr;
  double most = 0;
  for (Segment* s : table_->All()) {
    // First: what was appended before it is closed may be less than it has then.
    if (s->dead || s->unreadable || !s->closed.load(std::memory_order_acquire)) continue;
    const uint32_t appended = s->appended.load(std::memory_order_relaxed);
    if (appended == 0 || s->flushed.load(std::memory_order_acquire) != appended ||
        Value(counters_->rows_put) < s->rest_until) {
      continue;
    }
    const double worth = Worth(*s);
    if (worth > most) {
      best = s;
      most = worth;
    }
  }
  return best;
}

double Compactor::Worth(const Segment& segment) const {
  const double slots = segment.appended.load(std::memory_order_relaxed);
  const double live =
      std::max<double>(segment.live.load(std::memory_order_relaxed), 1);  // its last row may just have gone
  if (live >= kNotWorthCopying * slots) return 0;
  // Its rows were there before it was full: none is of age 0.
  const auto age = static_cast<double>(Value(counters_->rows_put) - segment.closed_at + geometry_.slots);
  return (slots - live) / live * age;
}

Status Compactor::CopySome(Segment* victim, size_t* copied) {
  const uint32_t end = victim->appended.load(std::memory_order_relaxed);
  slots_.clear();
  for (; next_slot_ < end; ++next_slot_) {
    if (!victim->IsLive(next_slot_)) continue;
    if (!slots_.empty() && geometry_.offset(next_slot_) + geometry_.record_bytes - geometry_.offset(slots_[0]) >
                               kReadBytes - kSectorBytes) {
      break;
    }
    slots_.push_back(next_slot_);
  }
  if (slots_.empty()) return OkStatus();
  EV_RETURN_IF_ERROR(CopyLive(victim));
  EV_SYNC_POINT("compaction.copied");
  from_.resize(slots_.size());
  for (size_t i = 0; i < slots_.size(); ++i) from_[i] = victim->first_position + slots_[i];
  const auto moved = std::make_unique<bool[]>(slots_.size());
  options_.relocator->Relocate(keys_, from_, copies_, {moved.get(), slots_.size()});
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (moved[i]) {
      victim->ClearLive(slots_[i]);
    } else if (Segment* s = table_->Find(copies_[i] / geometry_.slots)) {
      s->ClearLive(copies_[i] % geometry_.slots);
    }
  }
  EV_SYNC_POINT("compaction.relocated");
  *copied = slots_.size();
  Add(counters_->rows_copied, slots_.size());
  return OkStatus();
}

Status Compactor::CopyLive(Segment* victim) {
  const uint64_t begin = geometry_.offset(slots_.front()) / kSectorBytes * kSectorBytes;
  const uint64_t last = geometry_.offset(slots_.back()) + geometry_.record_bytes;
  const uint64_t bytes = (last + kSectorBytes - 1) / kSectorBytes * kSectorBytes - begin;
  AlignedBytes buffer = BufferPool::Global().Take(bytes);
  if (buffer == nullptr)
    return IoError("compaction: expected " + std::to_string(bytes) + " bytes of memory, found none");
  Status status = victim->file->ReadAt(begin, {buffer.get(), bytes});
  Add(counters_->compaction_read_bytes, bytes);
  if (status.ok()) status = FindRecords(*victim, begin, buffer.get());
  copies_.resize(slots_.size());
  if (status.ok()) status = log_->AppendCopies(records_, copies_);
  BufferPool::Global().Give(std::move(buffer), bytes);
  return status;
}

Status Compactor::FindRecords(const Segment& victim, uint64_t begin, const std::byte* bytes) {
  keys_.clear();
  records_.clear();
  for (const uint32_t slot : slots_) {
    const std::byte* record = bytes + (geometry_.offset(slot) - begin);
    const RecordView view = DecodeRecord(record, geometry_.row_bytes, victim.window);
    if (view.kind != RecordKind::kRow) {
      return BadRecord(record, geometry_.row_bytes, victim.file->path(), geometry_.offset(slot));
    }
    keys_.push_back(view.key);
    records_.push_back(view);
  }
  return OkStatus();
}

}  // namespace ev::ssd_log
