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

absl::Status DimsOfTables(InferenceContext* c, std::vector<int64_t>* dims) {
  int tables = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("N", &tables));
  TF_RETURN_IF_ERROR(c->GetAttr("dims", dims));
  if (static_cast<int>(dims->size()) != tables) {
    return absl::InvalidArgumentError("dims: expected one for each table");
  }
  return absl::OkStatus();
}

namespace {

// Handles, scalars, gradients, keys and a scalar, in this order.
absl::Status CheckApply(InferenceContext* c, const std::vector<int64_t>& dims) {
  ShapeHandle unused;
  const auto tables = static_cast<int>(dims.size());
  const int global_step = c->num_inputs() - 1;
  const int keys = global_step - tables;
  const int grads = keys - tables;
  for (int i = 0; i < grads; ++i) TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 0, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(global_step), 0, &unused));
  for (int t = 0; t < tables; ++t) {
    ShapeHandle expected;
    TF_RETURN_IF_ERROR(c->Concatenate(c->input(keys + t), c->Vector(dims[t]), &expected));
    TF_RETURN_IF_ERROR(c->Merge(c->input(grads + t), expected, &unused));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Apply(InferenceContext* c) {
  int64_t dim = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("dim", &dim));
  return CheckApply(c, {dim});
}

absl::Status GroupApply(InferenceContext* c) {
  std::vector<int64_t> dims;
  TF_RETURN_IF_ERROR(DimsOfTables(c, &dims));
  return CheckApply(c, dims);
}

}  // namespace ev::defs
