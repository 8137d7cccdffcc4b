// The bytes of a segment file, for its writer and its readers.  FORMAT.md explains them; values are never renumbered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"

namespace ev::ssd_log {

inline constexpr uint64_t kFileMagic = 0x31474c4453535645ULL;  // "EVSSDLG1"
inline constexpr uint64_t kMarkMagic = 0x4b524d4453535645ULL;  // "EVSSDMRK"
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kHeaderBytes = 4096;  // file header, mark, and room; records begin behind
inline constexpr uint32_t kMarkOffset = 512;    // a sector of its own: a torn mark spoils nothing else
inline constexpr uint32_t kSectorBytes = 512;
inline constexpr uint32_t kNoLength = 0;  // length of a filler, which holds no row

struct FileHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t header_bytes;
  uint32_t row_bytes;
  uint32_t group_bytes;
  uint32_t records_per_group;
  uint32_t slots;
  uint32_t number;
  uint32_t reserved0;
  uint64_t ordinal;
  uint32_t reserved1;
  uint32_t crc;  // of the bytes before
};
static_assert(sizeof(FileHeader) == 56);
static_assert(offsetof(FileHeader, row_bytes) == 16);
static_assert(offsetof(FileHeader, ordinal) == 40);
static_assert(offsetof(FileHeader, crc) == 52);

struct Mark {
  uint64_t magic;
  uint64_t ordinal;
  uint32_t synced_slots;
  uint32_t closed;
  uint32_t reserved;
  uint32_t crc;  // of the bytes before
};
static_assert(sizeof(Mark) == 32);
static_assert(offsetof(Mark, crc) == 28);

struct RecordHeader {
  uint64_t key;
  uint64_t sequence;
  uint32_t length;
  uint32_t crc;  // of the bytes before and of the row
};
static_assert(sizeof(RecordHeader) == 24);
static_assert(offsetof(RecordHeader, crc) == 20);

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is little-endian, and copied as it is");

// Where records stand.  They are packed in groups, each a multiple of 512 bytes, so that a write can begin at any group
// and a record does not straddle a sector where that costs no space.
struct Geometry {
  uint32_t row_bytes = 0;
  uint32_t record_bytes = 0;  // header and row
  uint32_t group_bytes = 0;
  uint32_t records_per_group = 0;
  uint32_t slots = 0;  // records of a segment; a multiple of records_per_group

  uint64_t group_offset(uint32_t slot) const { return kHeaderBytes + uint64_t{slot / records_per_group} * group_bytes; }
  uint64_t offset(uint32_t slot) const {
    return group_offset(slot) + uint64_t{slot % records_per_group} * record_bytes;
  }
  // The first slot at or behind `slot` that begins a group.
  uint32_t next_group(uint32_t slot) const {
    return (slot + records_per_group - 1) / records_per_group * records_per_group;
  }
  uint64_t file_bytes() const { return group_offset(slots); }
};

// InvalidArgument: a segment of segment_bytes holds no row, or row_bytes is out of [1, 2^26].
Status MakeGeometry(size_t row_bytes, uint64_t segment_bytes, Geometry* out);

// The same of segments of `slots` records.  InvalidArgument: none can have as many.
Status MakeGeometryOfSlots(size_t row_bytes, uint32_t slots, Geometry* out);

void EncodeFileHeader(const Geometry& geometry, uint32_t number, uint64_t ordinal, std::byte* out);
// `where` begins the message.  Corruption, or FailedPrecondition for a whole header that asks for another reader: another
// version, row size or segment size.  Requires: bytes.size() >= sizeof(FileHeader).
Status DecodeFileHeader(Span<const std::byte> bytes, const Geometry& geometry, uint32_t number,
                        const std::string& where, FileHeader* out);

void EncodeMark(uint64_t ordinal, uint32_t synced_slots, bool closed, std::byte* out);
// False: never written whole, or of another file.  Requires: bytes.size() >= sizeof(Mark).
bool DecodeMark(Span<const std::byte> bytes, uint64_t ordinal, Mark* out);

// Writes record_bytes.
void EncodeRecord(Key key, uint64_t sequence, const std::byte* row, uint32_t row_bytes, std::byte* out);
// Writes record_bytes of a record that holds no row.
void EncodeFiller(uint32_t record_bytes, std::byte* out);

// The checksum of the checksums of records, one more added.
uint32_t AddRecordCrc(uint32_t records_crc, const std::byte* record);

enum class RecordKind : uint8_t { kRow, kFiller, kBad };
struct RecordView {
  RecordKind kind = RecordKind::kBad;
  Key key = 0;
  uint64_t sequence = 0;
  const std::byte* row = nullptr;  // into the bytes that were decoded
};
// Reads the checksum before it believes the rest.  Requires: record_bytes of memory.
RecordView DecodeRecord(const std::byte* record, uint32_t row_bytes);
// What is wrong with a bad record: "rows-000012.ssd @ 40960: crc 0x1f2e, stored 0x88aa".
Status BadRecord(const std::byte* record, uint32_t row_bytes, const std::string& path, uint64_t offset);

std::string SegmentName(uint32_t number);  // "rows-000012.ssd"
bool ParseSegmentName(const std::string& name, uint32_t* number);

}  // namespace ev::ssd_log
