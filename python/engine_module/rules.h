// The optimizers as Python functions: each makes an UpdateRule, one step of an optimizer with its hyperparameters.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "ev_tf/optim/optimizer.h"
#include "ev_tf/row/row_layout.h"

namespace ev::python {

// A rule and the slots it uses unless the caller names others.
struct StepRule {
  UpdateRule rule;
  std::vector<SlotSpec> slots;  // dim 0: the variable's dim
};

std::string ToString(const SlotSpec& slot);

// Adds SlotSpec, UpdateRule and the functions that make rules (sgd, momentum, adagrad, ...) to the module.
void DefineRules(pybind11::module_& m);

}  // namespace ev::python
