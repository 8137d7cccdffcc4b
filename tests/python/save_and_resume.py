"""A program for test_saver.py: trains a model with tables, saves or restores in between, prints the losses as JSON.

Arguments: directory, "first" | "second" | "both", and cases, each an optimizer and a number of parts: adam-3. Of each case "first"
trains 5 steps and saves; "second", in another process, restores and trains 5 more; "both" does all 10 without a break.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

import ev_tf
from ev_tf import train

v1 = tf.compat.v1
OPTIMIZERS = {
    "sgd": lambda: v1.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: v1.train.MomentumOptimizer(0.1, 0.9),
    "adagrad": lambda: v1.train.AdagradOptimizer(0.1),
    "adam": lambda: v1.train.AdamOptimizer(0.01),
    "adamw": lambda: train.AdamWOptimizer(0.01, 0.01),
    "ftrl": lambda: v1.train.FtrlOptimizer(0.1),
}


def run(directory, optimizer, parts, phase):
  option = ev_tf.EmbeddingVariableOption(record_frequency=True, record_version=True)
  with v1.variable_scope("model", partitioner=v1.fixed_size_partitioner(parts) if parts > 1 else None):
    # No seed: the initial rows of ids that are new after the restart have to come from the checkpoint.
    table = ev_tf.get_embedding_variable("table", 6, ev_option=option)
  w = v1.get_variable("w", [6], initializer=v1.constant_initializer(np.linspace(-1, 1, 6)))
  ids = v1.placeholder(tf.int64, [None])
  loss = tf.reduce_mean(tf.square(tf.reduce_sum(tf.nn.embedding_lookup(table, ids) * w, 1) - 1.0))
  step = v1.train.get_or_create_global_step()
  train_op = OPTIMIZERS[optimizer]().minimize(loss, global_step=step)
  saver = v1.train.Saver()
  numbers = range(10) if phase == "both" else range(5) if phase == "first" else range(5, 10)
  with v1.Session() as session:
    if phase == "second":
      saver.restore(session, v1.train.latest_checkpoint(directory))
    else:
      session.run(v1.global_variables_initializer())
    losses = []
    for number in numbers:
      batch = np.random.default_rng(number).integers(-50, 50, 32)
      losses.append(float(session.run([train_op, loss], {ids: batch})[1]))
      if number == 4:
        saver.save(session, os.path.join(directory, "model.ckpt"), global_step=step)
    probe = tf.constant(np.arange(-60, 60))
    return dict(losses=losses, size=int(session.run(table.size())), frequency=session.run(table.get_frequency(probe)).tolist(),
                version=session.run(table.get_version(probe)).tolist())


def main(directory, phase, *cases):
  results = {}
  for case in cases:
    optimizer, parts = case.split("-")
    with tf.Graph().as_default():
      results[case] = run(os.path.join(directory, case), optimizer, int(parts), phase)
  print(json.dumps(results))


if __name__ == "__main__":
  main(*sys.argv[1:])
