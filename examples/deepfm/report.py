"""What the programs show on the terminal: the progress bar and the table of results."""

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

console = Console(highlight=False)
COUNT_EVERY = 20  # batches between two looks at the AUC and at the tables' size


class Bar:
  """A progress bar over all batches of a run, with loss, AUC, examples/s and rows. A context manager."""

  def __init__(self, run, epochs):
    self.total = epochs * run.batches_per_epoch
    self.progress = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"), console=console, transient=True)
    self.task = self.progress.add_task(run.settings.table, total=self.total, text="")

  def __enter__(self):
    self.progress.start()
    return self

  def __exit__(self, *unused):
    self.progress.stop()

  def __call__(self, run, loss, examples_per_second):
    done = run.epoch * run.batches_per_epoch + run.batch
    if console.is_terminal and done % COUNT_EVERY == 0:
      text = (f"loss {loss:.4f}  AUC {run.metrics.auc:.4f}  {examples_per_second:,.0f} examples/s  "
              f"{run.tables.count_rows():,} rows")
      self.progress.update(self.task, completed=done, text=text)


def results_table(results, best_auc=None):
  """Results as a rich Table; best_auc, if known, goes under it."""
  caption = best_auc and f"best possible AUC on this data: {best_auc:.4f}"
  table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="right")
  table.add_column("table")
  for title in ("epoch", "loss", "AUC", "held-out\nloss", "held-out\nAUC", "examples\nper s", "rows"):
    table.add_column(title, justify="right")
  for previous, line in zip([None, *results], results):
    if previous and previous.table != line.table:
      table.add_section()
    table.add_row(line.table, f"{line.epoch:.2f}", f"{line.loss:.4f}", f"{line.auc:.4f}", f"{line.held_out_loss:.4f}",
                  f"{line.held_out_auc:.4f}", f"{line.examples_per_second:,.0f}", f"{line.rows:,}")
  return table
