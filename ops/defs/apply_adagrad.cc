// Adagrad; the rule stands in ev_tf/optim/adagrad.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyAdagrad =
    RegisterApply({"EvApplyAdagrad",
                   "Adagrad",
                   {{"lr: float", kLearningRateDoc}, {"epsilon: float", kNonNegativeDoc}},
                   {"accumulator"}});

}  // namespace ev::defs
