// The bytes of a table file, for its writer and its reader.  FORMAT.md explains them; values are never renumbered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/row/row_layout.h"

namespace ev::checkpoint {

inline constexpr uint64_t kFileMagic = 0x31454c4241545645ULL;    // "EVTABLE1"
inline constexpr uint64_t kFooterMagic = 0x31444e4542545645ULL;  // "EVTBEND1"
inline constexpr uint32_t kVersion = 1;
inline constexpr int kBuckets = 1000;  // of keys, by FloorMod(key, 1000), as in DeepRec's checkpoints
inline constexpr uint64_t kBlockAlignment = 64;
inline constexpr uint64_t kMaxRowsBytes = 256 << 20;  // of a block of rows; one row takes 17 MB at most

// What a block holds.
enum class BlockKind : uint16_t {
  kDescription = 1,
  kDefaultRows = 2,
  kRows = 3,
  kFilteredKeys = 4,
  kLineage = 5,
  kRemovedKeys = 6,
  kSegment = 7,
};

struct FileHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t crc;  // of the bytes before
};
static_assert(sizeof(FileHeader) == 16);

struct BlockEntry {
  uint64_t offset;  // a multiple of kBlockAlignment
  uint64_t bytes;
  uint32_t rows;
  BlockKind kind;
  uint16_t first_bucket;  // of rows and keys: none is of another bucket than first_bucket to last_bucket
  uint16_t last_bucket;
  uint16_t reserved;
  uint32_t crc;  // of the block's bytes
};
static_assert(sizeof(BlockEntry) == 32);
static_assert(offsetof(BlockEntry, kind) == 20);
static_assert(offsetof(BlockEntry, crc) == 28);

struct Footer {
  uint64_t magic;
  uint32_t version;
  uint32_t blocks;
  uint64_t directory_offset;  // of `blocks` BlockEntry; the footer is right behind
  uint64_t file_bytes;        // the footer included
  uint64_t rows;
  uint32_t directory_crc;
  uint32_t crc;  // of the bytes before
};
static_assert(sizeof(Footer) == 48);
static_assert(offsetof(Footer, rows) == 32);
static_assert(offsetof(Footer, crc) == 44);

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is little-endian, and copied as it is");

// What a table is, beside its rows.
struct TableDescription {
  std::string name;  // the variable's, for people
  int64_t dim = 0;
  int64_t default_value_dim = 0;
  bool has_frequency = false;
  bool has_version = false;
  std::vector<SlotSpec> slots;
  ValueType value_type = ValueType::kFloat32;  // of the variable; in the file values are floats
  bool frozen = false;  // for serving: rows have values and nothing else, and a key without a row reads its default row

  size_t slot_floats() const;
  // Bytes of n rows as columns; see RowColumns.
  size_t BlockBytes(size_t n) const;
};

std::string EncodeDescription(const TableDescription& table);
// Corruption: the bytes are no description.  `where` begins the message.
Status DecodeDescription(Span<const std::byte> bytes, const std::string& where, TableDescription* out);

// Where the columns of a block of rows begin.  Absent columns are null.
//   keys [n] int64 | frequencies [n] int64 | versions [n] int64 | values [n, dim] float | slots [n, slot_floats] float
template <typename Byte>
struct RowColumns {
  RowColumns(const TableDescription& table, Byte* block, size_t n) {
    keys = block;
    block += n * sizeof(Key);
    if (table.has_frequency) frequencies = block;
    block += table.has_frequency ? n * sizeof(int64_t) : 0;
    if (table.has_version) versions = block;
    block += table.has_version ? n * sizeof(int64_t) : 0;
    values = block;
    slots = block + n * static_cast<size_t>(table.dim) * sizeof(float);
  }
  Byte* keys = nullptr;
  Byte* frequencies = nullptr;
  Byte* versions = nullptr;
  Byte* values = nullptr;
  Byte* slots = nullptr;
};

// A key that a filter counts and that has no row yet, as a block of kFilteredKeys has it.
struct FilteredEntry {
  Key key;
  uint32_t frequency;
  uint32_t version_plus1;  // of the last update that named it; 0: unknown
};
static_assert(sizeof(FilteredEntry) == 16);

// Which save a file is of.  Drawn at random.
struct SaveId {
  uint64_t high;
  uint64_t low;

  friend bool operator==(const SaveId& a, const SaveId& b) { return a.high == b.high && a.low == b.low; }
  friend bool operator!=(const SaveId& a, const SaveId& b) { return !(a == b); }
};
SaveId NewSaveId();
// 32 hexadecimal digits.
std::string ToString(const SaveId& id);

inline constexpr uint32_t kDeltaFlag =
    1;  // the file has what has changed since the save `previous`, not the whole table
inline constexpr uint32_t kClearedFlag = 2;  // of a delta: and nothing of what was before is left

// Where a file stands in a chain: a full save, and deltas that build on it, one on the other.
struct Lineage {
  SaveId id;          // of the state that the file, and those that it builds on, are
  SaveId base;        // of the full save that the chain began with
  SaveId previous;    // of a delta: what it builds on
  uint64_t sequence;  // 0 for the save that the chain began with, then 1, 2, ...
  uint32_t flags;
  uint32_t reserved;

  bool delta() const { return (flags & kDeltaFlag) != 0; }
  bool cleared() const { return (flags & kClearedFlag) != 0; }
};
static_assert(sizeof(Lineage) == 64);
static_assert(offsetof(Lineage, sequence) == 48);
// Corruption: numbers that no save writes.  `where` begins the message.
Status CheckLineage(const Lineage& lineage, const std::string& where);

// A segment of an SSD log that lies beside the table file, as a block of kSegment begins.  Behind it: a bit a slot, in words of
// 64, whether it is a row of the table; and `name`.
struct SegmentEntry {
  uint64_t ordinal;  // these two as the segment's own header says
  uint32_t number;
  uint32_t row_bytes;
  uint32_t slots;       // records in the file
  uint32_t most_slots;  // that a full file has
  uint32_t records_crc;
  uint16_t name_strip;  // the file's name is the table file's, less so many bytes at its end, and `name`
  uint16_t name_bytes;
  std::array<uint64_t, (kBuckets + 63) / 64> buckets;  // a bit each: whether a row is of it
};
static_assert(sizeof(SegmentEntry) == 160);
static_assert(offsetof(SegmentEntry, name_strip) == 28);
static_assert(offsetof(SegmentEntry, buckets) == 32);

constexpr size_t SlotWords(uint32_t slots) { return (size_t{slots} + 63) / 64; }

FileHeader MakeFileHeader();
Status CheckFileHeader(const FileHeader& header, const std::string& path);
// Footer of a file whose directory is `blocks` at `directory_offset`.
Footer MakeFooter(Span<const BlockEntry> blocks, uint64_t directory_offset);
Status CheckFooter(const Footer& footer, uint64_t file_bytes, const std::string& path);
Status CheckDirectory(Span<const BlockEntry> blocks, const Footer& footer, const std::string& path);

}  // namespace ev::checkpoint
