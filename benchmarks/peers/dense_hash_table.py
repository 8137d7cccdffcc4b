"""tf.lookup.experimental.DenseHashTable, one for the rows and one for each slot, with the optimizer written by hand on the
distinct rows: the nearest thing to a dynamic embedding in stock TensorFlow. Its tables are told the number of rows."""

from benchmarks import workload

args = workload.parser(["dense-hash-table"]).parse_args()
tf = workload.start_tensorflow(args.threads)
tf1 = tf.compat.v1
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class HashTables:
  """Graph-mode table."""

  def __init__(self, options):
    graph = tf.Graph()
    with graph.as_default():
      ids = tf1.placeholder(tf.int64, [None])
      first_values = [workload.STDDEV] + {"adagrad": [0.1], "adam": [0.0, 0.0]}[options.optimizer]
      tables = [self._table(options, value, f"table_{i}") for i, value in enumerate(first_values)]
      distinct, inverse = tf.unique(ids)
      parts = [tf.ensure_shape(table.lookup(distinct), [None, options.dim]) for table in tables]
      rows = tf.gather(parts[0], inverse)
      grad = tf.convert_to_tensor(tf.gradients(tf.nn.l2_loss(rows) / workload.BATCH, parts[0])[0])
      updated = {"adagrad": adagrad, "adam": adam}[options.optimizer](grad, *parts)
      with tf.control_dependencies(updated):
        train = tf.group(*[table.insert(distinct, part) for table, part in zip(tables, updated)])
      self._size = tables[0].size()
      self._session = workload.graph_session(tf, graph, options.threads)
      self.train = self._session.make_callable(train, feed_list=[ids])
      self.lookup = self._session.make_callable(rows.op, feed_list=[ids])

  def size(self):
    return int(self._session.run(self._size))

  @staticmethod
  def _table(options, default, name):
    buckets = 1 << (int(options.rows / 0.8) - 1).bit_length()
    return tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, tf.fill([options.dim], default), empty_key=-1,
                                                 deleted_key=-2, initial_num_buckets=buckets, name=name)


def adagrad(grad, value, accumulator):
  accumulator += tf.square(grad)
  return [value - workload.LEARNING_RATE * grad * tf.math.rsqrt(accumulator), accumulator]


def adam(grad, value, m, v):
  m = BETA1 * m + (1 - BETA1) * grad
  v = BETA2 * v + (1 - BETA2) * tf.square(grad)
  return [value - workload.LEARNING_RATE * m / (tf.sqrt(v) + EPSILON), m, v]


if __name__ == "__main__":
  workload.measure(args.impl, args, HashTables, as_keys=True, versions={"tensorflow": tf.__version__})
