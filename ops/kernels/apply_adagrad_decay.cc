#include "ev_tf/optim/adagrad_decay.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyAdagradDecayOp final : public ApplyOp {
 public:
  explicit ApplyAdagradDecayOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, kAdagradDecaySlots) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    const float decay_rate = read->Float("accumulator_decay_rate", Range::kBelowOne);
    const float baseline = read->Float("initial_accumulator_value", Range::kPositive);
    const int64_t step = read->Int64("global_step", 0);
    const int64_t decay_step = read->Int64("accumulator_decay_step", 1);
    return AdagradDecay(lr, decay_rate, baseline, step / decay_step);
  }
};

EV_REGISTER_APPLY_KERNEL("AdagradDecay", ApplyAdagradDecayOp);

}  // namespace
}  // namespace ev::kernels
