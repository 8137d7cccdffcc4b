import gc

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import variable
from ev_tf._native import raw_ops

v1 = tf.compat.v1
INT64 = np.iinfo(np.int64)
EXTREME = np.array([0, -1, -2, 1, INT64.min, INT64.max, INT64.min + 1, INT64.max - 1, -111, -222], np.int64)


def train(ev, ids, optimizer=None):
  """One step of gradient 1 on the rows of ids."""
  optimizer = optimizer or v1.train.GradientDescentOptimizer(1.0)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, ids))
  optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])


def test_every_int64_is_a_key(make_ev):
  ev = make_ev(3, initializer=v1.zeros_initializer())
  train(ev, tf.constant(EXTREME))
  assert int(ev.size()) == len(EXTREME)
  assert set(ev.export().keys.numpy()) == set(EXTREME)
  np.testing.assert_array_equal(tf.gather(ev, EXTREME).numpy(), np.full([len(EXTREME), 3], -1.0))
  np.testing.assert_array_equal(tf.gather(ev, EXTREME + 17).numpy()[:4], np.zeros([4, 3]))
  for key in EXTREME:
    assert int(ev.remove([key])) == 1
  assert int(ev.size()) == 0


def test_a_lookup_does_not_insert_and_repeats_itself(make_ev):
  ev = make_ev(5)
  ids = tf.constant([5, -9, 1 << 50, 5], tf.int64)
  first = tf.gather(ev, ids).numpy()
  for _ in range(3):
    np.testing.assert_array_equal(tf.nn.embedding_lookup(ev, ids).numpy(), first)
  assert int(ev.size()) == 0
  np.testing.assert_array_equal(first[0], first[3])


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (2, 3, 1), (2, 1, 2, 3)])
@pytest.mark.parametrize("dtype", [tf.int64, tf.int32])
def test_ids_of_any_rank(make_ev, shape, dtype):
  ev = make_ev(4, initializer=v1.truncated_normal_initializer(seed=2))
  dense = tf.nn.embedding_lookup(ev, tf.range(4096, dtype=tf.int64)).numpy()
  ids = np.arange(np.prod(shape, dtype=int)).reshape(shape) * 7
  for lookup in (tf.nn.embedding_lookup, tf.gather, lambda ev, ids: ev.sparse_read(ids)):
    rows = lookup(ev, tf.constant(ids, dtype))
    assert rows.shape == shape + (4,)
    np.testing.assert_array_equal(rows.numpy(), dense[ids])


def test_ids_of_unknown_shape(make_ev):
  ev = make_ev(4, initializer=v1.ones_initializer())

  @tf.function(input_signature=[tf.TensorSpec(None, tf.int64)])
  def lookup(ids):
    return tf.nn.embedding_lookup(ev, ids)

  assert lookup(tf.zeros([], tf.int64)).shape == [4]
  assert lookup(tf.zeros([2, 3, 1], tf.int64)).shape == [2, 3, 1, 4]
  assert lookup(tf.zeros([0], tf.int64)).shape == [0, 4]

  @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int64)])
  def partly(ids):
    rows = tf.gather(ev, ids)
    assert rows.shape.as_list() == [None, 2, 4]
    return rows

  assert partly(tf.zeros([3, 2], tf.int64)).shape == [3, 2, 4]


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 64, 100, 255, 1000, 4096])
def test_dims(make_ev, dim):
  ev = make_ev(dim, initializer=v1.constant_initializer(2.0),
               ev_option=ev_tf.EmbeddingVariableOption(init_option=ev_tf.InitializerOption(default_value_dim=2)))
  train(ev, tf.constant([[1, 2], [1, -1]], tf.int64), v1.train.GradientDescentOptimizer(0.5))
  rows = tf.gather(ev, tf.constant([1, 2, -1, 7], tf.int64)).numpy()
  np.testing.assert_array_equal(rows, np.repeat([[1.0], [1.5], [1.5], [2.0]], dim, 1))


@pytest.mark.parametrize("ids, kind", [(tf.constant([1.0]), "float32"), (tf.constant(["a"]), "string"),
                                       (tf.constant([1], tf.int16), "int16"), (np.array([1.5]), "float64")])
def test_ids_of_a_wrong_type(make_ev, ids, kind):
  with pytest.raises(TypeError, match=f"ids: expected int64 or int32 .*got {kind}"):
    make_ev().sparse_read(ids)


