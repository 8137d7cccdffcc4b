#include "ev_tf/optim/adagrad.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyAdagradOp final : public ApplyOp {
 public:
  explicit ApplyAdagradOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, /*slots=*/1, kGrad) {}

 private:
  enum Input { kLr = kFirstHyper, kEpsilon, kGrad };

  absl::Status MakeRule(tensorflow::OpKernelContext* ctx, UpdateRule* rule) const override {
    float lr = 0.0f, epsilon = 0.0f;
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kLr, "learning rate", Range::kNonNegative, &lr));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kEpsilon, "epsilon", Range::kNonNegative, &epsilon));
    *rule = Adagrad(lr, epsilon);
    return absl::OkStatus();
  }
};

EV_REGISTER_KEYED_KERNEL("EvApplyAdagrad", ApplyAdagradOp);

}  // namespace
}  // namespace ev::kernels
