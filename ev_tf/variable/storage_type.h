// StorageType: the names and numbers under which programs ask for tiers, and what each means here.
//
//   DEFAULT, DRAM             every row in DRAM
//   SSDHASH, DRAM_SSDHASH     DRAM over a log of files (tier/ssd_log), as in the fork, where the two are one
//   LEVELDB, DRAM_LEVELDB     DRAM over a LevelDB
//   PMEM_LIBPMEM, DRAM_PMEM   DRAM over a file mapped by libpmem
//   PMEM_MEMKIND              DRAM over memory that memkind gives: KMEM DAX, or, with a path, a file there
//   DRAM_PMEM_SSDHASH         DRAM over libpmem over a log of files
//   DRAM_PMEM_LEVELDB         DRAM over libpmem over a LevelDB
// The other types are refused: Unavailable, naming the reason.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ev_tf/base/status.h"
#include "ev_tf/variable/storage_options.h"

namespace ev {

class Env;

enum class StorageType : int32_t {
  kDefault = 0,
  kDram = 1,
  kPmemMemkind = 2,
  kPmemLibpmem = 3,
  kSsdHash = 4,
  kLevelDb = 5,
  kHbm = 6,
  kDramPmem = 11,
  kDramSsdHash = 12,
  kHbmDram = 13,
  kDramLevelDb = 14,
  kDramPmemSsdHash = 101,
  kHbmDramSsdHash = 102,
  kDramPmemLevelDb = 103,
  kHbmDramPmem = 104,
  kHbmDramLevelDb = 105,
  kHbmDramPmemLevelDb = 106,
  kHbmDramPmemSsdHash = 107,
};

// Bytes of rows that tiers hold, from the fastest; > 0.  The last tier is not bounded.
struct StorageSizes {
  StorageSizes(int64_t dram, int64_t middle = int64_t{1} << 30) : dram_bytes(dram), middle_bytes(middle) {}  // NOLINT
  int64_t dram_bytes;
  int64_t middle_bytes;  // of the tier between DRAM and the last one, where there is one
};

// What a variable of that type is to be made with.  `storage_path` is a directory, made if missing, in which each tier makes
// a directory of its own, which goes with the tier: what lies there does not outlive the variable.  A relative one is taken
// from where the process is now, wherever it goes later.  PMEM_MEMKIND keeps a file without a name in it, which its
// variables share, or none without a path.
// TF_SSDHASH_ASYNC_COMPACTION and TF_SSDHASH_IO_SCHEME (directio: past the page cache; else through it) are read here.
// InvalidArgument: the path is missing, or no directory can be made there; a size or an environment variable is out of range.
// Unavailable: not in this build, or not on this machine.
Status MakeStorage(StorageType type, const std::string& storage_path, StorageSizes sizes, CacheStrategy strategy,
                   StorageOptions* out);

// DRAM, of wanted.dram_bytes and wanted.cache_strategy, over files of `segment_slots` records that are read where they are.
// `env` outlives what is made so; null: the operating system's.
// InvalidArgument: dram_bytes, or TF_SSDHASH_IO_SCHEME, is out of range.
Status MakeFrozenStorage(const StorageOptions& wanted, uint32_t segment_slots, Env* env, StorageOptions* out);

}  // namespace ev
