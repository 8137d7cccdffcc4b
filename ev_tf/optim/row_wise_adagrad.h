// Adagrad with one accumulator for the whole row (Mudigere et al., ISCA 2022; FBGEMM's EXACT_ROWWISE_ADAGRAD): a slot of
// one float instead of dim.
//   a += mean(grad^2);   value -= lr * grad / (sqrt(a) + epsilon)
// The sum of squares is made in sixteen lanes, lane j of the elements j, j + 16, ..., and the lanes are added in halves: the
// same bits on every instruction set.
// Slots: a (one float a row).
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kRowWiseAdagradSlots = {1, {SlotWidth::kRow}};

UpdateRule RowWiseAdagrad(float lr, float epsilon);

}  // namespace ev
