#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ev_tf/variable/other_dim.h"
#include "ops/bridge/batch.h"
#include "ops/bridge/environment.h"
#include "ops/bridge/feature_attrs.h"
#include "ops/bridge/storage_attrs.h"
#include "ops/bridge/variable_resource.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

int64_t SlotFloats(const std::vector<SlotSpec>& slots) {
  int64_t floats = 0;
  for (const SlotSpec& slot : slots) floats += slot.dim;
  return floats;
}

class ExportOp final : public tensorflow::OpKernel {
 public:
  explicit ExportOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &dim_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("empty_if_uninitialized", &empty_if_uninitialized_));
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Export(ctx); });
  }

 private:
  enum Input { kHandle };
  enum Output {
    kKeys,
    kValues,
    kSlots,
    kSlotNames,
    kSlotDims,
    kSlotInitials,
    kFrequencies,
    kVersions,
    kDefaultRows,
    kFilteredKeys,
    kFilteredFrequencies,
    kFilteredVersions
  };

  // The rows of a moment, in tensors that have one entry a key.
  struct Rows {
    Tensor keys, values, slots, frequencies, versions;
  };

  absl::Status Export(OpKernelContext* ctx) const {
    bridge::Variable variable;
    const absl::Status status = bridge::GetVariable(ctx, kHandle, dim_, &variable);
    if (absl::IsFailedPrecondition(status) && empty_if_uninitialized_) return ExportNothing(ctx);
    TF_RETURN_IF_ERROR(status);

    // Before the rows: a key that is admitted meanwhile is then a row as well, and import takes it for one.
    TF_RETURN_IF_ERROR(ExportFiltered(ctx, *variable));
    // An optimizer that brings a slot between slots() and ReadRows() makes the rows wider: then all is read again.
    std::vector<SlotSpec> slots;
    Rows rows;
    do {
      slots = variable->slots();
      const absl::Status read = ReadAll(ctx, *variable, slots, &rows);
      if (!read.ok() && variable->slots().size() == slots.size()) return read;
    } while (variable->slots().size() != slots.size());

    ctx->set_output(kKeys, rows.keys);
    ctx->set_output(kValues, rows.values);
    ctx->set_output(kSlots, rows.slots);
    ctx->set_output(kFrequencies, rows.frequencies);
    ctx->set_output(kVersions, rows.versions);
    TF_RETURN_IF_ERROR(SetSlotLayout(ctx, slots));
    const Span<const float> default_rows = variable->default_rows();
    Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(
        kDefaultRows, TensorShape({static_cast<int64_t>(default_rows.size()) / dim_, dim_}), &output));
    std::copy(default_rows.begin(), default_rows.end(), output->flat<float>().data());
    return absl::OkStatus();
  }

  static absl::Status ExportFiltered(OpKernelContext* ctx, const EmbeddingVariable& variable) {
    bool wanted = true;
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_SAVE_FILTERED_FEATURES", true, &wanted));
    const std::vector<FilteredKey> filtered = wanted ? variable.FilteredKeys() : std::vector<FilteredKey>();
    const TensorShape shape({static_cast<int64_t>(filtered.size())});
    Tensor *keys = nullptr, *frequencies = nullptr, *versions = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(kFilteredKeys, shape, &keys));
    TF_RETURN_IF_ERROR(ctx->allocate_output(kFilteredFrequencies, shape, &frequencies));
    TF_RETURN_IF_ERROR(ctx->allocate_output(kFilteredVersions, shape, &versions));
    for (size_t i = 0; i < filtered.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      keys->flat<int64_t>()(at) = filtered[i].key;
      frequencies->flat<int64_t>()(at) = filtered[i].frequency;
      versions->flat<int64_t>()(at) = int64_t{filtered[i].version_plus1} - 1;
    }
    return absl::OkStatus();
  }

  absl::Status ReadAll(OpKernelContext* ctx, const EmbeddingVariable& variable, const std::vector<SlotSpec>& slots,
                       Rows* rows) const {
    const std::vector<Key> keys = variable.Keys();
    const int64_t n = static_cast<int64_t>(keys.size());
    TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_INT64, TensorShape({n}), &rows->keys));
    TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_FLOAT, TensorShape({n, dim_}), &rows->values));
    TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_FLOAT, TensorShape({n, SlotFloats(slots)}), &rows->slots));
    const int64_t frequencies = variable.options().record_frequency ? n : 0;
    const int64_t versions = variable.options().record_version ? n : 0;
    TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_INT64, TensorShape({frequencies}), &rows->frequencies));
    TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_INT64, TensorShape({versions}), &rows->versions));
    std::copy(keys.begin(), keys.end(), rows->keys.flat<int64_t>().data());
    EmbeddingVariable::RowBatch batch;
    batch.values = bridge::AsSpan<float>(&rows->values);
    batch.slots = bridge::AsSpan<float>(&rows->slots);
    batch.frequencies = bridge::AsSpan<int64_t>(&rows->frequencies);
    batch.versions = bridge::AsSpan<int64_t>(&rows->versions);
    const std::unique_ptr<bool[]> found(new bool[keys.size()]());
    TF_RETURN_IF_ERROR(bridge::ToTf(variable.ReadRows(keys, batch, Span<bool>(found.get(), keys.size()))));
    const int64_t kept = Compact(found.get(), n, rows);
    if (kept < n) {
      for (Tensor* tensor : {&rows->keys, &rows->values, &rows->slots, &rows->frequencies, &rows->versions}) {
        if (tensor->dim_size(0) == n) *tensor = tensor->Slice(0, kept);
      }
    }
    return absl::OkStatus();
  }

  // Moves the rows that were found to the front; returns how many.  A key removed since Keys() is not found.
  static int64_t Compact(const bool* found, int64_t n, Rows* rows) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (!found[i]) continue;
      if (kept != i) {
        MoveEntry<int64_t>(&rows->keys, i, kept);
        MoveEntry<float>(&rows->values, i, kept);
        MoveEntry<float>(&rows->slots, i, kept);
        MoveEntry<int64_t>(&rows->frequencies, i, kept);
        MoveEntry<int64_t>(&rows->versions, i, kept);
      }
      ++kept;
    }
    return kept;
  }

  template <typename T>
  static void MoveEntry(Tensor* tensor, int64_t from, int64_t to) {
    if (tensor->NumElements() == 0) return;
    const int64_t width = tensor->NumElements() / tensor->dim_size(0);
    T* data = tensor->flat<T>().data();
    std::copy(data + from * width, data + (from + 1) * width, data + to * width);
  }

  static absl::Status SetSlotLayout(OpKernelContext* ctx, const std::vector<SlotSpec>& slots) {
    const TensorShape shape({static_cast<int64_t>(slots.size())});
    Tensor *names = nullptr, *dims = nullptr, *initials = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(kSlotNames, shape, &names));
    TF_RETURN_IF_ERROR(ctx->allocate_output(kSlotDims, shape, &dims));
    TF_RETURN_IF_ERROR(ctx->allocate_output(kSlotInitials, shape, &initials));
    for (size_t i = 0; i < slots.size(); ++i) {
      names->flat<tstring>()(i) = slots[i].name;
      dims->flat<int64_t>()(i) = slots[i].dim;
      initials->flat<float>()(i) = slots[i].initial;
    }
    return absl::OkStatus();
  }

  absl::Status ExportNothing(OpKernelContext* ctx) const {
    Tensor* unused = nullptr;
    for (int output : {kKeys, kFrequencies, kVersions, kFilteredKeys, kFilteredFrequencies, kFilteredVersions}) {
      TF_RETURN_IF_ERROR(ctx->allocate_output(output, TensorShape({0}), &unused));
    }
    for (int output : {kValues, kDefaultRows}) {
      TF_RETURN_IF_ERROR(ctx->allocate_output(output, TensorShape({0, dim_}), &unused));
    }
    TF_RETURN_IF_ERROR(ctx->allocate_output(kSlots, TensorShape({0, 0}), &unused));
    return SetSlotLayout(ctx, {});
  }

  int64_t dim_ = 0;
  bool empty_if_uninitialized_ = false;
};

