// A second name for a file: a hard link where the file system has them, a reflink where it shares bytes, or else a copy.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/posix_file.h"

namespace ev {
namespace {

// Another file system, one without hard links, one more than it allows, or a file that this user may not link.
bool NoHardLink(int error) {
  return error == EXDEV || error == EPERM || error == EMLINK || error == EOPNOTSUPP || error == ENOSYS;
}

Status CopyBytes(File* from, File* to) {
  uint64_t size = 0;
  EV_RETURN_IF_ERROR(from->Size(&size));
  constexpr uint64_t kPiece = BufferPool::kBufferBytes;
  const AlignedBytes piece = NewAlignedBytes(kPiece);
  if (piece == nullptr) return OutOfSpace("memory: expected " + std::to_string(kPiece) + " bytes, found none");
  for (uint64_t at = 0; at < size; at += kPiece) {
    const Span<std::byte> bytes(piece.get(), std::min(kPiece, size - at));
    EV_RETURN_IF_ERROR(from->ReadAt(at, bytes));
    EV_RETURN_IF_ERROR(to->WriteAt(at, bytes));
  }
  return OkStatus();
}

Status FillCopy(File* from, File* to, LinkKind* kind) {
  *kind = LinkKind::kReflink;
  if (::ioctl(to->descriptor(), FICLONE, from->descriptor()) != 0) {
    *kind = LinkKind::kCopy;
    EV_RETURN_IF_ERROR(CopyBytes(from, to));
  }
  return to->Sync();
}

}  // namespace

Status LinkPosixFile(const std::string& from, const std::string& to, LinkKind* kind) {
  *kind = LinkKind::kHardLink;
  if (::link(from.c_str(), to.c_str()) == 0) return OkStatus();
  if (!NoHardLink(errno)) return ErrnoStatus(to, "link from " + from, errno);
  OpenOptions read;
  read.write = false;
  std::unique_ptr<File> source;
  EV_RETURN_IF_ERROR(OpenPosixFile(from, read, &source));
  OpenOptions make;
  make.create = true;
  std::unique_ptr<File> copy;
  EV_RETURN_IF_ERROR(OpenPosixFile(to, make, &copy));
  Status filled = FillCopy(source.get(), copy.get(), kind);
  if (!filled.ok()) static_cast<void>(::unlink(to.c_str()));
  return filled;
}

}  // namespace ev
