// Adam with decoupled weight decay (Loshchilov, Hutter, ICLR 2019), lazy like adam.h:
//   value -= weight_decay * value, then a step of Adam.
// `weight_decay` is the whole coefficient: Keras multiplies its own by the learning rate, TensorFlow 1's contrib
// optimizers do not.  Slots: m, v.
#pragma once

#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kAdamWSlots = kAdamSlots;

UpdateRule AdamW(float lr, float beta1, float beta2, float epsilon, float beta1_power, float beta2_power,
                 float weight_decay);

}  // namespace ev
