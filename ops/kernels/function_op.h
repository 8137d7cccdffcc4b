// A kernel that is one function of its context.
#pragma once

#include "ops/bridge/status.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::kernels {

template <absl::Status (*Body)(tensorflow::OpKernelContext*)>
class FunctionOp final : public tensorflow::OpKernel {
 public:
  explicit FunctionOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {}
  void Compute(tensorflow::OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Body(ctx); });
  }
};

}  // namespace ev::kernels
