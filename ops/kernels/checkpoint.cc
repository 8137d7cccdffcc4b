#include "ev_tf/variable/checkpoint.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/bridge/batch.h"
#include "ops/bridge/deeprec_tables.h"
#include "ops/bridge/environment.h"
#include "ops/bridge/executor.h"
#include "ops/bridge/feature_attrs.h"
#include "ops/bridge/load_options.h"
#include "ops/bridge/storage_attrs.h"
#include "ops/bridge/table_file.h"
#include "ops/bridge/variable_resource.h"
#include "tensorflow/core/platform/logging.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

absl::Status ReadPrefix(OpKernelContext* ctx, int index, std::string* prefix) {
  const Tensor& input = ctx->input(index);
  if (input.dims() != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefix: expected a scalar, found shape ", input.shape().DebugString()));
  }
  return bridge::LocalPrefix(std::string(input.scalar<tstring>()()), prefix);
}

// EvSave, and EvSaveLink, which has a third input.
class SaveOp final : public tensorflow::OpKernel {
 public:
  explicit SaveOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("tensor_name", &table_.tensor_name));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("partition", &table_.partition));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("partitions", &partitions_));
    if (ctx->HasAttr("frozen")) OP_REQUIRES_OK(ctx, bridge::ReadFrozen(ctx, "frozen", &frozen_));
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return ctx->num_inputs() > kPrevious ? SaveLink(ctx) : SaveWhole(ctx); });
  }

 private:
  enum Input { kHandle, kPrefix, kPrevious };

  absl::Status SaveWhole(OpKernelContext* ctx) const {
    SaveOptions options;
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_SAVE_FILTERED_FEATURES", true, &options.with_filtered));
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_SAVE_LINKED_SEGMENTS", true, &options.link_segments));
    options.frozen = frozen_;
    const auto write = [&](EmbeddingVariable* variable, const std::string& prefix, const std::string& suffix,
                           Executor& executor) -> Status {
      options.segment_path = [&](size_t i) { return prefix + bridge::SegmentSuffix(suffix, i); };
      SaveReport report;
      EV_RETURN_IF_ERROR(SaveTable(*variable, prefix + suffix, executor, nullptr, options, &report));
      if (report.segments_copied > 0) {
        LOG(WARNING) << variable->options().name << ": " << report.segments_copied
                     << " files of its SSD tier were copied to " << prefix
                     << ": hard links want both on one file system (storage_path, and the checkpoint)";
      }
      return OkStatus();
    };
    std::string manifest;
    TF_RETURN_IF_ERROR(Save(ctx, &manifest, write));
    Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(0, TensorShape({}), &output));
    output->scalar<tstring>()() = manifest;
    return absl::OkStatus();
  }

  absl::Status SaveLink(OpKernelContext* ctx) const {
    std::string previous;
    TF_RETURN_IF_ERROR(ReadPrefix(ctx, kPrevious, &previous));
    std::vector<std::string> manifests;
    if (!previous.empty()) TF_RETURN_IF_ERROR(bridge::ManifestsBefore(previous, table_.tensor_name, &manifests));
    manifests.emplace_back();
    const auto write = [&](EmbeddingVariable* variable, const std::string& prefix, const std::string& suffix,
                           Executor& executor) {
      return previous.empty() ? SaveBase(variable, prefix + suffix, executor)
                              : SaveDelta(variable, prefix + suffix, executor);
    };
    TF_RETURN_IF_ERROR(Save(ctx, &manifests.back(), write));
    Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(0, TensorShape({static_cast<int64_t>(manifests.size())}), &output));
    std::copy(manifests.begin(), manifests.end(), output->flat<tstring>().data());
    return absl::OkStatus();
  }

  // *text = the manifest of the new file that `write` writes.
  template <typename Write>
  absl::Status Save(OpKernelContext* ctx, std::string* text, Write&& write) const {
    bridge::Variable variable;
    TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandle, &variable));
    std::string prefix;
    TF_RETURN_IF_ERROR(ReadPrefix(ctx, kPrefix, &prefix));
    bridge::Manifest manifest;
    TF_RETURN_IF_ERROR(bridge::NewTableFile(prefix, table_, variable->options().name, &manifest.suffix));
    bridge::PoolExecutor executor(ctx);
    TF_RETURN_IF_ERROR(bridge::ToTf(write(variable.get(), prefix, manifest.suffix, executor)));
    TableInfo info;
    TF_RETURN_IF_ERROR(bridge::ToTf(InspectTable(prefix + manifest.suffix, &info)));
    manifest.partition = table_.partition;
    manifest.partitions = partitions_;
    manifest.rows = info.rows;
    manifest.file_bytes = info.file_bytes;
    manifest.checksum = info.checksum;
    *text = bridge::EncodeManifest(manifest);
    return absl::OkStatus();
  }

  bridge::TableKey table_;
  int64_t partitions_ = 1;
  SaveOptions::Frozen frozen_ = SaveOptions::Frozen::kNo;
};

