// Adagrad with a decaying accumulator; the rule stands in ev_tf/optim/adagrad_decay.h.
#include "ops/defs/apply.h"

namespace ev::defs {

[[maybe_unused]] const auto kApplyAdagradDecay =
    RegisterApply({"AdagradDecay",
                   "Adagrad whose accumulator decays once a period",
                   {{"lr: float", kLearningRateDoc},
                    {"decay_rate: float", kBelowOneDoc},
                    {"baseline: float", "scalar, finite, > 0; the accumulator does not decay below it."},
                    {"step: int64", "scalar, >= 0, the step of the training."},
                    {"decay_step: int64", "scalar, >= 1, steps of a period."}},
                   {"accumulator", "accumulator_decay_power (one float a row)"}});

}  // namespace ev::defs
