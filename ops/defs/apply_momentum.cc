// Momentum; the rule stands in ev_tf/optim/momentum.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyMomentum =
    RegisterApply({"Momentum",
                   "momentum",
                   {{"lr: float", kLearningRateDoc}, {"momentum: float", kNonNegativeDoc}},
                   {"momentum"},
                   {{"use_nesterov: bool = false", "the form of Sutskever et al."}}});

}  // namespace ev::defs
