"""One optimizer step on an embedding variable: the ops, with the gradient as it comes out of the lookup.

Gradients of equal ids are summed inside the op, so IndexedSlices are passed on raw.
"""

import tensorflow as tf

from ev_tf._native import raw_ops

SUPPORTED = "GradientDescent/SGD, Momentum, Adagrad, RMSProp, Adam, AdamW, Ftrl and those of ev_tf.train"


class RowUpdate:
  """One step of one optimizer on one variable. Each method is an optimizer; it returns what the op returns.

  Args:
    variable: EmbeddingVariable.
    gradient: IndexedSlices of its lookups, values float [n, dim], indices [n]; duplicates are welcome.
    optimizer: the optimizer object; its slots are its own.
    slot_base: str, first part of the slots' names in the rows, e.g. "Adagrad".
    global_step: scalar int64 or int, version of the rows that are updated; -1 for none.

  Raises:
    TypeError: the gradient is not IndexedSlices.
  """

  def __init__(self, variable, gradient, optimizer, slot_base, global_step=-1):
    if not isinstance(gradient, tf.IndexedSlices):
      raise TypeError(f"gradient of EmbeddingVariable {variable.name!r}: expected tf.IndexedSlices, as lookups give, got "
                      f"{gradient!r}. Scale or clip gradient.values and build tf.IndexedSlices again.")
    self.variable = variable
    self.keys = gradient.indices
    self._optimizer = optimizer
    self._slot_base = slot_base
    self._batch = dict(grad=_float(gradient.values), keys=gradient.indices, global_step=tf.cast(global_step, tf.int64),
                       dim=variable.dim)

  def _slots(self, **initial_values):
    scope = self.variable._slot_scope(self._optimizer, self._slot_base)  # pylint: disable=protected-access
    return dict(slot_names=[f"{scope}/{name}" for name in initial_values],
                slot_initial_values=[float(value) for value in initial_values.values()])

  def _apply(self, op, *hyper, **slots_and_attrs):
    return op(self.variable.handle, *[_float(x) for x in hyper], **slots_and_attrs, **self._batch)

  def sgd(self, lr):
    """value -= lr * grad."""
    return self._apply(raw_ops.ev_apply_sgd, lr)

  def momentum(self, lr, momentum, use_nesterov=False):
    """m = momentum * m + grad; value -= lr * m."""
    return self._apply(raw_ops.ev_apply_momentum, lr, momentum, use_nesterov=use_nesterov, **self._slots(momentum=0.0))

  def keras_momentum(self, lr, momentum, use_nesterov=False):
    """m = momentum * m + lr * grad; value -= m: the learning rate of a step stays in the velocity."""
    self._batch["grad"] = self._batch["grad"] * _float(lr)
    return self.momentum(1.0, momentum, use_nesterov)

  def adagrad(self, lr, initial_accumulator_value, epsilon=0.0):
    """a += grad^2; value -= lr * grad / sqrt(a + epsilon)."""
    return self._apply(raw_ops.ev_apply_adagrad, lr, epsilon, **self._slots(accumulator=initial_accumulator_value))

  def adagrad_decay(self, lr, decay_rate, initial_accumulator_value, step, decay_step):
    """Adagrad whose accumulator is multiplied by decay_rate once in decay_step steps."""
    return raw_ops.ev_apply_adagrad_decay(
        self.variable.handle, _float(lr), _float(decay_rate), _float(initial_accumulator_value), tf.cast(step, tf.int64),
        tf.cast(decay_step, tf.int64), **self._batch,
        **self._slots(accumulator=initial_accumulator_value, accumulator_decay_power=0.0))

  def row_wise_adagrad(self, lr, initial_accumulator_value, epsilon):
    """a += mean(grad^2); value -= lr * grad / (sqrt(a) + epsilon)."""
    return self._apply(raw_ops.ev_apply_row_wise_adagrad, lr, epsilon,
                       **self._slots(accumulator=initial_accumulator_value))

  def rms_prop(self, lr, decay, momentum, epsilon, slots, centered=False, with_momentum=False):
    """ms = decay * ms + (1 - decay) * grad^2; value -= lr * grad / sqrt(ms + epsilon).

    `slots` gives names and initial values of the slots, in the order of ev_tf/optim/rms_prop.h; see rms_prop_slots.
    """
    return self._apply(raw_ops.ev_apply_rms_prop, lr, decay, momentum, epsilon, centered=centered,
                       with_momentum=with_momentum, **self._slots(**slots))

  def adam(self, lr, beta1, beta2, epsilon, beta1_power, beta2_power):
    """Lazy Adam: rows that the batch does not name do not move."""
    return self._apply(raw_ops.ev_apply_adam, lr, beta1, beta2, epsilon, beta1_power, beta2_power,
                       **self._slots(m=0.0, v=0.0))

  def adamw(self, lr, beta1, beta2, epsilon, beta1_power, beta2_power, weight_decay):
    """value -= weight_decay * value, then lazy Adam."""
    return self._apply(raw_ops.ev_apply_adam_w, lr, beta1, beta2, epsilon, beta1_power, beta2_power, weight_decay,
                       **self._slots(m=0.0, v=0.0))

  def ftrl(self, lr, l1, l2, l2_shrinkage, lr_power, initial_accumulator_value, group_l1=False):
    """FTRL-proximal; l1 on each element, or on the norm of the row."""
    return self._apply(raw_ops.ev_apply_ftrl, lr, l1, l2, l2_shrinkage, lr_power, group_l1=group_l1,
                       **self._slots(accumulator=initial_accumulator_value, linear=0.0))


def rms_prop_slots(initial_rms, centered, with_momentum):
  """The `slots` of RowUpdate.rms_prop under TensorFlow's names."""
  slots = dict(rms=initial_rms)
  if centered:
    slots["mg"] = 0.0
  if with_momentum:
    slots["momentum"] = 0.0
  return slots


def _float(value):
  return tf.cast(value, tf.float32)


def refuse(optimizer, what=None):
  """NotImplementedError to raise for an optimizer, or an option of it, that a table cannot be trained with."""
  name = type(optimizer).__name__
  if what is None:
    return NotImplementedError(f"{name} cannot train an EmbeddingVariable: use one of {SUPPORTED}, or keep the variable out "
                               "of its var_list and train it with an optimizer of its own.")
  return NotImplementedError(f"{name}: {what} is not supported for an EmbeddingVariable; leave it out, or train the variable "
                             "with an optimizer of its own.")
