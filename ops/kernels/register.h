// Registration of kernels that take keys.
#pragma once

#include "tensorflow/core/framework/op_kernel.h"

// Registers `Kernel` for `Op` with both key types.
#define EV_REGISTER_KEYED_KERNEL(Op, Kernel)                                                                \
  REGISTER_KERNEL_BUILDER(Name(Op).Device(tensorflow::DEVICE_CPU).TypeConstraint<int32_t>("Tkey"), Kernel); \
  REGISTER_KERNEL_BUILDER(Name(Op).Device(tensorflow::DEVICE_CPU).TypeConstraint<int64_t>("Tkey"), Kernel)
