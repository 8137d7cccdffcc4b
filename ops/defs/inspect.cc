// What a variable knows about itself, and rows taken away by name.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

REGISTER_OP("EvSize")
    .Input("handle: resource")
    .Output("size: int64")
    .SetIsStateful()
    .SetShapeFn(HandleToScalar)
    .Doc("How many keys have a row.");

REGISTER_OP("EvFrequency")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Output("frequencies: int64")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(LikeKeys)
    .Doc(R"doc(
How often updates named each key, duplicates counted; of a key without a row what a filter has counted, else 0. Inserts
nothing.

frequencies: shape of `keys`.
)doc");

REGISTER_OP("EvVersion")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Output("versions: int64")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(LikeKeys)
    .Doc(R"doc(
The global step of the last update that named each key; -1 if none did or nothing is known of it. Inserts nothing.

versions: shape of `keys`.
)doc");

REGISTER_OP("EvRemove")
    .Input("handle: resource")
    .Input("keys: Tkey")
    .Output("removed: int64")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(HandleToScalar)
    .Doc(R"doc(
Drops the rows of keys, slots included. Keys without a row and duplicates are no error.

removed: scalar, how many rows were dropped.
)doc");

REGISTER_OP("EvMetrics")
    .Input("handle: resource")
    .Output("names: string")
    .Output("values: int64")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      TF_RETURN_IF_ERROR(HandleOnly(c));
      const auto count = c->UnknownDim();
      c->set_output(0, c->Vector(count));
      c->set_output(1, c->Vector(count));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Gauges and counters of a variable since its creation. Bytes are of memory held.

names: [k].
values: [k].
)doc");

}  // namespace ev::defs
