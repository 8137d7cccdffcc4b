"""An optimizer of tf.compat.v1.train whose formula for dense variables is written once, for a batch of rows."""

import dataclasses

import tensorflow as tf
from tensorflow.python.ops import state_ops


@dataclasses.dataclass(frozen=True)
class Slot:
  """One slot of a dense variable.

  Args:
    name: str, e.g. "accumulator".
    initial: float, every element of it at the start.
    per_row: bool, default False. One number for each row (of the first dimension) instead of one for each element.
    dtype: default None, the variable's.
  """

  name: str
  initial: float = 0.0
  per_row: bool = False
  dtype: tf.DType = None


class RowOptimizer(tf.compat.v1.train.Optimizer):
  """Updates rows of dense variables by a formula: all rows, or those that an IndexedSlices gradient names.

  A subclass gives `_slot_list()` and `_step()`. How it updates an embedding variable, `ev_tf.optimizers.v1.register` says.
  """

  def _slot_list(self):
    """The Slots of every variable, in the order of `_step`."""
    raise NotImplementedError

  def _step(self, var, rows, grads, slots, sparse):
    """One step on some rows.

    Args:
      var: the variable.
      rows: [n, ...], rows of the variable; a scalar variable is one row of no dimension.
      grads: like rows.
      slots: list of tensors, like rows; a slot per row is [n, 1, ...].
      sparse: bool, whether the gradient is IndexedSlices.

    Returns:
      (rows, list of slots) after the step.
    """
    raise NotImplementedError

  def _create_slots(self, var_list):
    for var in var_list:
      for slot in self._slot_list():
        shape = var.shape[:1] if slot.per_row else var.shape
        dtype = slot.dtype or var.dtype.base_dtype
        initializer = tf.compat.v1.constant_initializer(dtype.as_numpy_dtype(slot.initial), dtype=dtype)
        self._get_or_make_slot_with_initializer(var, initializer, shape, dtype, slot.name, self._name)

  def _update(self, var, grad, indices=None):
    slots = [self.get_slot(var, slot.name) for slot in self._slot_list()]
    read = (lambda v: tf.gather(v, indices)) if indices is not None else tf.identity
    old_rows, old_slots = read(var), [read(slot) for slot in slots]
    row_rank = max(len(var.shape), 1) - 1
    wide = [tf.reshape(old, [-1] + [1] * row_rank) if slot.per_row else _as_rows(old)
            for slot, old in zip(self._slot_list(), old_slots)]
    new_rows, new_slots = self._step(var, _as_rows(old_rows), _as_rows(grad), wide, indices is not None)
    # Reference variables are written in place: everything is read before anything is written.
    with after(new_rows, *new_slots):
      writes = [self._write(v, tf.reshape(new, tf.shape(old)), indices)
                for v, new, old in zip([var, *slots], [new_rows, *new_slots], [old_rows, *old_slots])]
    with after(*writes):
      return tf.no_op()

  def _write(self, var, value, indices):
    if indices is None:
      return state_ops.assign(var, value, use_locking=self._use_locking)
    return state_ops.scatter_update(var, indices, value, use_locking=self._use_locking)

  def _hyper(self, value, var):
    """A hyperparameter, number, tensor or callable, as a scalar of the variable's dtype."""
    return tf.cast(self._call_if_callable(value), var.dtype.base_dtype)

  def _apply_dense(self, grad, var):
    return self._update(var, grad)

  def _resource_apply_dense(self, grad, handle):
    return self._update(handle, grad)

  def _apply_sparse(self, grad, var):
    return self._update(var, grad.values, grad.indices)

  def _resource_apply_sparse(self, grad, handle, indices):
    return self._update(handle, grad, indices)


def after(*done):
  """What is built in it runs once the tensors or assignments `done` are there; eager code runs in order anyway."""
  return tf.control_dependencies([] if tf.executing_eagerly() else [x.op for x in done])


def _as_rows(tensor):
  return tensor if tensor.shape.rank else tf.reshape(tensor, [1])
