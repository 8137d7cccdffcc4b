#include "ops/kernels/apply.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "ev_tf/variable/group_update.h"
#include "ops/bridge/executor.h"
#include "ops/kernels/tables.h"
#include "tensorflow/core/platform/logging.h"

namespace ev::kernels {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

namespace {

absl::Status CheckBatch(int table, const Tensor& grad, const Tensor& keys, int64_t dim) {
  if (grad.dims() != 0 && grad.dim_size(grad.dims() - 1) == dim && grad.NumElements() == keys.NumElements() * dim) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("table ", table, ": grad: expected the shape of keys, ",
                                                 keys.shape().DebugString(), ", and then ", dim, "; found ",
                                                 grad.shape().DebugString()));
}

}  // namespace

ApplyOp::ApplyOp(OpKernelConstruction* ctx, const SlotWidths& slots) : OpKernel(ctx) {
  if (ctx->HasAttr("N")) {
    dims_ = ReadDims(ctx);
  } else {
    dims_.resize(1);
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", dims_.data()));
  }
  slots_.resize(dims_.size());
  seen_ = std::vector<std::atomic<const EmbeddingVariable*>>(dims_.size());
  if (slots.count != 0) ReadSlots(ctx, slots);
}

void ApplyOp::ReadSlots(OpKernelConstruction* ctx, const SlotWidths& slots) {
  std::vector<std::string> names;
  std::vector<float> initial_values;
  OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_names", &names));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_initial_values", &initial_values));
  const size_t of_each = static_cast<size_t>(slots.count);
  const size_t expected = of_each * dims_.size();
  OP_REQUIRES(
      ctx, names.size() == expected && initial_values.size() == expected,
      absl::InvalidArgumentError(absl::StrCat("slot_names and slot_initial_values: expected ", expected,
                                              " of each, found ", names.size(), " and ", initial_values.size())));
  for (size_t i = 0; i < expected; ++i) {
    OP_REQUIRES(ctx, std::isfinite(initial_values[i]),
                absl::InvalidArgumentError(absl::StrCat("slot_initial_values: expected finite numbers, found ",
                                                        initial_values[i], " for slot '", names[i], "'")));
    const size_t table = i / of_each;
    slots_[table].push_back({names[i], slots.dim(static_cast<int>(i % of_each), dims_[table]), initial_values[i]});
  }
}

void ApplyOp::Compute(OpKernelContext* ctx) {
  bridge::RunGuarded(ctx, [&] { return Apply(ctx); });
}

absl::Status ApplyOp::Apply(OpKernelContext* ctx) const {
  const auto n = static_cast<int>(dims_.size());
  HyperReader read(ctx, n);
  const UpdateRule rule = MakeRule(&read);
  TF_RETURN_IF_ERROR(read.status());
  const int first_grad = read.next(), first_keys = first_grad + n, global_step_input = first_keys + n;
  if (global_step_input + 1 != ctx->num_inputs()) {
    return absl::InternalError(absl::StrCat(ctx->op_kernel().type_string(), ": its kernel reads ", first_grad - n,
                                            " hyperparameters of ", ctx->num_inputs() - 3 * n - 1));
  }
  int64_t global_step = -1;
  TF_RETURN_IF_ERROR(bridge::ReadScalar(ctx, global_step_input, "global_step", &global_step));
  Tables tables;
  TF_RETURN_IF_ERROR(tables.Read(ctx, dims_, first_keys));
  std::vector<TableUpdate> updates;
  updates.reserve(dims_.size());
  for (int t = 0; t < n; ++t) {
    const Tensor& grad = ctx->input(first_grad + t);
    TF_RETURN_IF_ERROR(CheckBatch(t, grad, ctx->input(first_keys + t), dims_[t]));
    updates.push_back({tables.variable(t), slots_[t], tables.keys(t), bridge::AsSpan<float>(grad)});
  }
  for (size_t t = 0; t < updates.size(); ++t) {
    const EmbeddingVariable* variable = updates[t].variable;
    if (seen_[t].load(std::memory_order_relaxed) != variable) SayNewSlots(t, *variable);
  }
  bridge::PoolExecutor executor(ctx);
  return bridge::ToTf(ApplyTables(rule, updates, global_step, executor));
}

void ApplyOp::SayNewSlots(size_t table, const EmbeddingVariable& variable) const {
  seen_[table].store(&variable, std::memory_order_relaxed);
  const int64_t rows = variable.size();
  if (rows == 0) return;
  const std::vector<SlotSpec> known = variable.slots();
  for (const SlotSpec& slot : slots_[table]) {
    const auto same = [&](const SlotSpec& other) { return other.name == slot.name; };
    if (std::any_of(known.begin(), known.end(), same)) continue;
    LOG(WARNING) << "EmbeddingVariable '" << variable.options().name << "': its " << rows << " rows have no slot '"
                 << slot.name << "' yet, it starts from " << slot.initial;
  }
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
