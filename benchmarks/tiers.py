"""Tables of which DRAM holds a part: what is run (`measure`), and the rows of the report (`rows_of`)."""

import pathlib
import statistics
import tempfile

from benchmarks import device, plan
from benchmarks.report_row import make_row, matching, quiet_first, rate

NAMES = {"dram": "all in DRAM", "ssd_buffered": "DRAM_SSDHASH, page cache", "ssd_direct": "DRAM_SSDHASH, directio",
         "leveldb": "DRAM_LEVELDB", "leveldb_defaults": "DRAM_LEVELDB, LevelDB's settings",
         "leveldb_plain": "LevelDB as it comes, one Get or Put a row",
         "map_and_drop": "a mapping read and dropped a row", "one_direct_read": "one direct read a row"}


def measure(runner, sizes, suites, scratch):
  """Runs those of `suites` that are about tiers.

  Args:
    runner: run.Runner.
    sizes: plan.Tiers.
    suites: names of plan.SUITES.
    scratch: pathlib.Path of a directory on the device to be measured; None: a new one beside the repository's files.
  """
  if not {"tiers", "hits", "prefetch"} & set(suites):
    return
  parent = scratch or pathlib.Path(__file__).resolve().parents[1]
  parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix="ev_bench_", dir=parent) as path:
    if "tiers" in suites:
      _measure_training(runner, sizes, path)
      _measure_curves(runner, sizes, path)
    if "hits" in suites:
      runner.engine("cache_bench")
    if "prefetch" in suites:
      # A core for the steps, one for the reads.
      runner.module("prefetch", "--rows", sizes.prefetch_rows, "--dim", 32, "--threads", 1, "--path", path)


def _measure_training(runner, sizes, path):
  axes = ["--rows", sizes.rows, "--batch", sizes.batch, "--steps", sizes.steps, "--rounds", sizes.rounds, "--path", path]
  for tiers in plan.CACHED_TIERS:
    runner.engine("tier_bench", "--tiers", ",".join(tiers), "--warmup", sizes.warmup,
                  "--warmup_seconds", plan.WARMUP_SECONDS, "--turnovers", plan.TURNOVERS, *axes)
  # Past the page cache a step takes ten times as long.  One thread: with more of them, one read a row is as many at a time.
  device.read_at_random(runner, path)
  runner.engine("tier_bench", "--tiers", ",".join(plan.DIRECT_TIERS), "--threads", 1, "--warmup", sizes.warmup // 20,
                *axes)
  device.read_at_random(runner, path)


def _measure_curves(runner, sizes, path):
  for percent in plan.CURVE_PERCENTS:
    runner.engine("tier_bench", "--tiers", ",".join(plan.CURVE_TIERS), "--percent", percent, "--rows", sizes.curve_rows,
                  "--batch", sizes.batch // 4, "--dists", ",".join(plan.CURVE_DISTS), "--warmup", sizes.curve_steps,
                  "--warmup_seconds", 4, "--steps", sizes.curve_steps, "--rounds", 1, "--round_seconds", 2, "--path", path)


def rows_of(records):
  """The lines of the report."""
  trained = matching(records, bench="tier_train")
  rows = []
  if trained:
    most = max(record["rows"] for record in trained)
    table = [record for record in trained if record["rows"] == most]
    group = f"training, {plan.in_words(most)} x 32 + Adagrad, DRAM holds 10 %, batch {table[0]['batch']:,}, Zipf 1.05"
    rows += _speed_rows(group, table) + _cache_rows(group, table) + _device_rows(group, table, records) + _log_rows(group, table)
  return rows + _upkeep_rows(records) + _hit_rows(records) + _prefetch_rows(records)


def _speed_rows(group, table):
  rows = []
  for (ours, peer), target in plan.TIER_SPEEDUPS.items():
    in_turn = _in_turn(table, ours, peer)
    by_round = [{record["round"]: record for record in matching(in_turn, tier=tier)} for tier in (ours, peer)]
    both = sorted(by_round[0].keys() & by_round[1].keys())
    pairs = [(by_round[0][r]["ids_per_s"] / by_round[1][r]["ids_per_s"],
              max(side[r]["other_cpu"] for side in by_round)) for r in both]
    ratios, busy = quiet_first(pairs) if pairs else ([], False)
    speed = [rate(statistics.median(side[r]["ids_per_s"] for r in both)) if both else "" for side in by_round]
    rows.append(make_row(group, NAMES[ours], speed[0], f"{speed[1]} {NAMES[peer]}", ratios, busy, target))
  return rows