def test_int32_variable(make_ev):
  ev = make_ev(2, key_dtype=tf.int32, initializer=v1.zeros_initializer())
  ids = tf.constant([-2147483648, 2147483647, -1], tf.int32)
  train(ev, ids)
  export = ev.export()
  assert export.keys.dtype == tf.int32 and set(export.keys.numpy()) == set(ids.numpy())
  with pytest.raises(TypeError, match="expected int32 .*got int64"):
    tf.gather(ev, tf.constant([1], tf.int64))


def test_uninitialized_use_says_what_to_run(graph):
  ev = ev_tf.get_embedding_variable("cold", 4)
  optimizer = v1.train.GradientDescentOptimizer(0.1)
  rows = tf.gather(ev, tf.constant([1], tf.int64))
  for op in (rows, ev.size(), optimizer.minimize(tf.reduce_sum(rows)), ev.export().keys):
    with pytest.raises(tf.errors.FailedPreconditionError, match="'cold' is not initialized: run its initializer.*"
                                                                "global_variables_initializer"):
      graph.run(op)


SPARSE = dict(indices=[[0, 0], [0, 1], [2, 0], [3, 2]], values=np.array([11, -5, 12, 11]), shape=[5, 3])


def sparse_ids(dtype=tf.int64):
  return tf.SparseTensor(SPARSE["indices"], tf.constant(SPARSE["values"], dtype), SPARSE["shape"])


def sparse_weights(values=(0.5, 2.0, 3.0, 4.0)):
  return tf.SparseTensor(SPARSE["indices"], tf.constant(values, tf.float32), SPARSE["shape"])


@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
def test_sparse_lookups_equal_those_of_a_dense_variable(make_ev, combiner, weighted, parts):
  initializer = v1.truncated_normal_initializer(seed=3)
  partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
  ev = make_ev(4, initializer=initializer, partitioner=partitioner)
  matrix = tf.Variable(tf.gather(ev, tf.range(4096, dtype=tf.int64)))
  row_of = lambda ids: tf.SparseTensor(ids.indices, ids.values % 4096, ids.dense_shape)
  ids = sparse_ids()
  weights = sparse_weights() if weighted else None
  np.testing.assert_allclose(tf.nn.embedding_lookup_sparse(ev, ids, weights, combiner=combiner).numpy(),
                             tf.nn.embedding_lookup_sparse(matrix, row_of(ids), weights, combiner=combiner).numpy(),
                             rtol=1e-6)
  for safe in (tf.nn.safe_embedding_lookup_sparse, v1.nn.safe_embedding_lookup_sparse):
    np.testing.assert_allclose(safe(ev, ids, weights, combiner=combiner).numpy(),
                               safe(matrix, row_of(ids), weights, combiner=combiner).numpy(), rtol=1e-6)
    np.testing.assert_allclose(safe(ev, ids, weights, combiner=combiner, default_id=7, max_norm=0.5).numpy(),
                               safe(matrix, row_of(ids), weights, combiner=combiner, default_id=7, max_norm=0.5).numpy(),
                               rtol=1e-5, atol=1e-7)


def test_safe_lookup_of_higher_rank_and_of_weights_that_do_not_count(make_ev):
  ev = make_ev(2, initializer=v1.ones_initializer())
  ids = tf.SparseTensor([[0, 0, 0], [1, 2, 1]], tf.constant([4, -4], tf.int64), [2, 3, 2])
  rows = tf.nn.safe_embedding_lookup_sparse(ev, ids, combiner="sum")
  assert rows.shape == [2, 3, 2]
  np.testing.assert_array_equal(rows.numpy()[..., 0], [[1, 0, 0], [0, 0, 1]])
  weights = tf.SparseTensor(ids.indices, [0.0, 2.0], ids.dense_shape)
  np.testing.assert_array_equal(tf.nn.safe_embedding_lookup_sparse(ev, ids, weights).numpy()[..., 0], [[0, 0, 0], [0, 0, 1]])
  with pytest.raises(ValueError, match="combiner: expected one of mean, sqrtn, sum, tile, got 'max'"):
    tf.nn.safe_embedding_lookup_sparse(ev, ids, combiner="max")


