"""Many small tables in one step: one group of lookups against the lookups one by one, and against TensorFlow's own ops
(unique, gather, sparse_segment_mean), in one process, in turn.

Axes: --tables, --ids (of one table, one an entry), --dim, --mode: a graph and a session, or eager calls. Cases: `lookup`
alone, `gradient` with the slices of each table, `train` with Adagrad too.
"""

import functools

import numpy as np

from benchmarks import workload

parser = workload.parser(["group"])
parser.add_argument("--tables", type=int, default=26)
parser.add_argument("--ids", type=int, default=1000)
parser.add_argument("--mode", choices=("graph", "eager"), default="graph")
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()
tf = workload.start_tensorflow(args.threads)

import ev_tf  # noqa: E402

tf1 = tf.compat.v1
BATCHES = 20


def own_ops(variable, ids):
  keys, places = tf.unique(ids.values)
  return tf.sparse.segment_mean(tf.gather(variable, keys), places, ids.indices[:, 0])


def grouped(variables, ids):
  return ev_tf.group_embedding_lookup_sparse(variables, ids, "mean")


def one_by_one(variables, ids):
  return [ev_tf.embedding_lookup_sparse(variable, i, None, combiner="mean") for variable, i in zip(variables, ids)]


def tensorflow_ops(variables, ids):
  return [own_ops(variable, i) for variable, i in zip(variables, ids)]


IMPLS = {"group": grouped, "one-by-one": one_by_one, "tensorflow-ops": tensorflow_ops}


def sparse_ids(values):
  rows = np.stack([np.arange(args.ids), np.zeros(args.ids, np.int64)], 1)
  return [tf.SparseTensor(rows, value, [args.ids, 1]) for value in values]


def make_variables(impl):
  return [ev_tf.get_embedding_variable(f"{impl}_{i}", args.dim) for i in range(args.tables)]


def loss_of(outputs):
  """One loss of all tables, as a model has: no table is updated before all are looked up."""
  return tf.nn.l2_loss(tf.add_n(outputs))


def graph_steps(impl, batches):
  """case -> step(number of a batch)."""
  graph = tf.Graph()
  with graph.as_default():
    number = tf1.placeholder(tf.int64, [])
    variables = make_variables(impl)
    outputs = IMPLS[impl](variables, sparse_ids(tf.unstack(tf.constant(batches)[number])))
    optimizer = tf1.train.AdagradOptimizer(workload.LEARNING_RATE)
    gradients = optimizer.compute_gradients(loss_of(outputs), variables)
    fetches = {"lookup": [output.op for output in outputs], "gradient": [slices.values.op for slices, _ in gradients],
               "train": optimizer.apply_gradients(gradients)}
    session = workload.graph_session(tf, graph, args.threads)
    session.run(tf1.global_variables_initializer())
    return {case: session.make_callable(fetch, feed_list=[number]) for case, fetch in fetches.items()}


def eager_steps(impl, batches):
  variables = make_variables(impl)
  optimizer = tf1.train.AdagradOptimizer(workload.LEARNING_RATE)
  inputs = [sparse_ids([tf.constant(values) for values in batch]) for batch in batches]

  def gradients(number):
    with tf.GradientTape() as tape:
      loss = loss_of(IMPLS[impl](variables, inputs[number]))
    return tape.gradient(loss, variables)

  return {"lookup": lambda number: IMPLS[impl](variables, inputs[number]), "gradient": gradients,
          "train": lambda number: optimizer.apply_gradients(zip(gradients(number), variables))}


def main():
  rng = np.random.default_rng(1)
  batches = rng.zipf(1.05, [BATCHES, args.tables, args.ids]) % args.rows
  make = functools.partial(graph_steps if args.mode == "graph" else eager_steps, batches=batches.astype(np.int64))
  steps = {impl: make(impl) for impl in IMPLS}
  numbers = {impl: list(range(BATCHES)) for impl in IMPLS}
  for case in ("train", "gradient", "lookup"):
    medians, other_cpu = workload.alternate({impl: steps[impl][case] for impl in IMPLS}, numbers, args.seconds, args.rounds,
                                            warmup=20, fewest=50, most=2000)
    workload.emit(bench="group", case=case, mode=args.mode, tables=args.tables, batch=args.ids, dim=args.dim,
                  threads=args.threads, other_cpu=other_cpu, **{f"{impl}_s": times for impl, times in medians.items()})


if __name__ == "__main__":
  main()
