"""What TensorFlow costs: the same lookups, and the same train steps, through the ops and through the engine's own API
(`ev_tf.engine`), on tables with the same rows, in one process, in turn.

Axes: --rows, --dim, --threads; batch 65,536; uniform ids.
"""

import numpy as np

from benchmarks import workload

parser = workload.parser(["through-op"])
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()
tf = workload.start_tensorflow(args.threads)

import ev_tf  # noqa: E402
from ev_tf import engine  # noqa: E402

tf1 = tf.compat.v1
ADAGRAD = engine.adagrad(workload.LEARNING_RATE)


def session_steps(ids):
  """(train, lookup, default rows) in a graph."""
  graph = tf.Graph()
  with graph.as_default():
    fed = tf1.placeholder(tf.int64, [None])
    variable = ev_tf.get_embedding_variable("table", embedding_dim=args.dim,
                                            initializer=tf1.random_normal_initializer(stddev=workload.STDDEV, seed=1))
    rows = tf.nn.embedding_lookup(variable, fed)
    loss = tf.nn.l2_loss(rows) / workload.BATCH
    train = tf1.train.AdagradOptimizer(workload.LEARNING_RATE).minimize(loss)
    session = workload.graph_session(tf, graph, args.threads)
    session.run(tf1.global_variables_initializer())
    default_rows = session.run(variable.initial_value)
    train_step = session.make_callable(train, feed_list=[fed])
    for batch in ids.all_rows():
      train_step(batch)
    return train_step, session.make_callable(rows.op, feed_list=[fed]), default_rows


def function_steps(ids):
  """(lookup as a tf.function, the variable)."""
  variable = ev_tf.get_embedding_variable("table", embedding_dim=args.dim,
                                          initializer=tf1.random_normal_initializer(stddev=workload.STDDEV, seed=1))
  optimizer = tf1.train.AdagradOptimizer(workload.LEARNING_RATE)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def train(batch):
    with tf.GradientTape() as tape:
      loss = tf.nn.l2_loss(tf.nn.embedding_lookup(variable, batch)) / workload.BATCH
    optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def lookup(batch):
    return tf.nn.embedding_lookup(variable, batch)

  for batch in ids.all_rows():
    train(tf.constant(batch))
  return lookup, variable


def engine_steps(ids, default_rows):
  """(train, lookup) on a table of ev_tf.engine; the output is allocated once."""
  table = engine.EmbeddingVariable(args.dim, default_rows, threads=args.threads)
  rows = np.empty([workload.BATCH, args.dim], np.float32)
  grads = np.full([workload.BATCH, args.dim], 1e-6, np.float32)
  for batch in ids.all_rows():
    table.apply(ADAGRAD, batch, grads[:len(batch)])

  def train(batch):
    table.lookup(batch, out=rows)
    table.apply(ADAGRAD, batch, grads)

  return train, lambda batch: table.lookup(batch, out=rows)


def compare(case, steps, batches):
  """Emits each step's time over that of the engine's API, `engine` / step: 1 means that TensorFlow costs nothing."""
  medians, other_cpu = workload.alternate(steps, batches, args.seconds / 5, args.rounds)
  for name, times in medians.items():
    if name != "engine":
      workload.emit(bench="through_op", case=case, impl=name, rows=args.rows, dim=args.dim, threads=args.threads,
                    batch=workload.BATCH, dist="uniform", ours_s=times, engine_s=medians["engine"],
                    ratio=[e / t for e, t in zip(medians["engine"], times)], other_cpu=other_cpu)


def main():
  ids = workload.Ids(args.rows, as_keys=True)
  arrays = ids.stream("uniform")
  tensors = [tf.constant(batch) for batch in arrays]
  session_train, session_lookup, default_rows = session_steps(ids)
  engine_train, engine_lookup = engine_steps(ids, default_rows)
  function_lookup, variable = function_steps(ids)
  if int(variable.size()) != args.rows:
    raise SystemExit(f"expected {args.rows} rows, found {int(variable.size())}")
  compare("lookup", {"session": session_lookup, "function": function_lookup, "engine": engine_lookup},
          {"session": arrays, "function": tensors, "engine": arrays})
  compare("train", {"session": session_train, "engine": engine_train}, {"session": arrays, "engine": arrays})


if __name__ == "__main__":
  main()
