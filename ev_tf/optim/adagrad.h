// Adagrad (Duchi, Hazan, Singer, JMLR 12, 2011), diagonal form:
//   a += grad^2;   value -= lr * grad / sqrt(a + epsilon)
// Slots: a.  tf.compat.v1.train.AdagradOptimizer is epsilon = 0 with a > 0 from the start; Keras gives an epsilon.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kAdagradSlots = {1, {SlotWidth::kElement}};

UpdateRule Adagrad(float lr, float epsilon);

}  // namespace ev
