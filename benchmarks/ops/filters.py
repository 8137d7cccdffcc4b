"""What a filter costs: train steps on a table with a CounterFilter, and one with a CBFFilter, against one without, in one
process, in turn.

State of the ids, the two ends of what a program meets:
  admitted   every id has a row: the filter has nothing to say
  counted    no id has a row: all are counted, in a filter that holds as many ids as the table has rows

Axes: --rows, --dim, --threads, --dist, --state.
"""

from benchmarks import workload

parser = workload.parser(["filters"])
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--dist", default="zipf1.05")
parser.add_argument("--state", default="admitted", choices=["admitted", "counted"])
args = parser.parse_args()
tf = workload.start_tensorflow(args.threads)

import ev_tf  # noqa: E402

FREQUENCY = {"admitted": 2, "counted": 60000}[args.state]
FILTERS = {"none": None, "counter": ev_tf.CounterFilter(FREQUENCY),
           "cbf": ev_tf.CBFFilter(FREQUENCY, args.rows, 0.01, tf.uint16)}


def make_step(name):
  """A train step of a table that has seen every id twice."""
  option = ev_tf.EmbeddingVariableOption(filter_option=FILTERS[name])
  table = ev_tf.get_embedding_variable(name, embedding_dim=args.dim, ev_option=option)
  optimizer = tf.compat.v1.train.AdagradOptimizer(workload.LEARNING_RATE)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def step(ids):
    with tf.GradientTape() as tape:
      loss = tf.nn.l2_loss(tf.nn.embedding_lookup(table, ids)) / workload.BATCH
    optimizer.apply_gradients([(tape.gradient(loss, table), table)])

  for _ in range(2):
    for batch in workload.Ids(args.rows, as_keys=True).all_rows():
      step(tf.constant(batch))
  expected = args.rows if name == "none" or args.state == "admitted" else 0
  if not 0 <= int(table.size()) - expected <= args.rows // 100:
    raise SystemExit(f"{name}: expected about {expected} rows, found {int(table.size())}")
  return table, step


def main():
  tables = {name: make_step(name) for name in FILTERS}
  stream = [tf.constant(batch) for batch in workload.Ids(args.rows, as_keys=True).stream(args.dist)]
  steps = {name: step for name, (_, step) in tables.items()}
  medians, other_cpu = workload.alternate(steps, {name: stream for name in steps}, args.seconds, args.rounds, warmup=5,
                                          fewest=20, most=400)
  for name in ("counter", "cbf"):
    workload.emit(bench="filters", filter=name, state=args.state, rows=args.rows, dim=args.dim, dist=args.dist,
                  threads=args.threads, ours_s=medians[name], plain_s=medians["none"],
                  ratio=[with_filter / without for with_filter, without in zip(medians[name], medians["none"])],
                  filter_bytes=tables[name][0].metrics()["filter_bytes"], other_cpu=other_cpu)


if __name__ == "__main__":
  main()
