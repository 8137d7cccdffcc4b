#include "ev_tf/tier/ssd_log/segment_writer.h"

#include <cstring>
#include <utility>

#include "ev_tf/tier/ssd_log/log_writer.h"

namespace ev::ssd_log {
namespace {

constexpr uint64_t kFirstSequence = 1;  // a file's rows are fewer than 2^31

}  // namespace

SegmentWriter::SegmentWriter(Env* env, std::string path, const Geometry& geometry, uint32_t number)
    : env_(env),
      path_(std::move(path)),
      geometry_(geometry),
      number_(number),
      buffer_slots_(SlotsOfBuffer(geometry)),
      buffer_bytes_(size_t{buffer_slots_ / geometry.records_per_group} * geometry.group_bytes) {}

SegmentWriter::~SegmentWriter() {
  if (buffer_ != nullptr) BufferPool::Global().Give(std::move(buffer_), buffer_bytes_);
}

Status SegmentWriter::Create(Env* env, const std::string& path, const Geometry& geometry, uint32_t number,
                             std::unique_ptr<SegmentWriter>* out) {
  std::unique_ptr<SegmentWriter> writer(new SegmentWriter(env, path, geometry, number));
  writer->buffer_ = BufferPool::Global().Take(writer->buffer_bytes_);
  AlignedBytes header = NewAlignedBytes(kHeaderBytes);
  if (writer->buffer_ == nullptr || header == nullptr) {
    return OutOfSpace("memory: expected a buffer of " + std::to_string(writer->buffer_bytes_) + " bytes, found none");
  }
  OpenOptions how;
  how.create = true;
  EV_RETURN_IF_ERROR(env->Open(path, how, &writer->file_));
  std::memset(header.get(), 0, kHeaderBytes);
  EncodeFileHeader(geometry, number, number, SequenceWindow(kFirstSequence), header.get());
  EV_RETURN_IF_ERROR(writer->file_->WriteAt(0, {header.get(), kHeaderBytes}));
  *out = std::move(writer);
  return OkStatus();
}

Status SegmentWriter::Append(Key key, const std::byte* row) {
  if (slots_ == first_ + buffer_slots_) EV_RETURN_IF_ERROR(WriteBuffer());
  if (slots_ == first_) std::memset(buffer_.get(), 0, buffer_bytes_);  // a lent buffer holds somebody's old bytes
  std::byte* const record = at(slots_);
  EncodeRecord(key, kFirstSequence + rows_, row, geometry_.row_bytes, record);
  records_crc_ = AddRecordCrc(records_crc_, record);
  ++slots_;
  ++rows_;
  return OkStatus();
}

Status SegmentWriter::WriteBuffer() {
  if (slots_ == first_) return OkStatus();
  const uint64_t begin = geometry_.offset(first_);
  EV_RETURN_IF_ERROR(file_->WriteAt(begin, {buffer_.get(), geometry_.group_offset(slots_) - begin}));
  first_ = slots_;
  return OkStatus();
}

Status SegmentWriter::Finish(SegmentFile* file) {
  for (const uint32_t end = geometry_.next_group(slots_); slots_ < end; ++slots_) {
    EncodeFiller(geometry_.record_bytes, at(slots_));
    records_crc_ = AddRecordCrc(records_crc_, at(slots_));
  }
  EV_RETURN_IF_ERROR(WriteBuffer());
  EV_RETURN_IF_ERROR(file_->Sync());
  file->path = path_;
  file->number = number_;
  file->row_bytes = geometry_.row_bytes;
  file->slots = slots_;
  file->most_slots = geometry_.slots;
  file->ordinal = number_;
  file->records_crc = records_crc_;
  return OkStatus();
}

}  // namespace ev::ssd_log
