// The bytes of a table file, for its writer and its reader.  FORMAT.md explains them; values are never renumbered.
#pragma once

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

// What a block holds.
enum class BlockKind : uint16_t { kDescription = 1, kDefaultRows = 2, kRows = 3, kFilteredKeys = 4 };

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
  uint16_t first_bucket;  // of rows and filtered keys: none is of another bucket than first_bucket to last_bucket
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

FileHeader MakeFileHeader();
Status CheckFileHeader(const FileHeader& header, const std::string& path);
// Footer of a file whose directory is `blocks` at `directory_offset`.
Footer MakeFooter(Span<const BlockEntry> blocks, uint64_t directory_offset);
Status CheckFooter(const Footer& footer, uint64_t file_bytes, const std::string& path);
Status CheckDirectory(Span<const BlockEntry> blocks, const Footer& footer, const std::string& path);

}  // namespace ev::checkpoint
