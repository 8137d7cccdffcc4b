"""TensorFlow Recommenders Addons: dynamic embedding over its cuckoo hash table, as its documents use it: the unique lookup
and DynamicEmbeddingOptimizer around tf.compat.v1.train's.

Implementations:
  tfra          told the number of rows, which spares it its rehash (a batch of 9 s at 10 M rows of 64) and takes the memory for
                them before the first batch
  tfra-growing  left to grow, as ours is
"""

import contextlib
import io
import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from benchmarks import workload  # noqa: E402

args = workload.parser(["tfra", "tfra-growing"]).parse_args()
tf = workload.start_tensorflow(args.threads)
with contextlib.redirect_stdout(io.StringIO()):  # it prints when imported
  import tensorflow_recommenders_addons as tfra
  from tensorflow_recommenders_addons import dynamic_embedding
tf1 = tf.compat.v1


class TfraTable:
  """Graph-mode table."""

  def __init__(self, options):
    graph = tf.Graph()
    with graph.as_default():
      ids = tf1.placeholder(tf.int64, [None])
      table = dynamic_embedding.get_variable(
          "table", key_dtype=tf.int64, value_dtype=tf.float32, dim=options.dim, devices=["/CPU:0"],
          initializer=tf1.random_normal_initializer(stddev=workload.STDDEV, seed=1),
          init_size=options.rows if options.impl == "tfra" else 0)
      rows, trainable = dynamic_embedding.embedding_lookup_unique(table, ids, name="lookup", return_trainable=True)
      optimizers = {"adagrad": tf1.train.AdagradOptimizer, "adam": tf1.train.AdamOptimizer}
      optimizer = dynamic_embedding.DynamicEmbeddingOptimizer(optimizers[options.optimizer](workload.LEARNING_RATE))
      train = optimizer.minimize(tf.nn.l2_loss(rows) / workload.BATCH, var_list=[trainable])
      distinct, inverse = tf.unique(ids)
      looked_up = tf.gather(table.lookup(distinct), inverse)
      self._size = table.size()
      self._session = workload.graph_session(tf, graph, options.threads)
      self._session.run(tf1.global_variables_initializer())
      self.train = self._session.make_callable(train, feed_list=[ids])
      self.lookup = self._session.make_callable(looked_up.op, feed_list=[ids])

  def size(self):
    return int(self._session.run(self._size))


if __name__ == "__main__":
  workload.measure(args.impl, args, TfraTable, as_keys=True,
                   versions={"tensorflow": tf.__version__, "tensorflow-recommenders-addons": tfra.__version__})
