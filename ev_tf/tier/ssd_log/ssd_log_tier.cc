#include "ev_tf/tier/ssd_log/ssd_log_tier.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/tier/ssd_log/background.h"
#include "ev_tf/tier/ssd_log/compactor.h"
#include "ev_tf/tier/ssd_log/log_reader.h"
#include "ev_tf/tier/ssd_log/segment_file.h"

namespace ev {
namespace {

using namespace ssd_log;  // NOLINT(google-build-using-namespace): this file is the door of that room

constexpr double kLiveShare = 0.605;      // of bytes: 0.6 is promised, and what is above costs copies
constexpr double kMostLiveSlots = 0.75;   // of slots: above, each row is copied more often than its space is worth
constexpr double kSettledShare = 0.6;     // of bytes: S1
constexpr double kMaxSettledShare = 0.9;  // of slots: as far as Settle() goes for it
constexpr double kSettleStep = 0.04;
constexpr size_t kWaitingBuffers = 16;  // write buffers of a process that may wait for more rows
constexpr uint32_t kSmallestShare = 4;  // of a full segment's slots: with less, none is closed for a save
constexpr uint32_t kPartialShare = 4;   // of all segments that there can be: with more, none is closed either
constexpr uint32_t kFreeShare = 4;      // of them: with less to come, no file of another log is taken
constexpr size_t kCopiesPerPut = 3;     // rows that a sync Put copies for each row put: ahead of what garbage needs

// Small rows have much header: their share of bytes cannot be had, so that of slots is bounded.
double WantedSlots(const Geometry& g) {
  const double row_share = static_cast<double>(g.row_bytes) * g.slots / static_cast<double>(g.file_bytes());
  return std::min(kLiveShare / row_share, kMostLiveSlots);
}

WriterOptions ForWriter(const SsdLogOptions& options) {
  WriterOptions w;
  w.path = options.path;
  w.direct = options.io_mode == SsdIoMode::kDirect;
  w.durable = options.durable;
  return w;
}

CompactorOptions ForCompactor(const SsdLogOptions& options, const Geometry& geometry) {
  CompactorOptions c;
  c.path = options.path;
  c.durable = options.durable;
  c.live_share = WantedSlots(geometry);
  c.relocator = options.relocator;
  return c;
}

class HoldOnFiles final : public SegmentedTier::Hold {
 public:
  explicit HoldOnFiles(Compactor* compactor) : compactor_(compactor) { compactor_->Hold(); }
  HoldOnFiles(const HoldOnFiles&) = delete;
  HoldOnFiles& operator=(const HoldOnFiles&) = delete;
  ~HoldOnFiles() override { compactor_->Release(); }

 private:
  Compactor* const compactor_;
};

}  // namespace

Status SsdLogOptions::ReadEnvironment() {
  const char* value = std::getenv("TF_SSDHASH_ASYNC_COMPACTION");
  if (value == nullptr || *value == '\0' || std::strcmp(value, "0") == 0) {
    async_compaction = false;
  } else if (std::strcmp(value, "1") == 0) {
    async_compaction = true;
  } else {
    return InvalidArgument(std::string("TF_SSDHASH_ASYNC_COMPACTION: expected 0 or 1, found ") + value);
  }
  return OkStatus();
}

class SsdLogTier::Impl final : public BackgroundWorker {
 public:
  using Sealed = SegmentedTier::Sealed;

  Impl(const SsdLogOptions& options, const Geometry& geometry)
      : options_(options),
        env_(options.env != nullptr ? options.env : &Env::Default()),
        geometry_(geometry),
        log_(env_, ForWriter(options), geometry, &table_, &counters_),
        reader_(env_, geometry, &table_, &log_, &counters_),
        compactor_(env_, ForCompactor(options, geometry), geometry, &table_, &log_, &counters_) {}

  ~Impl() override {
    if (registered_) Background::Global().Unregister(this);
    if (!opened_ || options_.read_in_place) return;
    if (options_.delete_on_close) {
      for (Segment* segment : table_.All()) static_cast<void>(env_->Unlink(segment->file->path()));
      lock_.reset();
      static_cast<void>(env_->Unlink(LockPath()));
    } else {
      static_cast<void>(log_.Flush());
    }
  }

