"""Unmodified Keras optimizers on tables: Keras 3, or tf.keras (Keras 2) where that is what TensorFlow brings.

Where a batch has no duplicates and names every row, Keras's own step on a dense variable is the oracle; elsewhere NumPy,
because Keras applies duplicates one by one and moves rows that a batch does not name.
"""

import inspect

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import testing

keras = pytest.importorskip("keras")
v1 = tf.compat.v1
KERAS_3 = int(keras.__version__.split(".")[0]) >= 3
ROWS, DIM = 24, 3
IDS = np.arange(ROWS) * 977 - 10_000


def optimizers(module):
  return {
      "sgd": lambda **kw: module.SGD(0.1, **kw),
      "momentum": lambda **kw: module.SGD(0.05, momentum=0.9, **kw),
      "nesterov": lambda **kw: module.SGD(0.05, momentum=0.9, nesterov=True, **kw),
      "adagrad": lambda **kw: module.Adagrad(0.1, **kw),
      "adam": lambda **kw: module.Adam(0.01, beta_1=0.8, **kw),
      "ftrl": lambda **kw: module.Ftrl(0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.02, beta=0.1,
                                       l2_shrinkage_regularization_strength=0.01, **kw),
  }


def rms_props(module):
  """Not among those of `legacy`, whose epsilon stands elsewhere."""
  return {
      "rms_prop": lambda **kw: module.RMSprop(0.01, rho=0.8, epsilon=1e-3, **kw),
      "rms_prop_momentum": lambda **kw: module.RMSprop(0.01, momentum=0.9, epsilon=1e-3, **kw),
      "rms_prop_centered": lambda **kw: module.RMSprop(0.01, centered=True, epsilon=1e-3, **kw),
      "rms_prop_centered_momentum": lambda **kw: module.RMSprop(0.01, momentum=0.9, centered=True, epsilon=1e-3, **kw),
  }


CASES = {f"{kind}-{name}": make for kind, module in [("new", keras.optimizers)] + (
    [] if KERAS_3 else [("legacy", tf.keras.optimizers.legacy)]) for name, make in optimizers(module).items()}
CASES.update({f"new-{name}": make for name, make in rms_props(keras.optimizers).items()})
CASES["new-adamw"] = lambda **kw: keras.optimizers.AdamW(0.01, weight_decay=0.1, **kw)
try:
  import tf_keras

  CASES.update({f"tf_keras-{name}": make for name, make in optimizers(tf_keras.optimizers).items()})
  CASES.update({f"tf_keras-{name}": make for name, make in rms_props(tf_keras.optimizers).items()})
  CASES.update({f"tf_keras-legacy-{name}": make for name, make in optimizers(tf_keras.optimizers.legacy).items()})
except ImportError:
  pass


def make_ev(**kwargs):
  rows = lambda shape, dtype: tf.constant(np.random.default_rng(8).normal(size=shape), dtype)
  return ev_tf.get_embedding_variable("ev", DIM, initializer=rows, **kwargs)


def train_step(optimizer, v, ids, target):
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.square(tf.gather(v, ids) - target))
  optimizer.apply_gradients([(tape.gradient(loss, v), v)])


