#include "ev_tf/checkpoint/table_writer.h"

#include <utility>

#include "ev_tf/base/crc32c.h"

namespace ev {

using checkpoint::BlockEntry;
using checkpoint::BlockKind;

namespace {

constexpr uint64_t Aligned(uint64_t offset) {
  return (offset + checkpoint::kBlockAlignment - 1) / checkpoint::kBlockAlignment * checkpoint::kBlockAlignment;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

template <typename T>
Span<const std::byte> BytesOf(const T* data, size_t n) {
  return {reinterpret_cast<const std::byte*>(data), n * sizeof(T)};
}

}  // namespace

TableWriter::TableWriter(Env* env, std::string path)
    : env_(env),
      path_(std::move(path)),
      temporary_path_(path_ + ".tmp"),
      end_(Aligned(sizeof(checkpoint::FileHeader))) {}

TableWriter::~TableWriter() {
  if (committed_ || file_ == nullptr) return;
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
  entry.rows = static_cast<uint32_t>(table.default_value_dim);
  EV_RETURN_IF_ERROR(writer->AddBlock(entry, BytesOf(default_rows.data(), default_rows.size())));
  *out = std::move(writer);
  return OkStatus();
}

Status TableWriter::Open() {
  OpenOptions options;
  options.create = true;
  EV_RETURN_IF_ERROR(env_->Open(temporary_path_, options, &file_));
  const checkpoint::FileHeader header = checkpoint::MakeFileHeader();
  return file_->WriteAt(0, BytesOf(&header, 1));
}

Status TableWriter::AddRows(int first_bucket, int last_bucket, size_t n, Span<const std::byte> block) {
  BlockEntry entry{};
  entry.kind = BlockKind::kRows;
  entry.rows = static_cast<uint32_t>(n);
  entry.first_bucket = static_cast<uint16_t>(first_bucket);
  entry.last_bucket = static_cast<uint16_t>(last_bucket);
  return AddBlock(entry, block);
}

Status TableWriter::AddFilteredKeys(Span<const checkpoint::FilteredEntry> keys) {
  BlockEntry entry{};
  entry.kind = BlockKind::kFilteredKeys;
  entry.rows = static_cast<uint32_t>(keys.size());
  entry.last_bucket = checkpoint::kBuckets - 1;
  return AddBlock(entry, BytesOf(keys.data(), keys.size()));
}

Status TableWriter::AddBlock(BlockEntry entry, Span<const std::byte> block) {
  entry.bytes = block.size();
  entry.crc = Crc32c(block.data(), block.size());
  {
    std::lock_guard<std::mutex> lock(mu_);
    EV_RETURN_IF_ERROR(error_);
    entry.offset = end_;
    end_ = Aligned(end_ + entry.bytes);
    blocks_.push_back(entry);
  }
  const Status written = file_->WriteAt(entry.offset, block);
  if (written.ok()) return written;
  std::lock_guard<std::mutex> lock(mu_);
  if (error_.ok()) error_ = written;
  return written;
}

Status TableWriter::Commit() {
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(error_);
  error_ = Finish();
  committed_ = error_.ok();
  return error_;
}

Status TableWriter::Finish() {
  const checkpoint::Footer footer = checkpoint::MakeFooter(blocks_, end_);
  EV_RETURN_IF_ERROR(file_->WriteAt(end_, BytesOf(blocks_.data(), blocks_.size())));
  EV_RETURN_IF_ERROR(file_->WriteAt(footer.file_bytes - sizeof(footer), BytesOf(&footer, 1)));
  EV_RETURN_IF_ERROR(file_->Sync());
  EV_RETURN_IF_ERROR(env_->Rename(temporary_path_, path_));
  return env_->SyncDirectory(DirectoryOf(path_));
}

uint64_t TableWriter::bytes() const {
  std::lock_guard<std::mutex> lock(mu_);
  return end_;
}

}  // namespace ev
