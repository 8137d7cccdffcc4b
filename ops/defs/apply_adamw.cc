// Lazy Adam with decoupled weight decay; the rule stands in ev_tf/optim/adamw.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyAdamW =
    RegisterApply({"AdamW",
                   "lazy Adam with decoupled weight decay",
                   {{"lr: float", kLearningRateDoc},
                    {"beta1: float", kBelowOneDoc},
                    {"beta2: float", kBelowOneDoc},
                    {"epsilon: float", kNonNegativeDoc},
                    {"beta1_power: float", kBetaPowerDoc},
                    {"beta2_power: float", kBetaPowerDoc},
                    {"weight_decay: float", "scalar, finite, >= 0, the whole factor of this step."}},
                   {"m", "v"}});

}  // namespace ev::defs
