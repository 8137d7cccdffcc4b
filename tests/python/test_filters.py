"""Filters through TensorFlow: which step gives an id its row, what it reads and counts until then, and after a restart."""

import collections

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import train

v1 = tf.compat.v1
DIM, BATCH = 6, 24
PADDED = 32  # bytes of DIM floats in a row
OPTIMIZERS = {
    "sgd": lambda: v1.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: v1.train.MomentumOptimizer(0.05, 0.9),
    "adagrad": lambda: v1.train.AdagradOptimizer(0.1),
    "adam": lambda: v1.train.AdamOptimizer(0.01),
    "adamw": lambda: train.AdamWOptimizer(weight_decay=0.01, learning_rate=0.01),
    "ftrl": lambda: v1.train.FtrlOptimizer(0.1, l1_regularization_strength=0.001, l2_shrinkage_regularization_strength=0.01),
    "group_ftrl": lambda: train.FtrlOptimizer(0.1, l1_regularization_strength=0.01, group_l1=True),
    "rms_prop": lambda: v1.train.RMSPropOptimizer(0.01, momentum=0.9, centered=True),
    "adagrad_decay": lambda: train.AdagradDecayOptimizer(0.1, v1.train.get_or_create_global_step(), accumulator_decay_step=3),
    "adagrad_decay_v2": lambda: train.AdagradDecayOptimizerV2(0.1, v1.train.get_or_create_global_step(), accumulator_decay_step=3),
    "row_wise_adagrad": lambda: train.RowWiseAdagradOptimizer(0.1),
    "adam_async": lambda: train.AdamAsyncOptimizer(0.01),
    "adam_async_rms_prop": lambda: train.AdamAsyncOptimizer(0.01, apply_sparse_rmsprop=True),
}
FILTERS = {
    "none": lambda freq: None,
    "counter": ev_tf.CounterFilter,
    "cbf": lambda freq: ev_tf.CBFFilter(freq, 2000, 1e-6, tf.uint16),
}
NO_PERMISSION = -3.5
IDS = [0, -1, 7, np.iinfo(np.int64).min, np.iinfo(np.int64).max, *(i * 1009 for i in range(-20, 20) if i)]


def option_of(filter_option, storage_type="DRAM", path=None, rows=4, **kwargs):
  storage = ev_tf.StorageOption(ev_tf.StorageType[storage_type], None if storage_type == "DRAM" else str(path), [rows * PADDED])
  return ev_tf.EmbeddingVariableOption(filter_option=filter_option, storage_option=storage,
                                       init_option=ev_tf.InitializerOption(default_value_no_permission=NO_PERMISSION), **kwargs)


@pytest.mark.parametrize("storage_type", ["DRAM", "DRAM_SSDHASH"])
@pytest.mark.parametrize("filter_name", FILTERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_filtered_table_is_one_that_is_given_what_a_dictionary_admits(optimizer, filter_name, storage_type, graph, rng, tmp_path):
  freq = 0 if filter_name == "none" else 3
  initializer = v1.random_uniform_initializer(-1, 1, seed=1)
  make = ev_tf.get_embedding_variable
  option = option_of(FILTERS[filter_name](freq), storage_type, tmp_path, rows=12, record_frequency=True)
  ev, oracle = make("ev", DIM, initializer=initializer, ev_option=option), make("oracle", DIM, initializer=initializer)
  ids, kept = v1.placeholder(tf.int64, [None]), v1.placeholder(tf.int64, [None])
  grads, kept_grads = v1.placeholder(tf.float32, [None, DIM]), v1.placeholder(tf.float32, [None, DIM])
  train_op = tf.group(
      OPTIMIZERS[optimizer]().minimize(tf.reduce_sum(tf.nn.embedding_lookup(ev, ids) * grads), var_list=[ev]),
      OPTIMIZERS[optimizer]().minimize(tf.reduce_sum(tf.nn.embedding_lookup(oracle, kept) * kept_grads), var_list=[oracle]))
  with tf.control_dependencies([train_op]):
    train_op = v1.assign_add(v1.train.get_or_create_global_step(), 1).op
  everything = tf.constant(np.array(IDS, np.int64))
  state = dict(rows=tf.gather(ev, everything), expected=tf.gather(oracle, everything), size=ev.size(),
               frequencies=ev.get_frequency(everything))
  graph.initialize()
  counts = collections.Counter()
  for _ in range(12):
    batch = np.array(IDS, np.int64)[np.minimum(rng.zipf(1.3, BATCH), len(IDS)) - 1]
    batch_grads = rng.normal(size=[BATCH, DIM]).astype(np.float32)
    counts.update(batch.tolist())
    admitted = np.array([counts[i] >= freq for i in batch.tolist()])
    graph.run(train_op, {ids: batch, grads: batch_grads, kept: batch[admitted], kept_grads: batch_grads[admitted]})
    seen = graph.run(state)
    has_row = np.array([counts[i] >= max(freq, 1) for i in IDS])
    reads_row = has_row if freq else np.full(len(IDS), True)
    np.testing.assert_array_equal(seen["rows"], np.where(reads_row[:, None], seen["expected"], NO_PERMISSION))
    assert seen["size"] == has_row.sum()
    np.testing.assert_array_equal(seen["frequencies"], [counts[i] for i in IDS])
  assert 5 < has_row.sum() and (freq == 0 or has_row.sum() < len(counts))


def step_on(ev, ids):
  """One step of gradient descent by 1 for each time an id stands in `ids`."""
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, tf.constant(ids, tf.int64)))
  variables = list(ev) if isinstance(ev, ev_tf.PartitionedEmbeddingVariable) else [ev]
  v1.train.GradientDescentOptimizer(1.0).apply_gradients(zip(tape.gradient(loss, variables), variables))


