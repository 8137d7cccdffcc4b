"""DeepFM over rows that were already looked up: first order, second order and a DNN on one set of embeddings.

Source: Guo, Tang, Ye, Li, He, IJCAI 2017, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction".
A missing number, like a missing id, adds nothing.  Numbers are squashed to sign(x) * log(1 + |x|) first: raw Criteo counts
reach two million.
"""

import tensorflow as tf

from features import CATEGORICAL, NUMERIC


class DeepFM(tf.Module):
  """Logits from the 26 summed categorical rows and the 13 numbers of each example.

  Args:
    embedding_dim: int, >= 1.
    hidden: ints. Widths of the DNN's hidden layers.
    seed: int. All initial weights follow from it.
  """

  def __init__(self, embedding_dim, hidden, seed):
    super().__init__(name="deepfm")
    self.dim = embedding_dim
    self.bias = tf.Variable(tf.zeros([1]), name="bias")
    self.numeric_rows = self._normal([len(NUMERIC), embedding_dim + 1], 0.001, [seed, 1000], "numeric_rows")
    widths = [(len(CATEGORICAL) + len(NUMERIC)) * embedding_dim, *hidden, 1]
    self.kernels, self.biases = [], []
    for layer, (fan_in, fan_out) in enumerate(zip(widths, widths[1:])):
      self.kernels.append(self._normal([fan_in, fan_out], (2 / fan_in) ** 0.5, [seed, 2000 + layer], f"kernel_{layer}"))
      self.biases.append(tf.Variable(tf.zeros([fan_out]), name=f"bias_{layer}"))

  @staticmethod
  def _normal(shape, stddev, seed, name):
    return tf.Variable(tf.random.stateless_normal(shape, seed, stddev=stddev), name=name)

  def __call__(self, rows, numeric):
    """
    Args:
      rows: float32 [n, 26, embedding_dim + 1]. Per feature the sum of its ids' rows: the embedding, then the bias.
      numeric: float32 [n, 13], NaN = missing.

    Returns:
      float32 [n], the logits.
    """
    values = tf.where(tf.math.is_nan(numeric), 0.0, tf.sign(numeric) * tf.math.log1p(tf.abs(numeric)))
    numeric_embeddings, numeric_biases = tf.split(self.numeric_rows, [self.dim, 1], axis=1)
    embeddings, biases = tf.split(rows, [self.dim, 1], axis=2)
    fields = len(CATEGORICAL) + len(NUMERIC)
    # Each number times its row, as one product with a block-diagonal matrix: a third off the network's time against
    # values[:, :, None] * numeric_embeddings, whose gradient sums over the batch slowly.
    blocks = tf.reshape(tf.eye(len(NUMERIC))[:, :, None] * numeric_embeddings, [len(NUMERIC), -1])
    vectors = tf.concat([tf.reshape(embeddings, [-1, len(CATEGORICAL) * self.dim]), tf.matmul(values, blocks)], axis=1)
    first = tf.reduce_sum(biases, axis=[1, 2]) + tf.squeeze(tf.matmul(values, numeric_biases), axis=1)
    total = tf.reduce_sum(tf.reshape(vectors, [-1, fields, self.dim]), axis=1)
    second = (tf.reduce_sum(total**2, axis=1) - tf.reduce_sum(vectors**2, axis=1)) / 2
    return self.bias + first + second + self._dnn(vectors)

  def _dnn(self, x):
    for kernel, bias in zip(self.kernels[:-1], self.biases[:-1]):
      x = tf.nn.relu(tf.matmul(x, kernel) + bias)
    return tf.squeeze(tf.matmul(x, self.kernels[-1]) + self.biases[-1], axis=1)