@pytest.mark.parametrize("in_list", [False, True])
def test_safe_lookup_trains_negative_ids_and_makes_no_key_for_empty_rows(make_ev, in_list):
  ev = make_ev(2, initializer=v1.zeros_initializer())
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.safe_embedding_lookup_sparse([ev] if in_list else ev, sparse_ids(), combiner="sum"))
  v1.train.GradientDescentOptimizer(1.0).apply_gradients([(tape.gradient(loss, ev), ev)])
  assert set(ev.export().keys.numpy()) == {11, -5, 12}
  np.testing.assert_array_equal(tf.gather(ev, tf.constant([11, -5, 12, 0], tf.int64)).numpy()[:, 0], [-2, -1, -1, 0])


def test_ragged_ids(make_ev):
  ev = make_ev(2, initializer=v1.ones_initializer())
  ids = tf.ragged.constant([[1], [], [2, -3]], dtype=tf.int64)
  assert tf.nn.embedding_lookup(ev, ids).shape.as_list() == [3, None, 2]
  np.testing.assert_array_equal(tf.nn.safe_embedding_lookup_sparse(ev, ids, combiner="sum").numpy()[:, 0], [1, 0, 2])


def test_dense_variables_are_looked_up_as_ever(make_ev):
  make_ev()
  dense = tf.Variable(tf.ones([20, 2]))
  np.testing.assert_array_equal(tf.nn.safe_embedding_lookup_sparse(dense, sparse_ids(), combiner="sum").numpy()[:, 0],
                                [1, 0, 1, 1, 0])


def test_a_variable_as_an_argument_of_a_function(make_ev):
  first, second = make_ev(2, initializer=v1.zeros_initializer()), make_ev(2, initializer=v1.ones_initializer())

  @tf.function
  def lookup(ev, ids):
    return tf.nn.embedding_lookup(ev, ids)

  ids = tf.constant([1, 2], tf.int64)
  assert lookup(first, ids).numpy().sum() == 0 and lookup(second, ids).numpy().sum() == 4


def test_gradients_are_slices_of_what_was_looked_up(make_ev):
  ev = make_ev(2, initializer=v1.ones_initializer())
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(ev, tf.constant([[3, 3], [-1, 5]], tf.int64)) * 2.0)
  assert [v is ev for v in tape.watched_variables()] == [True]
  gradient = tape.gradient(loss, ev)
  assert isinstance(gradient, tf.IndexedSlices)
  assert gradient.indices.numpy().tolist() == [3, 3, -1, 5]
  np.testing.assert_array_equal(gradient.values, np.full([4, 2], 2.0))


@pytest.mark.parametrize("branches", ["cond", "switch_case"])
def test_a_branch_that_is_not_taken_trains_nothing(make_ev, branches):
  ev = make_ev(2, initializer=v1.zeros_initializer())
  optimizer = v1.train.GradientDescentOptimizer(1.0)
  look = lambda ids: lambda: tf.reduce_sum(tf.gather(ev, tf.constant(ids, tf.int64)))

  @tf.function
  def step(which):
    with tf.GradientTape() as tape:
      if branches == "cond":
        loss = tf.cond(which > 0, look([7, 7]), lambda: tf.constant(0.0))
      else:
        loss = tf.switch_case(which, [lambda: tf.constant(0.0), look([7, 7]), look([-9])])
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])

  step(tf.constant(0))
  assert int(ev.size()) == 0
  step(tf.constant(1))
  assert ev.export().keys.numpy().tolist() == [7]
  np.testing.assert_array_equal(tf.gather(ev, [7]).numpy(), [[-2.0, -2.0]])


def test_a_branch_of_a_graph(graph):
  ev = ev_tf.get_embedding_variable("e", 2, initializer=v1.zeros_initializer())
  flag = v1.placeholder(tf.bool, [])
  loss = tf.cond(flag, lambda: tf.reduce_sum(tf.gather(ev, tf.constant([7], tf.int64))), lambda: tf.constant(0.0))
  train_op = v1.train.AdagradOptimizer(0.1).minimize(loss)
  graph.initialize()
  for value, size in ((False, 0), (True, 1), (False, 1)):
    graph.run(train_op, {flag: value})
    assert graph.run(ev.size()) == size