@pytest.mark.parametrize("kind", ["counter", "cbf"])
def test_the_step_that_reaches_the_frequency_trains_the_row(kind, make_ev):
  ev = make_ev(ev_option=option_of(FILTERS[kind](3)), initializer=v1.ones_initializer())
  ids = tf.constant([5, -9], tf.int64)
  for count in (1, 2):
    step_on(ev, [5, -9])
    np.testing.assert_array_equal(tf.gather(ev, ids), np.full([2, 4], NO_PERMISSION))
    assert ev.get_frequency(ids).numpy().tolist() == [count, count]
    assert int(ev.size()) == 0 and ev.export().keys.shape == [0]
  step_on(ev, [5, -9, -9])
  np.testing.assert_array_equal(tf.gather(ev, ids)[:, 0], [0.0, -1.0])
  exported = ev.export()
  assert dict(zip(exported.keys.numpy(), exported.frequencies.numpy())) == {5: 3, -9: 4}
  assert ev.remove(ids).numpy() == 2
  step_on(ev, [5])  # a Bloom filter cannot forget it
  assert int(ev.size()) == (0 if kind == "counter" else 1)


def test_a_filter_that_asks_for_nothing_is_none(make_ev):
  ev = make_ev(ev_option=option_of(ev_tf.CounterFilter(0)), initializer=v1.ones_initializer())
  np.testing.assert_array_equal(tf.gather(ev, tf.constant([1], tf.int64)), np.ones([1, 4]))
  with pytest.raises(ValueError, match="does not record frequencies"):
    ev.get_frequency([1])


@pytest.mark.parametrize("counter_type", [tf.uint8, "uint16", tf.uint32, tf.uint64, None])
def test_every_counter_type(counter_type, make_ev):
  ev = make_ev(ev_option=option_of(ev_tf.CBFFilter(2, 1000, 0.001, counter_type)))
  step_on(ev, [1])
  assert int(ev.size()) == 0
  step_on(ev, [1, 2])
  assert ev.export().keys.numpy().tolist() == [1]
  width = {None: 4, tf.uint8: 1, "uint16": 2}.get(counter_type, 4)
  assert 14 * width * 1000 < ev.metrics()["filter_bytes"] < 40 * width * 1000


def test_counts_of_parts(make_ev):
  front = make_ev(ev_option=option_of(ev_tf.CounterFilter(2)), partitioner=v1.fixed_size_partitioner(3))
  step_on(front, [1, 1, 2, -3, -3, 4])
  assert sorted(front.export().keys.numpy()) == [-3, 1]
  assert front.get_frequency(tf.constant([1, 2, 9], tf.int64)).numpy().tolist() == [2, 1, 0]
  assert front.metrics()["filtered_keys"] == 2


def save_counts(new_graph, path, filter_option):
  """A checkpoint of a table that saw 1 twice, -2 once and 3 three times."""
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4, ev_option=option_of(filter_option, record_version=True))
    step = v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(tf.gather(ev, tf.constant([1, 1, -2, 3, 3, 3], tf.int64)))
    train_op = v1.train.GradientDescentOptimizer(1.0).minimize(loss, global_step=step)
    graph.initialize()
    graph.run(train_op)
    return v1.train.Saver().save(graph.session, str(path / "m.ckpt"))


def restored(new_graph, path, filter_option):
  """(frequency, version) of 1, -2 and 3 in a table that was restored from a checkpoint, and how many rows it has."""
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4, ev_option=option_of(filter_option, record_frequency=True, record_version=True))
    v1.train.get_or_create_global_step()
    v1.train.Saver().restore(graph.session, path)
    ids = tf.constant([1, -2, 3], tf.int64)
    frequencies, versions, size = graph.run([ev.get_frequency(ids), ev.get_version(ids), ev.size()])
    return frequencies.tolist(), versions.tolist(), int(size)


def test_counts_go_through_checkpoints(new_graph, tmp_path):
  path = save_counts(new_graph, tmp_path, ev_tf.CounterFilter(3))
  assert restored(new_graph, path, ev_tf.CounterFilter(3)) == ([2, 1, 3], [0, 0, 0], 1)
  assert restored(new_graph, path, ev_tf.CounterFilter(2)) == ([2, 1, 3], [0, 0, 0], 1)
  assert restored(new_graph, path, ev_tf.CBFFilter(3, 100, 1e-6))[::2] == ([2, 1, 3], 1)
  assert restored(new_graph, path, None) == ([0, 0, 3], [-1, -1, 0], 1)


