"""ev-tf import: vectors from Parquet or CSV files as the table of a checkpoint."""

import contextlib

import click
import numpy as np

from ev_tf.cli import _columns, _distinct, _output, _support


def _columns_written(count, frequency, version):
  columns = {}
  if frequency is not None:
    columns["frequencies"] = np.full(count, frequency, np.int64)
  if version is not None:
    columns["versions"] = np.full(count, version, np.int64)
  return columns


def _first_dim(source):
  """(dim, whether there are rows) by the first rows of the source."""
  for batch in _columns.batches(source):
    if len(batch.ids):
      return _columns.vectors_of(batch._replace(vectors=batch.vectors[:1]), source.separator, None).shape[1]
  raise _support.Failure(f"{source.paths[0]}: expected rows, found none")


def run(source, name, partitions, out, dim, frequency, version, initial, threads):
  """Does what the command does; returns (rows, dim). `initial`: (rows, stddev, seed) of the default rows."""
  first_dim = _first_dim(source)
  if dim is not None and dim != first_dim:
    raise _support.Failure(f"{source.paths[0]}: row 1: vector: expected {dim} numbers as --dim says, found {first_dim}")
  dim = first_dim
  defaults = _output.initial_rows(initial[0], dim, *initial[1:])
  total = _columns.count_rows(source.paths)
  with contextlib.ExitStack() as stack:
    output = stack.enter_context(_output.Output(out))
    writers = output.parts(name, dim, partitions, default_rows=defaults, has_frequency=frequency is not None,
                           has_version=version is not None)
    advance = stack.enter_context(_support.progress(f"import {name}", total))
    distinct = stack.enter_context(_distinct.DistinctIds(output.directory, source.paths[0] if len(source.paths) == 1 else "input"))

    def take(batch):
      ids = _columns.ids_of(batch)
      _output.write_parts(writers, ids, values=_columns.vectors_of(batch, source.separator, dim),
                          **_columns_written(len(ids), frequency, version))
      return ids

    for ids in _support.in_order(take, _columns.batches(source), threads):
      distinct.add(ids)
      advance(len(ids))
    distinct.check()
  return sum(writer.rows for writer in writers), dim


@click.command("import")
@click.argument("tables", type=click.Path(), nargs=-1, required=True)
@click.option("--out", type=click.Path(), required=True, help="Directory to make; it may be there if it is empty.")
@click.option("--name", default="embedding", show_default=True, help="Name of the variable.")
@click.option("--id-column", default="0", show_default=True, help="Column of the ids, by name or number from 0.")
@click.option("--vector-column", default="1", show_default=True, help="Column of the vectors, by name or number from 0.")
@click.option("--separator", default=",", show_default=True, help="Between the numbers of a vector that is text.")
@click.option("--delimiter", default=",", show_default=True, help="Between the columns of CSV.")
@click.option("--header/--no-header", default=True, show_default=True, help="Whether the first line of CSV has names.")
@click.option("--partitions", type=click.IntRange(1, 1000), default=1, show_default=True,
              help="Parts to write, as many as the variable will have or any other number.")
@click.option("--dim", type=click.IntRange(1, 65536), help="Floats of a vector; what the first row has if it is left out.")
@click.option("--frequency", type=click.IntRange(0, 2**32 - 1),
              help="Record this frequency for each row. Left out: none is recorded, and a filter takes each as admitted.")
@click.option("--version", type=click.IntRange(0, 2**32 - 2),
              help="Record this global step as each row's last update. Left out: ages count from the first eviction on.")
@_support.first_rows
@_support.THREADS
@_support.one_sentence
def command(tables, out, name, id_column, vector_column, separator, delimiter, header, partitions, dim, frequency, version,
            initial, initial_stddev, seed, threads):
  """Make a table of the vectors in TABLES, Parquet or CSV files or directories of them.

  A vector is a list of numbers, or a text of them such as "0.1,0.2". Nothing is left in --out unless all of the input was
  good: each id once, no null, every vector of one length, every number finite.
  """
  if len(delimiter) != 1:
    raise click.UsageError(f"--delimiter: expected one character, found {delimiter!r}.")
  if not separator:
    raise click.UsageError("--separator: expected a text, found an empty one.")
  source = _columns.Source(_columns.find_files(tables), id_column, vector_column, separator, delimiter, header)
  rows, dim = run(source, name, partitions, out, dim, frequency, version, (initial, initial_stddev, seed), threads)
  _support.show(f"{out}: {rows:,} rows of {name}, {dim} float{'s' if dim > 1 else ''} each")
