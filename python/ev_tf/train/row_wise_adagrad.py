"""Adagrad with one accumulator a row."""

import tensorflow as tf

from ev_tf.optimizers import v1
from ev_tf.train import row_optimizer


class RowWiseAdagradOptimizer(row_optimizer.RowOptimizer):
  """Adagrad with one accumulator for a whole row: a += mean(grad ** 2); row -= learning_rate * grad / (sqrt(a) + epsilon).

  A row of 64 floats takes 272 bytes instead of Adagrad's 512. The rows of a dense variable are those of its first
  dimension: a vector's accumulators are one for each element, as Adagrad's.

  Args:
    learning_rate: float, >= 0, or a scalar tensor, or a callable that gives one.
    initial_accumulator_value: float, >= 0, default 0.1. What accumulators start at.
    epsilon: float, >= 0, default 1e-8. Added to the root; > 0 if initial_accumulator_value is 0.
    use_locking: bool, default False.
    name: str, default "RowWiseAdagrad".

  Raises:
    ValueError: an argument is out of its range.

  Source: Mudigere et al., "Software-hardware co-design for fast and scalable training of deep learning recommendation
    models", ISCA 2022; FBGEMM's and TorchRec's EXACT_ROWWISE_ADAGRAD, where accumulators start at 0.

  Example:
    >>> w = tf.Variable([[1.0, 1.0]])
    >>> optimizer = RowWiseAdagradOptimizer(1.0, initial_accumulator_value=11.5, epsilon=0.0)
    >>> _ = optimizer.apply_gradients([(tf.constant([[2.0, 1.0]]), w)])  # mean(4, 1) + 11.5 = 14
    >>> np.round((1 - w.numpy()) * np.sqrt(14), 5).tolist()
    [[2.0, 1.0]]
  """

  def __init__(self, learning_rate, initial_accumulator_value=0.1, epsilon=1e-8, use_locking=False, name="RowWiseAdagrad"):
    super().__init__(use_locking, name)
    for argument, value in (("initial_accumulator_value", initial_accumulator_value), ("epsilon", epsilon)):
      if not 0.0 <= value < float("inf"):
        raise ValueError(f"{argument}: expected a number >= 0, got {value!r}.")
    if initial_accumulator_value + epsilon == 0.0:
      raise ValueError("initial_accumulator_value and epsilon: expected one of them > 0, got 0 and 0; the first zero gradient "
                       "would divide zero by zero.")
    self._learning_rate = learning_rate
    self._initial_accumulator_value = initial_accumulator_value
    self._epsilon = epsilon

  def _prepare(self):
    self._learning_rate_tensor = tf.convert_to_tensor(self._call_if_callable(self._learning_rate), name="learning_rate")

  def _slot_list(self):
    return (row_optimizer.Slot("accumulator", self._initial_accumulator_value, per_row=True),)

  def _step(self, var, rows, grads, slots, sparse):
    squares = tf.square(grads)
    if rows.shape.rank > 1:
      squares = tf.reduce_mean(squares, axis=list(range(1, rows.shape.rank)), keepdims=True)
    accumulator = slots[0] + squares
    rows -= self._hyper(self._learning_rate_tensor, var) * grads / (tf.sqrt(accumulator) + self._hyper(self._epsilon, var))
    return rows, [accumulator]


def _row_wise_adagrad(optimizer, update):
  return update.row_wise_adagrad(optimizer._learning_rate_tensor, optimizer._initial_accumulator_value, optimizer._epsilon)


v1.register(RowWiseAdagradOptimizer, _row_wise_adagrad)
