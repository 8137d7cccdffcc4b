// RMSProp (Hinton, Coursera lecture 6e, 2012), as tf.compat.v1.train.RMSPropOptimizer and Keras's RMSprop:
//   ms = decay * ms + (1 - decay) * grad^2
//   step = lr * grad / sqrt(ms + epsilon)                                   plain
//   mg = decay * mg + (1 - decay) * grad;  step = lr * grad / sqrt(ms - mg^2 + epsilon)      centered (Graves, 2013)
//   value -= step                                                           without momentum
//   mom = momentum * mom + step;  value -= mom                              with momentum
// Slots: ms, then mg if centered, then mom with momentum.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

constexpr SlotWidths RmsPropSlots(bool centered, bool with_momentum) {
  return {1 + (centered ? 1 : 0) + (with_momentum ? 1 : 0),
          {SlotWidth::kElement, SlotWidth::kElement, SlotWidth::kElement}};
}

// `momentum` is not read without `with_momentum`.
UpdateRule RmsProp(float lr, float decay, float momentum, float epsilon, bool centered, bool with_momentum);

}  // namespace ev