def _in_turn(table, *tiers):
  """The records of the first run that had all `tiers`; a run without the field was the only one."""
  for run in dict.fromkeys(record.get("in_turn") for record in table):
    records = [record for record in table if record.get("in_turn") == run]
    if all(matching(records, tier=tier) for tier in tiers):
      return records
  return []


def _cache_rows(group, table):
  """Whether what is said to be in the page cache was there: the worst tier."""
  shares = {}  # by tier
  for tier in set().union(*plan.CACHED_TIERS):
    for run in matching(table, tier=tier):
      if "device_read_bytes_per_step" in run:
        missed = max(1, run["misses_per_step"] * run["row_bytes"])
        shares.setdefault(tier, []).append(run["device_read_bytes_per_step"] / missed)
  if not shares:
    return []
  worst = max(shares, key=lambda tier: max(shares[tier]))
  return [make_row(group, "in the page cache: bytes read of the device / bytes missed", "", f"most: {NAMES[worst]}", shares[worst],
                   False, plan.READ_SHARE, at_most=True)]


def _device_rows(group, table, records):
  direct = matching(table, tier="ssd_direct")
  if not direct:
    return []
  read = statistics.median(record["read_rows_per_s"] for record in direct)
  raw = [record["read_rows_per_s"] / record["device_reads_per_s"] for record in direct]
  shown = statistics.median(record["device_reads_per_s"] for record in direct)
  rows = [make_row(group, "directio: missed rows / reads of the device, in turn", f"{read / 1e3:.3g} k/s",
                   f"{shown / 1e3:.3g} k/s raw reads, depth 128", raw, False, plan.DEVICE_SHARE)]
  fio = [record["reads_per_s"] for record in matching(records, bench="device")]
  if fio:
    middle = statistics.mean(fio)
    rows.append(make_row(group, "directio: missed rows / fio's reads", f"{read / 1e3:.3g} k/s", f"{middle / 1e3:.3g} k/s fio",
                         [record["read_rows_per_s"] / middle for record in direct], False, plan.DEVICE_SHARE))
  return rows


def _log_rows(group, table):
  rows = []
  for tier in ("ssd_buffered", "ssd_direct"):
    runs = matching(table, tier=tier)
    if not runs:
      continue

    def row(what, field, target, at_most, runs=runs, tier=tier):
      values = [field(run) for run in runs]
      return make_row(group, f"{NAMES[tier]}: {what}", f"{statistics.median(values):.3g}", "", values, False, target, at_most)

    rows.append(row("reads of the device a missed row", lambda run: run["reads_per_row"], plan.READS_PER_ROW, True))
    rows.append(row("step p99 / p50", lambda run: run["step_p99_s"] / run["step_p50_s"], plan.STEP_P99, True))
    if tier == "ssd_buffered":  # the other one has too few steps for its files to be compacted
      rows.append(row("bytes written / dirty bytes evicted", lambda run: run["written_per_dirty_byte"],
                      plan.WRITE_AMPLIFICATION, True))
      rows.append(row("live bytes / bytes of files", lambda run: run["live_share"], plan.LIVE_SHARE, False))
  return rows


def _upkeep_rows(records):
  rows = []
  for run in matching(records, bench="cache_upkeep"):
    group = f"cache upkeep, {plan.in_words(run['capacity'])} rows"
    busy = run["other_cpu"] > plan.OTHER_CPU
    strategy = run["strategy"].upper()
    rows.append(make_row(group, f"{strategy}: ns an id touched", f"{statistics.median(run['touch_ns']):.3g} ns", "",
                         run["touch_ns"], busy, plan.UPKEEP_NS, at_most=True))
    what = f"{statistics.median(run['victim_ns']):.3g} ns a victim, {run['misses_per_id']:.2g} an id"
    rows.append(make_row(group, f"{strategy}: ns an id, with the choice of victims", "", what, run["upkeep_ns"], busy, None,
                         at_most=True))
  return rows