@pytest.mark.parametrize("as_function", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_equals_keras_on_a_dense_variable(name, as_function, rng):
  ev = make_ev()
  dense = tf.Variable(tf.gather(ev, IDS))
  optimizer_ev, optimizer_dense = CASES[name](), CASES[name]()

  def step(order, target):
    train_step(optimizer_ev, ev, tf.gather(tf.constant(IDS), order), target)
    train_step(optimizer_dense, dense, order, target)

  step = tf.function(step) if as_function else step
  for _ in range(40 if as_function else 5):
    step(tf.constant(rng.permutation(ROWS)), tf.constant(rng.normal(size=DIM), tf.float32))
  # Adam divides by roots that start near zero, where the last bit of beta ** step shows.
  rtol = 2e-5 if "adam" in name else 2e-6
  expected = dense.numpy()
  assert np.abs(tf.gather(ev, IDS).numpy() - expected).max() <= rtol * np.abs(expected).max()
  assert int(optimizer_ev.iterations.numpy()) == int(optimizer_dense.iterations.numpy())


@pytest.mark.parametrize("name, rule, hyper", [
    ("new-sgd", "sgd", dict(lr=0.1)),
    ("new-adagrad", "adagrad", dict(lr=0.1, epsilon=1e-7)),
    ("new-adam", "adam", dict(lr=0.01, beta1=0.8, beta2=0.999, epsilon=1e-7)),
    ("new-adamw", "adamw", dict(lr=0.01, beta1=0.9, beta2=0.999, epsilon=1e-7, weight_decay=0.001)),
    ("new-rms_prop", "rms_prop", dict(lr=0.01, decay=0.8, epsilon=1e-3)),
    ("new-rms_prop_centered_momentum", "rms_prop",
     dict(lr=0.01, decay=0.9, momentum=0.9, centered=True, epsilon=1e-3)),
    ("new-ftrl", "ftrl", dict(lr=0.1, l1=0.01, l2=0.02 + 0.1 / 0.2, l2_shrinkage=0.01)),
])
def test_duplicates_are_summed_and_other_rows_stay(name, rule, hyper, rng):
  ev = make_ev()
  model = testing.TableModel(tf.gather(ev, tf.range(4096, dtype=tf.int64)).numpy())
  optimizer = CASES[name]()

  @tf.function
  def step(ids, grads):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.gather(ev, ids) * grads)
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])

  for t in range(1, 101):
    ids, grads = IDS[rng.zipf(1.5, 10) % ROWS], rng.normal(size=[10, DIM]).astype(np.float32)
    step(tf.constant(ids), tf.constant(grads))
    model.train(rule, ids, grads, {"rms": 0.0} if rule == "rms_prop" else None, step=t, **hyper)
  expected = model.lookup(IDS)
  assert np.abs(tf.gather(ev, IDS).numpy() - expected).max() <= 5e-6 * np.abs(expected).max()
  assert int(ev.size()) == model.size()


def test_dense_and_table_together_and_slots_only_where_they_belong():
  ev, w = make_ev(), tf.Variable(tf.ones([DIM, 1]))
  optimizer = keras.optimizers.Adam(0.05)
  losses = []
  for _ in range(20):
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(tf.square(tf.matmul(tf.gather(ev, IDS), w) - 1.0))
    optimizer.apply_gradients(zip(tape.gradient(loss, [ev, w]), [ev, w]))
    losses.append(float(loss))
  assert losses[-1] < 0.5 * losses[0]
  shapes = [tuple(v.shape) for v in optimizer.variables if len(v.shape)]
  assert shapes == [(DIM, 1)] * 2


@pytest.mark.parametrize("clip", [dict(clipnorm=0.5), dict(global_clipnorm=0.5), dict(clipvalue=0.1)])
def test_clipping(clip):
  ev = make_ev()
  dense = tf.Variable(tf.gather(ev, IDS))
  optimizers_ = [keras.optimizers.SGD(0.1, **clip) for _ in range(2)]
  for _ in range(3):
    train_step(optimizers_[0], ev, tf.constant(IDS), tf.constant([1.0, 2.0, 3.0]))
    with tf.GradientTape() as tape:  # a dense gradient, so that Keras clips what it should
      loss = tf.reduce_sum(tf.square(tf.convert_to_tensor(dense) - tf.constant([1.0, 2.0, 3.0])))
    optimizers_[1].apply_gradients([(tape.gradient(loss, dense), dense)])
  np.testing.assert_allclose(tf.gather(ev, IDS).numpy(), dense.numpy(), rtol=1e-5)


def test_learning_rate_schedules():
  ev = make_ev()
  dense = tf.Variable(tf.gather(ev, IDS))
  schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
  for v, ids in ((ev, IDS), (dense, np.arange(ROWS))):
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
    for _ in range(6):
      train_step(optimizer, v, tf.constant(ids), tf.constant([1.0, 2.0, 3.0]))
  np.testing.assert_allclose(tf.gather(ev, IDS).numpy(), dense.numpy(), rtol=1e-5)


