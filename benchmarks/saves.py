"""Saves and restores: what is run (`measure`), and the rows of the report (`rows_of`)."""

import pathlib
import statistics
import tempfile

from benchmarks import device, plan
from benchmarks.report_row import make_row, matching, quiet_first

NAMES = {"static": "tf.Variable, TensorFlow's Saver", "tfra": "TFRA, its FileSystemSaver"}


def measure(runner, sizes, peers, scratch):
  """Runs the engine's saves against the device, and ours through TensorFlow against the peers'.

  Args:
    runner: run.Runner.
    sizes: plan.Saves.
    peers: names of plan.PEERS.
    scratch: pathlib.Path of a directory on the device to be measured; None: a new one beside the repository's files.
  """
  parent = scratch or pathlib.Path(__file__).resolve().parents[1]
  parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix="ev_bench_", dir=parent) as path:
    size = sizes.engine_rows * plan.SAVED_ROW_BYTES
    device.run_in_order(runner, path, size)
    runner.engine("checkpoint_bench", "--rows", sizes.engine_rows, "--dim", 16, "--directory", path)
    device.run_in_order(runner, path, size)
    for round_number in range(sizes.rounds):
      for impl in (plan.OURS, *(peer for peer in NAMES if peer in peers)):
        runner.saves(impl, ["--rows", sizes.rows, "--dim", 16, "--rounds", 1, "--path", path], round_number)


def rows_of(records):
  """The lines of the report."""
  return _engine_rows(records) + _peer_rows(records)


def _engine_rows(records):
  rows = []
  for record in matching(records, bench="checkpoint", case="save"):
    group = f"saves, {plan.in_words(record['rows'])} x 16 + Adagrad, {record['file_bytes'] / 1e9:.2f} GB"
    rows.append(make_row(group, "save / the same bytes written past the page cache", f"{record['seconds']:.2f} s",
                         f"{record['direct_write_seconds']:.2f} s", [record["of_direct_write"]], False, plan.SAVE_SHARE))
    rows.append(_against_fio(records, group, "save", "write", record["file_bytes"], record["seconds"]))
    rows.append(make_row(group, "memory that it takes, of 64 MB", f"{record['extra_bytes'] / 1e6:.0f} MB", "",
                         [record["extra_bytes"] / plan.SAVE_BYTES], False, 1.0, at_most=True))
    for delta in matching(records, bench="checkpoint", case="delta"):
      rows.append(make_row(group, "a delta of 1 % / a full save", f"{delta['seconds']:.3f} s", f"{record['seconds']:.2f} s",
                           [delta["of_full"]], False, plan.DELTA_SHARE, at_most=True))
    for load in matching(records, bench="checkpoint", case="load"):
      rows.append(_against_fio(records, group, "load", "read", record["file_bytes"], load["seconds"]))
      for name, what in (("direct_read", "the same bytes read past the page cache"), ("floor", "them read, its memory touched")):
        rows.append(make_row(group, f"load / {what}", f"{load['seconds']:.2f} s", "", [load[f"of_{name}"]], False,
                             plan.SAVE_SHARE if name == "direct_read" else None))
  return rows


def _against_fio(records, group, what, way, size, seconds):
  """`what` took `seconds` for `size` bytes: its share of what fio gets, before and after."""
  speeds = [speed[f"{way}_bytes_per_s"] for speed in matching(records, bench="device_in_order") if f"{way}_bytes_per_s" in speed]
  ours = size / seconds
  return make_row(group, f"{what} / fio's {way}s in order", f"{ours / 1e9:.2f} GB/s",
                  f"{statistics.mean(speeds) / 1e9:.2f} GB/s" if speeds else "", [ours / speed for speed in speeds], False,
                  plan.SAVE_SHARE)


def _peer_rows(records):
  saves = matching(records, bench="saves")
  ours = {record["round"]: record for record in matching(saves, impl=plan.OURS)}
  rows = []
  for peer, name in NAMES.items():
    theirs = {record["round"]: record for record in matching(saves, impl=peer)}
    both = sorted(ours.keys() & theirs.keys())
    if not both:
      continue
    group = f"saves through TensorFlow, {plan.in_words(ours[both[0]]['rows'])} x 16 + Adagrad"
    for what in ("save_s", "restore_s"):
      pairs = [(theirs[r][what] / ours[r][what], max(ours[r]["other_cpu"], theirs[r]["other_cpu"])) for r in both]
      ratios, busy = quiet_first(pairs)
      rows.append(make_row(group, what.removesuffix("_s"), f"{ours[both[0]][what]:.2f} s", f"{theirs[both[0]][what]:.2f} s {name}",
                           ratios, busy, None))
  return rows
