"""init_data_source: the first rows of a table out of files that others have written, as CSV or Parquet.

The first column is the id. The row stands in the columns after it, or in the second as a list, or as text with blanks, commas,
semicolons or bars between the numbers.
"""

import csv
import glob
import os
import re

import numpy as np
import tensorflow as tf

from ev_tf import options, table

_BETWEEN = re.compile(r"[\s,;|]+")


def content(spec, source, default_rows):
  """The tensors of table.CONTENT for a table that starts with the rows of a data source.

  Args:
    spec: TableSpec; a part takes the ids that are routed to it.
    source: str, see `read`.
    default_rows: float32 [default_value_dim, dim].

  Returns:
    List of tensors. In a graph the files are read when they are run, by the process that made the graph.
  """
  find = lambda: _read_part(source, spec)
  if tf.executing_eagerly():
    keys, values = find()
  else:
    with tf.device(None):  # not where the table is: on a parameter server there is neither the function nor, maybe, the file
      keys, values = tf.numpy_function(find, [], [tf.int64, tf.float32], name="ReadDataSource")
  given = dict(keys=keys, values=values, default_rows=default_rows, slots=tf.zeros([0, 0]))
  return [given[name] if name in given else tf.zeros([0], dtype) for name, (_, dtype) in table.CONTENT.items()]


def _read_part(source, spec):
  """The rows of `read` that belong to the part that `spec` is of."""
  keys, values = read(source, spec.dim, spec.key_dtype.as_numpy_dtype)
  mine = keys % table.BUCKETS % spec.partitions == spec.partition  # as partitioned.route
  return (keys, values) if mine.all() else (keys[mine], values[mine])


def read(source, dim, key_dtype=np.int64):
  """(ids int64 [n], rows float32 [n, dim]) of all files that `source` names.

  Args:
    source: str, a .csv or .parquet file, a directory of them, or a pattern such as "/data/rows-*.csv".
    dim: int, floats of one row.
    key_dtype: type that the ids must fit in.

  Raises:
    ValueError: there is no such file, a file is not like that, or an id stands twice; the message says where.
  """
  keys, rows = zip(*(_READERS[os.path.splitext(path)[1]](path, dim) for path in _files(os.fspath(source))))
  keys, rows = np.concatenate(keys), np.concatenate(rows)
  limits = np.iinfo(key_dtype)
  for wrong in keys[(keys < limits.min) | (keys > limits.max)][:1]:
    raise ValueError(f"{source}: expected ids of {limits.dtype}, found {wrong}.")
  distinct, counts = np.unique(keys, return_counts=True)
  for twice in distinct[counts > 1][:1]:
    raise ValueError(f"{source}: expected each id once, found {twice} more often.")
  return keys, rows


def _files(source):
  pattern = os.path.join(glob.escape(source), "*") if os.path.isdir(source) else source
  found = sorted(path for path in glob.glob(pattern) if path.endswith(options.DATA_SOURCES))
  if not found:
    raise ValueError(f"init_data_source: expected {' or '.join(options.DATA_SOURCES)} files, found none at {source!r}.")
  return found


def _numbers(texts, where):
  try:
    return [float(text) for text in texts if text]
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from None


def _check_width(row, dim, where):
  if len(row) != dim:
    raise ValueError(f"{where}: expected {dim} numbers after the id, found {len(row)}.")
  return row


def _read_csv(path, dim):
  keys, rows = [], []
  with open(path, newline="", encoding="utf-8") as file:
    for number, fields in enumerate(csv.reader(file), 1):
      where = f"{path}:{number}"
      if not fields:
        continue
      try:
        key = int(fields[0])
      except ValueError:
        if number == 1:
          continue  # the names of the columns
        raise ValueError(f"{where}: expected an integer as the id, found {fields[0]!r}.") from None
      texts = fields[1:] if len(fields) > 2 else _BETWEEN.split(fields[1]) if len(fields) == 2 else []
      keys.append(key)
      rows.append(_check_width(_numbers(texts, where), dim, where))
  try:
    keys = np.array(keys, np.int64)
  except OverflowError:
    raise ValueError(f"{path}: expected ids of int64, found {max(keys, key=abs)}.") from None
  return keys, np.array(rows, np.float32).reshape(-1, dim)


def _read_parquet(path, dim):
  try:
    from pyarrow import parquet, types
  except ImportError:
    raise ValueError(f"{path}: Parquet files are read with pyarrow, which is not installed here: pip install pyarrow.") from None
  found = parquet.read_table(path)
  if found.num_columns < 2 or not types.is_integer(found.schema.field(0).type):
    raise ValueError(f"{path}: expected a column of integer ids and then the rows, found {found.schema.names} of "
                     f"{[str(kind) for kind in found.schema.types]}.")
  ids, second = found.column(0), found.schema.field(1).type
  if any(column.null_count for column in found.columns):
    raise ValueError(f"{path}: expected no nulls.")
  if types.is_string(second) or types.is_large_string(second):
    rows = [_numbers(_BETWEEN.split(text), path) for text in found.column(1).to_pylist()]
  elif types.is_list(second) or types.is_large_list(second) or types.is_fixed_size_list(second):
    rows = found.column(1).to_pylist()
  else:
    rows = list(zip(*(column.to_pylist() for column in found.columns[1:])))
  for at, row in enumerate(rows):
    _check_width(row, dim, f"{path}, row {at}")
  return np.asarray(ids.to_numpy(), np.int64), np.array(rows, np.float32).reshape(-1, dim)


_READERS = dict(zip(options.DATA_SOURCES, (_read_csv, _read_parquet)))
