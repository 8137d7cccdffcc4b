// The tensors of a restored table that have as many columns as an embedding, and their change to another dim.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "ev_tf/variable/embedding_variable.h"
#include "tensorflow/core/framework/tensor.h"

namespace ev::bridge {

struct RestoredRows {
  tensorflow::Tensor keys;          // [n] int64
  tensorflow::Tensor values;        // [n, dim]
  tensorflow::Tensor slots;         // [n, sum of the slots' dims], or [0, any]
  tensorflow::Tensor default_rows;  // [default_value_dim, dim]
  std::vector<SlotSpec> slot_specs;
};

// Cuts what is beyond `dim`, or adds columns: to rows those of `own_defaults`, [any, dim], that their keys read; to slots of
// the old dim their initial values.  Slots of another dim stay as they are.
// FailedPrecondition: columns are to be added, and own_defaults is empty.  Requires: tensors of the shapes above.
absl::Status ChangeDim(int64_t dim, Span<const float> own_defaults, RestoredRows* rows);

}  // namespace ev::bridge
