#include "ops/bridge/variable_resource.h"

namespace ev::bridge {

using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;

std::string VariableResource::DebugString() const {
  const Variable v = variable();
  return absl::StrCat("EmbeddingVariable '", v->options().name, "': ", v->size(), " rows x ", v->dim());
}

int64_t VariableResource::MemoryUsed() const {
  const VariableMetrics m = variable()->metrics();
  return m.row_pool_bytes + m.index_bytes + m.meta_bytes;
}

namespace {

absl::Status FindHandle(OpKernelContext* ctx, int index, const ResourceHandle** handle) {
  const Tensor& tensor = ctx->input(index);
  if (tensor.dtype() != tensorflow::DT_RESOURCE || tensor.NumElements() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("input ", index, ": expected the handle of one embedding variable, found a tensor of ",
                     tensor.NumElements(), " elements"));
  }
  *handle = &tensor.flat<ResourceHandle>()(0);
  return absl::OkStatus();
}

}  // namespace

absl::Status GetHandle(OpKernelContext* ctx, int index, ResourceHandle* handle) {
  const ResourceHandle* found = nullptr;
  TF_RETURN_IF_ERROR(FindHandle(ctx, index, &found));
  *handle = *found;
  return absl::OkStatus();
}

absl::Status GetVariable(OpKernelContext* ctx, int index, Variable* variable) {
  const ResourceHandle* handle = nullptr;
  TF_RETURN_IF_ERROR(FindHandle(ctx, index, &handle));
  tensorflow::core::RefCountPtr<VariableResource> resource;
  const absl::Status status = tensorflow::LookupResource(ctx, *handle, &resource);
  if (absl::IsNotFound(status)) {
    return absl::FailedPreconditionError(
        absl::StrCat("EmbeddingVariable '", handle->name(),
                     "' is not initialized: run its initializer first, for example "
                     "session.run(tf.compat.v1.global_variables_initializer()), or restore a checkpoint"));
  }
  TF_RETURN_IF_ERROR(status);
  *variable = resource->variable();
  return absl::OkStatus();
}

absl::Status GetVariable(OpKernelContext* ctx, int index, int64_t dim, Variable* variable) {
  TF_RETURN_IF_ERROR(GetVariable(ctx, index, variable));
  if ((*variable)->dim() == dim) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("EmbeddingVariable '", (*variable)->options().name,
                                                 "': dim: expected ", dim, " by this op, found ", (*variable)->dim(),
                                                 " in the variable"));
}

Variable FindVariable(OpKernelContext* ctx, const ResourceHandle& handle, int64_t dim) {
  tensorflow::core::RefCountPtr<VariableResource> resource;
  if (!tensorflow::LookupResource(ctx, handle, &resource).ok()) return nullptr;
  Variable variable = resource->variable();
  return variable->dim() == dim ? variable : nullptr;
}

absl::Status PutVariable(OpKernelContext* ctx, const ResourceHandle& handle, Variable variable) {
  tensorflow::core::RefCountPtr<VariableResource> resource;
  TF_RETURN_IF_ERROR(
      tensorflow::LookupOrCreateResource<VariableResource>(ctx, handle, &resource, [&](VariableResource** made) {
        *made = new VariableResource(variable);
        return absl::OkStatus();
      }));
  resource->Replace(std::move(variable));
  return absl::OkStatus();
}

}  // namespace ev::bridge
