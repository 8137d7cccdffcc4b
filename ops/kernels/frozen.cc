#include <memory>
#include <string>
#include <utility>

#include "ev_tf/variable/checkpoint.h"
#include "ops/bridge/environment.h"
#include "ops/bridge/executor.h"
#include "ops/bridge/load_options.h"
#include "ops/bridge/storage_attrs.h"
#include "ops/bridge/table_file.h"
#include "ops/bridge/variable_resource.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;

enum FrozenInput { kFrozenHandle, kFrozenPath };

absl::Status ReadPath(OpKernelContext* ctx, std::string* path) {
  const tensorflow::Tensor& input = ctx->input(kFrozenPath);
  if (input.dims() != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("path: expected a scalar, found shape ", input.shape().DebugString()));
  }
  return bridge::LocalPrefix(std::string(input.scalar<tensorflow::tstring>()()), path);
}

class SaveFrozenOp final : public tensorflow::OpKernel {
 public:
  explicit SaveFrozenOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, bridge::ReadFrozen(ctx, "served_from", &options_.frozen));
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Save(ctx); });
  }

 private:
  absl::Status Save(OpKernelContext* ctx) const {
    bridge::Variable variable;
    TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kFrozenHandle, &variable));
    std::string path;
    TF_RETURN_IF_ERROR(ReadPath(ctx, &path));
    bridge::PoolExecutor executor(ctx);
    return bridge::ToTf(SaveTable(*variable, path, executor, nullptr, options_));
  }

  SaveOptions options_;
};

class InitializeFrozenOp final : public tensorflow::OpKernel {
 public:
  explicit InitializeFrozenOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &options_.dim));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("variable_name", &options_.name));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dram_bytes", &options_.storage.dram_bytes));
    int64_t strategy = 0;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("cache_strategy", &strategy));
    OP_REQUIRES_OK(ctx, bridge::ToCacheStrategy(strategy, &options_.storage.cache_strategy));
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Initialize(ctx); });
  }

 private:
  absl::Status Initialize(OpKernelContext* ctx) const {
    tensorflow::ResourceHandle handle;
    TF_RETURN_IF_ERROR(bridge::GetHandle(ctx, kFrozenHandle, &handle));
    if (bridge::FindVariable(ctx, handle, options_.dim) != nullptr) return absl::OkStatus();
    // Not by LookupOrCreateResource, which would have all other tables of the device wait.
    std::unique_ptr<EmbeddingVariable> variable;
    TF_RETURN_IF_ERROR(Load(ctx, handle.name(), &variable));
    return bridge::PutVariable(ctx, handle, std::move(variable));
  }

  absl::Status Load(OpKernelContext* ctx, const std::string& handle_name,
                    std::unique_ptr<EmbeddingVariable>* variable) const {
    std::string path;
    TF_RETURN_IF_ERROR(ReadPath(ctx, &path));
    TableInfo info;
    TF_RETURN_IF_ERROR(bridge::ToTf(InspectTable(path, &info)));
    if (!info.frozen) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": expected a table that was frozen for serving, found one of a checkpoint"));
    }
    VariableOptions options = options_;
    if (options.name.empty()) options.name = handle_name;
    LoadOptions load;
    TF_RETURN_IF_ERROR(bridge::ReadServingDramBytes(0, &load.frozen_dram_bytes));
    load.progress = bridge::LogProgress(options.name);
    bridge::PoolExecutor executor(ctx);
    return bridge::ToTf(LoadTable(options, Span<const std::string>(&path, 1), load, executor, variable));
  }

  VariableOptions options_;
};

REGISTER_KERNEL_BUILDER(Name("EvSaveFrozen").Device(tensorflow::DEVICE_CPU), SaveFrozenOp);
REGISTER_KERNEL_BUILDER(Name("EvInitializeFrozen").Device(tensorflow::DEVICE_CPU), InitializeFrozenOp);

}  // namespace
}  // namespace ev::kernels
