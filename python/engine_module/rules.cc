#include "python/engine_module/rules.h"

#include <pybind11/stl.h>

#include <cmath>
#include <initializer_list>
#include <utility>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adagrad_decay.h"
#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/adamw.h"
#include "ev_tf/optim/ftrl.h"
#include "ev_tf/optim/momentum.h"
#include "ev_tf/optim/rms_prop.h"
#include "ev_tf/optim/row_wise_adagrad.h"
#include "ev_tf/optim/sgd.h"

namespace py = pybind11;

namespace ev::python {
namespace {

// A NaN in a hyperparameter would destroy every row that a batch names.
void CheckFinite(std::initializer_list<std::pair<const char*, double>> hyperparameters) {
  for (const auto& [name, value] : hyperparameters) {
    if (std::isfinite(value)) continue;
    throw py::value_error(std::string(name) + ": expected a finite number, received " + std::to_string(value));
  }
}

// beta^step in double, as a product of floats drifts over long trainings.
float Power(double beta, int64_t step) {
  if (step < 1) throw py::value_error("step: expected 1 or more, received " + std::to_string(step));
  return static_cast<float>(std::pow(beta, static_cast<double>(step)));
}

StepRule MakeSgd(double lr) {
  CheckFinite({{"lr", lr}});
  return {Sgd(lr), {}};
}

StepRule MakeMomentum(double lr, double momentum, bool nesterov) {
  CheckFinite({{"lr", lr}, {"momentum", momentum}});
  return {Momentum(lr, momentum, nesterov), {{"momentum/momentum", 0, 0.0f}}};
}

StepRule MakeAdagrad(double lr, double initial_accumulator, double epsilon) {
  CheckFinite({{"lr", lr}, {"initial_accumulator", initial_accumulator}, {"epsilon", epsilon}});
  if (initial_accumulator + epsilon <= 0) {
    throw py::value_error("initial_accumulator: expected a number > 0 (or epsilon > 0), received " +
                          std::to_string(initial_accumulator) + "; a zero gradient would divide zero by zero");
  }
  return {Adagrad(lr, epsilon), {{"adagrad/accumulator", 0, static_cast<float>(initial_accumulator)}}};
}

StepRule MakeAdagradDecay(double lr, int64_t step, double initial_accumulator, int64_t decay_step, double decay_rate) {
  CheckFinite({{"lr", lr}, {"initial_accumulator", initial_accumulator}, {"decay_rate", decay_rate}});
  if (initial_accumulator <= 0) {
    throw py::value_error("initial_accumulator: expected a number > 0, received " +
                          std::to_string(initial_accumulator));
  }
  if (decay_step < 1) throw py::value_error("decay_step: expected 1 or more, received " + std::to_string(decay_step));
  if (step < 0) throw py::value_error("step: expected 0 or more, received " + std::to_string(step));
  const auto initial = static_cast<float>(initial_accumulator);
  return {AdagradDecay(lr, decay_rate, initial, step / decay_step),
          {{"adagrad_decay/accumulator", 0, initial}, {"adagrad_decay/accumulator_decay_power", 1, 0.0f}}};
}

StepRule MakeRowWiseAdagrad(double lr, double initial_accumulator, double epsilon) {
  CheckFinite({{"lr", lr}, {"initial_accumulator", initial_accumulator}, {"epsilon", epsilon}});
  if (initial_accumulator < 0 || epsilon < 0 || initial_accumulator + epsilon <= 0) {
    throw py::value_error("initial_accumulator and epsilon: expected numbers >= 0, one of them > 0, received " +
                          std::to_string(initial_accumulator) + " and " + std::to_string(epsilon));
  }
  return {RowWiseAdagrad(lr, epsilon), {{"row_wise_adagrad/accumulator", 1, static_cast<float>(initial_accumulator)}}};
}

StepRule MakeRmsProp(double lr, double decay, double momentum, double epsilon, bool centered, double initial_rms) {
  CheckFinite(
      {{"lr", lr}, {"decay", decay}, {"momentum", momentum}, {"epsilon", epsilon}, {"initial_rms", initial_rms}});
  if (initial_rms + epsilon <= 0) {
    throw py::value_error("epsilon: expected a number > 0 (or initial_rms > 0), received " + std::to_string(epsilon) +
                          "; a zero gradient would divide zero by zero");
  }
  StepRule rule{RmsProp(lr, decay, momentum, epsilon, centered, momentum != 0),
                {{"rms_prop/rms", 0, static_cast<float>(initial_rms)}}};
  if (centered) rule.slots.push_back({"rms_prop/mg", 0, 0.0f});
  if (momentum != 0) rule.slots.push_back({"rms_prop/momentum", 0, 0.0f});
  return rule;
}

StepRule MakeAdam(double lr, double beta1, double beta2, double epsilon, int64_t step) {
  CheckFinite({{"lr", lr}, {"beta1", beta1}, {"beta2", beta2}, {"epsilon", epsilon}});
  return {Adam(lr, beta1, beta2, epsilon, Power(beta1, step), Power(beta2, step)),
          {{"adam/m", 0, 0.0f}, {"adam/v", 0, 0.0f}}};
}

StepRule MakeAdamW(double lr, double weight_decay, double beta1, double beta2, double epsilon, int64_t step) {
  CheckFinite({{"lr", lr}, {"weight_decay", weight_decay}, {"beta1", beta1}, {"beta2", beta2}, {"epsilon", epsilon}});
  return {AdamW(lr, beta1, beta2, epsilon, Power(beta1, step), Power(beta2, step), weight_decay),
          {{"adamw/m", 0, 0.0f}, {"adamw/v", 0, 0.0f}}};
}

StepRule MakeFtrl(double lr, double l1, double l2, double l2_shrinkage, double lr_power, double initial_accumulator,
                  bool group_l1) {
  CheckFinite({{"lr", lr},
               {"l1", l1},
               {"l2", l2},
               {"l2_shrinkage", l2_shrinkage},
               {"lr_power", lr_power},
               {"initial_accumulator", initial_accumulator}});
  if (lr <= 0) throw py::value_error("lr: FTRL divides by it; expected a number > 0, received " + std::to_string(lr));
  return {Ftrl(lr, l1, l2, l2_shrinkage, lr_power, group_l1),
          {{"ftrl/accumulator", 0, static_cast<float>(initial_accumulator)}, {"ftrl/linear", 0, 0.0f}}};
}

void DefineTypes(py::module_& m) {
  py::class_<SlotSpec>(m, "SlotSpec", R"(One optimizer slot of every row.

Args:
  name: str. Unique within a variable, e.g. "adagrad/accumulator".
  dim: int, from 1 to the variable's dim; 0, the default, is the variable's dim.
  initial: float, default 0.0. Every element of the slot of a row that has just been inserted.

Example:
  >>> SlotSpec("adagrad/accumulator", initial=0.5)
  SlotSpec(name='adagrad/accumulator', dim=0, initial=0.5)
)")
      .def(py::init<std::string, int64_t, float>(), py::arg("name"), py::arg("dim") = 0, py::arg("initial") = 0.0f)
      .def_readonly("name", &SlotSpec::name)
      .def_readonly("dim", &SlotSpec::dim)
      .def_readonly("initial", &SlotSpec::initial)
      .def("__eq__", [](const SlotSpec& a,
                        const SlotSpec& b) { return a.name == b.name && a.dim == b.dim && a.initial == b.initial; })
      .def("__repr__", &ToString);

  py::class_<StepRule>(m, "UpdateRule",
                       R"(One step of an optimizer with its hyperparameters, for EmbeddingVariable.apply.

Made by sgd, momentum, adagrad, adagrad_decay, row_wise_adagrad, rms_prop, adam, adamw and ftrl. Cheap: make one per step when a hyperparameter changes.

Attributes:
  name: str. The optimizer, e.g. "adagrad".
  slots: list of SlotSpec. The slots it keeps in each row; dim 0 stands for the variable's dim.
)")
      .def_property_readonly("name", [](const StepRule& rule) { return std::string(rule.rule.name); })
      .def_readonly("slots", &StepRule::slots)
      .def("__repr__", [](const StepRule& rule) { return "<UpdateRule " + std::string(rule.rule.name) + ">"; });
}

void DefineFirstOrderRules(py::module_& m) {
  m.def("sgd", &MakeSgd, py::arg("lr"), R"(Stochastic gradient descent: value -= lr * grad. No slots.

Args:
  lr: float, finite. Learning rate.

Raises:
  ValueError: lr is not finite.

Example:
  >>> sgd(0.5).slots
  []
)");
  m.def("momentum", &MakeMomentum, py::arg("lr"), py::arg("momentum") = 0.9, py::arg("nesterov") = false,
        R"(Momentum: m = momentum * m + grad; value -= lr * m. One slot, m.

Args:
  lr: float, finite. Learning rate.
  momentum: float, finite, default 0.9.
  nesterov: bool, default False. The step becomes lr * (grad + momentum * m).

Raises:
  ValueError: an argument is not finite.

Source: as tf.compat.v1.train.MomentumOptimizer.
Example:
  >>> momentum(0.1).slots
  [SlotSpec(name='momentum/momentum', dim=0, initial=0.0)]
)");
  m.def("adagrad", &MakeAdagrad, py::arg("lr"), py::arg("initial_accumulator") = 0.1, py::arg("epsilon") = 0.0,
        R"(Adagrad: a += grad ** 2; value -= lr * grad / sqrt(a + epsilon). One slot, a.

Args:
  lr: float, finite. Learning rate.
  initial_accumulator: float, default 0.1. The slot a of a new row; > 0 unless epsilon is.
  epsilon: float, default 0.0.

Raises:
  ValueError: an argument is not finite, or initial_accumulator + epsilon is not > 0.

Source: Duchi, Hazan, Singer, JMLR 12 (2011), diagonal form; epsilon 0 is tf.compat.v1.train.AdagradOptimizer.
Example:
  >>> adagrad(0.1, initial_accumulator=0.5).slots
  [SlotSpec(name='adagrad/accumulator', dim=0, initial=0.5)]
)");
}

void DefineAdagradRelatives(py::module_& m) {
  m.def(
      "adagrad_decay", &MakeAdagradDecay, py::arg("lr"), py::arg("step"), py::arg("initial_accumulator") = 0.1,
      py::arg("decay_step") = 100000, py::arg("decay_rate") = 0.9,
      R"(Adagrad whose accumulator shrinks once a period. Two slots: a, and one float that counts how often a row shrank.

If a row has shrunk less often than periods have ended, a = max(a * decay_rate, initial_accumulator); then a step of adagrad.

Args:
  lr: float, finite. Learning rate.
  step: int, 0 or more. The step of the training.
  initial_accumulator: float, > 0, default 0.1. The slot a of a new row, and the least it shrinks to.
  decay_step: int, 1 or more, default 100000. Steps of a period.
  decay_rate: float, default 0.9.

Raises:
  ValueError: an argument is not finite or out of its range.

Source: DeepRec's AdagradDecayOptimizer.
Example:
  >>> [slot.dim for slot in adagrad_decay(0.1, step=250, decay_step=100).slots]
  [0, 1]
)");
  m.def(
      "row_wise_adagrad", &MakeRowWiseAdagrad, py::arg("lr"), py::arg("initial_accumulator") = 0.1,
      py::arg("epsilon") = 1e-8,
      R"(Adagrad with one accumulator a row: a += mean(grad ** 2); value -= lr * grad / (sqrt(a) + epsilon). One slot, one float.

Args:
  lr: float, finite. Learning rate.
  initial_accumulator: float, >= 0, default 0.1. The slot of a new row.
  epsilon: float, >= 0, default 1e-8. Added to the root; > 0 if initial_accumulator is 0.

Raises:
  ValueError: an argument is not finite or out of its range.

Source: Mudigere et al., ISCA 2022; FBGEMM's EXACT_ROWWISE_ADAGRAD.
Example:
  >>> row_wise_adagrad(0.1).slots
  [SlotSpec(name='row_wise_adagrad/accumulator', dim=1, initial=0.10000000149011612)]
)");
  m.def("rms_prop", &MakeRmsProp, py::arg("lr"), py::arg("decay") = 0.9, py::arg("momentum") = 0.0,
        py::arg("epsilon") = 1e-10, py::arg("centered") = false, py::arg("initial_rms") = 1.0,
        R"(RMSProp: rms = decay * rms + (1 - decay) * grad ** 2; value -= lr * grad / sqrt(rms + epsilon).

Slots: rms; mg, the mean of gradients, if centered; momentum unless that is 0.

Args:
  lr: float, finite. Learning rate.
  decay: float, default 0.9.
  momentum: float, default 0.0. Otherwise mom = momentum * mom + step; value -= mom.
  epsilon: float, default 1e-10. Added under the root.
  centered: bool, default False. Divides by sqrt(rms - mg ** 2 + epsilon).
  initial_rms: float, default 1.0, which is TensorFlow 1's; Keras starts at 0.

Raises:
  ValueError: an argument is not finite, or initial_rms + epsilon is not > 0.

Source: Hinton, Coursera lecture 6e (2012); centered: Graves, arXiv:1308.0850. As tf.compat.v1.train.RMSPropOptimizer.
Example:
  >>> [slot.name for slot in rms_prop(0.1, momentum=0.9).slots]
  ['rms_prop/rms', 'rms_prop/momentum']
)");
}

void DefineAdaptiveRules(py::module_& m) {
  m.def("adam", &MakeAdam, py::arg("lr"), py::arg("beta1") = 0.9, py::arg("beta2") = 0.999, py::arg("epsilon") = 1e-8,
        py::arg("step") = 1, R"(Adam on the rows that the batch names; other rows do not move. Two slots, m and v.

Args:
  lr: float, finite. Learning rate.
  beta1: float, default 0.9. Decay of the mean of gradients.
  beta2: float, default 0.999. Decay of the mean of squared gradients.
  epsilon: float, default 1e-8. Added to sqrt(v).
  step: int, 1 or more, default 1. How many steps the optimizer has made, this one included: corrects the bias of m, v.

Raises:
  ValueError: a float is not finite, or step is below 1.

Source: Kingma, Ba, ICLR 2015, the epsilon-hat form of section 2, as tf.compat.v1.train.AdamOptimizer on the touched rows.
Example:
  >>> [slot.name for slot in adam(0.001, step=7).slots]
  ['adam/m', 'adam/v']
)");
  m.def("adamw", &MakeAdamW, py::arg("lr"), py::arg("weight_decay"), py::arg("beta1") = 0.9, py::arg("beta2") = 0.999,
        py::arg("epsilon") = 1e-8, py::arg("step") = 1,
        R"(Adam with decoupled weight decay: value -= weight_decay * value, then a step of adam. Two slots, m and v.

Args:
  lr, beta1, beta2, epsilon, step: as for adam.
  weight_decay: float, finite. The whole coefficient; Keras multiplies its own by lr.

Raises:
  ValueError: a float is not finite, or step is below 1.

Source: Loshchilov, Hutter, ICLR 2019; only rows that the batch names decay.
Example:
  >>> [slot.name for slot in adamw(0.001, weight_decay=1e-5).slots]
  ['adamw/m', 'adamw/v']
)");
  m.def("ftrl", &MakeFtrl, py::arg("lr"), py::arg("l1") = 0.0, py::arg("l2") = 0.0, py::arg("l2_shrinkage") = 0.0,
        py::arg("lr_power") = -0.5, py::arg("initial_accumulator") = 0.1, py::arg("group_l1") = false,
        R"(FTRL-proximal. Two slots, accumulator and linear.

Args:
  lr: float, > 0. Learning rate.
  l1: float, default 0.0. Strength of the l1 penalty, on each element.
  l2: float, default 0.0. Strength of the l2 penalty.
  l2_shrinkage: float, default 0.0. l2 penalty on the magnitude alone: added to the gradient, not to the accumulator.
  lr_power: float, default -0.5. How the learning rate falls with the accumulator.
  initial_accumulator: float, default 0.1. The accumulator of a new row.
  group_l1: bool, default False. The l1 penalty is on the norm of each row: rows become zero as a whole.

Raises:
  ValueError: an argument is not finite, or lr is not > 0.

Source: McMahan et al., KDD 2013, as tf.compat.v1.train.FtrlOptimizer.
Example:
  >>> ftrl(0.1, l1=0.01).slots[1].name
  'ftrl/linear'
)");
}

}  // namespace

std::string ToString(const SlotSpec& slot) {
  return "SlotSpec(name=" + std::string(py::repr(py::str(slot.name))) + ", dim=" + std::to_string(slot.dim) +
         ", initial=" + std::string(py::str(py::float_(slot.initial))) + ")";
}

void DefineRules(py::module_& m) {
  DefineTypes(m);
  DefineFirstOrderRules(m);
  DefineAdagradRelatives(m);
  DefineAdaptiveRules(m);
}

}  // namespace ev::python
