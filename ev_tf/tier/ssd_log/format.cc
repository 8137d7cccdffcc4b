#include "ev_tf/tier/ssd_log/format.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "ev_tf/base/crc32c.h"
#include "ev_tf/base/hex.h"

namespace ev::ssd_log {
namespace {

constexpr size_t kMaxRowBytes = size_t{1} << 26;
constexpr uint64_t kLargestSegment = uint64_t{1} << 40;  // in which every row has as many slots as it can
constexpr uint32_t kMaxGroupBytes = 64 << 10;
constexpr uint32_t kWasteShare = 32;  // a group may leave 1/32 of itself empty before a larger one is tried

Status Mismatch(const std::string& where, const char* field, uint64_t expected, uint64_t found) {
  return FailedPrecondition(where + ": " + field + ": expected " + std::to_string(expected) + ", found " +
                            std::to_string(found));
}

bool IsZero(const std::byte* bytes, size_t n) {
  return std::all_of(bytes, bytes + n, [](std::byte b) { return b == std::byte{0}; });
}

uint32_t RecordCrc(const std::byte* record, size_t row_bytes) {
  const uint32_t crc = Crc32c(record, offsetof(RecordHeader, crc));
  return Crc32c(record + sizeof(RecordHeader), row_bytes, crc);
}

}  // namespace

Status MakeGeometry(size_t row_bytes, uint64_t segment_bytes, Geometry* out) {
  if (row_bytes < 1 || row_bytes > kMaxRowBytes) {
    return InvalidArgument("row_bytes: expected 1 to " + std::to_string(kMaxRowBytes) + ", found " +
                           std::to_string(row_bytes));
  }
  Geometry g;
  g.row_bytes = static_cast<uint32_t>(row_bytes);
  g.record_bytes = g.row_bytes + static_cast<uint32_t>(sizeof(RecordHeader));
  // One record in whole sectors is what large rows get, and what small ones are measured against.
  g.group_bytes = (g.record_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  g.records_per_group = g.group_bytes / g.record_bytes;
  auto waste = [&](uint32_t group) { return static_cast<double>(group % g.record_bytes) / group; };
  for (uint32_t group = kSectorBytes; group <= kMaxGroupBytes && waste(g.group_bytes) > 1.0 / kWasteShare; group *= 2) {
    if (group < g.record_bytes || waste(group) >= waste(g.group_bytes)) continue;
    g.group_bytes = group;
    g.records_per_group = group / g.record_bytes;
  }
  const uint64_t groups = segment_bytes < kHeaderBytes ? 0 : (segment_bytes - kHeaderBytes) / g.group_bytes;
  const uint64_t slots = std::min<uint64_t>(groups * g.records_per_group, uint64_t{1} << 30);
  g.slots = static_cast<uint32_t>(slots / g.records_per_group * g.records_per_group);
  if (g.slots == 0) {
    return InvalidArgument("segment_bytes: expected at least " + std::to_string(kHeaderBytes + g.group_bytes) +
                           " for rows of " + std::to_string(row_bytes) + " bytes, found " +
                           std::to_string(segment_bytes));
  }
  *out = g;
  return OkStatus();
}

Status MakeGeometryOfSlots(size_t row_bytes, uint32_t slots, Geometry* out) {
  Geometry g;
  EV_RETURN_IF_ERROR(MakeGeometry(row_bytes, kLargestSegment, &g));
  if (slots == 0 || slots > g.slots || slots % g.records_per_group != 0) {
    return InvalidArgument("rows of a segment: expected a multiple of " + std::to_string(g.records_per_group) +
                           ", at most " + std::to_string(g.slots) + ", found " + std::to_string(slots));
  }
  g.slots = slots;
  *out = g;
  return OkStatus();
}

void EncodeFileHeader(const Geometry& geometry, uint32_t number, uint64_t ordinal, SequenceWindow window,
                      std::byte* out) {
  FileHeader h{kFileMagic,
               kVersion,
               kHeaderBytes,
               geometry.row_bytes,
               geometry.group_bytes,
               geometry.records_per_group,
               geometry.slots,
               ordinal,
               window.base(),
               number,
               0};
  h.crc = Crc32c(&h, offsetof(FileHeader, crc));
  std::memcpy(out, &h, sizeof(h));
}

Status CheckVersion(Span<const std::byte> bytes, const std::string& where) {
  FileHeader h{};
  std::memcpy(&h, bytes.data(), sizeof(h));
  if (h.magic != kFileMagic) {
    return Corruption(where + " @ 0: magic: expected " + Hex(kFileMagic) + ", found " + Hex(h.magic));
  }
  if (h.version != kVersion) {
    return FailedPrecondition(where + ": version: expected " + std::to_string(kVersion) + ", found " +
                              std::to_string(h.version) + ": this file is for another release");
  }
  return OkStatus();
}

Status DecodeFileHeader(Span<const std::byte> bytes, const Geometry& geometry, uint32_t number,
                        const std::string& where, FileHeader* out) {
  EV_RETURN_IF_ERROR(CheckVersion(bytes, where));  // before the checksum: another version may keep it elsewhere
  FileHeader h{};
  std::memcpy(&h, bytes.data(), sizeof(h));
  const uint32_t crc = Crc32c(&h, offsetof(FileHeader, crc));
  if (h.crc != crc) return Corruption(where + " @ 0: header crc " + Hex(crc) + ", stored " + Hex(h.crc));
  if (h.row_bytes != geometry.row_bytes) return Mismatch(where, "row_bytes", geometry.row_bytes, h.row_bytes);
  if (h.slots != geometry.slots) return Mismatch(where, "rows of a segment", geometry.slots, h.slots);
  if (h.header_bytes != kHeaderBytes) return Mismatch(where, "header_bytes", kHeaderBytes, h.header_bytes);
  if (h.group_bytes != geometry.group_bytes) return Mismatch(where, "group_bytes", geometry.group_bytes, h.group_bytes);
  if (h.records_per_group != geometry.records_per_group) {
    return Mismatch(where, "records_per_group", geometry.records_per_group, h.records_per_group);
  }
  if (h.number != number) {
    return Corruption(where + " @ 48: number: expected " + std::to_string(number) + ", found " +
                      std::to_string(h.number) + ": the file was renamed");
  }
  if (h.sequence > kMaxBase) {
    return Corruption(where + " @ 40: sequence: expected at most " + std::to_string(kMaxBase) + ", found " +
                      std::to_string(h.sequence));
  }
  *out = h;
  return OkStatus();
}

void EncodeMark(uint64_t ordinal, uint32_t synced_slots, bool closed, std::byte* out) {
  Mark m{kMarkMagic, ordinal, synced_slots, closed ? 1U : 0U, 0, 0};
  m.crc = Crc32c(&m, offsetof(Mark, crc));
  std::memcpy(out, &m, sizeof(m));
}

bool DecodeMark(Span<const std::byte> bytes, uint64_t ordinal, Mark* out) {
  std::memcpy(out, bytes.data(), sizeof(*out));
  return out->magic == kMarkMagic && out->crc == Crc32c(out, offsetof(Mark, crc)) && out->ordinal == ordinal;
}

void EncodeRecord(Key key, uint64_t sequence, const std::byte* row, uint32_t row_bytes, std::byte* out) {
  RecordHeader h{static_cast<uint64_t>(key), static_cast<uint32_t>(sequence), 0};
  std::memcpy(out, &h, offsetof(RecordHeader, crc));
  std::memcpy(out + sizeof(h), row, row_bytes);
  h.crc = RecordCrc(out, row_bytes);
  std::memcpy(out + offsetof(RecordHeader, crc), &h.crc, sizeof(h.crc));
}

void EncodeFiller(uint32_t record_bytes, std::byte* out) {
  std::memset(out, 0, record_bytes);
  const uint32_t crc = RecordCrc(out, record_bytes - sizeof(RecordHeader));
  std::memcpy(out + offsetof(RecordHeader, crc), &crc, sizeof(crc));
}

uint32_t AddRecordCrc(uint32_t records_crc, const std::byte* record) {
  return Crc32c(record + offsetof(RecordHeader, crc), sizeof(RecordHeader::crc), records_crc);
}

RecordView DecodeRecord(const std::byte* record, uint32_t row_bytes, SequenceWindow window) {
  RecordHeader h{};
  std::memcpy(&h, record, sizeof(h));
  RecordView view;
  if (h.crc != RecordCrc(record, row_bytes)) return view;
  if (h.sequence_low == kNoSequence) {
    if (h.key == 0 && IsZero(record + sizeof(h), row_bytes)) view.kind = RecordKind::kFiller;
    return view;
  }
  view.kind = RecordKind::kRow;
  view.key = static_cast<Key>(h.key);
  view.sequence = window.Restore(h.sequence_low);
  view.record = record;
  view.row = record + sizeof(h);
  return view;
}

Status BadRecord(const std::byte* record, uint32_t row_bytes, const std::string& path, uint64_t offset) {
  RecordHeader h{};
  std::memcpy(&h, record, sizeof(h));
  const uint32_t crc = RecordCrc(record, row_bytes);
  std::string message = path + " @ " + std::to_string(offset) + ": ";
  if (crc != h.crc) {
    message += "crc " + Hex(crc) + ", stored " + Hex(h.crc);
  } else {
    message += "filler: expected zeros, found key " + std::to_string(static_cast<Key>(h.key)) + " and a row";
  }
  return Corruption(std::move(message));
}

std::string SegmentName(uint32_t number) {
  char name[32];
  std::snprintf(name, sizeof(name), "rows-%06" PRIu32 ".ssd", number);
  return name;
}

bool ParseSegmentName(const std::string& name, uint32_t* number) {
  if (name.size() < 15 || name.size() > 18 || name.compare(0, 5, "rows-") != 0) return false;
  uint64_t value = 0;
  size_t i = 5;
  for (; i < name.size() && name[i] >= '0' && name[i] <= '9'; ++i)
    value = value * 10 + static_cast<uint64_t>(name[i] - '0');
  if (name.compare(i, std::string::npos, ".ssd") != 0 || value > UINT32_MAX) return false;
  *number = static_cast<uint32_t>(value);
  return SegmentName(*number) == name;
}

}  // namespace ev::ssd_log