class ImportOp final : public tensorflow::OpKernel {
 public:
  explicit ImportOp(OpKernelConstruction* ctx) : OpKernel(ctx), storage_(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &options_.dim));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("variable_name", &options_.name));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("record_frequency", &options_.record_frequency));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("record_version", &options_.record_version));
    bridge::ReadFeatureAttrs(ctx, &options_);
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Import(ctx); });
  }

 private:
  enum Input {
    kHandle,
    kKeys,
    kValues,
    kSlots,
    kSlotNames,
    kSlotDims,
    kSlotInitials,
    kFrequencies,
    kVersions,
    kDefaultRows,
    kFilteredKeys,
    kFilteredFrequencies,
    kFilteredVersions
  };

  // Builds the whole table aside and puts it in place last: an error leaves what was there.
  absl::Status Import(OpKernelContext* ctx) const {
    ResourceHandle handle;
    TF_RETURN_IF_ERROR(bridge::GetHandle(ctx, kHandle, &handle));
    VariableOptions options = options_;
    if (options.name.empty()) options.name = handle.name();
    bool any_dim = false, reset_versions = false;
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_RESTORE_CUSTOM_DIM", false, &any_dim));
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_RESET_VERSION", false, &reset_versions));
    Content content;
    absl::Status checked = CheckInputs(ctx, any_dim, &content);
    if (checked.ok() && content.dim != options.dim) checked = ChangeDim(ctx, handle, &content);
    if (!checked.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("EmbeddingVariable '", options.name, "' cannot take this content: ", checked.message()));
    }
    TF_RETURN_IF_ERROR(storage_.Make(&options.storage));
    std::unique_ptr<EmbeddingVariable> created;
    TF_RETURN_IF_ERROR(bridge::ToTf(EmbeddingVariable::Create(options, content.default_rows, &created)));
    TF_RETURN_IF_ERROR(WriteRows(ctx, content, reset_versions, created.get()));
    TF_RETURN_IF_ERROR(WriteFiltered(ctx, reset_versions, created.get()));

    return bridge::PutVariable(ctx, handle, std::move(created));
  }

  // Of the inputs, what another dim changes; borrowed, or kept in the vectors.
  struct Content {
    int64_t dim = 0;
    Span<const float> values;
    Span<const float> slots;
    Span<const float> default_rows;
    std::vector<SlotSpec> slot_specs;
    std::vector<float> changed_values, changed_slots, changed_default_rows;
  };

  absl::Status ChangeDim(OpKernelContext* ctx, const ResourceHandle& handle, Content* content) const {
    const bridge::Variable before = bridge::FindVariable(ctx, handle, options_.dim);
    const Span<const float> own = before == nullptr ? Span<const float>() : before->default_rows();
    OtherDim other_dim;
    TF_RETURN_IF_ERROR(
        bridge::ToTf(OtherDim::Create(content->dim, options_.dim, own, content->slot_specs, &other_dim)));
    const Span<const Key> keys = bridge::AsSpan<int64_t>(ctx->input(kKeys));
    content->changed_values = other_dim.Values(keys, content->values);
    content->values = content->changed_values;
    content->changed_default_rows = other_dim.DefaultRows(content->default_rows);
    content->default_rows = content->changed_default_rows;
    if (!content->slots.empty()) content->changed_slots = other_dim.Slots(keys.size(), content->slots);
    content->slots = content->changed_slots;
    content->slot_specs = other_dim.slots();
    return absl::OkStatus();
  }

  absl::Status CheckInputs(OpKernelContext* ctx, bool any_dim, Content* content) const {
    TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(kKeys), "keys", -1));
    const int64_t n = ctx->input(kKeys).dim_size(0);
    const Tensor& default_rows = ctx->input(kDefaultRows);
    TF_RETURN_IF_ERROR(bridge::CheckMatrix(default_rows, "default rows", -1, -1));
    TF_RETURN_IF_ERROR(bridge::CheckMatrix(ctx->input(kValues), "values", n, -1));
    const int64_t dim = any_dim ? std::max<int64_t>(default_rows.dim_size(1), 1) : options_.dim;
    for (const Tensor* rows : {&default_rows, &ctx->input(kValues)}) {
      if (rows->dim_size(1) != dim) {
        return absl::InvalidArgumentError(absl::StrCat("embedding dim: expected ", dim, ", found ", rows->dim_size(1)));
      }
    }
    content->dim = dim;
    content->values = bridge::AsSpan<float>(ctx->input(kValues));
    content->slots = bridge::AsSpan<float>(ctx->input(kSlots));
    content->default_rows = bridge::AsSpan<float>(default_rows);
    TF_RETURN_IF_ERROR(ReadSlotLayout(ctx, dim, &content->slot_specs));
    const Tensor& slot_rows = ctx->input(kSlots);
    TF_RETURN_IF_ERROR(bridge::CheckMatrix(slot_rows, "slots", -1, -1));
    if (slot_rows.NumElements() != 0 || (n != 0 && slot_rows.dim_size(0) != 0)) {
      TF_RETURN_IF_ERROR(bridge::CheckMatrix(slot_rows, "slots", n, SlotFloats(content->slot_specs)));
    }
    for (const auto& [input, what] : {std::pair(kFrequencies, "frequencies"), std::pair(kVersions, "versions")}) {
      const Tensor& numbers = ctx->input(input);
      TF_RETURN_IF_ERROR(bridge::CheckVector(numbers, what, -1));
      if (numbers.dim_size(0) != 0) TF_RETURN_IF_ERROR(bridge::CheckVector(numbers, what, n));
    }
    TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(kFilteredKeys), "filtered keys", -1));
    const int64_t filtered = ctx->input(kFilteredKeys).dim_size(0);
    TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(kFilteredFrequencies), "filtered frequencies", filtered));
    TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(kFilteredVersions), "filtered versions", filtered));
    for (int64_t i = 0; i < filtered; ++i) {
      const int64_t frequency = ctx->input(kFilteredFrequencies).flat<int64_t>()(i);
      const int64_t version = ctx->input(kFilteredVersions).flat<int64_t>()(i);
      if (frequency < 1 || version < -1 || version >= std::numeric_limits<uint32_t>::max()) {
        return absl::InvalidArgumentError(
            absl::StrCat("filtered keys: expected frequencies of at least 1 and versions of at least -1, found ",
                         frequency, " and ", version));
      }
    }
    return absl::OkStatus();
  }

  static absl::Status ReadSlotLayout(OpKernelContext* ctx, int64_t dim, std::vector<SlotSpec>* slots) {
    TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(kSlotNames), "slot names", -1));
    const int64_t count = ctx->input(kSlotNames).dim_size(0);
    TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(kSlotDims), "slot dims", count));
    TF_RETURN_IF_ERROR(bridge::CheckVector(ctx->input(kSlotInitials), "slot initial values", count));
    for (int64_t i = 0; i < count; ++i) {
      SlotSpec slot;
      slot.name = std::string(ctx->input(kSlotNames).flat<tstring>()(i));
      slot.dim = ctx->input(kSlotDims).flat<int64_t>()(i);
      slot.initial = ctx->input(kSlotInitials).flat<float>()(i);
      if (slot.dim < 1 || slot.dim > dim) {
        return absl::InvalidArgumentError(
            absl::StrCat("slot '", slot.name, "': dim: expected 1 to ", dim, ", found ", slot.dim));
      }
      slots->push_back(std::move(slot));
    }
    return absl::OkStatus();
  }

  static absl::Status WriteFiltered(OpKernelContext* ctx, bool reset_versions, EmbeddingVariable* variable) {
    const Span<const Key> keys = bridge::AsSpan<int64_t>(ctx->input(kFilteredKeys));
    const Span<const int64_t> frequencies = bridge::AsSpan<int64_t>(ctx->input(kFilteredFrequencies));
    const Span<const int64_t> versions = bridge::AsSpan<int64_t>(ctx->input(kFilteredVersions));
    constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
    std::vector<FilteredKey> filtered(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      filtered[i] = {keys[i], static_cast<uint32_t>(std::min(frequencies[i], kMost)),
                     reset_versions ? 1 : static_cast<uint32_t>(versions[i] + 1)};
    }
    return bridge::ToTf(variable->WriteFilteredKeys(filtered));
  }

  static absl::Status WriteRows(OpKernelContext* ctx, const Content& content, bool reset_versions,
                                EmbeddingVariable* variable) {
    EmbeddingVariable::ConstRowBatch rows;
    rows.values = content.values;
    rows.slots = content.slots;
    rows.frequencies = bridge::AsSpan<int64_t>(ctx->input(kFrequencies));
    rows.versions = bridge::AsSpan<int64_t>(ctx->input(kVersions));
    const Span<const Key> keys = bridge::AsSpan<int64_t>(ctx->input(kKeys));
    const std::vector<int64_t> zeros(reset_versions ? keys.size() : 0, 0);
    if (reset_versions) rows.versions = zeros;
    TF_RETURN_IF_ERROR(bridge::ToTf(variable->WriteRows(keys, content.slot_specs, rows)));
    if (variable->size() == static_cast<int64_t>(keys.size())) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("EmbeddingVariable '", variable->options().name,
                                                   "': keys: expected distinct keys, found ", keys.size(), " of which ",
                                                   variable->size(), " are distinct"));
  }

  VariableOptions options_;
  const bridge::StorageAttrs storage_;
};

REGISTER_KERNEL_BUILDER(Name("EvExport").Device(tensorflow::DEVICE_CPU), ExportOp);
REGISTER_KERNEL_BUILDER(Name("EvImport").Device(tensorflow::DEVICE_CPU), ImportOp);

}  // namespace
}  // namespace ev::kernels
