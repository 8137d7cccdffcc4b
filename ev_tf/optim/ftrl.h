// FTRL-proximal (McMahan et al., KDD 2013) as tf.compat.v1.train.FtrlOptimizer:
//   a' = a + grad^2
//   linear += grad + 2 * l2_shrinkage * value - (a'^-lr_power - a^-lr_power) / lr * value
//   value = |linear| > l1 ? (sign(linear) * l1 - linear) / (a'^-lr_power / lr + 2 * l2) : 0;   a = a'
// lr_power = -0.5 is the paper's and has the vector kernel.  Slots: a, linear.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

UpdateRule Ftrl(float lr, float l1, float l2, float l2_shrinkage, float lr_power);

}  // namespace ev
