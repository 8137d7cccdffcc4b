"""ev-tf prune: a checkpoint without the rows that are not worth keeping."""

import click
import numpy as np

from ev_tf.cli import _output, _support, _tables


class Rule:
  """Which rows stay: those that pass every condition that is given.

  Args:
    min_frequency: int or None.
    max_age: int or None, in steps before `step`; a row that no update has named has no age, and stays.
    step: int, the global step that ages are counted from.
    min_norm: float or None, of the vector's L2 norm.
  """

  def __init__(self, min_frequency, max_age, step, min_norm):
    self._min_frequency, self._max_age, self._step, self._min_norm = min_frequency, max_age, step, min_norm

  def stays(self, block):
    """bool [n]."""
    mask = np.ones(len(block), bool)
    if self._min_frequency is not None:
      mask &= block.frequencies >= self._min_frequency
    if self._max_age is not None:
      mask &= (block.versions < 0) | (self._step - block.versions <= self._max_age)
    if self._min_norm is not None:
      squares = np.einsum("ij,ij->i", block.values, block.values, dtype=np.float64)
      mask &= ~(np.sqrt(squares) < self._min_norm)  # NaN is no small norm
    return mask


def newest_version(table, threads):
  return max((int(block.versions.max(initial=-1)) for block in table.blocks(threads)), default=-1)


def prune_table(table, rule, output, with_filtered, threads, advance, named):
  """Writes what stays of a table; returns how many rows that is."""
  kept = 0
  for place, part in enumerate(table.parts):
    one = _tables.Table(part.name, [part])
    tensor = named[part.path].tensor if part.path in named else None
    writer = output.table(part.name, table.dim, place, len(table.parts), tensor, default_rows=part.default_rows(),
                          slots=part.slots, has_frequency=part.has_frequency, has_version=part.has_version)
    for block in one.blocks(threads):
      mask = rule.stays(block)
      _tables.write_block(writer, block, None if mask.all() else mask)
      kept += int(mask.sum())
      advance(len(block))
    for block in one.filtered_blocks() if with_filtered else ():
      writer.write_filtered(block.keys, block.frequencies, block.versions)
  return kept


def _check(table, min_frequency, max_age):
  for option, given, recorded, what in (("--min-frequency", min_frequency, table.has_frequency, "frequencies"),
                                        ("--max-age", max_age, table.has_version, "versions")):
    if given is not None and not recorded:
      raise _support.Failure(f"table {table.name}: {option} needs {what}, which it does not record")


@click.command("prune")
@click.argument("checkpoint", type=click.Path())
@click.option("--out", type=click.Path(), required=True, help="Directory to make; it may be there if it is empty.")
@click.option("--table", help="Prune only the table of this name; the others are copied.")
@click.option("--min-frequency", type=click.IntRange(0), help="Drop rows that fewer updates have named.")
@click.option("--max-age", type=click.IntRange(0), help="Drop rows whose last update was more steps ago.")
@click.option("--step", type=click.IntRange(0), help="The global step to count ages from; by default the newest of the table.")
@click.option("--min-norm", type=_support.Positive(), help="Drop rows whose vector has a smaller L2 norm.")
@click.option("--drop-filtered", is_flag=True, help="Drop the counts of ids that have no row yet.")
@_support.THREADS
@_support.one_sentence
def command(checkpoint, out, table, min_frequency, max_age, step, min_norm, drop_filtered, threads):
  """Write CHECKPOINT without rows that are seldom used, old or small. What fails one of the conditions goes.

  Of a TensorFlow checkpoint, the other variables are taken over as they are. CHECKPOINT stays as it is.
  """
  if min_frequency is None and max_age is None and min_norm is None and not drop_filtered:
    raise click.UsageError("expected --min-frequency, --max-age, --min-norm or --drop-filtered: what is to go?")
  if step is not None and max_age is None:
    raise click.UsageError("--step is for --max-age, which is not given.")
  tables = _tables.find_tables(checkpoint)
  if table is not None:
    _tables.find_table(checkpoint, table)
  base, named = _tables.base_of(checkpoint)
  chosen = [one for one in tables if table in (None, one.name)]
  for one in chosen:
    _check(one, min_frequency, max_age)
  lines = []
  with _output.Output(out, base) as output, _support.progress("prune", sum(one.rows for one in tables)) as advance:
    for one in tables:
      rule = Rule(None, None, 0, None)
      if one in chosen:
        now = step if step is not None or max_age is None else newest_version(one, threads)
        rule = Rule(min_frequency, max_age, now, min_norm)
      kept = prune_table(one, rule, output, not (drop_filtered and one in chosen), threads, advance, named)
      lines.append(f"{one.name}: {kept:,} of {one.rows:,} rows stay")
  _support.show(*lines)
