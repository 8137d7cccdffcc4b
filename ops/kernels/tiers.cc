#include "ops/bridge/batch.h"
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

class TierMetricsOp final : public tensorflow::OpKernel {
 public:
  explicit TierMetricsOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("tiers", &tiers_));
  }
  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Give(ctx); });
  }

 private:
  absl::Status Give(OpKernelContext* ctx) const {
    bridge::Variable variable;
    TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kTieredHandle, &variable));
    const VariableMetrics metrics = variable->metrics();
    int64_t count = 0;
    ForEachMetric(TierMetrics(), [&](const char*, auto) { ++count; });
    const int64_t tiers = tiers_ == 0 ? static_cast<int64_t>(metrics.tiers.size()) : tiers_;
    Tensor *names = nullptr, *values = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(0, tensorflow::TensorShape({count}), &names));
    TF_RETURN_IF_ERROR(ctx->allocate_output(1, tensorflow::TensorShape({tiers, count}), &values));
    for (int64_t tier = 0; tier < tiers; ++tier) {
      const auto at = static_cast<size_t>(tier);
      int64_t i = 0;
      ForEachMetric(at < metrics.tiers.size() ? metrics.tiers[at] : TierMetrics(), [&](const char* name, auto value) {
        names->flat<tensorflow::tstring>()(i) = name;
        values->matrix<double>()(tier, i++) = static_cast<double>(value);
      });
    }
    return absl::OkStatus();
  }

  int64_t tiers_ = 0;
};

absl::Status FlushEvictions(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kTieredHandle, &variable));
  return bridge::ToTf(variable->FlushEvictions());
}

absl::Status Prefetch(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kTieredHandle, &variable));
  const bridge::KeySpan key_span(ctx->input(kTieredKeys));
  return bridge::ToTf(variable->Prefetch(key_span.get()));
}

EV_REGISTER_KEYED_KERNEL("EvLookupTier", FunctionOp<LookupTier>);
REGISTER_KERNEL_BUILDER(Name("EvTierMetrics").Device(tensorflow::DEVICE_CPU), TierMetricsOp);
REGISTER_KERNEL_BUILDER(Name("EvFlushEvictions").Device(tensorflow::DEVICE_CPU), FunctionOp<FlushEvictions>);
EV_REGISTER_KEYED_KERNEL("EvPrefetch", FunctionOp<Prefetch>);

}  // namespace
}  // namespace ev::kernels
