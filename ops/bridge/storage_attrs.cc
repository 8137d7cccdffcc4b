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

absl::Status ToCacheStrategy(int64_t number, CacheStrategy* strategy) {
  if (number != static_cast<int64_t>(CacheStrategy::kLru) && number != static_cast<int64_t>(CacheStrategy::kLfu)) {
    return absl::InvalidArgumentError(absl::StrCat("cache_strategy: expected 0 (LRU) or 1 (LFU), found ", number));
  }
  *strategy = static_cast<CacheStrategy>(number);
  return absl::OkStatus();
}

absl::Status StorageAttrs::Make(StorageOptions* out) const {
  CacheStrategy strategy{};
  TF_RETURN_IF_ERROR(ToCacheStrategy(cache_strategy_, &strategy));
  if (type_ != static_cast<int32_t>(type_)) {
    return absl::InvalidArgumentError(
        absl::StrCat("storage_type: expected the number of a StorageType, found ", type_));
  }
  return ToTf(
      MakeStorage(static_cast<StorageType>(type_), path_, StorageSizes(dram_bytes_, middle_bytes_), strategy, out));
}

}  // namespace ev::bridge
