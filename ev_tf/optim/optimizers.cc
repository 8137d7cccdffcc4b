// The rules: each optimizer's hyperparameters as its kernel reads them.
#include <cmath>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adagrad_decay.h"
#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/adamw.h"
#include "ev_tf/optim/ftrl.h"
#include "ev_tf/optim/kernels.h"
#include "ev_tf/optim/momentum.h"
#include "ev_tf/optim/rms_prop.h"
#include "ev_tf/optim/row_wise_adagrad.h"
#include "ev_tf/optim/sgd.h"

namespace ev {

UpdateRule Sgd(float lr) { return {"sgd", Kernels().sgd, kSgdSlots, Hyper{lr}}; }

UpdateRule Momentum(float lr, float momentum, bool nesterov) {
  return {"momentum", nesterov ? Kernels().momentum_nesterov : Kernels().momentum, kMomentumSlots, Hyper{lr, momentum}};
}

UpdateRule Adagrad(float lr, float epsilon) {
  return {"adagrad", Kernels().adagrad, kAdagradSlots, Hyper{lr, epsilon}};
}

UpdateRule AdagradDecay(float lr, float decay_rate, float baseline, int64_t periods) {
  return {"adagrad_decay", Kernels().adagrad_decay, kAdagradDecaySlots,
          Hyper{lr, decay_rate, baseline, static_cast<float>(periods)}};
}

UpdateRule RowWiseAdagrad(float lr, float epsilon) {
  return {"row_wise_adagrad", Kernels().row_wise_adagrad, kRowWiseAdagradSlots, Hyper{lr, epsilon}};
}

UpdateRule Adam(float lr, float beta1, float beta2, float epsilon, float beta1_power, float beta2_power) {
  const float alpha = lr * std::sqrt(1.0f - beta2_power) / (1.0f - beta1_power);
  return {"adam", Kernels().adam, kAdamSlots, Hyper{alpha, 1.0f - beta1, 1.0f - beta2, epsilon}};
}

UpdateRule AdamW(float lr, float beta1, float beta2, float epsilon, float beta1_power, float beta2_power,
                 float weight_decay) {
  UpdateRule rule = Adam(lr, beta1, beta2, epsilon, beta1_power, beta2_power);
  rule.name = "adamw";
  rule.update = Kernels().adamw;
  rule.hyper[4] = weight_decay;
  return rule;
}

UpdateRule Ftrl(float lr, float l1, float l2, float l2_shrinkage, float lr_power, bool group_l1) {
  const bool square_root = lr_power == -0.5f;
  const UpdateRowFn on_elements = square_root ? Kernels().ftrl : Kernels().ftrl_power;
  const UpdateRowFn on_rows = square_root ? Kernels().ftrl_group : Kernels().ftrl_group_power;
  return {"ftrl", group_l1 ? on_rows : on_elements, kFtrlSlots,
          Hyper{1.0f / lr, l1, 2.0f * l2, 2.0f * l2_shrinkage, lr_power}};
}

UpdateRule RmsProp(float lr, float decay, float momentum, float epsilon, bool centered, bool with_momentum) {
  const RowKernels& kernels = Kernels();
  const UpdateRowFn plain = with_momentum ? kernels.rms_prop_momentum : kernels.rms_prop;
  const UpdateRowFn of_centered = with_momentum ? kernels.rms_prop_centered_momentum : kernels.rms_prop_centered;
  return {"rms_prop", centered ? of_centered : plain, RmsPropSlots(centered, with_momentum),
          Hyper{lr, decay, 1.0f - decay, epsilon, momentum}};
}

}  // namespace ev
