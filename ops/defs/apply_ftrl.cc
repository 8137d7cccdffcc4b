// FTRL-proximal; the rule stands in ev_tf/optim/ftrl.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyFtrl = RegisterApply(
    {"Ftrl",
     "FTRL-proximal",
     {{"lr: float", "scalar, finite, > 0."},
      {"l1: float", kNonNegativeDoc},
      {"l2: float", kNonNegativeDoc},
      {"l2_shrinkage: float", kNonNegativeDoc},
      {"lr_power: float", "scalar, finite, <= 0."}},
     {"accumulator", "linear"},
     {{"group_l1: bool = false", "l1 is a penalty on the norm of each row instead of on each element."}}});

}  // namespace ev::defs
