"""The workload that every table is measured on, and the clock that measures it. Needs NumPy and nothing else, so that it
runs in every peer's environment.

A table has `rows` rows of `dim` floats and the optimizer's slots. Row i has the key splitmix64(i) with the sign bit cleared,
so keys are sparse and in no order; a static variable has no keys and takes i itself.

Cases, on batches of 65,536 ids:
  insert   a whole train step on ids that were never seen, until every row is in: the table grows
  train    ids -> rows -> loss = l2_loss(rows) / batch -> gradient -> optimizer, on rows that exist; ids are fed, nothing
           is fetched
  lookup   ids -> rows [batch, dim]
Distributions: uniform; zipf<s>, bounded Zipf over all rows, popular rows scattered.

One process measures one table and prints a JSON line for each case: the median step, and how busy others were meanwhile.
"""

import argparse
import ctypes
import json
import os
import sys
import time

import numpy as np

BATCH = 65536
SLOTS = {"adagrad": 1, "adam": 2}
LEARNING_RATE = 0.01
STDDEV = 0.05  # of the rows' initial values


def key_of_row(index):
  """int64 keys of row indices; benchmarks/engine/ids.h has the same."""
  z = np.asarray(index).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
  z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  z ^= z >> np.uint64(31)
  return (z & np.uint64(0x7FFFFFFFFFFFFFFF)).astype(np.int64)


def zipf_ranks(rng, exponent, n, size):
  """int64 [size], ranks 0 to n - 1 with probability ~ (rank + 1)^-exponent, exactly.

  Source: rejection-inversion, Hoermann and Derflinger, ACM TOMACS 6 (1996). exponent != 1.
  """
  s = exponent

  def integral(x):
    return np.expm1((1 - s) * np.log(x)) / (1 - s)

  def inverse(y):
    return np.exp(np.log1p(y * (1 - s)) / (1 - s))

  low, high = integral(1.5) - 1, integral(n + 0.5)
  always = 2 - inverse(integral(2.5) - 2.0**-s)
  found = np.empty(0, np.int64)
  while len(found) < size:
    u = high + rng.random(2 * size) * (low - high)
    x = inverse(u)
    rank = np.clip(np.floor(x + 0.5), 1, n)
    good = (rank - x <= always) | (u >= integral(rank + 0.5) - rank**-s)
    found = np.concatenate([found, rank[good].astype(np.int64) - 1])
  return found[:size]


class Ids:
  """The batches of one table. Every process with the same arguments draws the same ones.

  Args:
    rows: int, rows of the table.
    as_keys: bool, keys of a hash table; False: row indices.
    batch: int.
    batches: int, batches of a stream; they are used in turn.
  """

  def __init__(self, rows, as_keys, batch=BATCH, batches=32, seed=7):
    self.rows, self.batch, self.batches = rows, batch, batches
    self._as_keys = as_keys
    self._seed = seed
    self._scattered = np.random.default_rng(seed).permutation(rows).astype(np.int64)  # rank -> row

  def _out(self, index):
    return key_of_row(index) if self._as_keys else index

  def stream(self, dist):
    """List of `batches` int64 arrays [batch]."""
    rng = np.random.default_rng([self._seed, 1])
    size = self.batch * self.batches
    if dist == "uniform":
      ranks = rng.integers(0, self.rows, size)
    elif dist.startswith("zipf"):
      ranks = zipf_ranks(rng, float(dist[4:]), self.rows, size)
    else:
      raise ValueError(f"dist: expected 'uniform' or 'zipf<exponent>', received {dist!r}")
    return list(self._out(self._scattered[ranks]).reshape(self.batches, self.batch))

  def all_rows(self):
    """Every row once, in no order, by batches; the last one may be short."""
    order = np.random.default_rng([self._seed, 2]).permutation(self.rows).astype(np.int64)
    for start in range(0, self.rows, self.batch):
      yield self._out(order[start:start + self.batch])


def _busy_seconds():
  """Core-seconds since boot in which this machine's CPUs were not idle, time stolen by the hypervisor counted."""
  with open("/proc/stat") as file:
    jiffies = [int(field) for field in file.readline().split()[1:9]]
  return (sum(jiffies) - jiffies[3] - jiffies[4]) / os.sysconf("SC_CLK_TCK")


class Contention:
  """Cores that others used while the block ran: `with Contention() as c: ...; c.other_cpu`."""

  other_cpu = 0.0

  def __enter__(self):
    self._start = time.perf_counter(), _busy_seconds(), time.process_time()
    return self

  def __exit__(self, *unused):
    wall, busy, own = self._start
    others = (_busy_seconds() - busy) - (time.process_time() - own)
    self.other_cpu = round(max(0.0, others) / max(time.perf_counter() - wall, 1e-3), 3)


