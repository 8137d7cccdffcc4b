#include "ops/bridge/restored_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ev::bridge {
namespace {

using tensorflow::Tensor;
using tensorflow::TensorShape;

// `fill(row)` gives dim floats, whose tail becomes the new columns of that row.
template <typename Fill>
Tensor ChangeColumns(const Tensor& from, int64_t dim, Fill&& fill) {
  const int64_t rows = from.dim_size(0), old_dim = from.dim_size(1), kept = std::min(old_dim, dim);
  Tensor to(tensorflow::DT_FLOAT, TensorShape({rows, dim}));
  const float* source = from.flat<float>().data();
  float* target = to.flat<float>().data();
  for (int64_t row = 0; row < rows; ++row, source += old_dim, target += dim) {
    std::copy_n(source, kept, target);
    if (kept < dim) std::copy_n(fill(row) + kept, dim - kept, target + kept);
  }
  return to;
}

void ChangeSlots(int64_t old_dim, int64_t dim, RestoredRows* rows) {
  std::vector<SlotSpec> specs = rows->slot_specs;
  int64_t columns = 0;
  for (SlotSpec& spec : specs) columns += spec.dim = spec.dim == old_dim ? dim : spec.dim;
  const int64_t n = rows->slots.dim_size(0);
  Tensor changed(tensorflow::DT_FLOAT, TensorShape({n, columns}));
  const float* from = rows->slots.flat<float>().data();
  float* to = changed.flat<float>().data();
  for (int64_t row = 0; row < n; ++row) {
    for (size_t s = 0; s < specs.size(); ++s) {
      const int64_t old_columns = rows->slot_specs[s].dim, kept = std::min(old_columns, specs[s].dim);
      std::copy_n(from, kept, to);
      std::fill(to + kept, to + specs[s].dim, specs[s].initial);
      from += old_columns;
      to += specs[s].dim;
    }
  }
  rows->slots = changed;
  rows->slot_specs = std::move(specs);
}

}  // namespace

absl::Status ChangeDim(int64_t dim, Span<const float> own_defaults, RestoredRows* rows) {
  const int64_t old_dim = rows->default_rows.dim_size(1);
  if (dim > old_dim && own_defaults.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "embedding dim: expected ", dim, ", found ", old_dim,
        "; the new columns come from the variable's initial rows: run its initializer before the restore"));
  }
  const auto own = static_cast<int64_t>(own_defaults.size()) / dim;
  const auto own_row = [&](Key key) { return own_defaults.data() + FloorMod(key, own) * dim; };
  const int64_t* keys = rows->keys.flat<int64_t>().data();
  rows->values = ChangeColumns(rows->values, dim, [&](int64_t row) { return own_row(keys[row]); });
  rows->default_rows = ChangeColumns(rows->default_rows, dim, [&](int64_t row) { return own_row(row); });
  ChangeSlots(old_dim, dim, rows);
  return absl::OkStatus();
}

}  // namespace ev::bridge
