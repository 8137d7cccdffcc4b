#include "ev_tf/optim/momentum.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyMomentumOp final : public ApplyOp {
 public:
  explicit ApplyMomentumOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, /*slots=*/1, kGrad) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("use_nesterov", &use_nesterov_));
  }

 private:
  enum Input { kLr = kFirstHyper, kMomentum, kGrad };

  absl::Status MakeRule(tensorflow::OpKernelContext* ctx, UpdateRule* rule) const override {
    float lr = 0.0f, momentum = 0.0f;
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kLr, "learning rate", Range::kNonNegative, &lr));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kMomentum, "momentum", Range::kNonNegative, &momentum));
    *rule = Momentum(lr, momentum, use_nesterov_);
    return absl::OkStatus();
  }

  bool use_nesterov_ = false;
};

EV_REGISTER_KEYED_KERNEL("EvApplyMomentum", ApplyMomentumOp);

}  // namespace
}  // namespace ev::kernels
