// Lazy Adam; the rule stands in ev_tf/optim/adam.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyAdam = RegisterApply({"Adam",
                                                        "lazy Adam",
                                                        {{"lr: float", kLearningRateDoc},
                                                         {"beta1: float", kBelowOneDoc},
                                                         {"beta2: float", kBelowOneDoc},
                                                         {"epsilon: float", kNonNegativeDoc},
                                                         {"beta1_power: float", kBetaPowerDoc},
                                                         {"beta2_power: float", kBetaPowerDoc}},
                                                        {"m", "v"}});

}  // namespace ev::defs
