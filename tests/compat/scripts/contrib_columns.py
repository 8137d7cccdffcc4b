"""The columns of tf.contrib.layers over embedding variables, and what programs import beside them."""

import tensorflow as tf
from tensorflow.contrib.layers.python.layers import feature_column
from tensorflow.core.framework.embedding import config_pb2
from tensorflow.python.framework import ops
from tensorflow.python.ops import kv_variable_ops, variables
from tensorflow.python.training import adagrad_decay, adagrad_decay_v2, adam_async, weight_decay_optimizers

assert config_pb2.StorageType.DRAM == config_pb2.DRAM == 1
option = variables.EmbeddingVariableOption(storage_option=variables.StorageOption(config_pb2.StorageType.DRAM))
user = feature_column.sparse_column_with_embedding("user", dtype=tf.int64, ev_option=option)
item = tf.contrib.layers.sparse_column_with_embedding(column_name="item", dtype=tf.string)
embedded = [tf.contrib.layers.embedding_column(column, 4, combiner="sum") for column in (user, item)]
features = {
    "user": tf.SparseTensor([[0, 0], [1, 0]], tf.constant([-3, 1 << 50], tf.int64), [2, 1]),
    "item": tf.SparseTensor([[0, 0], [1, 0]], ["a", "b"], [2, 1]),
}
net = tf.contrib.layers.input_from_feature_columns(features, embedded)
net = tf.contrib.layers.fully_connected(net, 3, weights_regularizer=tf.contrib.layers.l2_regularizer(0.01))
loss = tf.reduce_sum(net**2) + tf.losses.get_regularization_loss()
step = tf.contrib.framework.get_or_create_global_step()
train_ops = [
    optimizer.minimize(loss, global_step=step) for optimizer in (
        adagrad_decay.AdagradDecayOptimizer(0.1, step), adagrad_decay_v2.AdagradDecayOptimizerV2(0.1, step),
        adam_async.AdamAsyncOptimizer(0.01), weight_decay_optimizers.AdamWOptimizer(0.01))]
tables = tf.get_collection(ops.GraphKeys.EMBEDDING_VARIABLES)
assert len(tables) == 2 and all(isinstance(table, kv_variable_ops.EmbeddingVariable) for table in tables)
(users,) = [table for table in tables if "user" in table.name]
tier = kv_variable_ops.lookup_tier(users, tf.constant([-3, 5], tf.int64))
with tf.Session() as sess:
  sess.run(tf.get_collection(ops.GraphKeys.EV_INIT_VAR_OPS))
  sess.run(tf.get_collection(ops.GraphKeys.EV_INIT_SLOT_OPS))
  sess.run(tf.global_variables_initializer())
  losses = [sess.run([loss, *train_ops])[0] for _ in range(5)]
  assert losses[-1] < losses[0], losses
  assert sess.run(tier).tolist() == [0, -1]
  assert sess.run(users.total_count()).tolist() == [2, 4]
  print("contrib columns", losses[-1])