UNSUPPORTED = [
    (lambda: keras.optimizers.Adadelta(0.1), "Adadelta cannot train an EmbeddingVariable: use one of"),
    (lambda: keras.optimizers.Adamax(0.1), "Adamax cannot train"),
    (lambda: keras.optimizers.RMSprop(0.1, weight_decay=0.1), "weight_decay .*exclude_from_weight_decay"),
    (lambda: keras.optimizers.Nadam(0.1), "Nadam cannot train"),
    (lambda: keras.optimizers.Adam(0.1, amsgrad=True), "amsgrad=True is not supported"),
    (lambda: keras.optimizers.Adam(0.1, use_ema=True), "use_ema=True is not supported"),
    (lambda: keras.optimizers.SGD(0.1, weight_decay=0.1), "weight_decay .*exclude_from_weight_decay"),
]
if "gradient_accumulation_steps" in inspect.signature(keras.optimizers.SGD).parameters:
  UNSUPPORTED.append((lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "gradient_accumulation_steps is not"))


@pytest.mark.parametrize("make, message", UNSUPPORTED)
def test_what_is_not_supported_is_named(make, message):
  with pytest.raises(NotImplementedError, match=message):
    train_step(make(), make_ev(), tf.constant(IDS), 1.0)


def test_the_older_rms_prop_is_named():
  if KERAS_3 and "tf_keras" not in globals():
    pytest.skip("there are no older optimizers: Keras 3, and tf_keras is not installed")
  older = tf_keras.optimizers.legacy if KERAS_3 else tf.keras.optimizers.legacy
  with pytest.raises(NotImplementedError, match="RMSprop cannot train an EmbeddingVariable"):
    train_step(older.RMSprop(0.1), make_ev(), tf.constant(IDS), 1.0)


@pytest.mark.parametrize("make", [lambda: keras.optimizers.SGD(0.1, weight_decay=0.5),
                                  lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5)])
def test_a_table_can_be_excluded_from_weight_decay(make):
  ev = make_ev()
  before = tf.gather(ev, IDS).numpy()
  optimizer = make()
  optimizer.exclude_from_weight_decay(var_list=[ev])
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(ev, IDS) * 0.0)
  optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])
  np.testing.assert_array_equal(tf.gather(ev, IDS).numpy(), before)


def test_versions_are_the_iterations():
  ev = make_ev(ev_option=ev_tf.EmbeddingVariableOption(record_version=True))
  optimizer = keras.optimizers.Adagrad(0.1)
  for n in range(3):
    train_step(optimizer, ev, tf.constant(IDS[n:]), 1.0)
  assert ev.get_version(IDS[:4]).numpy().tolist() == [0, 1, 2, 2]


def test_two_optimizers_have_slots_of_their_own():
  ev = make_ev()
  for _ in range(2):
    train_step(keras.optimizers.Adagrad(0.1), ev, tf.constant(IDS), 1.0)
  assert ev.metrics()["row_bytes"] == 3 * 16


def test_the_front_is_trained_by_its_parts():
  front = make_ev(partitioner=v1.fixed_size_partitioner(3))
  whole = make_ev()
  optimizer, twin = keras.optimizers.Adagrad(0.1), keras.optimizers.Adagrad(0.1)
  for _ in range(3):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.square(tf.gather(front, IDS) - 1.0))
    optimizer.apply_gradients(zip(tape.gradient(loss, list(front)), list(front)))
    train_step(twin, whole, tf.constant(IDS), 1.0)
  np.testing.assert_allclose(tf.gather(front, IDS).numpy(), tf.gather(whole, IDS).numpy(), rtol=1e-6)
  with pytest.raises(NotImplementedError, match="is the front of 3 parts"):
    optimizer = keras.optimizers.Adagrad(0.1)
    optimizer.apply_gradients([(tf.IndexedSlices(tf.zeros([1, DIM]), [1]), front)])
