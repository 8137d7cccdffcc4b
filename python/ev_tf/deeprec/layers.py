"""tf.layers, which TensorFlow keeps for Keras 2 only: the same layers out of TensorFlow's own copy of Keras."""

import tensorflow as tf
from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl
from tensorflow.python.keras.legacy_tf_layers import base, convolutional, core, pooling

_v1 = tf.compat.v1
ZEROS, ONES = tf.zeros_initializer(), tf.ones_initializer()

Layer = base.Layer
InputSpec = base.InputSpec
Dense, Dropout, Flatten = core.Dense, core.Dropout, core.Flatten
dense, dropout, flatten = core.dense, core.dropout, core.flatten
Conv1D, Conv2D, conv1d, conv2d = convolutional.Conv1D, convolutional.Conv2D, convolutional.conv1d, convolutional.conv2d
average_pooling1d, average_pooling2d = pooling.average_pooling1d, pooling.average_pooling2d
max_pooling1d, max_pooling2d = pooling.max_pooling1d, pooling.max_pooling2d

# tf.nn.rnn_cell
CELLS = {name: getattr(rnn_cell_impl, name) for name in (
    "BasicLSTMCell", "BasicRNNCell", "DeviceWrapper", "DropoutWrapper", "GRUCell", "LSTMCell", "LSTMStateTuple",
    "MultiRNNCell", "RNNCell", "ResidualWrapper")}
globals().update(CELLS)


def batch_normalization(inputs, axis=-1, momentum=0.99, epsilon=1e-3, center=True, scale=True,
                        beta_initializer=ZEROS, gamma_initializer=ONES, moving_mean_initializer=ZEROS,
                        moving_variance_initializer=ONES,
                        beta_regularizer=None, gamma_regularizer=None, training=False, trainable=True, name=None,
                        reuse=None, **unused):
  """Batch normalization over the last axis; the moving averages' updates are in tf.GraphKeys.UPDATE_OPS, as ever."""
  del unused
  rank, width = inputs.shape.rank, inputs.shape[-1]
  if axis not in (-1, rank - 1, [-1]):
    raise NotImplementedError(f"tf.layers.batch_normalization: expected the last axis, got axis={axis}.")
  with _v1.variable_scope(name, default_name="batch_normalization", reuse=reuse):
    def get(what, initializer, regularizer=None, trained=False):
      return _v1.get_variable(what, [width], tf.float32, initializer, regularizer, trainable=trained and trainable)

    gamma = get("gamma", gamma_initializer, gamma_regularizer, True) if scale else None
    beta = get("beta", beta_initializer, beta_regularizer, True) if center else None
    with _v1.variable_scope(_v1.get_variable_scope()) as whole:  # assigned to as a whole, so in one part, as in TensorFlow 1
      whole.set_partitioner(None)
      means, variances = get("moving_mean", moving_mean_initializer), get("moving_variance", moving_variance_initializer)
    batch_mean, batch_variance = tf.nn.moments(inputs, list(range(rank - 1)))
    training = tf.cast(training, tf.bool)
    keep = tf.where(training, momentum, 1.0)
    for moving, batch in ((means, batch_mean), (variances, batch_variance)):
      _v1.add_to_collection(_v1.GraphKeys.UPDATE_OPS, moving.assign(moving * keep + batch * (1.0 - keep)).op)
    return tf.nn.batch_normalization(inputs, tf.where(training, batch_mean, means),
                                     tf.where(training, batch_variance, variances), beta, gamma, epsilon)


class Linear:
  """tf.contrib.rnn's _Linear: a dense layer over tensors side by side, with "kernel" and "bias" in the current variable scope.

  Args:
    args: list of float [batch, n], or one: of what widths the inputs are.
    output_size: int.
    build_bias: bool.
    bias_initializer, kernel_initializer: None for zeros, and for the variable scope's.
  """

  def __init__(self, args, output_size, build_bias, bias_initializer=None, kernel_initializer=None):
    tensors = args if isinstance(args, (list, tuple)) else [args]
    width, dtype = sum(int(tensor.shape[1]) for tensor in tensors), tensors[0].dtype
    self._kernel = _v1.get_variable("kernel", [width, output_size], dtype, kernel_initializer)
    self._bias = _v1.get_variable("bias", [output_size], dtype, bias_initializer or ZEROS) if build_bias else None

  def __call__(self, args):
    inputs = tf.concat(args, 1) if isinstance(args, (list, tuple)) else args
    outputs = tf.matmul(inputs, self._kernel)
    return outputs if self._bias is None else outputs + self._bias
