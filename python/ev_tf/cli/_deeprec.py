"""Tables of DeepRec's checkpoints, and of TFRA's that are tensors: <name>-keys, <name>-values and so on in a tensor bundle.

DeepRec saves each part of a variable as <name>/part_<i>, and each slot as <name>/part_<i>/<optimizer>, <optimizer>_1 ...
"""

import glob
import re

import numpy as np

from ev_tf.cli import _bundle, _foreign
from ev_tf.cli._support import Failure

# DeepRec names slots by their optimizer and number; ours have names of their own. (name, initial value).
_SLOTS = {
    "Adagrad": [("accumulator", 0.1)],
    "AdagradDecay": [("accumulator", 0.1), ("accumulator_decay_power", 0.0)],
    "AdagradDecayV2": [("accumulator", 0.1), ("accumulator_decay_power", 0.0)],
    "Adam": [("m", 0.0), ("v", 0.0)],
    "AdamAsync": [("m", 0.0), ("v", 0.0)],
    "AdamW": [("m", 0.0), ("v", 0.0)],
    "Ftrl": [("accumulator", 0.1), ("linear", 0.0)],
    "Momentum": [("momentum", 0.0)],
    "RMSProp": [("rms", 1.0), ("momentum", 0.0)],
}
_TFRA = re.compile(r"_mht_\d+of\d+$")


def slot_column(name, dim):
  """The Column of a slot that DeepRec calls `name`, such as "Adam_1"; None if no optimizer has it."""
  optimizer, _, number = name.partition("_")
  number = int(number) if number.isdigit() else 0 if not number else -1
  known = _SLOTS.get(optimizer, ())
  if not 0 <= number < len(known):
    return None
  return _foreign.Column(f"{optimizer}/{known[number][0]}", dim, known[number][1])


def _split(name):
  """(variable, part or None) of a name such as items/part_3 or items_mht_1of2."""
  name = _TFRA.sub("", name)
  found = re.fullmatch(r"(.*)/part_(\d+)", name)
  return (found.group(1), int(found.group(2))) if found else (name, None)


def _owner(name, names):
  """(table, slot's name) if `name` is a slot of another table: items/part_3/Adam_1, or items/Adam_1/part_3."""
  owner, _, last = name.rpartition("/")
  if owner in names:
    return owner, last
  variable, part = _split(name)
  owner, _, last = variable.rpartition("/")
  owner = f"{owner}/part_{part}"
  return (owner, last) if part is not None and owner in names else (None, None)


class _Reader:
  """The tensors of a bundle by name, checked as they are first asked for."""

  def __init__(self, bundle):
    self._bundle = bundle
    self.names = [name[: -len("-keys")] for name in sorted(bundle.entries)
                  if name.endswith("-keys") and f"{name[:-len('-keys')]}-values" in bundle.entries]

  def get(self, name, suffix):
    """The tensor <name>-<suffix>, None if there is none or it is empty."""
    full = f"{name}-{suffix}"
    if full not in self._bundle.entries or 0 in self._bundle.entries[full].shape:
      return None
    self._bundle.check(full)
    return self._bundle.tensor(full)

  def rows(self, name):
    """(keys [n], values [n, dim]) of a table."""
    keys, values = self._bundle.tensor(f"{name}-keys"), self._bundle.tensor(f"{name}-values")
    if keys.ndim != 1 or keys.dtype.kind != "i" or values.ndim != 2 or len(keys) != len(values):
      raise Failure(f"{self._bundle.prefix}: tensors {name}-keys and -values: expected integers [n] and floats [n, dim], "
                    f"found {keys.dtype} {list(keys.shape)} and {values.dtype} {list(values.shape)}")
    for suffix in ("keys", "values"):
      self._bundle.check(f"{name}-{suffix}")
    return keys, values

  def numbers(self, name, suffix, count):
    array = self.get(name, suffix)
    if array is not None and array.shape != (count,):
      raise Failure(f"{self._bundle.prefix}: tensor {name}-{suffix}: expected shape [{count}], found {list(array.shape)}")
    return array


def tables(prefix, with_slots):
  """The tables of a checkpoint: list of ForeignTable, and what was left out: list of str.

  Raises:
    Failure: rows of a table are in files of DeepRec's SSD tier.
  """
  reader = _Reader(_bundle.Bundle(prefix))
  _refuse_ssd(prefix)
  slots, primary = {}, []
  for name in reader.names:
    owner, slot = _owner(name, reader.names)
    if owner and slot_column(slot, 1):
      slots.setdefault(owner, []).append((slot, name))
    else:
      primary.append(name)
  groups = {}
  for name in primary:
    groups.setdefault(_split(name)[0], []).append(name)
  notes = []
  return [_table(reader, name, sorted(parts, key=_split), slots if with_slots else {}, notes)
          for name, parts in sorted(groups.items())], notes


def _refuse_ssd(prefix):
  found = glob.glob(glob.escape(prefix) + "-*-ssd_record*")
  if found:
    raise Failure(f"{found[0]}: rows of DeepRec's SSD tier are in files that are not read here; restore the checkpoint there "
                  "with storage type DRAM, save it again and convert that")


def _table(reader, name, parts, slots, notes):
  rows = {part: reader.rows(part) for part in parts}
  dim = _foreign.common_dim(name, [values for _, values in rows.values()])
  columns = {}
  for part in parts:
    for slot, full in slots.get(part, ()):
      columns.setdefault(slot, slot_column(slot, reader.rows(full)[1].shape[1] or dim))
  pieces, filtered = [], []
  for part in parts:
    keys, values = rows[part]
    named = dict(slots.get(part, ()))
    arrays = []
    for slot, column in columns.items():
      if slot not in named:
        raise Failure(f"table {part}: slot {slot}: expected it as in the other parts, found none")
      array = _foreign.slot_of(keys, *reader.rows(named[slot]), column.initial)
      if getattr(array, "missing", 0):
        notes.append(f"{named[slot]}: {array.missing:,} of {len(keys):,} ids have no slot there and get {column.initial}")
      arrays.append(array)
    pieces.append(_foreign.Piece(part, keys, values, arrays, *_recorded(reader, part, len(keys))))
    counted = reader.get(part, "keys_filtered")
    if counted is not None:
      filtered.append(_foreign.Filtered(counted, reader.numbers(part, "freqs_filtered", len(counted)),
                                        reader.numbers(part, "versions_filtered", len(counted))))
  return _foreign.ForeignTable(name, dim, list(columns.values()), pieces, filtered)


def _recorded(reader, part, count):
  """(frequencies, versions) of a part; empty arrays where it has no rows."""
  if count == 0:
    return np.empty(0, np.int64), np.empty(0, np.int64)
  return reader.numbers(part, "freqs", count), reader.numbers(part, "versions", count)
