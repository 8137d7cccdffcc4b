// Lookups of many variables in one op, and rows combined entry by entry.
#include <string>
#include <vector>

#include "ops/defs/shape_functions.h"

namespace ev::defs {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::ShapeHandle;

// Inputs and attributes that say how rows are combined; see EvCombine.
struct CombineInputs {
  int tables = 0;
  int indices = 0;  // the first of the list
  int shapes = 0;
  std::vector<std::string> combiners;
  bool trim = false;
};

absl::Status ReadCombine(InferenceContext* c, int first_list, CombineInputs* in) {
  TF_RETURN_IF_ERROR(c->GetAttr("N", &in->tables));
  TF_RETURN_IF_ERROR(c->GetAttr("combiners", &in->combiners));
  TF_RETURN_IF_ERROR(c->GetAttr("trim", &in->trim));
  if (static_cast<int>(in->combiners.size()) != in->tables) {
    return absl::InvalidArgumentError("combiners: expected one for each table");
  }
  in->indices = first_list;
  in->shapes = first_list + in->tables;
  for (int t = 0; t < in->tables; ++t) {
    ShapeHandle unused;
    TF_RETURN_IF_ERROR(c->WithRankAtMost(c->input(in->indices + t), 2, &unused));
    TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(in->indices + t), 1, &unused));
    TF_RETURN_IF_ERROR(c->WithRank(c->input(in->shapes + t), 1, &unused));
  }
  return absl::OkStatus();
}

// [entries, dim]; for "tile" [rows, width * dim].
absl::Status CombinedShape(InferenceContext* c, const CombineInputs& in, int table, DimensionHandle dim,
                           ShapeHandle* out) {
  ShapeHandle dense;
  DimensionHandle rows = c->UnknownDim(), width = c->UnknownDim();
  TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(in.shapes + table, &dense));
  if (c->RankKnown(dense) && c->Rank(dense) >= 1) rows = c->Dim(dense, 0);
  if (c->RankKnown(dense) && c->Rank(dense) >= 2) width = c->Dim(dense, 1);
  if (in.combiners[table] == "tile") {
    DimensionHandle tiled;
    TF_RETURN_IF_ERROR(c->Multiply(width, dim, &tiled));
    *out = c->Matrix(rows, tiled);
  } else {
    *out = c->Matrix(in.trim ? c->UnknownDim() : rows, dim);
  }
  return absl::OkStatus();
}

absl::Status GroupGatherShape(InferenceContext* c) {
  std::vector<int64_t> dims;
  TF_RETURN_IF_ERROR(DimsOfTables(c, &dims));
  const auto tables = static_cast<int>(dims.size());
  for (int t = 0; t < tables; ++t) {
    ShapeHandle rows;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(t), 0, &rows));
    TF_RETURN_IF_ERROR(c->Concatenate(c->input(tables + t), c->Vector(dims[t]), &rows));
    c->set_output(t, rows);
  }
  return absl::OkStatus();
}

absl::Status GroupLookupShape(InferenceContext* c) {
  std::vector<int64_t> dims;
  TF_RETURN_IF_ERROR(DimsOfTables(c, &dims));
  const auto tables = static_cast<int>(dims.size());
  CombineInputs in;
  TF_RETURN_IF_ERROR(ReadCombine(c, 2 * tables, &in));
  for (int t = 0; t < tables; ++t) {
    ShapeHandle unused, out;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(t), 0, &unused));
    TF_RETURN_IF_ERROR(c->WithRank(c->input(tables + t), 1, &unused));
    TF_RETURN_IF_ERROR(CombinedShape(c, in, t, c->MakeDim(dims[t]), &out));
    c->set_output(t, out);
    c->set_output(tables + t, c->Matrix(c->UnknownDim(), dims[t]));
  }
  return absl::OkStatus();
}

absl::Status CombineShape(InferenceContext* c) {
  int tables = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("N", &tables));
  CombineInputs in;
  TF_RETURN_IF_ERROR(ReadCombine(c, tables, &in));
  for (int t = 0; t < tables; ++t) {
    ShapeHandle rows, out;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(t), 2, &rows));
    TF_RETURN_IF_ERROR(CombinedShape(c, in, t, c->Dim(rows, 1), &out));
    c->set_output(t, out);
  }
  return absl::OkStatus();
}

