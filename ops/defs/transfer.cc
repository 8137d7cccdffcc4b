// A whole table out of its variable and back: checkpoints and export.
#include "ops/defs/feature_attrs.h"
#include "ops/defs/shape_functions.h"
#include "ops/defs/storage_attrs.h"

namespace ev::defs {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::ShapeHandle;

REGISTER_OP("EvExport")
    .Input("handle: resource")
    .Output("keys: int64")
    .Output("values: float")
    .Output("slots: float")
    .Output("slot_names: string")
    .Output("slot_dims: int64")
    .Output("slot_initials: float")
    .Output("frequencies: int64")
    .Output("versions: int64")
    .Output("default_rows: float")
    .Output("filtered_keys: int64")
    .Output("filtered_frequencies: int64")
    .Output("filtered_versions: int64")
    .Attr("dim: int >= 1")
    .Attr("empty_if_uninitialized: bool = false")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleOnly(c));
      int64_t dim = 0;
      TF_RETURN_IF_ERROR(c->GetAttr("dim", &dim));
      const DimensionHandle keys = c->UnknownDim();
      const DimensionHandle slots = c->UnknownDim();
      c->set_output(0, c->Vector(keys));
      c->set_output(1, c->Matrix(keys, c->MakeDim(dim)));
      c->set_output(2, c->Matrix(keys, c->UnknownDim()));
      for (int i = 3; i <= 5; ++i) c->set_output(i, c->Vector(slots));
      for (int i = 6; i <= 7; ++i) c->set_output(i, c->Vector(c->UnknownDim()));
      c->set_output(8, c->Matrix(c->UnknownDim(), c->MakeDim(dim)));
      const DimensionHandle filtered = c->UnknownDim();
      for (int i = 9; i <= 11; ++i) c->set_output(i, c->Vector(filtered));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Everything that a variable holds.

keys: [n], in no order.
values: [n, dim].
slots: [n, sum of slot_dims], the optimizer slots of a row behind one another.
slot_names: [s], what the columns of `slots` are.
slot_dims: [s], floats of each slot.
slot_initials: [s], what a slot of a new row is filled with.
frequencies: [n], or [0] where not recorded.
versions: [n], -1 for a row that no step has updated; or [0] where not recorded.
default_rows: [default_value_dim, dim].
filtered_keys: [m], in no order: keys that a filter with exact counts has counted and not admitted. [0] if the environment's
  TF_EV_SAVE_FILTERED_FEATURES is 0.
filtered_frequencies: [m], how often each was counted.
filtered_versions: [m], the global step of the last update that named it, -1 if none did or versions are not recorded.
empty_if_uninitialized: answer with empty tensors, not an error, when the table does not exist.
)doc");

REGISTER_OP("EvImport")
    .Input("handle: resource")
    .Input("keys: int64")
    .Input("values: float")
    .Input("slots: float")
    .Input("slot_names: string")
    .Input("slot_dims: int64")
    .Input("slot_initials: float")
    .Input("frequencies: int64")
    .Input("versions: int64")
    .Input("default_rows: float")
    .Input("filtered_keys: int64")
    .Input("filtered_frequencies: int64")
    .Input("filtered_versions: int64")
    .Attr("dim: int >= 1")
    .Attr("variable_name: string = ''")
    .Attr("record_frequency: bool = false")
    .Attr("record_version: bool = false")
    .EV_STORAGE_ATTRS.EV_FEATURE_ATTRS.SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleOnly(c));
      ShapeHandle unused;
      for (int i : {1, 4, 5, 6, 7, 8, 10, 11, 12}) TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 1, &unused));
      for (int i : {2, 3, 9}) TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 2, &unused));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Puts a table in the place of a variable's: what EvExport gave is what the variable holds afterwards. The table is created if
there was none. On an error the variable is as it was.

keys: [n], distinct.
values: [n, dim].
slots: [n, sum of slot_dims], or [0, any] to give the slots their initial values.
frequencies: [n], or [0] for unknown.
versions: [n], or [0] for unknown.
default_rows: [default_value_dim, dim].
filtered_keys: [m], keys that a filter has counted and not admitted; left out by a variable without a filter.
filtered_frequencies: [m], at least 1.
filtered_versions: [m], -1 for unknown.
dim: floats of one row that the variable expects. With TF_EV_RESTORE_CUSTOM_DIM=1 in the environment rows of another dim are cut,
  or filled with what the variable reads for their keys; it must exist then.
variable_name: for error messages; the handle's name if empty.
record_frequency: keep how often updates name each key.
record_version: keep the global step of each row's last update.
storage_type: the number of a StorageType; see ev_tf/variable/storage_type.h.
storage_path: directory for the files of a tier below DRAM.
dram_bytes: bytes of rows that DRAM holds if there is a tier below it.
cache_strategy: which rows leave DRAM first: 0 those touched longest ago, 1 those touched least.
filter_freq: how often updates must name a key before it has a row; 0 gives every key a row with its first update.
max_element_size: keys that a counting Bloom filter is laid out for; 0: counts are exact.
false_positive_probability: of that filter.
counter_bytes: of a counter of that filter: 1, 2, 4 or 8.
default_value_no_permission: what a key without a row reads, if there is a filter.
steps_to_live: EvShrink drops rows at a step more than this after their version; 0: none. Needs record_version.
l2_weight_threshold: EvShrink drops rows of which half the sum of squares is below; none if not above 0.
)doc");

}  // namespace ev::defs
