#include "ev_tf/checkpoint/table_reader.h"

#include <cstring>
#include <utility>

#include "ev_tf/base/crc32c.h"
#include "ev_tf/checkpoint/segment_links.h"
#include "ev_tf/tier/ssd_log/segment_file.h"

namespace ev {

using checkpoint::BlockEntry;
using checkpoint::BlockKind;
using checkpoint::SegmentEntry;

namespace {

static_assert(kBufferAlignment % kDirectAlignment == 0);

Status Damaged(const std::string& path, uint64_t offset, const std::string& what, uint64_t expected, uint64_t found) {
  return Corruption(path + " @ " + std::to_string(offset) + ": " + what + ": expected " + std::to_string(expected) +
                    ", found " + std::to_string(found));
}

template <typename T>
Span<std::byte> BytesOf(T* data, size_t n) {
  return {reinterpret_cast<std::byte*>(data), n * sizeof(T)};
}

}  // namespace

Status TableReader::Open(Env* env, const std::string& path, std::unique_ptr<TableReader>* out) {
  OpenOptions options;
  options.write = false;
  std::unique_ptr<File> file;
  EV_RETURN_IF_ERROR(env->Open(path, options, &file));
  std::unique_ptr<TableReader> reader(new TableReader(env, path, std::move(file)));
  EV_RETURN_IF_ERROR(reader->ReadFrame());
  if (reader->file_bytes() > kRunBytes) {
    options.direct = true;
    EV_RETURN_IF_ERROR(env->Open(path, options, &reader->direct_file_));
  }
  *out = std::move(reader);
  return OkStatus();
}

Status TableReader::ReadFrame() {
  uint64_t size = 0;
  EV_RETURN_IF_ERROR(file_->Size(&size));
  constexpr uint64_t kSmallest = sizeof(checkpoint::FileHeader) + sizeof(checkpoint::Footer);
  if (size < kSmallest) {
    return Corruption(path_ + " @ 0: size of the file: expected at least " + std::to_string(kSmallest) + ", found " +
                      std::to_string(size));
  }
  checkpoint::FileHeader header{};
  EV_RETURN_IF_ERROR(file_->ReadAt(0, BytesOf(&header, 1)));
  EV_RETURN_IF_ERROR(checkpoint::CheckFileHeader(header, path_));
  EV_RETURN_IF_ERROR(file_->ReadAt(size - sizeof(footer_), BytesOf(&footer_, 1)));
  EV_RETURN_IF_ERROR(checkpoint::CheckFooter(footer_, size, path_));
  blocks_.resize(footer_.blocks);  // no more than fit in the file
  EV_RETURN_IF_ERROR(file_->ReadAt(footer_.directory_offset, BytesOf(blocks_.data(), blocks_.size())));
  EV_RETURN_IF_ERROR(checkpoint::CheckDirectory(blocks_, footer_, path_));
  std::vector<std::byte> description(blocks_[0].bytes);
  EV_RETURN_IF_ERROR(ReadChecked(blocks_[0], description.data()));
  EV_RETURN_IF_ERROR(
      checkpoint::DecodeDescription(description, path_ + " @ " + std::to_string(blocks_[0].offset), &table_));
  EV_RETURN_IF_ERROR(ReadLineage());
  for (const BlockEntry& block : blocks_) segment_rows_ += block.kind == BlockKind::kSegment ? block.rows : 0;
  return CheckSizes();
}

Status TableReader::ReadLineage() {
  for (size_t i = 0; i < blocks();) {
    const BlockEntry entry = block(i);
    if (entry.kind != BlockKind::kLineage) {
      ++i;
      continue;
    }
    if (lineage_) return Damaged(path_, entry.offset, "blocks that say what the file builds on", 1, 2);
    checkpoint::Lineage lineage{};
    if (entry.bytes != sizeof(lineage)) {
      return Damaged(path_, entry.offset, "bytes of the lineage", sizeof(lineage), entry.bytes);
    }
    EV_RETURN_IF_ERROR(ReadChecked(entry, reinterpret_cast<std::byte*>(&lineage)));
    EV_RETURN_IF_ERROR(checkpoint::CheckLineage(lineage, path_ + " @ " + std::to_string(entry.offset)));
    lineage_ = lineage;
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(kFirstRows + i));
  }
  return OkStatus();
}

