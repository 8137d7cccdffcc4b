"""The embedding variable through TensorFlow, on the workload of the peers.

Implementations:
  ev            graph mode: tf.nn.embedding_lookup, tf.compat.v1.train's optimizer, minimize; session callables
  ev-function   the same in tf.function with GradientTape
It is never told the number of rows.
"""

from benchmarks import workload

args = workload.parser(["ev", "ev-function"]).parse_args()
tf = workload.start_tensorflow(args.threads)

import ev_tf  # noqa: E402

tf1 = tf.compat.v1


def make_variable(options):
  initializer = tf1.random_normal_initializer(stddev=workload.STDDEV, seed=1)
  return ev_tf.get_embedding_variable("table", embedding_dim=options.dim, key_dtype=tf.int64, initializer=initializer)


def make_optimizer(options):
  optimizers = {"adagrad": tf1.train.AdagradOptimizer, "adam": tf1.train.AdamOptimizer}
  return optimizers[options.optimizer](workload.LEARNING_RATE)


class GraphTable:
  """Table in a graph and a session."""

  def __init__(self, options):
    graph = tf.Graph()
    with graph.as_default():
      ids = tf1.placeholder(tf.int64, [None])
      variable = make_variable(options)
      rows = tf.nn.embedding_lookup(variable, ids)
      train = make_optimizer(options).minimize(tf.nn.l2_loss(rows) / workload.BATCH)
      self._size = variable.size()
      self._session = workload.graph_session(tf, graph, options.threads)
      self._session.run(tf1.global_variables_initializer())
      self.train = self._session.make_callable(train, feed_list=[ids])
      self.lookup = self._session.make_callable(rows.op, feed_list=[ids])

  def size(self):
    return int(self._session.run(self._size))


class FunctionTable:
  """Table in eager mode; each case is one tf.function."""

  def __init__(self, options):
    self._variable = variable = make_variable(options)
    optimizer = make_optimizer(options)
    signature = [tf.TensorSpec([None], tf.int64)]

    @tf.function(input_signature=signature)
    def train(ids):
      with tf.GradientTape() as tape:
        loss = tf.nn.l2_loss(tf.nn.embedding_lookup(variable, ids)) / workload.BATCH
      optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])
      return loss

    @tf.function(input_signature=signature)
    def lookup(ids):
      with tf.control_dependencies([tf.nn.embedding_lookup(variable, ids)]):
        return tf.constant(0)

    # numpy() waits until the step is done.
    self.train = lambda ids: train(tf.constant(ids)).numpy()
    self.lookup = lambda ids: lookup(tf.constant(ids)).numpy()

  def size(self):
    return int(self._variable.size())


if __name__ == "__main__":
  tables = {"ev": GraphTable, "ev-function": FunctionTable}
  workload.measure(args.impl, args, tables[args.impl], as_keys=True, versions={"tensorflow": tf.__version__})
