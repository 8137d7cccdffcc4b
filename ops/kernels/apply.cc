#include "ops/kernels/apply.h"

#include <cmath>
#include <string>

#include "ops/bridge/executor.h"
#include "ops/bridge/variable_resource.h"

namespace ev::kernels {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

ApplyOp::ApplyOp(OpKernelConstruction* ctx, int slots, int grad_input) : OpKernel(ctx), grad_input_(grad_input) {
  OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &dim_));
  if (slots == 0) return;
  std::vector<std::string> names;
  std::vector<float> initial_values;
  OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_names", &names));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_initial_values", &initial_values));
  OP_REQUIRES(
      ctx, names.size() == static_cast<size_t>(slots) && initial_values.size() == names.size(),
      absl::InvalidArgumentError(absl::StrCat("slot_names and slot_initial_values: expected ", slots,
                                              " of each, found ", names.size(), " and ", initial_values.size())));
  for (int i = 0; i < slots; ++i) {
    OP_REQUIRES(ctx, std::isfinite(initial_values[i]),
                absl::InvalidArgumentError(absl::StrCat("slot_initial_values: expected finite numbers, found ",
                                                        initial_values[i], " for slot '", names[i], "'")));
    slots_.push_back(SlotSpec{names[i], dim_, initial_values[i]});
  }
}

void ApplyOp::Compute(OpKernelContext* ctx) {
  bridge::RunGuarded(ctx, [&] { return Apply(ctx); });
}

absl::Status ApplyOp::Apply(OpKernelContext* ctx) const {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandle, dim_, &variable));
  UpdateRule rule;
  TF_RETURN_IF_ERROR(MakeRule(ctx, &rule));
  const Tensor& grad = ctx->input(grad_input_);
  const Tensor& keys = ctx->input(grad_input_ + 1);
  int64_t global_step = -1;
  TF_RETURN_IF_ERROR(bridge::ReadScalar(ctx, grad_input_ + 2, "global_step", &global_step));
  if (grad.dims() == 0 || grad.dim_size(grad.dims() - 1) != dim_ || grad.NumElements() != keys.NumElements() * dim_) {
    return absl::InvalidArgumentError(absl::StrCat("grad: expected the shape of keys, ", keys.shape().DebugString(),
                                                   ", and then ", dim_, "; found ", grad.shape().DebugString()));
  }
  bridge::PoolExecutor executor(ctx);
  const bridge::KeySpan key_span(keys);
  return bridge::ToTf(
      variable->Apply(rule, slots_, key_span.get(), bridge::AsSpan<float>(grad), global_step, executor));
}

namespace {

bool InRange(float value, Range range) {
  if (!std::isfinite(value)) return false;
  switch (range) {
    case Range::kNonNegative: return value >= 0.0f;
    case Range::kPositive: return value > 0.0f;
    case Range::kBelowOne: return value >= 0.0f && value < 1.0f;
    case Range::kNonPositive: return value <= 0.0f;
  }
  return false;
}

const char* Describe(Range range) {
  switch (range) {
    case Range::kNonNegative: return "a finite number >= 0";
    case Range::kPositive: return "a finite number > 0";
    case Range::kBelowOne: return "a number in [0, 1)";
    case Range::kNonPositive: return "a finite number <= 0";
  }
  return "";
}

}  // namespace

absl::Status ReadHyper(OpKernelContext* ctx, int index, const char* what, Range range, float* value) {
  TF_RETURN_IF_ERROR(bridge::ReadScalar(ctx, index, what, value));
  if (InRange(*value, range)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": expected ", Describe(range), ", found ", *value, "; no row was changed"));
}

}  // namespace ev::kernels
