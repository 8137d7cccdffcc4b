"""Prefetching: train steps of a small network over a table of which DRAM holds a tenth, the rest read past the page cache
(DRAM_SSDHASH, TF_SSDHASH_IO_SCHEME=directio), with and without `ev_tf.data.prefetch_rows`, in one process, in turn. Beside
them the same steps on a table in DRAM: what they would take if nothing had to be read.

A step looks up 65,536 ids, Zipf 1.05, multiplies their rows by a hidden layer of --width, and trains both with Adagrad. The
width is what there is to hide the reads behind.

Axes: --rows, --dim, --threads, --width, --steps, --rounds, --path (a directory for the rows).
"""

import os
import time

import numpy as np

from benchmarks import workload

parser = workload.parser(["prefetch"])
parser.add_argument("--width", type=int, default=384)
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
    self.hidden = tf.Variable(tf.random.stateless_normal([args.dim, args.width], [1, 2], stddev=0.1))
    self.top = tf.Variable(tf.random.stateless_normal([args.width, 1], [3, 4], stddev=0.1))
    self.optimizer = tf.compat.v1.train.AdagradOptimizer(workload.LEARNING_RATE)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def fill(self, ids):
    with tf.GradientTape() as tape:
      loss = tf.nn.l2_loss(tf.nn.embedding_lookup(self.table, ids)) / workload.BATCH
    self.optimizer.apply_gradients([(tape.gradient(loss, self.table), self.table)])

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def step(self, ids):
    variables = [self.table, self.hidden, self.top]
    with tf.GradientTape() as tape:
      rows = tf.nn.embedding_lookup(self.table, ids)
      loss = tf.reduce_mean(tf.square(tf.nn.relu(rows @ self.hidden) @ self.top - 1.0))
    self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    return loss

  def run(self, batches):
    """Trains on int64 [n, batch]; returns (seconds of a step, the losses)."""
    dataset = tf.data.Dataset.from_tensor_slices(batches)
    if self.prefetch:
      dataset = ev_tf.data.prefetch_rows(dataset, self.table, lambda ids: ids, batches=args.batches)
    losses = []
    start = time.perf_counter()
    for ids in dataset:
      losses.append(self.step(ids))
    losses = [float(loss) for loss in losses]
    return (time.perf_counter() - start) / len(batches), losses


def main():
  row_bytes = args.dim * 4 * 2
  storage = ev_tf.StorageOption(storage_type=ev_tf.StorageType.DRAM_SSDHASH, storage_path=args.path,
                                storage_size=[args.rows // 10 * row_bytes])
  models = {"plain": Model("plain", False, storage), "ahead": Model("ahead", True, storage), "dram": Model("dram", False)}
  ids = workload.Ids(args.rows, as_keys=True, batches=args.steps * (args.rounds + 1))
  for batch in ids.all_rows():
    for model in models.values():
      model.fill(tf.constant(batch))
  stream = np.stack(ids.stream("zipf1.05"))
  seconds = {name: [] for name in models}
  reads, busy = {"plain": 0, "ahead": 0}, []
  for round_number in range(args.rounds + 1):
    batches = stream[round_number * args.steps:(round_number + 1) * args.steps]
    losses = {}
    with workload.Contention() as contention:
      for name, model in models.items():
        before = int(model.table.metrics()["cold_reads"])
        took, losses[name] = model.run(batches)
        if round_number > 0:  # the first one warms up
          seconds[name].append(took)
          if name in reads:
            reads[name] += int(model.table.metrics()["cold_reads"]) - before
    for name in reads:
      if not np.allclose(losses[name], losses["dram"], rtol=1e-4, atol=0):
        raise SystemExit(f"{name}: expected the losses of the table in DRAM, {losses['dram'][-1]}, found {losses[name][-1]}")
    if round_number > 0:
      busy.append(contention.other_cpu)
  steps = args.steps * args.rounds
  workload.emit(bench="prefetch", rows=args.rows, dim=args.dim, width=args.width, batch=workload.BATCH, ahead=args.batches,
                plain_s=seconds["plain"], ahead_s=seconds["ahead"], dram_s=seconds["dram"],
                ratio=[p / a for p, a in zip(seconds["plain"], seconds["ahead"])],
                reads_per_step=reads["plain"] / steps, ahead_reads_per_step=reads["ahead"] / steps, other_cpu=busy)


if __name__ == "__main__":
  main()
