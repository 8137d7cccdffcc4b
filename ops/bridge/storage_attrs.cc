#include "ops/bridge/storage_attrs.h"

#include "ev_tf/variable/storage_type.h"
#include "ops/bridge/status.h"

namespace ev::bridge {

StorageAttrs::StorageAttrs(tensorflow::OpKernelConstruction* ctx) {
  OP_REQUIRES_OK(ctx, ctx->GetAttr("storage_type", &type_));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("storage_path", &path_));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("dram_bytes", &dram_bytes_));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("middle_bytes", &middle_bytes_));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("cache_strategy", &cache_strategy_));
}

absl::Status StorageAttrs::Make(StorageOptions* out) const {
  if (cache_strategy_ != static_cast<int64_t>(CacheStrategy::kLru) &&
      cache_strategy_ != static_cast<int64_t>(CacheStrategy::kLfu)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cache_strategy: expected 0 (LRU) or 1 (LFU), found ", cache_strategy_));
  }
  if (type_ != static_cast<int32_t>(type_)) {
    return absl::InvalidArgumentError(
        absl::StrCat("storage_type: expected the number of a StorageType, found ", type_));
  }
  return ToTf(MakeStorage(static_cast<StorageType>(type_), path_, StorageSizes(dram_bytes_, middle_bytes_),
                          static_cast<CacheStrategy>(cache_strategy_), out));
}

}  // namespace ev::bridge
