"""From what the processes printed to the table: which figure stands against which, their ratio, and the verdict.

A ratio is taken inside one round, where its two sides are neighbours in time; shown is the median over the rounds, with the
lowest and highest. A round in which others used more than plan.OTHER_CPU cores is left out if three quiet ones remain;
otherwise it is kept and the row is marked busy.
"""

import json
import statistics

from benchmarks import plan, saves, tiers
from benchmarks.report_row import busiest, make_row, matching, quiet_first, rate


def rows_of(result):
  """The lines of the table, as Rows."""
  records, missing = result["records"], result["missing"]
  chosen = plan.QUICK if result["quick"] else plan.FULL
  rows = []
  for table in chosen.tables:
    rows += _table_rows(table, records, missing)
  rows += _growth_rows(records)
  rows += _engine_rows(records)
  rows += _op_rows(records)
  rows += _dedup_rows(records)
  rows += tiers.rows_of(records)
  rows += saves.rows_of(records)
  return rows


# --- tables through TensorFlow, against peers ---------------------------------------------------------------------


def _table_rows(table, records, missing):
  of_table = matching(records, rows=table.rows, dim=table.dim, optimizer=table.optimizer)
  of_table = [record for record in of_table if "impl" in record and "case" in record]
  if not of_table:
    return []
  group = f"through TensorFlow, {table.label}, {table.optimizer}, batch 65,536"
  rows = []
  for case in ("train", "lookup", "insert"):
    if case not in table.cases:
      continue
    for dist in ("new",) if case == "insert" else plan.DISTS:
      for peer in table.impls[1:]:
        target = plan.speedup_target(case, table.optimizer, dist, peer)
        asked = peer not in missing and f"{peer}, {table.label} {table.optimizer}" not in missing
        why_not = ", nor asked for" if asked else ""  # the reasons stand below the table
        row = _speedup(group, of_table, case, dist, peer, target, why_not)
        if row is not None:
          rows.append(row)
    if case == "insert":
      rows += _worst_insert(group, of_table)
  return rows


def _speedup(group, records, case, dist, peer, target, why_not):
  """Our speed over the peer's; inserts by their mean, so that stalls count. None if nobody asked for the pair."""
  field = "mean_s" if case == "insert" else "median_s"
  ours = {record["round"]: record for record in matching(records, impl=plan.OURS, case=case, dist=dist)}
  theirs = {record["round"]: record for record in matching(records, impl=peer, case=case, dist=dist)}
  both = sorted(ours.keys() & theirs.keys())
  label = f"{case}, {'new ids, mean' if case == 'insert' else dist}"
  if not both:
    if target is None or not ours:
      return None
    return make_row(group, label, "", plan.name_of(peer), [], False, target, why_not=why_not)
  pairs = [(theirs[r][field] / ours[r][field], max(ours[r]["other_cpu"], theirs[r]["other_cpu"])) for r in both]
  ratios, busy = quiet_first(pairs)
  speed = [rate(statistics.median(side[r]["batch"] / side[r][field] for r in both)) for side in (ours, theirs)]
  return make_row(group, label, speed[0], f"{speed[1]} {plan.name_of(peer)}", ratios, busy, target)


def _worst_insert(group, records):
  ours = matching(records, impl=plan.OURS, case="insert")
  if not ours:
    return []
  ratios, busy = quiet_first([(record["worst_to_median"], record["other_cpu"]) for record in ours])
  worst = statistics.median(record["worst_s"] for record in ours)
  median = statistics.median(record["median_s"] for record in ours)
  return [make_row(group, "insert, worst batch / median batch", f"{worst * 1e3:.3g} ms", f"{median * 1e3:.3g} ms, its own median",
                   ratios, busy, plan.WORST_INSERT, at_most=True)]


# --- the engine alone -----------------------------------------------------------------------------------------------