class FindTablesOp final : public tensorflow::OpKernel {
 public:
  explicit FindTablesOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("base", &base_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("suffix", &suffix_));
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Find(ctx); });
  }

 private:
  enum Input { kPrefix };

  absl::Status Find(OpKernelContext* ctx) const {
    std::string prefix;
    TF_RETURN_IF_ERROR(ReadPrefix(ctx, kPrefix, &prefix));
    std::vector<std::string> manifests;
    TF_RETURN_IF_ERROR(bridge::FindManifests(prefix, base_, suffix_, &manifests));
    Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(0, TensorShape({static_cast<int64_t>(manifests.size())}), &output));
    std::copy(manifests.begin(), manifests.end(), output->flat<tstring>().data());
    return absl::OkStatus();
  }

  std::string base_;
  std::string suffix_;
};

class RestoreOp final : public tensorflow::OpKernel {
 public:
  explicit RestoreOp(OpKernelConstruction* ctx) : OpKernel(ctx), storage_(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &options_.dim));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("variable_name", &options_.name));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("record_frequency", &options_.record_frequency));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("record_version", &options_.record_version));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("partition", &load_.partition));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("partitions", &load_.partitions));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("warm_start", &warm_start_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("key_dtype", &key_dtype_));
    OP_REQUIRES_OK(ctx, ReadSlots(ctx));
    bridge::ReadFeatureAttrs(ctx, &options_);
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Restore(ctx); });
  }

 private:
  enum Input { kHandle, kPrefix, kManifests, kDefaultRows };

  // Builds the whole table aside and puts it in place last: an error leaves what was there.
  absl::Status Restore(OpKernelContext* ctx) const {
    tensorflow::ResourceHandle handle;
    TF_RETURN_IF_ERROR(bridge::GetHandle(ctx, kHandle, &handle));
    VariableOptions options = options_;
    if (options.name.empty()) options.name = handle.name();
    TF_RETURN_IF_ERROR(storage_.Make(&options.storage));
    LoadOptions load;
    TF_RETURN_IF_ERROR(MakeLoadOptions(options.name, &load));
    const bridge::Variable before = bridge::FindVariable(ctx, handle, options.dim);
    TF_RETURN_IF_ERROR(OwnDefaultRows(ctx, before.get(), &load.own_default_rows));
    std::unique_ptr<EmbeddingVariable> loaded;
    TF_RETURN_IF_ERROR(Load(ctx, options, load, &loaded));
    TF_RETURN_IF_ERROR(CheckKeys(options.name, *loaded));
    return bridge::PutVariable(ctx, handle, std::move(loaded));
  }

  absl::Status Load(OpKernelContext* ctx, const VariableOptions& options, const LoadOptions& load,
                    std::unique_ptr<EmbeddingVariable>* loaded) const {
    std::string prefix;
    TF_RETURN_IF_ERROR(ReadPrefix(ctx, kPrefix, &prefix));
    const auto manifests = bridge::AsSpan<tstring>(ctx->input(kManifests));
    bridge::PoolExecutor executor(ctx);
    if (manifests.empty() || std::string(manifests[0]).rfind(bridge::kDeepRecManifest, 0) != 0) {
      std::vector<std::string> paths;
      TF_RETURN_IF_ERROR(FindFiles(prefix, manifests, &paths));
      return bridge::ToTf(LoadTable(options, paths, load, executor, loaded));
    }
    bridge::DeepRecSource source{prefix, {}, slots_, load.own_default_rows};
    for (const tstring& manifest : manifests) {
      source.names.push_back(std::string(manifest).substr(sizeof(bridge::kDeepRecManifest) - 1));
    }
    return bridge::LoadDeepRecTable(options, source, load, executor, loaded);
  }

  // A table in a file has keys of 64 bits, whatever the variable had that was saved.
  absl::Status CheckKeys(const std::string& variable, const EmbeddingVariable& loaded) const {
    if (key_dtype_ == tensorflow::DT_INT64) return absl::OkStatus();
    std::vector<Key> keys = loaded.Keys();
    for (const FilteredKey& counted : loaded.FilteredKeys()) keys.push_back(counted.key);
    for (const Key key : keys) {
      if (key == static_cast<int32_t>(key)) continue;
      return absl::InvalidArgumentError(absl::StrCat("keys: expected int32 as variable '", variable, "' has, found ",
                                                     key, ": make it with key_dtype=tf.int64"));
    }
    return absl::OkStatus();
  }

  // Those of the variable that is there, or else of the input.
  absl::Status OwnDefaultRows(OpKernelContext* ctx, const EmbeddingVariable* before, Span<const float>* rows) const {
    if (before != nullptr) {
      *rows = before->default_rows();
    } else if (ctx->num_inputs() > kDefaultRows) {
      const Tensor& given = ctx->input(kDefaultRows);
      TF_RETURN_IF_ERROR(bridge::CheckMatrix(given, "default_rows", -1, options_.dim));
      *rows = bridge::AsSpan<float>(given);
    }
    return absl::OkStatus();
  }

  absl::Status ReadSlots(OpKernelConstruction* ctx) {
    std::vector<std::string> tensors, names;
    std::vector<int64_t> dims;
    std::vector<float> initial_values;
    TF_RETURN_IF_ERROR(ctx->GetAttr("slot_tensors", &tensors));
    TF_RETURN_IF_ERROR(ctx->GetAttr("slot_names", &names));
    TF_RETURN_IF_ERROR(ctx->GetAttr("slot_dims", &dims));
    TF_RETURN_IF_ERROR(ctx->GetAttr("slot_initial_values", &initial_values));
    if (names.size() != tensors.size() || dims.size() != tensors.size() || initial_values.size() != tensors.size()) {
      return absl::InvalidArgumentError(absl::StrCat("slot_names, slot_dims and slot_initial_values: expected ",
                                                     tensors.size(), " of each as slot_tensors has, found ",
                                                     names.size(), ", ", dims.size(), " and ", initial_values.size()));
    }
    for (size_t i = 0; i < tensors.size(); ++i) {
      slots_.push_back({tensors[i], SlotSpec{names[i], dims[i], initial_values[i]}});
    }
    return absl::OkStatus();
  }

  absl::Status MakeLoadOptions(const std::string& variable, LoadOptions* load) const {
    *load = load_;
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_RESTORE_CUSTOM_DIM", false, &load->any_dim));
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_RESET_VERSION", false, &load->reset_versions));
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_RESTORE_FILTERED_FEATURES", true, &load->with_filtered));
    load->with_slots = !warm_start_;
    load->reset_versions |= warm_start_;
    load->thaw = warm_start_;
    TF_RETURN_IF_ERROR(bridge::ReadServingDramBytes(0, &load->frozen_dram_bytes));
    load->progress = bridge::LogProgress(variable);
    return absl::OkStatus();
  }

  static absl::Status FindFiles(const std::string& prefix, Span<const tstring> manifests,
                                std::vector<std::string>* paths) {
    for (const tstring& text : manifests) {
      bridge::Manifest manifest;
      TF_RETURN_IF_ERROR(bridge::DecodeManifest(std::string(text), &manifest));
      paths->push_back(bridge::PathOf(prefix, manifest));
      TF_RETURN_IF_ERROR(bridge::CheckTableFile(paths->back(), manifest));
    }
    return absl::OkStatus();
  }

  VariableOptions options_;
  LoadOptions load_;
  bool warm_start_ = false;
  tensorflow::DataType key_dtype_ = tensorflow::DT_INT64;
  std::vector<bridge::DeepRecSlot> slots_;
  const bridge::StorageAttrs storage_;
};

REGISTER_KERNEL_BUILDER(Name("EvSave").Device(tensorflow::DEVICE_CPU), SaveOp);
REGISTER_KERNEL_BUILDER(Name("EvSaveLink").Device(tensorflow::DEVICE_CPU), SaveOp);
REGISTER_KERNEL_BUILDER(Name("EvFindTables").Device(tensorflow::DEVICE_CPU), FindTablesOp);
REGISTER_KERNEL_BUILDER(Name("EvRestore").Device(tensorflow::DEVICE_CPU), RestoreOp);

}  // namespace
}  // namespace ev::kernels
