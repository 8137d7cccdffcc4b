#!/usr/bin/env python3
"""Trains a DeepFM click model whose 26 categorical features are ev_tf embedding variables.

    python examples/deepfm/train.py                          # on generated data
    python examples/deepfm/train.py --data DIR               # on ORC files with the columns label, i1..i13, c1..c26
    python examples/deepfm/train.py --table both             # beside it, the same model on static tables
    python examples/deepfm/train.py --storage DRAM_SSDHASH --dram-mb 2 --storage-path DIR    # rows below DRAM, on disk
    python examples/deepfm/train.py --save DIR [--resume]    # keep checkpoints, continue from them
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported
ROWS, QUICK_ROWS = 1_000_000, 150_000


def positive(kind):
  """An argparse type: a number of that kind above zero."""

  def convert(text):
    value = kind(text)
    if not 0 < value < float("inf"):
      raise ValueError
    return value

  convert.__name__ = f"positive {kind.__name__}"
  return convert


def share(text):
  """An argparse type: a number strictly between 0 and 1."""
  value = float(text)
  if not 0 < value < 1:
    raise ValueError
  return value


def parser():
  p = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  data = p.add_argument_group("data")
  data.add_argument("--data", type=Path, metavar="DIR", help="directory of ORC files; without it, generated data")
  data.add_argument("--rows", type=positive(int), default=ROWS, help="rows to generate")
  data.add_argument("--held-out", type=share, default=0.1, metavar="SHARE", help="last rows of the data, never trained on")
  data.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} generated rows: half a minute")
  model = p.add_argument_group("model")
  model.add_argument("--table", choices=("ev", "static", "both"), default="ev", help="embedding variables, or tf.Variables "
                     "over a vocabulary built in advance, or one after the other")
  model.add_argument("--layout", choices=("fused", "split"), default="fused", help="embedding and bias of a feature in one "
                     "table or in two; the result is the same")
  model.add_argument("--embedding-dim", type=positive(int), default=16)
  model.add_argument("--hidden", type=positive(int), nargs="*", default=[128, 64], metavar="WIDTH", help="layers of the DNN")
  training = p.add_argument_group("training")
  training.add_argument("--epochs", type=positive(int), default=1, help="passes over the data, those before --resume included")
  training.add_argument("--batch-size", type=positive(int), default=1000)
  training.add_argument("--lr", type=positive(float), default=2e-3, help="learning rate of the tables")
  training.add_argument("--dense-lr", type=positive(float), default=1e-3, help="learning rate of the dense weights")
  training.add_argument("--weight-decay", type=float, default=1e-2, help="times the learning rate, per step")
  training.add_argument("--evaluations", type=positive(int), default=4, help="per epoch")
  training.add_argument("--seed", type=int, default=0)
  training.add_argument("--threads", type=positive(int), help="TensorFlow's threads; one per core if not given")
  training.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
  storage = p.add_argument_group("storage of embedding variables", "changes how long training takes, and no result")
  storage.add_argument("--storage", default="DRAM", metavar="TYPE", help="a name of ev_tf.StorageType, as DRAM_SSDHASH")
  storage.add_argument("--dram-mb", type=positive(float), default=1024.0, metavar="MB", help="rows in DRAM, of all tables "
                       "together; the others go to the tier below")
  storage.add_argument("--storage-path", default="", metavar="DIR", help="where the tier below DRAM keeps its files")
  keep = p.add_argument_group("saving")
  keep.add_argument("--save", type=Path, metavar="DIR", help="keep the two newest checkpoints here")
  keep.add_argument("--save-every", type=positive(int), metavar="BATCHES", help="also between evaluations")
  keep.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in --save")
  keep.add_argument("--eval-only", action="store_true", help="evaluate the newest checkpoint in --save on the held-out rows")
  return p


def check(args, p):
  """Refuses options that do not go together."""
  if (args.resume or args.eval_only) and not args.save:
    p.error("--resume and --eval-only need --save DIR, the directory with the checkpoints.")
  if args.save and args.table == "both":
    p.error("--save keeps one model: choose --table ev or --table static.")
  if args.weight_decay < 0 or args.seed < 0:
    p.error("--weight-decay and --seed must not be negative.")
  if args.save and args.save.exists() and not args.save.is_dir():
    p.error(f"--save {args.save}: exists and is not a directory.")


def storage_of(args, p):
  """The tables.Storage that was asked for; refuses what cannot be."""
  import ev_tf
  from tables import Storage

  known = [kind.name for kind in ev_tf.StorageType]
  if args.storage not in known:
    p.error(f"--storage {args.storage}: expected one of {', '.join(known)}.")
  if args.table != "ev" and args.storage != "DRAM":
    p.error("--storage is about embedding variables: choose --table ev.")
  storage = Storage(args.storage, args.dram_mb, args.storage_path)
  try:
    storage.option(1)
  except (ValueError, NotImplementedError) as error:
    p.error(f"--storage {args.storage}: {error}")
  return storage


def data_path(args):
  """The directory to train on; generates it if none was given."""
  if args.data:
    return args.data
  from report import console
  import synthetic

  rows = QUICK_ROWS if args.quick else args.rows
  with console.status(f"generating {rows:,} rows"):
    path = synthetic.cached(rows, seed=0)
  console.print(f"generated data: {path}")
  return path


def train_one(args, settings, storage, train, held_out):
  """Trains one model as told; returns its Results."""
  from report import Bar, console
  from training import Run

  with console.status(f"{settings.table}: setting up the tables"):
    run = Run(settings, train, held_out, args.save, storage)
  if args.resume or args.eval_only:
    run.resume()
    console.print(f"{settings.table}: resumed after {run.epoch} epochs and {run.batch} batches")
  if args.eval_only:
    metrics = run.evaluate()
    console.print(f"held-out: {metrics.rows:,} rows, loss {metrics.loss:.4f}, AUC {metrics.auc:.4f}")
    return run.history
  if settings.table == "static":
    console.print(f"static: vocabulary of {run.tables.count_rows():,} ids built in {run.setup_seconds:.1f} s, before training",
                  soft_wrap=True)
  with Bar(run, args.epochs) as bar:
    for line in run.train(args.epochs, evaluations=args.evaluations, save_every=args.save_every or 0, progress=bar):
      console.print(f"{line.table}: epoch {line.epoch:.2f}  loss {line.loss:.4f}  AUC {line.auc:.4f}  "
                    f"held-out AUC {line.held_out_auc:.4f}  {line.examples_per_second:,.0f} examples/s", soft_wrap=True)
  if storage and storage.type != "DRAM":
    console.print(f"{storage.type}: {run.tables.count_spilled():,} rows moved below DRAM", soft_wrap=True)
  return run.history


def main(argv=None):
  """Runs the program; returns its exit status."""
  p = parser()
  args = p.parse_args(argv)
  check(args, p)
  import tensorflow as tf

  from features import DataError
  import orc_data
  from report import console, results_table
  from synthetic import best_auc
  from training import Settings

  storage = None if args.table == "static" and args.storage == "DRAM" else storage_of(args, p)
  if args.threads:
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
  try:
    path = data_path(args)
    train, held_out = orc_data.find_parts(path, args.held_out)
    console.print(f"{train.rows:,} rows to train on, {held_out.rows:,} held out")
    results = []
    for table in ("ev", "static") if args.table == "both" else (args.table,):
      settings = Settings(table, args.layout, args.embedding_dim, tuple(args.hidden), args.lr, args.dense_lr,
                          args.weight_decay, args.batch_size, args.seed)
      results += train_one(args, settings, storage, train, held_out)
  except (DataError, OSError, NotImplementedError, tf.errors.OpError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("stopped" + (f"; --resume continues from the newest checkpoint in {args.save}" if args.save else ""), file=sys.stderr)
    return 130
  console.print(results_table(results, best_auc(path)))
  if args.json:
    args.json.write_text(json.dumps([dataclasses.asdict(line) for line in results], indent=2) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
