#include "ev_tf/optim/sgd.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplySgdOp final : public ApplyOp {
 public:
  explicit ApplySgdOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, /*slots=*/0, kGrad) {}

 private:
  enum Input { kLr = kFirstHyper, kGrad };

  absl::Status MakeRule(tensorflow::OpKernelContext* ctx, UpdateRule* rule) const override {
    float lr = 0.0f;
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kLr, "learning rate", Range::kNonNegative, &lr));
    *rule = Sgd(lr);
    return absl::OkStatus();
  }
};

EV_REGISTER_KEYED_KERNEL("EvApplySgd", ApplySgdOp);

}  // namespace
}  // namespace ev::kernels
