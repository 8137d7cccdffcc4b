#include "ev_tf/optim/row_wise_adagrad.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyRowWiseAdagradOp final : public ApplyOp {
 public:
  explicit ApplyRowWiseAdagradOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, kRowWiseAdagradSlots) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    const float epsilon = read->Float("epsilon", Range::kNonNegative);
    return RowWiseAdagrad(lr, epsilon);
  }
};

EV_REGISTER_APPLY_KERNEL("RowWiseAdagrad", ApplyRowWiseAdagradOp);

}  // namespace
}  // namespace ev::kernels
