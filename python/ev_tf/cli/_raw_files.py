"""Tables in raw files without a head: NVIDIA DynamicEmb's dumps, and what TFRA's FileSystemSaver writes."""

import json
import os
import re

import numpy as np

from ev_tf.cli import _foreign
from ev_tf.cli._support import Failure

# DynamicEmb: <table>_emb_keys.rank_0.world_size_2 and so on; keys int64, values float32, scores 64 bits.
_DUMP = re.compile(r"(?P<table>.+)_emb_keys\.rank_(?P<rank>\d+)\.world_size_(?P<world>\d+)$")
# TFRA: <table>_mht_1of1_rank0_size1-keys and -values.
_SHARD = re.compile(r"(?P<table>.+?)(_mht_\d+of\d+)?(_rank\d+_size\d+)?-keys$")


def _walk(directory, pattern):
  """(folder, match) of the files below `directory` whose names match, in order."""
  for folder, folders, names in os.walk(directory):
    folders.sort()
    for name in sorted(names):
      match = pattern.fullmatch(name)
      if match:
        yield folder, match


def is_dump(directory):
  return any(True for _ in _walk(directory, _DUMP))


def is_tfra(directory):
  return any(True for _ in _walk(directory, _SHARD))


def _names(groups, directory):
  """The name of each (folder, table): the table's, with its folder where two have one name."""
  tables = [table for _, table in groups]
  return {key: key[1] if tables.count(key[1]) == 1 else os.path.join(os.path.relpath(key[0], directory), key[1])
          for key in groups}


def dumps(directory, with_slots, scores):
  """The tables of a DynamicEmb dump: list of ForeignTable.

  Args:
    directory: str, what DynamicEmbDump was given, or a folder in it.
    with_slots: bool.
    scores: "frequency", "version", "none", or None: what they are by the dump's arguments.
  """
  groups = {}
  for folder, match in _walk(directory, _DUMP):
    groups.setdefault((folder, match["table"]), []).append((int(match["rank"]), int(match["world"])))
  return [_dump(folder, table, name, sorted(groups[folder, table]), with_slots, scores)
          for (folder, table), name in _names(groups, directory).items()]


def _dump(folder, table, name, ranks, with_slots, scores):
  world = ranks[0][1]
  if ranks != [(rank, world) for rank in range(world)]:
    raise Failure(f"{os.path.join(folder, table)}_emb_keys: expected the files of ranks 0 to {world - 1} of {world}, found "
                  f"{', '.join(f'{r} of {w}' for r, w in ranks)}")

  def path(what, rank):
    return os.path.join(folder, f"{table}_{what}.rank_{rank}.world_size_{world}")

  keys = [_foreign.mapped(path("emb_keys", rank), np.int64) for rank in range(world)]
  values = [_foreign.matrix(path("emb_values", rank), len(keys[rank])) for rank in range(world)]
  dim = _foreign.common_dim(name, values)
  states = None
  if with_slots and all(os.path.exists(path("emb_opt_values", rank)) for rank in range(world)):
    states = [_foreign.matrix(path("emb_opt_values", rank), len(keys[rank])) for rank in range(world)]
  columns = _state_columns(name, dim, _foreign.common_dim(name, states) if states else 0)
  kind = scores or _kind_of_scores(os.path.join(folder, f"{table}_opt_args.json"))
  pieces, filtered = [], []
  for rank in range(world):
    slots = _columns_of(states[rank], columns) if columns else []
    score = _scores(path("emb_scores", rank), len(keys[rank])) if kind != "none" else None
    pieces.append(_foreign.Piece(path("emb_keys", rank), keys[rank], values[rank], slots,
                                 score if kind == "frequency" else None, score if kind == "version" else None))
    if os.path.exists(path("counter_keys", rank)):
      filtered.append(_counters(path("counter_keys", rank), path("counter_frequencies", rank)))
  return _foreign.ForeignTable(name, dim, columns, pieces, filtered)


def _state_columns(name, dim, width):
  """The slots in the optimizer's floats of a row, by their number."""
  if width == 0:
    return []
  if width == 1 and dim != 1:
    return [_foreign.Column("RowWiseAdagrad/accumulator", 1, 0.0)]
  if width == dim:
    return [_foreign.Column("Adagrad/accumulator", dim, 0.1)]
  if width == 2 * dim:
    return [_foreign.Column("Adam/m", dim, 0.0), _foreign.Column("Adam/v", dim, 0.0)]
  raise Failure(f"table {name}: optimizer's floats of a row: expected 1, {dim} or {2 * dim} as RowWiseAdagrad, Adagrad and Adam "
                f"have, found {width}; --no-slots leaves them out")


def _columns_of(state, columns):
  ends = np.cumsum([column.dim for column in columns])
  if not len(state):
    return [np.empty((0, column.dim), np.float32) for column in columns]
  return [state[:, end - column.dim : end] for column, end in zip(columns, ends)]


def _kind_of_scores(path):
  """What scores are by the arguments of the dump: counts, steps, or times, of which nothing is taken."""
  try:
    with open(path, encoding="utf-8") as file:
      strategy = str(json.load(file).get("evict_strategy", "")).lower()
  except (OSError, ValueError, AttributeError):
    return "none"
  return "frequency" if "lfu" in strategy else "none"


def _scores(path, rows):
  scores = _foreign.mapped(path, np.uint64)
  if len(scores) != rows:
    raise Failure(f"{path}: size of the file: expected {8 * rows} bytes, one score for each of {rows} keys, found "
                  f"{8 * len(scores)}; --scores none leaves them out")
  return scores


def _counters(keys_path, frequencies_path):
  keys, frequencies = _foreign.mapped(keys_path, np.int64), _foreign.mapped(frequencies_path, np.int64)
  if len(keys) != len(frequencies):
    raise Failure(f"{frequencies_path}: size of the file: expected {8 * len(keys)} bytes, found {8 * len(frequencies)}")
  return _foreign.Filtered(keys, frequencies, None)


def shards(directory, key_dtype):
  """The tables that TFRA wrote below `directory`: list of ForeignTable. Slots are tables of their own there, and stay so."""
  groups = {}
  for folder, match in _walk(directory, _SHARD):
    groups.setdefault((folder, match["table"]), []).append(os.path.join(folder, match.string[: -len("-keys")]))
  found = []
  for (folder, table), name in _names(groups, directory).items():
    pieces = []
    for stem in groups[folder, table]:
      keys = _foreign.mapped(f"{stem}-keys", key_dtype)
      pieces.append(_foreign.Piece(f"{stem}-keys", keys, _foreign.matrix(f"{stem}-values", len(keys)), [], None, None))
    found.append(_foreign.ForeignTable(name, _foreign.common_dim(name, [piece.values for piece in pieces]), [], pieces, []))
  return found
