"""The histograms of `inspect` as a picture."""

from ev_tf.cli import _support

_BLUE, _INK, _GRID = "#3b6ea5", "#333333", "#dddddd"


def histograms(path, tables):
  """Draws a row of panels for each table: frequencies and ages, where they are recorded.

  Args:
    path: str, a file with an extension that matplotlib knows: .png, .svg, .pdf.
    tables: list of dicts as `inspect.gather` makes them.
  """
  matplotlib = _support.require("matplotlib")
  matplotlib.use("Agg")
  from matplotlib import figure

  panels = [(one, kind) for one in tables for kind in ("frequencies", "ages") if one.get(kind)]
  if not panels:
    raise _support.Failure("nothing to draw: no table records frequencies or versions")
  columns = 2 if len(panels) > 1 else 1
  rows = -(-len(panels) // columns)
  picture = figure.Figure(figsize=(6.4 * columns, 3.6 * rows), dpi=120, layout="constrained")
  axes = picture.subplots(rows, columns, squeeze=False).flat
  for axis, (table, kind) in zip(axes, panels):
    _draw(axis, table, kind)
  for axis in list(axes)[len(panels):]:
    axis.set_axis_off()
  extension = path.rsplit(".", 1)[-1].lower()
  with _support.whole_file(path) as temporary:
    picture.savefig(temporary, format=extension if extension in picture.canvas.get_supported_filetypes() else "png")


def _draw(axis, table, kind):
  labels, counts = zip(*table[kind])
  places = range(len(labels))
  axis.bar(places, counts, width=0.86, color=_BLUE, zorder=2)
  axis.set_yscale("log")
  axis.set_ylim(bottom=0.7)
  every = max(1, len(labels) // 10)
  axis.set_xticks([p for p in places if p % every == 0], [_short(labels[p]) for p in places if p % every == 0],
                  rotation=35, ha="right", fontsize=8)
  axis.set_ylabel("rows", color=_INK)
  axis.grid(axis="y", color=_GRID, zorder=0)
  axis.spines[["top", "right"]].set_visible(False)
  what = "times updated" if kind == "frequencies" else f"steps since the last update, at step {table['newest_version']:,}"
  axis.set_xlabel(what, color=_INK)
  axis.set_title(f"{table['name']}: {table['rows']:,} rows of {table['dim']}", loc="left", fontsize=10, color=_INK)


def _short(label):
  """"1,024 - 2,047" as "1k-2k"."""
  return "-".join(_number(int(part.replace(",", ""))) for part in label.split(" - "))


def _number(n):
  for size, unit in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
    if n + 1 >= size:
      return f"{(n + 1) // size}{unit}"
  return str(n)
