#include "ev_tf/optim/sgd.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplySgdOp final : public ApplyOp {
 public:
  explicit ApplySgdOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, kSgdSlots) {}

 private:
  UpdateRule MakeRule(HyperReader* read) const override {
    const float lr = read->Float("learning rate", Range::kNonNegative);
    return Sgd(lr);
  }
};

EV_REGISTER_APPLY_KERNEL("Sgd", ApplySgdOp);

}  // namespace
}  // namespace ev::kernels
