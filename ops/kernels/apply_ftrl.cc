#include "ev_tf/optim/ftrl.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyFtrlOp final : public ApplyOp {
 public:
  explicit ApplyFtrlOp(tensorflow::OpKernelConstruction* ctx)
      : ApplyOp(ctx, kFtrlSlots), group_l1_(BoolAttr(ctx, "group_l1")) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kPositive);
    const float l1 = read->Float("l1", Range::kNonNegative);
    const float l2 = read->Float("l2", Range::kNonNegative);
    const float l2_shrinkage = read->Float("l2_shrinkage", Range::kNonNegative);
    const float lr_power = read->Float("lr_power", Range::kNonPositive);
    return Ftrl(lr, l1, l2, l2_shrinkage, lr_power, group_l1_);
  }

  const bool group_l1_;
};

EV_REGISTER_APPLY_KERNEL("Ftrl", ApplyFtrlOp);

}  // namespace
}  // namespace ev::kernels