uint64_t TableReader::BytesOfBlock(const BlockEntry& entry) const {
  switch (entry.kind) {
    case BlockKind::kFilteredKeys: return entry.rows * sizeof(checkpoint::FilteredEntry);
    case BlockKind::kRemovedKeys: return entry.rows * sizeof(Key);
    case BlockKind::kLineage: return sizeof(checkpoint::Lineage);
    default: return table_.BlockBytes(entry.rows);
  }
}

Status TableReader::CheckSizes() const {
  const BlockEntry& defaults = blocks_[1];
  const uint64_t default_bytes =
      delta() ? 0 : static_cast<uint64_t>(table_.default_value_dim) * static_cast<uint64_t>(table_.dim) * sizeof(float);
  if (defaults.bytes != default_bytes) {
    return Damaged(path_, defaults.offset, "bytes of the default rows", default_bytes, defaults.bytes);
  }
  for (size_t i = 0; i < blocks(); ++i) {
    if (block(i).kind == BlockKind::kSegment) continue;  // ReadSegment knows
    if (block(i).kind == BlockKind::kRemovedKeys && !delta()) {
      return Corruption(path_ + " @ " + std::to_string(block(i).offset) +
                        ": expected removed keys in a delta, found them in a full save");
    }
    const uint64_t bytes = BytesOfBlock(block(i));
    if (block(i).bytes != bytes) {
      return Damaged(path_, block(i).offset, "bytes of a block of " + std::to_string(block(i).rows) + " rows", bytes,
                     block(i).bytes);
    }
    if (block(i).kind == BlockKind::kRows && bytes > checkpoint::kMaxRowsBytes) {
      return Damaged(path_, block(i).offset, "bytes of a block of rows, at most", checkpoint::kMaxRowsBytes, bytes);
    }
  }
  return OkStatus();
}

Status TableReader::CheckBucket(const BlockEntry& entry, Key key) const {
  const int64_t bucket = FloorMod(key, checkpoint::kBuckets);
  if (bucket >= entry.first_bucket && bucket <= entry.last_bucket) return OkStatus();
  return Corruption(path_ + " @ " + std::to_string(entry.offset) + ": key " + std::to_string(key) +
                    ": expected a key of buckets " + std::to_string(entry.first_bucket) + " to " +
                    std::to_string(entry.last_bucket) + ", found one of " + std::to_string(bucket));
}

Status TableReader::CheckCrc(const BlockEntry& block, const std::byte* bytes) const {
  const uint32_t crc = Crc32c(bytes, block.bytes);
  if (crc != block.crc) return Damaged(path_, block.offset, "crc of a block", block.crc, crc);
  return OkStatus();
}

Status TableReader::ReadChecked(const BlockEntry& block, std::byte* out) const {
  EV_RETURN_IF_ERROR(file_->ReadAt(block.offset, {out, block.bytes}));
  return CheckCrc(block, out);
}

Status TableReader::ReadDefaultRows(std::vector<float>* out) const {
  out->resize(static_cast<size_t>(table_.default_value_dim * table_.dim));
  return ReadChecked(blocks_[1], reinterpret_cast<std::byte*>(out->data()));
}

TableRows TableReader::Columns(const checkpoint::RowColumns<const std::byte>& columns, size_t n) const {
  const auto numbers = [&](const std::byte* column) {
    return Span<const int64_t>(reinterpret_cast<const int64_t*>(column), column == nullptr ? 0 : n);
  };
  return {numbers(columns.keys),
          numbers(columns.frequencies),
          numbers(columns.versions),
          {reinterpret_cast<const float*>(columns.values), n * static_cast<size_t>(table_.dim)},
          {reinterpret_cast<const float*>(columns.slots), n * table_.slot_floats()}};
}

