// momentum; the rule stands in ev_tf/optim/momentum.h.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

REGISTER_OP("EvApplyMomentum")
    .Input("handle: resource")
    .Input("lr: float")
    .Input("momentum: float")
    .Input("grad: float")
    .Input("keys: Tkey")
    .Input("global_step: int64")
    .Attr("dim: int >= 1")
    .Attr("slot_names: list(string) >= 1")
    .Attr("slot_initial_values: list(float) >= 1")
    .Attr("use_nesterov: bool = false")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(Apply)
    .Doc(R"doc(
One step of momentum. Gradients of equal keys are summed first; missing keys are inserted from their default rows.
Slots, in order: momentum. A slot that the variable does not have yet is added to every row.

lr: scalar, finite, >= 0.
momentum: scalar, finite, >= 0.
grad: keys.shape + [dim].
keys: any shape.
global_step: scalar, becomes the rows' version where versions are recorded; < 0 leaves them.
dim: floats of one row of the variable.
slot_names: the variable's names of the slots; another name is another slot, so that two optimizers can share a variable.
slot_initial_values: what a slot of a new row is filled with.
use_nesterov: the form of Sutskever et al.
)doc");

}  // namespace ev::defs
