"""A static tf.Variable [rows, dim] in stock TensorFlow: the limit of what a table without hashing can do. Ids are rows.

Implementations:
  static-uniq   tf.unique -> tf.gather -> expand; tf.compat.v1.train's sparse Adagrad (or its Adam, which is not lazy)
  static-lazy   the same lookup; lazy Adam written by hand: gather m and v, compute, scatter
  static        tf.gather with duplicates; tf.compat.v1.train's optimizer
"""

from benchmarks import workload

args = workload.parser(["static-uniq", "static-lazy", "static"]).parse_args()
tf = workload.start_tensorflow(args.threads)
tf1 = tf.compat.v1
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class StaticTable:
  """Graph-mode table; the variable's rows are drawn block by block, so that nothing of their size exists twice."""

  def __init__(self, options):
    self._rows = options.rows
    graph = tf.Graph()
    with graph.as_default():
      ids = tf1.placeholder(tf.int64, [None])
      self._variable = tf1.get_variable("table", [options.rows, options.dim], initializer=tf1.zeros_initializer(),
                                        use_resource=True)
      block, start = self._fill_op(options)
      if options.impl == "static":
        looked_up, train = self._plain(ids, options)
      else:
        looked_up, train = self._unique(ids, options)
      session = workload.graph_session(tf, graph, options.threads)
      session.run(tf1.global_variables_initializer())
      for first in range(0, options.rows, workload.BATCH):
        session.run(block, {start: first})
      self.train = session.make_callable(train, feed_list=[ids])
      self.lookup = session.make_callable(looked_up.op, feed_list=[ids])

  def size(self):
    return self._rows

  def _fill_op(self, options):
    start = tf1.placeholder(tf.int64, [])
    rows = tf.minimum(tf.range(start, start + workload.BATCH), options.rows - 1)
    values = tf.random.normal([workload.BATCH, options.dim], stddev=workload.STDDEV, seed=1)
    return tf1.scatter_update(self._variable, rows, values).op, start

  def _plain(self, ids, options):
    rows = tf.gather(self._variable, ids)
    return rows, self._stock_optimizer(options).minimize(tf.nn.l2_loss(rows) / workload.BATCH)

  def _unique(self, ids, options):
    distinct, inverse = tf.unique(ids)
    distinct_rows = tf.gather(self._variable, distinct)
    rows = tf.gather(distinct_rows, inverse)
    loss = tf.nn.l2_loss(rows) / workload.BATCH
    if options.impl == "static-uniq":
      return rows, self._stock_optimizer(options).minimize(loss)
    grad = tf.convert_to_tensor(tf.gradients(loss, distinct_rows)[0])
    return rows, self._lazy_adam(distinct, grad)

  def _lazy_adam(self, distinct, grad):
    zeros = tf1.zeros_initializer()
    m = tf1.get_variable("m", self._variable.shape, initializer=zeros, use_resource=True)
    v = tf1.get_variable("v", self._variable.shape, initializer=zeros, use_resource=True)
    new_m = BETA1 * tf.gather(m, distinct) + (1 - BETA1) * grad
    new_v = BETA2 * tf.gather(v, distinct) + (1 - BETA2) * tf.square(grad)
    move = workload.LEARNING_RATE * new_m / (tf.sqrt(new_v) + EPSILON)
    return tf.group(tf1.scatter_update(m, distinct, new_m), tf1.scatter_update(v, distinct, new_v),
                    tf1.scatter_sub(self._variable, distinct, move))

  def _stock_optimizer(self, options):
    optimizers = {"adagrad": tf1.train.AdagradOptimizer, "adam": tf1.train.AdamOptimizer}
    return optimizers[options.optimizer](workload.LEARNING_RATE)


if __name__ == "__main__":
  workload.measure(args.impl, args, StaticTable, as_keys=False, versions={"tensorflow": tf.__version__})
