"""A generated Criteo-shaped data set whose labels can be learned, and whose best possible AUC is known.

Schema as in features.py.  Each categorical feature has its own number of ids (3 to 100,000), Zipf exponent and share of
missing values; the ids are hashes, spread over all int64 values.  The label is drawn with the probability of a hidden
model: a weight for each id, inner products between some features, and the logarithms of the numbers.  Weights come from
hashes of the ids, so the hidden model needs no table either, and the same (rows, seed) gives the same rows everywhere.
"""

import dataclasses
import json
import os
from pathlib import Path
import shutil
import tempfile

import numpy as np
import pyarrow as pa
from pyarrow import orc

from features import CATEGORICAL, LABEL, NUMERIC
from metrics import BinaryMetrics

VERSION = 1  # part of the cache's name: raise it with every change of the rows
FILE_ROWS = 50_000
LABEL_RATE = 0.2
CARDINALITY = (1400, 550, 100_000, 60_000, 300, 24, 12_000, 630, 3, 40_000, 5_000, 80_000, 3_200, 27, 10_000, 70_000, 10,
               4_500, 2_000, 4, 90_000, 18, 15, 30_000, 70, 20_000)
EXPONENT = (1.1, 1.05, 1.05, 1.1, 1.3, 1.0, 1.05, 1.2, 0.8, 1.1, 1.05, 1.05, 1.1, 1.1, 1.05, 1.05, 1.0, 1.1, 1.2, 0.6, 1.1, 1.1,
            1.0, 1.05, 1.0, 1.1)
MISSING_IDS = (0, 0, .04, .04, 0, .12, 0, 0, 0, 0, 0, .04, 0, 0, 0, .04, 0, 0, .44, .44, .04, .76, 0, .04, .44, .44)
MISSING_NUMBERS = (.45, 0, .2, .22, .03, .22, .04, 0, .04, .45, .04, .76, .22)
NUMBER_WEIGHTS = (.25, -.1, .1, -.15, 0, -.2, .2, 0, .1, .3, 0, .15, -.1)
INTERACTING = (0, 1, 4, 5, 8, 12, 13, 16, 18, 22)  # features whose hidden vectors are multiplied with one another
LATENT_DIM = 4
CALIBRATION_ROWS = 50_000


@dataclasses.dataclass(frozen=True)
class Rows:
  """Some generated rows. ids and numbers keep a value where the mask says missing; it is not to be read."""

  ids: np.ndarray  # int64 [n, 26]
  has_id: np.ndarray  # bool [n, 26]
  numbers: np.ndarray  # float64 [n, 13]
  has_number: np.ndarray  # bool [n, 13]
  logits: np.ndarray  # float64 [n], of the hidden model, before its constant


def mix(x):
  """The splitmix64 finalizer: a bijection of uint64 whose output looks random. Source: Steele, Lea, Flood, OOPSLA 2014."""
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def hashed_normal(ids, stream):
  """About-normal numbers (mean 0, variance 1) that depend only on (id, stream): the sum of four 16-bit uniforms.

  Args:
    ids: int64 [any].
    stream: int, >= 0. Another stream gives independent numbers.
  """
  bits = mix(ids.view(np.uint64) ^ mix(np.full(1, stream + 1, np.uint64)))
  parts = sum((bits >> np.uint64(16 * i)) & np.uint64(0xFFFF) for i in range(4)).astype(np.float64)
  return (parts / 65536 - 2) * np.sqrt(3)


def draw(rows, seed, block):
  """Draws one block of rows; the same arguments give the same rows."""
  rng = np.random.default_rng([VERSION, seed, block])
  ids = np.empty((rows, len(CATEGORICAL)), np.int64)
  for f, (cardinality, exponent) in enumerate(zip(CARDINALITY, EXPONENT)):
    shares = np.cumsum(np.arange(1, cardinality + 1) ** -float(exponent))
    rank = np.searchsorted(shares, rng.random(rows) * shares[-1])
    ids[:, f] = mix(rank.astype(np.uint64) + np.uint64((f + 1) << 40)).view(np.int64)
  has_id = rng.random(ids.shape) >= np.asarray(MISSING_IDS)
  numbers = np.floor(np.exp(rng.normal(1.5, 1.4, (rows, len(NUMERIC)))))
  has_number = rng.random(numbers.shape) >= np.asarray(MISSING_NUMBERS)
  return Rows(ids, has_id, numbers, has_number, hidden_logits(ids, has_id, numbers, has_number))


