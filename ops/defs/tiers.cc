// Rows between DRAM and the tier below it.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

REGISTER_OP("EvLookupTier")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Output("tiers: int32")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(LikeKeys)
    .Doc(R"doc(
Where the row of each key is: 0 DRAM, 1 the tier below it, -1 a key without a row. Moves nothing.

tiers: shape of `keys`.
)doc");

REGISTER_OP("EvFlushEvictions").Input("handle: resource").SetIsStateful().SetShapeFn(HandleOnly).Doc(R"doc(
Moves rows down until DRAM holds no more than it should, and returns when they have arrived. Nothing to do without a tier
below.
)doc");

REGISTER_OP("EvPrefetch")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(HandleOnly)
    .Doc(R"doc(
Brings the rows of keys up to DRAM, as a lookup of them would, and returns when they are there. Inserts nothing.

keys: any shape; duplicates are welcome.
)doc");

}  // namespace ev::defs
