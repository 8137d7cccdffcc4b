"""Adam for workers that update variables on their own."""

import collections

import tensorflow as tf
from tensorflow.python.ops import state_ops
from tensorflow.python.training import optimizer as stock

from ev_tf.optimizers import v1
from ev_tf.train import row_optimizer


class AdamAsyncOptimizer(row_optimizer.RowOptimizer):
  """Adam with a clock for each variable: beta1 ** t and beta2 ** t count that variable's updates, not the optimizer's steps.

  Workers that train asynchronously then share no state but the variables' own, and a variable that is seldom updated is
  corrected for its own few steps. Sparse gradients move the rows they name and no others, of dense variables too.

  Args:
    learning_rate: float, >= 0, default 0.001, or a scalar tensor, or a callable that gives one.
    beta1: float in [0, 1), default 0.9.
    beta2: float in [0, 1), default 0.999.
    epsilon: float, >= 0, default 1e-8: Adam's "epsilon hat", or what RMSProp adds under the root.
    use_locking: bool, default False.
    apply_sparse_rmsprop: bool, default False. Sparse gradients make a step of RMSProp with momentum, without Adam's
      correction of the first steps: v = beta2 * v + (1 - beta2) * grad ** 2;
      m = beta1 * m + learning_rate * grad / sqrt(v + epsilon); row -= m. The clocks stand still.
    name: str, default "AdamAsync".

  Source: DeepRec's AdamAsyncOptimizer, with the same formulas and results. Kingma, Ba, ICLR 2015, for Adam.

  Example:
    >>> a, b = tf.Variable([1.0]), tf.Variable([1.0])
    >>> optimizer = AdamAsyncOptimizer(0.5)
    >>> for _ in range(3):
    ...   _ = optimizer.apply_gradients([(tf.constant([4.0]), a)])
    >>> _ = optimizer.apply_gradients([(tf.constant([4.0]), b)])  # b's first update, as if it were alone
    >>> np.round(b.numpy(), 6).tolist()
    [0.5]
  """

  def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, use_locking=False,
               apply_sparse_rmsprop=False, name="AdamAsync"):
    super().__init__(use_locking, name)
    self._lr = learning_rate
    self._beta1 = beta1
    self._beta2 = beta2
    self._epsilon = epsilon
    self._apply_sparse_rmsprop = apply_sparse_rmsprop
    self._clock_names = {}  # variable -> the first part of the names of its powers
    self._clock_name_counts = collections.Counter()

  def _prepare(self):
    self._lr_t, self._beta1_t, self._beta2_t, self._epsilon_t = (
        tf.convert_to_tensor(self._call_if_callable(value), tf.float32)
        for value in (self._lr, self._beta1, self._beta2, self._epsilon))

  def _slot_list(self):
    return row_optimizer.Slot("m"), row_optimizer.Slot("v")

  def _create_slots(self, var_list):
    super()._create_slots(var_list)
    for var in var_list:
      self._powers(var)

  def _powers(self, var):
    """The variables beta1 ** t and beta2 ** t of `var`, t counting its updates from 1."""
    key = stock._var_key(var)
    if key not in self._clock_names:
      base = f"{var.name.split(':')[0]}/{self._name}"
      count = self._clock_name_counts[base]
      self._clock_name_counts[base] += 1
      self._clock_names[key] = base + (f"_{count}" if count else "")
    return [self._create_non_slot_variable(tf.constant(self._call_if_callable(beta), tf.float32),
                                           f"{self._clock_names[key]}/{name}", var)
            for name, beta in (("beta1_power", self._beta1), ("beta2_power", self._beta2))]

  def _advance(self, var, step, count):
    """Once `step` is made, moves the clock of `var`, unless `count`, how many rows were updated, is 0."""
    with tf.control_dependencies([] if tf.executing_eagerly() else [step]):
      ticks = [state_ops.assign(power, power * tf.where(count > 0, beta, 1.0), use_locking=self._use_locking)
               for power, beta in zip(self._powers(var), (self._beta1_t, self._beta2_t))]
    with row_optimizer.after(*ticks):
      return tf.no_op()

  def _update(self, var, grad, indices=None):
    update = super()._update(var, grad, indices)
    if indices is not None and self._apply_sparse_rmsprop:
      return update
    return self._advance(var, update, 1 if indices is None else tf.size(indices))

  def _step(self, var, rows, grads, slots, sparse):
    m, v = slots
    lr, beta1, beta2, epsilon = (self._hyper(x, var) for x in (self._lr_t, self._beta1_t, self._beta2_t, self._epsilon_t))
    v = v * beta2 + tf.square(grads) * (1 - beta2)
    if sparse and self._apply_sparse_rmsprop:
      m = m * beta1 + lr * grads / tf.sqrt(v + epsilon)
      return rows - m, [m, v]
    beta1_power, beta2_power = (self._hyper(power, var) for power in self._powers(var))
    m = m * beta1 + grads * (1 - beta1)
    alpha = lr * tf.sqrt(1 - beta2_power) / (1 - beta1_power)
    return rows - alpha * m / (tf.sqrt(v) + epsilon), [m, v]


def _adam_async(optimizer, update):
  if optimizer._apply_sparse_rmsprop:
    return update.rms_prop(optimizer._lr_t, optimizer._beta2_t, optimizer._beta1_t, optimizer._epsilon_t,
                           dict(v=0.0, m=0.0), with_momentum=True)
  powers = [tf.identity(power) for power in optimizer._powers(update.variable)]
  step = update.adam(optimizer._lr_t, optimizer._beta1_t, optimizer._beta2_t, optimizer._epsilon_t, *powers)
  return optimizer._advance(update.variable, step, tf.size(update.keys))


v1.register(AdamAsyncOptimizer, _adam_async, group=lambda optimizer, variable: id(variable))
