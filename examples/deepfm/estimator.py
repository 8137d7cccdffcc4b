#!/usr/bin/env python3
"""Trains the DeepFM of train.py with an Estimator. Needs TensorFlow 2.15, the last that has Estimators.

    python examples/deepfm/estimator.py                                   # on generated data
    python examples/deepfm/estimator.py --data DIR --model-dir DIR        # on ORC files; continues from what is in the model's directory
    python examples/deepfm/estimator.py --model-dir DIR --export DIR      # and writes a SavedModel
"""

import argparse
import os
from pathlib import Path
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import numpy as np
import tensorflow as tf

import ev_tf
from features import DataError
from metrics import BinaryMetrics
from network import DeepFM
import orc_data
from tables import EvTables, sum_lists
from training import EVAL_BATCH, Settings

NAMES = ("ids", "sizes", "cells", "numeric")  # of the features, as in orc_data.batch_signature


def model_fn(features, labels, mode, params):
  """The model of an Estimator: what training.Run does, in a graph.

  Args:
    features: dict of NAMES to tensors.
    labels: float32 [n], None for predictions.
    mode: of tf.estimator.ModeKeys.
    params: dict with "settings", training.Settings.

  Returns:
    tf.estimator.EstimatorSpec.
  """
  settings = params["settings"]
  tables = EvTables(settings.embedding_dim, settings.layout, settings.seed)
  network = DeepFM(settings.embedding_dim, settings.hidden, settings.seed)
  rows = sum_lists(tables.rows(features["ids"], features["sizes"]), features["cells"], tf.shape(features["numeric"])[0])
  logits = network(rows, features["numeric"])
  predictions = {"logits": logits, "probability": tf.sigmoid(logits)}
  if mode == tf.estimator.ModeKeys.PREDICT:
    return tf.estimator.EstimatorSpec(mode, predictions, export_outputs={
        "serving_default": tf.estimator.export.PredictOutput(predictions)})
  loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
  if mode == tf.estimator.ModeKeys.EVAL:
    auc = tf.compat.v1.metrics.auc(labels, predictions["probability"], num_thresholds=2000)
    return tf.estimator.EstimatorSpec(mode, predictions, loss, eval_metric_ops={"auc": auc})
  updates = [
      ev_tf.train.AdamWOptimizer(lr * settings.weight_decay, lr, name=name).minimize(loss, step, variables)
      for name, lr, step, variables in (
          ("dense", settings.dense_lr, None, network.trainable_variables),
          ("tables", settings.lr, tf.compat.v1.train.get_global_step(), tables.all))]
  return tf.estimator.EstimatorSpec(mode, predictions, loss, tf.group(*updates))


def input_fn(part, batch_size, seed=None, epochs=1):
  """An Estimator's input_fn: the batches of training.Run, pass by pass."""

  def make():
    passes = [part.dataset(batch_size, seed=seed, epoch=epoch) for epoch in range(epochs)]
    dataset = passes[0]
    for following in passes[1:]:
      dataset = dataset.concatenate(following)
    return dataset.map(lambda *batch: (dict(zip(NAMES, batch)), batch[-1]))

  return make


def serving_input():
  """What a SavedModel is fed: the features of a batch."""
  return tf.estimator.export.ServingInputReceiver(*[{
      name: tf.compat.v1.placeholder(spec.dtype, spec.shape, name) for name, spec in zip(NAMES, orc_data.batch_signature())
  }] * 2)


def score(estimator, part):
  """BinaryMetrics of a part, as training.Run.evaluate gives."""
  metrics, labels = BinaryMetrics(), (batch[-1] for batch in part.batches(EVAL_BATCH))
  for scores in estimator.predict(input_fn(part, EVAL_BATCH), yield_single_examples=False):
    of_batch, logits = next(labels), scores["logits"]
    losses = np.maximum(logits, 0) - logits * of_batch + np.log1p(np.exp(-np.abs(logits)))
    metrics.add(logits, of_batch, losses.mean())
  return metrics


def train(settings, train_part, held_out, model_dir, epochs=1):
  """Trains and scores; returns (estimator, BinaryMetrics of the held-out part)."""
  config = tf.estimator.RunConfig(model_dir=str(model_dir), tf_random_seed=settings.seed, log_step_count_steps=100)
  estimator = tf.estimator.Estimator(model_fn, config=config, params={"settings": settings})
  estimator.train(input_fn(train_part, settings.batch_size, settings.seed, epochs))
  return estimator, score(estimator, held_out)


def parser():
  p = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  p.add_argument("--data", type=Path, metavar="DIR", help="directory of ORC files; without it, 150,000 generated rows")
  p.add_argument("--held-out", type=float, default=0.1, metavar="SHARE", help="last rows of the data, never trained on")
  p.add_argument("--model-dir", type=Path, metavar="DIR", help="checkpoints; a scratch directory if not given")
  p.add_argument("--export", type=Path, metavar="DIR", help="write a SavedModel here")
  p.add_argument("--epochs", type=int, default=1)
  p.add_argument("--batch-size", type=int, default=Settings.batch_size)
  p.add_argument("--lr", type=float, default=Settings.lr, help="learning rate of the tables")
  p.add_argument("--dense-lr", type=float, default=Settings.dense_lr, help="learning rate of the dense weights")
  p.add_argument("--seed", type=int, default=0)
  return p


def main(argv=None):
  """Runs the program; returns its exit status."""
  args = parser().parse_args(argv)
  if not hasattr(tf, "estimator"):
    print(f"error: TensorFlow {tf.__version__} has no Estimators; 2.15 is the last with them.", file=sys.stderr)
    return 2
  try:
    if args.data is None:
      import synthetic

      args.data = synthetic.cached(150_000, seed=0)
    parts = orc_data.find_parts(args.data, args.held_out)
    settings = Settings(batch_size=args.batch_size, lr=args.lr, dense_lr=args.dense_lr, seed=args.seed)
    with tempfile.TemporaryDirectory() as scratch:
      estimator, metrics = train(settings, *parts, args.model_dir or scratch, args.epochs)
      print(f"held-out: {metrics.rows:,} rows, loss {metrics.loss:.5f}, AUC {metrics.auc:.5f}")
      if args.export:
        print(f"exported: {estimator.export_saved_model(str(args.export), serving_input).decode()}")
  except (DataError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