  Status Open() {
    if (options_.read_in_place) return table_.Init(geometry_, env_);
    EV_RETURN_IF_ERROR(env_->CreateDirectories(options_.path));
    EV_RETURN_IF_ERROR(env_->Lock(LockPath(), &lock_));
    EV_RETURN_IF_ERROR(table_.Init(geometry_, env_));
    EV_RETURN_IF_ERROR(HandleExisting());
    EV_RETURN_IF_ERROR(ProbeDirect());
    if (options_.async_compaction) {
      Background::Global().Register(env_, this);
      registered_ = true;
    }
    opened_ = true;
    return OkStatus();
  }

  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
    if (options_.read_in_place) {
      return FailedPrecondition("a log that is read in place: expected no new rows, found some");
    }
    const uint64_t start = env_->NowNanos();
    EV_RETURN_IF_ERROR(TakeError());
    EV_RETURN_IF_ERROR(log_.Append(keys, rows, positions));
    Add(counters_.rows, keys.size());
    Add(counters_.rows_put, keys.size());
    Maintain(keys.size());
    ShareBuffers();
    counters_.put_ns.Record(env_->NowNanos() - start);
    return OkStatus();
  }

  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) {
    const uint64_t start = env_->NowNanos();
    EV_RETURN_IF_ERROR(reader_.Get(keys, positions, rows));
    counters_.get_ns.Record(env_->NowNanos() - start);
    return OkStatus();
  }

  void Remove(Span<const Position> positions) {
    bool emptied = false;
    uint64_t removed = 0;
    {
      EpochGuard guard(table_.domain());
      for (const Position position : positions) {
        Segment* segment = table_.Find(position / geometry_.slots);
        if (segment == nullptr || !segment->ClearLive(position % geometry_.slots)) continue;
        ++removed;
        emptied = emptied || (segment->live.load(std::memory_order_relaxed) == 0 &&
                              segment->closed.load(std::memory_order_relaxed));
      }
    }
    Subtract(counters_.rows, removed);
    Add(counters_.rows_removed, removed);
    if (emptied && !options_.read_in_place) compactor_.NoteEmpty();
    if (registered_ && compactor_.Wanted()) Background::Global().Wake(this);
  }

  Status Flush() {
    if (options_.read_in_place) return OkStatus();
    EV_RETURN_IF_ERROR(log_.Flush());
    compactor_.NoteEmpty();  // what waited for this flush can be unlinked
    if (registered_) {
      Background::Global().Wake(this);
      return OkStatus();
    }
    size_t copied = 0;
    return compactor_.TryStep(&copied);
  }

  Status Settle() {
    if (options_.read_in_place) return OkStatus();
    EV_RETURN_IF_ERROR(TakeError());
    // The share of live rows counts appended slots; S1 counts bytes of files, the unused ends of open segments as well.
    // Where files are few that is a difference: give them back, and work a little further then.
    Status status;
    double share = WantedSlots(geometry_);
    for (; status.ok() && share < kMaxSettledShare; share += kSettleStep) {
      compactor_.WorkBelow(share);
      status = SettleRows();
      if (status.ok() && LiveShare() < kSettledShare) status = log_.GiveBackSpace();
      if (!status.ok() || options_.relocator == nullptr || LiveShare() >= kSettledShare) break;
    }
    compactor_.WorkBelow(WantedSlots(geometry_));
    return status;
  }

  Status CloseSegments() {
    if (options_.read_in_place || table_.count() > table_.limit() / kPartialShare) return OkStatus();
    EV_RETURN_IF_ERROR(log_.CloseOpenSegments(std::max(geometry_.slots / kSmallestShare, 1u)));
    Status synced = SyncClosed();
    KeepError(synced);  // a second sync would say that it is well
    return synced;
  }

  Status HoldSealed(std::vector<Sealed>* segments, std::unique_ptr<SegmentedTier::Hold>* hold) {
    *hold = std::make_unique<HoldOnFiles>(&compactor_);
    segments->clear();
    for (Segment* s : table_.All()) {
      if (!IsSealed(*s)) continue;
      EV_RETURN_IF_ERROR(SyncSealed(s));
      SegmentFile file;
      file.path = s->file->path();
      file.number = s->header_number;
      file.row_bytes = geometry_.row_bytes;
      file.slots = s->appended.load(std::memory_order_relaxed);
      file.most_slots = geometry_.slots;
      file.ordinal = s->ordinal;
      file.records_crc = s->records_crc;
      segments->push_back({std::move(file), s->first_position});
    }
    return OkStatus();
  }

  bool CanAdopt(uint32_t row_bytes, uint32_t most_slots) const {
    return !options_.durable && row_bytes == geometry_.row_bytes && most_slots == geometry_.slots &&
           (options_.read_in_place || table_.count() < table_.limit() - table_.limit() / kFreeShare);
  }

  Status Adopt(const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row, Position* first,
               LinkKind* kind) {
    uint32_t number = 0;
    EV_RETURN_IF_ERROR(table_.TakeNumber(&number));
    *first = number * geometry_.slots;
    const std::string path = options_.read_in_place ? file.path : options_.path + "/" + SegmentName(number);
    Status status = options_.read_in_place ? OkStatus() : env_->Link(file.path, path, kind);
    if (!status.ok()) {
      table_.GiveNumber(number);
      return status;
    }
    std::unique_ptr<File> opened;
    uint64_t bytes = 0;
    OpenOptions how;
    how.write = false;  // others have it too
    how.direct = options_.io_mode == SsdIoMode::kDirect;
    SegmentSequences sequences;
    status = ReadSegment(env_, file, live, row, &sequences);
    if (status.ok()) status = env_->Open(path, how, &opened);
    if (status.ok()) status = opened->Size(&bytes);
    if (!status.ok()) {
      if (!options_.read_in_place) static_cast<void>(env_->Unlink(path));
      return status;
    }
    log_.SkipTo(sequences.end);
    InstallAdopted(file, sequences.window, live, number, bytes, std::move(opened));
    return OkStatus();
  }

  bool RunStep() override {
    size_t copied = 0;
    Status status = compactor_.Step(&copied);
    if (status.ok() && log_.TakeSyncWish()) status = SyncClosed();
    if (!status.ok()) KeepError(status);
    ShareBuffers();
    return status.ok() && copied > 0 && compactor_.Wanted();
  }

  SsdLogMetrics Metrics();

  // Constant after Open().
  SsdLogOptions options_;
  Env* const env_;
  const Geometry geometry_;
  RecoveryReport report_;
  Counters counters_;

 private:
  std::string LockPath() const { return options_.path + "/LOCK"; }

  Status HandleExisting() {
    if (options_.existing == SsdExisting::kRecover) {
      EV_RETURN_IF_ERROR(
          Recover(env_, ForWriter(options_), geometry_, &table_, &counters_, options_.visitor, &report_));
      log_.StartAt(report_.next_ordinal, report_.next_sequence);
      return OkStatus();
    }
    std::vector<std::string> names;
    EV_RETURN_IF_ERROR(env_->List(options_.path, &names));
    for (const std::string& name : names) {
      uint32_t number = 0;
      if (!ParseSegmentName(name, &number)) continue;
      if (options_.existing == SsdExisting::kRefuse) {
        return FailedPrecondition(options_.path + ": expected no rows of an earlier run, found " + name +
                                  ": recover or delete them, or choose another directory");
      }
      EV_RETURN_IF_ERROR(env_->Unlink(options_.path + "/" + name));
    }
    return OkStatus();
  }

  // What the file system makes of O_DIRECT.  That the directory can be written to, the lock has shown.
  Status ProbeDirect() {
    std::unique_ptr<File> file;
    OpenOptions how;
    how.write = false;
    how.direct = options_.io_mode == SsdIoMode::kDirect;
    EV_RETURN_IF_ERROR(env_->Open(LockPath(), how, &file));
    direct_ = file->direct();
    return OkStatus();
  }

  // After a Put of `rows`.  Errors wait for the next one.
  void Maintain(size_t rows) {
    if (log_.TakeSyncWish()) KeepError(SyncClosed());
    if (!compactor_.Wanted()) return;
    if (registered_) {
      Background::Global().Wake(this);
      if (!compactor_.Urgent()) return;  // else this thread helps, so that files do not outgrow their bound
    }
    const size_t budget = kCopiesPerPut * rows;
    for (size_t done = 0; done <= budget && compactor_.Wanted();) {
      size_t copied = 0;
      Status status = compactor_.Urgent() ? compactor_.Step(&copied) : compactor_.TryStep(&copied);
      if (!status.ok()) KeepError(status);
      if (!status.ok() || copied == 0) return;
      done += copied;
    }
  }

  // A log keeps its buffer while it waits for more rows.  Where many logs do, one writes what it has instead.
  void ShareBuffers() {
    if (BufferPool::Global().lent() > kWaitingBuffers) KeepError(log_.WriteOut());
  }

  Status SyncClosed() {
    if (!options_.durable) return OkStatus();
    EV_RETURN_IF_ERROR(log_.Flush());
    compactor_.NoteEmpty();
    return OkStatus();
  }

  // Nobody writes to it any more, not even a mark, and it has rows.
  bool IsSealed(const Segment& s) const {
    // First: what was appended before it is closed may be less than it has then.
    if (!s.closed.load(std::memory_order_acquire)) return false;
    return s.flushed.load(std::memory_order_acquire) == s.appended.load(std::memory_order_relaxed) &&
           s.live.load(std::memory_order_relaxed) != 0 && !s.unsyncable.load(std::memory_order_relaxed) &&
           (!options_.durable || s.synced.load(std::memory_order_relaxed));
  }

  Status SyncSealed(Segment* s) {
    if (s->synced.load(std::memory_order_relaxed)) return OkStatus();
    Status status = s->file->Sync();
    s->synced.store(status.ok(), std::memory_order_relaxed);
    s->unsyncable.store(!status.ok(), std::memory_order_relaxed);  // a second try would forget what the first one lost
    return status;
  }

  void InstallAdopted(const SegmentFile& file, SequenceWindow window, Span<const uint64_t> live, uint32_t number,
                      uint64_t bytes, std::unique_ptr<File> opened) {
    auto segment = std::make_unique<Segment>(number, file.ordinal, window, geometry_, std::move(opened));
    if (options_.io_mode != SsdIoMode::kDirect) segment->map = segment->file->Map(geometry_.file_bytes());
    segment->header_number = file.number;
    segment->records_crc = file.records_crc;
    segment->appended = file.slots;
    segment->flushed = file.slots;
    segment->held_bytes = bytes;
    segment->closed_at = Value(counters_.rows_put);
    segment->closed = true;
    segment->synced = true;
    for (uint32_t slot = 0; slot < file.slots; ++slot) {
      if (HasSlot(live, slot)) segment->SetLive(slot);
    }
    Add(counters_.rows, segment->live);
    Add(counters_.slots, file.slots);
    Add(counters_.file_bytes, bytes);
    table_.Install(std::move(segment));
  }

  // Copies until there is nothing left to gain, and unlinks what has become empty.
  Status SettleRows() {
    bool closed_poor_segments = false;
    for (int round = 0; round < 16; ++round) {
      // Each round: the worker in the background lets victims rest as well.
      compactor_.TryAllAgain();
      EV_RETURN_IF_ERROR(CopyAll());
      EV_RETURN_IF_ERROR(log_.Flush());  // what waited for it can be unlinked
      size_t copied = 0;
      compactor_.NoteEmpty();
      EV_RETURN_IF_ERROR(compactor_.Step(&copied));
      // Each flush adds fillers: where segments are small, they may outweigh what one round more gives back.
      if (copied > 0) continue;
      if (closed_poor_segments) return OkStatus();
      EV_RETURN_IF_ERROR(log_.ClosePoorSegments(WantedSlots(geometry_), &closed_poor_segments));
      if (!closed_poor_segments) return OkStatus();
    }
    return log_.Flush();
  }
  // Bytes of live rows / bytes of files; 1 without files.
  double LiveShare() const {
    const uint64_t bytes = Value(counters_.file_bytes);
    return bytes == 0 ? 1.0
                      : static_cast<double>(Value(counters_.rows) * geometry_.row_bytes) / static_cast<double>(bytes);
  }

  Status CopyAll() {
    for (size_t copied = 1; copied > 0;) EV_RETURN_IF_ERROR(compactor_.Step(&copied));
    return OkStatus();
  }

  void KeepError(const Status& status) {
    if (status.ok()) return;
    std::lock_guard<std::mutex> lock(error_mu_);
    if (error_.ok()) error_ = status;
    has_error_.store(true, std::memory_order_release);
  }
  Status TakeError() {
    if (!has_error_.load(std::memory_order_acquire)) return OkStatus();
    std::lock_guard<std::mutex> lock(error_mu_);
    has_error_.store(false, std::memory_order_relaxed);
    return std::exchange(error_, OkStatus());
  }

  bool direct_ = false;      // constant after Open()
  bool opened_ = false;      // constant after Open()
  bool registered_ = false;  // constant after Open()
  std::unique_ptr<FileLock> lock_;
  SegmentTable table_;
  Log log_;
  LogReader reader_;
  Compactor compactor_;
  std::mutex error_mu_;
  Status error_;  // guarded by error_mu_; of work behind an earlier call
  std::atomic<bool> has_error_{false};
};

