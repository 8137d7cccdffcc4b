"""ev-tf inspect: what a checkpoint holds."""

import json

import click
import numpy as np

from ev_tf.cli import _plot, _support, _tables

_BAR = 40  # characters of the longest bar
# Bucket b of a histogram: 0 -> 0, b -> 2^(b-1) to 2^b - 1.
_BUCKETS = 65


class Statistics:
  """What one pass over the rows of a table finds; add() takes a block at a time.

  Args:
    table: _tables.Table.
    top: int, how many ids of the highest frequency to keep.
  """

  def __init__(self, table, top):
    self.rows = self.not_finite = self.never_updated = 0
    self.frequencies = np.zeros(_BUCKETS, np.int64) if table.has_frequency else None
    self.newest = -1
    self.top = top
    self.top_keys, self.top_frequencies = np.empty(0, np.int64), np.empty(0, np.int64)
    self.norms = [np.inf, 0.0, 0.0]  # least, sum, greatest

  def add(self, block):
    self.rows += len(block)
    norms = np.sqrt(np.einsum("ij,ij->i", block.values, block.values, dtype=np.float64))
    finite = np.isfinite(norms)
    self.not_finite += int(len(block) - finite.sum())
    norms = norms[finite]
    if norms.size:
      self.norms = [min(self.norms[0], norms.min()), self.norms[1] + norms.sum(), max(self.norms[2], norms.max())]
    if block.frequencies is not None:
      self.frequencies += _histogram(block.frequencies)
      self._keep_top(block.keys, block.frequencies)
    if block.versions is not None and len(block):
      self.newest = max(self.newest, int(block.versions.max()))
      self.never_updated += int((block.versions < 0).sum())

  def _keep_top(self, keys, frequencies):
    if self.top_keys.size >= self.top:
      above = frequencies > self.top_frequencies[-1]
      if not above.any():
        return
      keys, frequencies = keys[above], frequencies[above]
    keys = np.concatenate([self.top_keys, keys])
    frequencies = np.concatenate([self.top_frequencies, frequencies])
    order = np.lexsort((keys, -frequencies))[: self.top]
    self.top_keys, self.top_frequencies = keys[order], frequencies[order]


def _histogram(numbers):
  """How many of `numbers` (int64, at least 0) are in each bucket."""
  exact = np.frexp(numbers.astype(np.float64))[1]  # 2^53 and above may count one bucket higher
  return np.bincount(np.clip(exact, 0, _BUCKETS - 1), minlength=_BUCKETS)


def _ages(table, newest, threads, advance):
  """How many rows are so many steps older than the newest: a histogram."""
  ages = np.zeros(_BUCKETS, np.int64)
  for block in table.blocks(threads):
    known = block.versions[block.versions >= 0]
    ages += _histogram(newest - known)
    advance(len(block))
  return ages


def _bucket_names(count):
  return ["0", *(str(1 << (b - 1)) if b == 1 else f"{1 << (b - 1):,} - {(1 << b) - 1:,}" for b in range(1, count))]


def labelled(histogram):
  """(label, rows) of each bucket up to the last that has rows, and from the first."""
  used = np.flatnonzero(histogram)
  if not used.size:
    return []
  names = _bucket_names(used[-1] + 1)
  return [(names[b], int(histogram[b])) for b in range(used[0], used[-1] + 1)]


def _bars(title, histogram):
  pairs = labelled(histogram)
  if not pairs:
    return []
  width = max(len(label) for label, _ in pairs)
  most = max(rows for _, rows in pairs)
  lines = [f"  {title}"]
  for label, rows in pairs:
    lines.append(f"    {label.rjust(width)}  {rows:>13,}  {'#' * -(-rows * _BAR // most)}")
  return lines


