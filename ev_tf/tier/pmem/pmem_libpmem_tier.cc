#include "ev_tf/tier/pmem/pmem_libpmem_tier.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "ev_tf/tier/pmem/shared_library.h"

namespace ev {
namespace {

// The flags of libpmem.h, which is not needed to build.
constexpr int kCreate = 1 << 0;
constexpr int kTemporaryFile = 1 << 3;

// What Load said first, for good: a library does not come while a process runs.
Status TheLibpmem(const Libpmem** out) {
  static Libpmem lib;
  static const Status status = Libpmem::Load(Libpmem::kFile, &lib);
  *out = &lib;
  return status;
}

}  // namespace

Status Libpmem::Load(const std::string& file, Libpmem* out) {
  SharedLibrary library;
  EV_RETURN_IF_ERROR(SharedLibrary::Open(file, "libpmem1", &library));
  EV_RETURN_IF_ERROR(library.Find("pmem_map_file", &out->map_file));
  EV_RETURN_IF_ERROR(library.Find("pmem_unmap", &out->unmap));
  EV_RETURN_IF_ERROR(library.Find("pmem_persist", &out->persist));
  EV_RETURN_IF_ERROR(library.Find("pmem_msync", &out->msync));
  return library.Find("pmem_errormsg", &out->errormsg);
}

Status PmemLibpmemTier::Open(const std::string& path, size_t row_bytes, std::unique_ptr<PmemLibpmemTier>* out) {
  const Libpmem* lib = nullptr;
  if (const Status status = TheLibpmem(&lib); !status.ok()) {
    return {status.code(), "pmem_libpmem tier: " + status.message()};
  }
  EV_RETURN_IF_ERROR(CheckRowBytes("pmem_libpmem tier", row_bytes));
  EV_RETURN_IF_ERROR(CheckWritableDirectory("pmem_libpmem tier", path));
  std::unique_ptr<PmemLibpmemTier> tier(new PmemLibpmemTier(path, row_bytes, lib));
  EV_RETURN_IF_ERROR(tier->ReserveTable());
  *out = std::move(tier);
  return OkStatus();
}

PmemLibpmemTier::~PmemLibpmemTier() {
  for (const Extent& extent : extents()) lib_->unmap(extent.address, extent.bytes);
}

Status PmemLibpmemTier::AddExtent(size_t bytes, char** address) {
  size_t mapped = 0;
  int is_pmem = 0;
  errno = 0;
  void* memory = lib_->map_file(path_.c_str(), bytes, kCreate | kTemporaryFile, 0600, &mapped, &is_pmem);
  if (memory == nullptr) {
    const int error = errno;
    const std::string message = "pmem_libpmem tier " + path_ + ": expected " + std::to_string(bytes) +
                                " bytes in a file, libpmem says: " + lib_->errormsg();
    return error == ENOSPC || error == EDQUOT || error == ENOMEM ? OutOfSpace(message) : IoError(message);
  }
  if (is_pmem == 0) all_pmem_.store(false, std::memory_order_relaxed);
  *address = static_cast<char*>(memory);
  return OkStatus();
}

Status PmemLibpmemTier::Flush() {
  const bool all_pmem = all_pmem_.load(std::memory_order_relaxed);
  for (const Extent& extent : UsedExtents()) {
    if (all_pmem) {
      lib_->persist(extent.address, extent.bytes);
    } else if (lib_->msync(extent.address, extent.bytes) != 0) {
      return IoError("pmem_libpmem tier " + path_ + ": flush: " + std::strerror(errno));
    }
  }
  return OkStatus();
}

}  // namespace ev
