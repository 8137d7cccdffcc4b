#include "ev_tf/tier/pmem/pmem_memkind_tier.h"

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "ev_tf/tier/pmem/shared_library.h"

namespace ev {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kMessageBytes = 128;  // MEMKIND_ERROR_MESSAGE_SIZE

Status TheMemkind(const Memkind** out) {
  static Memkind lib;
  static const Status status = Memkind::Load(Memkind::kFile, &lib);
  *out = &lib;
  return status;
}

std::string Message(const Memkind& lib, int error) {
  char text[kMessageBytes] = "";
  lib.error_message(error, text, sizeof(text));
  return text;
}

}  // namespace

Status Memkind::Load(const std::string& file, Memkind* out) {
  SharedLibrary library;
  EV_RETURN_IF_ERROR(SharedLibrary::Open(file, "libmemkind0", &library));
  EV_RETURN_IF_ERROR(library.Find("memkind_create_pmem", &out->create_pmem));
  EV_RETURN_IF_ERROR(library.Find("memkind_destroy_kind", &out->destroy_kind));
  EV_RETURN_IF_ERROR(library.Find("memkind_check_available", &out->check_available));
  EV_RETURN_IF_ERROR(library.Find("memkind_posix_memalign", &out->posix_memalign));
  EV_RETURN_IF_ERROR(library.Find("memkind_free", &out->free));
  EV_RETURN_IF_ERROR(library.Find("memkind_error_message", &out->error_message));
  return library.Find("MEMKIND_DAX_KMEM", &out->dax_kmem);
}

// One kind of memkind: KMEM DAX, or the file in a directory, which goes with the last tier that uses it.
class MemkindHeap {
 public:
  MemkindHeap(const Memkind* lib, void* kind, std::string path) : lib_(lib), kind_(kind), path_(std::move(path)) {}
  MemkindHeap(const MemkindHeap&) = delete;
  MemkindHeap& operator=(const MemkindHeap&) = delete;
  ~MemkindHeap() {
    if (!path_.empty()) lib_->destroy_kind(kind_);
  }

  static Status Get(const std::string& path, std::shared_ptr<MemkindHeap>* out);

  Status Allocate(size_t bytes, char** address) {
    void* memory = nullptr;
    const int error = lib_->posix_memalign(kind_, &memory, kPageBytes, bytes);
    if (error != 0) {
      return OutOfSpace("pmem_memkind tier " + where() + ": expected " + std::to_string(bytes) +
                        " bytes, memkind says: " + std::strerror(error));
    }
    *address = static_cast<char*>(memory);
    return OkStatus();
  }
  void Free(char* address) { lib_->free(kind_, address); }

 private:
  std::string where() const { return path_.empty() ? "on KMEM DAX" : path_; }

  const Memkind* const lib_;
  void* const kind_;
  const std::string path_;  // empty: KMEM DAX
};

Status MemkindHeap::Get(const std::string& path, std::shared_ptr<MemkindHeap>* out) {
  const Memkind* lib = nullptr;
  if (const Status status = TheMemkind(&lib); !status.ok()) {
    return {status.code(), "pmem_memkind tier: " + status.message()};
  }
  if (path.empty()) {
    const int error = lib->check_available(*lib->dax_kmem);
    if (error != 0) {
      return Unavailable(
          "pmem_memkind tier: expected memory of the kind KMEM DAX, found none on this machine (memkind: " +
          Message(*lib, error) + "); with a path the rows stand in a file there");
    }
    *out = std::make_shared<MemkindHeap>(lib, *lib->dax_kmem, path);
    return OkStatus();
  }
  EV_RETURN_IF_ERROR(CheckWritableDirectory("pmem_memkind tier", path));
  static auto* mu = new std::mutex();
  static auto* heaps = new std::map<std::string, std::weak_ptr<MemkindHeap>>();  // guarded by *mu
  std::lock_guard<std::mutex> lock(*mu);
  std::weak_ptr<MemkindHeap>& heap = (*heaps)[path];
  *out = heap.lock();
  if (*out != nullptr) return OkStatus();
  void* kind = nullptr;
  errno = 0;
  const int error = lib->create_pmem(path.c_str(), 0, &kind);  // 0: as big as the file system allows
  if (error != 0) {
    const int reason = errno;
    heaps->erase(path);
    const std::string message =
        "pmem_memkind tier " + path + ": memkind says: " + Message(*lib, error) + " (" + std::strerror(reason) + ")";
    return reason == ENOSPC || reason == EDQUOT ? OutOfSpace(message) : IoError(message);
  }
  *out = std::make_shared<MemkindHeap>(lib, kind, path);
  heap = *out;
  return OkStatus();
}

PmemMemkindTier::PmemMemkindTier(size_t row_bytes, std::shared_ptr<MemkindHeap> heap)
    : ExtentTier(row_bytes), heap_(std::move(heap)) {}

Status PmemMemkindTier::Open(const std::string& path, size_t row_bytes, std::unique_ptr<PmemMemkindTier>* out) {
  EV_RETURN_IF_ERROR(CheckRowBytes("pmem_memkind tier", row_bytes));
  std::shared_ptr<MemkindHeap> heap;
  EV_RETURN_IF_ERROR(MemkindHeap::Get(path, &heap));
  std::unique_ptr<PmemMemkindTier> tier(new PmemMemkindTier(row_bytes, std::move(heap)));
  EV_RETURN_IF_ERROR(tier->ReserveTable());
  *out = std::move(tier);
  return OkStatus();
}

PmemMemkindTier::~PmemMemkindTier() {
  for (const Extent& extent : extents()) heap_->Free(extent.address);
}

Status PmemMemkindTier::AddExtent(size_t bytes, char** address) { return heap_->Allocate(bytes, address); }

}  // namespace ev
