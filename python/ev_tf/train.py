"""Optimizers that tf.compat.v1.train lacks, for embedding variables and dense ones alike."""

import tensorflow as tf
from tensorflow.python.ops import control_flow_ops

from ev_tf.optimizers import v1

__all__ = ["AdamWOptimizer"]


class AdamWOptimizer(tf.compat.v1.train.AdamOptimizer):
  """Adam with decoupled weight decay: before each Adam step, value -= weight_decay * value.

  An embedding variable is updated lazily: rows that a batch does not name neither decay nor move. So is a dense variable
  whose gradient is IndexedSlices, as far as the decay is concerned; there Adam itself moves every row, as TensorFlow's
  does.

  Args:
    weight_decay: float, >= 0, or a scalar tensor, or a callable that gives one. The whole factor of a step: it is not
      multiplied by the learning rate, so scale it with a schedule if there is one for the learning rate.
    learning_rate: float, default 0.001.
    beta1: float in [0, 1), default 0.9.
    beta2: float in [0, 1), default 0.999.
    epsilon: float, default 1e-8, the "epsilon hat" of Kingma and Ba.
    use_locking: bool, default False.
    name: str, default "AdamW".

  Source: Loshchilov, Hutter, ICLR 2019, algorithm 2; the factor as in TensorFlow 1's contrib optimizers.

  Example:
    >>> w = tf.Variable([2.0])
    >>> optimizer = AdamWOptimizer(weight_decay=0.5, learning_rate=0.0)
    >>> _ = optimizer.apply_gradients([(tf.constant([1.0]), w)])
    >>> w.numpy().tolist()
    [1.0]
  """

  def __init__(self, weight_decay, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, use_locking=False,
               name="AdamW"):
    super().__init__(learning_rate, beta1, beta2, epsilon, use_locking, name)
    self._weight_decay = weight_decay

  def _prepare(self):
    super()._prepare()
    self._weight_decay_t = tf.convert_to_tensor(self._call_if_callable(self._weight_decay), tf.float32,
                                                name="weight_decay")

  def _resource_apply_dense(self, grad, var):
    decay = tf.cast(self._weight_decay_t, var.dtype.base_dtype)
    with tf.control_dependencies(_as_list(var.assign_sub(decay * var.read_value(), read_value=False))):
      return super()._resource_apply_dense(grad, var)

  def _resource_apply_sparse(self, grad, var, indices):
    decay = tf.cast(self._weight_decay_t, var.dtype.base_dtype)
    step = tf.IndexedSlices(decay * tf.gather(var, indices), indices)
    with tf.control_dependencies(_as_list(var.scatter_sub(step))):
      return super()._resource_apply_sparse(grad, var, indices)

  def _apply_dense(self, grad, var):
    raise NotImplementedError("AdamWOptimizer: reference variables are not supported; create the variable with "
                              "use_resource=True.")

  def _apply_sparse(self, grad, var):
    return self._apply_dense(grad, var)


def _as_list(op):
  """`op` as control inputs; in eager mode there is none to wait for."""
  return [] if tf.executing_eagerly() or op is None else [control_flow_ops.group(op)]


def _adamw(optimizer, update):
  beta1_power, beta2_power = optimizer._get_beta_accumulators()
  return update.adamw(optimizer._lr_t, optimizer._beta1_t, optimizer._beta2_t, optimizer._epsilon_t, beta1_power,
                      beta2_power, optimizer._weight_decay_t)


v1.register(AdamWOptimizer, _adamw)