def time_steps(step, batches, seconds, warmup=5, fewest=15, most=400):
  """(seconds of each step, other_cpu) of step(batch) over the batches in turn, for about `seconds`."""
  for i in range(warmup):
    step(batches[i % len(batches)])
  times = []
  with Contention() as contention:
    end = time.perf_counter() + seconds
    while len(times) < most and (len(times) < fewest or time.perf_counter() < end):
      batch = batches[(warmup + len(times)) % len(batches)]
      start = time.perf_counter()
      step(batch)
      times.append(time.perf_counter() - start)
  return np.asarray(times), contention.other_cpu


def alternate(steps, batches, seconds, rounds, **limits):
  """Times several functions in turn, A-B-A-B, in one process.

  Args:
    steps: dict of name -> function of one batch.
    batches: dict of name -> list of batches.
    seconds: float, of one block of one function.
    rounds: int, blocks of each function.
    limits: of time_steps.

  Returns:
    (dict of name -> list of `rounds` medians in seconds, list of `rounds` other_cpu).
  """
  medians = {name: [] for name in steps}
  others = []
  for _ in range(rounds):
    busy = []
    for name, step in steps.items():
      times, other = time_steps(step, batches[name], seconds, **limits)
      medians[name].append(float(np.median(times)))
      busy.append(other)
    others.append(max(busy))
  return medians, others


def resident_bytes():
  """Resident memory of this process, after giving freed memory back."""
  try:
    ctypes.CDLL("libc.so.6").malloc_trim(0)
  except OSError:
    pass
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def emit(**fields):
  print(json.dumps(fields), flush=True)


def summary(times, other_cpu, batch):
  """The fields of one case from the seconds of its steps."""
  median = float(np.median(times))
  return dict(steps=len(times), median_s=median, mean_s=float(np.mean(times)), p99_s=float(np.quantile(times, 0.99)),
              worst_s=float(np.max(times)), ids_per_s=batch / median, other_cpu=other_cpu)


def measure(impl, args, make_table, as_keys, versions):
  """Makes a table and measures the cases of `args` on it, one JSON line each.

  Args:
    impl: str, name of the implementation.
    args: of parser().
    make_table: callable of args; gives an object with train(ids), lookup(ids) and size().
    as_keys: bool, whether the table takes keys; False: row indices, and its rows are there from the start.
    versions: dict of str, what was measured.
  """
  ids = Ids(args.rows, as_keys)
  fields = dict(impl=impl, rows=args.rows, dim=args.dim, optimizer=args.optimizer, threads=args.threads, batch=ids.batch,
                versions=versions)
  before = resident_bytes()
  table = make_table(args)
  if as_keys or "insert" in args.cases:
    times = []
    with Contention() as contention:
      for batch in ids.all_rows():
        start = time.perf_counter()
        table.train(batch)
        if len(batch) == ids.batch:
          times.append(time.perf_counter() - start)
    times = np.asarray(times[2:])  # the first steps also optimize the graph
    emit(case="insert", dist="new", **fields, **summary(times, contention.other_cpu, ids.batch),
         worst_to_median=float(np.max(times) / np.median(times)))
  ideal = 4 * args.dim * (1 + SLOTS[args.optimizer])
  if table.size() != args.rows:
    sys.exit(f"{impl}: expected {args.rows} rows after the fill, found {table.size()}")
  emit(case="memory", dist="-", **fields, bytes_per_row=(resident_bytes() - before) / args.rows, ideal_bytes_per_row=ideal)
  for case in ("train", "lookup"):
    for dist in args.dists if case in args.cases else ():
      times, other = time_steps(getattr(table, case), ids.stream(dist), args.seconds)
      emit(case=case, dist=dist, **fields, **summary(times, other, ids.batch))


def words(text):
  return [word for word in text.split(",") if word]


def parser(impls):
  """The arguments that every table's program takes."""
  result = argparse.ArgumentParser()
  result.add_argument("--impl", choices=impls, default=impls[0])
  result.add_argument("--rows", type=int, default=1_000_000)
  result.add_argument("--dim", type=int, default=16)
  result.add_argument("--optimizer", choices=sorted(SLOTS), default="adagrad")
  result.add_argument("--threads", type=int, default=2, help="intra-op and inter-op threads")
  result.add_argument("--cases", type=words, default=["insert", "train", "lookup"], help="of insert,train,lookup")
  result.add_argument("--dists", type=words, default=["uniform", "zipf1.05"])
  result.add_argument("--seconds", type=float, default=2.5, help="of one case")
  return result


def start_tensorflow(threads):
  """TensorFlow on that many threads of the CPU, quiet."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
  import tensorflow as tf
  tf.config.threading.set_intra_op_parallelism_threads(threads)
  tf.config.threading.set_inter_op_parallelism_threads(threads)
  tf.get_logger().setLevel("ERROR")
  return tf


def graph_session(tf, graph, threads):
  config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
  return tf.compat.v1.Session(graph=graph, config=config)