def _growth_rows(records):
  rows = []
  runs = matching(records, bench="engine_insert")
  for run in runs:
    if run["dim"] != plan.FULL.growth[1]:
      continue
    target = plan.OVERHEAD_BYTES[run["meta"]]
    what = " with frequency and version" if run["meta"] else ""
    group = f"memory per row beyond value and slots, highest from 1 M to {plan.in_words(run['rows'])} rows, growing"
    for field, how in (("overhead_worst", "as the engine counts"), ("overhead_worst_resident", "resident memory")):
      made_of = (f"{run['overhead_worst_index']:.3g} B index, {run['overhead_worst_pool']:.3g} B pool, at "
                 f"{run['overhead_worst_at_rows'] / 1e6:.3g} M rows") if field == "overhead_worst" else ""
      rows.append(make_row(group, f"bytes{what}, {how}", f"{run[field]:.3g} B", made_of, [run[field]], False, target,
                           at_most=True))
  wide = [run for run in runs if run["dim"] == 64]
  for field, what, peer in (("worst_to_median", "worst / median batch", "its own median"),
                            ("mean_to_touch", "mean batch", "first touch of as many bytes"),
                            ("worst_to_touch", "worst batch", "worst first touch of as many bytes")):
    measured = [run for run in wide if field in run]
    if measured:
      speed = f"{rate(statistics.median(run['mean_per_s'] for run in measured))} mean"
      ratios, busy = quiet_first([(run[field], run["other_cpu"]) for run in measured])
      rows.append(make_row("engine alone", f"insert x 64 + adagrad, {what}", speed, peer, ratios, busy, None,
                           at_most=True))
  return rows


def _engine_rows(records):
  rows = []
  for run in matching(records, bench="engine_lookup"):
    target = plan.LOOKUP_SHARE[run["dim"]] if run["dist"] == "unique" else None
    rows.append(_ceiling_row(run, f"lookup, {run['row_bytes']}-byte rows", "known-position gather", target))
  for run in matching(records, bench="engine_update"):
    rows.append(_ceiling_row(run, f"update, {run['optimizer']}, {run['row_bytes']}-byte rows", "known-position read + write",
                             None))
  return rows


def _ceiling_row(run, what, ceiling, target):
  ratios, busy = quiet_first(list(zip(run["ratio"], run["other_cpu"])))
  threads = f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}"
  dist = "unique uniform ids" if run["dist"] == "unique" else run["dist"]
  return make_row(f"engine alone, {plan.in_words(run['rows'])} rows", f"{what}, {dist}, {threads}",
                  rate(statistics.median(run["ours_per_s"])),
                  f"{rate(statistics.median(run['ceiling_per_s']))} {ceiling}", ratios, busy, target)


def _dedup_rows(records):
  rows = []
  unique = matching(records, bench="tf_unique")
  for size in plan.DEDUP_SIZES:
    for dist in plan.DISTS:
      theirs = {r["round"]: r for r in matching(unique, size=size, dist=dist)}
      for threads in (2, 1):
        ours = {r["round"]: r for r in matching(records, bench="engine_dedup", size=size, dist=dist, threads=threads)}
        both = sorted(ours.keys() & theirs.keys())
        if not both:
          continue
        pairs = [(statistics.median(ours[r]["per_s"]) / statistics.median(theirs[r]["per_s"]),
                  busiest([ours[r], theirs[r]])) for r in both]
        ratios, busy = quiet_first(pairs)
        speed = [rate(statistics.median(statistics.median(side[r]["per_s"]) for r in both)) for side in (ours, theirs)]
        rows.append(make_row("dedup / tf.unique", f"{size:,} ids, {dist}, {threads} thread{'s' if threads > 1 else ''}", speed[0],
                             f"{speed[1]} tf.unique", ratios, busy, plan.DEDUP_SPEEDUP[size] if threads == 2 else None))
  return rows


# --- what the ops cost -----------------------------------------------------------------------------------------------


def _op_rows(records):
  rows = []
  for run in matching(records, bench="through_op"):
    ratios, busy = quiet_first(list(zip(run["ratio"], run["other_cpu"])))
    speed = [rate(run["batch"] / statistics.median(run[field])) for field in ("ours_s", "engine_s")]
    rows.append(make_row(f"TensorFlow op / engine API, {plan.in_words(run['rows'])} x {run['dim']}, batch 65,536",
                         f"{run['case']}, {run['impl']}", speed[0], f"{speed[1]} engine API", ratios, busy,
                         plan.OP_SHARE if run["case"] == "lookup" else None))
  for run in matching(records, bench="small_batch"):
    ratios, busy = quiet_first(list(zip(run["ratio"], run["other_cpu"])))
    time_us = [f"{statistics.median(run[field]) * 1e6:.0f} us" for field in ("ours_s", "static_s")]
    rows.append(make_row("small batch in tf.function, time / tf.gather's", f"{run['batch']:,} ids x {run['dim']}", time_us[0],
                         f"{time_us[1]} tf.gather on tf.Variable", ratios, busy, plan.SMALL_BATCH, at_most=True))
  return rows + _group_rows(records)


