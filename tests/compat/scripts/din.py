"""DIN in the manner of the model zoo: attention of a candidate item over the sequence of clicked items."""

import numpy as np
import tensorflow as tf
from tensorflow.python.feature_column import utils as fc_utils
from tensorflow.python.ops import variable_scope

import options

tf.logging.set_verbosity(tf.logging.ERROR)
LENGTH, DIM = 5, 8


def batch(args):
  """Item ids, a history as strings joined by a control character, and whether the item is of the history's kind."""
  rng = np.random.RandomState(3)
  kind = rng.randint(0, 2, 320)
  history = ["\x02".join("i%d" % (2 * rng.randint(0, 10) + k) for _ in range(rng.randint(1, LENGTH + 3))) for k in kind]
  item = rng.randint(0, 20, 320)
  label = (item % 2 == kind).astype(np.float32)
  features = {"ITEM": np.array(["i%d" % i for i in item]), "HISTORY": np.array(history)}
  dataset = tf.data.Dataset.from_tensor_slices((features, label)).repeat().batch(args.batch_size, drop_remainder=True)
  return tf.data.make_one_shot_iterator(dataset).get_next()


def item_table(args):
  if args.ev:
    return variable_scope.get_embedding_variable("item_embedding_var", DIM, ev_option=options.ev_option(args))
  return tf.get_variable("item_embedding_var", [1000, DIM])


def ids(args, strings):
  size = 2**62 if args.ev else 1000
  if isinstance(strings, tf.SparseTensor):
    return tf.SparseTensor(strings.indices, tf.strings.to_hash_bucket_fast(strings.values, size), strings.dense_shape)
  return tf.strings.to_hash_bucket_fast(strings, size)


def main():
  args = options.parser().parse_args()
  tf.set_random_seed(1)
  features, label = batch(args)
  with tf.variable_scope("input_layer", partitioner=options.input_partitioner(args), reuse=tf.AUTO_REUSE):
    table = item_table(args)
    item = tf.nn.embedding_lookup(table, ids(args, features["ITEM"]))
    words = tf.strings.split(features["HISTORY"], "\x02")
    words = tf.sparse.slice(words, [0, 0], [args.batch_size, LENGTH])
    history = ids(args, words)
    sequence = tf.sparse.to_dense(tf.sparse.reorder(history), default_value=0)
    rows = tf.nn.embedding_lookup(table, sequence)
    lengths = fc_utils.sequence_length_from_sparse_tensor(history)
    if args.ev:
      column = tf.feature_column.sequence_categorical_column_with_embedding("HISTORY", dtype=tf.string,
                                                                            ev_option=options.ev_option(args))
    else:
      column = tf.feature_column.sequence_categorical_column_with_hash_bucket("HISTORY", 1000)
    embedded = tf.feature_column.embedding_column(column, dimension=DIM)
    builder = fc_builder({"HISTORY": words})
    pair = embedded._get_sequence_dense_tensor(builder, trainable=True)
  keys = rows + pair.dense_tensor
  steps = tf.shape(keys)[1]
  queries = tf.tile(tf.expand_dims(item, 1), [1, steps, 1])
  scores = tf.layers.dense(tf.concat([queries, keys, queries * keys], -1), 8, activation=tf.nn.sigmoid, name="attention")
  scores = tf.squeeze(tf.layers.dense(scores, 1, name="score"), -1)
  mask = tf.sequence_mask(lengths, steps)
  weights = tf.nn.softmax(tf.where(mask, scores, tf.ones_like(scores) * -1e9))
  interest = tf.reduce_sum(tf.expand_dims(weights, -1) * keys, 1)
  cell = tf.nn.rnn_cell.GRUCell(num_units=DIM)
  _, state = tf.nn.dynamic_rnn(cell, keys, sequence_length=lengths, dtype=tf.float32)
  net = tf.layers.dense(tf.concat([item, interest, item * interest, state], 1), 16, activation=tf.nn.relu, name="top")
  logits = tf.squeeze(tf.layers.dense(net, 1, name="logits"), 1)
  loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))
  global_step = tf.train.get_or_create_global_step()
  train_op = options.optimizer(args, global_step).minimize(loss, global_step=global_step)
  options.train(args, loss, train_op, global_step, [])


def fc_builder(features):
  from tensorflow.python.feature_column import feature_column

  return feature_column._LazyBuilder(features)


if __name__ == "__main__":
  main()
