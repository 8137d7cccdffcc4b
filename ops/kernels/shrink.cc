#include "ops/bridge/batch.h"
#include "ops/bridge/variable_resource.h"

namespace ev::kernels {
namespace {

class ShrinkOp final : public tensorflow::OpKernel {
 public:
  explicit ShrinkOp(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("skip_uninitialized", &skip_uninitialized_));
  }

  void Compute(tensorflow::OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Shrink(ctx); });
  }

 private:
  enum Input { kHandle, kGlobalStep };

  absl::Status Shrink(tensorflow::OpKernelContext* ctx) const {
    int64_t step = 0, dropped = 0;
    TF_RETURN_IF_ERROR(bridge::ReadScalar(ctx, kGlobalStep, "global_step", &step));
    bridge::Variable variable;
    const absl::Status status = bridge::GetVariable(ctx, kHandle, &variable);
    if (status.ok()) {
      TF_RETURN_IF_ERROR(bridge::ToTf(variable->Shrink(step, &dropped)));
    } else if (!absl::IsFailedPrecondition(status) || !skip_uninitialized_) {
      return status;
    }
    tensorflow::Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(0, tensorflow::TensorShape({}), &output));
    output->scalar<int64_t>()() = dropped;
    return absl::OkStatus();
  }

  bool skip_uninitialized_ = false;
};

REGISTER_KERNEL_BUILDER(Name("EvShrink").Device(tensorflow::DEVICE_CPU), ShrinkOp);

}  // namespace
}  // namespace ev::kernels