Status TableReader::CheckedRows(const BlockEntry& block, const std::byte* bytes, TableRows* rows) const {
  EV_RETURN_IF_ERROR(CheckCrc(block, bytes));
  const checkpoint::RowColumns<const std::byte> columns(table_, bytes, block.rows);
  *rows = Columns(columns, block.rows);
  for (const Key key : rows->keys) EV_RETURN_IF_ERROR(CheckBucket(block, key));
  return OkStatus();
}

Status TableReader::ReadBlock(size_t i, std::vector<int64_t>* buffer, TableRows* rows) const {
  const BlockEntry& entry = block(i);
  const size_t words = (entry.bytes + sizeof(int64_t) - 1) / sizeof(int64_t);
  if (buffer->size() < words) buffer->resize(words);
  auto* bytes = reinterpret_cast<std::byte*>(buffer->data());
  EV_RETURN_IF_ERROR(file_->ReadAt(entry.offset, {bytes, entry.bytes}));
  return CheckedRows(entry, bytes, rows);
}

size_t TableReader::EndOfRun(size_t first) const {
  size_t end = first + 1;
  for (; end < blocks() && block(end).kind == BlockKind::kRows; ++end) {
    const uint64_t before = block(end - 1).offset + block(end - 1).bytes;
    if (block(end).offset < before || block(end).offset - before >= kBufferAlignment) break;
    if (block(end).offset + block(end).bytes - block(first).offset > kRunBytes - 2 * kBufferAlignment) break;
  }
  return end;
}

