#include "benchmarks/engine/baseline_tiers.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "ev_tf/env/buffer_pool.h"

namespace ev::bench {
namespace {

// A segment file, open for one by one reads.
class OpenFile {
 public:
  OpenFile(int fd, void* map, size_t bytes) : fd_(fd), map_(map), bytes_(bytes) {}
  ~OpenFile() {
    if (map_ != nullptr) ::munmap(map_, bytes_);
    ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  static std::shared_ptr<OpenFile> Open(const std::string& path, OneByOne how, size_t bytes) {
    const int direct = how == OneByOne::kDirectPread ? O_DIRECT : 0;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | direct);
    if (fd < 0) return nullptr;
    void* map = nullptr;
    if (how == OneByOne::kMapAndDrop) {
      map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
      if (map == MAP_FAILED) {
        ::close(fd);
        return nullptr;
      }
    }
    return std::make_shared<OpenFile>(fd, map, bytes);
  }
  // Bytes of the file; 0 if it is unlinked, and its number may be another file's.
  uint64_t Size() const {
    struct stat info {};
    return ::fstat(fd_, &info) != 0 || info.st_nlink == 0 ? 0 : static_cast<uint64_t>(info.st_size);
  }
  int fd() const { return fd_; }
  std::byte* map() const { return static_cast<std::byte*>(map_); }
  size_t bytes() const { return bytes_; }

 private:
  const int fd_;
  void* const map_;
  const size_t bytes_;
};

class OneByOneTier final : public Tier {
 public:
  OneByOneTier(OneByOne how, std::string path, const ssd_log::Geometry& geometry, std::unique_ptr<SsdLogTier> log)
      : how_(how), path_(std::move(path)), geometry_(geometry), log_(std::move(log)) {}

  const char* name() const override { return "one_by_one"; }
  size_t row_bytes() const override { return log_->row_bytes(); }
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override {
    return log_->Put(keys, rows, positions);
  }
  void Remove(Span<const Key> keys, Span<const Position> positions) override { log_->Remove(keys, positions); }
  Status Flush() override { return log_->Flush(); }
  size_t size() const override { return log_->size(); }
  size_t bytes() const override { return log_->bytes(); }

  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override {
    std::unordered_map<uint32_t, Found> files;
    const AlignedBytes block = NewAlignedBytes(geometry_.group_bytes + 2 * ssd_log::kSectorBytes);
    for (size_t i = 0; i < keys.size(); ++i) {
      const uint32_t number = positions[i] / geometry_.slots;
      const auto [at, is_new] = files.try_emplace(number);
      if (is_new) at->second = FileOf(number);
      std::byte* row = rows.data() + i * row_bytes();
      if (ReadOne(at->second, keys[i], positions[i], block.get(), row)) continue;
      // In the log's memory still, or moved since.
      EV_RETURN_IF_ERROR(log_->Get(keys.subspan(i, 1), positions.subspan(i, 1), Span<std::byte>(row, row_bytes())));
    }
    return OkStatus();
  }

 private:
  struct Found {
    std::shared_ptr<OpenFile> file;
    uint64_t size = 0;
  };

  Found FileOf(uint32_t number) {
    std::lock_guard<std::mutex> lock(mu_);
    std::shared_ptr<OpenFile>& file = files_[number];
    uint64_t size = file == nullptr ? 0 : file->Size();
    if (size == 0) {
      file = OpenFile::Open(path_ + "/" + ssd_log::SegmentName(number), how_, geometry_.file_bytes());
      size = file == nullptr ? 0 : file->Size();
    }
    return {file, size};
  }

  bool ReadOne(const Found& found, Key key, Position position, std::byte* block, std::byte* row) const {
    const uint64_t offset = geometry_.offset(position % geometry_.slots);
    if (offset + geometry_.record_bytes > found.size) return false;
    const OpenFile& file = *found.file;
    const std::byte* record = nullptr;
    if (how_ == OneByOne::kMapAndDrop) {
      record = file.map() + offset;
    } else {
      const uint64_t begin = offset / ssd_log::kSectorBytes * ssd_log::kSectorBytes;
      const uint64_t end =
          (offset + geometry_.record_bytes + ssd_log::kSectorBytes - 1) / ssd_log::kSectorBytes * ssd_log::kSectorBytes;
      const ssize_t wanted = static_cast<ssize_t>(end - begin);
      if (::pread(file.fd(), block, end - begin, static_cast<off_t>(begin)) != wanted) return false;
      record = block + (offset - begin);
    }
    const ssd_log::SequenceWindow any(0);  // the sequence means nothing here
    const ssd_log::RecordView view = ssd_log::DecodeRecord(record, geometry_.row_bytes, any);
    const bool good = view.kind == ssd_log::RecordKind::kRow && view.key == key;
    if (good) std::memcpy(row, view.row, geometry_.row_bytes);
    if (how_ == OneByOne::kMapAndDrop) ::madvise(file.map(), file.bytes(), MADV_DONTNEED);
    return good;
  }

  const OneByOne how_;
  const std::string path_;
  const ssd_log::Geometry geometry_;
  const std::unique_ptr<SsdLogTier> log_;
  std::mutex mu_;
  std::unordered_map<uint32_t, std::shared_ptr<OpenFile>> files_;  // guarded by mu_; by number
};

}  // namespace

Status OpenOneByOneTier(OneByOne how, const SsdLogOptions& log, std::shared_ptr<Tier>* out) {
  ssd_log::Geometry geometry;
  EV_RETURN_IF_ERROR(ssd_log::MakeGeometry(log.row_bytes, log.segment_bytes, &geometry));
  std::unique_ptr<SsdLogTier> tier;
  EV_RETURN_IF_ERROR(SsdLogTier::Open(log, &tier));
  *out = std::make_shared<OneByOneTier>(how, log.path, geometry, std::move(tier));
  return OkStatus();
}

}  // namespace ev::bench
