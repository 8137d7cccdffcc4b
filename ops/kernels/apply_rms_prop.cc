#include "ev_tf/optim/rms_prop.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyRmsPropOp final : public ApplyOp {
 public:
  explicit ApplyRmsPropOp(tensorflow::OpKernelConstruction* ctx)
      : ApplyOp(ctx, RmsPropSlots(BoolAttr(ctx, "centered"), BoolAttr(ctx, "with_momentum"))),
        centered_(BoolAttr(ctx, "centered")),
        with_momentum_(BoolAttr(ctx, "with_momentum")) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    const float decay = read->Float("decay", Range::kUpToOne);
    const float momentum = read->Float("momentum", Range::kNonNegative);
    const float epsilon = read->Float("epsilon", Range::kNonNegative);
    return RmsProp(lr, decay, momentum, epsilon, centered_, with_momentum_);
  }

  const bool centered_;
  const bool with_momentum_;
};

EV_REGISTER_APPLY_KERNEL("RmsProp", ApplyRmsPropOp);

}  // namespace
}  // namespace ev::kernels
