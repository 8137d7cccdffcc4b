"""The gradient of a lookup: the slices that were looked up, never a dense tensor."""

from tensorflow.python.framework import constant_op, dtypes, indexed_slices, ops
from tensorflow.python.ops import array_ops

from ev_tf import patches

# First dimension of a gradient's dense shape. A table has no rows to count, and no tensor can have this many: making the
# gradient dense unnoticed fails. int32, as in the gradient of a branch of tf.cond that was not taken.
NO_DENSE_ROWS = -1


@ops.RegisterGradient("EvGather")
def _gather_gradient(op, grad):
  """IndexedSlices on the handle: values [n, dim] float32, indices [n], keys not summed; the update sums them."""
  patches.apply()  # whatever optimizer comes next has been imported by now
  keys = array_ops.reshape(op.inputs[1], [-1])
  dim = op.get_attr("dim")
  values = array_ops.reshape(grad, [-1, dim])
  dense_shape = constant_op.constant([NO_DENSE_ROWS, dim], dtypes.int32)
  return [indexed_slices.IndexedSlices(values, keys, dense_shape), None]
