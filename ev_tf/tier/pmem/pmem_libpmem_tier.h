// PmemLibpmemTier: rows in files that libpmem maps: persistent memory behind a DAX file system, or ordinary files.
//
// Each extent is a file without a name in the tier's directory, its blocks taken before it is used: a full disk is a Status,
// not a signal, and nothing is left behind however the process ends.  libpmem is loaded when the first tier is opened.
//
// Durability:  none over the end of the process, as for DRAM.  Flush() brings what was put to the medium
//              (pmem_persist where the memory is persistent, else pmem_msync) and returns the medium's errors.
// PMEM_IS_PMEM_FORCE=1 in the environment makes libpmem take any file for persistent memory.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "ev_tf/tier/pmem/extent_tier.h"

namespace ev {

// The functions of libpmem that the tier calls, named as there.
struct Libpmem {
  static constexpr char kFile[] = "libpmem.so.1";

  void* (*map_file)(const char* path, size_t bytes, int flags, mode_t mode, size_t* mapped, int* is_pmem) = nullptr;
  int (*unmap)(void* address, size_t bytes) = nullptr;
  void (*persist)(const void* address, size_t bytes) = nullptr;
  int (*msync)(const void* address, size_t bytes) = nullptr;
  const char* (*errormsg)() = nullptr;

  // Unavailable: there is no such library, or not with these functions.
  static Status Load(const std::string& file, Libpmem* out);
};

class PmemLibpmemTier final : public ExtentTier {
 public:
  // path: an existing directory.
  // InvalidArgument, IoError: the directory will not do.  Unavailable: no libpmem.
  static Status Open(const std::string& path, size_t row_bytes, std::unique_ptr<PmemLibpmemTier>* out);
  ~PmemLibpmemTier() override;

  const char* name() const override { return "pmem_libpmem"; }
  Status Flush() override;

 protected:
  Status AddExtent(size_t bytes, char** address) override;

 private:
  PmemLibpmemTier(std::string path, size_t row_bytes, const Libpmem* lib)
      : ExtentTier(row_bytes), path_(std::move(path)), lib_(lib) {}

  const std::string path_;
  const Libpmem* const lib_;
  std::atomic<bool> all_pmem_{true};  // every extent so far is persistent memory
};

}  // namespace ev
