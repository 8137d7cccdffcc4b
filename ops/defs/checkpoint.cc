// A table to a file beside a TensorFlow checkpoint, and back.
#include "ops/defs/feature_attrs.h"
#include "ops/defs/shape_functions.h"
#include "ops/defs/storage_attrs.h"

namespace ev::defs {

using tensorflow::shape_inference::ShapeHandle;

REGISTER_OP("EvSave")
    .Input("handle: resource")
    .Input("prefix: string")
    .Output("manifest: string")
    .Attr("tensor_name: string")
    .Attr("partition: int >= 0 = 0")
    .Attr("partitions: int >= 1 = 1")
    .Attr("frozen: {'no', 'memory', 'files'} = 'no'")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleToScalar(c));
      ShapeHandle unused;
      return c->WithRank(c->input(1), 0, &unused);
    })
    .Doc(R"doc(
Writes everything that a variable holds to a file beside the checkpoint `prefix`, while training goes on. What a filter has
counted is left out if the environment's TF_EV_SAVE_FILTERED_FEATURES is 0.

prefix: scalar, the checkpoint's, on a local or mounted file system.
manifest: scalar, which names the file.
tensor_name: of the tensor that will hold the manifest in the checkpoint, as it is or beside those of other parts.
partition: which part of a table the variable is.
partitions: of how many.
frozen: not 'no': only what lookups read, for a table that refuses updates and has its rows in memory, or reads them from files.
)doc");

REGISTER_OP("EvSaveLink")
    .Input("handle: resource")
    .Input("prefix: string")
    .Input("previous: string")
    .Output("manifests: string")
    .Attr("tensor_name: string")
    .Attr("partition: int >= 0 = 0")
    .Attr("partitions: int >= 1 = 1")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleToScalar(c));
      ShapeHandle unused;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 0, &unused));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 0, &unused));
      c->set_output(0, c->Vector(c->UnknownDim()));
      return absl::OkStatus();
    })
    .Doc(R"doc(
A link of a chain of saves: everything that a variable holds, or what has changed since `previous`, to a file beside the
checkpoint `prefix`, while training goes on. From the first link on, the variable notes which rows change.

prefix: scalar, the checkpoint's, on a local or mounted file system.
previous: scalar, prefix of the checkpoint that the variable's last link was saved in, in the same directory: the file holds
  what has changed since. Empty: a new chain, with everything.
manifests: [n], which name the files of the chain, the new one last.
tensor_name: of the tensor that holds the manifests in the checkpoints.
partition: which part of a table the variable is.
partitions: of how many.
)doc");

REGISTER_OP("EvFindTables")
    .Input("prefix: string")
    .Output("manifests: string")
    .Attr("base: string")
    .Attr("suffix: string")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle unused;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &unused));
      c->set_output(0, c->Vector(c->UnknownDim()));
      return absl::OkStatus();
    })
    .Doc(R"doc(
The manifests of a table in a checkpoint, whether it was saved whole or in parts.

prefix: scalar, the checkpoint's.
manifests: [n], the tensor `base` + `suffix` of the checkpoint, or else the tensors `base`/part_0 + `suffix`,
  `base`/part_1 + `suffix` and so on.
)doc");

REGISTER_OP("EvRestore")
    .Input("handle: resource")
    .Input("prefix: string")
    .Input("manifests: string")
    .Input("default_rows: num_default_rows * float")
    .Attr("num_default_rows: int >= 0 = 0")
    .Attr("slot_tensors: list(string) = []")
    .Attr("slot_names: list(string) = []")
    .Attr("slot_dims: list(int) = []")
    .Attr("slot_initial_values: list(float) = []")
    .Attr("partition: int >= 0 = 0")
    .Attr("partitions: int >= 1 = 1")
    .Attr("dim: int >= 1")
    .Attr("variable_name: string = ''")
    .Attr("record_frequency: bool = false")
    .Attr("record_version: bool = false")
    .Attr("warm_start: bool = false")
    .Attr("key_dtype: {int32, int64} = DT_INT64")
    .EV_STORAGE_ATTRS.EV_FEATURE_ATTRS.SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleOnly(c));
      ShapeHandle unused;
      return c->WithRank(c->input(1), 0, &unused);
    })
    .Doc(R"doc(
Puts a table that EvSave or DeepRec wrote in the place of a variable's. The table is created if there was none. On an error the variable
is as it was. What EvSave froze becomes a table that refuses updates, whatever the attributes that say where rows are kept and
which have one; the environment's TF_EV_SERVING_DRAM_BYTES counts before dram_bytes. With TF_EV_RESET_VERSION=1 in the environment rows and counts get the version 0; with
TF_EV_RESTORE_FILTERED_FEATURES=0 what a filter has counted is left out.

prefix: scalar, the checkpoint's.
manifests: any shape, at least one: what EvSave or EvSaveLink gave of the table, or of each of its parts, or what EvFindTables found.
default_rows: [default_value_dim, dim], at most one: the variable's own, where it does not exist yet. What DeepRec wrote has none.
slot_tensors: the optimizer slots of DeepRec's that are taken, "Adam_1" for the variable v/Adam_1.
slot_names: [s], the same slots in the rows, "Adam/v".
slot_dims: [s], floats of each, 0 for as many as the tensor has.
slot_initial_values: [s], what a slot of a new row is filled with.
partition: take the keys with floormod(floormod(key, 1000), partitions) == partition, and no others.
partitions: see partition; 1 takes all.
dim: floats of one row that the variable expects. With TF_EV_RESTORE_CUSTOM_DIM=1 in the environment rows of another dim are cut,
  or filled with what the variable reads for their keys.
variable_name: for error messages; the handle's name if empty.
warm_start: take rows and counts for another training: slots start from their initial values, and versions are 0.
key_dtype: type of the ids that the variable is asked for; a key that it cannot express is an error.
record_frequency, record_version, and those behind them: see EvImport.
)doc");

}  // namespace ev::defs
