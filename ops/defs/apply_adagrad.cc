// Adagrad; the rule stands in ev_tf/optim/adagrad.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyAdagrad = RegisterApply(
    {"Adagrad", "Adagrad", {{"lr: float", kLearningRateDoc}, {"epsilon: float", kNonNegativeDoc}}, {"accumulator"}});

}  // namespace ev::defs
