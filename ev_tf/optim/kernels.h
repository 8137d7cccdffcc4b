// The row kernels of one instruction set, chosen once at run time.  All sets compute the same bits: no operation is fused,
// and square root and division are exact to the last bit.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

struct RowKernels {
  UpdateRowFn sgd;
  UpdateRowFn momentum;
  UpdateRowFn momentum_nesterov;
  UpdateRowFn adagrad;
  UpdateRowFn adagrad_decay;
  UpdateRowFn row_wise_adagrad;
  UpdateRowFn adam;
  UpdateRowFn adamw;
  UpdateRowFn ftrl;              // lr_power = -0.5
  UpdateRowFn ftrl_power;        // any lr_power
  UpdateRowFn ftrl_group;        // l1 on the norm of the row; lr_power = -0.5
  UpdateRowFn ftrl_group_power;  // l1 on the norm of the row; any lr_power
  UpdateRowFn rms_prop;
  UpdateRowFn rms_prop_momentum;
  UpdateRowFn rms_prop_centered;
  UpdateRowFn rms_prop_centered_momentum;
  // sum[0, n) += addend[0, n)
  void (*add)(float* sum, const float* addend, int64_t n);
};

const RowKernels& Kernels();

}  // namespace ev
