"""ev-tf convert: tables of DeepRec, NVIDIA DynamicEmb and TFRA as ours."""

import os

import click
import numpy as np

from ev_tf import engine
from ev_tf.cli import _bundle, _deeprec, _distinct, _foreign, _output, _raw_files, _support

_MOST = 2**32 - 2  # of frequencies and versions in our rows
_KEY_TYPES = {"int64": np.int64, "int32": np.int32}


def kind_of(source):
  """What a path is: "deeprec", "dynamicemb" or "tfra"."""
  if _bundle.exists(source):
    return "deeprec"
  if os.path.isdir(source):
    if _raw_files.is_dump(source):
      return "dynamicemb"
    if _raw_files.is_tfra(source):
      return "tfra"
  raise _support.Failure(f"{source}: expected the prefix of a checkpoint of DeepRec or TFRA, a folder of a DynamicEmb dump or one "
                         "of TFRA's FileSystemSaver, found none of them")


def _clipped(numbers, low):
  """Counts or steps as our rows hold them."""
  if numbers.dtype == np.uint64:
    numbers = np.minimum(numbers, np.uint64(_MOST))
  return np.clip(numbers.astype(np.int64), low, _MOST)


def _columns(table, piece, rows, has_frequency, has_version):
  """The columns of some rows, as engine.TableWriter.write takes them."""
  columns = dict(values=_foreign.floats(piece, piece.values, rows, table.dim))
  if table.columns:
    columns["slots"] = np.concatenate([_foreign.floats(piece, array, rows, column.dim)
                                       for array, column in zip(piece.slots, table.columns)], axis=1)
  if has_frequency:
    columns["frequencies"] = _clipped(np.asarray(piece.frequencies[rows]), 0)
  if has_version:
    columns["versions"] = _clipped(np.asarray(piece.versions[rows]), -1)
  return columns


def write(table, output, partitions, initial, threads, advance):
  """Writes a ForeignTable in parts. `initial`: (rows, stddev, seed) of the first rows of other ids."""
  if table.dim == 0:
    raise _support.Failure(f"table {table.name}: expected rows, found none, so that its dim is not known")
  has_frequency, has_version = table.recorded("frequencies"), table.recorded("versions")
  slots = [engine.SlotSpec(column.name, column.dim, column.initial) for column in table.columns]
  writers = output.parts(table.name, table.dim, partitions, default_rows=_output.initial_rows(initial[0], table.dim, *initial[1:]),
                         slots=slots, has_frequency=has_frequency, has_version=has_version)

  def take(chunk):
    piece, rows = chunk
    keys = np.asarray(piece.keys[rows]).astype(np.int64)
    _output.write_parts(writers, keys, **_columns(table, piece, rows, has_frequency, has_version))
    return keys

  with _distinct.DistinctIds(output.directory, f"table {table.name}") as distinct:
    for keys in _support.in_order(take, table.chunks(), threads):
      distinct.add(keys)
      advance(len(keys))
    distinct.check()
  for filtered in table.filtered:
    _write_filtered(writers, filtered)


def _write_filtered(writers, filtered):
  for start in range(0, len(filtered.keys), _foreign.ROWS_AT_ONCE):
    rows = slice(start, start + _foreign.ROWS_AT_ONCE)
    keys = np.asarray(filtered.keys[rows]).astype(np.int64)
    counts = _clipped(np.asarray(filtered.frequencies[rows]), 1) if filtered.frequencies is not None else np.ones_like(keys)
    steps = _clipped(np.asarray(filtered.versions[rows]), -1) if filtered.versions is not None else np.full_like(keys, -1)
    parts = keys % _output.BUCKETS % len(writers)
    for part, writer in enumerate(writers):
      chosen = parts == part
      if chosen.any():
        writer.write_filtered(keys[chosen], counts[chosen], steps[chosen])


def read(source, kind, with_slots, scores, key_dtype):
  """The tables of a source, and what was left out: (list of ForeignTable, list of str)."""
  if kind == "deeprec":
    return _deeprec.tables(source, with_slots)
  if kind == "dynamicemb":
    return _raw_files.dumps(source, with_slots, scores), []
  return _raw_files.shards(source, key_dtype), []


@click.command("convert")
@click.argument("source", type=click.Path())
@click.option("--out", type=click.Path(), required=True, help="Directory to make; it may be there if it is empty.")
@click.option("--from", "kind", type=click.Choice(["deeprec", "dynamicemb", "tfra"]), help="What SOURCE is; by its files if left out.")
@click.option("--table", "wanted", multiple=True, help="Convert only the table of this name; may be given several times.")
@click.option("--partitions", type=click.IntRange(1, 1000), default=1, show_default=True, help="Parts to write of each table.")
@click.option("--slots/--no-slots", default=True, show_default=True, help="Take the optimizer's state along.")
@click.option("--scores", type=click.Choice(["frequency", "version", "none"]),
              help="What DynamicEmb's scores are. By default counts if its strategy is LFU, else left out.")
@click.option("--key-dtype", type=click.Choice(sorted(_KEY_TYPES)), default="int64", show_default=True, help="Of TFRA's files.")
@_support.first_rows
@_support.THREADS
@_support.one_sentence
def command(source, out, kind, wanted, partitions, slots, scores, key_dtype, initial, initial_stddev, seed, threads):
  """Make our tables of those of another system in SOURCE.

  SOURCE is the prefix of a DeepRec checkpoint, the folder of an NVIDIA DynamicEmb dump, or the folder or checkpoint prefix
  that TFRA saved tables to.
  """
  if not os.path.exists(source) and not _bundle.exists(source):
    raise _support.Failure(f"{source}: expected a folder or the prefix of a checkpoint, found nothing")
  found, notes = read(source, kind or kind_of(source), slots, scores, _KEY_TYPES[key_dtype])
  names = ", ".join(table.name for table in found) or "none"
  unknown = [name for name in wanted if name not in {table.name for table in found}]
  if unknown or not found:
    raise _support.Failure(f"{source}: expected table{' ' + unknown[0] if unknown else 's'}, found {names}")
  chosen = [table for table in found if not wanted or table.name in wanted]
  with _output.Output(out) as output, _support.progress("convert", sum(table.rows for table in chosen)) as advance:
    for table in chosen:
      write(table, output, partitions, (initial, initial_stddev, seed), threads, advance)
  for table in chosen:
    columns = ", ".join(column.name for column in table.columns) or "no slots"
    _support.show(f"{table.name}: {table.rows:,} rows of {table.dim}, {columns}")
  _support.show(*(f"note: {note}" for note in notes))
