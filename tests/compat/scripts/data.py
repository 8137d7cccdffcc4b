"""Made-up clicks: categorical ids as strings, of which a few decide the label."""

import collections

import numpy as np
import tensorflow as tf

CATEGORIES = ["C1", "C2", "C3"]
NUMBERS = ["I1", "I2"]


def clicks(rows, seed=7):
  rng = np.random.RandomState(seed)
  features = collections.OrderedDict()
  for name in NUMBERS:
    features[name] = rng.rand(rows).astype(np.float32)
  for name in CATEGORIES:
    features[name] = np.array(["%s_%d" % (name, i) for i in rng.randint(0, 20, rows)])
  label = np.array([int(c[-1] in "02468") for c in features["C1"]], np.int32)
  return features, label


def dataset(batch_size, rows=640):
  """Batches without end of (features, label [batch])."""
  return tf.data.Dataset.from_tensor_slices(clicks(rows)).repeat().batch(batch_size).prefetch(2)


def next_batch(batch_size):
  iterator = tf.data.make_initializable_iterator(dataset(batch_size))
  tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
  return iterator.get_next()
