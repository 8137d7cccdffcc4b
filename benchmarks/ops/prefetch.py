"""Prefetching: train steps of a small network over a table of which DRAM holds a tenth, the rest read past the page cache
(DRAM_SSDHASH, TF_SSDHASH_IO_SCHEME=directio), with and without `ev_tf.data.prefetch_rows`, in one process, in turn. Beside
them the same steps on a table in DRAM: what they would take if nothing had to be read.

A step looks up 65,536 ids, Zipf 1.05, multiplies their rows by a hidden layer of --width, and trains both with Adagrad. The
width is what there is to hide the reads behind. Without it, it is chosen between 16 and 2,048 in rounds before the measured ones, so
that a step in DRAM takes as long as bringing the rows of a batch up does alone. Steps use --threads of the cores, and
reading needs the processor too: with one thread fewer than cores it has one to itself, as beside an accelerator.

Axes: --rows, --dim, --threads, --width, --steps, --rounds, --path (a directory for the rows).
"""

import os
import time

import numpy as np

from benchmarks import workload

parser = workload.parser(["prefetch"])
parser.add_argument("--width", type=int, default=0, help="0: as wide as reading is slow")
parser.add_argument("--steps", type=int, default=20, help="of a round")
parser.add_argument("--rounds", type=int, default=4)
parser.add_argument("--batches", type=int, default=2, help="ahead")
parser.add_argument("--path", default=".")
args = parser.parse_args()
os.environ["TF_SSDHASH_IO_SCHEME"] = "directio"  # before a variable is made
tf = workload.start_tensorflow(args.threads)

import ev_tf  # noqa: E402


class Model:
  """A table and a hidden layer over it."""

  def __init__(self, name, prefetch, storage=None):
    option = ev_tf.EmbeddingVariableOption(storage_option=storage or ev_tf.StorageOption())
    self.prefetch = prefetch
    self.table = ev_tf.get_embedding_variable(
        name, embedding_dim=args.dim, ev_option=option,
        initializer=tf.constant_initializer(np.random.default_rng(1).normal(0, workload.STDDEV, (4096, args.dim))))
    self.optimizer = tf.compat.v1.train.AdagradOptimizer(workload.LEARNING_RATE)

  def widen(self, width):
    """A new hidden layer, and the step that trains it."""
    self.hidden = tf.Variable(tf.random.stateless_normal([args.dim, width], [1, 2], stddev=0.1))
    self.top = tf.Variable(tf.random.stateless_normal([width, 1], [3, 4], stddev=0.1))
    self.step = tf.function(self._step, input_signature=[tf.TensorSpec([None], tf.int64)])

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def fill(self, ids):
    with tf.GradientTape() as tape:
      loss = tf.nn.l2_loss(tf.nn.embedding_lookup(self.table, ids)) / workload.BATCH
    self.optimizer.apply_gradients([(tape.gradient(loss, self.table), self.table)])

  def _step(self, ids):
    variables = [self.table, self.hidden, self.top]
    with tf.GradientTape() as tape:
      rows = tf.nn.embedding_lookup(self.table, ids)
      loss = tf.reduce_mean(tf.square(tf.nn.relu(rows @ self.hidden) @ self.top - 1.0))
    self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    return loss

  def run(self, batches, train=True):
    """Trains on int64 [n, batch], or looks at them only; returns (seconds of a step, the losses)."""
    dataset = tf.data.Dataset.from_tensor_slices(batches)
    if self.prefetch:
      dataset = ev_tf.data.prefetch_rows(dataset, self.table, lambda ids: ids, batches=args.batches)
    start = time.perf_counter()
    iterator = iter(dataset)  # its end is not timed: it waits for tf.data's tuning, which looks up after 10, 30, 70 ... 5110 ms
    losses = [self.step(ids) if train else 0.0 for ids in iterator]
    losses = [float(loss) for loss in losses]
    return (time.perf_counter() - start) / len(batches), losses


def make_models():
  """The three, with all rows in their tables."""
  row_bytes = args.dim * 4 * 2
  storage = ev_tf.StorageOption(storage_type=ev_tf.StorageType.DRAM_SSDHASH, storage_path=args.path,
                                storage_size=[args.rows // 10 * row_bytes])
  models = {"plain": Model("plain", False, storage), "ahead": Model("ahead", True, storage), "dram": Model("dram", False)}
  for batch in workload.Ids(args.rows, as_keys=True).all_rows():
    for model in models.values():
      model.fill(tf.constant(batch))
  return models


class Rounds:
  """Trains all models on the same batches, in turn."""

  def __init__(self, models):
    self._models = models
    self.names = list(models)
    self._stream = iter(workload.Ids(args.rows, as_keys=True, batches=args.steps * (args.rounds + 5)).stream("zipf1.05"))

  def widen(self, width):
    for model in self._models.values():
      model.widen(width)
    self.run(steps=2)  # traced

  def _batches(self, count):
    return np.stack([next(self._stream) for _ in range(count)])

  def seconds_to_bring_up(self):
    """The rows of one batch, by a pipeline that has nothing else to do."""
    return self._models["ahead"].run(self._batches(args.steps), train=False)[0]

  def run(self, steps=args.steps):
    """{model: (seconds of a step, processor seconds of a step, rows read in all)}. Their losses are compared."""
    batches = self._batches(steps)
    figures, losses = {}, {}
    for name, model in self._models.items():
      reads, processor = int(model.table.metrics()["cold_reads"]), time.process_time()
      took, losses[name] = model.run(batches)
      figures[name] = (took, (time.process_time() - processor) / steps, int(model.table.metrics()["cold_reads"]) - reads)
    for name in losses:
      if not np.allclose(losses[name], losses["dram"], rtol=1e-4, atol=0):
        raise SystemExit(f"{name}: expected the losses of the table in DRAM, {losses['dram'][-1]}, found {losses[name][-1]}")
    return figures


def choose_width(rounds):
  """Where a step in DRAM takes as long as bringing up its rows, if a step's time is a line over the width."""
  points = []
  for width in (64, 512):
    rounds.widen(width)
    points.append((width, rounds.run()["dram"][0]))
  (narrow, short), (wide, long) = points
  reading = rounds.seconds_to_bring_up()
  return int(np.clip(narrow + (reading - short) * (wide - narrow) / max(long - short, 1e-6), 16, 2048))


def main():
  rounds = Rounds(make_models())
  width = args.width or choose_width(rounds)
  rounds.widen(width)
  figures, busy = {name: [] for name in rounds.names}, []
  for _ in range(args.rounds):
    with workload.Contention() as contention:
      for name, figure in rounds.run().items():
        figures[name].append(figure)
    busy.append(contention.other_cpu)
  seconds, processor, reads = ({name: [figure[i] for figure in figures[name]] for name in figures} for i in range(3))
  workload.emit(bench="prefetch", rows=args.rows, dim=args.dim, width=width, batch=workload.BATCH, ahead=args.batches,
                **{f"{name}_s": seconds[name] for name in figures}, **{f"{name}_cpu_s": processor[name] for name in figures},
                ratio=[p / a for p, a in zip(seconds["plain"], seconds["ahead"])],
                reads_per_step=float(np.mean(reads["plain"])) / args.steps,
                ahead_reads_per_step=float(np.mean(reads["ahead"])) / args.steps, other_cpu=busy)


if __name__ == "__main__":
  main()
