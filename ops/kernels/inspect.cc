#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "ops/bridge/batch.h"
#include "ops/bridge/variable_resource.h"
#include "ops/kernels/function_op.h"
#include "ops/kernels/register.h"

namespace ev::kernels {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

constexpr int kHandleInput = 0;
constexpr int kKeysInput = 1;

absl::Status SetScalar(OpKernelContext* ctx, int64_t value) {
  Tensor* output = nullptr;
  TF_RETURN_IF_ERROR(ctx->allocate_output(0, TensorShape({}), &output));
  output->scalar<int64_t>()() = value;
  return absl::OkStatus();
}

absl::Status Size(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandleInput, &variable));
  return SetScalar(ctx, variable->size());
}

absl::Status Remove(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandleInput, &variable));
  if (variable->frozen()) {
    return absl::FailedPreconditionError(absl::StrCat(
        variable->options().name, ": expected lookups only, as it is frozen for serving, found ids to remove"));
  }
  const bridge::KeySpan keys(ctx->input(kKeysInput));
  return SetScalar(ctx, variable->Remove(keys.get()));
}

enum class Meta { kFrequency, kVersion };

// Reads one number a key; a key of which nothing is known gives `missing`.
absl::Status ReadMeta(OpKernelContext* ctx, Meta which, int64_t missing) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandleInput, &variable));
  const bool frequency = which == Meta::kFrequency;
  if (!(frequency ? variable->options().record_frequency : variable->options().record_version)) {
    return absl::FailedPreconditionError(absl::StrCat("EmbeddingVariable '", variable->options().name,
                                                      "': ", frequency ? "frequencies" : "versions",
                                                      " are not recorded; create it with EmbeddingVariableOption(",
                                                      frequency ? "record_frequency" : "record_version", "=True)"));
  }
  const Tensor& keys = ctx->input(kKeysInput);
  Tensor* output = nullptr;
  TF_RETURN_IF_ERROR(ctx->allocate_output(0, keys.shape(), &output));
  const bridge::KeySpan key_span(keys);
  const size_t n = key_span.get().size();
  const Span<int64_t> numbers = bridge::AsSpan<int64_t>(output);
  const std::unique_ptr<bool[]> found(new bool[n]());
  std::fill(numbers.begin(), numbers.end(), missing);
  EmbeddingVariable::RowBatch rows;
  (frequency ? rows.frequencies : rows.versions) = numbers;
  return bridge::ToTf(variable->ReadRows(key_span.get(), rows, Span<bool>(found.get(), n)));
}

absl::Status Frequency(OpKernelContext* ctx) { return ReadMeta(ctx, Meta::kFrequency, 0); }
absl::Status Version(OpKernelContext* ctx) { return ReadMeta(ctx, Meta::kVersion, -1); }

absl::Status Metrics(OpKernelContext* ctx) {
  bridge::Variable variable;
  TF_RETURN_IF_ERROR(bridge::GetVariable(ctx, kHandleInput, &variable));
  const VariableMetrics m = variable->metrics();
  const std::pair<const char*, int64_t> entries[] = {
      {"rows", m.rows},
      {"row_bytes", m.row_bytes},
      {"row_pool_bytes", m.row_pool_bytes},
      {"index_bytes", m.index_bytes},
      {"meta_bytes", m.meta_bytes},
      {"lookup_keys", m.lookup_keys},
      {"lookup_misses", m.lookup_misses},
      {"update_keys", m.update_keys},
      {"update_rows", m.update_rows},
      {"inserts", m.inserts},
      {"removes", m.removes},
      {"hot_rows", m.hot_rows},
      {"hot_capacity", m.hot_capacity},
      {"lower_rows", m.lower_rows},
      {"lower_bytes", m.lower_bytes},
      {"promotions", m.promotions},
      {"demotions", m.demotions},
      {"clean_demotions", m.clean_demotions},
      {"cold_reads", m.cold_reads},
      {"late_reads", m.late_reads},
      {"filtered_keys", m.filtered_keys},
      {"filter_bytes", m.filter_bytes},
  };
  const int64_t count = std::size(entries);
  Tensor *names = nullptr, *values = nullptr;
  TF_RETURN_IF_ERROR(ctx->allocate_output(0, TensorShape({count}), &names));
  TF_RETURN_IF_ERROR(ctx->allocate_output(1, TensorShape({count}), &values));
  for (int64_t i = 0; i < count; ++i) {
    names->flat<tensorflow::tstring>()(i) = entries[i].first;
    values->flat<int64_t>()(i) = entries[i].second;
  }
  return absl::OkStatus();
}

REGISTER_KERNEL_BUILDER(Name("EvSize").Device(tensorflow::DEVICE_CPU), FunctionOp<Size>);
REGISTER_KERNEL_BUILDER(Name("EvMetrics").Device(tensorflow::DEVICE_CPU), FunctionOp<Metrics>);
EV_REGISTER_KEYED_KERNEL("EvRemove", FunctionOp<Remove>);
EV_REGISTER_KEYED_KERNEL("EvFrequency", FunctionOp<Frequency>);
EV_REGISTER_KEYED_KERNEL("EvVersion", FunctionOp<Version>);

}  // namespace
}  // namespace ev::kernels
