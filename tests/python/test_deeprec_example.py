"""The first example of DeepRec's page on multi-tier embedding storage, with other import lines and all rows in DRAM."""

import numpy as np
import pytest
import tensorflow as tf_stock

import ev_tf
from ev_tf import EmbeddingVariableOption, StorageOption, StorageType, get_embedding_variable

tf = tf_stock.compat.v1


def run_example():
  results = []
  with tf.device("/cpu:0"):
    storage_option = StorageOption(storage_type=StorageType.DRAM, storage_size=[128])
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
  return results


def test_example():
  with tf.Graph().as_default():
    results = run_example()
  np.testing.assert_allclose([loss for _, _, loss in results], [36.0, 32.444, 29.914], atol=1e-3)
  np.testing.assert_array_equal(results[0][0], np.ones([6, 3]))


def test_the_tier_stack_of_the_original_is_named_until_it_is_there(tmp_path):
  option = EmbeddingVariableOption(storage_option=StorageOption(StorageType.DRAM_SSDHASH, str(tmp_path), [128]))
  with pytest.raises(NotImplementedError, match="StorageType.DRAM_SSDHASH is not in this version"):
    ev_tf.get_embedding_variable("var_0", embedding_dim=3, ev_option=option)
