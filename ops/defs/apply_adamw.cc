// lazy Adam with decoupled weight decay; the rule stands in ev_tf/optim/adamw.h.
#include "ops/defs/shape_functions.h"

namespace ev::defs {

REGISTER_OP("EvApplyAdamW")
    .Input("handle: resource")
    .Input("lr: float")
    .Input("beta1: float")
    .Input("beta2: float")
    .Input("epsilon: float")
    .Input("beta1_power: float")
    .Input("beta2_power: float")
    .Input("weight_decay: float")
    .Input("grad: float")
    .Input("keys: Tkey")
    .Input("global_step: int64")
    .Attr("dim: int >= 1")
    .Attr("slot_names: list(string) >= 2")
    .Attr("slot_initial_values: list(float) >= 2")
    .Attr("Tkey: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(Apply)
    .Doc(R"doc(
One step of lazy Adam with decoupled weight decay. Gradients of equal keys are summed first; missing keys are inserted from their default rows.
Slots, in order: m, v. A slot that the variable does not have yet is added to every row.

lr: scalar, finite, >= 0.
beta1: scalar, in [0, 1).
beta2: scalar, in [0, 1).
epsilon: scalar, finite, >= 0.
beta1_power: scalar, beta1 ** t of step t, from 1, in [0, 1).
beta2_power: scalar, beta2 ** t, in [0, 1).
weight_decay: scalar, finite, >= 0, the whole factor of this step.
grad: keys.shape + [dim].
keys: any shape.
global_step: scalar, becomes the rows' version where versions are recorded; < 0 leaves them.
dim: floats of one row of the variable.
slot_names: the variable's names of the slots; another name is another slot, so that two optimizers can share a variable.
slot_initial_values: what a slot of a new row is filled with.
)doc");

}  // namespace ev::defs
