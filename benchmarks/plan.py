"""What a run measures, and what it is held to. Sizes and targets stand here and nowhere else."""

from typing import NamedTuple, Optional

OURS = "ev"
STATIC = {"adagrad": "static-uniq", "adam": "static-lazy"}
SUITES = ("tables", "lookup", "update", "growth", "dedup", "op", "small", "group", "tiers", "hits", "prefetch", "saves")
PEERS = ("static", "tfra", "deepray", "dense-hash-table")  # "static" is all that peers/static.py has

# How the table names an implementation, and what it is.
NAMES = {
    "static-uniq": ("static", "tf.Variable [rows, dim]: tf.unique, tf.gather, TensorFlow's sparse Adagrad"),
    "static-lazy": ("static, lazy Adam", "tf.Variable [rows, dim]: tf.unique, tf.gather, lazy Adam written by hand"),
    "static": ("static, no unique", "tf.Variable [rows, dim]: tf.gather with duplicates"),
    "tfra": ("TFRA 0.8.1", "TensorFlow Recommenders Addons on TensorFlow 2.16.2, told the number of rows"),
    "tfra-growing": ("TFRA 0.8.1, growing", "the same, not told the number of rows"),
    "deepray": ("deepray 0.21.97", "on TensorFlow 2.15.1"),
    "dense-hash-table": ("DenseHashTable", "tf.lookup's, told the number of rows; Adagrad written by hand"),
    "ev-function": ("ours in tf.function", "the other rows are a graph and a session"),
}


def name_of(impl):
  return NAMES[impl][0] if impl in NAMES else impl


class Table(NamedTuple):
  """One table that every implementation in `impls` is measured on, a process each, in turn."""

  rows: int
  dim: int
  optimizer: str
  impls: tuple
  cases: tuple = ("insert", "train", "lookup")

  @property
  def label(self):
    return f"{in_words(self.rows)} x {self.dim}"


class Tiers(NamedTuple):
  """What tables of which DRAM holds a part are measured on."""

  rows: int
  batch: int
  warmup: int  # steps, until files are compacted as fast as they grow
  steps: int  # of a round
  rounds: int
  curve_rows: int  # of the sweep over shares of DRAM and distributions
  curve_steps: int
  prefetch_rows: int


class Saves(NamedTuple):
  """What is saved and restored."""

  engine_rows: int
  rows: int  # through TensorFlow: the Saver holds a variable twice
  rounds: int


class Plan(NamedTuple):
  tables: tuple
  rounds: int
  seconds: float  # of one case of one process
  engine_rows: int  # lookup, update and op against the engine
  growth: tuple  # (rows, dim) of the memory measurement
  growth_rows: int  # rows of the engine's insert
  repeats: int  # inside one process
  tiers: Tiers
  saves: Saves


ADAGRAD_PEERS = ("ev", "static-uniq", "tfra", "tfra-growing", "deepray", "dense-hash-table", "static")
ADAM_PEERS = ("ev", "static-lazy", "tfra")

FULL = Plan(
    tables=(Table(10_000_000, 64, "adagrad", ADAGRAD_PEERS), Table(10_000_000, 64, "adam", ADAM_PEERS, ("train",)),
            Table(1_000_000, 16, "adam", (*ADAM_PEERS, "ev-function", "deepray"), ("train", "lookup"))),
    rounds=5, seconds=2.5, engine_rows=10_000_000, growth=(50_000_000, 16), growth_rows=10_000_000, repeats=7,
    tiers=Tiers(8_000_000, 65_536, 2_000, 100, 3, 1_000_000, 60, 4_000_000),
    saves=Saves(20_000_000, 8_000_000, 3))
QUICK = Plan(
    tables=(Table(1_000_000, 64, "adagrad", ADAGRAD_PEERS[:5]), Table(1_000_000, 16, "adam", ADAM_PEERS, ("train",))),
    rounds=2, seconds=0.5, engine_rows=1_000_000, growth=(4_000_000, 16), growth_rows=1_000_000, repeats=5,
    tiers=Tiers(1_000_000, 8_192, 300, 60, 2, 500_000, 30, 1_000_000),
    saves=Saves(2_000_000, 1_000_000, 1))

ENGINE_DIMS = (16, 32, 64)
DEDUP_SIZES = (65_536, 1_048_576)
DISTS = ("zipf1.05", "uniform")

