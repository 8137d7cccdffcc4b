// Stochastic gradient descent; the rule stands in ev_tf/optim/sgd.h.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

REGISTER_OP("EvApplySgd")
    .Input("handle: resource")
    .Input("lr: float")
    .Input("grad: float")
    .Input("keys: Tkey")
    .Input("global_step: int64")
    .Attr("dim: int >= 1")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(Apply)
    .Doc(R"doc(
One step of gradient descent. Gradients of equal keys are summed first; missing keys are inserted from their default rows.

lr: scalar, finite, >= 0.
grad: keys.shape + [dim].
keys: any shape.
global_step: scalar, becomes the rows' version where versions are recorded; < 0 leaves them.
dim: floats of one row of the variable.
)doc");

}  // namespace ev::defs
