// The optimizers once more, in double and one element at a time: what the engine's kernels are measured against.
//
// Hyperparameters are rounded to float first, as the engine has them in float.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/adamw.h"
#include "ev_tf/optim/ftrl.h"
#include "ev_tf/optim/momentum.h"
#include "ev_tf/optim/sgd.h"
#include "ev_tf/row/row_layout.h"

namespace ev::test {

// One step on one element: the gradient, the value and its slots, changed in place.
using ReferenceStep = std::function<void(double grad, double* value, double* slot)>;

struct RuleCase {
  std::string name;
  UpdateRule rule;
  std::vector<float> initial;  // of each slot
  ReferenceStep step;

  // The slots of a variable of this dim, under names of their own.
  std::vector<SlotSpec> Slots(int64_t dim) const {
    std::vector<SlotSpec> slots;
    for (size_t s = 0; s < initial.size(); ++s) slots.push_back({name + "/" + std::to_string(s), dim, initial[s]});
    return slots;
  }
};

namespace internal {

inline ReferenceStep AdamStep(float lr, float beta1, float beta2, float epsilon, float power1, float power2) {
  const double alpha = double{lr} * std::sqrt(1.0 - double{power2}) / (1.0 - double{power1});
  return [=](double grad, double* value, double* slot) {
    slot[0] = double{beta1} * slot[0] + (1.0 - double{beta1}) * grad;
    slot[1] = double{beta2} * slot[1] + (1.0 - double{beta2}) * grad * grad;
    *value -= alpha * slot[0] / (std::sqrt(slot[1]) + double{epsilon});
  };
}

inline ReferenceStep FtrlStep(float lr, float l1, float l2, float shrinkage, float lr_power) {
  return [=](double grad, double* value, double* slot) {
    const double before = std::pow(slot[0], -double{lr_power});
    slot[0] += grad * grad;
    const double after = std::pow(slot[0], -double{lr_power});
    slot[1] += grad + 2.0 * double{shrinkage} * *value - (after - before) / double{lr} * *value;
    const double sign = slot[1] > 0 ? 1.0 : -1.0;
    *value =
        std::abs(slot[1]) > double{l1} ? (sign * double{l1} - slot[1]) / (after / double{lr} + 2.0 * double{l2}) : 0.0;
  };
}

}  // namespace internal

inline RuleCase SgdCase() {
  return {"sgd", Sgd(0.1f), {}, [](double grad, double* value, double*) { *value -= double{0.1f} * grad; }};
}

inline RuleCase MomentumCase(bool nesterov) {
  return {nesterov ? "nesterov" : "momentum",
          Momentum(0.1f, 0.9f, nesterov),
          {0.0f},
          [nesterov](double grad, double* value, double* slot) {
            slot[0] = double{0.9f} * slot[0] + grad;
            *value -= double{0.1f} * (nesterov ? grad + double{0.9f} * slot[0] : slot[0]);
          }};
}

inline RuleCase AdagradCase(float epsilon) {
  return {epsilon == 0 ? "adagrad" : "adagrad_epsilon",
          Adagrad(0.1f, epsilon),
          {0.1f},
          [epsilon](double grad, double* value, double* slot) {
            slot[0] += grad * grad;
            *value -= double{0.1f} * grad / std::sqrt(slot[0] + double{epsilon});
          }};
}

inline RuleCase AdamCase() {
  return {"adam",
          Adam(0.01f, 0.9f, 0.999f, 1e-8f, 0.729f, 0.997f),
          {0.0f, 0.0f},
          internal::AdamStep(0.01f, 0.9f, 0.999f, 1e-8f, 0.729f, 0.997f)};
}

inline RuleCase AdamWCase() {
  const ReferenceStep adam = internal::AdamStep(0.01f, 0.9f, 0.999f, 1e-8f, 0.9f, 0.999f);
  return {"adamw",
          AdamW(0.01f, 0.9f, 0.999f, 1e-8f, 0.9f, 0.999f, 0.02f),
          {0.0f, 0.0f},
          [adam](double grad, double* value, double* slot) {
            *value -= double{0.02f} * *value;
            adam(grad, value, slot);
          }};
}

inline RuleCase FtrlCase(const std::string& name, float l1, float l2, float shrinkage, float lr_power) {
  return {name,
          Ftrl(0.5f, l1, l2, shrinkage, lr_power),
          {0.1f, 0.0f},
          internal::FtrlStep(0.5f, l1, l2, shrinkage, lr_power)};
}

// Every rule of the engine, and every kernel of each rule.
inline std::vector<RuleCase> AllRules() {
  return {SgdCase(),
          MomentumCase(false),
          MomentumCase(true),
          AdagradCase(0.0f),
          AdagradCase(1e-3f),
          AdamCase(),
          AdamWCase(),
          FtrlCase("ftrl", 0.0f, 0.0f, 0.0f, -0.5f),
          FtrlCase("ftrl_regularized", 0.3f, 0.2f, 0.1f, -0.5f),
          FtrlCase("ftrl_power", 0.3f, 0.2f, 0.1f, -0.7f)};
}

}  // namespace ev::test