SsdLogMetrics SsdLogTier::Impl::Metrics() {
  const Counters& c = counters_;
  SsdLogMetrics m;
  m.rows = Value(c.rows);
  m.file_bytes = Value(c.file_bytes);
  {
    EpochGuard guard(table_.domain());
    for (const Segment* segment : table_.All()) {
      ++m.segments;
      m.index_bytes += sizeof(Segment) + segment->bitmap_bytes();
    }
  }
  m.rows_put = Value(c.rows_put);
  m.rows_got = Value(c.rows_got);
  m.rows_got_buffered = Value(c.rows_got_buffered);
  m.rows_removed = Value(c.rows_removed);
  m.rows_copied = Value(c.rows_copied);
  m.written_bytes = Value(c.written_bytes);
  m.reads = Value(c.reads);
  m.read_bytes = Value(c.read_bytes);
  m.max_read_depth = Value(c.max_read_depth);
  m.compaction_read_bytes = Value(c.compaction_read_bytes);
  m.segments_made = Value(c.segments_made);
  m.segments_unlinked = Value(c.segments_unlinked);
  m.syncs = Value(c.syncs);
  const double row_bytes = geometry_.row_bytes;
  if (m.rows_put > 0)
    m.write_amplification = static_cast<double>(m.written_bytes) / (static_cast<double>(m.rows_put) * row_bytes);
  m.live_share = LiveShare();
  m.get_p50_ns = c.get_ns.Quantile(0.5);
  m.get_p99_ns = c.get_ns.Quantile(0.99);
  m.put_p50_ns = c.put_ns.Quantile(0.5);
  m.put_p99_ns = c.put_ns.Quantile(0.99);
  m.write_p99_ns = c.write_ns.Quantile(0.99);
  m.compaction_p99_ns = c.compaction_ns.Quantile(0.99);
  switch (options_.io_mode) {
    case SsdIoMode::kDirect: m.io = direct_ ? "direct, " : "buffered (the file system refuses O_DIRECT), "; break;
    case SsdIoMode::kBuffered: m.io = "buffered, "; break;
  }
  m.io += env_->read_backend();
  return m;
}

