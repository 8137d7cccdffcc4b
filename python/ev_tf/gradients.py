"""The gradient of a lookup: the slices that were looked up, never a dense tensor."""

from tensorflow.python.framework import constant_op, dtypes, indexed_slices, ops
from tensorflow.python.ops import array_ops, math_ops

from ev_tf import patches

# First dimension of a gradient's dense shape. A table has no rows to count, and no tensor can have this many: making the
# gradient dense unnoticed fails. int32, as in the gradient of a branch of tf.cond that was not taken.
NO_DENSE_ROWS = -1


@ops.RegisterGradient("EvGather")
def _gather_gradient(op, grad):
  """IndexedSlices on the handle: values [n, dim] float32, indices [n], keys not summed; the update sums them."""
  patches.apply()  # whatever optimizer comes next has been imported by now
  keys = array_ops.reshape(op.inputs[1], [-1])
  values = array_ops.reshape(grad, [-1, op.get_attr("dim")])
  return [_slices(values, keys), None]


@ops.RegisterGradient("EvGatherWith")
def _gather_with_gradient(op, grad):
  """As of EvGather; a key that counts n times stands n times, with zeros but for the first."""
  patches.apply()
  keys = array_ops.reshape(op.inputs[1], [-1])
  values = array_ops.reshape(grad, [-1, op.get_attr("dim")])
  if op.get_attr("with_counts"):
    counts = array_ops.reshape(op.inputs[3], [-1])
    repeated = array_ops.repeat(keys, math_ops.maximum(counts - 1, 0))
    keys = array_ops.concat([keys, repeated], 0)
    values = array_ops.concat([values, array_ops.zeros([array_ops.size(repeated), op.get_attr("dim")])], 0)
  return [_slices(values, keys), None, None, None]


def _slices(values, keys):
  dense_shape = constant_op.constant([NO_DENSE_ROWS, int(values.shape[1])], dtypes.int32)
  return indexed_slices.IndexedSlices(values, keys, dense_shape)
