#include "ev_tf/optim/ftrl.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyFtrlOp final : public ApplyOp {
 public:
  explicit ApplyFtrlOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, /*slots=*/2, kGrad) {}

 private:
  enum Input { kLr = kFirstHyper, kL1, kL2, kL2Shrinkage, kLrPower, kGrad };

  absl::Status MakeRule(tensorflow::OpKernelContext* ctx, UpdateRule* rule) const override {
    float lr = 0.0f, l1 = 0.0f, l2 = 0.0f, l2_shrinkage = 0.0f, lr_power = 0.0f;
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kLr, "learning rate", Range::kPositive, &lr));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kL1, "l1", Range::kNonNegative, &l1));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kL2, "l2", Range::kNonNegative, &l2));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kL2Shrinkage, "l2_shrinkage", Range::kNonNegative, &l2_shrinkage));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kLrPower, "lr_power", Range::kNonPositive, &lr_power));
    *rule = Ftrl(lr, l1, l2, l2_shrinkage, lr_power);
    return absl::OkStatus();
  }
};

EV_REGISTER_KEYED_KERNEL("EvApplyFtrl", ApplyFtrlOp);

}  // namespace
}  // namespace ev::kernels
