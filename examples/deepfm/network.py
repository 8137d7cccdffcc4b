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
    categorical = rows[:, :, : self.dim]
    vectors = tf.concat([categorical, values[:, :, None] * self.numeric_rows[:, : self.dim]], axis=1)  # [n, 39, dim]
    first = tf.reduce_sum(rows[:, :, self.dim], axis=1) + tf.linalg.matvec(values, self.numeric_rows[:, self.dim])
    second = tf.reduce_sum(tf.reduce_sum(vectors, axis=1) ** 2 - tf.reduce_sum(vectors**2, axis=1), axis=1) / 2
    return self.bias + first + second + self._dnn(tf.reshape(vectors, [-1, self.kernels[0].shape[0]]))

  def _dnn(self, x):
    for kernel, bias in zip(self.kernels[:-1], self.biases[:-1]):
      x = tf.nn.relu(tf.matmul(x, kernel) + bias)
    return tf.squeeze(tf.matmul(x, self.kernels[-1]) + self.biases[-1], axis=1)
