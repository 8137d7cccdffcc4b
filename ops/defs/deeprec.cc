// A table as the tensors of a DeepRec checkpoint.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

using tensorflow::shape_inference::DimensionHandle;

REGISTER_OP("EvExportDeepRec")
    .Input("handle: resource")
    .Output("keys: int64")
    .Output("values: float")
    .Output("frequencies: int64")
    .Output("versions: int64")
    .Output("partition_offset: int32")
    .Output("filtered_keys: int64")
    .Output("filtered_frequencies: int64")
    .Output("filtered_versions: int64")
    .Output("partition_filter_offset: int32")
    .Output("slots: num_slots * float")
    .Attr("num_slots: int >= 0")
    .Attr("dim: int >= 1")
    .Attr("slot_names: list(string)")
    .Attr("slot_initial_values: list(float)")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleOnly(c));
      int64_t dim = 0;
      TF_RETURN_IF_ERROR(c->GetAttr("dim", &dim));
      const DimensionHandle keys = c->UnknownDim(), filtered = c->UnknownDim();
      c->set_output(0, c->Vector(keys));
      c->set_output(1, c->Matrix(keys, c->MakeDim(dim)));
      for (int i : {2, 3}) c->set_output(i, c->Vector(c->UnknownDim()));
      for (int i : {4, 8}) c->set_output(i, c->Vector(1001));
      for (int i : {5, 6, 7}) c->set_output(i, c->Vector(filtered));
      for (int i = 9; i < c->num_outputs(); ++i) c->set_output(i, c->Matrix(keys, c->MakeDim(dim)));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Everything that a variable holds, as DeepRec saves it.

keys: [n], by floormod(key, 1000) and then by value.
values: [n, dim].
frequencies: [n], or [0] where not recorded.
versions: [n], or [0] where not recorded.
partition_offset: [1001], where the keys of each floormod(key, 1000) begin; the last is n.
filtered_keys: [m], keys that a filter has counted and not admitted, in the same order. [0] if the environment's
  TF_EV_SAVE_FILTERED_FEATURES is 0.
filtered_frequencies: [m].
filtered_versions: [m].
partition_filter_offset: [1001], the same of filtered_keys.
slots: [n, dim] of each slot name; a slot of one float a row is repeated. A slot that the variable lacks is its initial value.
slot_names: [num_slots], in the rows, "Adam/v".
slot_initial_values: [num_slots].
)doc");

}  // namespace ev::defs
