"""The same tables with what stock TensorFlow has: a vocabulary built in advance, and a static tf.Variable over it.

The vocabulary needs a pass over the training part before training can start, and an id that it does not hold can never
be trained: all of them share row 0.  The initial rows are those that an embedding variable gives the same ids, so a
difference in the result is a difference of the table.
"""

import numpy as np
import tensorflow as tf

from features import CATEGORICAL
from tables import DEFAULT_ROWS, Tables


def build_vocabulary(part):
  """Every id of the training part: per feature a sorted int64 array. Reads the part once."""
  found = [np.empty(0, np.int64) for _ in CATEGORICAL]
  for window in part.windows():
    found = [np.union1d(ids, window.ids_of(f)) for f, ids in enumerate(found)]
  return found


class StaticTables(Tables):
  """A hash table from id to row number, and one tf.Variable, per feature and part.

  Row 0 is that of ids out of the vocabulary. It starts as the initial row of id 0 and is never trained, as every id that
  training sees has a row of its own. An embedding variable reads such an id's own initial row; both are noise of 0.001.
  """

  def __init__(self, vocabulary, embedding_dim, layout, seed):
    self.vocabulary = vocabulary
    self.index = [tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(ids, np.arange(1, len(ids) + 1)), default_value=0) for ids in vocabulary]
    super().__init__(embedding_dim, layout, seed)

  def make_table(self, feature, name, dim, initializer):
    origin = np.concatenate([[0], self.vocabulary[feature]])
    return tf.Variable(tf.gather(initializer([DEFAULT_ROWS, dim]), np.mod(origin, DEFAULT_ROWS)), name=name)

  def positions(self, feature, ids):
    return self.index[feature].lookup(ids)

  def count_rows(self):
    return sum(len(ids) for ids in self.vocabulary)
