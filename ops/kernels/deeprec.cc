#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/bridge/batch.h"
#include "ops/bridge/environment.h"
#include "ops/bridge/variable_resource.h"
#include "tensorflow/core/platform/logging.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

constexpr int64_t kBuckets = 1000;

bool Before(Key a, Key b) {
  const Key of_a = FloorMod(a, kBuckets), of_b = FloorMod(b, kBuckets);
  return of_a != of_b ? of_a < of_b : a < b;
}

class ExportDeepRecOp final : public tensorflow::OpKernel {
 public:
  explicit ExportDeepRecOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dim", &dim_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_names", &slot_names_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("slot_initial_values", &slot_initial_values_));
    int64_t slots = 0;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_slots", &slots));
    OP_REQUIRES(ctx,
                slot_names_.size() == static_cast<size_t>(slots) && slot_initial_values_.size() == slot_names_.size(),
                absl::InvalidArgumentError(absl::StrCat("slot_names and slot_initial_values: expected ", slots,
                                                        " of each, found ", slot_names_.size(), " and ",
                                                        slot_initial_values_.size())));
  }

  void Compute(OpKernelContext* ctx) override {
    bridge::RunGuarded(ctx, [&] { return Export(ctx); });
  }

 private:
  enum Input { kHandle };
  enum Output {
    kKeys,
    kValues,
    kFrequencies,
    kVersions,
    kPartitionOffset,
    kFilteredKeys,
    kFilteredFrequencies,
    kFilteredVersions,
    kPartitionFilterOffset,
    kSlots
  };

  // The rows of a moment, in the order of `keys`.
  struct Rows {
    std::vector<Key> keys;
    std::vector<float> values, slots;
    std::vector<int64_t> frequencies, versions;
    std::vector<SlotSpec> slot_specs;
    size_t slot_floats = 0;
  };

  absl::Status Export(OpKernelContext* ctx) const {
    bridge::Variable variable;
    TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandle, dim_, &variable));
    // Before the rows: a key that is admitted meanwhile is then a row as well.
    TF_RETURN_IF_ERROR(SetFiltered(ctx, *variable));
    Rows rows;
    TF_RETURN_IF_ERROR(ReadAll(*variable, &rows));
    const auto n = static_cast<int64_t>(rows.keys.size());
    TF_RETURN_IF_ERROR(Set(ctx, kKeys, TensorShape({n}), rows.keys));
    TF_RETURN_IF_ERROR(Set(ctx, kValues, TensorShape({n, dim_}), rows.values));
    if (!variable->options().record_frequency) rows.frequencies.clear();
    if (!variable->options().record_version) rows.versions.clear();
    TF_RETURN_IF_ERROR(SetVector(ctx, kFrequencies, rows.frequencies));
    TF_RETURN_IF_ERROR(SetVector(ctx, kVersions, rows.versions));
    TF_RETURN_IF_ERROR(SetOffsets(ctx, kPartitionOffset, rows.keys));
    for (size_t i = 0; i < slot_names_.size(); ++i) TF_RETURN_IF_ERROR(SetSlot(ctx, rows, i));
    for (const SlotSpec& slot : rows.slot_specs) {
      if (std::find(slot_names_.begin(), slot_names_.end(), slot.name) != slot_names_.end()) continue;
      LOG(WARNING) << "EmbeddingVariable '" << variable->options().name << "': slot '" << slot.name
                   << "' is not saved for DeepRec, no optimizer of this program has it";
    }
    return absl::OkStatus();
  }

  // An optimizer that brings a slot between slots() and ReadRows() makes the rows wider: then all is read again.
  absl::Status ReadAll(const EmbeddingVariable& variable, Rows* rows) const {
    for (;;) {
      rows->slot_specs = variable.slots();
      rows->slot_floats = 0;
      for (const SlotSpec& slot : rows->slot_specs) rows->slot_floats += static_cast<size_t>(slot.dim);
      rows->keys = variable.Keys();
      std::sort(rows->keys.begin(), rows->keys.end(), Before);
      const size_t n = rows->keys.size();
      rows->values.resize(n * static_cast<size_t>(dim_));
      rows->slots.resize(n * rows->slot_floats);
      rows->frequencies.resize(n);
      rows->versions.resize(n);
      const auto found = std::make_unique<bool[]>(n);
      const EmbeddingVariable::RowBatch batch{Span<float>(rows->values), Span<float>(rows->slots),
                                              Span<int64_t>(rows->frequencies), Span<int64_t>(rows->versions)};
      const Status read = variable.ReadRows(rows->keys, batch, {found.get(), n});
      if (variable.slots().size() != rows->slot_specs.size()) continue;
      TF_RETURN_IF_ERROR(bridge::ToTf(read));
      KeepFound(found.get(), rows);
      return absl::OkStatus();
    }
  }

  // A key removed since Keys() is not found.
  void KeepFound(const bool* found, Rows* rows) const {
    const auto keep = [&](auto* column, size_t width) {
      size_t kept = 0;
      for (size_t i = 0; i < rows->keys.size(); ++i) {
        if (!found[i]) continue;
        if (kept != i) std::copy_n(column->data() + i * width, width, column->data() + kept * width);
        ++kept;
      }
      column->resize(kept * width);
    };
    keep(&rows->values, static_cast<size_t>(dim_));
    keep(&rows->slots, rows->slot_floats);
    keep(&rows->frequencies, 1);
    keep(&rows->versions, 1);
    keep(&rows->keys, 1);  // last: it says how many there were
  }

  absl::Status SetSlot(OpKernelContext* ctx, const Rows& rows, size_t index) const {
    size_t at = 0;
    auto spec = rows.slot_specs.begin();
    for (; spec != rows.slot_specs.end() && spec->name != slot_names_[index]; ++spec)
      at += static_cast<size_t>(spec->dim);
    const auto n = static_cast<int64_t>(rows.keys.size());
    Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(kSlots + static_cast<int>(index), TensorShape({n, dim_}), &output));
    float* to = output->flat<float>().data();
    if (spec == rows.slot_specs.end()) {
      std::fill_n(to, n * dim_, slot_initial_values_[index]);
      return absl::OkStatus();
    }
    for (int64_t i = 0; i < n; ++i) {
      const float* from = rows.slots.data() + static_cast<size_t>(i) * rows.slot_floats + at;
      for (int64_t d = 0; d < dim_; ++d) *to++ = from[std::min(d, spec->dim - 1)];
    }
    return absl::OkStatus();
  }

  static absl::Status SetFiltered(OpKernelContext* ctx, const EmbeddingVariable& variable) {
    bool wanted = true;
    TF_RETURN_IF_ERROR(bridge::ReadSwitch("TF_EV_SAVE_FILTERED_FEATURES", true, &wanted));
    std::vector<FilteredKey> filtered = wanted ? variable.FilteredKeys() : std::vector<FilteredKey>();
    std::sort(filtered.begin(), filtered.end(),
              [](const FilteredKey& a, const FilteredKey& b) { return Before(a.key, b.key); });
    std::vector<Key> keys;
    std::vector<int64_t> frequencies, versions;
    for (const FilteredKey& one : filtered) {
      keys.push_back(one.key);
      frequencies.push_back(one.frequency);
      versions.push_back(int64_t{one.version_plus1} - 1);
    }
    TF_RETURN_IF_ERROR(SetVector(ctx, kFilteredKeys, keys));
    TF_RETURN_IF_ERROR(SetVector(ctx, kFilteredFrequencies, frequencies));
    TF_RETURN_IF_ERROR(SetVector(ctx, kFilteredVersions, versions));
    return SetOffsets(ctx, kPartitionFilterOffset, keys);
  }

  static absl::Status SetOffsets(OpKernelContext* ctx, int output, const std::vector<Key>& keys) {
    if (keys.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
      return absl::OutOfRangeError(absl::StrCat("a DeepRec checkpoint: expected at most 2^31 - 1 keys a part, found ",
                                                keys.size(), ": use more parts"));
    }
    std::vector<int32_t> offsets(kBuckets + 1, 0);
    for (const Key key : keys) ++offsets[static_cast<size_t>(FloorMod(key, kBuckets)) + 1];
    for (size_t b = 0; b < kBuckets; ++b) offsets[b + 1] += offsets[b];
    return SetVector(ctx, output, offsets);
  }

  template <typename T>
  static absl::Status SetVector(OpKernelContext* ctx, int output, const std::vector<T>& values) {
    return Set(ctx, output, TensorShape({static_cast<int64_t>(values.size())}), values);
  }

  template <typename T>
  static absl::Status Set(OpKernelContext* ctx, int output, const TensorShape& shape, const std::vector<T>& values) {
    Tensor* tensor = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(output, shape, &tensor));
    std::copy(values.begin(), values.end(), tensor->flat<T>().data());
    return absl::OkStatus();
  }

  int64_t dim_ = 0;
  std::vector<std::string> slot_names_;
  std::vector<float> slot_initial_values_;
};

REGISTER_KERNEL_BUILDER(Name("EvExportDeepRec").Device(tensorflow::DEVICE_CPU), ExportDeepRecOp);

}  // namespace
}  // namespace ev::kernels
