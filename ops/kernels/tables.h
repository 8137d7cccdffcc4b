// The variables and keys of one call of an op that takes many tables.
#pragma once

#include <vector>

#include "ops/bridge/batch.h"
#include "ops/bridge/variable_resource.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::kernels {

class Tables {
 public:
  // The handles are inputs 0, 1 ..., one for each of `dims`; the keys begin at input `first_keys`.
  absl::Status Read(tensorflow::OpKernelContext* ctx, const std::vector<int64_t>& dims, int first_keys) {
    const auto n = static_cast<int>(dims.size());
    variables_.resize(dims.size());
    keys_.reserve(dims.size());
    for (int t = 0; t < n; ++t) {
      TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, t, dims[t], &variables_[t]));
      keys_.emplace_back(ctx->input(first_keys + t));
    }
    return absl::OkStatus();
  }
  EmbeddingVariable* variable(int t) const { return variables_[t].get(); }
  Span<const Key> keys(int t) const { return keys_[t].get(); }

 private:
  std::vector<bridge::Variable> variables_;
  std::vector<bridge::KeySpan> keys_;
};

// The attribute `dims`, one for each of the attribute N; fails the construction otherwise.
inline std::vector<int64_t> ReadDims(tensorflow::OpKernelConstruction* ctx) {
  std::vector<int64_t> dims;
  int tables = 0;
  const absl::Status status = ctx->GetAttr("dims", &dims);
  if (!status.ok() || !ctx->GetAttr("N", &tables).ok() || dims.size() != static_cast<size_t>(tables)) {
    ctx->CtxFailure(absl::InvalidArgumentError("dims: expected one for each table"));
  }
  return dims;
}

}  // namespace ev::kernels
