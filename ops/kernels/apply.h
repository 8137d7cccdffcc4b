// What every EvApply* and EvGroupApply* kernel shares: one optimizer step on the rows of a batch, or of a batch for each of
// many variables.
#pragma once

#include <atomic>
#include <vector>

#include "ev_tf/optim/optimizer.h"
#include "ev_tf/row/row_layout.h"
#include "ev_tf/variable/embedding_variable.h"
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

// Reads the hyperparameters of a step: scalar inputs, one after another from the one behind the handles.  The first that is
// not a scalar or not in its range makes the status: InvalidArgument that names it and its value.
class HyperReader {
 public:
  HyperReader(tensorflow::OpKernelContext* ctx, int first) : ctx_(ctx), next_(first) {}

  // `what` is the name in the message.  After an error some legal value.
  float Float(const char* what, Range range);
  int64_t Int64(const char* what, int64_t least);

  const absl::Status& status() const { return status_; }
  // Index of the input behind those that were read.
  int next() const { return next_; }

 private:
  tensorflow::OpKernelContext* const ctx_;
  int next_;
  absl::Status status_;
};

// Inputs: handles, the optimizer's hyperparameters, grads, keys, global_step; one handle, gradient and tensor of keys for each
// table, of which EvApply* has one.
class ApplyOp : public tensorflow::OpKernel {
 public:
  ApplyOp(tensorflow::OpKernelConstruction* ctx, const SlotWidths& slots);
  void Compute(tensorflow::OpKernelContext* ctx) final;

 protected:
  // Reads all hyperparameters of this step.
  virtual UpdateRule MakeRule(HyperReader* read) const = 0;

 private:
  void ReadSlots(tensorflow::OpKernelConstruction* ctx, const SlotWidths& slots);
  absl::Status Apply(tensorflow::OpKernelContext* ctx) const;
  // Warns, once for a variable, of slots that its rows do not have: they start from their initial values.
  void SayNewSlots(size_t table, const EmbeddingVariable& variable) const;

  std::vector<int64_t> dims_;                 // of each table
  std::vector<std::vector<SlotSpec>> slots_;  // of each table
  // Of each table, the variable of the step before.
  mutable std::vector<std::atomic<const EmbeddingVariable*>> seen_;
};

// A boolean attribute; false if it is missing, which fails the construction.
bool BoolAttr(tensorflow::OpKernelConstruction* ctx, const char* name);

}  // namespace ev::kernels

// Registers `Kernel` for EvApply<Optimizer> and EvGroupApply<Optimizer>.
#define EV_REGISTER_APPLY_KERNEL(Optimizer, Kernel)      \
  EV_REGISTER_KEYED_KERNEL("EvApply" Optimizer, Kernel); \
  EV_REGISTER_KEYED_KERNEL("EvGroupApply" Optimizer, Kernel)
