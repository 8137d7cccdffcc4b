#include "ops/bridge/batch.h"

namespace ev::bridge {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShapeUtils;

template <typename T>
absl::Status ReadScalarOf(OpKernelContext* ctx, int index, const char* what, T* value) {
  const Tensor& tensor = ctx->input(index);
  if (!TensorShapeUtils::IsScalar(tensor.shape())) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": expected a scalar, found shape ", tensor.shape().DebugString()));
  }
  *value = tensor.scalar<T>()();
  return absl::OkStatus();
}

std::string SizeOrAny(int64_t size) { return size < 0 ? "any" : absl::StrCat(size); }

}  // namespace

absl::Status ReadScalar(OpKernelContext* ctx, int index, const char* what, float* value) {
  return ReadScalarOf(ctx, index, what, value);
}

absl::Status ReadScalar(OpKernelContext* ctx, int index, const char* what, int64_t* value) {
  return ReadScalarOf(ctx, index, what, value);
}

absl::Status CheckMatrix(const Tensor& tensor, const char* what, int64_t rows, int64_t columns) {
  if (tensor.dims() == 2 && (rows < 0 || tensor.dim_size(0) == rows) &&
      (columns < 0 || tensor.dim_size(1) == columns)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(what, ": expected shape [", SizeOrAny(rows), ",", SizeOrAny(columns),
                                                 "], found ", tensor.shape().DebugString()));
}

absl::Status CheckVector(const Tensor& tensor, const char* what, int64_t size) {
  if (tensor.dims() == 1 && (size < 0 || tensor.dim_size(0) == size)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": expected shape [", SizeOrAny(size), "], found ", tensor.shape().DebugString()));
}

}  // namespace ev::bridge
