"""All rows of some buckets of a table at a time, so that tables can be compared and joined by id in bounded memory."""

from typing import NamedTuple

import numpy as np

from ev_tf.cli import _support

BUCKETS = 1000  # as in FORMAT.md
_BYTES_AT_ONCE = 64 << 20  # of all tables together; a bucket that has more is still taken at once


class Rows(NamedTuple):
  """Rows in the order of their keys. frequencies and versions are None where the table has none."""

  keys: np.ndarray
  values: np.ndarray
  slots: np.ndarray
  frequencies: np.ndarray
  versions: np.ndarray

  def take(self, chosen):
    return Rows(*(None if column is None else column[chosen] for column in self))


def ranges(tables):
  """Runs of buckets [first, end) in which all tables together have some 64 MB."""
  total = sum(table.rows * _row_bytes(table) for table in tables)
  count = min(BUCKETS, max(1, -(-total // _BYTES_AT_ONCE)))
  edges = [BUCKETS * i // count for i in range(count + 1)]
  return list(zip(edges[:-1], edges[1:]))


def _row_bytes(table):
  return 4 * (table.dim + sum(slot.dim for slot in table.slots)) + 3 * 8


def rows_of(table, first, end, threads):
  """The rows of the buckets [first, end) of a table: Rows."""
  blocks = []
  for part in table.parts:
    for i in part.row_blocks():
      low, high = part.buckets(i)
      if low < end and high >= first:
        blocks.append((part, i))

  def read(place):
    block = place[0].read(place[1])
    buckets = block.keys % BUCKETS
    chosen = np.flatnonzero((buckets >= first) & (buckets < end))
    return Rows(block.keys, block.values, block.slots, block.frequencies, block.versions).take(chosen)

  pieces = list(_support.in_order(read, blocks, threads))
  slots = sum(slot.dim for slot in table.slots)
  none = np.empty(0, np.int64)
  pieces.append(Rows(none, np.empty((0, table.dim), np.float32), np.empty((0, slots), np.float32),
                     none if table.has_frequency else None, none if table.has_version else None))
  rows = Rows(*(None if column[0] is None else np.concatenate(column) for column in zip(*pieces)))
  return rows.take(np.argsort(rows.keys, kind="stable"))
