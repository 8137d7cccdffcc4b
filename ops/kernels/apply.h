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

// Which values of a hyperparameter make sense.
enum class Range {
  kNonNegative,  // finite, >= 0
  kPositive,     // finite, > 0
  kBelowOne,     // [0, 1)
  kUpToOne,      // [0, 1]
  kNonPositive,  // finite, <= 0
};

// Reads the hyperparameters of a step: scalar inputs, one after another from the one behind the handle.  The first that is
// not a scalar or not in its range makes the status: InvalidArgument that names it and its value.
class HyperReader {
 public:
  explicit HyperReader(tensorflow::OpKernelContext* ctx) : ctx_(ctx) {}

  // `what` is the name in the message.  After an error some legal value.
  float Float(const char* what, Range range);
  int64_t Int64(const char* what, int64_t least);

  const absl::Status& status() const { return status_; }
  // Index of the input behind those that were read.
  int next() const { return next_; }

 private:
  tensorflow::OpKernelContext* const ctx_;
  int next_ = 1;
  absl::Status status_;
};

// Inputs: handle, the optimizer's hyperparameters, grad, keys, global_step.
class ApplyOp : public tensorflow::OpKernel {
 public:
  ApplyOp(tensorflow::OpKernelConstruction* ctx, const SlotWidths& slots);
  void Compute(tensorflow::OpKernelContext* ctx) final;

 protected:
  // Reads all hyperparameters of this step.
  virtual UpdateRule MakeRule(HyperReader* read) const = 0;

 private:
  absl::Status Apply(tensorflow::OpKernelContext* ctx) const;

  int64_t dim_ = 0;
  std::vector<SlotSpec> slots_;
};

// A boolean attribute; false if it is missing, which fails the construction.
bool BoolAttr(tensorflow::OpKernelConstruction* ctx, const char* name);

}  // namespace ev::kernels
