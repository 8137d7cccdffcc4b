#include "ev_tf/tier/ssd_log/log_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "ev_tf/base/cpu.h"
#include "ev_tf/base/scratch.h"
#include "ev_tf/env/guarded_copy.h"

namespace ev::ssd_log {
namespace {

constexpr uint32_t kMergedBytes = 4096;      // a device serves a page as fast as a sector
constexpr uint32_t kPrefetchedBytes = 1024;  // of one record; the hardware follows a longer run by itself
// Of mapped records that are copied at a time: they and their copies stay in the second-level cache.
constexpr size_t kMappedBytes = 256 << 10;
// Mapped records are copied one after the other.  So where more than one in kFewWaits has to come from the device, the rest and
// the next batches are read as from a device, all at once, before it is tried again with a few.
constexpr size_t kFewWaits = 32;
constexpr int kNotCachedRounds = 64;
constexpr size_t kFirstTried = 64;

Status Gone(Position position) {
  return NotFound("position " + std::to_string(position) + ": its row was moved or removed meanwhile");
}

}  // namespace

struct LogReader::Run {
  size_t first = 0;  // in the sorted rows
  size_t end = 0;
};

Status LogReader::Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) {
  EpochGuard guard(table_->domain());
  std::vector<Wanted> wanted;
  EV_RETURN_IF_ERROR(FindAll(keys, positions, rows, &wanted));
  Add(counters_->rows_got, keys.size());
  Add(counters_->rows_got_buffered, keys.size() - wanted.size());
  if (wanted.empty()) return OkStatus();
  const auto mapped = [](const Wanted& w) { return w.segment->map != nullptr; };
  if (std::all_of(wanted.begin(), wanted.end(), mapped) && LooksCached()) {
    EV_RETURN_IF_ERROR(ReadMapped(keys, &wanted, rows));
  }
  return wanted.empty() ? OkStatus() : ReadFiles(keys, &wanted, rows);
}

Status LogReader::FindAll(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows,
                          std::vector<Wanted>* wanted) {
  wanted->reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    Segment* segment = table_->Find(positions[i] / geometry_.slots);
    if (segment == nullptr) return Gone(positions[i]);
    const uint32_t slot = positions[i] % geometry_.slots;
    if (slot >= segment->flushed.load(std::memory_order_acquire)) {
      const LogWriter::Found found = log_->ReadBuffered(segment, slot, keys[i], rows.data() + i * geometry_.row_bytes);
      if (found == LogWriter::Found::kAbsent) return Gone(positions[i]);
      if (found == LogWriter::Found::kCopied) continue;
    }
    wanted->push_back({positions[i], static_cast<uint32_t>(i), segment});
  }
  return OkStatus();
}

Status LogReader::TakeRow(const std::byte* record, const Wanted& wanted, Key key, std::byte* row) const {
  const RecordView view = DecodeRecord(record, geometry_.row_bytes, wanted.segment->window);
  if (view.kind == RecordKind::kBad) {
    return BadRecord(record, geometry_.row_bytes, wanted.segment->file->path(),
                     geometry_.offset(wanted.position % geometry_.slots));
  }
  // A whole record of another key: the position was given again after its row had gone.
  if (view.kind != RecordKind::kRow || view.key != key) return Gone(wanted.position);
  std::memcpy(row, view.row, geometry_.row_bytes);
  return OkStatus();
}

