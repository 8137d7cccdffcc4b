#include "ev_tf/tier/tier_factory.h"

#include <utility>

#include "ev_tf/row/row_layout.h"
#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/tier/pmem/pmem_libpmem_tier.h"
#include "ev_tf/tier/pmem/pmem_memkind_tier.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#if EV_HAVE_LEVELDB
#include "ev_tf/tier/leveldb/leveldb_tier.h"
#endif

namespace ev {
namespace {

Status OpenDram(const TierOptions& options, std::unique_ptr<Tier>* out) {
  if (options.row_bytes % kRowPartAlignment != 0) {
    return InvalidArgument("dram tier: row_bytes: expected a multiple of " + std::to_string(kRowPartAlignment) +
                           ", found " + std::to_string(options.row_bytes));
  }
  *out = std::make_unique<DramTier>(options.row_bytes, /*with_meta=*/false);
  return OkStatus();
}

#if EV_HAVE_LEVELDB
Status OpenLevelDb(const TierOptions& options, std::unique_ptr<Tier>* out) {
  LevelDbOptions leveldb;
  leveldb.path = options.path;
  leveldb.row_bytes = options.row_bytes;
  leveldb.old_rows = options.keep_old_rows ? OldRows::kKeep : OldRows::kDrop;
  std::unique_ptr<LevelDbTier> tier;
  EV_RETURN_IF_ERROR(LevelDbTier::Open(leveldb, &tier));
  *out = std::move(tier);
  return OkStatus();
}
#else
Status OpenLevelDb(const TierOptions&, std::unique_ptr<Tier>*) {
  return Unavailable(
      "leveldb tier: this build has none; build again where libleveldb.a and libsnappy.a are (Debian: libleveldb-dev, "
      "libsnappy-dev)");
}
#endif

Status OpenSsdLog(const TierOptions& options, std::unique_ptr<Tier>* out) {
  SsdLogOptions log;
  log.path = options.path;
  log.row_bytes = options.row_bytes;
  log.existing = options.keep_old_rows ? SsdExisting::kRecover : SsdExisting::kDelete;
  log.relocator = options.relocator;
  EV_RETURN_IF_ERROR(log.ReadEnvironment());
  std::unique_ptr<SsdLogTier> tier;
  EV_RETURN_IF_ERROR(SsdLogTier::Open(log, &tier));
  *out = std::move(tier);
  return OkStatus();
}

// Members whose Open takes a path and a row size.
template <typename Member>
Status OpenPmem(const TierOptions& options, std::unique_ptr<Tier>* out) {
  std::unique_ptr<Member> tier;
  EV_RETURN_IF_ERROR(Member::Open(options.path, options.row_bytes, &tier));
  *out = std::move(tier);
  return OkStatus();
}

}  // namespace

const char* TierKindName(TierKind kind) {
  switch (kind) {
    case TierKind::kDram: return "dram";
    case TierKind::kSsdLog: return "ssd_log";
    case TierKind::kLevelDb: return "leveldb";
    case TierKind::kPmemLibpmem: return "pmem_libpmem";
    case TierKind::kPmemMemkind: return "pmem_memkind";
  }
  return "unknown";
}

Status OpenTier(const TierOptions& options, std::unique_ptr<Tier>* out) {
  if (options.row_bytes == 0) {
    return InvalidArgument(std::string(TierKindName(options.kind)) + " tier: row_bytes: expected at least 1, found 0");
  }
  switch (options.kind) {
    case TierKind::kDram: return OpenDram(options, out);
    case TierKind::kSsdLog: return OpenSsdLog(options, out);
    case TierKind::kLevelDb: return OpenLevelDb(options, out);
    case TierKind::kPmemLibpmem: return OpenPmem<PmemLibpmemTier>(options, out);
    case TierKind::kPmemMemkind: return OpenPmem<PmemMemkindTier>(options, out);
  }
  return InvalidArgument("tier kind: expected 0 to 4, found " + std::to_string(static_cast<int>(options.kind)));
}

}  // namespace ev
