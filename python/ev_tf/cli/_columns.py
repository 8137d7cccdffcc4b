"""Ids and vectors from Parquet and CSV files, a batch of rows at a time."""

import os
from typing import NamedTuple

import numpy as np

from ev_tf.cli import _support
from ev_tf.cli._support import Failure

_ROWS_AT_ONCE = 1 << 16
_EXTENSIONS = (".parquet", ".csv")


class Source(NamedTuple):
  """How the input is to be read.

  Attributes:
    paths: list of str, files.
    id_column, vector_column: str, a name or a position from 0.
    separator: str, between the numbers of a vector that is text.
    delimiter: str, between the columns of CSV.
    header: bool, whether the first line of CSV has names.
  """

  paths: list
  id_column: str
  vector_column: str
  separator: str
  delimiter: str
  header: bool


class Batch(NamedTuple):
  """Rows as they came: Arrow arrays, and where they are from."""

  path: str
  first_row: int  # from 1, without the header
  ids: object
  vectors: object


def find_files(paths):
  """The files that `paths`, files and directories of them, stand for."""
  found = []
  for path in paths:
    if os.path.isdir(path):
      names = sorted(name for name in os.listdir(path) if name.endswith(_EXTENSIONS) and not name.startswith((".", "_")))
      if not names:
        raise Failure(f"{path}: expected files {' or '.join('*' + e for e in _EXTENSIONS)} in the directory, found none")
      found += [os.path.join(path, name) for name in names]
    elif not os.path.exists(path):
      raise Failure(f"{path}: expected a file or a directory, found nothing")
    elif not path.endswith(_EXTENSIONS):
      raise Failure(f"{path}: expected a file {' or '.join('*' + e for e in _EXTENSIONS)}")
    else:
      found.append(path)
  return found


def count_rows(paths):
  """Rows of all files, None if that is not known beforehand."""
  if not all(path.endswith(".parquet") for path in paths):
    return None
  parquet = _support.require("pyarrow.parquet")
  return sum(parquet.read_metadata(path).num_rows for path in paths)


def _place(path, names, column):
  """The position of a column by its name or number."""
  if column in names:
    if names.count(column) > 1:
      raise Failure(f"{path}: column {column!r}: expected one of that name, found {names.count(column)}; give its number")
    return names.index(column)
  if column.isdigit() and int(column) < len(names):
    return int(column)
  raise Failure(f"{path}: expected a column {column!r}, found {', '.join(names) or 'none'}")


def _parquet_batches(path, source):
  parquet = _support.require("pyarrow.parquet")
  with parquet.ParquetFile(path) as file:
    names = file.schema_arrow.names
    wanted = [names[_place(path, names, column)] for column in (source.id_column, source.vector_column)]
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted):
      yield batch.column(wanted[0]), batch.column(wanted[1])


def _csv_batches(path, source):
  csv = _support.require("pyarrow.csv")
  pyarrow = _support.require("pyarrow")
  read = dict(block_size=2 << 20, use_threads=False)  # one thread parses, and counts rows for its messages
  parse = csv.ParseOptions(delimiter=source.delimiter)
  with csv.open_csv(path, csv.ReadOptions(autogenerate_column_names=not source.header, use_threads=False), parse) as first:
    names = first.schema.names
  if not source.header:
    names = [str(place) for place in range(len(names))]
  wanted = [names[_place(path, names, column)] for column in (source.id_column, source.vector_column)]
  convert = csv.ConvertOptions(column_types={wanted[0]: pyarrow.int64(), wanted[1]: pyarrow.string()}, include_columns=wanted,
                               null_values=[""], strings_can_be_null=True)
  options = csv.ReadOptions(column_names=names, skip_rows=1 if source.header else 0, **read)
  with csv.open_csv(path, options, parse, convert) as reader:
    for batch in reader:
      yield batch.column(0), batch.column(1)


