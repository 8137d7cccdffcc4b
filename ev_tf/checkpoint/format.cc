#include "ev_tf/checkpoint/format.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <utility>

#include "ev_tf/base/crc32c.h"
#include "ev_tf/base/hex.h"

namespace ev::checkpoint {
namespace {

constexpr uint32_t kFrequencyFlag = 1;
constexpr uint32_t kVersionFlag = 2;
constexpr uint32_t kFloat16Flag = 4;
constexpr uint32_t kBFloat16Flag = 8;
constexpr uint32_t kFrozenFlag = 16;
constexpr uint32_t kMaxSlots = 64;

Status Wrong(const std::string& path, uint64_t offset, const char* field, const std::string& expected,
             const std::string& found) {
  return Corruption(path + " @ " + std::to_string(offset) + ": " + field + ": expected " + expected + ", found " +
                    found);
}

// Before the checksum: another version may keep it elsewhere.
Status CheckVersion(uint32_t version, const std::string& path) {
  if (version == kVersion) return OkStatus();
  return FailedPrecondition(path + ": version: expected " + std::to_string(kVersion) + ", found " +
                            std::to_string(version) + ": this file is for another release");
}

class Encoder {
 public:
  template <typename T>
  void Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void Text(const std::string& text) {
    Number(static_cast<uint32_t>(text.size()));
    bytes_ += text;
  }
  std::string bytes() && { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads what an Encoder wrote; false once the bytes do not suffice.
class Decoder {
 public:
  explicit Decoder(Span<const std::byte> bytes) : bytes_(bytes) {}
  template <typename T>
  bool Number(T* value) {
    if (bytes_.size() - at_ < sizeof(T)) return false;
    std::memcpy(value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }
  bool Text(std::string* text) {
    uint32_t n = 0;
    if (!Number(&n) || bytes_.size() - at_ < n) return false;
    text->assign(reinterpret_cast<const char*>(bytes_.data()) + at_, n);
    at_ += n;
    return true;
  }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  const Span<const std::byte> bytes_;
  size_t at_ = 0;
};

bool DecodeFields(Decoder* decoder, TableDescription* table) {
  uint32_t flags = 0;
  uint32_t slots = 0;
  if (!decoder->Text(&table->name) || !decoder->Number(&table->dim) || !decoder->Number(&table->default_value_dim) ||
      !decoder->Number(&flags) || !decoder->Number(&slots) || slots > kMaxSlots) {
    return false;
  }
  table->has_frequency = (flags & kFrequencyFlag) != 0;
  table->has_version = (flags & kVersionFlag) != 0;
  for (uint32_t i = 0; i < slots; ++i) {
    SlotSpec slot;
    if (!decoder->Text(&slot.name) || !decoder->Number(&slot.dim) || !decoder->Number(&slot.initial)) return false;
    table->slots.push_back(std::move(slot));
  }
  const uint32_t type = flags & (kFloat16Flag | kBFloat16Flag);
  if (type == kFloat16Flag) table->value_type = ValueType::kFloat16;
  if (type == kBFloat16Flag) table->value_type = ValueType::kBFloat16;
  table->frozen = (flags & kFrozenFlag) != 0;
  const bool only_values = !table->has_frequency && !table->has_version && table->slots.empty();
  return (flags & ~(kFrequencyFlag | kVersionFlag | kFrozenFlag | type)) == 0 &&
         type != (kFloat16Flag | kBFloat16Flag) && (!table->frozen || only_values) && decoder->at_end();
}

Status CheckEntry(const BlockEntry& block, const Footer& footer, uint64_t at, const std::string& path) {
  if (block.kind < BlockKind::kDescription || block.kind > BlockKind::kSegment) {
    return Wrong(path, at, "kind of a block", "1 to 7", std::to_string(static_cast<int>(block.kind)));
  }
  const uint64_t end = footer.directory_offset;
  if (block.offset < sizeof(FileHeader) || block.offset > end || block.bytes > end - block.offset ||
      block.offset % kBlockAlignment != 0) {
    return Wrong(path, at, "place of a block",
                 "a multiple of " + std::to_string(kBlockAlignment) + " that ends before " + std::to_string(end),
                 std::to_string(block.bytes) + " bytes at " + std::to_string(block.offset));
  }
  if (block.first_bucket > block.last_bucket || block.last_bucket >= kBuckets) {
    return Wrong(path, at, "buckets of a block", "0 to " + std::to_string(kBuckets - 1) + ", ascending",
                 std::to_string(block.first_bucket) + " to " + std::to_string(block.last_bucket));
  }
  return OkStatus();
}

}  // namespace

size_t TableDescription::slot_floats() const {
  size_t floats = 0;
  for (const SlotSpec& slot : slots) floats += static_cast<size_t>(slot.dim);
  return floats;
}

size_t TableDescription::BlockBytes(size_t n) const {
  const size_t numbers = 1 + (has_frequency ? 1 : 0) + (has_version ? 1 : 0);
  return n * (numbers * sizeof(int64_t) + (static_cast<size_t>(dim) + slot_floats()) * sizeof(float));
}

std::string EncodeDescription(const TableDescription& table) {
  Encoder encoder;
  encoder.Text(table.name);
  encoder.Number(table.dim);
  encoder.Number(table.default_value_dim);
  encoder.Number((table.has_frequency ? kFrequencyFlag : 0) | (table.has_version ? kVersionFlag : 0) |
                 (table.value_type == ValueType::kFloat16 ? kFloat16Flag : 0) |
                 (table.value_type == ValueType::kBFloat16 ? kBFloat16Flag : 0) | (table.frozen ? kFrozenFlag : 0));
  encoder.Number(static_cast<uint32_t>(table.slots.size()));
  for (const SlotSpec& slot : table.slots) {
    encoder.Text(slot.name);
    encoder.Number(slot.dim);
    encoder.Number(slot.initial);
  }
  return std::move(encoder).bytes();
}

Status DecodeDescription(Span<const std::byte> bytes, const std::string& where, TableDescription* out) {
  Decoder decoder(bytes);
  TableDescription table;
  if (!DecodeFields(&decoder, &table)) return Corruption(where + ": the description of the table does not parse");
  const auto out_of_range = [&](const std::string& what, int64_t limit, int64_t found) {
    return Corruption(where + ": " + what + ": expected 1 to " + std::to_string(limit) + ", found " +
                      std::to_string(found));
  };
  if (table.dim < 1 || table.dim > kMaxDim) return out_of_range("dim", kMaxDim, table.dim);
  constexpr int64_t kMaxDefaults = std::numeric_limits<uint32_t>::max();
  if (table.default_value_dim < 1 || table.default_value_dim > kMaxDefaults) {
    return out_of_range("default rows", kMaxDefaults, table.default_value_dim);
  }
  for (const SlotSpec& slot : table.slots) {
    if (slot.dim < 1 || slot.dim > table.dim) return out_of_range("dim of slot " + slot.name, table.dim, slot.dim);
  }
  *out = std::move(table);
  return OkStatus();
}

SaveId NewSaveId() {
  std::random_device device;
  const auto word = [&] { return uint64_t{device()} << 32 | device(); };
  return {word(), word()};
}

std::string ToString(const SaveId& id) {
  char text[33];
  std::snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, id.high, id.low);
  return text;
}

Status CheckLineage(const Lineage& lineage, const std::string& where) {
  const auto wrong = [&](const char* field, const std::string& expected, uint64_t found) {
    return Corruption(where + ": " + field + ": expected " + expected + ", found " + std::to_string(found));
  };
  if ((lineage.flags & ~(kDeltaFlag | kClearedFlag)) != 0 || lineage.flags == kClearedFlag) {
    return wrong("flags of the lineage", "0, 1 or 3", lineage.flags);
  }
  if (lineage.sequence == 0 && lineage.delta()) return wrong("sequence of a delta", "at least 1", 0);
  return OkStatus();
}

FileHeader MakeFileHeader() {
  FileHeader header{kFileMagic, kVersion, 0};
  header.crc = Crc32c(&header, offsetof(FileHeader, crc));
  return header;
}

Status CheckFileHeader(const FileHeader& header, const std::string& path) {
  if (header.magic != kFileMagic) return Wrong(path, 0, "magic", Hex(kFileMagic), Hex(header.magic));
  EV_RETURN_IF_ERROR(CheckVersion(header.version, path));
  const uint32_t crc = Crc32c(&header, offsetof(FileHeader, crc));
  if (crc != header.crc) return Wrong(path, 0, "header crc", Hex(crc), Hex(header.crc));
  return OkStatus();
}

Footer MakeFooter(Span<const BlockEntry> blocks, uint64_t directory_offset) {
  const uint64_t directory_bytes = blocks.size() * sizeof(BlockEntry);
  Footer footer{kFooterMagic,
                kVersion,
                static_cast<uint32_t>(blocks.size()),
                directory_offset,
                directory_offset + directory_bytes + sizeof(Footer),
                0,
                Crc32c(blocks.data(), directory_bytes),
                0};
  for (const BlockEntry& block : blocks) footer.rows += block.kind == BlockKind::kRows ? block.rows : 0;
  footer.crc = Crc32c(&footer, offsetof(Footer, crc));
  return footer;
}

Status CheckFooter(const Footer& footer, uint64_t file_bytes, const std::string& path) {
  const uint64_t at = file_bytes - sizeof(Footer);
  if (footer.magic != kFooterMagic) {
    return Wrong(path, at, "end of the file", Hex(kFooterMagic), Hex(footer.magic) + " (is the file cut short?)");
  }
  EV_RETURN_IF_ERROR(CheckVersion(footer.version, path));
  const uint32_t crc = Crc32c(&footer, offsetof(Footer, crc));
  if (crc != footer.crc) return Wrong(path, at, "footer crc", Hex(crc), Hex(footer.crc));
  if (footer.file_bytes != file_bytes) {
    return Wrong(path, at, "size of the file", std::to_string(footer.file_bytes), std::to_string(file_bytes));
  }
  if (footer.directory_offset > at || at - footer.directory_offset != uint64_t{footer.blocks} * sizeof(BlockEntry)) {
    return Wrong(path, at, "directory of blocks", std::to_string(footer.blocks) + " entries",
                 "offset " + std::to_string(footer.directory_offset));
  }
  return OkStatus();
}

Status CheckDirectory(Span<const BlockEntry> blocks, const Footer& footer, const std::string& path) {
  const uint32_t crc = Crc32c(blocks.data(), blocks.size() * sizeof(BlockEntry));
  if (crc != footer.directory_crc) {
    return Wrong(path, footer.directory_offset, "directory crc", Hex(crc), Hex(footer.directory_crc));
  }
  uint64_t rows = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const uint64_t at = footer.directory_offset + i * sizeof(BlockEntry);
    EV_RETURN_IF_ERROR(CheckEntry(blocks[i], footer, at, path));
    const BlockKind expected = i == 0 ? BlockKind::kDescription : i == 1 ? BlockKind::kDefaultRows : BlockKind::kRows;
    const bool any = i > 1 && blocks[i].kind > BlockKind::kDefaultRows;
    if (blocks[i].kind != expected && !any) {
      return Wrong(path, at, "kind of a block", std::to_string(static_cast<int>(expected)),
                   std::to_string(static_cast<int>(blocks[i].kind)));
    }
    rows += blocks[i].kind == BlockKind::kRows ? blocks[i].rows : 0;
  }
  if (blocks.size() < 2) {
    return Wrong(path, footer.directory_offset, "blocks", "at least 2", std::to_string(blocks.size()));
  }
  if (rows != footer.rows) {
    return Wrong(path, footer.directory_offset, "rows", std::to_string(footer.rows), std::to_string(rows));
  }
  return OkStatus();
}

}  // namespace ev::checkpoint
