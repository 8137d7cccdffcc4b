// FTRL-proximal (McMahan et al., KDD 2013) as tf.compat.v1.train.FtrlOptimizer:
//   a' = a + grad^2
//   linear += grad + 2 * l2_shrinkage * value - (a'^-lr_power - a^-lr_power) / lr * value
//   value = |linear| > l1 ? (sign(linear) * l1 - linear) / (a'^-lr_power / lr + 2 * l2) : 0;   a = a'
// With group_l1 the l1 penalty is on the norm of the row, so that a row is zero as a whole or not at all (group lasso, as
// DeepRec's FTRL on embedding variables):
//   value = ||linear|| > l1 ? (l1 / ||linear|| - 1) * linear / (a'^-lr_power / lr + 2 * l2) : 0
// lr_power = -0.5 is the paper's and has the vector kernel.  Slots: a, linear.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kFtrlSlots = {2, {SlotWidth::kElement, SlotWidth::kElement}};

UpdateRule Ftrl(float lr, float l1, float l2, float l2_shrinkage, float lr_power, bool group_l1);

}  // namespace ev
