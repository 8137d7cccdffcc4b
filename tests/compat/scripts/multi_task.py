"""Two tasks over shared tables: TFRecords, weighted and shared columns, a loop of one's own that saves and goes on."""

import os
import sys

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import kv_variable_ops

tf.logging.set_verbosity(tf.logging.ERROR)
FOLDER = sys.argv[1]
EXPERTS, ROWS, BATCH = 3, 256, 64


def write(path):
  rng = np.random.RandomState(5)
  with tf.python_io.TFRecordWriter(path) as writer:
    for _ in range(ROWS):
      tags = rng.randint(-40, 40, rng.randint(1, 5))
      seen, wanted = rng.randint(0, 30, 2)
      feature = {
          "tag": tf.train.Feature(int64_list=tf.train.Int64List(value=tags)),
          "weight": tf.train.Feature(float_list=tf.train.FloatList(value=rng.rand(len(tags)) + 0.1)),
          "seen": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"i%d" % seen])),
          "wanted": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"i%d" % wanted])),
          "click": tf.train.Feature(float_list=tf.train.FloatList(value=[float(seen % 2 == wanted % 2)])),
          "buy": tf.train.Feature(float_list=tf.train.FloatList(value=[float(tags[0] > 0)])),
      }
      writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
  return path


storage = tf.StorageOption(storage_type=12, storage_path=os.path.join(FOLDER, "rows"), storage_size=[4096])
tag = tf.feature_column.categorical_column_with_embedding(
    "tag", dtype=tf.int64, partition_num=2,
    ev_option=tf.EmbeddingVariableOption(storage_option=storage, init_option=tf.InitializerOption(
        initializer=tf.truncated_normal_initializer(stddev=0.1), default_value_dim=512)))
items = [tf.feature_column.categorical_column_with_embedding(key) for key in ("seen", "wanted")]
columns = [tf.feature_column.embedding_column(tf.feature_column.weighted_categorical_column(tag, "weight"), 8, combiner="sum")]
columns += tf.feature_column.shared_embedding_columns(items, 8, combiner="mean")
spec = tf.feature_column.make_parse_example_spec(columns)
spec.update({name: tf.FixedLenFeature([], tf.float32) for name in ("click", "buy")})

dataset = tf.data.TFRecordDataset(write(os.path.join(FOLDER, "rows.tfrecord"))).repeat().batch(BATCH)
features = tf.data.make_one_shot_iterator(dataset.map(lambda rows: tf.parse_example(rows, spec))).get_next()
labels = [features.pop(name) for name in ("click", "buy")]
net = tf.feature_column.input_layer(features, columns)
experts = tf.stack([tf.layers.dense(net, 8, tf.nn.relu, name="expert_%d" % i) for i in range(EXPERTS)], 1)
losses = []
for task, label in zip(("click", "buy"), labels):
  with tf.variable_scope(task):
    gate = tf.nn.softmax(tf.layers.dense(net, EXPERTS, use_bias=False))
    tower = tf.layers.dense(tf.reduce_sum(experts * tf.expand_dims(gate, -1), 1), 8, tf.nn.relu)
    losses.append(tf.losses.sigmoid_cross_entropy(label, tf.squeeze(tf.layers.dense(tower, 1), 1)))
loss = tf.add_n(losses)
step = tf.train.get_or_create_global_step()
optimizer = tf.train.AdamAsyncOptimizer(0.02, beta1=0.9, beta2=0.999, epsilon=1e-8)
train_op = optimizer.minimize(loss, global_step=step)

tables = tf.get_collection(ops.GraphKeys.EMBEDDING_VARIABLES)
tags = [table for table in tables if "tag" in table.name]
assert len(tables) == 3 and len(tags) == 2, tables
counts = [table.total_count() for table in tables]
tiers = kv_variable_ops.lookup_tier(tags, tf.range(-40, 40, dtype=tf.int64))
saver = tf.train.Saver(max_to_keep=2)
trained = []
for run in range(2):
  with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as sess:
    if run:
      saver.restore(sess, tf.train.latest_checkpoint(FOLDER))
    else:
      sess.run(tf.global_variables_initializer())
    trained += [sess.run([loss, train_op])[0] for _ in range(40)]
    saver.save(sess, os.path.join(FOLDER, "model.ckpt"), global_step=step)
    rows, found = sess.run([counts, tiers])
    assert 60 < sum(n for (n, _), table in zip(rows, tables) if table in tags) <= 80 and set(found) <= {-1, 0, 1}, (rows, found)
    assert sess.run(step) == 40 * (run + 1)
print("first loss %.6f last loss %.6f" % (np.mean(trained[:3]), np.mean(trained[-3:])))
