"""Adagrad whose accumulator forgets."""

import tensorflow as tf

from ev_tf.optimizers import v1
from ev_tf.train import row_optimizer


class AdagradDecayOptimizer(row_optimizer.RowOptimizer):
  """Adagrad whose accumulator shrinks once in a period, so that learning does not die out in endless training.

  In plain Adagrad the accumulator only grows, and steps become ever smaller. Here, when a period of
  `accumulator_decay_step` steps has ended, a row's accumulator is multiplied by `accumulator_decay_rate` at its next update,
  but does not fall below `initial_accumulator_value`. All samples of a period count alike, which a decay at every step
  would not give. A row that was away for several periods makes up for one of them in each of its next updates.

  Args:
    learning_rate: float, >= 0, or a scalar tensor, or a callable that gives one.
    global_step: integer variable, the step of the training: the one that minimize or apply_gradients counts up.
    initial_accumulator_value: float, > 0, default 0.1. What accumulators start at, and the least they shrink to.
    accumulator_decay_step: int, > 0, default 100000. Steps of a period.
    accumulator_decay_rate: float in (0, 1), default 0.9.
    use_locking: bool, default False.
    name: str, default "AdagradDecay".

  Raises:
    ValueError: an argument is out of its range.

  Source: DeepRec's AdagradDecayOptimizer, with the same formula and results. Its counter of decays is a second slot as wide
    as the row; here it is one float a row, as in its V2.

  Example:
    >>> w, step = tf.Variable([2.0]), tf.Variable(0, dtype=tf.int64)
    >>> optimizer = AdagradDecayOptimizer(0.0, step, 1.0, accumulator_decay_step=2, accumulator_decay_rate=0.5)
    >>> for _ in range(3):
    ...   optimizer.apply_gradients([(tf.constant([2.0]), w)], global_step=step)
    ...   print(optimizer.get_slot(w, "accumulator").numpy().item())
    5.0
    6.5
    10.5
  """

  def __init__(self, learning_rate, global_step, initial_accumulator_value=0.1, accumulator_decay_step=100000,
               accumulator_decay_rate=0.9, use_locking=False, name="AdagradDecay"):
    super().__init__(use_locking, name)
    for argument, value, legal, expected in (
        ("initial_accumulator_value", initial_accumulator_value, 0.0 < initial_accumulator_value < float("inf"), "> 0"),
        ("accumulator_decay_step", accumulator_decay_step, accumulator_decay_step > 0, "> 0"),
        ("accumulator_decay_rate", accumulator_decay_rate, 0.0 < accumulator_decay_rate < 1.0, "in (0, 1)")):
      if not legal:
        raise ValueError(f"{argument}: expected a number {expected}, got {value!r}.")
    self._learning_rate = learning_rate
    self._global_step = global_step
    self._initial_accumulator_value = initial_accumulator_value
    self._accumulator_decay_step = accumulator_decay_step
    self._accumulator_decay_rate = accumulator_decay_rate

  def _prepare(self):
    self._learning_rate_tensor = tf.convert_to_tensor(self._call_if_callable(self._learning_rate), name="learning_rate")
    self._step_tensor = tf.cast(self._global_step, tf.int64) + 1  # of the update that is being made

  def _slot_list(self):
    return (row_optimizer.Slot("accumulator", self._initial_accumulator_value),
            row_optimizer.Slot("accumulator_decay_power", per_row=True, dtype=tf.int64))

  def _step(self, var, rows, grads, slots, sparse):
    accumulator, decays = slots
    shrinks = self._step_tensor // self._accumulator_decay_step > decays
    shrunk = tf.maximum(accumulator * self._hyper(self._accumulator_decay_rate, var),
                        self._hyper(self._initial_accumulator_value, var))
    accumulator = tf.where(shrinks, shrunk, accumulator) + tf.square(grads)
    rows -= self._hyper(self._learning_rate_tensor, var) * grads / tf.sqrt(accumulator)
    return rows, [accumulator, decays + tf.cast(shrinks, tf.int64)]


class AdagradDecayOptimizerV2(AdagradDecayOptimizer):
  """AdagradDecayOptimizer under the name of DeepRec's second version.

  There the two differ in memory alone: the first keeps its counter of decays once for each element, the second once for
  each row. Here both keep it once for each row.

  Args:
    learning_rate, global_step, initial_accumulator_value, accumulator_decay_step, accumulator_decay_rate, use_locking,
      name: as for AdagradDecayOptimizer.

  Source: DeepRec's AdagradDecayOptimizerV2.

  Example:
    >>> optimizer = AdagradDecayOptimizerV2(0.1, tf.Variable(0, dtype=tf.int64))
    >>> optimizer.get_name()
    'AdagradDecay'
  """


def _adagrad_decay(optimizer, update):
  return update.adagrad_decay(optimizer._learning_rate_tensor, optimizer._accumulator_decay_rate,
                              optimizer._initial_accumulator_value, optimizer._step_tensor,
                              optimizer._accumulator_decay_step)


v1.register(AdagradDecayOptimizer, _adagrad_decay)
