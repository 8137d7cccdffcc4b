#include "ops/defs/shape_functions.h"

namespace ev::defs {

using tensorflow::shape_inference::ShapeHandle;

absl::Status HandleOnly(InferenceContext* c) {
  ShapeHandle unused;
  return c->WithRank(c->input(0), 0, &unused);
}

absl::Status LikeKeys(InferenceContext* c) {
  TF_RETURN_IF_ERROR(HandleOnly(c));
  c->set_output(0, c->input(1));
  return absl::OkStatus();
}

absl::Status RowsOfKeys(InferenceContext* c) {
  TF_RETURN_IF_ERROR(HandleOnly(c));
  int64_t dim = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("dim", &dim));
  ShapeHandle rows;
  TF_RETURN_IF_ERROR(c->Concatenate(c->input(1), c->Vector(dim), &rows));
  c->set_output(0, rows);
  return absl::OkStatus();
}

absl::Status HandleToScalar(InferenceContext* c) {
  TF_RETURN_IF_ERROR(HandleOnly(c));
  c->set_output(0, c->Scalar());
  return absl::OkStatus();
}

absl::Status Apply(InferenceContext* c) {
  TF_RETURN_IF_ERROR(HandleOnly(c));
  ShapeHandle unused;
  const int global_step = c->num_inputs() - 1;
  const int keys = global_step - 1;
  const int grad = keys - 1;
  for (int i = 1; i < grad; ++i) TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 0, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(global_step), 0, &unused));
  int64_t dim = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("dim", &dim));
  ShapeHandle expected;
  TF_RETURN_IF_ERROR(c->Concatenate(c->input(keys), c->Vector(dim), &expected));
  return c->Merge(c->input(grad), expected, &unused);
}

}  // namespace ev::defs
