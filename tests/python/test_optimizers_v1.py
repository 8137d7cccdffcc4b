"""Unmodified tf.compat.v1.train optimizers on tables, against dense variables and against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import testing, train

v1 = tf.compat.v1
ROWS, DIM, STEPS = 64, 5, 200
RTOL = 1e-6

ADAM = dict(learning_rate=0.01, beta1=0.8, beta2=0.95, epsilon=1e-6)
RMS = dict(learning_rate=0.01, decay=0.8, epsilon=1e-4)
DECAY = dict(accumulator_decay_step=7, accumulator_decay_rate=0.7)

# Made from the step of the training. Their sparse step on a dense variable moves the named rows only, as a table's does.
DENSE_TWINS = {
    "sgd": lambda step: v1.train.GradientDescentOptimizer(0.1),
    "momentum": lambda step: v1.train.MomentumOptimizer(0.05, 0.9),
    "nesterov": lambda step: v1.train.MomentumOptimizer(0.05, 0.9, use_nesterov=True),
    "adagrad": lambda step: v1.train.AdagradOptimizer(0.1),
    "adagrad_small_start": lambda step: v1.train.AdagradOptimizer(0.1, initial_accumulator_value=0.01),
    "ftrl": lambda step: v1.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.02),
    "ftrl_shrinkage": lambda step: v1.train.FtrlOptimizer(0.1, l2_shrinkage_regularization_strength=0.01, beta=0.1),
    "ftrl_power": lambda step: v1.train.FtrlOptimizer(0.1, learning_rate_power=-0.7, l1_regularization_strength=0.01),
    "rms_prop": lambda step: v1.train.RMSPropOptimizer(**RMS),
    "rms_prop_momentum": lambda step: v1.train.RMSPropOptimizer(momentum=0.5, **RMS),
    "rms_prop_centered": lambda step: v1.train.RMSPropOptimizer(centered=True, **RMS),
    "rms_prop_centered_momentum": lambda step: v1.train.RMSPropOptimizer(momentum=0.5, centered=True, **RMS),
    "adagrad_decay": lambda step: train.AdagradDecayOptimizer(0.1, step, **DECAY),
    "adagrad_decay_v2": lambda step: train.AdagradDecayOptimizerV2(0.1, step, 0.02, **DECAY),
    "row_wise_adagrad": lambda step: train.RowWiseAdagradOptimizer(0.1),
    "adam_async": lambda step: train.AdamAsyncOptimizer(**ADAM),
    "adam_async_rms_prop": lambda step: train.AdamAsyncOptimizer(0.01, 0.8, 0.95, 1e-4, apply_sparse_rmsprop=True),
    "ftrl_of_train": lambda step: train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
}
# A part of a table has a clock of its own, which only its own updates move.
IN_PARTS = [name for name in DENSE_TWINS if name != "adam_async"]
GROUP = dict(lr=0.1, l1=0.3, l2=0.02, group_l1=True)
ADAM_HYPER = dict(lr=ADAM["learning_rate"], **{k: ADAM[k] for k in ("beta1", "beta2", "epsilon")})
RMS_HYPER = dict(lr=0.01, decay=0.8, epsilon=1e-4)
# Made from the step of the training; then the rule of ev_tf.testing, its hyperparameters and first values of slots.
NUMPY_TWINS = {
    "adam": (lambda step: v1.train.AdamOptimizer(**ADAM), "adam", ADAM_HYPER, {}),
    "adamw": (lambda step: train.AdamWOptimizer(weight_decay=0.01, **ADAM), "adamw",
              dict(weight_decay=0.01, **ADAM_HYPER), {}),
    "rms_prop": (DENSE_TWINS["rms_prop"], "rms_prop", RMS_HYPER, {}),
    "rms_prop_centered_momentum": (DENSE_TWINS["rms_prop_centered_momentum"], "rms_prop",
                                   dict(momentum=0.5, centered=True, **RMS_HYPER), {}),
    "adagrad_decay": (DENSE_TWINS["adagrad_decay"], "adagrad_decay",
                      dict(lr=0.1, decay_step=7, decay_rate=0.7, baseline=0.1), {}),
    "adagrad_decay_v2": (DENSE_TWINS["adagrad_decay_v2"], "adagrad_decay",
                         dict(lr=0.1, decay_step=7, decay_rate=0.7, baseline=0.02), {"accumulator": 0.02}),
    "row_wise_adagrad": (DENSE_TWINS["row_wise_adagrad"], "row_wise_adagrad", dict(lr=0.1, epsilon=1e-8), {}),
    "adam_async": (DENSE_TWINS["adam_async"], "adam", ADAM_HYPER, {}),
    "adam_async_rms_prop": (DENSE_TWINS["adam_async_rms_prop"], "rms_prop",
                            dict(lr=0.01, momentum=0.8, decay=0.95, epsilon=1e-4), {"rms": 0.0}),
    "ftrl_group": (lambda step: train.FtrlOptimizer(0.1, l1_regularization_strength=0.3, l2_regularization_strength=0.02,
                                                    group_l1=True), "ftrl", GROUP, {}),
}
IDS = np.random.default_rng(5).choice(np.iinfo(np.int64).max, ROWS) * np.where(np.arange(ROWS) % 2, 1, -1)


def batches(rng, steps=STEPS):
  """(rows [12] of IDS with duplicates, rows [2, 3], target) a step: two lookups of the same variable."""
  for _ in range(steps):
    yield (rng.zipf(1.3, 12) % ROWS, rng.integers(0, ROWS, [2, 3]), rng.normal(size=DIM).astype(np.float32))


def model_loss(v, first, second, target):
  """A loss with two lookups of `v`, whose gradient depends on the rows."""
  a, b = tf.nn.embedding_lookup(v, first), tf.gather(v, second)
  return tf.reduce_sum(tf.square(a - target)) + tf.reduce_mean(tf.sin(b) * target)


def assert_close(actual, expected, rtol=RTOL):
  assert np.abs(actual - expected).max() <= rtol * np.abs(expected).max(), np.abs(actual - expected).max()


def make_pair(parts=None, storage=None):
  """A table, and what it says for IDS[i] as row i."""
  option = ev_tf.EmbeddingVariableOption(**(dict(storage_option=storage) if storage else {}))
  ev = ev_tf.get_embedding_variable("ev", DIM, initializer=v1.truncated_normal_initializer(seed=4), ev_option=option,
                                    partitioner=v1.fixed_size_partitioner(parts) if parts else None)
  return ev, tf.gather(ev, IDS)


@pytest.mark.parametrize("name, parts", [(name, None) for name in DENSE_TWINS] + [(name, 3) for name in IN_PARTS])
def test_graph_training_equals_a_dense_variable(name, parts, new_graph, rng):
  with new_graph() as graph:
    ev, initial = make_pair(parts)
    dense = v1.get_variable("dense", [ROWS, DIM])
    rows, rows2 = v1.placeholder(tf.int64, [None]), v1.placeholder(tf.int64, [None, None])
    target = v1.placeholder(tf.float32, [DIM])
    ids = tf.constant(IDS)
    step = v1.train.get_or_create_global_step()
    loss = model_loss(ev, tf.gather(ids, rows), tf.gather(ids, rows2), target) + model_loss(dense, rows, rows2, target)
    train_op = DENSE_TWINS[name](step).minimize(loss, global_step=step, var_list=[*(ev if parts else [ev]), dense])
    copy_rows = dense.assign(initial)
    graph.initialize()
    graph.run(copy_rows)
    trained = set()
    for a, b, t in batches(rng):
      graph.run(train_op, {rows: a, rows2: b, target: t})
      trained |= set(a) | set(b.ravel())
    assert_close(*graph.run([tf.gather(ev, IDS), dense]))
    assert graph.run(ev.size()) == len(trained)
    assert graph.run(step) == STEPS


@pytest.mark.parametrize("mode", ["function", "function, most rows below DRAM", "eager"])
@pytest.mark.parametrize("name", DENSE_TWINS)
def test_eager_training_equals_a_dense_variable(name, mode, rng, tmp_path):
  storage = ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, str(tmp_path), [1000]) if "below" in mode else None
  ev, initial = make_pair(storage=storage)
  dense, step_of_training = tf.Variable(initial), tf.Variable(0, dtype=tf.int64)
  optimizer = DENSE_TWINS[name](step_of_training)
  ids = tf.constant(IDS)

  def step(a, b, t):
    with tf.GradientTape() as tape:
      loss = model_loss(ev, tf.gather(ids, a), tf.gather(ids, b), t) + model_loss(dense, a, b, t)
    optimizer.apply_gradients(zip(tape.gradient(loss, [ev, dense]), [ev, dense]), global_step=step_of_training)

  step = tf.function(step) if mode != "eager" else step
  for a, b, t in batches(rng, STEPS if mode != "eager" else 30):
    step(tf.constant(a, tf.int64), tf.constant(b, tf.int64), tf.constant(t))
  assert_close(tf.gather(ev, IDS).numpy(), dense.numpy())
  if storage:
    assert ev.metrics()["hot_capacity"] < ROWS // 2


@pytest.mark.parametrize("mode", ["graph", "function"])
@pytest.mark.parametrize("name", NUMPY_TWINS)
def test_training_equals_numpy(name, mode, new_graph, rng):
  make_optimizer, rule, hyper, initial_values = NUMPY_TWINS[name]
  steps = [(IDS[rng.zipf(1.3, 12) % ROWS], rng.normal(size=[12, DIM]).astype(np.float32)) for _ in range(STEPS)]

  def loss_of(ev, ids, grads):
    return tf.reduce_sum(tf.gather(ev, ids[:7]) * grads[:7]) + tf.reduce_sum(tf.gather(ev, ids[7:]) * grads[7:])

  if mode == "graph":
    with new_graph() as graph:
      ev, initial = make_pair()
      ids, grads = v1.placeholder(tf.int64, [12]), v1.placeholder(tf.float32, [12, DIM])
      step = v1.train.get_or_create_global_step()
      train_op = make_optimizer(step).minimize(loss_of(ev, ids, grads), global_step=step)
      final = tf.gather(ev, IDS)
      graph.initialize()
      default = graph.run(initial)
      for i, g in steps:
        graph.run(train_op, {ids: i, grads: g})
      actual = graph.run(final)
  else:
    ev, initial = make_pair()
    step_of_training = tf.Variable(0, dtype=tf.int64)
    default, optimizer = initial.numpy(), make_optimizer(step_of_training)

    @tf.function
    def step(ids, grads):
      with tf.GradientTape() as tape:
        loss = loss_of(ev, ids, grads)
      optimizer.apply_gradients([(tape.gradient(loss, ev), ev)], global_step=step_of_training)

    for i, g in steps:
      step(tf.constant(i), tf.constant(g))
    actual = tf.gather(ev, IDS).numpy()
  model = testing.TableModel(np.zeros([1, DIM]))
  model.rows = {int(key): row.astype(np.float64) for key, row in zip(IDS, default)}
  for t, (i, g) in enumerate(steps, 1):
    model.train(rule, i, g, initial_values, step=t, **hyper)
  assert_close(actual, model.lookup(IDS), 3e-6)  # float32 against float64, over 200 steps


def test_adam_equals_dense_adam_when_every_row_is_in_the_batch(new_graph):
  with new_graph() as graph:
    ev, initial = make_pair()
    dense = v1.get_variable("dense", [ROWS, DIM])
    target = v1.placeholder(tf.float32, [DIM])
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(ROWS), 2))
    train_ops = [v1.train.AdamOptimizer(**ADAM).minimize(tf.reduce_sum(tf.square(tf.gather(v, ids) - target)), var_list=[v])
                 for v, ids in ((ev, IDS[order]), (dense, order))]
    copy_rows = dense.assign(initial)
    graph.initialize()
    graph.run(copy_rows)
    for t in np.random.default_rng(1).normal(size=[50, DIM]):
      graph.run(train_ops, {target: t})
    assert_close(*graph.run([tf.gather(ev, IDS), dense]))


@pytest.mark.parametrize("sparse", [False, True])
def test_adamw_on_dense_variables(sparse):
  w = tf.Variable(np.full([3, 2], 2.0, np.float32))
  optimizer = train.AdamWOptimizer(weight_decay=0.1, learning_rate=0.01)
  gradient = np.full([3, 2], 0.5, np.float32)
  for _ in range(2):
    optimizer.apply_gradients([(tf.IndexedSlices(tf.constant(gradient), [0, 1, 2]) if sparse else tf.constant(gradient), w)])
  model = testing.TableModel(np.full([3, 2], 2.0))
  for t in (1, 2):
    model.train("adamw", [0, 1, 2], gradient, step=t, lr=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.1)
  np.testing.assert_allclose(w.numpy(), model.lookup([0, 1, 2]), rtol=1e-5)


def test_dense_and_table_in_one_optimizer(new_graph):
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("ev", 2, initializer=v1.ones_initializer())
    w = v1.get_variable("w", [2], initializer=v1.ones_initializer())
    loss = tf.reduce_sum(tf.gather(ev, tf.constant([5, 5], tf.int64)) * w)
    optimizer = v1.train.AdamOptimizer(0.1)
    train_op = optimizer.minimize(loss)
    graph.initialize()
    losses = [graph.run([train_op, loss])[1] for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert [v.name for v in optimizer.variables()] == ["beta1_power:0", "beta2_power:0", "w/Adam:0", "w/Adam_1:0"]
    assert optimizer.get_slot_names() == ["m", "v"]


def test_two_optimizers_have_slots_of_their_own(new_graph):
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("ev", 2, initializer=v1.ones_initializer())
    optimizers = [v1.train.AdagradOptimizer(0.1), v1.train.AdagradOptimizer(0.1), v1.train.MomentumOptimizer(0.1, 0.9)]
    ops = [o.minimize(tf.reduce_sum(tf.gather(ev, tf.constant([7], tf.int64)))) for o in optimizers]
    slots = [o.get_slot(ev, o.get_slot_names()[0]) for o in optimizers]
    assert [s.slot_name for s in slots] == ["Adagrad/accumulator", "Adagrad_1/accumulator", "Momentum/momentum"]
    assert slots[0].name == "ev/Adagrad/accumulator"
    graph.initialize()
    for op, times in zip(ops, (1, 2, 3)):
      for _ in range(times):
        graph.run(op)
    values = [graph.run(s.export())[1][0, 0] for s in slots]
    np.testing.assert_allclose(values, [1.1, 2.1, 1 + 0.9 * (1 + 0.9)], rtol=1e-6)


def test_a_slot_that_comes_late_starts_at_its_initial_value():
  ev = ev_tf.get_embedding_variable("ev", 2, initializer=v1.ones_initializer())
  ids = tf.constant([1, 2], tf.int64)

  def step(optimizer, ids):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.gather(ev, ids))
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])

  step(v1.train.GradientDescentOptimizer(0.5), ids)
  adagrad = v1.train.AdagradOptimizer(0.1, initial_accumulator_value=3.0)
  step(adagrad, ids[:1])
  keys, rows = adagrad.get_slot(ev, "accumulator").export()
  assert dict(zip(keys.numpy().tolist(), rows.numpy()[:, 0].tolist())) == {1: 4.0, 2: 3.0}
  np.testing.assert_allclose(tf.gather(ev, ids).numpy()[:, 0], [0.5 - 0.1 / 2.0, 0.5])


def test_gradients_can_be_processed_in_between(new_graph):
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("ev", 2, initializer=v1.zeros_initializer())
    optimizer = v1.train.GradientDescentOptimizer(1.0)
    grads, variables = zip(*optimizer.compute_gradients(tf.reduce_sum(tf.gather(ev, tf.constant([1, 2], tf.int64)) * 3.0)))
    clipped, norm = tf.clip_by_global_norm(grads, 1.0)
    train_op = optimizer.apply_gradients(zip(clipped, variables))
    graph.initialize()
    assert graph.run([train_op, norm])[1] == 6.0
    np.testing.assert_allclose(graph.run(tf.gather(ev, tf.constant([1], tf.int64))), [[-0.5, -0.5]])


@pytest.mark.parametrize("make", [
    lambda: v1.train.AdagradDAOptimizer(0.1, tf.Variable(0, dtype=tf.int64)), lambda: v1.train.AdadeltaOptimizer(0.1),
    lambda: v1.train.ProximalAdagradOptimizer(0.1), lambda: type("Mine", (v1.train.AdagradOptimizer,), {
        "_resource_apply_sparse": lambda self, grad, handle, indices: None})(0.1)])
def test_an_optimizer_that_is_not_supported_is_named(new_graph, make):
  with new_graph():
    ev = ev_tf.get_embedding_variable("ev", 2)
    optimizer = make()
    with pytest.raises(NotImplementedError, match=f"{type(optimizer).__name__} cannot train an EmbeddingVariable: use one of"):
      optimizer.minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))))


def test_a_subclass_that_changes_no_arithmetic_is_its_base(new_graph):
  class Renamed(v1.train.AdagradOptimizer):
    pass

  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("ev", 2)
    train_op = Renamed(0.1).minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))))
    graph.initialize()
    graph.run(train_op)
    assert graph.run(ev.size()) == 1


def test_the_front_is_not_trained_as_a_whole(new_graph):
  with new_graph():
    ev = ev_tf.get_embedding_variable("ev", 2, partitioner=v1.fixed_size_partitioner(2))
    with pytest.raises(NotImplementedError, match=r"var_list=list\(variable\)"):
      v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))), var_list=[ev])


@pytest.mark.parametrize("lr", [float("nan"), float("inf"), -0.1])
@pytest.mark.parametrize("make", [v1.train.GradientDescentOptimizer, v1.train.AdagradOptimizer, v1.train.AdamOptimizer,
                                  lambda lr: v1.train.MomentumOptimizer(lr, 0.9),
                                  v1.train.RMSPropOptimizer, train.RowWiseAdagradOptimizer, train.AdamAsyncOptimizer,
                                  lambda lr: train.AdagradDecayOptimizer(lr, tf.constant(0, tf.int64)),
                                  lambda lr: train.AdamAsyncOptimizer(lr, apply_sparse_rmsprop=True),
                                  lambda lr: train.AdamWOptimizer(0.1, lr)])
def test_a_learning_rate_that_is_none_changes_nothing(new_graph, lr, make):
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("ev", 2)
    train_op = make(tf.constant(lr)).minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))))
    graph.initialize()
    with pytest.raises(tf.errors.InvalidArgumentError, match="learning rate: expected a finite number >= 0, found"):
      graph.run(train_op)
    assert graph.run(ev.size()) == 0


def test_versions_are_the_global_step(new_graph):
  option = ev_tf.EmbeddingVariableOption(record_version=True)
  with new_graph() as graph:
    given, default = (ev_tf.get_embedding_variable(name, 2, ev_option=option) for name in ("given", "default"))
    step = v1.get_variable("my_step", initializer=tf.constant(100, tf.int64), trainable=False)
    v1.train.create_global_step()
    ids = tf.constant([3], tf.int64)
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    train_given = optimizer.minimize(tf.reduce_sum(tf.gather(given, ids)), global_step=step, var_list=[given])
    train_default = optimizer.minimize(tf.reduce_sum(tf.gather(default, ids)), var_list=[default])
    graph.initialize()
    assert graph.run(given.get_version(ids)).tolist() == [-1]
    for expected in (100, 101):
      graph.run([train_given, train_default])
      assert graph.run(given.get_version(ids)).tolist() == [expected]
    assert graph.run(default.get_version(ids)).tolist() == [0]
