"""The optimizers of ev_tf.train: what they have that stock optimizers have not, and dense variables of every kind.

That a table equals a dense variable under them is shown with the stock optimizers, in test_optimizers_v1.py.
"""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import train

v1 = tf.compat.v1
DIM = 3
MAKERS = {
    "adagrad_decay": lambda step: train.AdagradDecayOptimizer(0.1, step, accumulator_decay_step=2, accumulator_decay_rate=0.5),
    "row_wise_adagrad": lambda step: train.RowWiseAdagradOptimizer(0.1),
    "adam_async": lambda step: train.AdamAsyncOptimizer(0.1, epsilon=1e-4),
    "adamw": lambda step: train.AdamWOptimizer(0.01, 0.1, epsilon=1e-4),
}


def make_ev(**kwargs):
  return ev_tf.get_embedding_variable("ev", DIM, initializer=v1.random_uniform_initializer(-1, 1, seed=3), **kwargs)


def apply(optimizer, v, ids, grads, **kwargs):
  optimizer.apply_gradients([(tf.IndexedSlices(tf.constant(grads, tf.float32), tf.constant(ids, tf.int64)), v)], **kwargs)


def grads_of(rng, rows):
  return rng.normal(size=[rows, DIM]).astype(np.float32)


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_dense_gradients_equal_a_table_with_every_row_in_the_batch(name, use_resource, new_graph, rng):
  with new_graph() as graph:
    ev = make_ev()
    dense = v1.get_variable("dense", [8, DIM], use_resource=use_resource)
    whole = v1.get_variable("whole", [8, DIM], use_resource=use_resource)
    grads, step = v1.placeholder(tf.float32, [8, DIM]), v1.train.get_or_create_global_step()
    all_rows = tf.IndexedSlices(grads, tf.range(8), tf.constant([8, DIM]))
    train_op = MAKERS[name](step).apply_gradients([(all_rows, ev), (all_rows, dense), (grads, whole)], global_step=step)
    copies = [v.assign(tf.gather(ev, tf.range(8))) for v in (dense, whole)]
    graph.initialize()
    graph.run(copies)
    for _ in range(40):
      graph.run(train_op, {grads: grads_of(rng, 8)})
    table, *others = graph.run([tf.gather(ev, tf.range(8)), dense, whole])
    for other in others:
      np.testing.assert_allclose(other, table, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("shape", [[], [4], [4, DIM], [4, 2, DIM]])
@pytest.mark.parametrize("name", MAKERS)
def test_dense_variables_of_any_rank(name, shape, dtype, rng):
  step = tf.Variable(0, dtype=tf.int32)
  v, optimizer = tf.Variable(np.ones(shape), dtype=dtype), MAKERS[name](step)
  losses = []
  for _ in range(30):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.square(v - 0.5))
    losses.append(float(loss))
    optimizer.apply_gradients([(tape.gradient(loss, v), v)], global_step=step)
  assert v.shape == shape and losses[-1] < 0.2 * losses[0]
  if len(shape) > 1:
    before = v.numpy()
    optimizer.apply_gradients([(tf.IndexedSlices(tf.ones([2] + shape[1:], dtype), [1, 1]), v)])
    moved = (v.numpy() != before).reshape(4, -1)
    # TensorFlow's Adam moves rows that have momentum, AdamW's too.
    np.testing.assert_array_equal(moved.all(axis=1), [name == "adamw", True, name == "adamw", name == "adamw"])


@pytest.mark.parametrize("name, slots, row_bytes", [
    ("adagrad_decay", ["AdagradDecay/accumulator", "AdagradDecay/accumulator_decay_power"], 16 + 16 + 16),
    ("row_wise_adagrad", ["RowWiseAdagrad/accumulator"], 16 + 16),
    ("adam_async", ["AdamAsync/m", "AdamAsync/v"], 3 * 16)])
def test_slots_lie_in_the_rows(name, slots, row_bytes):
  ev, step = make_ev(), tf.Variable(0, dtype=tf.int64)
  optimizer = MAKERS[name](step)
  apply(optimizer, ev, [5], [[1.0] * DIM], global_step=step)
  assert ev.metrics()["row_bytes"] == row_bytes
  views = [optimizer.get_slot(ev, slot.split("/")[1]) for slot in slots]
  assert [view.slot_name for view in views] == slots
  for view in views:
    keys, rows = view.export()
    per_row = view.slot_name.endswith("decay_power") or name == "row_wise_adagrad"
    assert keys.numpy().tolist() == [5] and rows.shape == [1, 1 if per_row else DIM]


