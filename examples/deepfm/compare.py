#!/usr/bin/env python3
"""Does the model lose anything by using embedding variables? Trains it on both kinds of table, for several seeds.

    python examples/deepfm/compare.py --data DIR --seeds 0 1 2 -- --batch-size 250 --epochs 1

What follows `--` goes to train.py. Each model trains in a process of its own, from the same initial rows and dense
weights, on the same batches. Prints a Markdown table of the held-out AUC at the end of training.
"""

import argparse
import json
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile

TRAIN = Path(__file__).with_name("train.py")


def train(options, table, seed):
  """Trains one model in a new process; returns its last line of results as a dict."""
  with tempfile.TemporaryDirectory() as scratch:
    results = Path(scratch) / "results.json"
    command = [sys.executable, str(TRAIN), *options, "--table", table, "--seed", str(seed), "--json", str(results)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
      raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(results.read_text())[-1]


def table_of(pairs):
  """The Markdown table of {seed: (ev line, static line)}."""
  lines = ["| seed | AUC, embedding variables | AUC, static | difference | loss, EV | loss, static | examples/s, EV | "
           "examples/s, static |", "|" + " ---: |" * 8]
  for seed, (ev, static) in pairs.items():
    lines.append(f"| {seed} | {ev['held_out_auc']:.5f} | {static['held_out_auc']:.5f} | "
                 f"{ev['held_out_auc'] - static['held_out_auc']:+.5f} | {ev['held_out_loss']:.5f} | "
                 f"{static['held_out_loss']:.5f} | {ev['examples_per_second']:,.0f} | {static['examples_per_second']:,.0f} |")
  means = [statistics.mean(line[name] for line in kind) for name in ("held_out_auc", "held_out_loss", "examples_per_second")
           for kind in zip(*pairs.values())]
  lines.append(f"| mean | {means[0]:.5f} | {means[1]:.5f} | {means[0] - means[1]:+.5f} | {means[2]:.5f} | {means[3]:.5f} | "
               f"{means[4]:,.0f} | {means[5]:,.0f} |")
  return "\n".join(lines)


def main():
  p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  p.add_argument("--data", type=Path, metavar="DIR", help="directory of ORC files; without it, generated data")
  p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  p.add_argument("options", nargs="*", help="options of train.py, after --")
  args = p.parse_args()
  options = [*(["--data", str(args.data)] if args.data else []), *args.options]
  pairs = {}
  for seed in args.seeds:
    try:
      pairs[seed] = train(options, "ev", seed), train(options, "static", seed)
    except RuntimeError as error:
      print(f"error: {error}", file=sys.stderr)
      return 1
    print(f"seed {seed}: {pairs[seed][0]['held_out_auc']:.5f} and {pairs[seed][1]['held_out_auc']:.5f}", file=sys.stderr)
  print(table_of(pairs))
  return 0


if __name__ == "__main__":
  sys.exit(main())
