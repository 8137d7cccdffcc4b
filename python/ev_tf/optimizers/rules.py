"""One optimizer step on an embedding variable: the ops, with the gradient as it comes out of the lookup.

Gradients of equal ids are summed inside the op, so IndexedSlices are passed on raw.
"""

import tensorflow as tf

from ev_tf._native import raw_ops

SUPPORTED = "GradientDescent/SGD, Momentum, Adagrad, RMSProp, Adam, AdamW, Ftrl and those of ev_tf.train"


class RowUpdate:
  """One step of one optimizer on one variable, or on several by one op. Each method is an optimizer; it returns what the op
  returns.

  Args:
    gradients_and_variables: list of (IndexedSlices, EmbeddingVariable). The slices are of the variable's lookups, values
      float [n, dim], indices [n]; duplicates are welcome. Several variables are of one device and differ in nothing that
      the method is called with.
    optimizer: the optimizer object; its slots are its own.
    slot_base: str, first part of the slots' names in the rows, e.g. "Adagrad".
    global_step: scalar int64 or int, version of the rows that are updated; -1 for none.

  Raises:
    TypeError: a gradient is not IndexedSlices.
    NotImplementedError: several replicas train in step; see check_replicas.
  """

  def __init__(self, gradients_and_variables, optimizer, slot_base, global_step=-1):
    check_replicas(gradients_and_variables[0][1])
    for gradient, variable in gradients_and_variables:
      if not isinstance(gradient, tf.IndexedSlices):
        raise TypeError(f"gradient of EmbeddingVariable {variable.name!r}: expected tf.IndexedSlices, as lookups give, got "
                        f"{gradient!r}. Scale or clip gradient.values and build tf.IndexedSlices again.")
    gradients, self.variables = zip(*gradients_and_variables)
    self._keys = [gradient.indices for gradient in gradients]
    self._grads = [_float(gradient.values) for gradient in gradients]
    self._optimizer = optimizer
    self._slot_base = slot_base
    self._global_step = tf.cast(global_step, tf.int64)

  @property
  def variable(self):
    """The EmbeddingVariable, if it is one."""
    (variable,) = self.variables
    return variable

  @property
  def keys(self):
    """Its keys."""
    (keys,) = self._keys
    return keys

  def _slots(self, **initial_values):
    initial_values = {name: float(value) for name, value in initial_values.items()}
    names = []
    for variable in self.variables:
      scope = variable._slot_scope(self._optimizer, self._slot_base)  # pylint: disable=protected-access
      variable.known_slots[scope] = (self._slot_base, initial_values)
      names += [f"{scope}/{name}" for name in initial_values]
    return dict(slot_names=names, slot_initial_values=[*initial_values.values()] * len(self.variables))

  def _apply(self, rule, *hyper, **slots_and_attrs):
    """One step of ev_apply_<rule>; `hyper` are its scalars."""
    if len(self.variables) == 1:
      return getattr(raw_ops, f"ev_apply_{rule}")(
          self.variable.handle, *hyper, grad=self._grads[0], keys=self.keys, global_step=self._global_step,
          dim=self.variable.dim, **slots_and_attrs)
    keys = self._keys
    if any(key.dtype != keys[0].dtype for key in keys):
      keys = [tf.cast(key, tf.int64) for key in keys]
    return getattr(raw_ops, f"ev_group_apply_{rule}")(
        [variable.handle for variable in self.variables], *hyper, grads=self._grads, keys=keys,
        global_step=self._global_step, dims=[variable.dim for variable in self.variables], **slots_and_attrs)

  def sgd(self, lr):
    """value -= lr * grad."""
    return self._apply("sgd", _float(lr))

  def momentum(self, lr, momentum, use_nesterov=False):
    """m = momentum * m + grad; value -= lr * m."""
    return self._apply("momentum", *_floats(lr, momentum), use_nesterov=use_nesterov, **self._slots(momentum=0.0))

  def keras_momentum(self, lr, momentum, use_nesterov=False):
    """m = momentum * m + lr * grad; value -= m: the learning rate of a step stays in the velocity."""
    self._grads = [grad * _float(lr) for grad in self._grads]
    return self.momentum(1.0, momentum, use_nesterov)

  def adagrad(self, lr, initial_accumulator_value, epsilon=0.0):
    """a += grad^2; value -= lr * grad / sqrt(a + epsilon)."""
    return self._apply("adagrad", *_floats(lr, epsilon), **self._slots(accumulator=initial_accumulator_value))

  def adagrad_decay(self, lr, decay_rate, initial_accumulator_value, step, decay_step):
    """Adagrad whose accumulator is multiplied by decay_rate once in decay_step steps."""
    return self._apply("adagrad_decay", *_floats(lr, decay_rate, initial_accumulator_value), tf.cast(step, tf.int64),
                       tf.cast(decay_step, tf.int64),
                       **self._slots(accumulator=initial_accumulator_value, accumulator_decay_power=0.0))

  def row_wise_adagrad(self, lr, initial_accumulator_value, epsilon):
    """a += mean(grad^2); value -= lr * grad / (sqrt(a) + epsilon)."""
    return self._apply("row_wise_adagrad", *_floats(lr, epsilon),
                       **self._slots(accumulator=initial_accumulator_value))

  def rms_prop(self, lr, decay, momentum, epsilon, slots, centered=False, with_momentum=False):
    """ms = decay * ms + (1 - decay) * grad^2; value -= lr * grad / sqrt(ms + epsilon).

    `slots` gives names and initial values of the slots, in the order of ev_tf/optim/rms_prop.h; see rms_prop_slots.
    """
    return self._apply("rms_prop", *_floats(lr, decay, momentum, epsilon), centered=centered,
                       with_momentum=with_momentum, **self._slots(**slots))

  def adam(self, lr, beta1, beta2, epsilon, beta1_power, beta2_power):
    """Lazy Adam: rows that the batch does not name do not move."""
    return self._apply("adam", *_floats(lr, beta1, beta2, epsilon, beta1_power, beta2_power),
                       **self._slots(m=0.0, v=0.0))

  def adamw(self, lr, beta1, beta2, epsilon, beta1_power, beta2_power, weight_decay):
    """value -= weight_decay * value, then lazy Adam."""
    return self._apply("adam_w", *_floats(lr, beta1, beta2, epsilon, beta1_power, beta2_power, weight_decay),
                       **self._slots(m=0.0, v=0.0))

  def ftrl(self, lr, l1, l2, l2_shrinkage, lr_power, initial_accumulator_value, group_l1=False):
    """FTRL-proximal; l1 on each element, or on the norm of the row."""
    return self._apply("ftrl", *_floats(lr, l1, l2, l2_shrinkage, lr_power), group_l1=group_l1,
                       **self._slots(accumulator=initial_accumulator_value, linear=0.0))


