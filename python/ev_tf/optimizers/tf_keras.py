"""Keras 2 optimizers on embedding variables, unmodified: tf.keras of TensorFlow 2.15, and the tf_keras package.

Both the optimizers of Keras 2.11 and later, and the older ones in `optimizers.legacy`.
"""

import tensorflow as tf

from ev_tf.optimizers import keras3, rules

_MAX_LEGACY_EPSILON = 1e-6


def wrap_update_step(original):
  def _update_step(self, gradient, variable, *args):
    table = keras3.as_embedding_variable(variable)
    if table is None:
      return original(self, gradient, variable, *args)
    return keras3.update_variable(self, table, gradient, self.learning_rate, variable)
  return _update_step


def wrap_add_variable(original):
  def add_variable_from_reference(self, model_variable, *args, **kwargs):
    if keras3.as_embedding_variable(model_variable) is None:
      return original(self, model_variable, *args, **kwargs)
    keras3.check_options(self)
    return None
  return add_variable_from_reference


wrap_weight_decay = keras3.wrap_weight_decay


# The older optimizers keep hyperparameters under names, and decay the learning rate themselves.


def _legacy_sgd(optimizer, update, lr):
  if optimizer._momentum:
    return update.keras_momentum(lr, optimizer._get_hyper("momentum", tf.float32), optimizer.nesterov)
  return update.sgd(lr)


def _legacy_adagrad(optimizer, update, lr):
  # Their epsilon stands outside the root. A small one makes no difference that float32 can show; a large one would.
  if optimizer.epsilon > _MAX_LEGACY_EPSILON:
    raise rules.refuse(optimizer, f"epsilon={optimizer.epsilon} (above {_MAX_LEGACY_EPSILON})")
  return update.adagrad(lr, optimizer._initial_accumulator_value, optimizer.epsilon)


def _legacy_adam(optimizer, update, lr):
  if optimizer.amsgrad:
    raise rules.refuse(optimizer, "amsgrad=True")
  step = tf.cast(optimizer.iterations + 1, tf.float32)
  beta1, beta2 = optimizer._get_hyper("beta_1", tf.float32), optimizer._get_hyper("beta_2", tf.float32)
  return update.adam(lr, beta1, beta2, optimizer.epsilon, tf.pow(beta1, step), tf.pow(beta2, step))


def _legacy_ftrl(optimizer, update, lr):
  get = lambda name: optimizer._get_hyper(name, tf.float32)
  l2 = get("l2_regularization_strength") + get("beta") / (2.0 * lr)
  return update.ftrl(lr, get("l1_regularization_strength"), l2, optimizer._l2_shrinkage_regularization_strength,
                     get("learning_rate_power"), optimizer._initial_accumulator_value)


_LEGACY_RULES = {"SGD": _legacy_sgd, "Adagrad": _legacy_adagrad, "Adam": _legacy_adam, "Ftrl": _legacy_ftrl}


def wrap_add_slot(original):
  def add_slot(self, var, *args, **kwargs):
    if keras3.as_embedding_variable(var) is None:
      return original(self, var, *args, **kwargs)
    if type(self).__name__ not in _LEGACY_RULES:
      raise rules.refuse(self)
    return None
  return add_slot


def wrap_apply_sparse(original):
  def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices, **kwargs):
    table = keras3.as_embedding_variable(handle)
    if table is None:
      return original(self, grad, handle, indices, **kwargs)
    name = type(self).__name__
    if name not in _LEGACY_RULES:
      raise rules.refuse(self)
    step = self.iterations if table._table_spec.record_version else -1
    update = rules.RowUpdate([(tf.IndexedSlices(grad, indices), table)], self, name, tf.convert_to_tensor(step))
    return _LEGACY_RULES[name](self, update, self._decayed_lr(tf.float32))
  return _resource_apply_sparse_duplicate_indices
