"""ev-tf export: a table as Parquet, CSV or NumPy arrays."""

import zipfile

import click
import numpy as np

from ev_tf.cli import _support, _tables

_ROWS_AT_ONCE = 1 << 16  # rows of a row group of Parquet, and of what is formatted at once


def columns_of(table, with_slots):
  """The columns of an export: (name, floats or None, how to take it from a block)."""
  columns = [("id", None, lambda block: block.keys), ("embedding", table.dim, lambda block: block.values)]
  if table.has_frequency:
    columns.append(("frequency", None, lambda block: block.frequencies))
  if table.has_version:
    columns.append(("version", None, lambda block: block.versions))
  if with_slots:
    for name, place in table.slot_columns.items():
      columns.append((name, place.stop - place.start, lambda block, place=place: block.slots[:, place]))
  return columns


def _batches(table, columns, threads):
  """The columns of some rows at a time: lists of arrays."""
  waiting, rows = [], 0
  for block in table.blocks(threads):
    waiting.append([take(block) for _, _, take in columns])
    rows += len(block)
    if rows >= _ROWS_AT_ONCE:
      yield [np.concatenate(column) for column in zip(*waiting)]
      waiting, rows = [], 0
  if waiting:
    yield [np.concatenate(column) for column in zip(*waiting)]


def _arrow(pyarrow, columns):
  """A function from a list of arrays to a record batch, and its schema."""
  kinds = [pyarrow.int64() if width is None else pyarrow.list_(pyarrow.float32(), width) for _, width, _ in columns]
  schema = pyarrow.schema([(name, kind) for (name, _, _), kind in zip(columns, kinds)])

  def convert(arrays):
    made = [pyarrow.array(array) if width is None
            else pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.ascontiguousarray(array).reshape(-1)), width)
            for array, (_, width, _) in zip(arrays, columns)]
    return pyarrow.RecordBatch.from_arrays(made, schema=schema)

  return schema, convert


def write_parquet(path, table, columns, threads, advance):
  pyarrow = _support.require("pyarrow")
  parquet = _support.require("pyarrow.parquet")
  schema, convert = _arrow(pyarrow, columns)
  floats = [name for name, width, _ in columns if width is not None]
  with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=False,
                             use_byte_stream_split=[f"{name}.list.element" for name in floats]) as writer:
    for arrays in _batches(table, columns, threads):
      writer.write_batch(convert(arrays))
      advance(len(arrays[0]))


def _as_text(pyarrow, array, separator):
  """Rows of floats as texts, each number as short as it reads back the same."""
  compute = _support.require("pyarrow.compute")
  words = compute.cast(pyarrow.array(np.ascontiguousarray(array).reshape(-1)), pyarrow.string())
  starts = np.arange(len(array) + 1, dtype=np.int32) * array.shape[1]
  return compute.binary_join(pyarrow.ListArray.from_arrays(starts, words), separator)


def write_csv(path, table, columns, threads, advance, separator=","):
  pyarrow = _support.require("pyarrow")
  csv = _support.require("pyarrow.csv")
  schema = pyarrow.schema([(name, pyarrow.int64() if width is None else pyarrow.string()) for name, width, _ in columns])

  def convert(arrays):
    return pyarrow.RecordBatch.from_arrays(
        [pyarrow.array(array) if width is None else _as_text(pyarrow, array, separator)
         for array, (_, width, _) in zip(arrays, columns)], schema=schema)

  with csv.CSVWriter(path, schema) as writer:
    for batch in _support.in_order(convert, _batches(table, columns, threads), threads):
      writer.write_batch(batch)
      advance(batch.num_rows)


def write_npz(path, table, columns, threads, advance):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
    for column in columns:
      name, width, take = column
      kind = np.dtype(np.int64 if width is None else np.float32)
      shape = (table.rows,) if width is None else (table.rows, width)
      with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        head = dict(descr=np.lib.format.dtype_to_descr(kind), fortran_order=False, shape=shape)
        np.lib.format.write_array_header_2_0(file, head)
        for block in table.blocks(threads):
          file.write(np.ascontiguousarray(take(block)).data)
          advance(len(block) / len(columns))


_WRITERS = {"parquet": write_parquet, "csv": write_csv, "npz": write_npz}


@click.command("export")
@click.argument("checkpoint", type=click.Path())
@click.option("--table", help="Name of the table; needed where there are several.")
@click.option("--to", "kind", type=click.Choice(sorted(_WRITERS)), help="Format; by the extension of --out if it is left out.")
@click.option("--out", type=click.Path(), required=True, help="The file to write; - is standard output.")
@click.option("--slots/--no-slots", default=False, help="Export the optimizer's slots too, each a column.")
@click.option("--separator", default=",", show_default=True, help="Between the floats of a vector in a CSV field.")
@_support.THREADS
@_support.one_sentence
def command(checkpoint, table, kind, out, slots, separator, threads):
  """Write the rows of a table of CHECKPOINT to a file that other programs read.

  The columns are id, embedding, and frequency and version where the table records them. In CSV a vector is one field, which
  `ev-tf import` takes back. Ids that a filter counts and that have no row are left out.
  """
  out = "/dev/stdout" if out == "-" else out
  if kind is None:
    kind = out.rsplit(".", 1)[-1].lower()
    if kind not in _WRITERS:
      raise click.UsageError(f"{out}: expected --to, as the extension is none of {', '.join(sorted(_WRITERS))}.")
  if kind == "csv":
    if separator in ("", '"', "\n") or set(separator) & set("0123456789.-+eEinfa"):
      raise click.UsageError(f"--separator: expected a text that no number holds, found {separator!r}.")
    extra = dict(separator=separator)
  else:
    extra = {}
  found = _tables.find_table(checkpoint, table)
  with _support.whole_file(out) as temporary, _support.progress(f"export {found.name}", found.rows) as advance:
    _WRITERS[kind](temporary, found, columns_of(found, slots), threads, advance, **extra)
  click.echo(f"{out}: {found.rows:,} rows of {found.name}", err=_support.is_stream(out))