absl::Status CombineGradShape(InferenceContext* c) {
  int tables = 0, weighted = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("N", &tables));
  TF_RETURN_IF_ERROR(c->GetAttr("W", &weighted));
  for (int t = 0; t < tables; ++t) {
    ShapeHandle indices, rows;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(tables + t), 2, &rows));
    TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(2 * tables + t), 1, &indices));
    c->set_output(t, c->Matrix(c->Dim(indices, 0), c->Dim(rows, 1)));
  }
  for (int w = 0; w < weighted; ++w) c->set_output(tables + w, c->input(4 * tables + w));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("EvGroupGather")
    .Input("handles: N * resource")
    .Input("keys: N * Tkey")
    .Output("rows: N * float")
    .Attr("N: int >= 1")
    .Attr("dims: list(int)")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(GroupGatherShape)
    .Doc(R"doc(
EvGather of N variables at once.

rows: of each table keys.shape + [dim].
dims: floats of one row of each variable.
)doc");

REGISTER_OP("EvGroupLookup")
    .Input("handles: N * resource")
    .Input("keys: N * Tkey")
    .Input("indices: N * int64")
    .Input("dense_shapes: N * int64")
    .Input("weights: W * float")
    .Output("combined: N * float")
    .Output("rows: N * float")
    .Attr("N: int >= 1")
    .Attr("W: int >= 0")
    .Attr("dims: list(int)")
    .Attr("combiners: list({'sum', 'mean', 'sqrtn', 'tile'})")
    .Attr("max_norms: list(float)")
    .Attr("weighted: list(bool)")
    .Attr("trim: bool = false")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(GroupLookupShape)
    .Doc(R"doc(
Rows of the keys of N variables, combined entry by entry: EvGather and EvCombine in one.

keys: of each table a vector.
rows: what was read, [keys, dim], where the gradient needs it: for tables with weights or a norm; else [0, dim].
dims: floats of one row of each variable.
For the other inputs and attributes see EvCombine.
)doc");

REGISTER_OP("EvCombine")
    .Input("rows: N * float")
    .Input("indices: N * int64")
    .Input("dense_shapes: N * int64")
    .Input("weights: W * float")
    .Output("combined: N * float")
    .Attr("N: int >= 1")
    .Attr("W: int >= 0")
    .Attr("combiners: list({'sum', 'mean', 'sqrtn', 'tile'})")
    .Attr("max_norms: list(float)")
    .Attr("weighted: list(bool)")
    .Attr("trim: bool = false")
    .SetShapeFn(CombineShape)
    .Doc(R"doc(
Rows combined entry by entry: one entry for each row of a sparse matrix of ids, of N tables at once.

rows: of each table [ids, dim].
indices: [ids, 1 or 2] or [ids], where each id stands in its sparse matrix, in row-major order.
dense_shapes: the shape of the sparse matrix, of which the first element, for "tile" the first two, are used.
weights: of each weighted table one for each id.
combined: [dense_shape[0], dim]; an entry without ids is zeros. "tile" puts the rows of an entry side by side instead, at
  their columns: [dense_shape[0], dense_shape[1] * dim].
max_norms: rows are scaled to at most this L2 norm first; 0 for any.
weighted: which tables have weights.
trim: leave out the empty entries at the end, as tf.nn.embedding_lookup_sparse does; not for "tile".
)doc");

REGISTER_OP("EvCombineGrad")
    .Input("grads: N * float")
    .Input("rows: N * float")
    .Input("indices: N * int64")
    .Input("dense_shapes: N * int64")
    .Input("weights: W * float")
    .Output("row_grads: N * float")
    .Output("weight_grads: W * float")
    .Attr("N: int >= 1")
    .Attr("W: int >= 0")
    .Attr("combiners: list({'sum', 'mean', 'sqrtn', 'tile'})")
    .Attr("max_norms: list(float)")
    .Attr("weighted: list(bool)")
    .Attr("trim: bool = false")
    .SetShapeFn(CombineGradShape)
    .Doc(R"doc(
The gradient of EvCombine.

grads: those of `combined`.
rows: as in EvCombine; [0, dim] where neither weights nor a norm are used.
row_grads: [ids, dim].
)doc");

}  // namespace ev::defs
