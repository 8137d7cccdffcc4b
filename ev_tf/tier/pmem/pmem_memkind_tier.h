// PmemMemkindTier: rows in memory that memkind gives: persistent memory that the system shows as a memory node (KMEM DAX),
// or, with a path, a file in a directory.
//
// The heap of a directory is shared by all tiers of the process, as memkind has places for some hundreds only.  memkind is
// loaded when the first tier is opened.
//
// Durability:  none, as for DRAM.  Flush() has nothing to do.
#pragma once

#include <memory>
#include <string>

#include "ev_tf/tier/pmem/extent_tier.h"

namespace ev {

class MemkindHeap;

// The functions of memkind that the tier calls, named as there.  A kind is a pointer to a struct that only memkind knows.
struct Memkind {
  static constexpr char kFile[] = "libmemkind.so.0";

  int (*create_pmem)(const char* directory, size_t max_bytes, void** kind) = nullptr;
  int (*destroy_kind)(void* kind) = nullptr;
  int (*check_available)(void* kind) = nullptr;
  int (*posix_memalign)(void* kind, void** memory, size_t alignment, size_t bytes) = nullptr;
  void (*free)(void* kind, void* memory) = nullptr;
  void (*error_message)(int error, char* message, size_t bytes) = nullptr;
  void** dax_kmem = nullptr;  // the variable MEMKIND_DAX_KMEM

  // Unavailable: there is no such library, or not with these functions.
  static Status Load(const std::string& file, Memkind* out);
};

class PmemMemkindTier final : public ExtentTier {
 public:
  // path: an existing directory; empty: KMEM DAX.
  // Unavailable: no memkind; an empty path where there is no KMEM DAX.  IoError: the directory will not do.
  static Status Open(const std::string& path, size_t row_bytes, std::unique_ptr<PmemMemkindTier>* out);
  ~PmemMemkindTier() override;

  const char* name() const override { return "pmem_memkind"; }
  Status Flush() override { return OkStatus(); }

 protected:
  Status AddExtent(size_t bytes, char** address) override;

 private:
  PmemMemkindTier(size_t row_bytes, std::shared_ptr<MemkindHeap> heap);

  const std::shared_ptr<MemkindHeap> heap_;
};

}  // namespace ev
