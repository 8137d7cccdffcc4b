// Adam (Kingma, Ba, ICLR 2015) in the epsilon-hat form of its section 2, which is TensorFlow's, lazy: only rows that the
// batch names move.
//   alpha = lr * sqrt(1 - beta2_power) / (1 - beta1_power)
//   m += (grad - m) * (1 - beta1);   v += (grad^2 - v) * (1 - beta2);   value -= alpha * m / (sqrt(v) + epsilon)
// Slots: m, v.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kAdamSlots = {2, {SlotWidth::kElement, SlotWidth::kElement}};

// beta1_power and beta2_power: beta1^t and beta2^t of step t, t from 1.
UpdateRule Adam(float lr, float beta1, float beta2, float epsilon, float beta1_power, float beta2_power);

}  // namespace ev
