// StorageType: the names and numbers under which programs ask for tiers, and what each means here.
//
//   DEFAULT, DRAM             every row in DRAM
//   SSDHASH, DRAM_SSDHASH     DRAM over a log of files (tier/ssd_log), as in the fork, where the two are one
//   LEVELDB, DRAM_LEVELDB     DRAM over a LevelDB
//   DRAM_PMEM                 DRAM over a file mapped by libpmem
// The other types are refused: Unavailable, naming the reason.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ev_tf/base/status.h"
#include "ev_tf/variable/storage_options.h"

namespace ev {

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
};

// What a variable of that type is to be made with.  `path` is a directory, made if missing, in which each tier makes a
// directory of its own, which goes with the tier: what lies there does not outlive the variable.  `dram_bytes` > 0.
// TF_SSDHASH_ASYNC_COMPACTION and TF_SSDHASH_IO_SCHEME (directio: past the page cache; else through it) are read here.
// InvalidArgument: the path is missing, or no directory can be made there; a size or an environment variable is out of range.
// Unavailable: not in this build, or not on this machine.
Status MakeStorage(StorageType type, const std::string& path, int64_t dram_bytes, CacheStrategy strategy,
                   StorageOptions* out);

}  // namespace ev
