// What every EvApply* kernel shares: one optimizer step on the rows of a batch.
#pragma once

#include <vector>

#include "ev_tf/optim/optimizer.h"
#include "ev_tf/row/row_layout.h"
#include "ops/bridge/batch.h"
#include "ops/bridge/status.h"
#include "ops/kernels/register.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::kernels {

// Inputs: handle, the optimizer's hyperparameters, grad, keys, global_step.
class ApplyOp : public tensorflow::OpKernel {
 public:
  // `grad_input` is the index of grad: the number of hyperparameters + 1.
  ApplyOp(tensorflow::OpKernelConstruction* ctx, int slots, int grad_input);
  void Compute(tensorflow::OpKernelContext* ctx) final;

 protected:
  static constexpr int kHandle = 0;
  static constexpr int kFirstHyper = 1;

  // Reads and checks the hyperparameters of this step.
  virtual absl::Status MakeRule(tensorflow::OpKernelContext* ctx, UpdateRule* rule) const = 0;

 private:
  absl::Status Apply(tensorflow::OpKernelContext* ctx) const;

  int64_t dim_ = 0;
  std::vector<SlotSpec> slots_;
  const int grad_input_;
};

// Which values of a hyperparameter make sense.
enum class Range {
  kNonNegative,  // finite, >= 0
  kPositive,     // finite, > 0
  kBelowOne,     // [0, 1)
  kNonPositive,  // finite, <= 0
};

// Reads the scalar input `index`.  InvalidArgument, naming `what` and the value, if it is not in `range`.
absl::Status ReadHyper(tensorflow::OpKernelContext* ctx, int index, const char* what, Range range, float* value);

}  // namespace ev::kernels