def gather(table, top, threads, advance):
  """All that `inspect` says of a table: dict that JSON takes."""
  statistics = Statistics(table, top)
  for block in table.blocks(threads):
    statistics.add(block)
    advance(len(block))
  found = dict(describe(table), not_finite=statistics.not_finite)
  finite = statistics.rows - statistics.not_finite
  if finite:
    least, total, greatest = statistics.norms
    found["norm"] = dict(least=float(least), mean=float(total / finite), greatest=float(greatest))
  if table.has_frequency:
    found["frequencies"] = labelled(statistics.frequencies)
    found["top"] = list(zip(statistics.top_keys.tolist(), statistics.top_frequencies.tolist()))
    found["_frequencies"] = statistics.frequencies
  if table.has_version:
    found.update(newest_version=statistics.newest, never_updated=statistics.never_updated)
    found["_ages"] = _ages(table, statistics.newest, threads, advance)
    found["ages"] = labelled(found["_ages"])
  return found


def describe(table):
  """What the heads of a table's files say: dict that JSON takes."""
  return dict(name=table.name, rows=table.rows, dim=table.dim, default_rows=table.parts[0].default_value_dim,
              slots=[dict(name=s.name, dim=s.dim, initial=s.initial) for s in table.slots],
              records_frequency=table.has_frequency, records_version=table.has_version,
              filtered_ids=sum(len(block) for block in table.filtered_blocks()), bytes=table.file_bytes,
              files=[part.path for part in table.parts])


def _lines(found):
  slots = ", ".join(f"{slot['name']} [{slot['dim']}]" for slot in found["slots"]) or "none"
  recorded = [what for what in ("frequency", "version") if found[f"records_{what}"]]
  lines = [f"table {found['name']}",
           f"  rows      {found['rows']:,} of {found['dim']} floats, {found['bytes']:,} bytes in {len(found['files'])} "
           f"file{'s' if len(found['files']) > 1 else ''}",
           f"  slots     {slots}",
           f"  recorded  {' and '.join(recorded) or 'neither frequency nor version'}",
           f"  defaults  {found['default_rows']:,} rows for ids without one"]
  if found["filtered_ids"]:
    lines.append(f"  filtered  {found['filtered_ids']:,} ids that are counted and have no row yet")
  if "norm" in found:
    lines.append("  norm      {least:.6g} to {greatest:.6g}, mean {mean:.6g}".format(**found["norm"]))
  if found.get("not_finite"):
    lines.append(f"  NOT FINITE  {found['not_finite']:,} rows have NaN or infinity")
  if "_frequencies" in found:
    lines += _bars("frequency: rows", found["_frequencies"])
  if "_ages" in found:
    lines += _bars(f"age in steps before version {found['newest_version']:,}: rows", found["_ages"])
    if found["never_updated"]:
      lines.append(f"    no update has named {found['never_updated']:,} rows")
  if found.get("top"):
    lines.append("  most frequent ids")
    lines += [f"    {line}" for line in _support.table_text(("id", "frequency"), found["top"])]
  return lines


@click.command("inspect")
@click.argument("checkpoint", type=click.Path())
@click.option("--table", help="Only the table of this name.")
@click.option("--top", type=click.IntRange(0, 100_000), default=10, show_default=True, help="Ids of the highest frequency to list.")
@click.option("--png", type=click.Path(dir_okay=False), help="Draw the histograms to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--brief", is_flag=True, help="Only what the heads of the files say: no row is read.")
@_support.THREADS
@_support.one_sentence
def command(checkpoint, table, top, png, as_json, brief, threads):
  """Show the tables of CHECKPOINT: a table file, a directory of them, or the prefix of a TensorFlow checkpoint.

  Rows, dim, slots, how often and how long ago rows were updated, and the ids of the highest frequency. The rows are read
  a block at a time, whatever the table's size.
  """
  if brief and png:
    raise click.UsageError("--png draws what --brief leaves out: give one of them.")
  tables = [_tables.find_table(checkpoint, table)] if table else _tables.find_tables(checkpoint)
  if brief:
    found = [describe(one) for one in tables]
  else:
    with _support.progress("inspect", sum(one.rows * (2 if one.has_version else 1) for one in tables)) as advance:
      found = [gather(one, top, threads, advance) for one in tables]
  if png:
    _plot.histograms(png, found)
  if as_json:
    public = [{key: value for key, value in one.items() if not key.startswith("_")} for one in found]
    _support.show(json.dumps(public, indent=2))
  else:
    _support.show(*"\n\n".join("\n".join(_lines(one)) for one in found).splitlines())
