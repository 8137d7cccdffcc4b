"""A table of another system: arrays that lie in files, in pieces, and what the columns are."""

import os
from typing import NamedTuple

import numpy as np

from ev_tf.cli._support import Failure

ROWS_AT_ONCE = 1 << 16


class Column(NamedTuple):
  """An optimizer's slot: its name in our rows, floats, and what new rows start with."""

  name: str
  dim: int
  initial: float


class Piece(NamedTuple):
  """Rows of one file or tensor. Arrays may be mapped from files.

  Attributes:
    place: str, for messages.
    keys: integers [n].
    values: floats [n, dim].
    slots: list of arrays [n, floats], one for each Column.
    frequencies, versions: integers [n], or None.
  """

  place: str
  keys: np.ndarray
  values: np.ndarray
  slots: list
  frequencies: np.ndarray
  versions: np.ndarray


class Filtered(NamedTuple):
  """Keys that are counted and have no row yet: integers [n] each; versions may be None."""

  keys: np.ndarray
  frequencies: np.ndarray
  versions: np.ndarray


class Joined:
  """Slots that are saved in rows of their own, by the keys they belong to: floats [n, dim] as an array that is sliced.

  Args:
    keys: integers [n], the table's.
    slot_keys: integers [m]; in another order, or not the same ones.
    values: floats [m, dim].
    initial: float, for keys that the slot lacks.
  """

  def __init__(self, keys, slot_keys, values, initial):
    self.shape = (len(keys), values.shape[1])
    self._values, self._initial = values, initial
    order = np.argsort(slot_keys, kind="stable")
    places = np.searchsorted(slot_keys, keys, sorter=order)
    found = np.minimum(places, max(len(order) - 1, 0))
    self._places = np.full(len(keys), -1, np.int64)
    if len(order):
      known = slot_keys[order[found]] == keys
      self._places[known] = order[found[known]]
    self.missing = int((self._places < 0).sum())

  def __getitem__(self, rows):
    places = self._places[rows]
    out = np.full((len(places), self.shape[1]), self._initial, np.float32)
    known = places >= 0
    out[known] = self._values[places[known]]
    return out


def same(a, b):
  """Whether two arrays, which may be mapped from files, are equal."""
  return a.shape == b.shape and all(np.array_equal(a[i : i + ROWS_AT_ONCE], b[i : i + ROWS_AT_ONCE])
                                    for i in range(0, len(a), ROWS_AT_ONCE))


def slot_of(keys, slot_keys, values, initial):
  """A slot in the order of `keys`; Joined only where it is saved in another."""
  return values if same(keys, slot_keys) else Joined(keys, slot_keys, values, initial)


class ForeignTable(NamedTuple):
  """A table to convert.

  Attributes:
    name: str.
    dim: int.
    columns: list of Column.
    pieces: list of Piece.
    filtered: list of Filtered.
  """

  name: str
  dim: int
  columns: list
  pieces: list
  filtered: list

  @property
  def rows(self):
    return sum(len(piece.keys) for piece in self.pieces)

  def recorded(self, what):
    """Whether all pieces have frequencies, or versions."""
    return bool(self.pieces) and all(getattr(piece, what) is not None for piece in self.pieces)

  def chunks(self):
    """(piece, slice) of some rows at a time."""
    for piece in self.pieces:
      for start in range(0, len(piece.keys), ROWS_AT_ONCE):
        yield piece, slice(start, min(start + ROWS_AT_ONCE, len(piece.keys)))


def floats(piece, array, rows, width):
  """Rows of an array as float32 [n, width]."""
  part = np.asarray(array[rows])
  if part.dtype.kind != "f":
    raise Failure(f"{piece.place}: expected floats, found {part.dtype}")
  return np.ascontiguousarray(part.reshape(len(part), width), np.float32)


def mapped(path, dtype):
  """The numbers of a raw file: an array that is read as it is used.

  Raises:
    Failure: its size is no multiple of a number's.
  """
  size = os.path.getsize(path)
  width = np.dtype(dtype).itemsize
  if size % width:
    raise Failure(f"{path}: size of the file: expected a multiple of {width} bytes, found {size}")
  return np.memmap(path, dtype, "r") if size else np.empty(0, dtype)


def matrix(path, rows, dim=None):
  """A raw file of float32 as [rows, dim]; dim by the file's size if it is None."""
  numbers = mapped(path, np.float32)
  if rows == 0:
    if len(numbers):
      raise Failure(f"{path}: size of the file: expected 0 bytes for no keys, found {4 * len(numbers)}")
    return numbers.reshape(0, dim or 0)
  width = len(numbers) // rows if dim is None else dim
  if width == 0 or len(numbers) != rows * width:
    expected = f"a multiple of {4 * rows}" if dim is None else str(4 * rows * dim)
    raise Failure(f"{path}: size of the file: expected {expected} bytes for {rows} keys, found {4 * len(numbers)}")
  return numbers.reshape(rows, width)


def common_dim(name, arrays):
  """The width that all arrays with rows have; 0 if none has rows."""
  widths = sorted({array.shape[1] for array in arrays if len(array)})
  if len(widths) > 1:
    raise Failure(f"table {name}: dim: expected the same in all files, found {' and '.join(map(str, widths))}")
  return widths[0] if widths else 0
