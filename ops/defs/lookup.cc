// Rows of keys.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

REGISTER_OP("EvGather")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Output("rows: float")
    .Attr("dim: int >= 1")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(RowsOfKeys)
    .Doc(R"doc(
The rows of keys. A key without a row reads its default row; nothing is inserted.

keys: any shape; any value is a legal key; duplicates are welcome.
rows: keys.shape + [dim].
dim: floats of one row of the variable.
)doc");

REGISTER_OP("EvGatherWith")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Input("initial_rows: float")
    .Input("counts: int64")
    .Output("rows: float")
    .Attr("dim: int >= 1")
    .Attr("with_initial_rows: bool")
    .Attr("with_counts: bool")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(RowsOfKeys)
    .Doc(R"doc(
The rows of keys, as EvGather gives them, where a caller knows more of the keys.

keys: any shape; any value is a legal key.
initial_rows: with_initial_rows: as many elements as `rows`. A key without a row gets this one before it is read; of a key
  that stands twice the first. Not for a table with a filter.
counts: with_counts: as many elements as `keys`, how often each came; the update of the same step counts it so often.
rows: keys.shape + [dim].
dim: floats of one row of the variable.
)doc");

}  // namespace ev::defs
