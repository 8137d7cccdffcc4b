"""A program for test_saver.py: trains and saves in processes that are killed, one after the other, at random moments.

Arguments: directory, kills, seed. Each process goes on from the newest checkpoint that is there, after it has looked whether it is
whole: a step adds 1 to each row, each accumulator's element and each other variable, so that all of a checkpoint is of one step.
Prints as JSON the steps that the processes began with; the last one is not killed.

TensorFlow is imported once: what is killed are forks of a process that has not used it yet.
"""

import json
import os
import random
import signal
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
IDS = np.arange(-1000, 1000) * 37


def build(directory):
  """(train, saver, what has to be of one step) of a table in DRAM, one over files, and a dense variable."""
  storage = ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, os.path.join(directory, "tiers"), [16 << 10])
  option = ev_tf.EmbeddingVariableOption(storage_option=storage)
  zeros = dict(initializer=v1.zeros_initializer())
  tables = [ev_tf.get_embedding_variable("dram", 8, partitioner=v1.fixed_size_partitioner(2), **zeros),
            ev_tf.get_embedding_variable("files", 4, ev_option=option, **zeros)]
  dense, step = v1.get_variable("dense", [3], **zeros), v1.train.get_or_create_global_step()
  loss = -tf.add_n([tf.reduce_sum(tf.gather(table, IDS)) for table in tables] + [tf.reduce_sum(dense)])
  optimizer = v1.train.MomentumOptimizer(1.0, 0.0)
  train = optimizer.minimize(loss, global_step=step)
  values = [tf.gather(table, IDS) for table in tables] + [dense, step]
  return train, v1.train.Saver(max_to_keep=2), values


def work(directory, say, forever):
  """Goes on from the newest checkpoint, says which step it is of, then trains and saves until it is killed."""
  v1.disable_eager_execution()
  train, saver, values = build(directory)
  step = 0
  with v1.Session(config=v1.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=2)) as session:
    newest = v1.train.latest_checkpoint(directory)
    if newest is None:
      session.run(v1.global_variables_initializer())
    else:
      saver.restore(session, newest)
      *rows, step = session.run(values)
      if int(newest.rpartition("-")[2]) != step or any((row != step).any() for row in rows):
        sys.exit(f"{newest} is not of one step: {[np.unique(row) for row in rows]}, {step}")
    os.write(say, f"{step}\n".encode())
    while forever:
      session.run(train)
      saver.save(session, os.path.join(directory, "model.ckpt"), global_step=values[-1])
      os.write(say, b"saved\n")


def run(directory, forever):
  """Starts work() in a fork; (process, the end of a pipe that it says its step to)."""
  hear, say = os.pipe()
  process = os.fork()
  if process == 0:
    os.close(hear)
    try:
      work(directory, say, forever)
      os._exit(0)
    except BaseException as error:  # pylint: disable=broad-except
      print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
      os._exit(1)
  os.close(say)
  return process, hear


def main(directory, kills, seed):
  moments, begun = random.Random(int(seed)), []
  for number in range(int(kills) + 1):
    process, hear = run(directory, forever=number < int(kills))
    with os.fdopen(hear) as said:
      line = said.readline()
      if line and number < int(kills):
        said.readline()  # its first save, so that each process leaves something
        time.sleep(moments.uniform(0, 0.3))  # a step and a save take some 50 ms
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    if not line or (number == int(kills)) == os.WIFSIGNALED(status):
      sys.exit(f"process {number} ended by itself, or not at all: {status}")
    begun.append(int(line))
  print(json.dumps(begun))


if __name__ == "__main__":
  main(*sys.argv[1:])