def hidden_logits(ids, has_id, numbers, has_number):
  """The hidden model without its constant, float64 [n]. Features with few ids weigh more: they can be learned."""
  logits = np.where(has_number, np.log1p(numbers) - 1.6, 0) @ np.asarray(NUMBER_WEIGHTS)
  for f, cardinality in enumerate(CARDINALITY):
    scale = 0.4 if cardinality < 1000 else 0.3 if cardinality < 10_000 else 0.15
    logits += has_id[:, f] * scale * hashed_normal(ids[:, f], 0)
  for d in range(LATENT_DIM):
    vectors = has_id[:, INTERACTING] * hashed_normal(ids[:, INTERACTING], 1 + d) * 0.25
    logits += (vectors.sum(axis=1) ** 2 - (vectors**2).sum(axis=1)) / 2
  return logits


def hidden_constant(seed):
  """The constant that makes the share of positives LABEL_RATE, found by bisection on rows of their own."""
  logits = draw(CALIBRATION_ROWS, seed, block=1 << 30).logits
  low, high = -20.0, 20.0
  for _ in range(40):
    middle = (low + high) / 2
    low, high = (middle, high) if (1 / (1 + np.exp(-logits - middle))).mean() < LABEL_RATE else (low, middle)
  return middle


def generate(directory, rows, seed):
  """Writes the data set into an existing, empty directory.

  Args:
    directory: Path. Gets part-000.orc, ... of 50,000 rows each, and about.json.
    rows: int, >= 1. Rows in all files.
    seed: int, >= 0.

  Returns:
    dict, as in about.json: rows, seed, label_rate, and best_auc, the AUC of the hidden model's own probabilities, which
    no model can beat by more than luck.
  """
  constant, best = hidden_constant(seed), BinaryMetrics()
  for block, start in enumerate(range(0, rows, FILE_ROWS)):
    drawn = draw(min(FILE_ROWS, rows - start), seed, block)
    logits = drawn.logits + constant
    labels = np.random.default_rng([VERSION, seed, block, 1]).random(len(logits)) < 1 / (1 + np.exp(-logits))
    best.add(logits, labels, loss=0)
    orc.write_table(to_table(drawn, labels), str(directory / f"part-{block:03d}.orc"), compression="zstd")
  about = {"rows": rows, "seed": seed, "label_rate": float(best.counts[1].sum() / rows), "best_auc": best.auc}
  (directory / "about.json").write_text(json.dumps(about, indent=2) + "\n")
  return about


def to_table(drawn, labels):
  """The rows as a pyarrow Table of lists of length 0 or 1."""
  columns = {LABEL: lists(labels.astype(np.float64), np.ones(len(labels), bool))}
  columns |= {name: lists(drawn.numbers[:, i], drawn.has_number[:, i]) for i, name in enumerate(NUMERIC)}
  columns |= {name: lists(drawn.ids[:, i], drawn.has_id[:, i]) for i, name in enumerate(CATEGORICAL)}
  return pa.table(columns)


def lists(values, present):
  """One list per row: [value] where present, [] elsewhere."""
  offsets = np.concatenate([[0], np.cumsum(present)]).astype(np.int32)
  return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[present]))


def cached(rows, seed):
  """Path of the data set of (rows, seed), generated into the user's cache directory on first use."""
  root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
  if not os.access(root if root.exists() else root.parent, os.W_OK):
    root = Path(tempfile.gettempdir())
  root = root / "ev_tf"
  final = root / f"deepfm-v{VERSION}-{rows}-rows-seed-{seed}"
  if (final / "about.json").exists():
    return final
  root.mkdir(parents=True, exist_ok=True)
  scratch = Path(tempfile.mkdtemp(dir=root, prefix=".making-"))
  try:
    generate(scratch, rows, seed)
    os.replace(scratch, final)  # all of it appears at once
  except OSError:
    if not (final / "about.json").exists():  # else another process was first
      raise
  finally:
    shutil.rmtree(scratch, ignore_errors=True)
  return final


def best_auc(path):
  """The best possible AUC of a generated data set, or None for other data."""
  try:
    return json.loads((Path(path) / "about.json").read_text())["best_auc"]
  except (OSError, ValueError, KeyError):
    return None
