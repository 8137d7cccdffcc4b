#include "python/engine_module/rules.h"

#include <pybind11/stl.h>

#include <cmath>
#include <initializer_list>
#include <utility>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/adamw.h"
#include "ev_tf/optim/ftrl.h"
#include "ev_tf/optim/momentum.h"
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

StepRule MakeFtrl(double lr, double l1, double l2, double l2_shrinkage, double lr_power, double initial_accumulator) {
  CheckFinite({{"lr", lr},
               {"l1", l1},
               {"l2", l2},
               {"l2_shrinkage", l2_shrinkage},
               {"lr_power", lr_power},
               {"initial_accumulator", initial_accumulator}});
  if (lr <= 0) throw py::value_error("lr: FTRL divides by it; expected a number > 0, received " + std::to_string(lr));
  return {Ftrl(lr, l1, l2, l2_shrinkage, lr_power),
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

Made by sgd, momentum, adagrad, adam, adamw and ftrl. Cheap: make one per step when a hyperparameter changes.

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
        py::arg("lr_power") = -0.5, py::arg("initial_accumulator") = 0.1,
        R"(FTRL-proximal. Two slots, accumulator and linear.

Args:
  lr: float, > 0. Learning rate.
  l1: float, default 0.0. Strength of the l1 penalty, on each element.
  l2: float, default 0.0. Strength of the l2 penalty.
  l2_shrinkage: float, default 0.0. l2 penalty on the magnitude alone: added to the gradient, not to the accumulator.
  lr_power: float, default -0.5. How the learning rate falls with the accumulator.
  initial_accumulator: float, default 0.1. The accumulator of a new row.

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
  DefineAdaptiveRules(m);
}

}  // namespace ev::python
