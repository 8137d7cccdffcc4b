"""The gradients of lookups: the slices that were looked up, never a dense tensor."""

from tensorflow.python.framework import constant_op, dtypes, indexed_slices, ops
from tensorflow.python.ops import array_ops, math_ops, while_v2

from ev_tf import patches
from ev_tf._native import raw_ops

# First dimension of a gradient's dense shape. A table has no rows to count, and no tensor can have this many: making the
# gradient dense unnoticed fails. int32, as in the gradient of a branch of tf.cond that was not taken.
NO_DENSE_ROWS = -1


def _refuse_loops():
  """Raises NotImplementedError where the gradient of a loop is made, which has no place for slices."""
  graph = ops.get_default_graph()
  while graph is not None:
    if isinstance(graph, while_v2._WhileBodyGradFuncGraph):  # pylint: disable=protected-access
      raise NotImplementedError(
          "a lookup in an EmbeddingVariable inside a loop of the graph (tf.while_loop, tf.map_fn, `for` over a tensor) "
          "has no gradient outside of it: TensorFlow sums those of a loop in a dense tensor, and a table has none. "
          "Look the ids up before the loop and use the rows in it, or take the gradient inside the loop.")
    graph = getattr(graph, "outer_graph", None)


def _slices(values, keys, dim):
  """IndexedSlices on a handle: values [n, dim] float32, indices [n], keys not summed; the update sums them."""
  _refuse_loops()
  dense_shape = constant_op.constant([NO_DENSE_ROWS, dim], dtypes.int32)
  return indexed_slices.IndexedSlices(values, keys, dense_shape)


@ops.RegisterGradient("EvGather")
def _gather_gradient(op, grad):
  patches.apply()  # whatever optimizer comes next has been imported by now
  dim = op.get_attr("dim")
  return [_slices(array_ops.reshape(grad, [-1, dim]), array_ops.reshape(op.inputs[1], [-1]), dim), None]


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
  return [_slices(values, keys, op.get_attr("dim")), None, None, None]


@ops.RegisterGradient("EvGroupGather")
def _group_gather_gradient(op, *grads):
  patches.apply()
  dims = op.get_attr("dims")
  keys = op.inputs[len(dims):]
  slices = [None if grad is None else
            _slices(array_ops.reshape(grad, [-1, dim]), array_ops.reshape(key, [-1]), dim)
            for grad, key, dim in zip(grads, keys, dims)]
  return [*slices, *[None] * len(dims)]


@ops.RegisterGradient("EvGroupLookup")
def _group_lookup_gradient(op, *grads):
  patches.apply()
  dims = op.get_attr("dims")
  tables = len(dims)
  row_grads, weight_grads = _combine_gradient(op, grads[:tables], op.outputs[tables:], op.inputs[2 * tables:])
  # identity: the gradient of a function is another function, whose outputs cannot be this one's inputs.
  slices = [None if grad is None else _slices(grad, array_ops.identity(keys), dim)
            for grad, keys, dim in zip(row_grads, op.inputs[tables:2 * tables], dims)]
  return [*slices, *[None] * (3 * tables), *weight_grads]


@ops.RegisterGradient("EvCombine")
def _combine_op_gradient(op, *grads):
  tables = len(grads)
  row_grads, weight_grads = _combine_gradient(op, grads, op.inputs[:tables], op.inputs[tables:])
  return [*row_grads, *[None] * (2 * tables), *weight_grads]


def _combine_gradient(op, grads, rows, inputs):
  """The gradients of the rows and of the weights; None for a table whose output has none.

  Args:
    op: with the attributes of EvCombine.
    grads: one of each table, or None.
    rows: one of each table, as EvCombineGrad takes them.
    inputs: indices, dense shapes and weights.
  """
  tables = len(grads)
  weighted = op.get_attr("weighted")
  weights = iter(inputs[2 * tables:])
  weights_of = [next(weights) if has else None for has in weighted]
  used = [t for t in range(tables) if grads[t] is not None]
  row_grads, weight_grads = [None] * tables, [None] * tables
  if used:
    of_used = lambda values: [values[t] for t in used]
    used_weights = [weights_of[t] for t in used if weighted[t]]
    out = raw_ops.ev_combine_grad(
        of_used(grads), of_used(rows), of_used(inputs[:tables]), of_used(inputs[tables:2 * tables]), used_weights,
        combiners=of_used(op.get_attr("combiners")), max_norms=of_used(op.get_attr("max_norms")),
        weighted=of_used(weighted), trim=op.get_attr("trim"))
    of_weights = iter(out.weight_grads)
    for t, grad in zip(used, out.row_grads):
      row_grads[t] = grad
      weight_grads[t] = next(of_weights) if weighted[t] else None
  return row_grads, [weight_grads[t] for t in range(tables) if weighted[t]]
