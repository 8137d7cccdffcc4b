#include "ev_tf/checkpoint/table_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ev_tf/base/crc32c.h"
#include "ev_tf/checkpoint/buckets.h"
#include "ev_tf/checkpoint/segment_links.h"

namespace ev {

using checkpoint::BlockEntry;
using checkpoint::BlockKind;

namespace {

// Of what is written at once.  A write that begins or ends inside a block of the file system, or of the device, waits for that
// block to be read: half the speed here (checkpoint_bench).
constexpr uint64_t kPieceAlignment = kBufferAlignment;

constexpr uint64_t RoundUp(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }
static_assert(kPieceAlignment % kDirectAlignment == 0 && kPieceAlignment % checkpoint::kBlockAlignment == 0);

// Makes the bytes from `from` to the next multiple of `unit` zero; returns where that is.
size_t Pad(std::byte* memory, size_t from, uint64_t unit) {
  const size_t end = RoundUp(from, unit);
  std::memset(memory + from, 0, end - from);
  return end;
}

BlockEntry EntryOf(BlockKind kind, int first_bucket, int last_bucket, size_t rows) {
  BlockEntry entry{};
  entry.kind = kind;
  entry.rows = static_cast<uint32_t>(rows);
  entry.first_bucket = static_cast<uint16_t>(first_bucket);
  entry.last_bucket = static_cast<uint16_t>(last_bucket);
  return entry;
}

template <typename T>
Span<const std::byte> BytesOf(const T* data, size_t n) {
  return {reinterpret_cast<const std::byte*>(data), n * sizeof(T)};
}

}  // namespace

TableWriter::TableWriter(Env* env, std::string path)
    : env_(env), path_(std::move(path)), temporary_path_(path_ + ".tmp") {}

TableWriter::~TableWriter() {
  behind_.reset();
  if (in_place_ || file_ == nullptr) return;
  file_.reset();
  static_cast<void>(env_->Unlink(temporary_path_));  // what cannot be deleted is overwritten by the next save
}

Status TableWriter::Create(Env* env, const std::string& path, const checkpoint::TableDescription& table,
                           Span<const float> default_rows, std::unique_ptr<TableWriter>* out) {
  std::unique_ptr<TableWriter> writer(new TableWriter(env, path));
  EV_RETURN_IF_ERROR(writer->Open());
  const std::string description = checkpoint::EncodeDescription(table);
  BlockEntry entry{};
  entry.kind = BlockKind::kDescription;
  EV_RETURN_IF_ERROR(writer->AddBlock(entry, BytesOf(description.data(), description.size())));
  entry.kind = BlockKind::kDefaultRows;
  entry.rows = static_cast<uint32_t>(default_rows.size() / static_cast<size_t>(table.dim));
  EV_RETURN_IF_ERROR(writer->AddBlock(entry, BytesOf(default_rows.data(), default_rows.size())));
  Buffer head = std::move(writer->buffers_.back());
  writer->buffers_.pop_back();
  // Before all others in the file, whoever writes first.  Default rows that are too long to stand in one buffer with the header
  // had it written.
  if (writer->end_ == 0) {
    writer->head_.emplace(std::move(head));
  } else {
    EV_RETURN_IF_ERROR(writer->Write(&head));
  }
  *out = std::move(writer);
  return OkStatus();
}

Status TableWriter::Open() {
  OpenOptions options;
  options.create = true;
  options.direct = true;
  EV_RETURN_IF_ERROR(env_->Open(temporary_path_, options, &file_));
  behind_.emplace(env_, file_.get());
  Lane lane(this);
  std::byte* header = nullptr;
  EV_RETURN_IF_ERROR(lane.Begin(sizeof(checkpoint::FileHeader), &header));
  const checkpoint::FileHeader bytes = checkpoint::MakeFileHeader();
  std::memcpy(header, &bytes, sizeof(bytes));
  lane.buffer_.used = Pad(lane.buffer_.data(), sizeof(bytes), checkpoint::kBlockAlignment);
  return OkStatus();
}

TableWriter::Buffer TableWriter::TakeBuffer() {
  std::lock_guard<std::mutex> lock(mu_);
  if (buffers_.empty()) return {};
  Buffer buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

void TableWriter::GiveBuffer(Buffer buffer) {
  if (buffer.data() == nullptr) return;
  std::lock_guard<std::mutex> lock(mu_);
  buffers_.push_back(std::move(buffer));
}

void TableWriter::NoteBlocks(Buffer* buffer, uint64_t offset) {
  for (BlockEntry entry : buffer->blocks) {
    entry.offset += offset;
    blocks_.push_back(entry);
  }
  buffer->blocks.clear();
}

Status TableWriter::TakePlace(Buffer* buffer, uint64_t* offset, size_t* bytes) {
  *bytes = Pad(buffer->data(), buffer->used, kPieceAlignment);
  buffer->used = 0;
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(error_);
  *offset = end_;
  end_ += *bytes;
  NoteBlocks(buffer, *offset);
  return OkStatus();
}

Status TableWriter::Write(Buffer* buffer) {
  uint64_t offset = 0;
  size_t bytes = 0;
  EV_RETURN_IF_ERROR(TakePlace(buffer, &offset, &bytes));
  return KeepError(file_->WriteAt(offset, {buffer->data(), bytes}));
}

Status TableWriter::KeepError(const Status& status) {
  if (status.ok()) return status;
  std::lock_guard<std::mutex> lock(mu_);
  if (error_.ok()) error_ = status;
  return error_;
}

Status TableWriter::WriteHead() {
  std::optional<Buffer> head;
  {
    std::lock_guard<std::mutex> lock(mu_);
    if (!head_) return OkStatus();
    head.emplace(std::move(*head_));
    head_.reset();
    // Its place is the first, whoever is about to write as well.
    end_ = Pad(head->data(), head->used, kPieceAlignment);
    NoteBlocks(&*head, 0);
  }
  return KeepError(file_->WriteAt(0, {head->data(), RoundUp(head->used, kPieceAlignment)}));
}

Status TableWriter::Flush(Buffer* buffer) {
  if (buffer->used == 0) return OkStatus();
  EV_RETURN_IF_ERROR(WriteHead());
  return Write(buffer);
}

Status TableWriter::FlushBehind(Buffer* buffer) {
  EV_RETURN_IF_ERROR(WriteHead());
  uint64_t offset = 0;
  size_t bytes = 0;
  EV_RETURN_IF_ERROR(TakePlace(buffer, &offset, &bytes));
  return KeepError(behind_->Write(offset, bytes, &buffer->bytes));
}

Status TableWriter::Lane::Begin(size_t bytes, std::byte** block) {
  const size_t room = RoundUp(std::max<size_t>(bytes, 1), kPieceAlignment);
  if (buffer_.used != 0 && buffer_.used + room > buffer_.bytes.capacity) {
    EV_RETURN_IF_ERROR(writer_->FlushBehind(&buffer_));
  }
  if (buffer_.bytes.capacity < room && !buffer_.bytes.Borrow(std::max(room, kHugeBufferBytes))) {
    return OutOfSpace(writer_->path_ + ": a block: expected " + std::to_string(room) + " bytes of memory, found none");
  }
  *block = buffer_.data() + buffer_.used;
  return OkStatus();
}

void TableWriter::Lane::Add(BlockEntry entry, size_t bytes) {
  entry.offset = buffer_.used;
  entry.bytes = bytes;
  entry.crc = Crc32c(buffer_.data() + buffer_.used, bytes);
  buffer_.blocks.push_back(entry);
  buffer_.used = Pad(buffer_.data(), buffer_.used + bytes, checkpoint::kBlockAlignment);
}

Status TableWriter::Lane::AddRows(int first_bucket, int last_bucket, size_t n, size_t bytes) {
  Add(EntryOf(BlockKind::kRows, first_bucket, last_bucket, n), bytes);
  return OkStatus();
}

Status TableWriter::AddRows(int first_bucket, int last_bucket, size_t n, Span<const std::byte> block) {
  return AddBuckets(BlockKind::kRows, first_bucket, last_bucket, n, block);
}

template <typename T>
Status TableWriter::AddKeys(BlockKind kind, const std::vector<T>& keys) {
  std::vector<T> sorted;
  const std::vector<size_t> starts = checkpoint::SortByBucket(keys, &sorted);
  for (const checkpoint::BlockRange& piece : checkpoint::CutIntoBlocks(starts, sizeof(T))) {
    EV_RETURN_IF_ERROR(AddBuckets(kind, piece.first_bucket, piece.last_bucket, piece.n,
                                  BytesOf(sorted.data() + piece.first, piece.n)));
  }
  return OkStatus();
}

Status TableWriter::AddFilteredKeys(const std::vector<checkpoint::FilteredEntry>& keys) {
  return AddKeys(BlockKind::kFilteredKeys, keys);
}

Status TableWriter::AddRemovedKeys(const std::vector<Key>& keys) { return AddKeys(BlockKind::kRemovedKeys, keys); }

Status TableWriter::AddLineage(const checkpoint::Lineage& lineage) {
  BlockEntry entry{};
  entry.kind = BlockKind::kLineage;
  return AddBlock(entry, BytesOf(&lineage, 1));
}

Status TableWriter::AddBuckets(BlockKind kind, int first_bucket, int last_bucket, size_t n,
                               Span<const std::byte> block) {
  return AddBlock(EntryOf(kind, first_bucket, last_bucket, n), block);
}

Status TableWriter::AddSegment(int first_bucket, int last_bucket, size_t rows, const checkpoint::SegmentEntry& segment,
                               Span<const uint64_t> live, const std::string& name) {
  const BlockEntry entry = EntryOf(BlockKind::kSegment, first_bucket, last_bucket, rows);
  const size_t live_bytes = live.size() * sizeof(uint64_t);
  std::vector<std::byte> block(sizeof(segment) + live_bytes + name.size());
  std::memcpy(block.data(), &segment, sizeof(segment));
  std::memcpy(block.data() + sizeof(segment), live.data(), live_bytes);
  std::memcpy(block.data() + sizeof(segment) + live_bytes, name.data(), name.size());
  return AddBlock(entry, block);
}

Status TableWriter::AddBlock(BlockEntry entry, Span<const std::byte> block) {
  Lane lane(this);
  std::byte* bytes = nullptr;
  EV_RETURN_IF_ERROR(lane.Begin(block.size(), &bytes));
  if (!block.empty()) std::memcpy(bytes, block.data(), block.size());
  lane.Add(entry, block.size());
  return OkStatus();
}

Status TableWriter::Commit() { return KeepError(Finish()); }

Status TableWriter::Finish() {
  for (Buffer& buffer : buffers_) {
    if (&buffer != &buffers_.back()) EV_RETURN_IF_ERROR(Flush(&buffer));
  }
  uint64_t file_bytes = 0;
  {
    Lane lane(this);  // has the last of them
    std::byte* memory = nullptr;
    EV_RETURN_IF_ERROR(lane.Begin(0, &memory));
    TakeHead(&lane.buffer_);
    EV_RETURN_IF_ERROR(WriteHead());
    EV_RETURN_IF_ERROR(AddDirectory(&lane, &file_bytes));
    EV_RETURN_IF_ERROR(Flush(&lane.buffer_));
  }
  EV_RETURN_IF_ERROR(behind_->Finish());
  EV_RETURN_IF_ERROR(file_->Truncate(file_bytes));  // a direct write ends with a whole sector
  EV_RETURN_IF_ERROR(file_->Sync());
  EV_RETURN_IF_ERROR(env_->Rename(temporary_path_, path_));
  in_place_ = true;
  return env_->SyncDirectory(checkpoint::DirectoryOf(path_));
}

void TableWriter::TakeHead(Buffer* buffer) {
  if (!head_ || RoundUp(head_->used + buffer->used, kPieceAlignment) > buffer->bytes.capacity) return;
  std::memmove(buffer->data() + head_->used, buffer->data(), buffer->used);
  std::memcpy(buffer->data(), head_->data(), head_->used);
  for (BlockEntry& entry : buffer->blocks) entry.offset += head_->used;
  buffer->blocks.insert(buffer->blocks.begin(), head_->blocks.begin(), head_->blocks.end());
  buffer->used += head_->used;
  head_.reset();
}

Status TableWriter::AddDirectory(Lane* lane, uint64_t* file_bytes) {
  const size_t blocks = blocks_.size() + lane->buffer_.blocks.size();
  std::byte* bytes = nullptr;
  EV_RETURN_IF_ERROR(lane->Begin(blocks * sizeof(BlockEntry) + sizeof(checkpoint::Footer), &bytes));
  Buffer& buffer = lane->buffer_;
  NoteBlocks(&buffer, end_);
  const checkpoint::Footer footer = checkpoint::MakeFooter(blocks_, end_ + buffer.used);
  const size_t directory_bytes = blocks_.size() * sizeof(BlockEntry);
  std::memcpy(bytes, blocks_.data(), directory_bytes);
  std::memcpy(bytes + directory_bytes, &footer, sizeof(footer));
  buffer.used += directory_bytes + sizeof(footer);
  *file_bytes = footer.file_bytes;
  return OkStatus();
}

uint64_t TableWriter::bytes() const {
  std::lock_guard<std::mutex> lock(mu_);
  uint64_t bytes = end_;
  for (const Buffer& buffer : buffers_) bytes += buffer.used;
  if (head_) bytes += head_->used;
  return bytes;
}

int64_t TableWriter::rows() const {
  std::lock_guard<std::mutex> lock(mu_);
  int64_t rows = 0;
  for (const BlockEntry& block : blocks_) rows += block.kind == BlockKind::kRows ? block.rows : 0;
  return rows;
}

}  // namespace ev
