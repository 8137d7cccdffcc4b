#include "ev_tf/tier/ssd_log/recovery.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ev_tf/env/buffer_pool.h"

namespace ev::ssd_log {
namespace {

bool AllZero(Span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

Status RestIsZero(File* file, uint64_t size, bool* zero) {
  std::vector<std::byte> chunk(64 << 10);
  *zero = true;
  for (uint64_t at = 0; at < size && *zero;) {
    const uint64_t n = std::min<uint64_t>(chunk.size(), size - at);
    EV_RETURN_IF_ERROR(file->ReadAt(at, {chunk.data(), n}));
    *zero = AllZero({chunk.data(), n});
    at += n;
  }
  return OkStatus();
}

// Header and mark.  *synced = slots that must be whole.
Status ScanHeader(File* file, uint64_t size, const Geometry& geometry, uint32_t number, ScanResult* result,
                  uint32_t* synced) {
  if (size < kHeaderBytes) return OkStatus();  // the header is written in one piece and synced before anything else
  std::vector<std::byte> page(kHeaderBytes);
  EV_RETURN_IF_ERROR(file->ReadAt(0, page));
  if (AllZero({page.data(), sizeof(FileHeader)})) {
    bool zero = false;
    EV_RETURN_IF_ERROR(RestIsZero(file, size, &zero));
    if (zero) return OkStatus();
  }
  EV_RETURN_IF_ERROR(DecodeFileHeader(page, geometry, number, file->path(), &result->header));
  result->has_header = true;
  Mark mark{};
  if (DecodeMark({page.data() + kMarkOffset, sizeof(Mark)}, result->header.ordinal, &mark)) {
    if (mark.synced_slots > geometry.slots) {
      return Corruption(file->path() + " @ " + std::to_string(kMarkOffset) + ": synced slots: expected at most " +
                        std::to_string(geometry.slots) + ", found " + std::to_string(mark.synced_slots));
    }
    *synced = std::max(*synced, mark.synced_slots);
  }
  const uint64_t needed = *synced == 0 ? 0 : geometry.offset(*synced - 1) + geometry.record_bytes;
  if (size < needed) {
    return Corruption(file->path() + ": size: expected at least " + std::to_string(needed) + " bytes, found " +
                      std::to_string(size));
  }
  return OkStatus();
}

struct Newest {
  uint64_t sequence;
  Position position;
};

}  // namespace

Status ScanSegment(File* file, const Geometry& geometry, uint32_t number, const ScanRow& row, ScanResult* result,
                   uint32_t whole) {
  *result = {};
  uint64_t size = 0;
  EV_RETURN_IF_ERROR(file->Size(&size));
  uint32_t synced = whole;
  EV_RETURN_IF_ERROR(ScanHeader(file, size, geometry, number, result, &synced));
  if (!result->has_header) return OkStatus();
  const SequenceWindow window(result->header.sequence);
  const uint32_t groups_at_once =
      std::max<uint32_t>(1, static_cast<uint32_t>(BufferPool::kBufferBytes) / geometry.group_bytes);
  std::vector<std::byte> chunk;
  while (result->slots < geometry.slots) {
    const uint64_t begin = geometry.offset(result->slots);
    if (begin >= size) return OkStatus();
    const uint64_t bytes = std::min<uint64_t>(uint64_t{groups_at_once} * geometry.group_bytes, size - begin);
    chunk.resize(bytes);
    EV_RETURN_IF_ERROR(file->ReadAt(begin, chunk));
    const uint32_t first = result->slots;
    for (uint32_t slot = first; slot < std::min(first + groups_at_once * geometry.records_per_group, geometry.slots);
         ++slot) {
      const uint64_t at = geometry.offset(slot) - begin;
      if (at + geometry.record_bytes > bytes) {  // checked against `synced` with the size
        result->torn = at < bytes && !AllZero({chunk.data() + at, bytes - at});
        return OkStatus();
      }
      const RecordView view = DecodeRecord(chunk.data() + at, geometry.row_bytes, window);
      if (view.kind == RecordKind::kBad) {
        if (slot < synced) return BadRecord(chunk.data() + at, geometry.row_bytes, file->path(), begin + at);
        result->torn = !AllZero({chunk.data() + at, bytes - at});
        return OkStatus();
      }
      if (view.kind == RecordKind::kRow) row(slot, view);
      result->slots = slot + 1;
      result->records_crc = AddRecordCrc(result->records_crc, chunk.data() + at);
    }
  }
  return OkStatus();
}

namespace {

// Opens a segment that was scanned for use: cut, synced, marked and closed.
Status Adopt(Env* env, const WriterOptions& options, const Geometry& geometry, const ScanResult& scan,
             std::unique_ptr<Segment>* out) {
  const std::string path = options.path + "/" + SegmentName(scan.header.number);
  std::unique_ptr<File> file;
  OpenOptions how;
  how.direct = options.direct;
  EV_RETURN_IF_ERROR(env->Open(path, how, &file));
  uint64_t size = 0;
  EV_RETURN_IF_ERROR(file->Size(&size));
  const uint64_t end = geometry.offset(scan.slots - 1) + geometry.record_bytes;
  const uint64_t wanted = (end + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  if (size != wanted) EV_RETURN_IF_ERROR(file->Truncate(wanted));
  AlignedBytes sector = NewAlignedBytes(kSectorBytes);
  if (sector == nullptr) return OutOfSpace("memory: expected 512 bytes for a mark, found none");
  std::memset(sector.get(), 0, kSectorBytes);
  EncodeMark(scan.header.ordinal, scan.slots, /*closed=*/true, sector.get());
  if (options.durable) EV_RETURN_IF_ERROR(file->Sync());
  EV_RETURN_IF_ERROR(file->WriteAt(kMarkOffset, {sector.get(), kSectorBytes}));
  auto segment = std::make_unique<Segment>(scan.header.number, scan.header.ordinal,
                                           SequenceWindow(scan.header.sequence), geometry, std::move(file));
  if (!options.direct) segment->map = segment->file->Map(geometry.file_bytes());
  segment->appended = scan.slots;
  segment->flushed = scan.slots;
  segment->held_bytes = wanted;
  segment->records_crc = scan.records_crc;
  segment->closed = true;
  segment->synced = options.durable;
  *out = std::move(segment);
  return OkStatus();
}

}  // namespace

Status Recover(Env* env, const WriterOptions& options, const Geometry& geometry, SegmentTable* table,
               Counters* counters, const RecoveryVisitor& visitor, RecoveryReport* report) {
  std::vector<std::string> names;
  EV_RETURN_IF_ERROR(env->List(options.path, &names));
  std::unordered_map<Key, Newest> newest;
  for (const std::string& name : names) {
    uint32_t number = 0;
    if (!ParseSegmentName(name, &number)) continue;
    const std::string path = options.path + "/" + name;
    if (number >= table->limit()) {
      return FailedPrecondition(path + ": number: expected less than " + std::to_string(table->limit()));
    }
    std::unique_ptr<File> file;
    OpenOptions how;
    how.write = false;
    EV_RETURN_IF_ERROR(env->Open(path, how, &file));
    const Position first = number * geometry.slots;
    ScanResult scan;
    EV_RETURN_IF_ERROR(ScanSegment(
        file.get(), geometry, number,
        [&](uint32_t slot, const RecordView& record) {
          report->next_sequence = std::max(report->next_sequence, record.sequence + 1);
          const auto [it, is_new] = newest.try_emplace(record.key, Newest{record.sequence, first + slot});
          if (is_new) return;
          ++report->older_rows;
          if (record.sequence > it->second.sequence) it->second = {record.sequence, first + slot};
        },
        &scan));
    file.reset();
    if (scan.torn) ++report->torn_segments;
    if (scan.slots == 0) {
      ++report->dropped_files;
      EV_RETURN_IF_ERROR(env->Unlink(path));
      continue;
    }
    std::unique_ptr<Segment> segment;
    EV_RETURN_IF_ERROR(Adopt(env, options, geometry, scan, &segment));
    report->next_ordinal = std::max(report->next_ordinal, scan.header.ordinal + 1);
    Add(counters->slots, scan.slots);
    Add(counters->file_bytes, segment->held_bytes);
    table->InstallFound(std::move(segment));
    ++report->segments;
  }
  // A process that was killed may have left files whose names are not safe yet, and with them why others can go.
  if (options.durable && report->segments > 0) EV_RETURN_IF_ERROR(env->SyncDirectory(options.path));
  for (const auto& [key, row] : newest) {
    if (visitor != nullptr && !visitor(key, row.position)) continue;
    table->Find(row.position / geometry.slots)->SetLive(row.position % geometry.slots);
    Add(counters->rows, 1);
    ++report->rows;
  }
  return OkStatus();
}

}  // namespace ev::ssd_log