def test_a_narrow_slot_is_narrow_below_dram_too(tmp_path):
  storage = ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, str(tmp_path), [2 * 48])  # two rows with their slots
  ev, step = make_ev(ev_option=ev_tf.EmbeddingVariableOption(storage_option=storage)), tf.Variable(0, dtype=tf.int64)
  optimizer = MAKERS["adagrad_decay"](step)
  for i in range(12):
    apply(optimizer, ev, [i % 6], [[1.0] * DIM], global_step=step)
  assert ev.metrics()["hot_capacity"] == 2
  ev.flush_evictions()
  keys, decays = optimizer.get_slot(ev, "accumulator_decay_power").export()
  # Rows 1 to 5 are updated at the steps 2 to 6 and again six steps later: each time a period has ended, they shrink once.
  assert dict(zip(keys.numpy().tolist(), decays.numpy()[:, 0].tolist())) == {0: 1, 1: 2, 2: 2, 3: 2, 4: 2, 5: 2}


@pytest.mark.parametrize("name", ["adagrad_decay", "row_wise_adagrad", "adam_async"])
def test_a_saved_training_goes_on_where_it_was(name, new_graph, rng, tmp_path):
  batches = [(rng.integers(0, 9, 6), grads_of(rng, 6)) for _ in range(10)]

  def run(steps, restore=None, save=None):
    with new_graph() as graph:
      ev, dense = make_ev(), v1.get_variable("dense", [9, DIM], initializer=v1.ones_initializer())
      ids, grads = v1.placeholder(tf.int64, [None]), v1.placeholder(tf.float32, [None, DIM])
      step = v1.train.get_or_create_global_step()
      slices = tf.IndexedSlices(grads, ids)
      train_op = MAKERS[name](step).apply_gradients([(slices, ev), (slices, dense)], global_step=step)
      result, saver = [tf.gather(ev, tf.range(9)), dense], v1.train.Saver()
      graph.initialize()
      if restore:
        saver.restore(graph.session, restore)
      for i, g in steps:
        graph.run(train_op, {ids: i, grads: g})
      return saver.save(graph.session, save) if save else graph.run(result)

  expected = run(batches)
  path = run(batches[:4], save=str(tmp_path / "ckpt"))
  for got, want in zip(run(batches[4:], restore=path), expected):
    np.testing.assert_array_equal(got, want)


def clocks(optimizer):
  """{variable and optimizer: [beta1 ** t, beta2 ** t]} of an AdamAsyncOptimizer in eager mode."""
  powers = {v.name.split(":")[0]: v.numpy().item() for v in optimizer.variables() if "beta" in v.name}
  owners = sorted({name.rsplit("/", 1)[0] for name in powers})
  return {owner: [powers[f"{owner}/beta{i}_power"] for i in (1, 2)] for owner in owners}


class TestAdamAsync:

  def test_each_variable_has_a_clock_that_empty_batches_do_not_move(self):
    optimizer = train.AdamAsyncOptimizer(0.1, beta1=0.5, beta2=0.75)
    a, b, dense = make_ev(), make_ev(), tf.Variable(np.ones([4, DIM]), dtype=tf.float32, name="dense")
    for v in (a, a, dense):
      apply(optimizer, v, [1, 2], np.ones([2, DIM]))
    apply(optimizer, b, [], np.ones([0, DIM]))
    assert clocks(optimizer) == {"dense/AdamAsync": [0.5**2, 0.75**2], "ev/AdamAsync": [0.5**3, 0.75**3],
                                 "ev/AdamAsync_1": [0.5, 0.75]}

  def test_clocks_stand_still_under_rms_prop_but_for_dense_gradients(self):
    optimizer = train.AdamAsyncOptimizer(0.1, beta1=0.5, beta2=0.75, apply_sparse_rmsprop=True)
    ev, dense = make_ev(), tf.Variable(np.ones([4, DIM]), dtype=tf.float32, name="dense")
    for v in (ev, dense):
      apply(optimizer, v, [1, 2], np.ones([2, DIM]))
    assert clocks(optimizer) == {"dense/AdamAsync": [0.5, 0.75], "ev/AdamAsync": [0.5, 0.75]}
    optimizer.apply_gradients([(tf.ones([4, DIM]), dense)])
    assert clocks(optimizer) == {"dense/AdamAsync": [0.5**2, 0.75**2], "ev/AdamAsync": [0.5, 0.75]}

  def test_the_clock_moves_once_a_step_in_a_function(self):
    optimizer, ev = train.AdamAsyncOptimizer(0.1, beta1=0.5), make_ev()
    step = tf.function(lambda: apply(optimizer, ev, [1, 2], np.ones([2, DIM])))
    for _ in range(3):
      step()
    assert optimizer.variables()[0].numpy() == 0.5**4

  def test_an_eager_checkpoint_keeps_the_clocks(self, tmp_path):
    def make():
      return make_ev(), train.AdamAsyncOptimizer(0.1, beta1=0.5)

    ev, optimizer = make()
    apply(optimizer, ev, [1], np.ones([1, DIM]))
    path = tf.train.Checkpoint(ev=ev, optimizer=optimizer).save(str(tmp_path / "ckpt"))
    fresh_ev, fresh = make()
    tf.train.Checkpoint(ev=fresh_ev, optimizer=fresh).restore(path)
    for e, o in ((ev, optimizer), (fresh_ev, fresh)):
      apply(o, e, [1, 2], np.ones([2, DIM]))
    assert fresh.variables()[0].numpy() == optimizer.variables()[0].numpy() == 0.5**3
    np.testing.assert_array_equal(tf.gather(fresh_ev, [1, 2]), tf.gather(ev, [1, 2]))


