// Stochastic gradient descent:  value -= lr * grad.   No slots.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kSgdSlots = {};

UpdateRule Sgd(float lr);

}  // namespace ev
