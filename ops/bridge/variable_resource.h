// The TensorFlow resource that holds one embedding variable of the engine.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "ev_tf/variable/embedding_variable.h"
#include "ops/bridge/status.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"

namespace ev::bridge {

using Variable = std::shared_ptr<EmbeddingVariable>;

// Threads: any.  A step that has taken variable() keeps that engine variable alive, also while a restore puts another
// one in its place.
class VariableResource : public tensorflow::ResourceBase {
 public:
  explicit VariableResource(Variable variable) : variable_(std::move(variable)) {}

  Variable variable() const {
    std::lock_guard<std::mutex> lock(mu_);
    return variable_;
  }
  void Replace(Variable variable) {
    std::lock_guard<std::mutex> lock(mu_);
    variable_.swap(variable);
  }

  std::string DebugString() const override;
  int64_t MemoryUsed() const override;

 private:
  mutable std::mutex mu_;
  Variable variable_;  // guarded by mu_, never null
};

// The handle in input `index`.  InvalidArgument if that is not one scalar handle.
absl::Status GetHandle(tensorflow::OpKernelContext* ctx, int index, tensorflow::ResourceHandle* handle);

// The variable behind input `index`.  FailedPrecondition, with what to run, if it was never initialized.
absl::Status GetVariable(tensorflow::OpKernelContext* ctx, int index, Variable* variable);

// The variable behind input `index` whose rows are `dim` floats.  InvalidArgument if it has another dim.
absl::Status GetVariable(tensorflow::OpKernelContext* ctx, int index, int64_t dim, Variable* variable);

// The variable behind `handle`, if there is one whose rows are `dim` floats; else null.
Variable FindVariable(tensorflow::OpKernelContext* ctx, const tensorflow::ResourceHandle& handle, int64_t dim);

// Puts `variable` behind `handle`, in the place of the one that is there, if there is one.
absl::Status PutVariable(tensorflow::OpKernelContext* ctx, const tensorflow::ResourceHandle& handle, Variable variable);

}  // namespace ev::bridge
