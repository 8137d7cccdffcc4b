"""Adam with decoupled weight decay."""

import contextlib

import tensorflow as tf
from tensorflow.python.ops import state_ops, variables
from tensorflow.python.training import optimizer as stock

from ev_tf import partitioned
from ev_tf.optimizers import v1
from ev_tf.train import row_optimizer


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
    scaled_decay: bool, default False. An embedding variable's rows decay by weight_decay times the step size that Adam has
      corrected for its first steps, learning_rate * sqrt(1 - beta2 ** t) / (1 - beta1 ** t): what DeepRec does to
      embedding variables. Dense variables are not changed by it, there as here.

  minimize and apply_gradients take one more argument, `decay_var_list`: the variables that decay; all by default.

  Source: Loshchilov, Hutter, ICLR 2019, algorithm 2; the factor as in TensorFlow 1's contrib optimizers.

  Example:
    >>> w = tf.Variable([2.0])
    >>> optimizer = AdamWOptimizer(weight_decay=0.5, learning_rate=0.0)
    >>> _ = optimizer.apply_gradients([(tf.constant([1.0]), w)])
    >>> w.numpy().tolist()
    [1.0]
  """

  def __init__(self, weight_decay, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, use_locking=False,
               name="AdamW", *, scaled_decay=False):
    super().__init__(learning_rate, beta1, beta2, epsilon, use_locking, name)
    self._weight_decay = weight_decay
    self._scaled_decay = bool(scaled_decay)
    self._decaying = None  # keys of the variables that decay in the running apply_gradients; None for all

  def minimize(self, *args, decay_var_list=None, **kwargs):
    with self._decay_of(decay_var_list):
      return super().minimize(*args, **kwargs)

  def apply_gradients(self, grads_and_vars, global_step=None, name=None, decay_var_list=None):
    with self._decay_of(decay_var_list):
      return super().apply_gradients(grads_and_vars, global_step=global_step, name=name)

  def _prepare(self):
    super()._prepare()
    self._weight_decay_t = tf.convert_to_tensor(self._call_if_callable(self._weight_decay), tf.float32,
                                                name="weight_decay")

  @contextlib.contextmanager
  def _decay_of(self, decay_var_list):
    """Only these variables decay; with None, those of the caller's _decay_of."""
    outer = self._decaying
    if decay_var_list is not None:
      self._decaying = {stock._var_key(part) for v in decay_var_list for part in _parts(v)}
    try:
      yield
    finally:
      self._decaying = outer

  def _decays(self, var):
    return self._decaying is None or stock._var_key(var) in self._decaying

  def _decayed(self, var, indices=None):
    """Runs what is built in it after the decay of a dense variable."""
    if not self._decays(var):
      return row_optimizer.after()
    decay = tf.cast(self._weight_decay_t, var.dtype.base_dtype)
    if indices is None:
      op = state_ops.assign_sub(var, decay * tf.identity(var), use_locking=self._use_locking)
    else:
      op = state_ops.scatter_sub(var, indices, decay * tf.gather(var, indices), use_locking=self._use_locking)
    return row_optimizer.after(op)

  def _apply_dense(self, grad, var):
    with self._decayed(var):
      return super()._apply_dense(grad, var)

  def _resource_apply_dense(self, grad, var):
    with self._decayed(var):
      return super()._resource_apply_dense(grad, var)

  def _apply_sparse(self, grad, var):
    with self._decayed(var, grad.indices):
      return super()._apply_sparse(grad, var)

  def _resource_apply_sparse(self, grad, var, indices):
    with self._decayed(var, indices):
      return super()._resource_apply_sparse(grad, var, indices)


def _parts(v):
  """The variables that are trained: of a partitioned variable its parts."""
  partitioned_kinds = (partitioned.PartitionedEmbeddingVariable, variables.PartitionedVariable)
  return list(v) if isinstance(v, partitioned_kinds) else [v]


def _adamw(optimizer, update):
  beta1_power, beta2_power = optimizer._get_beta_accumulators()
  decay = optimizer._weight_decay_t if optimizer._decays(update.variables[0]) else 0.0
  if optimizer._scaled_decay:
    decay *= optimizer._lr_t * tf.sqrt(1.0 - beta2_power) / (1.0 - beta1_power)
  return update.adamw(optimizer._lr_t, optimizer._beta1_t, optimizer._beta2_t, optimizer._epsilon_t, beta1_power,
                      beta2_power, decay)


v1.register(AdamWOptimizer, _adamw, group=lambda optimizer, variable: optimizer._decays(variable))
