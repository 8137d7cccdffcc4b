// Rows between DRAM and the tiers below it.
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
Where the row of each key is: 0 DRAM, 1 and 2 the tiers below it, -1 a key without a row. Moves nothing.

tiers: shape of `keys`.
)doc");

REGISTER_OP("EvFlushEvictions").Input("handle: resource").SetIsStateful().SetShapeFn(HandleOnly).Doc(R"doc(
Moves rows down until DRAM, and a tier between it and the last one, hold no more than they should, and returns when they have
arrived. Nothing to do without a tier below.
)doc");

REGISTER_OP("EvTierMetrics")
    .Input("handle: resource")
    .Output("names: string")
    .Output("values: double")
    .Attr("tiers: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleOnly(c));
      int64_t tiers = 0;
      TF_RETURN_IF_ERROR(c->GetAttr("tiers", &tiers));
      const auto count = c->UnknownDim();
      c->set_output(0, c->Vector(count));
      c->set_output(1, c->Matrix(tiers == 0 ? c->UnknownDim() : c->MakeDim(tiers), count));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Gauges and counters of each tier of a variable; see ev_tf/tier/tier_metrics.h. New ones come at the end.

names: [k].
values: [tiers, k], from the fastest tier down.
tiers: how many tiers to give, zeros for those that the variable has not; 0 gives those that it has.
)doc");

REGISTER_OP("EvPrefetch")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(HandleOnly)
    .Doc(R"doc(
Brings the rows of keys up to DRAM, as a lookup of them would, and returns when they are there. Inserts nothing. Reads on the
thread that it is called on, and takes none of the threads that other ops compute with.

keys: any shape; duplicates are welcome.
)doc");

}  // namespace ev::defs
