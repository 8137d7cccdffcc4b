"""Batches for the model from ORC files, through tf.data.

A file has the columns of features.py: `label` and i1..i13 numbers, c1..c26 integers, each as a list (list<double>,
list<int64>) or as a plain number.  An empty or null list is a missing value.  Categorical lists may have any length.

Rows are read in file-name order, cut into windows, shuffled inside a window, and cut into batches.  The order depends on
nothing but (files, seed, epoch), so a run that is resumed in the middle of an epoch sees the batches it had not seen.
All work on rows is done by NumPy on whole windows or whole batches.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import orc
import tensorflow as tf

from features import CATEGORICAL, COLUMNS, LABEL, NUMERIC, DataError

WINDOW_ROWS = 200_000  # rows shuffled together: 200 batches of 1,000, about 70 MB


@dataclasses.dataclass(frozen=True)
class Window:
  """Some consecutive rows of a data set, by column.

  The categorical lists are one ragged array, feature by feature: the ids of feature f in row r are
  `ids[offsets[f * rows + r] : offsets[f * rows + r + 1]]`.
  """

  labels: np.ndarray  # float32 [rows], 0 or 1
  numeric: np.ndarray  # float32 [rows, 13], NaN = missing
  ids: np.ndarray  # int64 [all ids]
  offsets: np.ndarray  # int64 [26 * rows + 1]

  @property
  def rows(self):
    return len(self.labels)

  def ids_of(self, feature):
    """The ids of one feature in all rows, int64 [any]."""
    return self.ids[self.offsets[feature * self.rows] : self.offsets[(feature + 1) * self.rows]]

  def batch(self, rows):
    """The named rows as the five arrays of `batch_signature`.

    Args:
      rows: int64 [n], positions in this window, in the order wanted.

    Returns:
      (ids, sizes, cells, numeric, labels); see `batch_signature`.
    """
    n, features = len(rows), len(CATEGORICAL)
    cell = (np.arange(features)[:, None] * self.rows + rows).ravel()  # feature by feature
    starts = self.offsets[cell]
    lengths = self.offsets[cell + 1] - starts
    ends = np.cumsum(lengths)
    picks = np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])
    out_cell = (np.arange(n, dtype=np.int32) * features + np.arange(features, dtype=np.int32)[:, None]).ravel()
    sizes = lengths.reshape(features, n).sum(axis=1, dtype=np.int32)
    return self.ids[picks], sizes, np.repeat(out_cell, lengths), self.numeric[rows], self.labels[rows]


def batch_signature():
  """The tensors of one batch of n rows, as tf.TensorSpecs.

  ids:     int64 [m], the ids of all 26 features, feature by feature.
  sizes:   int32 [26], how many of them belong to each feature; `tf.split(ids, sizes)` separates them.
  cells:   int32 [m], `row * 26 + feature` of each id: where a sum over the list goes.
  numeric: float32 [n, 13], NaN = missing.
  labels:  float32 [n].
  """
  return (tf.TensorSpec([None], tf.int64), tf.TensorSpec([len(CATEGORICAL)], tf.int32), tf.TensorSpec([None], tf.int32),
          tf.TensorSpec([None, len(NUMERIC)], tf.float32), tf.TensorSpec([None], tf.float32))


@dataclasses.dataclass(frozen=True)
class Part:
  """Rows [begin, end) of a list of ORC files taken as one long table."""

  files: tuple
  begin: int
  end: int

  @property
  def rows(self):
    return self.end - self.begin

  def windows(self, window_rows=WINDOW_ROWS):
    """Yields the rows in order as Windows of `window_rows` rows; the last one may be shorter."""
    held, held_rows = [], 0
    for table in self._stripes():
      held.append(table)
      held_rows += table.num_rows
      if held_rows < window_rows:
        continue
      whole = pa.concat_tables(held)
      while held_rows >= window_rows:
        yield self._window(whole.slice(whole.num_rows - held_rows, window_rows))
        held_rows -= window_rows
      held = [whole.slice(whole.num_rows - held_rows)]
    if held_rows:
      yield self._window(pa.concat_tables(held))

  def _window(self, table):
    try:
      return to_window(table)
    except DataError as error:
      raise DataError(f"{self.files[0].parent}: {error}") from error

  def _stripes(self):
    """Yields the rows as tables, one ORC stripe at a time, so that a file need not fit in memory."""
    at = 0  # row number of the start of what comes next
    for path in self.files:
      file = open_orc(path)
      if at + file.nrows <= self.begin or at >= self.end:
        at += file.nrows
        continue
      for stripe in range(file.nstripes):
        try:
          table = pa.Table.from_batches([file.read_stripe(stripe, columns=list(COLUMNS))])
        except (pa.ArrowException, OSError) as error:
          raise DataError(f"{path}: stripe {stripe} cannot be read: {error}") from error
        first, last = max(self.begin - at, 0), min(self.end - at, table.num_rows)
        at += table.num_rows
        if first < last:
          yield table.slice(first, last - first)

  def batches(self, batch_size, *, seed=None, epoch=0, skip=0):
    """Yields the batches of one pass.

    Args:
      batch_size: int, >= 1. Rows in a batch; the last batch may be shorter.
      seed: int, or None for the order of the files.
      epoch: int, >= 0. Chooses another order for each pass.
      skip: int, >= 0. Batches at the start of the pass to leave out.
    """
    window_rows = max(WINDOW_ROWS // batch_size, 1) * batch_size  # only the last window ends inside a batch
    for number, window in enumerate(self.windows(window_rows)):
      order = np.arange(window.rows)
      if seed is not None:
        np.random.default_rng([seed, epoch, number]).shuffle(order)
      first = min(skip * batch_size, window.rows)
      skip -= -(-first // batch_size)
      for start in range(first, window.rows, batch_size):
        yield window.batch(order[start : start + batch_size])

  def dataset(self, batch_size, **order):
    """`batches` as a tf.data.Dataset that reads ahead in a thread of its own."""
    dataset = tf.data.Dataset.from_generator(lambda: self.batches(batch_size, **order), output_signature=batch_signature())
    return dataset.prefetch(4)


def find_parts(path, held_out):
  """Finds the ORC files of a data set and splits their rows.

  Args:
    path: str or Path. A directory of *.orc files, or one file.
    held_out: float in (0, 1). The share of rows, counted from the end of the last file, that is never trained on.

  Returns:
    (training Part, held-out Part), neither of them empty.

  Raises:
    DataError: no such path, no ORC file there, a column is missing or of another type, too few rows.
  """
  path = Path(path)
  if not path.exists():
    raise DataError(f"{path}: no such file or directory. Expected a directory of ORC files; leave --data out to train on "
                    "generated data.")
  files = tuple(sorted(path.glob("*.orc"))) if path.is_dir() else (path,)
  if not files:
    raise DataError(f"{path}: no *.orc file in this directory.")
  rows = sum(open_orc(file).nrows for file in files)
  held = round(rows * held_out)
  if not 0 < held < rows:
    raise DataError(f"{path}: {rows} rows cannot be split into a training part and a held-out share of {held_out:g}.")
  return Part(files, 0, rows - held), Part(files, rows - held, rows)


def open_orc(path):
  """Opens an ORC file and checks that the columns of features.py are there with the right types."""
  try:
    file = orc.ORCFile(str(path))
  except (pa.ArrowException, OSError) as error:
    raise DataError(f"{path}: not a readable ORC file: {error}") from error
  missing = [name for name in COLUMNS if name not in file.schema.names]
  if missing:
    raise DataError(f"{path}: {len(missing)} of the {len(COLUMNS)} expected columns are missing: {_some(missing)}. "
                    f"The file has: {_some(file.schema.names)}.")
  for name in COLUMNS:
    kind = file.schema.field(name).type
    value = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    if not (pa.types.is_integer(value) or (pa.types.is_floating(value) and name not in CATEGORICAL)):
      expected = "list<int64>" if name in CATEGORICAL else "list<double>"
      raise DataError(f"{path}: column {name} has type {kind}, expected {expected}.")
  return file


def _some(names, limit=8):
  return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def to_window(table):
  """Turns a pyarrow Table with the columns of features.py into a Window."""
  labels, lengths = ragged(table[LABEL])
  if not np.all(lengths == 1) or not np.all((labels == 0) | (labels == 1)):
    raise DataError("column label must hold one number, 0 or 1, in every row.")
  numeric = np.full((table.num_rows, len(NUMERIC)), np.nan, np.float32)
  for i, name in enumerate(NUMERIC):
    values, lengths = ragged(table[name])
    if len(lengths) and lengths.max() > 1:
      raise DataError(f"column {name} has a list of {lengths.max()} numbers; a numeric feature has at most one.")
    numeric[lengths > 0, i] = values
  ids, lengths = zip(*(ragged(table[name]) for name in CATEGORICAL))
  offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
  return Window(labels.astype(np.float32), numeric, np.concatenate(ids).astype(np.int64, copy=False), offsets)


def ragged(column):
  """One pyarrow column as (values, lengths): its values in one array, and how many of them each row has."""
  array = column.combine_chunks()
  if isinstance(array, pa.ChunkedArray):
    array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
  if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
    values = array.flatten()
  else:
    lengths, values = np.ones(len(array), np.int64), array
  if values.null_count:  # a null inside a list, or a null number: as if it were not there
    owner = np.repeat(np.arange(len(lengths)), lengths)
    lengths = np.bincount(owner[values.is_valid().to_numpy(zero_copy_only=False)], minlength=len(lengths))
    values = values.drop_null()
  return values.to_numpy(zero_copy_only=False), lengths
