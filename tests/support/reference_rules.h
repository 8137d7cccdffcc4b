// The optimizers once more, in double and in the words of their formulas: what the engine's kernels are measured against.
//
// Hyperparameters are rounded to float first, as the engine has them in float.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adagrad_decay.h"
#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/adamw.h"
#include "ev_tf/optim/ftrl.h"
#include "ev_tf/optim/momentum.h"
#include "ev_tf/optim/rms_prop.h"
#include "ev_tf/optim/row_wise_adagrad.h"
#include "ev_tf/optim/sgd.h"
#include "ev_tf/row/row_layout.h"

namespace ev::test {

// One step on one row: the gradient, the value and its slots, changed in place.
using Doubles = std::vector<double>;
using ReferenceStep = std::function<void(const Doubles& grad, Doubles* value, std::vector<Doubles>* slots)>;

// A slot: what it starts as, and what it may be in the middle of a training.
struct SlotCase {
  float initial;
  float low;
  float high;
};

struct RuleCase {
  std::string name;
  UpdateRule rule;
  std::vector<SlotCase> slots;
  ReferenceStep step;

  std::string SlotName(size_t s) const { return name + "/" + std::to_string(s); }
  // The slots of a variable of this dim, under names of their own.
  std::vector<SlotSpec> Slots(int64_t dim) const {
    std::vector<SlotSpec> specs;
    for (size_t s = 0; s < slots.size(); ++s) {
      specs.push_back({SlotName(s), rule.slots.dim(static_cast<int>(s), dim), slots[s].initial});
    }
    return specs;
  }
};

namespace internal {

inline constexpr SlotCase kSum = {0.0f, -2.0f, 2.0f};        // of gradients
inline constexpr SlotCase kSquares = {0.0f, 0.01f, 3.0f};    // of squared gradients, from nothing
inline constexpr SlotCase kFromTenth = {0.1f, 0.01f, 3.0f};  // of squared gradients, from 0.1

// One step on one element.
using ElementStep = std::function<void(double grad, double* value, double* slot)>;

inline ReferenceStep PerElement(const ElementStep& step) {
  return [step](const Doubles& grad, Doubles* value, std::vector<Doubles>* slots) {
    for (size_t i = 0; i < grad.size(); ++i) {
      double slot[kMaxSlots] = {};
      for (size_t s = 0; s < slots->size(); ++s) slot[s] = (*slots)[s][i];
      step(grad[i], &(*value)[i], slot);
      for (size_t s = 0; s < slots->size(); ++s) (*slots)[s][i] = slot[s];
    }
  };
}

inline ElementStep AdamStep(float lr, float beta1, float beta2, float epsilon, float power1, float power2) {
  const double alpha = double{lr} * std::sqrt(1.0 - double{power2}) / (1.0 - double{power1});
  return [=](double grad, double* value, double* slot) {
    slot[0] = double{beta1} * slot[0] + (1.0 - double{beta1}) * grad;
    slot[1] = double{beta2} * slot[1] + (1.0 - double{beta2}) * grad * grad;
    *value -= alpha * slot[0] / (std::sqrt(slot[1]) + double{epsilon});
  };
}

// Both slots of one element; gives what the step is divided by, without l2.
inline double FtrlSlots(double lr, double shrinkage, double lr_power, double grad, double value, double* a,
                        double* linear) {
  const double before = std::pow(*a, -lr_power);
  *a += grad * grad;
  const double after = std::pow(*a, -lr_power);
  *linear += grad + 2.0 * shrinkage * value - (after - before) / lr * value;
  return after / lr;
}

inline ElementStep FtrlStep(float lr, float l1, float l2, float shrinkage, float lr_power) {
  return [=](double grad, double* value, double* slot) {
    const double scale = FtrlSlots(lr, shrinkage, lr_power, grad, *value, &slot[0], &slot[1]);
    const double sign = slot[1] > 0 ? 1.0 : -1.0;
    *value = std::abs(slot[1]) > double{l1} ? (sign * double{l1} - slot[1]) / (scale + 2.0 * double{l2}) : 0.0;
  };
}

inline ReferenceStep FtrlGroupStep(float lr, float l1, float l2, float shrinkage, float lr_power) {
  return [=](const Doubles& grad, Doubles* value, std::vector<Doubles>* slots) {
    Doubles scale(grad.size());
    double squares = 0;
    for (size_t i = 0; i < grad.size(); ++i) {
      scale[i] = FtrlSlots(lr, shrinkage, lr_power, grad[i], (*value)[i], &(*slots)[0][i], &(*slots)[1][i]);
      squares += (*slots)[1][i] * (*slots)[1][i];
    }
    const double norm = std::sqrt(squares);
    for (size_t i = 0; i < grad.size(); ++i) {
      const double linear = (*slots)[1][i];
      (*value)[i] = norm > double{l1} ? (double{l1} / norm - 1.0) * linear / (scale[i] + 2.0 * double{l2}) : 0.0;
    }
  };
}

}  // namespace internal

inline RuleCase SgdCase() {
  return {"sgd", Sgd(0.1f), {}, internal::PerElement([](double grad, double* value, double*) {
            *value -= double{0.1f} * grad;
          })};
}

inline RuleCase MomentumCase(bool nesterov) {
  return {nesterov ? "nesterov" : "momentum",
          Momentum(0.1f, 0.9f, nesterov),
          {internal::kSum},
          internal::PerElement([nesterov](double grad, double* value, double* slot) {
            slot[0] = double{0.9f} * slot[0] + grad;
            *value -= double{0.1f} * (nesterov ? grad + double{0.9f} * slot[0] : slot[0]);
          })};
}

inline RuleCase AdagradCase(float epsilon) {
  return {epsilon == 0 ? "adagrad" : "adagrad_epsilon",
          Adagrad(0.1f, epsilon),
          {internal::kFromTenth},
          internal::PerElement([epsilon](double grad, double* value, double* slot) {
            slot[0] += grad * grad;
            *value -= double{0.1f} * grad / std::sqrt(slot[0] + double{epsilon});
          })};
}

// Its rows have shrunk for 0 to 3 periods of the 2 that have ended.
inline RuleCase AdagradDecayCase() {
  return {"adagrad_decay",
          AdagradDecay(0.1f, 0.8f, 0.1f, 2),
          {internal::kFromTenth, {0.0f, 0.0f, 3.0f}},
          [](const Doubles& grad, Doubles* value, std::vector<Doubles>* slots) {
            const bool shrinks = 2.0 > (*slots)[1][0];
            for (size_t i = 0; i < grad.size(); ++i) {
              double& a = (*slots)[0][i];
              if (shrinks) a = std::max(a * double{0.8f}, double{0.1f});
              a += grad[i] * grad[i];
              (*value)[i] -= double{0.1f} * grad[i] / std::sqrt(a);
            }
            if (shrinks) (*slots)[1][0] += 1.0;
          }};
}

inline RuleCase RowWiseAdagradCase() {
  return {"row_wise_adagrad",
          RowWiseAdagrad(0.1f, 1e-3f),
          {internal::kFromTenth},
          [](const Doubles& grad, Doubles* value, std::vector<Doubles>* slots) {
            double squares = 0;
            for (const double g : grad) squares += g * g;
            double& a = (*slots)[0][0];
            a += squares / static_cast<double>(grad.size());
            for (size_t i = 0; i < grad.size(); ++i) {
              (*value)[i] -= double{0.1f} * grad[i] / (std::sqrt(a) + double{1e-3f});
            }
          }};
}

inline RuleCase AdamCase() {
  return {"adam",
          Adam(0.01f, 0.9f, 0.999f, 1e-8f, 0.729f, 0.997f),
          {internal::kSum, internal::kSquares},
          internal::PerElement(internal::AdamStep(0.01f, 0.9f, 0.999f, 1e-8f, 0.729f, 0.997f))};
}

inline RuleCase AdamWCase() {
  const internal::ElementStep adam = internal::AdamStep(0.01f, 0.9f, 0.999f, 1e-8f, 0.9f, 0.999f);
  return {"adamw",
          AdamW(0.01f, 0.9f, 0.999f, 1e-8f, 0.9f, 0.999f, 0.02f),
          {internal::kSum, internal::kSquares},
          internal::PerElement([adam](double grad, double* value, double* slot) {
            *value -= double{0.02f} * *value;
            adam(grad, value, slot);
          })};
}

inline RuleCase FtrlCase(const std::string& name, float l1, float l2, float shrinkage, float lr_power) {
  return {name,
          Ftrl(0.5f, l1, l2, shrinkage, lr_power, false),
          {internal::kFromTenth, internal::kSum},
          internal::PerElement(internal::FtrlStep(0.5f, l1, l2, shrinkage, lr_power))};
}

inline RuleCase FtrlGroupCase(const std::string& name, float l1, float lr_power) {
  return {name,
          Ftrl(0.5f, l1, 0.2f, 0.1f, lr_power, true),
          {internal::kFromTenth, internal::kSum},
          internal::FtrlGroupStep(0.5f, l1, 0.2f, 0.1f, lr_power)};
}

inline RuleCase RmsPropCase(bool centered, bool with_momentum) {
  std::vector<SlotCase> slots = {{1.0f, 1.0f, 3.0f}};
  if (centered) slots.push_back({0.0f, -0.5f, 0.5f});  // the square of the mean is below the mean of squares
  if (with_momentum) slots.push_back(internal::kSum);
  return {std::string("rms_prop") + (centered ? "_centered" : "") + (with_momentum ? "_momentum" : ""),
          RmsProp(0.1f, 0.9f, 0.8f, 1e-3f, centered, with_momentum), slots,
          internal::PerElement([centered, with_momentum](double grad, double* value, double* slot) {
            const double decay = double{0.9f};
            slot[0] = decay * slot[0] + (1.0 - decay) * grad * grad;
            double variance = slot[0];
            if (centered) {
              slot[1] = decay * slot[1] + (1.0 - decay) * grad;
              variance -= slot[1] * slot[1];
            }
            double step = double{0.1f} * grad / std::sqrt(variance + double{1e-3f});
            if (with_momentum) {
              double& momentum = slot[centered ? 2 : 1];
              step = momentum = double{0.8f} * momentum + step;
            }
            *value -= step;
          })};
}

// Every rule of the engine, and every kernel of each rule.
inline std::vector<RuleCase> AllRules() {
  return {SgdCase(),
          MomentumCase(false),
          MomentumCase(true),
          AdagradCase(0.0f),
          AdagradCase(1e-3f),
          AdagradDecayCase(),
          RowWiseAdagradCase(),
          AdamCase(),
          AdamWCase(),
          FtrlCase("ftrl", 0.0f, 0.0f, 0.0f, -0.5f),
          FtrlCase("ftrl_regularized", 0.3f, 0.2f, 0.1f, -0.5f),
          FtrlCase("ftrl_power", 0.3f, 0.2f, 0.1f, -0.7f),
          FtrlGroupCase("ftrl_group", 1.5f, -0.5f),
          FtrlGroupCase("ftrl_group_power", 1.5f, -0.7f),
          RmsPropCase(false, false),
          RmsPropCase(false, true),
          RmsPropCase(true, false),
          RmsPropCase(true, true)};
}

}  // namespace ev::test
