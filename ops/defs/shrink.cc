// Rows that are not worth keeping.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

REGISTER_OP("EvShrink")
    .Input("handle: resource")
    .Input("global_step: int64")
    .Output("dropped: int64")
    .Attr("skip_uninitialized: bool = false")
    .SetIsStateful()
    .SetShapeFn(HandleToScalar)
    .Doc(R"doc(
Drops the rows, of every tier, that the table's steps_to_live or l2_weight_threshold gives up, and counts of a filter that
are older than steps_to_live.

global_step: scalar, the step that ages count to; below 0: the largest step that an update has brought.
dropped: scalar, how many rows.
skip_uninitialized: drop nothing, instead of an error, when the table does not exist.
)doc");

}  // namespace ev::defs