def _group_rows(records):
  rows = []
  for run in matching(records, bench="group"):
    for impl, title in (("tensorflow-ops", "TensorFlow's ops"), ("one-by-one", "our lookups one by one")):
      ratios, busy = quiet_first([(theirs / ours, other) for ours, theirs, other in
                                  zip(run["group_s"], run[f"{impl}_s"], run["other_cpu"])])
      times = [f"{statistics.median(run[field]) * 1e3:.2f} ms" for field in ("group_s", f"{impl}_s")]
      rows.append(make_row(f"group of {run['tables']} tables, {run['batch']:,} ids x {run['dim']}, {run['mode']}",
                           f"{run['case']}, over {title}", times[0], f"{times[1]} {title}", ratios, busy,
                           plan.GROUP_SPEEDUP if run["case"] == "train" and impl == "tensorflow-ops" else None))
  return rows


# --- output ------------------------------------------------------------------------------------------------------------


def to_json(result):
  """JSON with one record a line: a diff shows what changed."""
  head = {name: value for name, value in result.items() if name not in ("records", "table")}
  parts = [json.dumps(head, indent=1)[:-2]]
  for name in ("table", "records"):
    lines = ",\n  ".join(json.dumps(_rounded(record)) for record in result.get(name, []))
    parts.append(f' "{name}": [\n  {lines}\n ]')
  return ",\n".join(parts) + "\n}\n"


def _rounded(value):
  if isinstance(value, float):
    return float(f"{value:.5g}")
  if isinstance(value, list):
    return [_rounded(item) for item in value]
  if isinstance(value, dict):
    return {name: _rounded(item) for name, item in value.items()}
  return value


COLUMNS = (("case", "left", 62), ("ours", "right", 13), ("peer", "left", 38), ("ratio", "right", 6), ("range", "right", 13),
           ("target", "right", 7), ("verdict", "left", 13))
COLOURS = {"met": "green", "missed": "red"}


def show(result):
  """Prints the tables, one for each group of rows, their columns under one another."""
  from rich.console import Console
  from rich.table import Table

  console = Console(width=max(Console().width, 176) if not Console().is_terminal else None)
  machine = result["machine"]
  console.print(f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, TensorFlow "
                f"{machine['tensorflow']}, commit {machine['commit']}, {machine['date']}, {result['minutes']} minutes"
                + (", [bold]quick: not the sizes that the targets speak of[/bold]" if result["quick"] else ""))
  rows = rows_of(result)
  for group in dict.fromkeys(row.group for row in rows):
    table = Table(title=f"[bold]{group}[/bold]", title_justify="left", title_style="")
    for name, how, width in COLUMNS:
      table.add_column(name, justify=how, min_width=width if console.width >= 170 else None)
    for row in rows:
      if row.group == group:
        table.add_row(*_cells(row))
    console.print(table)
  console.print("ratio: median over the rounds, both sides of the same round; busy: others used the CPU meanwhile.")
  for name, meaning in plan.NAMES.values():
    if any(name in row.peer for row in rows):
      console.print(f"{name}: {meaning}", markup=False, highlight=False)
  for subject, why in result["missing"].items():
    console.print(f"Not measured: {plan.name_of(subject)}: {why}", style="bold", markup=False, highlight=False)


def _cells(row):
  target = "" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}"
  ratio, spread = ("", "") if row.ratio is None else (f"{row.ratio:.2f}", f"{row.low:.2f}-{row.high:.2f}")
  verdict = f"[{COLOURS[row.verdict]}]{row.verdict}[/]" if row.verdict in COLOURS else row.verdict
  return row.case, row.ours, row.peer, ratio, spread, target, (verdict + " (busy)" if row.busy else verdict).strip()
