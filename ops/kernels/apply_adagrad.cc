#include "ev_tf/optim/adagrad.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyAdagradOp final : public ApplyOp {
 public:
  explicit ApplyAdagradOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, kAdagradSlots) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    const float epsilon = read->Float("epsilon", Range::kNonNegative);
    return Adagrad(lr, epsilon);
  }
};

EV_REGISTER_APPLY_KERNEL("Adagrad", ApplyAdagradOp);

}  // namespace
}  // namespace ev::kernels
