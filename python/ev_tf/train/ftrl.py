"""FTRL with a group penalty."""

import tensorflow as tf


class FtrlOptimizer(tf.compat.v1.train.FtrlOptimizer):
  """tf.compat.v1.train.FtrlOptimizer with, as an option, the l1 penalty on the rows of embedding variables.

  With `group_l1` a row becomes zero as a whole or not at all, which is how useless ids are found; the stock penalty is on
  each element, and leaves rows with holes.

  Args:
    learning_rate, learning_rate_power, initial_accumulator_value, l1_regularization_strength, l2_regularization_strength,
      use_locking, name, accum_name, linear_name, l2_shrinkage_regularization_strength, beta: as for the stock optimizer.
    group_l1: bool, default False. In embedding variables, l1_regularization_strength is compared with the norm of the row
      of `linear` instead of with each of its elements. Dense variables are not changed by it.

  Source: McMahan et al., KDD 2013; group_l1: DeepRec, whose FTRL on embedding variables is always of this kind; the penalty is
    the group lasso of Yuan, Lin, J. R. Stat. Soc. B 68 (2006).

  Example:
    >>> ev = get_embedding_variable("users", 2, initializer=tf.compat.v1.zeros_initializer())
    >>> optimizer = FtrlOptimizer(1.0, l1_regularization_strength=1.0, group_l1=True)
    >>> optimizer.apply_gradients([(tf.IndexedSlices(tf.constant([[0.9, 0.9], [0.7, 0.7]]), [1, 2]), ev)])
    >>> (tf.gather(ev, [1, 2]).numpy() != 0).tolist()  # the norms are 1.27 and 0.99
    [[True, True], [False, False]]
  """

  def __init__(self, learning_rate, learning_rate_power=-0.5, initial_accumulator_value=0.1, l1_regularization_strength=0.0,
               l2_regularization_strength=0.0, use_locking=False, name="Ftrl", accum_name=None, linear_name=None,
               l2_shrinkage_regularization_strength=0.0, beta=None, *, group_l1=False):
    super().__init__(learning_rate, learning_rate_power, initial_accumulator_value, l1_regularization_strength,
                     l2_regularization_strength, use_locking, name, accum_name, linear_name,
                     l2_shrinkage_regularization_strength, beta)
    self._group_l1 = bool(group_l1)
