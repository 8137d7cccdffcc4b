#include "ev_tf/tier/ssd_log/log_reader.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "ev_tf/base/cpu.h"

namespace ev::ssd_log {
namespace {

constexpr uint32_t kMergedBytes = 4096;  // a device serves a page as fast as a sector
constexpr size_t kPrefetchDistance = 12;

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
  auto mapped_end =
      std::stable_partition(wanted.begin(), wanted.end(), [](const Wanted& w) { return w.segment->map != nullptr; });
  const auto mapped = static_cast<size_t>(mapped_end - wanted.begin());
  EV_RETURN_IF_ERROR(ReadMapped(keys, {wanted.data(), mapped}, rows));
  wanted.erase(wanted.begin(), mapped_end);
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
      const LogWriter::Found found =
          writer_->ReadBuffered(segment, slot, keys[i], rows.data() + i * geometry_.row_bytes);
      if (found == LogWriter::Found::kAbsent) return Gone(positions[i]);
      if (found == LogWriter::Found::kCopied) continue;
    }
    wanted->push_back({positions[i], static_cast<uint32_t>(i), segment});
  }
  return OkStatus();
}

Status LogReader::TakeRow(const std::byte* record, const Wanted& wanted, Key key, std::byte* row) const {
  const RecordView view = DecodeRecord(record, geometry_.row_bytes);
  if (view.kind == RecordKind::kBad) {
    return BadRecord(record, geometry_.row_bytes, wanted.segment->file->path(),
                     geometry_.offset(wanted.position % geometry_.slots));
  }
  // A whole record of another key: the position was given again after its row had gone.
  if (view.kind != RecordKind::kRow || view.key != key) return Gone(wanted.position);
  std::memcpy(row, view.row, geometry_.row_bytes);
  return OkStatus();
}

Status LogReader::ReadMapped(Span<const Key> keys, Span<const Wanted> wanted, Span<std::byte> rows) {
  auto record = [&](const Wanted& w) { return w.segment->map + geometry_.offset(w.position % geometry_.slots); };
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i + kPrefetchDistance < wanted.size()) {
      const std::byte* ahead = record(wanted[i + kPrefetchDistance]);
      for (uint32_t b = 0; b < std::min<uint32_t>(geometry_.record_bytes, 512); b += 64) PrefetchForRead(ahead + b);
    }
    const Wanted& w = wanted[i];
    EV_RETURN_IF_ERROR(TakeRow(record(w), w, keys[w.index], rows.data() + size_t{w.index} * geometry_.row_bytes));
  }
  Add(counters_->reads, wanted.size());
  Add(counters_->read_bytes, wanted.size() * geometry_.record_bytes);
  return OkStatus();
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
      requests,
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
