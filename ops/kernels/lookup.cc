#include <algorithm>
#include <vector>

#include "ops/bridge/batch.h"
#include "ops/bridge/executor.h"
#include "ops/bridge/variable_resource.h"
#include "ops/kernels/register.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

// Output 0: keys.shape + [dim].
absl::Status AllocateRows(OpKernelContext* ctx, const Tensor& keys, int64_t dim, Tensor** rows) {
  tensorflow::TensorShape shape = keys.shape();
  TF_RETURN_IF_ERROR(shape.AddDimWithStatus(dim));
  return ctx->allocate_output(0, shape, rows);
}

class GatherOp final : public tensorflow::OpKernel {
 public:
  explicit GatherOp(OpKernelConstruction* ctx) : OpKernel(ctx) { OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &dim_)); }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Gather(ctx); });
  }

 private:
  enum Input { kHandle, kKeys };

  absl::Status Gather(OpKernelContext* ctx) const {
    bridge::Variable variable;
    TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandle, dim_, &variable));
    const Tensor& keys = ctx->input(kKeys);
    Tensor* rows = nullptr;
    TF_RETURN_IF_ERROR(AllocateRows(ctx, keys, dim_, &rows));
    bridge::PoolExecutor executor(ctx);
    const bridge::KeySpan key_span(keys);
    return bridge::ToTf(variable->Lookup(key_span.get(), bridge::AsSpan<float>(rows), executor));
  }

  int64_t dim_ = 0;
};

class GatherWithOp final : public tensorflow::OpKernel {
 public:
  explicit GatherWithOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &dim_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("with_initial_rows", &with_initial_rows_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("with_counts", &with_counts_));
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Gather(ctx); });
  }

 private:
  enum Input { kHandle, kKeys, kInitialRows, kCounts };

  absl::Status Gather(OpKernelContext* ctx) const {
    bridge::Variable variable;
    TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandle, dim_, &variable));
    const Tensor& keys = ctx->input(kKeys);
    const int64_t counts = ctx->input(kCounts).NumElements();
    if (with_counts_ && counts != keys.NumElements()) {  // the gradient reads them
      return absl::InvalidArgumentError(
          absl::StrCat("counts: expected one for each of ", keys.NumElements(), " keys, found ", counts));
    }
    Tensor* rows = nullptr;
    TF_RETURN_IF_ERROR(AllocateRows(ctx, keys, dim_, &rows));
    bridge::PoolExecutor executor(ctx);
    const bridge::KeySpan key_span(keys);
    const Span<const float> initial = bridge::AsSpan<float>(ctx->input(kInitialRows));
    if (with_initial_rows_ && !variable->frozen()) {
      TF_RETURN_IF_ERROR(bridge::ToTf(variable->InsertMissing(key_span.get(), initial)));
    }
    TF_RETURN_IF_ERROR(bridge::ToTf(variable->Lookup(key_span.get(), bridge::AsSpan<float>(rows), executor)));
    return with_initial_rows_ && variable->frozen() ? ReadInitialRows(*variable, key_span.get(), initial, rows)
                                                    : absl::OkStatus();
  }

  // Keys without a row read their initial ones, and get no row.
  absl::Status ReadInitialRows(const EmbeddingVariable& variable, Span<const Key> keys, Span<const float> initial,
                               Tensor* rows) const {
    const auto dim = static_cast<size_t>(dim_);
    if (initial.size() != keys.size() * dim) {
      return absl::InvalidArgumentError(
          absl::StrCat("initial_rows: expected ", keys.size() * dim, " elements, found ", initial.size()));
    }
    std::vector<int32_t> tiers(keys.size());
    TF_RETURN_IF_ERROR(bridge::ToTf(variable.LookupTier(keys, {tiers.data(), tiers.size()})));
    const Span<float> out = bridge::AsSpan<float>(rows);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (tiers[i] < 0) std::copy_n(initial.data() + i * dim, dim, out.data() + i * dim);
    }
    return absl::OkStatus();
  }

  int64_t dim_ = 0;
  bool with_initial_rows_ = false;
  bool with_counts_ = false;
};

EV_REGISTER_KEYED_KERNEL("EvGather", GatherOp);
EV_REGISTER_KEYED_KERNEL("EvGatherWith", GatherWithOp);

}  // namespace
}  // namespace ev::kernels
