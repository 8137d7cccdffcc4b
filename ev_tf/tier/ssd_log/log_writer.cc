#include "ev_tf/tier/ssd_log/log_writer.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <shared_mutex>
#include <utility>

#include "ev_tf/base/sync_point.h"

namespace ev::ssd_log {
namespace {

// Disk space is taken ahead in steps, as much as there is already: few extents, an early ENOSPC, and small tables stay small.
constexpr uint64_t kMinReserveBytes = uint64_t{256} << 10;
constexpr uint64_t kMaxReserveBytes = uint64_t{8} << 20;

}  // namespace

uint64_t LogNumbers::DrawSequences(uint64_t n) {
  for (;;) {
    const uint64_t first = next_sequence.fetch_add(n, std::memory_order_relaxed);
    // Else one of them is a multiple of 2^32, whose low half is a filler's: they are left out.
    if (static_cast<uint32_t>(first - 1) + n <= UINT32_MAX) return first;
  }
}

void LogNumbers::SkipTo(uint64_t sequence) {
  uint64_t next = next_sequence.load(std::memory_order_relaxed);
  while (next < sequence && !next_sequence.compare_exchange_weak(next, sequence, std::memory_order_relaxed)) {
  }
}

LogWriter::LogWriter(Env* env, const WriterOptions& options, const Geometry& geometry, Stream stream,
                     LogNumbers* numbers, SegmentTable* table, Counters* counters)
    : env_(env),
      options_(options),
      geometry_(geometry),
      stream_(stream),
      numbers_(numbers),
      table_(table),
      counters_(counters),
      buffer_slots_(SlotsOfBuffer(geometry)),
      buffer_bytes_(size_t{buffer_slots_ / geometry.records_per_group} * geometry.group_bytes) {}

LogWriter::~LogWriter() {
  for (Buffer* buffer : {&active_, &sealed_}) {
    if (buffer->bytes != nullptr) BufferPool::Global().Give(std::move(buffer->bytes), buffer_bytes_);
  }
}

void LogWriter::StartAt(uint64_t ordinal) {
  std::lock_guard<std::mutex> lock(mu_);
  flushed_end_ = ordinal << 32;
  end_ = flushed_end_;
  durable_end_ = flushed_end_;
}

Status LogWriter::Append(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
  const uint64_t first = numbers_->DrawSequences(keys.size());
  return AppendEach(
      positions, [&](size_t i) { return first + i; },
      [&](size_t i, uint64_t sequence, std::byte* record) {
        EncodeRecord(keys[i], sequence, rows.data() + i * geometry_.row_bytes, geometry_.row_bytes, record);
      });
}

Status LogWriter::AppendCopies(Span<const RecordView> records, Span<Position> positions) {
  return AppendEach(
      positions, [&](size_t i) { return records[i].sequence; },
      [&](size_t i, uint64_t sequence, std::byte* record) {
        if (sequence == records[i].sequence) {
          std::memcpy(record, records[i].record, geometry_.record_bytes);
        } else {
          EncodeRecord(records[i].key, sequence, records[i].row, geometry_.row_bytes, record);
        }
      });
}

template <typename SequenceOf, typename Write>
Status LogWriter::AppendEach(Span<Position> positions, const SequenceOf& sequence_of, const Write& write) {
  Lock lock(mu_);
  for (size_t done = 0; done < positions.size();) {
    Status status = MakeRoom(lock, sequence_of(done));
    // Space may be about to come back.
    if (status.code() == StatusCode::kOutOfSpace && env_->CloseNow()) status = MakeRoom(lock, sequence_of(done));
    if (!status.ok()) {
      Forget({positions.data(), done});
      return status;
    }
    const size_t end = std::min(done + RoomOfActive(), positions.size());
    done = Fill(done, end, positions.data(), sequence_of, write);
  }
  return OkStatus();
}

uint32_t LogWriter::RoomOfActive() const {
  return std::min(active_.first + buffer_slots_, geometry_.slots) - active_.end;
}

// A row whose number is below the window, as more than 2^31 rows were put since, gets the window's first number instead.  The
// versions of its key keep their order: earlier ones have smaller numbers still, and a later one, if there is any, was put after
// the row was chosen to be copied, or so shortly before that the index had not been told; so its number is one of the end of the
// log, 2^31 above.  A put that waited for as long between its number and its place gets the first one too, and is its key's
// newest still: nobody puts a key while another thread does.
template <typename SequenceOf, typename Write>
size_t LogWriter::Fill(size_t begin, size_t end, Position* positions, const SequenceOf& sequence_of,
                       const Write& write) {
  Segment* const segment = active_.segment;
  const SequenceWindow& window = segment->window;
  uint32_t slot = active_.end;
  size_t i = begin;
  for (; i < end && sequence_of(i) <= window.last(); ++i, ++slot) {
    std::byte* record = at(active_, slot);
    if (slot % geometry_.records_per_group == 0) {  // a lent buffer holds somebody's old bytes
      const uint32_t used = geometry_.records_per_group * geometry_.record_bytes;
      std::memset(record + used, 0, geometry_.group_bytes - used);
    }
    write(i, std::max(sequence_of(i), window.first()), record);
    segment->records_crc = AddRecordCrc(segment->records_crc, record);
    segment->SetLive(slot);
    positions[i] = segment->first_position + slot;
  }
  active_.end = slot;
  segment->appended.store(slot, std::memory_order_release);
  end_.store(PointOf(*segment, slot), std::memory_order_release);
  Add(counters_->slots, i - begin);
  if (active_.end == geometry_.slots) Close();  // the sealed buffer ends it
  return i;
}

void LogWriter::Close() {
  Segment* const segment = std::exchange(open_, nullptr);
  segment->closed_at = Value(counters_->rows_put);
  segment->closed.store(true, std::memory_order_release);
}

void LogWriter::AddFillers() {
  const uint32_t end = geometry_.next_group(active_.end);
  Add(counters_->slots, end - active_.end);
  Segment* const segment = active_.segment;
  for (uint32_t slot = active_.end; slot < end; ++slot) {
    EncodeFiller(geometry_.record_bytes, at(active_, slot));
    segment->records_crc = AddRecordCrc(segment->records_crc, at(active_, slot));
  }
  active_.end = end;
  segment->appended.store(end, std::memory_order_release);
  end_.store(PointOf(*segment, end), std::memory_order_release);
  if (end == geometry_.slots && open_ != nullptr) Close();  // else its last row has closed it
}

Status LogWriter::MakeRoom(Lock& lock, uint64_t sequence) {
  for (;;) {
    // The window of the next one has it, by W4.
    if (open_ != nullptr && sequence > open_->window.last()) EV_RETURN_IF_ERROR(CloseOpenLocked(lock));
    if (active_.bytes != nullptr) {
      if (RoomOfActive() > 0) return OkStatus();
      EV_RETURN_IF_ERROR(WaitForSealed(lock));
      if (active_.bytes == nullptr || RoomOfActive() > 0) continue;  // the lock was open: another thread was here
      Seal();
      EV_RETURN_IF_ERROR(WriteSealed(lock));
      continue;
    }
    if (sealed_.bytes != nullptr && !writing_) {  // it could not be written before
      EV_RETURN_IF_ERROR(WriteSealed(lock));
      continue;
    }
    if (open_ == nullptr) {
      EV_RETURN_IF_ERROR(OpenSegment());
      assert(sequence <= open_->window.last());
    }
    EV_RETURN_IF_ERROR(TakeBuffer());
  }
}

Status LogWriter::TakeBuffer() {
  Buffer buffer;
  buffer.bytes = BufferPool::Global().Take(buffer_bytes_);
  if (buffer.bytes == nullptr) {
    return OutOfSpace("memory: expected a buffer of " + std::to_string(buffer_bytes_) + " bytes, found none");
  }
  buffer.segment = open_;
  buffer.first = buffer.end = open_->appended.load(std::memory_order_relaxed);
  std::lock_guard<FairSharedMutex> view(view_mu_);
  active_ = std::move(buffer);
  return OkStatus();
}

void LogWriter::Seal() {
  std::lock_guard<FairSharedMutex> view(view_mu_);
  sealed_ = std::move(active_);
  active_ = Buffer{};
}

Status LogWriter::WaitForSealed(Lock& lock) {
  while (sealed_.bytes != nullptr) {
    if (writing_) {
      sealed_written_.wait(lock);
    } else {
      EV_RETURN_IF_ERROR(WriteSealed(lock));
    }
  }
  return OkStatus();
}

Status LogWriter::WriteSealed(Lock& lock, bool alone) {
  writing_ = true;
  if (!alone) lock.unlock();
  const uint64_t start = env_->NowNanos();
  Status status = WriteBuffer(sealed_);  // nobody changes it while writing_ is true
  counters_->write_ns.Record(env_->NowNanos() - start);
  if (!alone) lock.lock();
  writing_ = false;
  if (status.ok()) {
    Segment* const segment = sealed_.segment;
    if (options_.durable && !IsUnsynced(segment)) unsynced_.push_back(segment);
    flushed_end_ = PointOf(*segment, sealed_.end);
    if (segment != open_) sync_wish_ = true;
    AlignedBytes bytes;
    {
      std::lock_guard<FairSharedMutex> view(view_mu_);
      segment->flushed.store(sealed_.end, std::memory_order_release);
      bytes = std::move(sealed_.bytes);
      sealed_ = Buffer{};
    }
    BufferPool::Global().Give(std::move(bytes), buffer_bytes_);
  }
  sealed_written_.notify_all();
  return status;
}

bool LogWriter::IsComplete(const Segment& segment) {
  return segment.closed.load(std::memory_order_relaxed) &&
         segment.flushed.load(std::memory_order_relaxed) == segment.appended.load(std::memory_order_relaxed);
}

bool LogWriter::IsUnsynced(const Segment* segment) const {
  return std::find(unsynced_.begin(), unsynced_.end(), segment) != unsynced_.end();
}

Status LogWriter::WriteBuffer(const Buffer& buffer) {
  EV_SYNC_POINT("ssd_log.write");
  const uint64_t offset = geometry_.offset(buffer.first);
  // Whole groups: fillers and full buffers see to it.
  const uint64_t end = geometry_.offset(geometry_.next_group(buffer.end));
  EV_RETURN_IF_ERROR(Reserve(buffer.segment, end));
  EV_RETURN_IF_ERROR(buffer.segment->file->WriteAt(offset, {buffer.bytes.get(), end - offset}));
  Add(counters_->written_bytes, end - offset);
  return OkStatus();
}

Status LogWriter::Reserve(Segment* segment, uint64_t end) {
  const uint64_t held = segment->held_bytes.load(std::memory_order_relaxed);
  if (end <= held) return OkStatus();
  const uint64_t ahead = std::clamp(held, kMinReserveBytes, kMaxReserveBytes);
  uint64_t to = std::max(end, std::min(held + ahead, geometry_.file_bytes()));
  Status status = segment->file->Allocate(held, to - held);
  if (!status.ok() && to != end) {  // less may still be there
    to = end;
    status = segment->file->Allocate(held, to - held);
  }
  EV_RETURN_IF_ERROR(status);
  segment->held_bytes.store(to, std::memory_order_relaxed);
  Add(counters_->file_bytes, to - held);
  return OkStatus();
}

Status LogWriter::OpenSegment() {
  uint32_t number = 0;
  EV_RETURN_IF_ERROR(table_->TakeNumber(&number));
  const uint64_t ordinal = numbers_->next_ordinal.fetch_add(1, std::memory_order_relaxed);
  const SequenceWindow window(numbers_->next_sequence.load(std::memory_order_relaxed));
  const std::string path = options_.path + "/" + SegmentName(number);
  std::unique_ptr<File> file;
  OpenOptions how;
  how.create = true;
  how.direct = options_.direct;
  Status status = env_->Open(path, how, &file);
  AlignedBytes header = NewAlignedBytes(kHeaderBytes);
  if (status.ok() && header == nullptr)
    status = OutOfSpace("memory: expected 4096 bytes for a file header, found none");
  if (status.ok()) {
    std::memset(header.get(), 0, kHeaderBytes);
    EncodeFileHeader(geometry_, number, ordinal, window, header.get());
    status = file->WriteAt(0, {header.get(), kHeaderBytes});
    // Before any row: a file with rows and no header is then a damaged one, not one that power was lost over.
    if (status.ok() && options_.durable) status = file->Sync();
  }
  if (!status.ok()) {
    if (file != nullptr) static_cast<void>(env_->Unlink(path));
    table_->GiveNumber(number);
    return status;
  }
  auto segment = std::make_unique<Segment>(number, ordinal, window, geometry_, std::move(file));
  segment->stream = stream_;
  if (!options_.direct) segment->map = segment->file->Map(geometry_.file_bytes());
  segment->held_bytes.store(kHeaderBytes, std::memory_order_relaxed);
  Add(counters_->file_bytes, kHeaderBytes);
  Add(counters_->written_bytes, kHeaderBytes);
  Add(counters_->segments_made, 1);
  directory_changed_ = true;
  open_ = segment.get();
  table_->Install(std::move(segment));
  return OkStatus();
}

void LogWriter::Forget(Span<const Position> positions) {
  for (const Position position : positions) {
    // There, as one of its rows is live.
    table_->Find(position / geometry_.slots)->ClearLive(position % geometry_.slots);
  }
}

Status LogWriter::WriteOutLocked(Lock& lock) {
  // Others append while the first buffer is written; then they wait, or there would always be one more.
  for (bool alone = false;; alone = true) {
    EV_RETURN_IF_ERROR(WaitForSealed(lock));
    if (active_.bytes == nullptr) return OkStatus();
    AddFillers();
    Seal();
    EV_RETURN_IF_ERROR(WriteSealed(lock, alone));
  }
}

Status LogWriter::WriteOut() {
  Lock lock(mu_);
  return WriteOutLocked(lock);
}

Status LogWriter::Flush() {
  std::lock_guard<std::mutex> one(flush_mu_);
  Lock lock(mu_);
  EV_RETURN_IF_ERROR(WriteOutLocked(lock));
  sync_wish_ = false;
  if (!options_.durable) {
    durable_end_.store(flushed_end_, std::memory_order_release);
    return OkStatus();
  }
  struct Part {
    Segment* segment;
    uint32_t flushed;
    bool closed;
  };
  std::vector<Part> parts;
  for (Segment* s : unsynced_) parts.push_back({s, s->flushed.load(std::memory_order_relaxed), IsComplete(*s)});
  const uint64_t point = flushed_end_;
  const bool sync_directory = std::exchange(directory_changed_, false);
  lock.unlock();
  Status status = sync_directory ? env_->SyncDirectory(options_.path) : OkStatus();
  // None of them can be unlinked meanwhile: that waits for durable_end_.
  for (size_t i = 0; status.ok() && i < parts.size(); ++i) status = parts[i].segment->file->Sync();
  for (size_t i = 0; status.ok() && i < parts.size(); ++i) {
    status = WriteMark(parts[i].segment, parts[i].flushed, parts[i].closed);
  }
  lock.lock();
  if (!status.ok()) {
    directory_changed_ = directory_changed_ || sync_directory;
    return status;
  }
  Add(counters_->syncs, parts.size());
  for (const Part& part : parts) {
    if (part.segment->flushed.load(std::memory_order_relaxed) == part.flushed) {
      unsynced_.erase(std::remove(unsynced_.begin(), unsynced_.end(), part.segment), unsynced_.end());
      part.segment->synced.store(IsComplete(*part.segment), std::memory_order_relaxed);
    }
  }
  durable_end_.store(point, std::memory_order_release);
  return OkStatus();
}

Status LogWriter::WriteMark(Segment* segment, uint32_t synced, bool closed) {
  AlignedBytes sector = NewAlignedBytes(kSectorBytes);
  if (sector == nullptr) return OutOfSpace("memory: expected 512 bytes for a mark, found none");
  std::memset(sector.get(), 0, kSectorBytes);
  EncodeMark(segment->ordinal, synced, closed, sector.get());
  EV_RETURN_IF_ERROR(segment->file->WriteAt(kMarkOffset, {sector.get(), kSectorBytes}));
  Add(counters_->written_bytes, kSectorBytes);
  return OkStatus();
}

Status LogWriter::CloseOpenSegment(uint32_t rows) {
  Lock lock(mu_);
  EV_RETURN_IF_ERROR(WaitForSealed(lock));
  const bool few = open_ != nullptr && open_->appended.load(std::memory_order_relaxed) < rows;
  return few ? OkStatus() : CloseOpenLocked(lock);
}

Status LogWriter::CloseOpenLocked(Lock& lock) {
  if (open_ == nullptr) return WriteOutLocked(lock);
  const uint64_t ordinal = open_->ordinal;
  EV_RETURN_IF_ERROR(GiveBackSpaceLocked(lock));
  if (open_ == nullptr || open_->ordinal != ordinal) return OkStatus();  // another thread has closed it meanwhile
  open_->synced = options_.durable && !IsUnsynced(open_);
  Close();
  sync_wish_ = true;
  return OkStatus();
}

Status LogWriter::GiveBackSpace() {
  Lock lock(mu_);
  return GiveBackSpaceLocked(lock);
}

Status LogWriter::GiveBackSpaceLocked(Lock& lock) {
  EV_RETURN_IF_ERROR(WriteOutLocked(lock));  // and nobody else writes, as long as the lock is held
  if (open_ == nullptr) return OkStatus();
  uint64_t size = 0;
  EV_RETURN_IF_ERROR(open_->file->Size(&size));
  EV_RETURN_IF_ERROR(open_->file->Truncate(size));
  Subtract(counters_->file_bytes, open_->held_bytes.exchange(size, std::memory_order_relaxed) - size);
  return OkStatus();
}

bool LogWriter::TakeSyncWish() { return sync_wish_.exchange(false, std::memory_order_relaxed); }

bool LogWriter::OpenSegmentIsPoor(double live_share) {
  std::lock_guard<std::mutex> lock(mu_);
  return open_ != nullptr &&
         open_->live.load(std::memory_order_relaxed) < live_share * open_->appended.load(std::memory_order_relaxed);
}

LogWriter::Found LogWriter::ReadBuffered(const Segment* segment, uint32_t slot, Key key, std::byte* row) {
  std::shared_lock<FairSharedMutex> view(view_mu_);
  if (slot < segment->flushed.load(std::memory_order_acquire)) return Found::kInFile;
  if (slot >= segment->appended.load(std::memory_order_acquire)) return Found::kAbsent;
  for (const Buffer* buffer : {&active_, &sealed_}) {
    // `end` grows without view_mu_; what is below appended() is below it.
    if (buffer->bytes == nullptr || buffer->segment != segment || slot < buffer->first ||
        slot >= buffer->first + buffer_slots_) {
      continue;
    }
    const std::byte* record = at(*buffer, slot);
    RecordHeader header{};
    std::memcpy(&header, record, sizeof(header));
    if (header.sequence_low == kNoSequence || static_cast<Key>(header.key) != key) return Found::kAbsent;
    std::memcpy(row, record + sizeof(header), geometry_.row_bytes);
    return Found::kCopied;
  }
  return Found::kAbsent;
}

}  // namespace ev::ssd_log