# Least speed-up over a peer: (case, optimizer, distribution) -> peer -> target.
SPEEDUPS = {
    ("train", "adagrad", "zipf1.05"): {"static-uniq": 1.5, "tfra": 5.0, "deepray": 2.5},
    ("train", "adagrad", "uniform"): {"static-uniq": 1.3, "tfra": 5.0},
    ("train", "adam", "zipf1.05"): {"static-lazy": 1.5, "tfra": 6.0},
    ("train", "adam", "uniform"): {"static-lazy": 1.5, "tfra": 6.0},
    ("lookup", "adagrad", "zipf1.05"): {"static-uniq": 1.3, "tfra": 5.0},
    ("lookup", "adagrad", "uniform"): {"static-uniq": 1.3, "tfra": 5.0},
    ("insert", "adagrad", "new"): {"tfra-growing": 4.0},
}
WORST_INSERT = 8.0  # at most, worst batch / median batch
LOOKUP_SHARE = {16: 0.30, 32: 0.45, 64: 0.58}  # of the known-position gather, by dim
OVERHEAD_BYTES = {0: 24.0, 1: 32.0}  # at most, by whether frequency and version are recorded
OP_SHARE = 0.6  # of the engine's own API
DEDUP_SPEEDUP = {65_536: 2.5, 1_048_576: 6.0}
GROUP_SPEEDUP = 2.0  # of 26 tables in one step, over TensorFlow's own ops table by table
SMALL_BATCH = 1.5  # at most, of tf.gather's time

# Tables that DRAM holds a tenth of: (tier, what stands against it) -> least speed-up.
# In two runs: the files of all of them do not fit into the page cache of 24 GB.
CACHED_TIERS = (("dram", "ssd_buffered", "map_and_drop"), ("ssd_buffered", "leveldb", "leveldb_defaults", "leveldb_plain"))
DIRECT_TIERS = ("ssd_direct", "one_direct_read")
TIER_SPEEDUPS = {
    ("ssd_buffered", "leveldb"): 10.0,
    ("ssd_buffered", "leveldb_plain"): None,
    ("ssd_buffered", "map_and_drop"): 2.0,
    ("ssd_buffered", "dram"): 0.25,
    ("leveldb", "leveldb_defaults"): 2.5,
    ("leveldb", "leveldb_plain"): None,
    ("ssd_direct", "one_direct_read"): 5.0,
}
WARMUP_SECONDS = 24  # at most, of one table in the page cache; of a variable's own tiers in addition until TURNOVERS
TURNOVERS = 2  # times the rows of a tier that are put to it before it is measured: then no file of the fill is left
DEVICE_SHARE = 0.9  # rows read a second, of the device's random reads
DEVICE_READ_BYTES, DEVICE_DEPTH = 1024, 128  # how a row of 256 bytes is read
READS_PER_ROW = 1.0  # at most
READ_SHARE = 0.05  # at most: of what is said to be in the page cache, bytes read of the device / bytes of missed rows
WRITE_AMPLIFICATION = 2.0  # at most
LIVE_SHARE = 0.6
STEP_P99 = 2.0  # at most, of the median step
UPKEEP_NS = 5.0  # at most, an id
HIT_POINTS = 1.0  # at most, below an exact simulation
PREFETCH = 1.5
CURVE_TIERS = ("dram", "ssd_buffered", "ssd_direct", "leveldb")
CURVE_PERCENTS = (1, 5, 10, 20, 50)
CURVE_PERCENT = 10  # at which distributions are compared
CURVE_DISTS = ("zipf0.9", "zipf1.05", "zipf1.2")

SAVED_ROW_BYTES = 136  # of 16 floats and as many of a slot, in a file
SAVE_SHARE = 0.7  # of the device's sequential bandwidth, of a save and of a load
SAVE_BYTES = 64e6  # at most, beside the table
DELTA_SHARE = 0.03  # at most, of a full save's time, where 1 % of the rows have changed

OTHER_CPU = 0.2  # cores; a sample measured while others used more is busy


def in_words(count):
  """10000000 -> '10 M'."""
  for unit, name in ((10**6, "M"), (10**3, "k")):
    if count >= unit and count % unit == 0:
      return f"{count // unit} {name}"
  return f"{count:,}"


def speedup_target(case, optimizer, dist, peer) -> Optional[float]:
  return SPEEDUPS.get((case, optimizer, dist), {}).get(peer)
