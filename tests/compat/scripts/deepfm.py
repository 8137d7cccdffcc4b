"""DeepFM in the manner of the model zoo: CSV files, one group of columns, training and evaluation in sessions of their own."""

import collections
import csv
import os

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import partitioned_variables

import data

flags = tf.app.flags
flags.DEFINE_string("data_location", None, "Where the files go.")
flags.DEFINE_integer("steps", 60, "Steps to train.")
flags.DEFINE_integer("batch_size", 64, "Examples of a step.")
flags.DEFINE_integer("parts", 0, "Parts of each table.")
flags.DEFINE_bool("group_embedding", True, "Look tables up together.")
FLAGS = flags.FLAGS
LABEL = "clicked"


def write(path, rows, seed):
  """A CSV file: label, numbers, categories."""
  features, label = data.clicks(rows, seed)
  with open(path, "w") as out:
    csv.writer(out).writerows(zip(label, *features.values()))
  return path


def read(path, epochs):
  names = [LABEL] + data.NUMBERS + data.CATEGORIES
  defaults = [[0]] + [[0.0]] * len(data.NUMBERS) + [[" "]] * len(data.CATEGORIES)

  def parse(lines):
    columns = collections.OrderedDict(zip(names, tf.io.decode_csv(lines, record_defaults=defaults)))
    return columns, columns.pop(LABEL)

  dataset = tf.data.TextLineDataset(path).shuffle(1000, seed=1).repeat(epochs).batch(FLAGS.batch_size)
  return dataset.map(parse, num_parallel_calls=4).prefetch(2)


def columns():
  """(columns of the deep part, the embedded ones among them)."""
  option = tf.EmbeddingVariableOption(evict_option=tf.GlobalStepEvict(steps_to_live=4000),
                                      filter_option=tf.CounterFilter(filter_freq=2))

  def embedded():
    return [tf.feature_column.embedding_column(
        tf.feature_column.categorical_column_with_embedding(name, dtype=tf.string, ev_option=option), dimension=8,
        combiner="mean") for name in data.CATEGORIES]

  if FLAGS.group_embedding:
    tf.config.experimental.enable_distributed_strategy(strategy="localized")
    with tf.feature_column.group_embedding_column_scope(name="categorical"):
      factors = embedded()
  else:
    factors = embedded()
  return factors + [tf.feature_column.numeric_column(name, shape=(1,)) for name in data.NUMBERS], factors


class DeepFM(object):

  def __init__(self, features, label):
    self.global_step = tf.train.get_or_create_global_step()
    partitioner = partitioned_variables.fixed_size_partitioner(FLAGS.parts) if FLAGS.parts else None
    deep, factors = columns()
    with tf.variable_scope("input_layer", partitioner=partitioner, reuse=tf.AUTO_REUSE):
      outputs = {}
      net = tf.feature_column.input_layer(features, deep, cols_to_output_tensors=outputs)
      vectors = tf.stack([outputs[column] for column in factors], 1)
    with tf.variable_scope("fm"):
      pairs = 0.5 * tf.subtract(tf.square(tf.reduce_sum(vectors, axis=1)), tf.reduce_sum(tf.square(vectors), axis=1))
    for i, units in enumerate([16, 8]):
      with tf.variable_scope("dnn_%d" % i, reuse=tf.AUTO_REUSE) as scope:
        net = tf.layers.dense(net, units=units, activation=tf.nn.relu, name=scope)
        net = tf.layers.batch_normalization(net, training=True, trainable=True)
    logits = tf.layers.dense(tf.concat([net, pairs], 1), units=1)
    self.probability = tf.squeeze(tf.math.sigmoid(logits), 1)
    self.loss = tf.reduce_mean(tf.losses.mean_squared_error(label, self.probability))
    tf.summary.scalar("loss", self.loss)
    rate = tf.train.exponential_decay(0.1, self.global_step, 1000, 0.9)
    optimizer = tf.train.AdagradDecayOptimizer(rate, global_step=self.global_step)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
      self.train_op = optimizer.minimize(self.loss, global_step=self.global_step)
    self.auc, self.auc_op = tf.metrics.auc(labels=label, predictions=self.probability, num_thresholds=1000)
    tf.summary.scalar("eval_auc", self.auc)


def train(model, initializer, folder):
  losses = []

  class Keep(tf.train.SessionRunHook):
    def before_run(self, context):
      return tf.train.SessionRunArgs(model.loss)

    def after_run(self, context, values):
      losses.append(values.results)

  scaffold = tf.train.Scaffold(local_init_op=tf.group(tf.local_variables_initializer(), initializer),
                               saver=tf.train.Saver(max_to_keep=1))
  hooks = [tf.train.StopAtStepHook(last_step=FLAGS.steps), tf.train.NanTensorHook(model.loss), Keep(),
           tf.train.StepCounterHook(every_n_steps=20, output_dir=folder),
           tf.train.LoggingTensorHook({"steps": model.global_step, "loss": model.loss}, every_n_iter=50),
           tf.train.ProfilerHook(save_steps=FLAGS.steps, output_dir=folder)]
  config = tf.ConfigProto(inter_op_parallelism_threads=2, intra_op_parallelism_threads=2)
  with tf.train.MonitoredTrainingSession(master="", is_chief=True, hooks=hooks, scaffold=scaffold, checkpoint_dir=folder,
                                         save_checkpoint_steps=FLAGS.steps // 2, summary_dir=folder, save_summaries_steps=20,
                                         config=config) as sess:
    while not sess.should_stop():
      sess.run([model.loss, model.train_op])
  print("first loss %.6f last loss %.6f" % (np.mean(losses[:5]), np.mean(losses[-5:])))


def evaluate(model, initializer, folder, steps):
  scaffold = tf.train.Scaffold(local_init_op=tf.group(tf.local_variables_initializer(), initializer))
  creator = tf.train.ChiefSessionCreator(scaffold=scaffold, checkpoint_dir=folder, config=tf.ConfigProto())
  writer, merged = tf.summary.FileWriter(os.path.join(folder, "eval")), tf.summary.merge_all()
  with tf.train.MonitoredSession(session_creator=creator) as sess:
    for _ in range(steps):
      _, events = sess.run([model.auc_op, merged])
    writer.add_summary(events, sess.run(model.global_step))
    print("step %d auc %.4f" % tuple(sess.run([model.global_step, model.auc])))


def main(_):
  tf.logging.set_verbosity(tf.logging.ERROR)
  tf.set_random_seed(2021)
  folder = FLAGS.data_location
  train_set = read(write(os.path.join(folder, "train.csv"), 640, 7), None)
  test_set = read(write(os.path.join(folder, "eval.csv"), 320, 8), 1)
  iterator = tf.data.Iterator.from_structure(tf.data.get_output_types(train_set), tf.data.get_output_shapes(train_set))
  model = DeepFM(*iterator.get_next())
  lookups = [op.type for op in tf.get_default_graph().get_operations()].count("EvGroupLookup")
  print("lookups %d" % lookups)
  checkpoint = os.path.join(folder, "checkpoint")
  train(model, iterator.make_initializer(train_set), checkpoint)
  evaluate(model, iterator.make_initializer(test_set), checkpoint, 320 // FLAGS.batch_size)


if __name__ == "__main__":
  tf.app.run()
