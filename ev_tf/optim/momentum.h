// Momentum (Polyak, 1964; the Nesterov form of Sutskever et al., ICML 2013), as tf.compat.v1.train.MomentumOptimizer:
//   m = momentum * m + grad;   value -= lr * m                              plain
//   m = momentum * m + grad;   value -= lr * grad + lr * momentum * m       nesterov
// Slots: m.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kMomentumSlots = {1, {SlotWidth::kElement}};

UpdateRule Momentum(float lr, float momentum, bool nesterov);

}  // namespace ev
