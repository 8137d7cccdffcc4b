#include <memory>
#include <string>
#include <vector>

#include "ops/bridge/batch.h"
#include "ops/bridge/feature_attrs.h"
#include "ops/bridge/storage_attrs.h"
#include "ops/bridge/variable_resource.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;

// Gives the same handle at every step, so it is made once.
class HandleOp final : public tensorflow::OpKernel {
 public:
  explicit HandleOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::string container, shared_name;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("container", &container));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("shared_name", &shared_name));
    int64_t dim = 0;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &dim));
    tensorflow::AllocatorAttributes on_host;
    on_host.set_on_host(true);
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_RESOURCE, tensorflow::TensorShape({}), &handle_, on_host));
    handle_.scalar<ResourceHandle>()() = tensorflow::MakeResourceHandle<bridge::VariableResource>(
        ctx, container, shared_name.empty() ? std::string(name()) : shared_name,
        std::vector<tensorflow::DtypeAndPartialTensorShape>{
            {tensorflow::DT_FLOAT, tensorflow::PartialTensorShape({0, dim})}});
  }

  void Compute(OpKernelContext* ctx) override { ctx->set_output(0, handle_); }

 private:
  Tensor handle_;
};

class InitializeOp final : public tensorflow::OpKernel {
 public:
  explicit InitializeOp(OpKernelConstruction* ctx) : OpKernel(ctx), storage_(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("variable_name", &options_.name));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("record_frequency", &options_.record_frequency));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("record_version", &options_.record_version));
    bridge::ReadFeatureAttrs(ctx, &options_);
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Initialize(ctx); });
  }

 private:
  enum Input { kHandle, kDefaultRows };

  absl::Status Initialize(OpKernelContext* ctx) const {
    ResourceHandle handle;
    TF_RETURN_IF_ERROR(bridge::GetHandle(ctx, kHandle, &handle));
    const Tensor& default_rows = ctx->input(kDefaultRows);
    TF_RETURN_IF_ERROR(bridge::CheckMatrix(default_rows, "default_rows", -1, -1));
    tensorflow::core::RefCountPtr<bridge::VariableResource> resource;
    return tensorflow::LookupOrCreateResource<bridge::VariableResource>(
        ctx, handle, &resource, [&](bridge::VariableResource** created) {
          VariableOptions options = options_;
          options.dim = default_rows.dim_size(1);
          if (options.name.empty()) options.name = handle.name();
          TF_RETURN_IF_ERROR(storage_.Make(&options.storage));
          std::unique_ptr<EmbeddingVariable> variable;
          TF_RETURN_IF_ERROR(
              bridge::ToTf(EmbeddingVariable::Create(options, bridge::AsSpan<float>(default_rows), &variable)));
          *created = new bridge::VariableResource(std::move(variable));
          return absl::OkStatus();
        });
  }

  VariableOptions options_;
  const bridge::StorageAttrs storage_;
};

REGISTER_KERNEL_BUILDER(Name("EvHandleOp").Device(tensorflow::DEVICE_CPU), HandleOp);
REGISTER_KERNEL_BUILDER(Name("EvInitialize").Device(tensorflow::DEVICE_CPU), InitializeOp);
REGISTER_KERNEL_BUILDER(Name("EvIsInitialized").Device(tensorflow::DEVICE_CPU),
                        tensorflow::IsResourceInitialized<bridge::VariableResource>);

}  // namespace
}  // namespace ev::kernels
