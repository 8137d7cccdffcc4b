"""DLRM in the manner of the model zoo: bottom and top networks, inner products of all pairs of features."""

import tensorflow as tf
from tensorflow.python.framework import ops

import data
import options

tf.logging.set_verbosity(tf.logging.ERROR)


def mlp(args, net, units, name):
  for i, width in enumerate(units):
    with tf.variable_scope("%s_%d" % (name, i), partitioner=options.partitioner(args.dense_layer_partitioner),
                           reuse=tf.AUTO_REUSE) as scope:
      net = tf.layers.dense(net, units=width, activation=tf.nn.relu, name=scope)
      net = tf.layers.batch_normalization(net, training=True, trainable=True)
  return net


def rows_of_group(args, features, option):
  """Lookups without feature columns: ids by hand, all tables in one call."""
  tables, ids = [], []
  for name in data.CATEGORIES:
    table = tf.get_embedding_variable("%s_table" % name, embedding_dim=8, ev_option=option)
    hashed = tf.strings.to_hash_bucket_fast(features[name], 2**62)
    sparse = tf.SparseTensor(tf.stack([tf.range(args.batch_size, dtype=tf.int64), tf.zeros([args.batch_size], tf.int64)], 1),
                             hashed, [args.batch_size, 1])
    tables.append(table)
    ids.append(sparse)
  return tf.nn.group_embedding_lookup_sparse(tables, ids, ["mean"] * len(tables))


def main():
  args = options.parser().parse_args()
  tf.set_random_seed(2021)
  features, label = data.next_batch(args.batch_size)
  option = options.ev_option(args)
  with tf.variable_scope("input_layer", partitioner=options.input_partitioner(args), reuse=tf.AUTO_REUSE):
    dense = tf.feature_column.input_layer(features, [tf.feature_column.numeric_column(name) for name in data.NUMBERS])
    if args.group_embedding:
      rows = rows_of_group(args, features, option)
    else:
      outputs = {}
      columns = []
      for name in data.CATEGORIES:
        if args.ev:
          column = tf.feature_column.categorical_column_with_embedding(name, dtype=tf.string, ev_option=option)
        else:
          column = tf.feature_column.categorical_column_with_hash_bucket(name, 1000)
        columns.append(tf.feature_column.embedding_column(column, dimension=8, combiner="mean"))
      tf.feature_column.input_layer(features, columns, cols_to_output_tensors=outputs)
      rows = [outputs[column] for column in columns]
  bottom = mlp(args, dense, [16, 8], "mlp_bot_layer")
  stacked = tf.stack([bottom] + list(rows), axis=1)
  products = tf.matmul(stacked, stacked, transpose_b=True)
  lower = tf.linalg.band_part(tf.ones_like(products), -1, 0) - tf.linalg.band_part(tf.ones_like(products), 0, 0)
  count = len(rows) + 1
  pairs = tf.reshape(tf.boolean_mask(products, tf.cast(lower, tf.bool)), [args.batch_size, count * (count - 1) // 2])
  top = mlp(args, tf.concat([bottom, pairs], 1), [16], "mlp_top_layer")
  logits = tf.squeeze(tf.layers.dense(top, units=1, name="logits"), 1)
  loss = tf.losses.log_loss(label, tf.sigmoid(logits), reduction=tf.losses.Reduction.SUM_OVER_BATCH_SIZE)
  global_step = tf.train.get_or_create_global_step()
  update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
  with tf.control_dependencies(update_ops):
    train_op = options.optimizer(args, global_step).minimize(loss, global_step=global_step)
  if args.ev:
    assert len(tf.get_collection(ops.GraphKeys.EV_INIT_VAR_OPS)) >= len(data.CATEGORIES)
    assert len(tf.get_collection(ops.GraphKeys.EV_INIT_SLOT_OPS)) == 0
  options.train(args, loss, train_op, global_step, [])


if __name__ == "__main__":
  main()
