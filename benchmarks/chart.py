"""The chart of a result: bars of the ratios, a mark where each target stands."""

import textwrap

from benchmarks import report

BLUE, RED, GREY = "#3b6ea8", "#c0504d", "#9a9a9a"


def _panels(rows):
  """(title, logarithmic, rows) of the groups of rows that share a scale."""
  with_ratio = [row for row in rows if row.ratio is not None and (row.target is not None or "through" in row.group)]
  speedups = [row for row in with_ratio if row.group.startswith("through TensorFlow") and not row.at_most]
  dedup = [row for row in with_ratio if row.group.startswith("dedup")]
  shares = [row for row in with_ratio if row not in speedups and row not in dedup and not row.at_most]
  bounds = [row for row in with_ratio if row.at_most and "bytes" not in row.case]
  memory = [row for row in with_ratio if "bytes" in row.case]
  return [panel for panel in (
      ("Times as fast as the peer", True, speedups),
      ("Times as fast as tf.unique", False, dedup),
      ("Share of the limit: of a gather with known positions, of the engine's own API", False, shares),
      ("Ratios that must stay below their mark", False, bounds),
      ("Bytes per row beyond value and slots, worst while growing; must stay below the mark", False, memory)) if panel[2]]


def _label(row):
  peer = row.peer.split("/s ", 1)[-1] if "/s " in row.peer else ""
  group = row.group.replace("through TensorFlow, ", "").replace(", batch 65,536", "")
  if row.group.startswith(("dedup", "memory")):
    return row.case
  text = f"{row.case} ({group})"
  if row.group.startswith("through TensorFlow") and not row.at_most:
    text = f"{text} / {peer}"
  return textwrap.shorten(text, 110, placeholder="...")


def _draw_panel(axes, title, logarithmic, rows):
  positions = range(len(rows))
  colours = [{"met": BLUE, "missed": RED}.get(row.verdict, GREY) for row in rows]
  values = [row.ratio for row in rows]
  spread = [[row.ratio - row.low for row in rows], [row.high - row.ratio for row in rows]]
  axes.barh(positions, values, color=colours, height=0.62, xerr=spread, ecolor="#555555", error_kw={"linewidth": 0.8})
  for position, row in enumerate(rows):
    if row.target is not None:
      axes.plot([row.target] * 2, [position - 0.45, position + 0.45], color="black", linewidth=2)
    axes.annotate(f"{row.ratio:.2f}", (row.high, position), xytext=(4, 0), textcoords="offset points", va="center",
                  fontsize=7.5)
  axes.set_yticks(list(positions), [_label(row) for row in rows], fontsize=7.5)
  axes.set_ylim(len(rows) - 0.4, -0.6)
  axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
  if logarithmic:
    from matplotlib.ticker import FormatStrFormatter, NullFormatter
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.5, min(values) / 1.5), max(row.high for row in rows) * 1.4)
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
  else:
    axes.set_xlim(0, max(max(row.high, row.target or 0) for row in rows) * 1.12)
  axes.grid(axis="x", alpha=0.3)
  axes.spines[["top", "right"]].set_visible(False)


def draw(result, path):
  """Writes the chart of `result` to `path` (.png)."""
  import matplotlib
  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  panels = _panels(report.rows_of(result))
  if not panels:
    return
  heights = [len(rows) + 1.6 for _, _, rows in panels]
  figure, axes = plt.subplots(len(panels), 1, figsize=(13, 0.235 * sum(heights) + 1), height_ratios=heights, squeeze=False)
  for (title, logarithmic, rows), panel_axes in zip(panels, axes[:, 0]):
    _draw_panel(panel_axes, title, logarithmic, rows)
  machine = result["machine"]
  figure.suptitle(f"{machine['cpu']}, {machine['cpus']} CPUs, TensorFlow {machine['tensorflow']}, commit {machine['commit']}, "
                  f"{machine['date']}{' (quick)' if result['quick'] else ''}\nblack mark: target; blue: met; red: missed; "
                  "grey: no target; thin line: lowest to highest round", fontsize=9)
  figure.tight_layout(rect=(0, 0, 1, 0.99))
  figure.savefig(path, dpi=130, bbox_inches="tight")
  plt.close(figure)
