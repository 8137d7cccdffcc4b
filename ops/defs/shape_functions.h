// Shape checks that several ops share.
#pragma once

#include <cstdint>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace ev::defs {

using tensorflow::shape_inference::InferenceContext;

// Input 0 is a scalar handle.
absl::Status HandleOnly(InferenceContext* c);
// Input 0 is a scalar handle; output 0 has the shape of input 1.
absl::Status LikeKeys(InferenceContext* c);
// Input 0 is a scalar handle; output 0 has the shape of input 1 and, behind it, the attribute dim.
absl::Status RowsOfKeys(InferenceContext* c);
// Input 0 is a scalar handle; output 0 is a scalar.
absl::Status HandleToScalar(InferenceContext* c);
// The attribute dims of an op over N tables.  InvalidArgument: it has not one for each.
absl::Status DimsOfTables(InferenceContext* c, std::vector<int64_t>* dims);
// handle, scalars..., grad [..., dim], keys [...], global_step: the last three inputs end the list.  grad must be
// keys.shape + [dim].
absl::Status Apply(InferenceContext* c);
// The same for N tables: handles, scalars..., grads, keys, global_step, and the attribute dims.
absl::Status GroupApply(InferenceContext* c);

}  // namespace ev::defs
