// Stochastic gradient descent; the rule stands in ev_tf/optim/sgd.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplySgd =
    RegisterApply({"Sgd", "gradient descent", {{"lr: float", kLearningRateDoc}}, {}});

}  // namespace ev::defs
