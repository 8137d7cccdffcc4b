// A table to a file for serving, and a table that is served from it.
#include "ops/defs/shape_functions.h"

namespace ev::defs {
namespace {

absl::Status HandleAndPath(InferenceContext* c) {
  TF_RETURN_IF_ERROR(HandleOnly(c));
  tensorflow::shape_inference::ShapeHandle unused;
  return c->WithRank(c->input(1), 0, &unused);
}

}  // namespace

REGISTER_OP("EvSaveFrozen")
    .Input("handle: resource")
    .Input("path: string")
    .Attr("served_from: {'memory', 'files'}")
    .SetIsStateful()
    .SetShapeFn(HandleAndPath)
    .Doc(R"doc(
Writes what lookups read of a variable to the file `path`: no slots, frequencies, versions nor counts of a filter.

path: scalar, on a local or mounted file system. Files beside it whose names begin with it and ".segment-" belong to it.
served_from: 'memory': who loads the file has its rows in memory; 'files': it reads them from the files.
)doc");

REGISTER_OP("EvInitializeFrozen")
    .Input("handle: resource")
    .Input("path: string")
    .Attr("dim: int >= 1")
    .Attr("variable_name: string = ''")
    .Attr("dram_bytes: int = 1073741824")
    .Attr("cache_strategy: int = 1")
    .SetIsStateful()
    .SetShapeFn(HandleAndPath)
    .Doc(R"doc(
Makes the table of a handle from a file that EvSaveFrozen wrote, unless it exists. Updates of it are refused, and nothing is written
anywhere; files that it reads rows from are to stay for as long as it does.

path: scalar, of the file, wherever it is by now, with those beside it.
dim: floats of one row.
variable_name: for error messages; the handle's name if empty.
dram_bytes: of rows that are kept in memory, where the others are read from files; the environment's TF_EV_SERVING_DRAM_BYTES counts
  before it.
cache_strategy: which of them go first; see EvInitialize.
)doc");

}  // namespace ev::defs
