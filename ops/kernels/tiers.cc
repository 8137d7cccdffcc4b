#include "ops/bridge/batch.h"
#include "ops/bridge/executor.h"
#include "ops/bridge/variable_resource.h"
#include "ops/kernels/function_op.h"
#include "ops/kernels/register.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

constexpr int kTieredHandle = 0;
constexpr int kTieredKeys = 1;

absl::Status LookupTier(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kTieredHandle, &variable));
  const Tensor& keys = ctx->input(kTieredKeys);
  Tensor* tiers = nullptr;
  TF_RETURN_IF_ERROR(ctx->allocate_output(0, keys.shape(), &tiers));
  const bridge::KeySpan key_span(keys);
  return bridge::ToTf(variable->LookupTier(key_span.get(), bridge::AsSpan<int32_t>(tiers)));
}

absl::Status FlushEvictions(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kTieredHandle, &variable));
  return bridge::ToTf(variable->FlushEvictions());
}

absl::Status Prefetch(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kTieredHandle, &variable));
  const bridge::KeySpan key_span(ctx->input(kTieredKeys));
  bridge::PoolExecutor executor(ctx);
  return bridge::ToTf(variable->Prefetch(key_span.get(), executor));
}

EV_REGISTER_KEYED_KERNEL("EvLookupTier", FunctionOp<LookupTier>);
REGISTER_KERNEL_BUILDER(Name("EvFlushEvictions").Device(tensorflow::DEVICE_CPU), FunctionOp<FlushEvictions>);
EV_REGISTER_KEYED_KERNEL("EvPrefetch", FunctionOp<Prefetch>);

}  // namespace
}  // namespace ev::kernels
