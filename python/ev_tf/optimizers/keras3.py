"""Keras 3 optimizers on embedding variables, unmodified: in custom loops and in model.fit.

Two differences from Keras on a dense variable, both of which are TensorFlow's older habits: gradients of equal ids are
summed before the step (Keras applies them one by one), and rows that a batch does not name do not move.
"""

import tensorflow as tf

from ev_tf import partitioned, variable
from ev_tf.optimizers import rules


def as_embedding_variable(v):
  """The EmbeddingVariable that `v` is or holds, or None."""
  if isinstance(v, variable.EmbeddingVariable):
    return v
  if isinstance(v, partitioned.PartitionedEmbeddingVariable):
    raise NotImplementedError(f"{v!r} is the front of {len(v)} parts, and it is the parts that are trained: pass the parts, "
                              "list(variable), with their gradients.")
  return getattr(v, "embedding_variable", None)


def _sgd(optimizer, update, lr, v):
  del v
  if optimizer.momentum:
    return update.keras_momentum(lr, optimizer.momentum, optimizer.nesterov)
  return update.sgd(lr)


def _adagrad(optimizer, update, lr, v):
  del v
  return update.adagrad(lr, optimizer.initial_accumulator_value, optimizer.epsilon)


def _betas(optimizer):
  if optimizer.amsgrad:
    raise rules.refuse(optimizer, "amsgrad=True")
  step = tf.cast(tf.convert_to_tensor(optimizer.iterations), tf.float32) + 1.0
  return (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon, tf.pow(tf.cast(optimizer.beta_1, tf.float32), step),
          tf.pow(tf.cast(optimizer.beta_2, tf.float32), step))


def _adam(optimizer, update, lr, v):
  del v
  return update.adam(lr, *_betas(optimizer))


def _adamw(optimizer, update, lr, v):
  decay = optimizer.weight_decay if optimizer._use_weight_decay(v) else None
  return update.adamw(lr, *_betas(optimizer), tf.cast(decay or 0.0, tf.float32) * tf.cast(lr, tf.float32))


def _ftrl(optimizer, update, lr, v):
  del v
  l2 = optimizer.l2_regularization_strength + optimizer.beta / (2.0 * tf.cast(lr, tf.float32))
  return update.ftrl(lr, optimizer.l1_regularization_strength, l2, optimizer.l2_shrinkage_regularization_strength,
                     optimizer.learning_rate_power, optimizer.initial_accumulator_value)


def _rms_prop(optimizer, update, lr, v):
  del v
  with_momentum = optimizer.momentum > 0
  return update.rms_prop(lr, optimizer.rho, optimizer.momentum, optimizer.epsilon,
                         rules.rms_prop_slots(0.0, optimizer.centered, with_momentum), optimizer.centered, with_momentum)


# By class name, since Keras 2 has the same optimizers in several packages; see _find_rule.
RULES = {"SGD": _sgd, "Adagrad": _adagrad, "Adam": _adam, "AdamW": _adamw, "Ftrl": _ftrl, "RMSprop": _rms_prop}
# Methods that say what an update does. A subclass with one of its own is another optimizer than its base class.
_ARITHMETIC = ("update_step", "build")


def find_rule(optimizer):
  """The rule of a Keras optimizer: of its class, or of the class whose arithmetic it inherits."""
  kind = type(optimizer)
  for base in kind.__mro__:
    if base.__name__ in RULES and ".optimizers." in base.__module__ and base.__module__.split(".")[0] in (
        "keras", "tf_keras"):
      if base.__name__ == "Adam" and kind.__name__ in ("Nadam", "Adamax"):
        break
      if any(getattr(kind, name) is not getattr(base, name) for name in _ARITHMETIC):
        break
      return base.__name__, RULES[base.__name__]
  raise rules.refuse(optimizer)


def check_options(optimizer):
  """Raises NotImplementedError for options that read or copy the whole variable."""
  if getattr(optimizer, "use_ema", False):
    raise rules.refuse(optimizer, "use_ema=True")
  if getattr(optimizer, "gradient_accumulation_steps", None):
    raise rules.refuse(optimizer, "gradient_accumulation_steps")
  find_rule(optimizer)


def update_variable(optimizer, embedding_variable, gradient, lr, reference):
  """One step of `optimizer` on a table. `reference` is the variable as the optimizer knows it."""
  check_options(optimizer)
  name, rule = find_rule(optimizer)
  step = -1
  if embedding_variable._table_spec.record_version:
    step = tf.convert_to_tensor(optimizer.iterations)
  return rule(optimizer, rules.RowUpdate([(gradient, embedding_variable)], optimizer, name, step), lr, reference)


def check_weight_decay(optimizer, reference):
  """Raises NotImplementedError where an optimizer would decay every row of a table; AdamW decays the rows it updates."""
  if optimizer.weight_decay and find_rule(optimizer)[0] != "AdamW" and optimizer._use_weight_decay(reference):
    raise rules.refuse(optimizer, "weight_decay (exclude the variable with exclude_from_weight_decay(var_list=[...]), or "
                                  "use AdamW)")


def wrap_add_variable(original):
  def add_variable_from_reference(self, reference_variable, *args, **kwargs):
    if as_embedding_variable(reference_variable) is None:
      return original(self, reference_variable, *args, **kwargs)
    check_options(self)
    return None  # the slot lies in the rows
  return add_variable_from_reference


def wrap_update_step(original):
  def _backend_update_step(self, grads, trainable_variables, learning_rate):
    dense = []
    for gradient, v in zip(grads, trainable_variables):
      table = as_embedding_variable(v)
      if table is None:
        dense.append((gradient, v))
      else:
        update_variable(self, table, gradient, learning_rate, v)
    if dense:
      dense_grads, dense_variables = zip(*dense)
      original(self, list(dense_grads), list(dense_variables), learning_rate)
  return _backend_update_step


def wrap_weight_decay(original):
  def _apply_weight_decay(self, variables):
    if self.weight_decay is None:
      return
    dense = []
    for v in variables:
      if as_embedding_variable(v) is None:
        dense.append(v)
      else:
        check_weight_decay(self, v)
    original(self, dense)
  return _apply_weight_decay


def _sum_duplicates(gradient):
  """IndexedSlices of distinct ids: its values have the norm of the gradient."""
  ids, place = tf.unique(gradient.indices)
  values = tf.math.unsorted_segment_sum(gradient.values, place, tf.shape(ids)[0])
  return tf.IndexedSlices(values, ids, gradient.dense_shape)


def wrap_apply_gradients(original):
  def _backend_apply_gradients(self, grads, trainable_variables):
    # _clip_gradients sees the gradients only.
    self._ev_tf_of_tables = [as_embedding_variable(v) is not None for v in trainable_variables]
    try:
      return original(self, grads, trainable_variables)
    finally:
      del self._ev_tf_of_tables
  return _backend_apply_gradients


def wrap_clip_gradients(original):
  def _clip_gradients(self, grads):
    of_tables = getattr(self, "_ev_tf_of_tables", ())
    if not any(of_tables) or not (self.clipnorm or self.global_clipnorm or self.clipvalue):
      return original(self, grads)
    grads = [_sum_duplicates(g) if of_table else g for g, of_table in zip(grads, of_tables)]
    clipped = original(self, [g.values if of_table else g for g, of_table in zip(grads, of_tables)])
    return [tf.IndexedSlices(c, g.indices, g.dense_shape) if of_table else c
            for c, g, of_table in zip(clipped, grads, of_tables)]
  return _clip_gradients
