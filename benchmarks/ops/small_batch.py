"""Small batches: 1,000 ids through the whole op in a tf.function, against tf.gather on a static tf.Variable of as many rows,
in one process, in turn. What is measured is mostly what a call costs, not what a row costs.

Axes: --rows, --dim, --threads, --ids.
"""

from benchmarks import workload

parser = workload.parser(["small-batch"])
parser.add_argument("--ids", type=int, default=1000)
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()
tf = workload.start_tensorflow(args.threads)

import ev_tf  # noqa: E402


def filled_variable():
  """An embedding variable with rows 0 to rows - 1, by train steps."""
  variable = ev_tf.get_embedding_variable("table", embedding_dim=args.dim)
  optimizer = tf.compat.v1.train.AdagradOptimizer(workload.LEARNING_RATE)
  for batch in workload.Ids(args.rows, as_keys=True).all_rows():
    with tf.GradientTape() as tape:
      loss = tf.nn.l2_loss(tf.nn.embedding_lookup(variable, batch)) / workload.BATCH
    optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])
  return variable


def main():
  variable = filled_variable()
  static = tf.Variable(tf.random.normal([args.rows, args.dim], stddev=workload.STDDEV))
  signature = [tf.TensorSpec([None], tf.int64)]

  @tf.function(input_signature=signature)
  def ev_lookup(ids):
    return tf.nn.embedding_lookup(variable, ids)

  @tf.function(input_signature=signature)
  def static_gather(ids):
    return tf.gather(static, ids)

  ids = [workload.Ids(args.rows, keys, batch=args.ids, batches=256).stream("uniform") for keys in (True, False)]
  batches = {name: [tf.constant(batch) for batch in stream] for name, stream in zip(("ev", "static"), ids)}
  steps = {"ev": ev_lookup, "static": static_gather}
  if ev_lookup(batches["ev"][0]).shape != static_gather(batches["static"][0]).shape:
    raise SystemExit("the two lookups give different shapes")
  for name, step in steps.items():
    workload.time_steps(step, batches[name], args.seconds / 10, warmup=200)
  medians, other_cpu = workload.alternate(steps, batches, args.seconds, args.rounds, warmup=20, fewest=200, most=2000)
  workload.emit(bench="small_batch", rows=args.rows, dim=args.dim, threads=args.threads, batch=args.ids,
                ours_s=medians["ev"], static_s=medians["static"],
                ratio=[e / s for e, s in zip(medians["ev"], medians["static"])], other_cpu=other_cpu)


if __name__ == "__main__":
  main()
