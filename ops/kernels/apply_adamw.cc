#include "ev_tf/optim/adamw.h"

#include "ops/kernels/apply.h"

namespace ev::kernels {
namespace {

class ApplyAdamWOp final : public ApplyOp {
 public:
  explicit ApplyAdamWOp(tensorflow::OpKernelConstruction* ctx) : ApplyOp(ctx, /*slots=*/2, kGrad) {}

 private:
  enum Input { kLr = kFirstHyper, kBeta1, kBeta2, kEpsilon, kBeta1Power, kBeta2Power, kWeightDecay, kGrad };

  absl::Status MakeRule(tensorflow::OpKernelContext* ctx, UpdateRule* rule) const override {
    float lr = 0.0f, beta1 = 0.0f, beta2 = 0.0f, epsilon = 0.0f, beta1_power = 0.0f, beta2_power = 0.0f,
          weight_decay = 0.0f;
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kLr, "learning rate", Range::kNonNegative, &lr));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kBeta1, "beta1", Range::kBelowOne, &beta1));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kBeta2, "beta2", Range::kBelowOne, &beta2));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kEpsilon, "epsilon", Range::kNonNegative, &epsilon));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kBeta1Power, "beta1_power", Range::kBelowOne, &beta1_power));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kBeta2Power, "beta2_power", Range::kBelowOne, &beta2_power));
    TF_RETURN_IF_ERROR(ReadHyper(ctx, kWeightDecay, "weight_decay", Range::kNonNegative, &weight_decay));
    *rule = AdamW(lr, beta1, beta2, epsilon, beta1_power, beta2_power, weight_decay);
    return absl::OkStatus();
  }
};

EV_REGISTER_KEYED_KERNEL("EvApplyAdamW", ApplyAdamWOp);

}  // namespace
}  // namespace ev::kernels
