"""The first example of DeepRec's page on multi-tier embedding storage, with other import lines."""

import numpy as np
import pytest
import tensorflow as tf_stock

from ev_tf import EmbeddingVariableOption, StorageOption, StorageType, get_embedding_variable

tf = tf_stock.compat.v1


def run_example(storage_type, path):
  results = []
  with tf.device("/cpu:0"):
    storage_option = StorageOption(storage_type=storage_type,
                                   storage_path=path,
                                   storage_size=[128])
    ev_opt = EmbeddingVariableOption(storage_option=storage_option)

    var = get_embedding_variable("var_0",
                                 embedding_dim=3,
                                 initializer=tf.ones_initializer(tf.float32),
                                 ev_option=ev_opt)

    emb = tf.nn.embedding_lookup(var, tf.cast([0, 1, 2, 5, 6, 7], tf.int64))
    fun = tf.multiply(emb, 2.0, name="multiply")
    loss = tf.reduce_sum(fun, name="reduce_sum")
    opt = tf.train.AdagradOptimizer(0.1)

    g_v = opt.compute_gradients(loss)
    train_op = opt.apply_gradients(g_v)

    init = tf.global_variables_initializer()

  sess_config = tf.ConfigProto(allow_soft_placement=True, log_device_placement=False)
  with tf.Session(config=sess_config) as sess:
    sess.run([init])
    results.append(sess.run([emb, train_op, loss]))
    results.append(sess.run([emb, train_op, loss]))
    results.append(sess.run([emb, train_op, loss]))
    sess.run(var.flush_evictions())
    metrics = sess.run(var.metrics())
  return results, metrics


@pytest.mark.parametrize("storage_type", ["DRAM_SSDHASH", "SSDHASH", "DRAM_LEVELDB", "DRAM_PMEM", "DRAM"])
def test_example(storage_type, tmp_path, skip_without):
  skip_without(storage_type)
  path = str(tmp_path / "ssd_utpy")
  with tf.Graph().as_default():
    results, metrics = run_example(StorageType[storage_type], None if storage_type == "DRAM" else path)
  np.testing.assert_allclose([loss for _, _, loss in results], [36.0, 32.444, 29.914], atol=1e-3)
  np.testing.assert_array_equal(results[0][0], np.ones([6, 3]))
  # 128 bytes hold four rows of 2 x 16 bytes: 3 floats and Adagrad's accumulator of 3, each padded to 16 bytes.
  assert metrics["rows"] == 6 and metrics["row_bytes"] == 32
  expected = (0, 6, 0) if storage_type == "DRAM" else (4, 4, 2)
  assert (metrics["hot_capacity"], metrics["hot_rows"], metrics["lower_rows"]) == expected
