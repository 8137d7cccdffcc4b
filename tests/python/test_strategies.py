"""tf.distribute strategies: those that a table takes part in, and the others, which say so."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf.optimizers import rules

v1 = tf.compat.v1
OPTIMIZERS = {"v1": lambda: v1.train.AdagradOptimizer(1.0), "keras": lambda: tf.keras.optimizers.SGD(1.0)}


def train_once(strategy, make_optimizer):
  """The variable after one step of gradient 1 on ids 1, 2 and 1."""
  with strategy.scope():
    ev = ev_tf.get_embedding_variable("replicated", 4, initializer=v1.zeros_initializer())
    optimizer = make_optimizer()

  @tf.function
  def step():
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, tf.constant([1, 2, 1], tf.int64)))
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])

  strategy.run(step)
  return ev


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_device(optimizer):
  trained = train_once(tf.distribute.OneDeviceStrategy("/cpu:0"), OPTIMIZERS[optimizer])
  stock = train_once(tf.distribute.get_strategy(), OPTIMIZERS[optimizer])
  ids = tf.constant([1, 2], tf.int64)
  np.testing.assert_array_equal(tf.gather(trained, ids).numpy(), tf.gather(stock, ids).numpy())


def test_a_mirrored_strategy_with_a_v1_optimizer_is_refused():
  with pytest.raises(NotImplementedError, match="MirroredStrategy.*OneDeviceStrategy"):
    train_once(tf.distribute.MirroredStrategy(["/cpu:0"]), OPTIMIZERS["v1"])


def test_several_replicas_are_refused():
  ev = ev_tf.get_embedding_variable("mirrored", 4)
  gradient = tf.IndexedSlices(tf.ones([1, 4]), tf.constant([1], tf.int64))
  with tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]).scope():
    with pytest.raises(NotImplementedError, match="2 replica.* in step"):
      rules.RowUpdate([(gradient, ev)], None, "SGD")