def test_counts_that_are_not_saved(new_graph, tmp_path, monkeypatch):
  monkeypatch.setenv("TF_EV_SAVE_FILTERED_FEATURES", "false")
  path = save_counts(new_graph, tmp_path, ev_tf.CounterFilter(3))
  assert restored(new_graph, path, ev_tf.CounterFilter(3)) == ([0, 0, 3], [-1, -1, 0], 1)
  monkeypatch.setenv("TF_EV_SAVE_FILTERED_FEATURES", "maybe")
  with pytest.raises(tf.errors.InvalidArgumentError, match="TF_EV_SAVE_FILTERED_FEATURES: expected 0, 1, true or false"):
    save_counts(new_graph, tmp_path, ev_tf.CounterFilter(3))


def test_counts_that_are_not_restored(new_graph, tmp_path, monkeypatch):
  path = save_counts(new_graph, tmp_path, ev_tf.CounterFilter(3))
  monkeypatch.setenv("TF_EV_RESTORE_FILTERED_FEATURES", "0")
  assert restored(new_graph, path, ev_tf.CounterFilter(3)) == ([0, 0, 3], [-1, -1, 0], 1)


def test_versions_that_are_reset(new_graph, tmp_path, monkeypatch):
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4, ev_option=option_of(ev_tf.CounterFilter(2), record_version=True))
    graph.initialize()
    step, ids = v1.train.get_or_create_global_step(), v1.placeholder(tf.int64, [None])
    train_op = v1.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(tf.gather(ev, ids)), global_step=step)
    graph.run(step.initializer)
    for _ in range(5):
      graph.run(train_op, {ids: [1, 1, 3, 3]})
    graph.run(train_op, {ids: [-2]})
    path = v1.train.Saver().save(graph.session, str(tmp_path / "m.ckpt"))
  assert restored(new_graph, path, ev_tf.CounterFilter(2)) == ([10, 1, 10], [4, 5, 4], 2)
  monkeypatch.setenv("TF_EV_RESET_VERSION", "1")
  assert restored(new_graph, path, ev_tf.CounterFilter(2)) == ([10, 1, 10], [0, 0, 0], 2)
  monkeypatch.setenv("TF_EV_RESET_VERSION", "2")
  with pytest.raises(tf.errors.InvalidArgumentError, match="TF_EV_RESET_VERSION: expected 0, 1, true or false, found '2'"):
    restored(new_graph, path, ev_tf.CounterFilter(2))


def test_counts_of_unique_ids_are_counted(make_ev):
  ev = make_ev(ev_option=option_of(ev_tf.CounterFilter(4)), initializer=v1.ones_initializer())
  ids, counts = tf.constant([7, -8], tf.int64), tf.constant([4, 3])
  for expected in ([4, 3], [8, 6]):
    with tf.GradientTape() as tape:
      rows = ev.sparse_read(ids, counts=counts)
      loss = tf.reduce_sum(rows)
    v1.train.GradientDescentOptimizer(0.25).apply_gradients([(tape.gradient(loss, ev), ev)])
    assert ev.get_frequency(ids).numpy().tolist() == expected
  np.testing.assert_array_equal(tf.gather(ev, ids)[:, 0], [0.5, 0.75])  # gradients count once
  with pytest.raises(tf.errors.InvalidArgumentError, match="counts: expected one for each of 2 keys, found 3"):
    ev.sparse_read(ids, counts=[1, 2, 3])


@pytest.mark.parametrize("parts", [None, 2])
def test_rows_that_a_lookup_brings(parts, make_ev):
  partitioner = v1.fixed_size_partitioner(parts) if parts else None
  ev = make_ev(ev_option=ev_tf.EmbeddingVariableOption(), initializer=v1.ones_initializer(), partitioner=partitioner)
  step_on(ev, [1])
  ids = tf.constant([[1, 2], [-3, 2]], tf.int64)
  given = tf.reshape(tf.range(16, dtype=tf.float32), [2, 2, 4])
  expected = given.numpy()
  expected[0, 0], expected[1, 1] = 0.0, expected[0, 1]  # 1 has a row; of 2 the first
  np.testing.assert_array_equal(ev.sparse_read(ids, ev_init_value=given), expected)
  np.testing.assert_array_equal(tf.gather(ev, ids), expected)
  assert int(ev.size()) == 3
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(ev.sparse_read(ids, ev_init_value=given, counts=tf.ones([2, 2], tf.int32)))
  variables = list(ev) if parts else [ev]
  v1.train.GradientDescentOptimizer(1.0).apply_gradients(zip(tape.gradient(loss, variables), variables))
  np.testing.assert_array_equal(tf.gather(ev, ids)[:, :, 0], expected[:, :, 0] - [[1, 2], [1, 2]])
  if not parts:
    with pytest.raises(tf.errors.InvalidArgumentError, match="values: expected 16 elements, found 4"):
      ev.sparse_read(ids, ev_init_value=tf.ones([4]))
  with pytest.raises(NotImplementedError, match="ev_init_value makes rows"):
    make_ev(ev_option=option_of(ev_tf.CounterFilter(2))).sparse_read(ids, ev_init_value=given)
