// The variable as a resource: its handle, its birth.
#include <vector>

#include "ops/defs/feature_attrs.h"
#include "ops/defs/shape_functions.h"
#include "ops/defs/storage_attrs.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace ev::defs {

using tensorflow::shape_inference::ShapeAndType;
using tensorflow::shape_inference::ShapeHandle;

REGISTER_OP("EvHandleOp")
    .Output("handle: resource")
    .Attr("container: string = ''")
    .Attr("shared_name: string = ''")
    .Attr("dim: int >= 1")
    .Attr("shape: shape = { unknown_rank: true }")
    .Attr("dtype: {float} = DT_FLOAT")
    .Attr("key_dtype: {int32, int64} = DT_INT64")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      int64_t dim = 0;
      TF_RETURN_IF_ERROR(c->GetAttr("dim", &dim));
      tensorflow::PartialTensorShape declared;
      TF_RETURN_IF_ERROR(c->GetAttr("shape", &declared));
      ShapeHandle shape;
      TF_RETURN_IF_ERROR(c->MakeShapeFromPartialTensorShape(declared, &shape));
      TF_RETURN_IF_ERROR(c->Merge(shape, c->MakeShape({c->UnknownDim(), c->MakeDim(dim)}), &shape));
      // What TensorFlow makes of the handle's shape is the gradient of a branch that was not taken: zeros of that shape.
      // A table that nobody read has a gradient without rows.
      c->set_output_handle_shapes_and_types(
          0, std::vector<ShapeAndType>{{c->MakeShape({c->MakeDim(0), c->MakeDim(dim)}), tensorflow::DT_FLOAT}});
      return absl::OkStatus();
    })
    .Doc(R"doc(
A handle to an embedding variable: a table from any int64 key to a row of `dim` floats.

The table exists once EvInitialize or EvImport has run on the handle.

handle: scalar.
container: resource container; the default one if empty.
shared_name: name of the resource; the node's name if empty.
dim: floats of one row.
shape: [rows of the default matrix, dim], the static shape that the variable shows in Python.
dtype: type of the rows.
key_dtype: type of the keys that Python gives and takes; keys are int64 inside.
)doc");

REGISTER_OP("EvInitialize")
    .Input("handle: resource")
    .Input("default_rows: float")
    .Attr("variable_name: string = ''")
    .Attr("record_frequency: bool = false")
    .Attr("record_version: bool = false")
    .EV_STORAGE_ATTRS.EV_FEATURE_ATTRS.SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleOnly(c));
      ShapeHandle unused;
      return c->WithRank(c->input(1), 2, &unused);
    })
    .Doc(R"doc(
Creates the table of a handle if there is none yet; a table that exists is left as it is.

default_rows: [default_value_dim, dim], at least one row. A key without a row of its own reads
  default_rows[floormod(key, default_value_dim)], and is inserted as a copy of it.
variable_name: for error messages; the handle's name if empty.
record_frequency: keep how often updates named each key.
record_version: keep the global step of each row's last update.
storage_type: the number of a StorageType; see ev_tf/variable/storage_type.h.
storage_path: directory for the files of tiers below DRAM.
dram_bytes: bytes of rows that DRAM holds if there is a tier below it.
middle_bytes: bytes of rows that the tier between DRAM and the last one holds, if there is one.
cache_strategy: which rows leave a full tier first: 0 those touched longest ago, 1 those touched least.
filter_freq: how often updates must name a key before it has a row; 0 gives every key a row with its first update.
max_element_size: keys that a counting Bloom filter is laid out for; 0: counts are exact.
false_positive_probability: of that filter.
counter_bytes: of a counter of that filter: 1, 2, 4 or 8.
default_value_no_permission: what a key without a row reads, if there is a filter.
steps_to_live: EvShrink drops rows at a step more than this after their version; 0: none. Needs record_version.
l2_weight_threshold: EvShrink drops rows of which half the sum of squares is below; none if not above 0.
)doc");

REGISTER_OP("EvIsInitialized")
    .Input("handle: resource")
    .Output("is_initialized: bool")
    .SetIsStateful()
    .SetShapeFn(HandleToScalar)
    .Doc("Whether the table of a handle exists.");

}  // namespace ev::defs
