#include "ev_tf/variable/storage_type.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
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

// In the directory itself, which its tiers share: memkind has room for some hundred heaps, and files in it have no names.
Status OpenMemkind(const std::string& path, size_t record_bytes, std::shared_ptr<Tier>* out) {
  TierOptions options;
  options.kind = TierKind::kPmemMemkind;
  options.row_bytes = record_bytes;
  options.path = path;
  if (!path.empty()) {
    std::unique_ptr<ScratchDirectory> probe;  // makes the directory, and shows that it can be written to
    EV_RETURN_IF_ERROR(ScratchDirectory::Make(path, &probe));
  }
  std::unique_ptr<Tier> tier;
  EV_RETURN_IF_ERROR(OpenTier(options, &tier));
  *out = std::move(tier);
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

using Opener = StorageOptions::Opener;

Status SsdLogOpener(const std::string& path, Opener* opener) {
  SsdLogOptions log;
  EV_RETURN_IF_ERROR(SsdLogDefaults(&log));
  *opener = [log, path](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* tier) {
    return OpenSsdLog(log, path, record_bytes, relocator, tier);
  };
  return OkStatus();
}

Opener KindOpener(TierKind kind, const std::string& path) {
  return [kind, path](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* tier) {
    return OpenByKind(kind, path, record_bytes, tier);
  };
}

Status Refuse(StorageType type) {
  const int number = static_cast<int>(type);
  const bool hbm = type == StorageType::kHbm || type == StorageType::kHbmDram || type == StorageType::kHbmDramSsdHash ||
                   (type >= StorageType::kHbmDramPmem && type <= StorageType::kHbmDramPmemSsdHash);
  return Unavailable("storage_type " + std::to_string(number) +
                     (hbm ? ": it keeps rows in GPU memory, and this build is without; it has "
                          : ": expected the number of a type, this build has ") +
                     "DRAM, SSDHASH, LEVELDB, PMEM_LIBPMEM, PMEM_MEMKIND, DRAM_PMEM, DRAM_SSDHASH, DRAM_LEVELDB, "
                     "DRAM_PMEM_SSDHASH and DRAM_PMEM_LEVELDB");
}

// A tier makes files, and a new slot makes tiers, long after: wherever the process is then.
Status MakeAbsolute(const std::string& storage_path, std::string* path) {
  std::error_code error;
  if (!storage_path.empty()) *path = std::filesystem::absolute(storage_path, error).string();
  if (error) return InvalidArgument("storage_path: " + storage_path + " cannot be found: " + error.message());
  return OkStatus();
}

Status CheckDramBytes(int64_t bytes) {
  if (bytes > 0) return OkStatus();
  return InvalidArgument("storage_size: expected bytes > 0 for DRAM, found " + std::to_string(bytes));
}

}  // namespace

Status MakeFrozenStorage(const StorageOptions& wanted, uint32_t segment_slots, Env* env, StorageOptions* out) {
  SsdLogOptions log;
  EV_RETURN_IF_ERROR(SsdLogDefaults(&log));
  EV_RETURN_IF_ERROR(CheckDramBytes(wanted.dram_bytes));
  log.read_in_place = true;
  log.async_compaction = false;
  log.segment_slots = segment_slots;
  log.env = env;
  StorageOptions options;
  options.dram_bytes = wanted.dram_bytes;
  options.cache_strategy = wanted.cache_strategy;
  options.open_lower = [log](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* tier) -> Status {
    SsdLogOptions of_records = log;
    of_records.row_bytes = record_bytes;
    std::unique_ptr<SsdLogTier> opened;
    EV_RETURN_IF_ERROR(SsdLogTier::Open(of_records, &opened));
    *tier = std::move(opened);
    return OkStatus();
  };
  *out = std::move(options);
  return OkStatus();
}

Status MakeStorage(StorageType type, const std::string& storage_path, StorageSizes sizes, CacheStrategy strategy,
                   StorageOptions* out) {
  std::string path;
  EV_RETURN_IF_ERROR(MakeAbsolute(storage_path, &path));
  StorageOptions options;
  options.dram_bytes = sizes.dram_bytes;
  options.cache_strategy = strategy;
  bool between = false;
  switch (type) {
    case StorageType::kDefault:
    case StorageType::kDram: *out = options; return OkStatus();
    case StorageType::kDramPmemSsdHash: between = true; [[fallthrough]];
    case StorageType::kSsdHash:
    case StorageType::kDramSsdHash: EV_RETURN_IF_ERROR(SsdLogOpener(path, &options.open_lower)); break;
    case StorageType::kDramPmemLevelDb: between = true; [[fallthrough]];
    case StorageType::kLevelDb:
    case StorageType::kDramLevelDb: options.open_lower = KindOpener(TierKind::kLevelDb, path); break;
    case StorageType::kPmemLibpmem:
    case StorageType::kDramPmem: options.open_lower = KindOpener(TierKind::kPmemLibpmem, path); break;
    case StorageType::kPmemMemkind:
      options.open_lower = [path](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* tier) {
        return OpenMemkind(path, record_bytes, tier);
      };
      break;
    default: return Refuse(type);
  }
  EV_RETURN_IF_ERROR(CheckDramBytes(sizes.dram_bytes));
  if (path.empty() && type != StorageType::kPmemMemkind) {
    return InvalidArgument("storage_path: expected a directory, found none");
  }
  if (between) {
    if (sizes.middle_bytes <= 0) {
      return InvalidArgument("storage_size: expected bytes > 0 for the tier below DRAM, found " +
                             std::to_string(sizes.middle_bytes));
    }
    options.between.push_back({KindOpener(TierKind::kPmemLibpmem, path), sizes.middle_bytes});
  }
  *out = std::move(options);
  return OkStatus();
}

}  // namespace ev
