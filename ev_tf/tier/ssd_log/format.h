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
inline constexpr uint32_t kVersion = 2;
inline constexpr uint32_t kHeaderBytes = 4096;  // file header, mark, and room; records begin behind
inline constexpr uint32_t kMarkOffset = 512;    // a sector of its own: a torn mark spoils nothing else
inline constexpr uint32_t kSectorBytes = 512;
inline constexpr uint32_t kNoSequence = 0;               // sequence_low of a filler, and of no row
inline constexpr uint64_t kMaxBase = uint64_t{1} << 63;  // of a window, so that no sum of sequences overflows

struct FileHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t header_bytes;
  uint32_t row_bytes;
  uint32_t group_bytes;
  uint32_t records_per_group;
  uint32_t slots;
  uint64_t ordinal;
  uint64_t sequence;  // the next one of the log when the file was made
  uint32_t number;
  uint32_t crc;  // of the bytes before
};
static_assert(sizeof(FileHeader) == 56);
static_assert(offsetof(FileHeader, row_bytes) == 16);
static_assert(offsetof(FileHeader, sequence) == 40);
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
  uint32_t sequence_low;  // see SequenceWindow
  uint32_t crc;           // of the bytes before and of the row
};
static_assert(sizeof(RecordHeader) == 16);
static_assert(offsetof(RecordHeader, crc) == 12);

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is little-endian, and copied as it is");

// The sequence numbers that the rows of one file can have: 2^32 of them, around the base that its header says, so that a
// record needs the low half only.
class SequenceWindow {
 public:
  // Requires: base <= kMaxBase.
  explicit SequenceWindow(uint64_t base) : base_(base), start_(base > kHalf ? base - kHalf : 0) {}

  uint64_t base() const { return base_; }
  // The smallest that a row can have.
  uint64_t first() const { return start_ + (static_cast<uint32_t>(start_) == kNoSequence ? 1 : 0); }
  // None in the window is larger.
  uint64_t last() const { return start_ + UINT32_MAX; }
  // The number with that low half.
  uint64_t Restore(uint32_t low) const { return start_ + (low - static_cast<uint32_t>(start_)); }

 private:
  static constexpr uint64_t kHalf = uint64_t{1} << 31;

  uint64_t base_;
  uint64_t start_;
};

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

void EncodeFileHeader(const Geometry& geometry, uint32_t number, uint64_t ordinal, SequenceWindow window,
                      std::byte* out);
// `where` begins the message.  Corruption: not of a segment file.  FailedPrecondition: of one of another version.
// Requires: bytes.size() >= sizeof(FileHeader).
Status CheckVersion(Span<const std::byte> bytes, const std::string& where);
// `where` begins the message.  Corruption, or FailedPrecondition for a whole header that asks for another reader: another
// version, row size or segment size.  Requires: bytes.size() >= sizeof(FileHeader).
Status DecodeFileHeader(Span<const std::byte> bytes, const Geometry& geometry, uint32_t number,
                        const std::string& where, FileHeader* out);

void EncodeMark(uint64_t ordinal, uint32_t synced_slots, bool closed, std::byte* out);
// False: never written whole, or of another file.  Requires: bytes.size() >= sizeof(Mark).
bool DecodeMark(Span<const std::byte> bytes, uint64_t ordinal, Mark* out);

// Writes record_bytes.  Requires: the low half of `sequence` is not kNoSequence.
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
  // Into the bytes that were decoded.
  const std::byte* record = nullptr;
  const std::byte* row = nullptr;
};
// Reads the checksum before it believes the rest.  window: of the record's file.  Requires: record_bytes of memory.
RecordView DecodeRecord(const std::byte* record, uint32_t row_bytes, SequenceWindow window);
// What is wrong with a bad record: "rows-000012.ssd @ 40960: crc 0x1f2e, stored 0x88aa".
Status BadRecord(const std::byte* record, uint32_t row_bytes, const std::string& path, uint64_t offset);

std::string SegmentName(uint32_t number);  // "rows-000012.ssd"
bool ParseSegmentName(const std::string& name, uint32_t* number);

}  // namespace ev::ssd_log
