// The rules: each optimizer's hyperparameters as its kernel reads them.
#include <cmath>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/adamw.h"
#include "ev_tf/optim/ftrl.h"
#include "ev_tf/optim/kernels.h"
#include "ev_tf/optim/momentum.h"
#include "ev_tf/optim/sgd.h"

namespace ev {

UpdateRule Sgd(float lr) { return {"sgd", Kernels().sgd, 0, Hyper{lr}}; }

UpdateRule Momentum(float lr, float momentum, bool nesterov) {
  return {"momentum", nesterov ? Kernels().momentum_nesterov : Kernels().momentum, 1, Hyper{lr, momentum}};
}

UpdateRule Adagrad(float lr, float epsilon) { return {"adagrad", Kernels().adagrad, 1, Hyper{lr, epsilon}}; }

UpdateRule Adam(float lr, float beta1, float beta2, float epsilon, float beta1_power, float beta2_power) {
  const float alpha = lr * std::sqrt(1.0f - beta2_power) / (1.0f - beta1_power);
  return {"adam", Kernels().adam, 2, Hyper{alpha, 1.0f - beta1, 1.0f - beta2, epsilon}};
}

UpdateRule AdamW(float lr, float beta1, float beta2, float epsilon, float beta1_power, float beta2_power,
                 float weight_decay) {
  UpdateRule rule = Adam(lr, beta1, beta2, epsilon, beta1_power, beta2_power);
  rule.name = "adamw";
  rule.update = Kernels().adamw;
  rule.hyper[4] = weight_decay;
  return rule;
}

UpdateRule Ftrl(float lr, float l1, float l2, float l2_shrinkage, float lr_power) {
  const bool square_root = lr_power == -0.5f;
  return {"ftrl", square_root ? Kernels().ftrl : Kernels().ftrl_power, 2,
          Hyper{1.0f / lr, l1, 2.0f * l2, 2.0f * l2_shrinkage, lr_power}};
}

}  // namespace ev
