#!/usr/bin/env python3
"""Runs the benchmarks, prints them as one table of ratios and targets, and keeps them under benchmarks/results/.

  .venv/bin/python benchmarks/run.py             everything: about 50 minutes and 22 GB, on a quiet machine
  .venv/bin/python benchmarks/run.py --quick     1 M rows, under five minutes, good for nothing but a first look
  .venv/bin/python benchmarks/run.py --report benchmarks/results/<file>.json     the table of an earlier run

Both sides of a ratio are measured in one run, in turn, A-B-A-B: round by round where they need processes of their own,
block by block where they share one. One process runs at a time.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from benchmarks import chart, machine, plan, report, saves, tiers  # noqa: E402
from benchmarks.peers import environments  # noqa: E402
from benchmarks.report_row import busiest  # noqa: E402

ENGINE_BUILD = ROOT / "build" / "bench"
MODULES = {"ev": "ops.ev", "ev-function": "ops.ev", "static-uniq": "peers.static", "static-lazy": "peers.static",
           "static": "peers.static", "dense-hash-table": "peers.dense_hash_table", "tfra": "peers.tfra",
           "tfra-growing": "peers.tfra", "deepray": "peers.deepray"}
PEER_OF = {"tfra-growing": "tfra"}  # where it is not that of its name


class Runner:
  """Runs one measuring process at a time and keeps what it printed.

  Attributes:
    records: list of dict, each a line of a process with the round it was measured in.
    missing: dict of implementation, or "implementation, table", -> why it was not measured.
  """

  def __init__(self, retries, timeout):
    self.records = []
    self.missing = {}
    self._retries = retries
    self._timeout = timeout
    self._pythons = {}

  def table(self, table, impl, seconds, round_number):
    """Measures one implementation on one table."""
    subject = f"{impl}, {table.label} {table.optimizer}"
    python = None if subject in self.missing else self._python(PEER_OF.get(impl, impl))
    if python is None:
      return
    cases = table.cases
    if MODULES[impl] == "peers.static":  # its rows are there from the start
      cases = [case for case in cases if case != "insert"]
    only = {"static": "lookup", "tfra-growing": "insert"}.get(impl)
    cases = [case for case in cases if only in (None, case)]
    self._run(subject, [python, "-m", f"benchmarks.{MODULES[impl]}", "--impl", impl, "--rows", table.rows, "--dim", table.dim,
                        "--optimizer", table.optimizer, "--cases", ",".join(cases), "--seconds", seconds], round_number)

  def saves(self, impl, arguments, round_number):
    """Measures saves and restores of one implementation."""
    python = self._python(impl)
    if python is not None:
      self._run(f"{impl}, saves", [python, "-m", "benchmarks.peers.saves", "--impl", impl, *arguments], round_number)

  def module(self, name, *arguments, round_number=0):
    self._run(name, [sys.executable, "-m", f"benchmarks.ops.{name}", *arguments], round_number)

  def engine(self, name, *arguments, round_number=0):
    self._run(name, [str(ENGINE_BUILD / "benchmarks" / name), *arguments], round_number)

  def _python(self, impl):
    """The interpreter that has `impl`; None if there is none, or it failed before."""
    if impl in self.missing:
      return None
    if impl not in environments.ENVIRONMENTS:
      return sys.executable
    if impl not in self._pythons:
      try:
        self._pythons[impl] = environments.python_of(impl)
      except environments.Missing as error:
        self._give_up(impl, str(error))
        return None
    return self._pythons[impl]

  def _run(self, subject, command, round_number):
    """Runs the process; again, if others were busy meanwhile, and keeps the quietest."""
    command = [str(word) for word in command]
    best = None
    for attempt in range(1 + self._retries):
      shown = [os.path.basename(command[0]), *command[1:]] if command[1:2] != ["-m"] else command[2:]
      say(f"[{round_number + 1}] {' '.join(shown)}" + (" (again: the machine was busy)" if attempt else ""))
      lines = self._lines(subject, command)
      if lines is None:
        return
      for line in lines:
        line.setdefault("round", round_number)  # tier_bench has rounds of its own
      if best is None or busiest(lines) < busiest(best):
        best = lines
      if busiest(best) <= plan.OTHER_CPU:
        break
    self.records += best

  def _lines(self, subject, command):
    """What the process printed, None if it failed."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    try:
      done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=self._timeout, env=quiet)
    except subprocess.TimeoutExpired:
      self._give_up(subject, f"took longer than {self._timeout} s")
      return None
    if done.returncode != 0:
      self._give_up(subject, f"exit status {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
      return None
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

  def _give_up(self, subject, why):
    self.missing[subject] = why
    say(f"{subject}: not measured: {why}")


def say(text):
  print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def build_engine():
  """Builds the C++ benchmarks, and nothing else, optimized."""
  path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", "")])
  environment = {**os.environ, "PATH": path}
  configure = ["cmake", "-S", str(ROOT), "-B", str(ENGINE_BUILD), "-DCMAKE_BUILD_TYPE=Release", "-DEV_BUILD_BENCHMARKS=ON"]
  if shutil.which("ninja", path=path) and not (ENGINE_BUILD / "Makefile").exists():
    configure += ["-G", "Ninja"]
  for command in (configure, ["cmake", "--build", str(ENGINE_BUILD), "--parallel", str(os.cpu_count() or 1)]):
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
      sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def wanted_impls(table, peers):
  for impl in table.impls:
    peer = "static" if MODULES[impl] == "peers.static" else PEER_OF.get(impl, impl)
    if impl.startswith(plan.OURS) or peer in peers:
      yield impl


def run_suites(runner, chosen, suites, peers, scratch):
  """Everything of `suites`, the suites that share nothing with a peer process first."""
  say("building the engine's benchmarks")
  build_engine()
  rows, repeats = chosen.engine_rows, chosen.repeats
  for dim in plan.ENGINE_DIMS:  # other distributions and optimizers at the default dim only
    default = dim == plan.ENGINE_DIMS[0]
    axes = ["--rows", rows, "--dims", dim, "--dists", "unique,zipf1.05" if default else "unique", "--repeats", repeats]
    if "lookup" in suites:
      runner.engine("lookup_bench", *axes)
    if "update" in suites:
      runner.engine("update_bench", *axes, "--optimizers", "adagrad,adam" if default else "adagrad")
  if "growth" in suites:
    most, dim = chosen.growth
    runner.engine("insert_bench", "--rows", most, "--dims", dim, "--meta", "0,1")
    for round_number in range(chosen.rounds):
      runner.engine("insert_bench", "--rows", chosen.growth_rows, "--dims", 64, "--bare", 1, round_number=round_number)
  if "op" in suites:
    runner.module("through_op", "--rows", rows, "--dim", 16, "--rounds", repeats, "--seconds", chosen.seconds)
  if "small" in suites:
    for dim in (16, 64):
      runner.module("small_batch", "--dim", dim, "--rounds", repeats, "--seconds", chosen.seconds / 3)
  if "group" in suites:
    for mode in ("graph", "eager"):
      runner.module("group", "--mode", mode, "--rows", 1_000_000, "--dim", 16, "--rounds", repeats,
                    "--seconds", chosen.seconds / 6)
  if "dedup" in suites:
    for round_number in range(max(3, chosen.rounds)):
      runner.engine("dedup_bench", "--repeats", 2, round_number=round_number)
      runner.module("dedup", "--rounds", 2, round_number=round_number)
  tiers.measure(runner, chosen.tiers, suites, scratch)
  if "saves" in suites:
    saves.measure(runner, chosen.saves, peers, scratch)
  for table in chosen.tables if "tables" in suites else ():
    for round_number in range(chosen.rounds):
      for impl in wanted_impls(table, peers):
        runner.table(table, impl, chosen.seconds, round_number)


def parse_arguments():
  def names(text, known, what):
    found = [name for name in text.split(",") if name]
    unknown = sorted(set(found) - set(known))
    if unknown:
      raise argparse.ArgumentTypeError(f"unknown {what} {', '.join(unknown)}; known: {', '.join(known)}")
    return found

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--quick", action="store_true", help="1 M rows, under five minutes")
  parser.add_argument("--cases", type=lambda text: names(text, plan.SUITES, "case"), default=list(plan.SUITES),
                      help=f"of {','.join(plan.SUITES)}")
  parser.add_argument("--peers", type=lambda text: names(text, plan.PEERS, "peer"), default=list(plan.PEERS),
                      help=f"of {','.join(plan.PEERS)}")
  parser.add_argument("--repeats", type=int, help="rounds of the processes that stand against peers")
  parser.add_argument("--retries", type=int, default=1, help="of a process measured while others used the CPU")
  parser.add_argument("--timeout", type=int, default=900, help="seconds, of one process")
  parser.add_argument("--scratch", type=pathlib.Path, help="a directory on the device whose tiers are measured, 25 GB free; the "
                      "repository's by default. What is written there is deleted")
  parser.add_argument("--out", type=pathlib.Path, help="the .json to write; the chart goes beside it")
  parser.add_argument("--report", type=pathlib.Path, help="print the table of this .json and measure nothing")
  return parser.parse_args()


def measured(arguments):
  """Runs what was asked for, and returns it as the content of a result file."""
  chosen = plan.QUICK if arguments.quick else plan.FULL
  if arguments.repeats:
    chosen = chosen._replace(rounds=arguments.repeats)
  runner = Runner(arguments.retries, arguments.timeout)
  start = time.time()
  run_suites(runner, chosen, arguments.cases, arguments.peers, arguments.scratch)
  say(f"measured in {(time.time() - start) / 60:.1f} minutes")
  return {"machine": machine.describe(), "command": " ".join(sys.argv), "quick": arguments.quick,
          "minutes": round((time.time() - start) / 60, 1), "missing": runner.missing, "records": runner.records}


def main():
  arguments = parse_arguments()
  if arguments.report:
    report.show(json.loads(arguments.report.read_text()))
    return
  result = measured(arguments)
  result["table"] = [row._asdict() for row in report.rows_of(result)]
  out = arguments.out
  if out is None:
    quick = "-quick" if arguments.quick else ""
    name = f"{result['machine']['date']}-{machine.host_class(result['machine'])}{quick}.json"
    out = ROOT / "benchmarks" / "results" / name
  out.parent.mkdir(parents=True, exist_ok=True)
  out.write_text(report.to_json(result))
  chart.draw(result, out.with_suffix(".png"))
  tiers.draw_curves(result, out.with_name(out.stem + "-curves.png"))
  report.show(result)
  print(f"Written: {out} and {out.with_suffix('.png')}")
  if any(subject.split(",")[0] not in environments.ENVIRONMENTS for subject in result["missing"]):
    sys.exit("Not everything of our own was measured.")


if __name__ == "__main__":
  main()
