"""A line of the report, and how it is made from the records of several rounds."""

import statistics
from typing import NamedTuple, Optional

from benchmarks import plan

FEWEST_QUIET = 3


class Row(NamedTuple):
  """A line of the table. at_most: the target is an upper bound."""

  group: str
  case: str
  ours: str
  peer: str
  ratio: Optional[float]
  low: Optional[float]
  high: Optional[float]
  samples: int
  busy: bool
  target: Optional[float]
  at_most: bool
  verdict: str


def busiest(records):
  """The most cores that others used during any of the records."""
  highest = 0.0
  for record in records:
    other = record.get("other_cpu", 0.0)
    highest = max(highest, max(other) if isinstance(other, list) else other)
  return highest


def quiet_first(samples):
  """(samples to use, whether busy ones are among them) of (value, other_cpu) pairs."""
  quiet = [value for value, other in samples if other <= plan.OTHER_CPU]
  if len(quiet) >= min(FEWEST_QUIET, len(samples)):
    return quiet, False
  return [value for value, _ in samples], True


def make_row(group, case, ours, peer, ratios, busy, target, at_most=False, why_not=""):
  if not ratios:
    return Row(group, case, ours, peer, None, None, None, 0, False, target, at_most, "not measured" + why_not)
  ratio = statistics.median(ratios)
  verdict = ""
  if target is not None:
    verdict = "met" if (ratio <= target if at_most else ratio >= target) else "missed"
  return Row(group, case, ours, peer, ratio, min(ratios), max(ratios), len(ratios), busy, target, at_most, verdict)


def matching(records, **fields):
  return [record for record in records if all(record.get(name) == value for name, value in fields.items())]


def rate(ids_per_s):
  return f"{ids_per_s / 1e6:.3g} M/s"
