"""ev-tf diff: what has changed between two checkpoints."""

import json
import sys

import click
import numpy as np

from ev_tf.cli import _support, _sweep, _tables


class Comparison:
  """Counts of what differs, and the ids whose vectors differ most; add() takes the rows of some buckets of both tables.

  Args:
    before, after: _tables.Table.
    tolerance: float; vectors and slots that differ by no more in any float are equal.
    top: int, how many ids to keep.
  """

  def __init__(self, before, after, tolerance, top):
    if before.dim != after.dim:
      raise _support.Failure(f"table {before.name}: dim: expected {before.dim} in both, found {after.dim}")
    self._tolerance, self._top = tolerance, top
    self._slots = [(name, before.slot_columns[name], after.slot_columns[name]) for name in before.slot_columns
                   if name in after.slot_columns]
    self.counts = dict.fromkeys(("added", "removed", "changed_vector", "changed_slots", "changed_frequency", "changed_version",
                                 "unchanged"), 0)
    self.examples = dict(added=[], removed=[])
    self.top_keys, self.top_changes = np.empty(0, np.int64), np.empty(0)

  def add(self, before, after):
    """before, after: _sweep.Rows of the same buckets."""
    keys, left, right = np.intersect1d(before.keys, after.keys, assume_unique=True, return_indices=True)
    self._note("added", after.keys, right)
    self._note("removed", before.keys, left)
    before, after = before.take(left), after.take(right)
    changes = _largest(before.values, after.values)
    vector = self._differs(before.values, after.values, changes)
    slots = np.zeros(len(keys), bool)
    for _, old, new in self._slots:
      slots |= self._differs(before.slots[:, old], after.slots[:, new])
    frequency = _numbers_differ(before.frequencies, after.frequencies, len(keys))
    version = _numbers_differ(before.versions, after.versions, len(keys))
    for name, changed in (("vector", vector), ("slots", slots), ("frequency", frequency), ("version", version)):
      self.counts[f"changed_{name}"] += int(changed.sum())
    self.counts["unchanged"] += int((~(vector | slots | frequency | version)).sum())
    self._keep_top(keys[vector], changes[vector])

  def _note(self, what, keys, common):
    mask = np.ones(len(keys), bool)
    mask[common] = False
    self.counts[what] += int(mask.sum())
    known = self.examples[what]
    known += keys[mask][: self._top - len(known)].tolist()

  def _differs(self, old, new, changes=None):
    if self._tolerance:
      changes = _largest(old, new) if changes is None else changes
      return ~(changes <= self._tolerance)
    return (np.ascontiguousarray(old).view(np.uint32) != np.ascontiguousarray(new).view(np.uint32)).any(axis=1)

  def _keep_top(self, keys, changes):
    keys, changes = np.concatenate([self.top_keys, keys]), np.concatenate([self.top_changes, changes])
    order = np.lexsort((keys, -changes))[: self._top]
    self.top_keys, self.top_changes = keys[order], changes[order]

  @property
  def same(self):
    return all(not count for name, count in self.counts.items() if name != "unchanged")


def _largest(old, new):
  """The largest change of a float of each row; infinity where one of two is NaN or they are different infinities."""
  with np.errstate(invalid="ignore"):
    change = np.abs(new.astype(np.float64) - old)
  bits = np.ascontiguousarray(old).view(np.uint32) == np.ascontiguousarray(new).view(np.uint32)
  change[bits] = 0
  change[np.isnan(change)] = np.inf
  return change.max(axis=1, initial=0)


def _numbers_differ(old, new, count):
  return np.zeros(count, bool) if old is None or new is None else old != new


def compare(before, after, tolerance, top, threads):
  """What differs between two tables: dict that JSON takes, and whether nothing does."""
  comparison = Comparison(before, after, tolerance, top)
  pieces = _sweep.ranges([before, after])
  with _support.progress(f"diff {before.name}", len(pieces)) as advance:
    for first, end in pieces:
      comparison.add(_sweep.rows_of(before, first, end, threads), _sweep.rows_of(after, first, end, threads))
      advance(1)
  only = [(f"slots_only_in_{side}", sorted(set(one.slot_columns) - set(other.slot_columns)))
          for side, one, other in (("a", before, after), ("b", after, before))]
  found = dict(name=before.name, rows_a=before.rows, rows_b=after.rows, **comparison.counts, **dict(only),
               largest=list(zip(comparison.top_keys.tolist(), comparison.top_changes.tolist())),
               examples=comparison.examples)
  return found, comparison.same and not any(slots for _, slots in only)


def _lines(found):
  lines = [f"table {found['name']}: {found['rows_a']:,} rows, then {found['rows_b']:,}"]
  for name, label in (("added", "added"), ("removed", "removed"), ("changed_vector", "vector changed"),
                      ("changed_slots", "slots changed"), ("changed_frequency", "frequency changed"),
                      ("changed_version", "version changed"), ("unchanged", "the same")):
    examples = ", ".join(map(str, found["examples"].get(name, ())))
    lines.append(f"  {label:<18} {found[name]:>13,}{'  ' + examples if examples else ''}")
  for side in "ab":
    if found[f"slots_only_in_{side}"]:
      lines.append(f"  slots only in {side.upper()}: {', '.join(found[f'slots_only_in_{side}'])}")
  if found["largest"]:
    lines.append("  largest changes of a float")
    lines += [f"    {line}" for line in _support.table_text(("id", "change"), [(k, f"{c:.6g}") for k, c in found["largest"]])]
  return lines


def pairs(a, b, name):
  """The tables of two checkpoints by name: (pairs of Table, names only in a, names only in b)."""
  if name is not None:
    return [(_tables.find_table(a, name), _tables.find_table(b, name))], [], []
  before, after = ({table.name: table for table in _tables.find_tables(path)} for path in (a, b))
  if len(before) == len(after) == 1:
    return [(*before.values(), *after.values())], [], []
  common = sorted(before.keys() & after.keys())
  return [(before[n], after[n]) for n in common], sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())


@click.command("diff")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@click.option("--table", help="Only the table of this name.")
@click.option("--tolerance", type=_support.Positive(), default=0.0, show_default=True, help="Floats that differ by no more are equal.")
@click.option("--top", type=click.IntRange(0, 100_000), default=5, show_default=True, help="Ids to name of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--exit-code", is_flag=True, help="End with 1 if there is a difference.")
@_support.THREADS
@_support.one_sentence
def command(a, b, table, tolerance, top, as_json, exit_code, threads):
  """Show what has changed from checkpoint A to B: ids that came and went, and rows whose contents differ.

  Tables are compared by name, whatever their parts; if each checkpoint has one, these two.
  """
  common, only_a, only_b = pairs(a, b, table)
  results = [compare(before, after, tolerance, top, threads) for before, after in common]
  if as_json:
    _support.show(json.dumps(dict(tables=[found for found, _ in results], only_in_a=only_a, only_in_b=only_b), indent=2))
  else:
    for found, _ in results:
      _support.show(*_lines(found))
    for side, names in (("A", only_a), ("B", only_b)):
      if names:
        _support.show(f"tables only in {side}: {', '.join(names)}")
  if exit_code and (only_a or only_b or not all(same for _, same in results)):
    sys.exit(1)