def test_a_gradient_out_of_a_loop_says_what_to_do(make_ev):
  ev = make_ev(3, initializer=v1.zeros_initializer())
  weight = tf.Variable(2.0)

  @tf.function
  def outside(sources, nested):
    with tf.GradientTape() as tape:
      loss = 0.0
      for i in tf.range(3):
        if not nested or i > 0:
          loss += weight * tf.reduce_sum(tf.nn.embedding_lookup(ev, [1, 2] + tf.cast(i, tf.int64)))
    return tape.gradient(loss, sources)

  for sources in (ev, weight):
    for nested in (False, True):
      with pytest.raises(NotImplementedError, match="Look the ids up before the loop"):
        outside(sources, nested)

  @tf.function
  def inside():
    for i in tf.range(3):
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, [1, 2] + tf.cast(i, tf.int64)))
      v1.train.GradientDescentOptimizer(1.0).apply_gradients([(tape.gradient(loss, ev), ev)])

  inside()
  np.testing.assert_array_equal(tf.gather(ev, [1, 2, 3, 4]).numpy()[:, 0], [-1.0, -2.0, -2.0, -1.0])


def test_making_a_gradient_dense_fails(make_ev):
  ev = make_ev(2)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64)))
  with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
    tf.convert_to_tensor(tape.gradient(loss, ev))


def test_frequency_version_remove_metrics(make_ev):
  ev = make_ev(2, ev_option=ev_tf.EmbeddingVariableOption(record_frequency=True, record_version=True))
  optimizer, step = v1.train.AdagradOptimizer(0.1), tf.Variable(40, dtype=tf.int64)
  for ids in ([1, 1, -2], [1]):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.gather(ev, tf.constant(ids, tf.int64)))
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)], global_step=step)
  ids = tf.constant([[1, -2], [3, 1]], tf.int64)
  assert ev.get_frequency(ids).numpy().tolist() == [[3, 1], [0, 3]]
  assert ev.get_version(ids).numpy().tolist() == [[41, 40], [-1, 41]]
  assert int(ev.remove(tf.constant([3, -2, -2], tf.int64))) == 1 and int(ev.size()) == 1
  assert ev.get_dynamic_shape().numpy().tolist() == ev.total_count().numpy().tolist() == [1, 2]
  metrics = ev.metrics()
  assert (metrics["rows"], metrics["inserts"], metrics["removes"], metrics["update_keys"]) == (1, 2, 1, 4)
  assert metrics["row_bytes"] == 32
  ev.flush_evictions(), ev.prefetch(ids)
  assert ev.lookup_tier(ids).numpy().tolist() == [[0, -1], [-1, 0]]


def test_metric_names_are_the_ops(make_ev):
  ev = make_ev()
  names = raw_ops.ev_metrics(ev.handle).names.numpy()
  assert tuple(name.decode() for name in names) == variable.METRICS


def test_the_table_goes_with_its_variable(make_ev):
  ev = make_ev()
  handle = ev.handle
  del ev
  gc.collect()
  with pytest.raises(tf.errors.FailedPreconditionError, match="not initialized"):
    raw_ops.ev_size(handle)


def test_what_is_not_recorded_is_an_error(make_ev):
  with pytest.raises(ValueError, match="does not record frequencies: .*record_frequency=True"):
    make_ev().get_frequency([1])
  with pytest.raises(ValueError, match="does not record versions: .*TF_RECORD_VERSION=1"):
    make_ev().get_version([1])


@pytest.mark.slow
def test_twenty_million_rows(make_ev):
  ev = make_ev(2, initializer=v1.zeros_initializer())
  optimizer = v1.train.GradientDescentOptimizer(1.0)
  rows, batch = 20_000_000, 1_000_000
  for start in range(0, rows, batch):
    ids = tf.range(start, start + batch, dtype=tf.int64) * 1_000_003 - 7 * rows
    gradient = tf.IndexedSlices(tf.repeat(tf.cast(ids % 1000, tf.float32)[:, tf.newaxis], 2, 1), ids)
    optimizer.apply_gradients([(gradient, ev)])
    assert int(ev.size()) == start + batch
  ids = tf.constant(np.random.default_rng(0).integers(0, rows, 100_000)) * 1_000_003 - 7 * rows
  np.testing.assert_array_equal(tf.gather(ev, ids).numpy()[:, 1], -(ids.numpy() % 1000).astype(np.float32))