ReadRequest TableReader::RequestOf(const BlockRun& run) const {
  const uint64_t begin = block(run.first).offset;
  const uint64_t end = block(run.end - 1).offset + block(run.end - 1).bytes;
  const uint64_t whole_begin = begin / kBufferAlignment * kBufferAlignment;
  const uint64_t whole_end = (end + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
  if (direct_file_ == nullptr || whole_end > file_bytes()) {  // the file need not end with a whole page
    return {file_.get(), begin, static_cast<uint32_t>(end - begin)};
  }
  return {direct_file_.get(), whole_begin, static_cast<uint32_t>(whole_end - whole_begin)};
}

Status TableReader::ReadRuns(Span<const BlockRun> runs, size_t memory,
                             const std::function<Status(size_t, const std::byte*)>& visit) const {
  std::vector<ReadRequest> requests;
  requests.reserve(runs.size());
  for (const BlockRun& run : runs) requests.push_back(RequestOf(run));
  ReadStats stats;
  return env_->ReadBatch(requests, memory, visit, &stats);
}

Status TableReader::RowsIn(const BlockRun& run, const std::byte* bytes, size_t i, TableRows* rows) const {
  return CheckedRows(block(i), bytes + (block(i).offset - RequestOf(run).offset), rows);
}

Status TableReader::ReadFilteredKeys(size_t i, std::vector<checkpoint::FilteredEntry>* keys) const {
  keys->resize(block(i).rows);
  EV_RETURN_IF_ERROR(ReadChecked(block(i), reinterpret_cast<std::byte*>(keys->data())));
  for (const checkpoint::FilteredEntry& entry : *keys) {
    EV_RETURN_IF_ERROR(CheckBucket(block(i), entry.key));
    if (entry.frequency == 0) {
      return Corruption(path_ + " @ " + std::to_string(block(i).offset) + ": frequency of key " +
                        std::to_string(entry.key) + ": expected at least 1, found 0");
    }
  }
  return OkStatus();
}

Status TableReader::ReadRemovedKeys(size_t i, std::vector<Key>* keys) const {
  keys->resize(block(i).rows);
  EV_RETURN_IF_ERROR(ReadChecked(block(i), reinterpret_cast<std::byte*>(keys->data())));
  for (const Key key : *keys) EV_RETURN_IF_ERROR(CheckBucket(block(i), key));
  return OkStatus();
}

Status TableReader::ReadSegment(size_t i, TableSegment* segment) const {
  std::vector<std::byte> bytes(block(i).bytes);
  EV_RETURN_IF_ERROR(ReadChecked(block(i), bytes.data()));
  return DecodeSegment(block(i), bytes, segment);
}

Status TableReader::DecodeSegment(const BlockEntry& block, Span<const std::byte> bytes, TableSegment* segment) const {
  SegmentEntry& entry = segment->entry;
  if (bytes.size() < sizeof(entry)) {
    return Damaged(path_, block.offset, "bytes of a segment", sizeof(entry), bytes.size());
  }
  std::memcpy(&entry, bytes.data(), sizeof(entry));
  const size_t live_bytes = checkpoint::SlotWords(entry.slots) * sizeof(uint64_t);
  const uint64_t wanted = sizeof(entry) + live_bytes + entry.name_bytes;
  if (bytes.size() != wanted) return Damaged(path_, block.offset, "bytes of a segment", wanted, bytes.size());
  if (entry.slots > entry.most_slots) {
    return Damaged(path_, block.offset, "records of a segment, at most", entry.most_slots, entry.slots);
  }
  segment->live.resize(live_bytes / sizeof(uint64_t));
  std::memcpy(segment->live.data(), bytes.data() + sizeof(entry), live_bytes);
  uint64_t rows = 0;
  for (const uint64_t word : segment->live) rows += static_cast<uint64_t>(__builtin_popcountll(word));
  if (rows != block.rows) return Damaged(path_, block.offset, "rows of a segment", block.rows, rows);
  SegmentFile& file = segment->file;
  const auto* name = reinterpret_cast<const char*>(bytes.data() + sizeof(entry) + live_bytes);
  if (!checkpoint::FindSegment(path_, {entry.name_strip, {name, entry.name_bytes}}, &file.path)) {
    return Corruption(path_ + " @ " + std::to_string(block.offset) +
                      ": expected the name of a file beside this one, found none");
  }
  file.number = entry.number;
  file.row_bytes = entry.row_bytes;
  file.slots = entry.slots;
  file.most_slots = entry.most_slots;
  file.ordinal = entry.ordinal;
  file.records_crc = entry.records_crc;
  return OkStatus();
}

Status TableReader::CheckBucket(const TableSegment& segment, Key key) {
  const int64_t bucket = FloorMod(key, checkpoint::kBuckets);
  if (segment.HasBucket(bucket)) return OkStatus();
  return Corruption(segment.file.path + " @ 0: key " + std::to_string(key) +
                    ": expected one of the buckets that the table file says, found " + std::to_string(bucket));
}

Status TableReader::ReadSegmentRows(const TableSegment& segment, const SegmentRow& row) const {
  const auto checked = [&](uint32_t slot, Key key, const std::byte* bytes) -> Status {
    EV_RETURN_IF_ERROR(CheckBucket(segment, key));
    return row(slot, key, bytes);
  };
  return ssd_log::ReadSegment(env_, segment.file, segment.live, checked);
}

Status TableReader::VerifySegment(size_t i) const {
  TableSegment segment;
  EV_RETURN_IF_ERROR(ReadSegment(i, &segment));
  return ReadSegmentRows(segment, [](uint32_t, Key, const std::byte*) { return OkStatus(); });
}

Status TableReader::Verify() const {
  std::vector<float> defaults;
  if (!delta()) EV_RETURN_IF_ERROR(ReadDefaultRows(&defaults));
  std::vector<int64_t> buffer;
  TableRows rows;
  std::vector<checkpoint::FilteredEntry> filtered;
  std::vector<Key> removed;
  for (size_t i = 0; i < blocks(); ++i) {
    switch (block(i).kind) {
      case BlockKind::kFilteredKeys: EV_RETURN_IF_ERROR(ReadFilteredKeys(i, &filtered)); break;
      case BlockKind::kRemovedKeys: EV_RETURN_IF_ERROR(ReadRemovedKeys(i, &removed)); break;
      case BlockKind::kSegment: EV_RETURN_IF_ERROR(VerifySegment(i)); break;
      default: EV_RETURN_IF_ERROR(ReadBlock(i, &buffer, &rows));
    }
  }
  return OkStatus();
}

}  // namespace ev
