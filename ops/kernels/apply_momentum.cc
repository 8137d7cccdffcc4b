#include "ev_tf/optim/momentum.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyMomentumOp final : public ApplyOp {
 public:
  explicit ApplyMomentumOp(tensorflow::OpKernelConstruction* ctx)
      : ApplyOp(ctx, kMomentumSlots), use_nesterov_(BoolAttr(ctx, "use_nesterov")) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    const float momentum = read->Float("momentum", Range::kNonNegative);
    return Momentum(lr, momentum, use_nesterov_);
  }

  const bool use_nesterov_;
};

EV_REGISTER_APPLY_KERNEL("Momentum", ApplyMomentumOp);

}  // namespace
}  // namespace ev::kernels
