#include "ev_tf/checkpoint/table_reader.h"

#include <utility>

#include "ev_tf/base/crc32c.h"

namespace ev {

using checkpoint::BlockEntry;

namespace {

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
  std::unique_ptr<TableReader> reader(new TableReader(path, std::move(file)));
  EV_RETURN_IF_ERROR(reader->ReadFrame());
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
  return CheckSizes();
}

Status TableReader::CheckSizes() const {
  const BlockEntry& defaults = blocks_[1];
  const uint64_t default_bytes =
      static_cast<uint64_t>(table_.default_value_dim) * static_cast<uint64_t>(table_.dim) * sizeof(float);
  if (defaults.bytes != default_bytes) {
    return Damaged(path_, defaults.offset, "bytes of the default rows", default_bytes, defaults.bytes);
  }
  for (size_t i = 0; i < blocks(); ++i) {
    const bool filtered = block(i).kind == checkpoint::BlockKind::kFilteredKeys;
    const uint64_t bytes =
        filtered ? block(i).rows * sizeof(checkpoint::FilteredEntry) : table_.BlockBytes(block(i).rows);
    if (block(i).bytes != bytes) {
      return Damaged(path_, block(i).offset, "bytes of a block of " + std::to_string(block(i).rows) + " rows", bytes,
                     block(i).bytes);
    }
  }
  return OkStatus();
}

Status TableReader::ReadChecked(const BlockEntry& block, std::byte* out) const {
  EV_RETURN_IF_ERROR(file_->ReadAt(block.offset, {out, block.bytes}));
  const uint32_t crc = Crc32c(out, block.bytes);
  if (crc != block.crc) return Damaged(path_, block.offset, "crc of a block", block.crc, crc);
  return OkStatus();
}

Status TableReader::ReadDefaultRows(std::vector<float>* out) const {
  out->resize(static_cast<size_t>(table_.default_value_dim * table_.dim));
  return ReadChecked(blocks_[1], reinterpret_cast<std::byte*>(out->data()));
}

Status TableReader::ReadBlock(size_t i, std::vector<int64_t>* buffer, TableRows* rows) const {
  const BlockEntry& entry = block(i);
  const size_t words = (entry.bytes + sizeof(int64_t) - 1) / sizeof(int64_t);
  if (buffer->size() < words) buffer->resize(words);
  auto* bytes = reinterpret_cast<std::byte*>(buffer->data());
  EV_RETURN_IF_ERROR(ReadChecked(entry, bytes));
  const size_t n = entry.rows;
  const checkpoint::RowColumns<std::byte> columns(table_, bytes, n);
  const auto numbers = [&](std::byte* column) {
    return Span<const int64_t>(reinterpret_cast<const int64_t*>(column), column == nullptr ? 0 : n);
  };
  rows->keys = numbers(columns.keys);
  rows->frequencies = numbers(columns.frequencies);
  rows->versions = numbers(columns.versions);
  rows->values = {reinterpret_cast<const float*>(columns.values), n * static_cast<size_t>(table_.dim)};
  rows->slots = {reinterpret_cast<const float*>(columns.slots), n * table_.slot_floats()};
  for (const Key key : rows->keys) {
    const int64_t bucket = FloorMod(key, checkpoint::kBuckets);
    if (bucket < entry.first_bucket || bucket > entry.last_bucket) {
      return Corruption(path_ + " @ " + std::to_string(entry.offset) + ": key " + std::to_string(key) +
                        ": expected a key of buckets " + std::to_string(entry.first_bucket) + " to " +
                        std::to_string(entry.last_bucket) + ", found one of " + std::to_string(bucket));
    }
  }
  return OkStatus();
}

Status TableReader::ReadFilteredKeys(size_t i, std::vector<checkpoint::FilteredEntry>* keys) const {
  keys->resize(block(i).rows);
  EV_RETURN_IF_ERROR(ReadChecked(block(i), reinterpret_cast<std::byte*>(keys->data())));
  for (const checkpoint::FilteredEntry& entry : *keys) {
    if (entry.frequency == 0) {
      return Corruption(path_ + " @ " + std::to_string(block(i).offset) + ": frequency of key " +
                        std::to_string(entry.key) + ": expected at least 1, found 0");
    }
  }
  return OkStatus();
}

Status TableReader::Verify() const {
  std::vector<float> defaults;
  EV_RETURN_IF_ERROR(ReadDefaultRows(&defaults));
  std::vector<int64_t> buffer;
  TableRows rows;
  std::vector<checkpoint::FilteredEntry> filtered;
  for (size_t i = 0; i < blocks(); ++i) {
    const bool counts = block(i).kind == checkpoint::BlockKind::kFilteredKeys;
    EV_RETURN_IF_ERROR(counts ? ReadFilteredKeys(i, &filtered) : ReadBlock(i, &buffer, &rows));
  }
  return OkStatus();
}

}  // namespace ev