def _hit_rows(records):
  rows = []
  for run in matching(records, bench="cache_hits"):
    rows.append(make_row("hit ratio, in points below an exact simulation", f"{run['strategy'].upper()}, {run['dist']}, "
                         f"DRAM holds {run['percent']} %", f"{run['ours']:.1%}", f"{run['exact']:.1%} exact",
                         [100 * (run["exact"] - run["ours"])], False, plan.HIT_POINTS, at_most=True))
  return rows


def _prefetch_rows(records):
  rows = []
  for run in matching(records, bench="prefetch"):
    ratios, busy = quiet_first(list(zip(run["ratio"], run["other_cpu"])))
    ms = {name: f"{statistics.median(run[name]) * 1e3:.0f} ms" for name in ("plain_s", "ahead_s", "dram_s")}
    rows.append(make_row("through TensorFlow, DRAM_SSDHASH, directio, with a hidden layer to hide reads behind",
                         f"step with rows prefetched {run['ahead']} batches ahead", ms["ahead_s"],
                         f"{ms['plain_s']} without; {ms['dram_s']} all in DRAM", ratios, busy, plan.PREFETCH))
  return rows


def draw_curves(result, path):
  """Writes the chart of throughput against the share of rows in DRAM and against the skew of the ids to `path` (.png)."""
  trained = matching(result["records"], bench="tier_train")
  fewest = min((record["rows"] for record in trained), default=0)
  curves = [record for record in trained if record["rows"] == fewest]
  if len({record["percent"] for record in curves}) < 2:
    return
  import matplotlib
  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  figure, axes = plt.subplots(1, len(plan.CURVE_DISTS) + 1, figsize=(15, 4.2), sharey=True)
  for panel, dist in zip(axes, plan.CURVE_DISTS):
    _draw_tiers(panel, matching(curves, dist=dist), lambda record: record["percent"])
    panel.set_xscale("log")
    panel.set_xticks(plan.CURVE_PERCENTS, [f"{percent} %" for percent in plan.CURVE_PERCENTS])
    panel.minorticks_off()
    panel.set_title(f"Zipf {_exponent(dist):g}", fontsize=10)
    panel.set_xlabel("rows in DRAM")
  _draw_tiers(axes[-1], matching(curves, percent=plan.CURVE_PERCENT), lambda record: _exponent(record["dist"]))
  axes[-1].set_xticks([_exponent(dist) for dist in plan.CURVE_DISTS])
  axes[-1].set_title(f"{plan.CURVE_PERCENT} % of the rows in DRAM", fontsize=10)
  axes[-1].set_xlabel("exponent of the Zipf distribution")
  axes[0].set_ylabel("million ids trained a second")
  figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(plan.CURVE_TIERS), fontsize=8, frameon=False)
  machine = result["machine"]
  figure.suptitle(f"{plan.in_words(fewest)} rows of 256 bytes, batch {curves[0]['batch']:,}; {machine['cpu']}, "
                  f"{machine['cpus']} CPUs", fontsize=9)
  figure.tight_layout(rect=(0, 0.05, 1, 1))
  figure.savefig(path, dpi=110)
  plt.close(figure)


def _exponent(dist):
  return float(dist.removeprefix("zipf"))


def _draw_tiers(panel, records, x_of):
  """A line for each way to keep rows: ids trained a second over x_of(record)."""
  for tier, colour in zip(plan.CURVE_TIERS, ("#6b6b6b", "#3b6ea8", "#c0504d", "#7a9a3a")):
    points = sorted((x_of(record), record["ids_per_s"] / 1e6) for record in matching(records, tier=tier))
    if points:
      panel.plot(*zip(*points), marker="o", markersize=4, color=colour, linestyle="--" if tier == "dram" else "-",
                 label=NAMES[tier])
  panel.set_yscale("log")
  panel.yaxis.set_major_formatter("{x:g}")
  panel.grid(alpha=0.3, which="both")
