#include "ev_tf/variable/storage_type.h"

#include <cstdlib>
#include <utility>

#include "ev_tf/eviction/eviction_pool.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#include "ev_tf/tier/tier_factory.h"
#include "ev_tf/variable/scratch_directory.h"

namespace ev {
namespace {

// The tier, which takes its directory with it.
std::shared_ptr<Tier> OwnDirectory(std::unique_ptr<Tier> tier, std::unique_ptr<ScratchDirectory> directory) {
  const std::shared_ptr<ScratchDirectory> kept = std::move(directory);
  return std::shared_ptr<Tier>(tier.release(), [kept](Tier* owned) { delete owned; });
}

Status OpenSsdLog(const SsdLogOptions& common, const std::string& path, size_t record_bytes, Relocator* relocator,
                  std::shared_ptr<Tier>* out) {
  SsdLogOptions options = common;
  std::unique_ptr<ScratchDirectory> directory;
  EV_RETURN_IF_ERROR(ScratchDirectory::Make(path, &directory));
  options.path = directory->path();
  options.row_bytes = record_bytes;
  options.relocator = relocator;
  std::unique_ptr<SsdLogTier> tier;
  EV_RETURN_IF_ERROR(SsdLogTier::Open(options, &tier));
  *out = OwnDirectory(std::move(tier), std::move(directory));
  return OkStatus();
}

Status OpenByKind(TierKind kind, const std::string& path, size_t record_bytes, std::shared_ptr<Tier>* out) {
  TierOptions options;
  options.kind = kind;
  options.row_bytes = record_bytes;
  std::unique_ptr<ScratchDirectory> directory;
  EV_RETURN_IF_ERROR(ScratchDirectory::Make(path, &directory));
  options.path = directory->path();
  std::unique_ptr<Tier> tier;
  EV_RETURN_IF_ERROR(OpenTier(options, &tier));
  *out = OwnDirectory(std::move(tier), std::move(directory));
  return OkStatus();
}

Status SsdLogDefaults(SsdLogOptions* options) {
  EV_RETURN_IF_ERROR(options->ReadEnvironment());
  const char* scheme = std::getenv("TF_SSDHASH_IO_SCHEME");
  const std::string name = scheme == nullptr ? "mmap_and_madvise" : scheme;
  if (name != "directio" && name != "mmap" && name != "mmap_and_madvise") {
    return InvalidArgument("TF_SSDHASH_IO_SCHEME: expected directio, mmap or mmap_and_madvise, found " + name);
  }
  options->io_mode = name == "directio" ? SsdIoMode::kDirect : SsdIoMode::kBuffered;
  options->durable = false;
  options->delete_on_close = true;
  return OkStatus();
}

}  // namespace

Status MakeStorage(StorageType type, const std::string& path, int64_t dram_bytes, CacheStrategy strategy,
                   StorageOptions* out) {
  StorageOptions options;
  options.dram_bytes = dram_bytes;
  options.cache_strategy = strategy;
  if (type == StorageType::kDefault || type == StorageType::kDram) {
    *out = options;
    return OkStatus();
  }
  if (dram_bytes <= 0) {
    return InvalidArgument("storage_size: expected bytes > 0 for DRAM, found " + std::to_string(dram_bytes));
  }
  if (path.empty()) return InvalidArgument("storage_path: expected a directory, found none");
  EV_RETURN_IF_ERROR(EvictionPool::CheckEnvironment());
  switch (type) {
    case StorageType::kSsdHash:
    case StorageType::kDramSsdHash: {
      SsdLogOptions log;
      EV_RETURN_IF_ERROR(SsdLogDefaults(&log));
      options.open_lower = [log, path](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* tier) {
        return OpenSsdLog(log, path, record_bytes, relocator, tier);
      };
      break;
    }
    case StorageType::kLevelDb:
    case StorageType::kDramLevelDb:
      options.open_lower = [path](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* tier) {
        return OpenByKind(TierKind::kLevelDb, path, record_bytes, tier);
      };
      break;
    case StorageType::kDramPmem:
      options.open_lower = [path](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* tier) {
        return OpenByKind(TierKind::kPmemLibpmem, path, record_bytes, tier);
      };
      break;
    default:
      return Unavailable("storage_type " + std::to_string(static_cast<int>(type)) +
                         ": this build has DRAM, DRAM_SSDHASH, DRAM_LEVELDB and DRAM_PMEM");
  }
  *out = std::move(options);
  return OkStatus();
}

}  // namespace ev