Status SsdLogTier::Open(const SsdLogOptions& options, std::unique_ptr<SsdLogTier>* tier) {
  if (options.path.empty() && !options.read_in_place) {
    return InvalidArgument("path: expected a directory, found nothing");
  }
  Geometry geometry;
  EV_RETURN_IF_ERROR(options.segment_slots > 0
                         ? MakeGeometryOfSlots(options.row_bytes, options.segment_slots, &geometry)
                         : MakeGeometry(options.row_bytes, options.segment_bytes, &geometry));
  auto impl = std::make_unique<Impl>(options, geometry);
  EV_RETURN_IF_ERROR(impl->Open());
  tier->reset(new SsdLogTier(std::move(impl)));
  return OkStatus();
}

SsdLogTier::SsdLogTier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SsdLogTier::~SsdLogTier() = default;

size_t SsdLogTier::row_bytes() const { return impl_->geometry_.row_bytes; }
Status SsdLogTier::Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) {
  return impl_->Get(keys, positions, rows);
}
Status SsdLogTier::Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
  return impl_->Put(keys, rows, positions);
}
void SsdLogTier::Remove(Span<const Key> /*keys*/, Span<const Position> positions) { impl_->Remove(positions); }
Status SsdLogTier::Flush() { return impl_->Flush(); }
size_t SsdLogTier::size() const { return Value(impl_->counters_.rows); }
size_t SsdLogTier::bytes() const { return Value(impl_->counters_.file_bytes); }
TierMetrics SsdLogTier::tier_metrics() const {
  const SsdLogMetrics log = metrics();
  TierMetrics m;
  m.bytes = static_cast<int64_t>(log.file_bytes);
  m.index_bytes = static_cast<int64_t>(log.index_bytes);
  m.device_reads = static_cast<int64_t>(log.reads);
  m.written_bytes = static_cast<int64_t>(log.written_bytes);
  m.compaction_bytes = static_cast<int64_t>(log.rows_copied * row_bytes());
  return m;
}
Status SsdLogTier::CloseSegments() { return impl_->CloseSegments(); }
Status SsdLogTier::HoldSealed(std::vector<Sealed>* segments, std::unique_ptr<Hold>* hold) {
  return impl_->HoldSealed(segments, hold);
}
bool SsdLogTier::CanAdopt(uint32_t row_bytes, uint32_t most_slots) const {
  return impl_->CanAdopt(row_bytes, most_slots);
}
Status SsdLogTier::Adopt(const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row, Position* first,
                         LinkKind* kind) {
  return impl_->Adopt(file, live, row, first, kind);
}
Status SsdLogTier::Settle() { return impl_->Settle(); }
SsdLogMetrics SsdLogTier::metrics() const { return impl_->Metrics(); }
const RecoveryReport& SsdLogTier::recovery() const { return impl_->report_; }

}  // namespace ev
