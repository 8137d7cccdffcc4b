// RMSProp; the rule stands in ev_tf/optim/rms_prop.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyRmsProp =
    RegisterApply({"RmsProp",
                   "RMSProp",
                   {{"lr: float", kLearningRateDoc},
                    {"decay: float", "scalar, in [0, 1]."},
                    {"momentum: float", "scalar, finite, >= 0; not read without with_momentum."},
                    {"epsilon: float", kNonNegativeDoc}},
                   {"rms", "[mg, if centered]", "[momentum, if with_momentum]"},
                   {{"centered: bool = false", "divides by the deviation of the gradient from its mean."},
                    {"with_momentum: bool = false", "steps are summed up with momentum."}}});

}  // namespace ev::defs
