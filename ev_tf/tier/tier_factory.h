// OpenTier: a tier by its kind.  A kind that this build or this machine cannot give is a Status that says why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "ev_tf/base/status.h"
#include "ev_tf/tier/tier.h"

namespace ev {

enum class TierKind : uint8_t { kDram, kSsdLog, kLevelDb, kPmemLibpmem, kPmemMemkind };

// "dram", "ssd_log", ...: what Tier::name() says, too.
const char* TierKindName(TierKind kind);

struct TierOptions {
  TierKind kind = TierKind::kDram;
  size_t row_bytes = 0;  // > 0; dram: a multiple of kRowPartAlignment
  // Where the rows are, if they are in files:
  //   ssd_log        a directory of the tier's own; it is made
  //   leveldb        a directory of the tier's own; it is made, its parent must be there
  //   pmem_libpmem   an existing directory, which tiers may share; files in it have no names
  //   pmem_memkind   the same; empty: the machine's KMEM DAX memory
  std::string path;
  // Rows that a tier left in the directory: false = they are deleted, as nobody knows their positions; true = they are rows
  // of the tier (LevelDbTier::Scan finds them).
  bool keep_old_rows = false;
  // ssd_log: asked before compaction moves a row; outlives the tier.  Null: nothing is compacted.
  Relocator* relocator = nullptr;
};

// InvalidArgument: an option cannot be.  Unavailable: the kind is not in the build, or the machine lacks its library or its
// memory.  IoError, OutOfSpace, Corruption: the path will not do.
Status OpenTier(const TierOptions& options, std::unique_ptr<Tier>* out);

}  // namespace ev
