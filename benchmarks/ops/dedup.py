"""tf.unique, called eagerly on tensors that are there already: the other side of benchmarks/engine/dedup_bench.cc.

Axes: --sizes, --dists, --rows.
"""

import numpy as np

from benchmarks import workload

IDS_PER_REPEAT = 1 << 22

parser = workload.parser(["tf.unique"])
parser.add_argument("--sizes", type=workload.words, default=["65536", "1048576"])
parser.add_argument("--rounds", type=int, default=5)
parser.set_defaults(rows=10_000_000)
args = parser.parse_args()
tf = workload.start_tensorflow(args.threads)


def main():
  for size in map(int, args.sizes):
    for dist in args.dists:
      stream = workload.Ids(args.rows, as_keys=True, batch=size, batches=4).stream(dist)
      tensors = [tf.constant(batch) for batch in stream]
      distinct, inverse = tf.unique(tensors[0])
      if not np.array_equal(distinct.numpy()[inverse.numpy()], stream[0]):
        raise SystemExit("tf.unique is wrong")
      measure(size, dist, tensors)


def measure(size, dist, tensors):
  steps = IDS_PER_REPEAT // size
  rates, others = [], []
  for _ in range(args.rounds):
    times, other = workload.time_steps(tf.unique, tensors, seconds=0, warmup=2, fewest=steps)
    rates.append(float(size * len(times) / np.sum(times)))
    others.append(other)
  workload.emit(bench="tf_unique", size=size, dist=dist, threads=args.threads, per_s=rates, other_cpu=others)


if __name__ == "__main__":
  main()