class TestAdamW:

  def test_only_listed_variables_decay(self, new_graph):
    with new_graph() as graph:
      front = ev_tf.get_embedding_variable("front", DIM, initializer=v1.ones_initializer(),
                                           partitioner=v1.fixed_size_partitioner(2))
      plain, w, u = make_ev(), *(v1.get_variable(n, [2], initializer=v1.ones_initializer()) for n in "wu")
      loss = 0.0 * (tf.reduce_sum(tf.gather(front, [1, 2])) + tf.reduce_sum(tf.gather(plain, [1, 2])) + tf.reduce_sum(w * u))
      optimizer = train.AdamWOptimizer(0.25, learning_rate=0.0)
      train_op = optimizer.minimize(loss, decay_var_list=[front, w])
      reads = [tf.gather(front, [1, 2]), tf.gather(plain, [1, 2]), w, u]
      graph.initialize()
      before = graph.run(reads)
      graph.run(train_op)
      for b, a, factor in zip(before, graph.run(reads), [0.75, 1.0, 0.75, 1.0]):
        np.testing.assert_allclose(a, b * factor)

  def test_all_variables_decay_by_default_also_after_a_list(self):
    optimizer, w, u = train.AdamWOptimizer(0.5, learning_rate=0.0), tf.Variable([4.0]), tf.Variable([4.0])
    optimizer.apply_gradients([(tf.zeros([1]), w), (tf.zeros([1]), u)], decay_var_list=[u])
    optimizer.apply_gradients([(tf.zeros([1]), w), (tf.zeros([1]), u)])
    assert (w.numpy().item(), u.numpy().item()) == (2.0, 1.0)

  def test_scaled_decay_is_deeprecs(self):
    lr, beta1, beta2, decay = 0.1, 0.8, 0.95, 0.5
    optimizer, ev = train.AdamWOptimizer(decay, lr, beta1, beta2, scaled_decay=True), make_ev()
    row = tf.gather(ev, [7]).numpy().astype(np.float64)
    m = v = np.zeros_like(row)
    for t in range(1, 6):
      grad = np.full_like(row, t - 2.5)
      apply(optimizer, ev, [7], grad)
      m, v = m * beta1 + grad * (1 - beta1), v * beta2 + grad**2 * (1 - beta2)
      alpha = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
      row -= (m / (np.sqrt(v) + 1e-8) + decay * row) * alpha
    np.testing.assert_allclose(tf.gather(ev, [7]), row, rtol=1e-5)


def test_group_l1_leaves_dense_variables_as_they_are(rng):
  options = dict(l1_regularization_strength=0.5, l2_regularization_strength=0.1)
  values, ids = [], np.arange(6)
  grads = [grads_of(rng, 6) for _ in range(5)]
  for optimizer in (train.FtrlOptimizer(0.1, group_l1=True, **options), v1.train.FtrlOptimizer(0.1, **options)):
    v = tf.Variable(np.zeros([6, DIM]), dtype=tf.float32)
    for g in grads:
      apply(optimizer, v, ids, g)
    values.append(v.numpy())
  np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("make, message", [
    (lambda: train.AdagradDecayOptimizer(0.1, None, initial_accumulator_value=0.0), "initial_accumulator_value: .*> 0, got 0.0"),
    (lambda: train.AdagradDecayOptimizer(0.1, None, initial_accumulator_value=float("nan")), "initial_accumulator_value"),
    (lambda: train.AdagradDecayOptimizer(0.1, None, accumulator_decay_step=0), "accumulator_decay_step: .*> 0, got 0"),
    (lambda: train.AdagradDecayOptimizerV2(0.1, None, accumulator_decay_rate=1.0), r"accumulator_decay_rate: .*in \(0, 1\)"),
    (lambda: train.RowWiseAdagradOptimizer(0.1, -1.0), "initial_accumulator_value: .*>= 0, got -1.0"),
    (lambda: train.RowWiseAdagradOptimizer(0.1, epsilon=float("inf")), "epsilon: .*got inf"),
    (lambda: train.RowWiseAdagradOptimizer(0.1, 0.0, 0.0), "one of them > 0")])
def test_what_cannot_be_is_said_when_it_is_made(make, message):
  with pytest.raises(ValueError, match=message):
    make()


@pytest.mark.parametrize("hyper, name", [
    (dict(beta1=1.0), "beta1"), (dict(beta2=float("nan")), "beta2"), (dict(epsilon=-1.0), "epsilon")])
def test_a_bad_hyperparameter_changes_nothing(hyper, name):
  ev = make_ev()
  with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name}: expected"):
    apply(train.AdamAsyncOptimizer(0.1, **hyper), ev, [1], np.ones([1, DIM]))
  assert int(ev.size()) == 0