def rms_prop_slots(initial_rms, centered, with_momentum):
  """The `slots` of RowUpdate.rms_prop under TensorFlow's names."""
  slots = dict(rms=initial_rms)
  if centered:
    slots["mg"] = 0.0
  if with_momentum:
    slots["momentum"] = 0.0
  return slots


def check_replicas(variable, most=1):
  """Raises NotImplementedError if more than `most` replicas of the current tf.distribute strategy train `variable` in step.

  Each replica would make an update of its own, and each worker in a table of its own: not the one step, by the sum of all
  gradients, that the replicas of a tf.Variable make.
  """
  strategy = tf.distribute.get_strategy()
  if strategy.num_replicas_in_sync > most:
    raise NotImplementedError(
        f"{type(strategy).__name__} trains {variable!r} with {strategy.num_replicas_in_sync} replica(s) in step, which a "
        "table does not take part in. Use tf.distribute.OneDeviceStrategy, parameter servers "
        "(tf.compat.v1.train.replica_device_setter), or no strategy.")


def _float(value):
  return tf.cast(value, tf.float32)


def _floats(*values):
  return [_float(value) for value in values]


def refuse(optimizer, what=None):
  """NotImplementedError to raise for an optimizer, or an option of it, that a table cannot be trained with."""
  name = type(optimizer).__name__
  if what is None:
    return NotImplementedError(f"{name} cannot train an EmbeddingVariable: use one of {SUPPORTED}, or keep the variable out "
                               "of its var_list and train it with an optimizer of its own.")
  return NotImplementedError(f"{name}: {what} is not supported for an EmbeddingVariable; leave it out, or train the variable "
                             "with an optimizer of its own.")