Status LogReader::ReadMapped(Span<const Key> keys, std::vector<Wanted>* wanted, Span<std::byte> rows) {
  Scratch<GuardedCopy> copy;
  std::array<iovec, GuardedCopy::kMaxPieces> pieces;
  const size_t most = std::clamp<size_t>(kMappedBytes / geometry_.record_bytes, 1, pieces.size());
  size_t done = 0;
  for (bool cached = true; cached && done < wanted->size();) {
    const size_t n = std::min({most, std::max(done, kFirstTried), wanted->size() - done});
    for (size_t i = 0; i < n; ++i) {
      const Wanted& w = (*wanted)[done + i];
      const std::byte* record = w.segment->map + geometry_.offset(w.position % geometry_.slots);
      // Of a page that is not there nothing is asked for.
      for (uint32_t b = 0; b < std::min(geometry_.record_bytes, kPrefetchedBytes); b += 64) PrefetchForRead(record + b);
      pieces[i] = {const_cast<std::byte*>(record), geometry_.record_bytes};
    }
    const int64_t waits = GuardedCopy::DeviceWaits();
    if (!copy->Run({pieces.data(), n})) break;  // the plain way finds out what is wrong
    for (size_t i = 0; i < n; ++i) {
      const Wanted& w = (*wanted)[done + i];
      EV_RETURN_IF_ERROR(TakeRow(copy->data() + i * geometry_.record_bytes, w, keys[w.index],
                                 rows.data() + size_t{w.index} * geometry_.row_bytes));
    }
    done += n;
    cached = static_cast<size_t>(GuardedCopy::DeviceWaits() - waits) <= n / kFewWaits;
    if (!cached) not_cached_.store(kNotCachedRounds, std::memory_order_relaxed);
  }
  Add(counters_->reads, done);
  Add(counters_->read_bytes, done * geometry_.record_bytes);
  wanted->erase(wanted->begin(), wanted->begin() + static_cast<std::ptrdiff_t>(done));
  return OkStatus();
}

bool LogReader::LooksCached() {
  int rounds = not_cached_.load(std::memory_order_relaxed);
  return rounds == 0 || !not_cached_.compare_exchange_strong(rounds, rounds - 1, std::memory_order_relaxed);
}

Status LogReader::ReadFiles(Span<const Key> keys, std::vector<Wanted>* wanted, Span<std::byte> rows) {
  std::sort(wanted->begin(), wanted->end(), [](const Wanted& a, const Wanted& b) { return a.position < b.position; });
  std::vector<ReadRequest> requests;
  std::vector<Run> runs;
  requests.reserve(wanted->size());
  runs.reserve(wanted->size());
  for (size_t i = 0; i < wanted->size(); ++i) {
    const Wanted& w = (*wanted)[i];
    const uint64_t offset = geometry_.offset(w.position % geometry_.slots);
    const uint64_t unit = w.segment->file->direct() ? kDirectAlignment : 1;
    const uint64_t begin = offset / unit * unit;
    const uint64_t end = (offset + geometry_.record_bytes + unit - 1) / unit * unit;
    ReadRequest* last = requests.empty() ? nullptr : &requests.back();
    if (last != nullptr && last->file == w.segment->file.get() &&
        (end - last->offset <= kMergedBytes || end <= last->offset + last->length)) {
      last->length = std::max(last->length, static_cast<uint32_t>(end - last->offset));
      runs.back().end = i + 1;
      continue;
    }
    requests.push_back({w.segment->file.get(), begin, static_cast<uint32_t>(end - begin)});
    runs.push_back({i, i + 1});
  }
  ReadStats stats;
  Status status = env_->ReadBatch(
      requests, kReadMemory,
      [&](size_t r, const std::byte* data) {
        for (size_t i = runs[r].first; i < runs[r].end; ++i) {
          const Wanted& w = (*wanted)[i];
          const std::byte* record = data + (geometry_.offset(w.position % geometry_.slots) - requests[r].offset);
          EV_RETURN_IF_ERROR(TakeRow(record, w, keys[w.index], rows.data() + size_t{w.index} * geometry_.row_bytes));
        }
        return OkStatus();
      },
      &stats);
  Add(counters_->reads, stats.reads);
  Add(counters_->read_bytes, stats.bytes);
  uint64_t depth = Value(counters_->max_read_depth);
  while (depth < stats.max_depth && !counters_->max_read_depth.compare_exchange_weak(depth, stats.max_depth)) {
  }
  return status;
}

}  // namespace ev::ssd_log
