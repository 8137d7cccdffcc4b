"""deepray: DeepRec's EmbeddingVariable as custom ops on TensorFlow 2.15, in tf.function with its own optimizers."""

import os
import sys

from benchmarks import workload

args = workload.parser(["deepray"]).parse_args()
tf = workload.start_tensorflow(args.threads)

from importlib.metadata import version  # noqa: E402

from deepray.custom_ops.embedding_variable import variables  # noqa: E402
from deepray.custom_ops.embedding_variable.variable_scope import get_embedding_variable  # noqa: E402
from deepray.optimizers.adagrad import Adagrad  # noqa: E402
from deepray.optimizers.adam import Adam  # noqa: E402

OPTIMIZERS = {"adagrad": ("Adagrad", Adagrad), "adam": ("Adam", Adam)}


class DeeprayTable:
  """Table in eager mode; each case is one tf.function."""

  def __init__(self, options):
    optimizer_name, optimizer_class = OPTIMIZERS[options.optimizer]
    # Without the optimizer's name at creation its first step writes beyond the rows.
    table = get_embedding_variable(
        embedding_dim=options.dim, key_dtype=tf.int64, value_dtype=tf.float32, name="table", optimizer_type=optimizer_name,
        initializer=tf.keras.initializers.RandomNormal(0.0, workload.STDDEV, seed=1),
        ev_option=variables.EmbeddingVariableOption())
    optimizer = optimizer_class(workload.LEARNING_RATE)
    signature = [tf.TensorSpec([None], tf.int64)]

    def rows_of(ids):
      distinct, inverse = tf.unique(ids)
      return tf.gather(table.sparse_read(distinct), inverse)

    @tf.function(input_signature=signature)
    def train(ids):
      with tf.GradientTape() as tape:
        loss = tf.nn.l2_loss(rows_of(ids)) / workload.BATCH
      optimizer.apply_gradients([(tape.gradient(loss, table), table)])
      return loss

    @tf.function(input_signature=signature)
    def lookup(ids):
      with tf.control_dependencies([rows_of(ids)]):
        return tf.constant(0)

    self._table = table
    # numpy() waits until the step is done.
    self.train = lambda ids: train(tf.constant(ids)).numpy()
    self.lookup = lambda ids: lookup(tf.constant(ids)).numpy()

  def size(self):
    return int(self._table.get_dynamic_shape()[0])


if __name__ == "__main__":
  workload.measure(args.impl, args, DeeprayTable, as_keys=True,
                   versions={"tensorflow": tf.__version__, "deepray": version("deepray")})
  sys.stdout.flush()
  os._exit(0)  # its threads may hang at exit
