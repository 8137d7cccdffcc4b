#include "ev_tf/optim/adam.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyAdamOp final : public ApplyOp {
 public:
  explicit ApplyAdamOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, kAdamSlots) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    const float beta1 = read->Float("beta1", Range::kBelowOne);
    const float beta2 = read->Float("beta2", Range::kBelowOne);
    const float epsilon = read->Float("epsilon", Range::kNonNegative);
    const float beta1_power = read->Float("beta1_power", Range::kBelowOne);
    const float beta2_power = read->Float("beta2_power", Range::kBelowOne);
    return Adam(lr, beta1, beta2, epsilon, beta1_power, beta2_power);
  }
};

EV_REGISTER_APPLY_KERNEL("Adam", ApplyAdamOp);

}  // namespace
}  // namespace ev::kernels
