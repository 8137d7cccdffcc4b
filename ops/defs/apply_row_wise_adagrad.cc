// Adagrad with one accumulator a row; the rule stands in ev_tf/optim/row_wise_adagrad.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyRowWiseAdagrad =
    RegisterApply({"RowWiseAdagrad",
                   "row-wise Adagrad",
                   {{"lr: float", kLearningRateDoc}, {"epsilon: float", kNonNegativeDoc}},
                   {"accumulator (one float a row)"}});

}  // namespace ev::defs
