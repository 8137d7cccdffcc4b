#include "ops/kernels/apply.h"

#include <cmath>
#include <string>

#include "ops/bridge/executor.h"
#include "ops/bridge/variable_resource.h"

namespace ev::kernels {
namespace {

constexpr int kHandle = 0;

}  // namespace

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

ApplyOp::ApplyOp(OpKernelConstruction* ctx, const SlotWidths& slots) : OpKernel(ctx) {
  OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &dim_));
  if (slots.count == 0) return;
  std::vector<std::string> names;
  std::vector<float> initial_values;
  OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_names", &names));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_initial_values", &initial_values));
  OP_REQUIRES(
      ctx, names.size() == static_cast<size_t>(slots.count) && initial_values.size() == names.size(),
      absl::InvalidArgumentError(absl::StrCat("slot_names and slot_initial_values: expected ", slots.count,
                                              " of each, found ", names.size(), " and ", initial_values.size())));
  for (int i = 0; i < slots.count; ++i) {
    OP_REQUIRES(ctx, std::isfinite(initial_values[i]),
                absl::InvalidArgumentError(absl::StrCat("slot_initial_values: expected finite numbers, found ",
                                                        initial_values[i], " for slot '", names[i], "'")));
    slots_.push_back(SlotSpec{names[i], slots.dim(i, dim_), initial_values[i]});
  }
}

void ApplyOp::Compute(OpKernelContext* ctx) {
  bridge::RunGuarded(ctx, [&] { return Apply(ctx); });
}

absl::Status ApplyOp::Apply(OpKernelContext* ctx) const {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandle, dim_, &variable));
  HyperReader read(ctx);
  const UpdateRule rule = MakeRule(&read);
  TF_RETURN_IF_ERROR(read.status());
  const int first = read.next();
  if (first + 3 != ctx->num_inputs()) {
    return absl::InternalError(absl::StrCat(ctx->op_kernel().type_string(), ": its kernel reads ", first - 1,
                                            " hyperparameters of ", ctx->num_inputs() - 4));
  }
  const Tensor& grad = ctx->input(first);
  const Tensor& keys = ctx->input(first + 1);
  int64_t global_step = -1;
  TF_RETURN_IF_ERROR(bridge::ReadScalar(ctx, first + 2, "global_step", &global_step));
  if (grad.dims() == 0 || grad.dim_size(grad.dims() - 1) != dim_ || grad.NumElements() != keys.NumElements() * dim_) {
    return absl::InvalidArgumentError(absl::StrCat("grad: expected the shape of keys, ", keys.shape().DebugString(),
                                                   ", and then ", dim_, "; found ", grad.shape().DebugString()));
  }
  bridge::PoolExecutor executor(ctx);
  const bridge::KeySpan key_span(keys);
  return bridge::ToTf(
      variable->Apply(rule, slots_, key_span.get(), bridge::AsSpan<float>(grad), global_step, executor));
}

bool BoolAttr(OpKernelConstruction* ctx, const char* name) {
  bool value = false;
  ctx->SetStatus(ctx->GetAttr(name, &value));
  return value;
}

namespace {

bool InRange(float value, Range range) {
  if (!std::isfinite(value)) return false;
  switch (range) {
    case Range::kNonNegative: return value >= 0.0f;
    case Range::kPositive: return value > 0.0f;
    case Range::kBelowOne: return value >= 0.0f && value < 1.0f;
    case Range::kUpToOne: return value >= 0.0f && value <= 1.0f;
    case Range::kNonPositive: return value <= 0.0f;
  }
  return false;
}

const char* Describe(Range range) {
  switch (range) {
    case Range::kNonNegative: return "a finite number >= 0";
    case Range::kPositive: return "a finite number > 0";
    case Range::kBelowOne: return "a number in [0, 1)";
    case Range::kUpToOne: return "a number in [0, 1]";
    case Range::kNonPositive: return "a finite number <= 0";
  }
  return "";
}

}  // namespace

float HyperReader::Float(const char* what, Range range) {
  float value = 0.0f;
  const absl::Status read = bridge::ReadScalar(ctx_, next_++, what, &value);
  if (!read.ok()) {
    status_.Update(read);
  } else if (!InRange(value, range)) {
    status_.Update(absl::InvalidArgumentError(
        absl::StrCat(what, ": expected ", Describe(range), ", found ", value, "; no row was changed")));
  }
  return value;
}

int64_t HyperReader::Int64(const char* what, int64_t least) {
  int64_t value = least;
  const absl::Status read = bridge::ReadScalar(ctx_, next_++, what, &value);
  if (!read.ok()) {
    status_.Update(read);
  } else if (value < least) {
    status_.Update(absl::InvalidArgumentError(
        absl::StrCat(what, ": expected at least ", least, ", found ", value, "; no row was changed")));
    value = least;
  }
  return value;
}

}  // namespace ev::kernels
