"""What sequence models import beside embedding variables: contrib's sequence layer and cells, a queue of files, Parquet."""

import os
import sys

import numpy as np
import pyarrow
from pyarrow import parquet
import tensorflow as tf
from tensorflow.contrib.rnn.python.ops.core_rnn_cell import _Linear
from tensorflow.python.data.experimental.ops import parquet_dataset_ops
from tensorflow.python.feature_column.feature_column import _LazyBuilder
from tensorflow.python.ops.embedding_ops import fused_safe_embedding_lookup_sparse
from tensorflow.python.ops.work_queue import WorkQueue

tf.logging.set_verbosity(tf.logging.ERROR)
FOLDER = sys.argv[1]


class GatedCell(tf.nn.rnn_cell.RNNCell):
  """A recurrent cell of one gate, as attention cells are written."""

  def __init__(self, units):
    super(GatedCell, self).__init__()
    self._units, self._linear = units, None

  state_size = output_size = property(lambda self: self._units)

  def __call__(self, inputs, state, scope=None):
    if self._linear is None:
      with tf.variable_scope("gate"):
        self._linear = _Linear([inputs, state], self._units, True, bias_initializer=tf.constant_initializer(1.0))
    gate = tf.sigmoid(self._linear([inputs, state]))
    state = gate * state + (1.0 - gate) * tf.tanh(inputs)
    return state, state


rng = np.random.RandomState(1)
clicks = [["c%d" % i for i in rng.randint(0, 9, rng.randint(1, 5))] for _ in range(96)]
parquet.write_table(
    pyarrow.table({"clicked": [float("c3" in row) for row in clicks], "history": ["|".join(row) for row in clicks],
                   "brands": ["|".join(reversed(row)) for row in clicks], "prices": [[1.5] * len(row) for row in clicks]}),
    os.path.join(FOLDER, "rows.parquet"), row_group_size=32)
queue = WorkQueue([os.path.join(FOLDER, "rows.parquet")], num_epochs=1, shuffle=True)
files = queue.take()
batches = parquet_dataset_ops.ParquetDataset(os.path.join(FOLDER, "rows.parquet"), batch_size=32).repeat(10).prefetch(2)
features = tf.data.make_one_shot_iterator(batches).get_next()
label, prices = features.pop("clicked"), features.pop("prices")
for key in ("history", "brands"):
  features[key] = tf.strings.split(features[key], "|")

items = tf.feature_column.sequence_categorical_column_with_embedding("history", dtype=tf.string)
brands = tf.feature_column.sequence_categorical_column_with_hash_bucket("brands", 50)
with tf.variable_scope("tags", reuse=tf.AUTO_REUSE):
  sequence, length = tf.contrib.feature_column.sequence_input_layer(
      features, [tf.feature_column.embedding_column(items, 6), tf.feature_column.embedding_column(brands, 2)])
table = tf.get_embedding_variable("item_table", 8, initializer=tf.random_uniform_initializer(-0.5, 0.5))
ids = items._get_sparse_tensors(_LazyBuilder(features)).id_tensor
looked_up = fused_safe_embedding_lookup_sparse(embedding_weights=table, sparse_ids=ids, sparse_weights=None)
assert sequence.shape.as_list()[2] == looked_up.shape.as_list()[2] == 8
with tf.variable_scope("rnn"):
  first, _ = tf.nn.dynamic_rnn(tf.nn.rnn_cell.GRUCell(8), inputs=looked_up + sequence, sequence_length=length, dtype=tf.float32,
                               scope="gru1")
  _, state = tf.nn.dynamic_rnn(GatedCell(8), inputs=first, sequence_length=length, dtype=tf.float32, scope="gru2")
net = tf.keras.layers.LayerNormalization(axis=1)(state)
logits = tf.squeeze(tf.layers.dense(tf.layers.batch_normalization(net), 1), 1)
loss = tf.losses.sigmoid_cross_entropy(label, logits) + 0.0 * tf.reduce_mean(tf.cast(prices.values, tf.float32))
optimizer = tf.train.AdamAsyncOptimizer(learning_rate=0.02)
pairs = [(tf.clip_by_norm(g, 5), v) for g, v in optimizer.compute_gradients(loss) if g is not None]
step = tf.train.get_or_create_global_step()
train_op = optimizer.apply_gradients(pairs, global_step=step)

losses = []
with tf.train.MonitoredTrainingSession() as sess:
  assert sess.run(files).decode().endswith("rows.parquet")
  while not sess.should_stop():
    losses.append(sess.run([loss, train_op])[0])
print("first loss %.6f last loss %.6f" % (np.mean(losses[:3]), np.mean(losses[-3:])))