def batches(source):
  """Each Batch of the source, of tens of thousands of rows."""
  pyarrow = _support.require("pyarrow")
  for path in source.paths:
    row = 1
    try:
      for ids, vectors in (_parquet_batches if path.endswith(".parquet") else _csv_batches)(path, source):
        yield Batch(path, row, ids, vectors)
        row += len(ids)
    except pyarrow.ArrowInvalid as error:
      raise Failure(f"{path}: {' '.join(str(error).split())}") from error


def _row(batch, place):
  return f"{batch.path}: row {batch.first_row + int(place):,}"


def _refuse_nulls(batch, array, what):
  if array.null_count:
    raise Failure(f"{_row(batch, np.flatnonzero(array.is_null())[0])}: {what}: expected a value, found none")


def ids_of(batch):
  """int64 [n]."""
  pyarrow = _support.require("pyarrow")
  if not pyarrow.types.is_integer(batch.ids.type):
    raise Failure(f"{batch.path}: ids: expected integers, found {batch.ids.type}; is --id-column the right one?")
  _refuse_nulls(batch, batch.ids, "id")
  try:
    return batch.ids.cast(pyarrow.int64()).to_numpy(zero_copy_only=False)
  except pyarrow.ArrowInvalid as error:
    raise Failure(f"{batch.path}: ids: expected numbers of int64, found larger ones ({error})") from error


def vectors_of(batch, separator, dim):
  """float32 [n, dim]; dim None: what the first row has."""
  pyarrow = _support.require("pyarrow")
  array = batch.vectors
  types = pyarrow.types
  if types.is_dictionary(array.type):
    array = array.dictionary_decode()
  _refuse_nulls(batch, array, "vector")
  if types.is_string(array.type) or types.is_large_string(array.type):
    lists = _split(array, separator)
  elif types.is_list(array.type) or types.is_large_list(array.type) or types.is_fixed_size_list(array.type):
    lists = array
  else:
    raise Failure(f"{batch.path}: vectors: expected lists of numbers or texts of them, found {array.type}; is "
                  "--vector-column the right one?")
  return _matrix(batch, lists, separator, dim)


def _split(array, separator):
  compute = _support.require("pyarrow.compute")
  return compute.split_pattern(array, separator)


def _matrix(batch, lists, separator, dim):
  compute = _support.require("pyarrow.compute")
  widths = compute.list_value_length(lists).to_numpy(zero_copy_only=False)
  dim = int(widths[0]) if dim is None and len(widths) else dim
  wrong = np.flatnonzero(widths != dim)
  if wrong.size:
    hint = f"; is --separator {separator!r} right?" if widths[wrong[0]] == 1 else ""
    raise Failure(f"{_row(batch, wrong[0])}: vector: expected {dim} numbers, found {int(widths[wrong[0]])}{hint}")
  numbers = _floats(batch, lists.flatten(), dim)
  bad = np.flatnonzero(~np.isfinite(numbers))
  if bad.size:
    raise Failure(f"{_row(batch, bad[0] // dim)}: vector: expected finite numbers, found {numbers[bad[0]]}")
  return numbers.reshape(len(widths), dim or 1)


def _floats(batch, elements, dim):
  pyarrow = _support.require("pyarrow")
  compute = _support.require("pyarrow.compute")
  if elements.null_count:
    place = np.flatnonzero(elements.is_null())[0] // dim
    raise Failure(f"{_row(batch, place)}: vector: expected {dim} numbers, found an empty one")
  text = pyarrow.types.is_string(elements.type) or pyarrow.types.is_large_string(elements.type)
  try:
    try:
      cast = compute.cast(elements, pyarrow.float32(), safe=False)
    except pyarrow.ArrowInvalid:
      if not text:
        raise
      cast = compute.cast(compute.utf8_trim(elements, " \t[]"), pyarrow.float32())
  except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
    place, found = _first_unreadable(elements) if text else (0, f"elements of {elements.type}")
    raise Failure(f"{_row(batch, place // dim)}: vector: expected numbers, found {found}") from error
  return cast.to_numpy(zero_copy_only=False)


def _first_unreadable(words):
  for place, word in enumerate(words):
    try:
      float(word.as_py().strip(" \t[]"))
    except ValueError:
      return place, repr(word.as_py())
  return 0, "a number that is none to Arrow"
