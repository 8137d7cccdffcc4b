#include "ev_tf/optim/adamw.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyAdamWOp final : public ApplyOp {
 public:
  explicit ApplyAdamWOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, kAdamWSlots) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    const float beta1 = read->Float("beta1", Range::kBelowOne);
    const float beta2 = read->Float("beta2", Range::kBelowOne);
    const float epsilon = read->Float("epsilon", Range::kNonNegative);
    const float beta1_power = read->Float("beta1_power", Range::kBelowOne);
    const float beta2_power = read->Float("beta2_power", Range::kBelowOne);
    const float weight_decay = read->Float("weight_decay", Range::kNonNegative);
    return AdamW(lr, beta1, beta2, epsilon, beta1_power, beta2_power, weight_decay);
  }
};

EV_REGISTER_APPLY_KERNEL("AdamW", ApplyAdamWOp);

}  // namespace
}  // namespace ev::kernels
