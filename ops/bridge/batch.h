// Tensors as the engine's spans, checked before they are believed.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ops/bridge/status.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"

namespace ev::bridge {

// A tensor of keys as int64: int64 keys are borrowed, int32 keys are widened into a copy.
class KeySpan {
 public:
  explicit KeySpan(const tensorflow::Tensor& keys) {
    if (keys.dtype() == tensorflow::DT_INT32) {
      const auto flat = keys.flat<int32_t>();
      widened_.assign(flat.data(), flat.data() + flat.size());
      span_ = Span<const Key>(widened_.data(), widened_.size());
    } else {
      const auto flat = keys.flat<int64_t>();
      span_ = Span<const Key>(flat.data(), static_cast<size_t>(flat.size()));
    }
  }
  Span<const Key> get() const { return span_; }

 private:
  std::vector<Key> widened_;
  Span<const Key> span_;
};

template <typename T>
Span<const T> AsSpan(const tensorflow::Tensor& tensor) {
  const auto flat = tensor.flat<T>();
  return Span<const T>(flat.data(), static_cast<size_t>(flat.size()));
}

template <typename T>
Span<T> AsSpan(tensorflow::Tensor* tensor) {
  auto flat = tensor->flat<T>();
  return Span<T>(flat.data(), static_cast<size_t>(flat.size()));
}

// Reads a scalar input.  InvalidArgument, naming `what`, if it is none.
absl::Status ReadScalar(tensorflow::OpKernelContext* ctx, int index, const char* what, float* value);
absl::Status ReadScalar(tensorflow::OpKernelContext* ctx, int index, const char* what, int64_t* value);

// `tensor` must be [rows, columns]; a negative number stands for any size.  InvalidArgument names `what`.
absl::Status CheckMatrix(const tensorflow::Tensor& tensor, const char* what, int64_t rows, int64_t columns);
// `tensor` must be a vector of `size` elements; a negative size stands for any.
absl::Status CheckVector(const tensorflow::Tensor& tensor, const char* what, int64_t size);

}  // namespace ev::bridge
