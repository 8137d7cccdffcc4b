"""Sparse lookups of a table give, to rounding, what TensorFlow's own give for a matrix of the same rows; so do gradients."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import partitioned
from ev_tf._native import raw_ops

v1 = tf.compat.v1
COMBINERS = ("sum", "mean", "sqrtn")
ROWS = 64  # of the matrix that stands for the table: id i of the table is row floormod(i, ROWS)


def make_table(parts=1, dim=5, name="table"):
  partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
  option = ev_tf.EmbeddingVariableOption(init_option=ev_tf.InitializerOption(default_value_dim=ROWS))
  draw_rows = lambda shape, dtype: tf.random.stateless_normal(shape, [dim, 7], dtype=dtype)
  return ev_tf.get_embedding_variable(name, dim, initializer=draw_rows, partitioner=partitioner, ev_option=option)


def matrix_of(table):
  return tf.Variable(tf.nn.embedding_lookup(table, tf.range(ROWS, dtype=tf.int64)))


def draw(rng, rows=40, width=6, present=0.4, weighted=False, negative=True):
  """A random batch with empty entries at the start, between and at the end: SparseTensors of ids, matrix rows, weights."""
  mask = rng.random([rows, width]) < present
  mask[[0, rows // 2, rows - 1]] = False
  places = np.argwhere(mask)
  ids = rng.integers(-50 if negative else 0, 50, len(places)) * ROWS + rng.integers(0, 12, len(places))
  make = lambda values: tf.SparseTensor(places, values, [rows, width])
  weights = rng.uniform(0.1, 2.0, len(places)).astype(np.float32)
  return make(ids), make(np.mod(ids, ROWS)), make(weights) if weighted else None


def flat_gradient(gradient, table):
  """[ROWS, dim]: what the gradient adds to each row of the matrix."""
  gradient = tf.convert_to_tensor(gradient) if not isinstance(gradient, tf.IndexedSlices) else gradient
  if isinstance(gradient, tf.Tensor):
    return gradient.numpy()
  return tf.math.unsorted_segment_sum(gradient.values, gradient.indices % ROWS, ROWS).numpy()


@pytest.mark.parametrize("combiner", COMBINERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_norm", [None, 0.9])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_equal_to_a_matrix(rng, combiner, weighted, max_norm, parts):
  table = make_table(parts)
  matrix = matrix_of(table)
  ids, rows, weights = draw(rng, weighted=weighted)
  for lookup in (tf.nn.embedding_lookup_sparse, v1.nn.embedding_lookup_sparse, ev_tf.embedding_lookup_sparse):
    found = lookup(table, ids, weights, combiner=combiner, max_norm=max_norm)
    expected = tf.nn.embedding_lookup_sparse(matrix, rows, weights, combiner=combiner, max_norm=max_norm)
    assert found.shape == expected.shape == [39, 5]  # both leave out the empty entries at the end
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  for safe in (tf.nn.safe_embedding_lookup_sparse, v1.nn.safe_embedding_lookup_sparse, ev_tf.safe_embedding_lookup_sparse):
    for default_id in (None, 7):
      options = dict(combiner=combiner, max_norm=max_norm, default_id=default_id)
      found, expected = safe(table, ids, weights, **options), tf.nn.safe_embedding_lookup_sparse(matrix, rows, weights, **options)
      assert found.shape == expected.shape == [40, 5]
      np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("combiner", COMBINERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_norm", [None, 0.9])
@pytest.mark.parametrize("parts", [1, 3])
def test_gradients_equal_to_those_of_a_matrix(rng, combiner, weighted, max_norm, parts):
  table = make_table(parts)
  matrix = matrix_of(table)
  variables = list(table) if parts > 1 else [table]
  ids, rows, weights = draw(rng, weighted=weighted)
  values = tf.Variable(weights.values) if weighted else None
  of = lambda sparse: None if values is None else tf.SparseTensor(sparse.indices, values, sparse.dense_shape)
  factors = tf.constant(rng.normal(size=[39, 5]).astype(np.float32))
  with tf.GradientTape(persistent=True) as tape:
    found = tf.reduce_sum(factors * tf.nn.embedding_lookup_sparse(table, ids, of(ids), combiner=combiner, max_norm=max_norm))
    expected = tf.reduce_sum(
        factors * tf.nn.embedding_lookup_sparse(matrix, rows, of(rows), combiner=combiner, max_norm=max_norm))
  gradients = [tape.gradient(found, part) for part in variables]
  assert all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients)
  np.testing.assert_allclose(sum(flat_gradient(gradient, table) for gradient in gradients),
                             flat_gradient(tape.gradient(expected, matrix), table), rtol=1e-4, atol=1e-5)
  if weighted:
    np.testing.assert_allclose(tape.gradient(found, values), tape.gradient(expected, values), rtol=1e-4, atol=1e-5)


def test_tile_puts_rows_side_by_side(rng):
  for parts in (1, 3):
    table = make_table(parts, dim=3)
    ids, rows, weights = draw(rng, weighted=True)
    dense = np.zeros([40, 6, 3], np.float32)
    places = ids.indices.numpy()
    dense[places[:, 0], places[:, 1]] = tf.gather(matrix_of(table), rows.values)
    for lookup in (ev_tf.embedding_lookup_sparse, ev_tf.safe_embedding_lookup_sparse, tf.nn.embedding_lookup_sparse):
      np.testing.assert_array_equal(lookup(table, ids, None, combiner="tile"), dense.reshape(40, 18))
    dense[places[:, 0], places[:, 1]] *= weights.values.numpy()[:, np.newaxis]
    found = ev_tf.embedding_lookup_sparse(table, ids, weights, combiner="tile")
    np.testing.assert_allclose(found, dense.reshape(40, 18), rtol=1e-6)


def test_the_gradient_of_tile():
  table = make_table(dim=2)
  ids = tf.SparseTensor([[0, 1], [2, 0]], tf.constant([5, -6], tf.int64), [3, 2])
  factors = tf.reshape(tf.range(12.0), [3, 4])
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(factors * ev_tf.embedding_lookup_sparse(table, ids, None, combiner="tile"))
  gradient = tape.gradient(loss, table)
  assert gradient.indices.numpy().tolist() == [5, -6]
  np.testing.assert_array_equal(gradient.values, [[2, 3], [8, 9]])


@pytest.mark.parametrize("combiner", [*COMBINERS, "tile"])
@pytest.mark.parametrize("weighted", [False, True])
def test_ragged_ids_are_those_of_the_sparse_tensor(combiner, weighted):
  table = make_table()
  ids = tf.ragged.constant([[1], [], [2, -3, 2], []], dtype=tf.int64)
  weights = tf.ragged.constant([[0.5], [], [2.0, 3.0, 0.25], []]) if weighted else None
  sparse = None if weights is None else weights.to_sparse()
  for lookup in (ev_tf.embedding_lookup_sparse, ev_tf.safe_embedding_lookup_sparse):
    np.testing.assert_array_equal(lookup(table, ids, weights, combiner=combiner),
                                  lookup(table, ids.to_sparse(), sparse, combiner=combiner))


def test_ragged_rows():
  table = make_table()
  ids = tf.ragged.constant([[1], [], [2, -3]], dtype=tf.int64)
  rows = ev_tf.embedding_lookup(table, ids, max_norm=0.5)
  assert rows.row_lengths().numpy().tolist() == [1, 0, 2]
  np.testing.assert_array_equal(rows.flat_values, ev_tf.embedding_lookup(table, [1, 2, -3], max_norm=0.5))


@pytest.mark.parametrize("combiner", COMBINERS)
def test_in_a_graph_and_in_a_function(rng, new_graph, combiner):
  ids, _, weights = draw(rng, weighted=True)
  with new_graph() as graph:
    fed_ids, fed_weights = v1.sparse_placeholder(tf.int64), v1.sparse_placeholder(tf.float32)
    table = make_table()
    found = v1.nn.embedding_lookup_sparse(table, fed_ids, fed_weights, combiner=combiner)
    assert found.shape.as_list() == [None, 5]
    train = v1.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(found))
    graph.initialize()
    value_of = lambda sparse: v1.SparseTensorValue(*(part.numpy() for part in (sparse.indices, sparse.values,
                                                                               sparse.dense_shape)))
    feed = {fed_ids: value_of(ids), fed_weights: value_of(weights)}
    before = graph.run(found, feed)
    graph.run(train, feed)
    after = graph.run(found, feed)
  table = make_table()
  lookup = tf.function(lambda ids, weights: ev_tf.embedding_lookup_sparse(table, ids, weights, combiner=combiner))
  np.testing.assert_array_equal(lookup(ids, weights), before)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(lookup(ids, weights))
  v1.train.GradientDescentOptimizer(1.0).apply_gradients([(tape.gradient(loss, table), table)])
  np.testing.assert_array_equal(lookup(ids, weights), after)
  assert np.abs(after - before).max() > 0.1


def test_a_lookup_of_nothing(rng):
  table = make_table(dim=2)
  nothing = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], tf.int64), [3, 4])
  assert ev_tf.embedding_lookup_sparse(table, nothing, None).shape == [0, 2]
  assert not ev_tf.safe_embedding_lookup_sparse(table, nothing).numpy().any()
  assert ev_tf.embedding_lookup_sparse(table, nothing, None, combiner="tile").shape == [3, 8]
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(ev_tf.safe_embedding_lookup_sparse(table, nothing))
  assert tape.gradient(loss, table).values.shape == [0, 2]


def test_weights_that_cancel_give_zeros():
  table = make_table(dim=2)
  ids = tf.SparseTensor([[0, 0], [0, 1]], tf.constant([1, 2], tf.int64), [1, 2])
  weights = tf.SparseTensor(ids.indices, [1.0, -1.0], ids.dense_shape)
  assert not ev_tf.embedding_lookup_sparse(table, ids, weights, combiner="mean").numpy().any()


def test_entries_of_a_higher_rank(rng):
  table, places = make_table(dim=2), [[0, 0, 1], [1, 2, 0], [1, 2, 3]]
  ids = tf.SparseTensor(places, tf.constant([4, -5, 6], tf.int64), [2, 3, 4])
  rows = ev_tf.safe_embedding_lookup_sparse(table, ids, combiner="sum")
  assert rows.shape == [2, 3, 2]
  single = ev_tf.embedding_lookup(table, [4, -5, 6]).numpy()
  np.testing.assert_array_equal(rows[0, 0], single[0])
  np.testing.assert_allclose(rows[1, 2], single[1] + single[2], rtol=1e-6)
  tiled = ev_tf.safe_embedding_lookup_sparse(table, ids, combiner="tile")
  assert tiled.shape == [2, 3, 8]
  np.testing.assert_array_equal(tiled[1, 2], [*single[1], 0, 0, 0, 0, *single[2]])


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_are_floormod_1000_of_the_id_modulo_their_number(parts):
  ids = np.array([0, 1, 999, 1000, 1001, -1, -2, -999, -1000, -1001, 2**62, -2**62, 2**63 - 1, -2**63], np.int64)
  expected = [int(i) % 1000 % parts for i in ids]  # Python's % is the floor's
  assert partitioned.route(tf.constant(ids), parts).numpy().tolist() == expected
  table = make_table(parts, dim=2)
  members = list(table) if parts > 1 else [table]
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.embedding_lookup(table, ids))
  v1.train.GradientDescentOptimizer(1.0).apply_gradients(zip(tape.gradient(loss, members), members))
  for p, member in enumerate(members):
    assert set(member.export().keys.numpy()) == {i for i, home in zip(ids, expected) if home == p}


def test_the_parts_in_a_list_are_the_table():
  table = make_table(3)
  ids = [5, -6, 1007, 2**40]
  expected = tf.nn.embedding_lookup(table, ids)
  for lookup in (tf.nn.embedding_lookup, v1.nn.embedding_lookup, ev_tf.embedding_lookup):
    np.testing.assert_array_equal(lookup(list(table), tf.constant(ids, tf.int64)), expected)
  sparse = tf.sparse.from_dense(tf.constant([[5, -6], [1007, 0]], tf.int64))
  np.testing.assert_array_equal(tf.nn.embedding_lookup_sparse(list(table), sparse, None, combiner="sum"),
                                tf.nn.embedding_lookup_sparse(table, sparse, None, combiner="sum"))
  with pytest.raises(ValueError, match="expected the parts of one table"):
    tf.nn.embedding_lookup([make_table(dim=2), make_table(dim=3)], tf.constant([1], tf.int64))


SORTED = [[0, 0], [1, 0]]


@pytest.mark.parametrize("indices, shape, message", [
    ([[1, 0], [0, 0]], [2, 2], "expected ids in row-major order"),
    ([[0, 0], [2, 0]], [2, 2], r"indices\[1\]: row: expected 0 to 1, found 2"),
    ([[-1, 0], [1, 0]], [2, 2], r"indices\[0\]: row: expected 0 to 1, found -1"),
    (SORTED, [2**40, 2], "dense shape: expected at most .* entries, found 1099511627776 x 1"),
])
def test_bad_indices_are_errors(indices, shape, message):
  table = make_table(dim=2)
  ids = tf.SparseTensor(indices, tf.constant([1, 2], tf.int64), tf.constant(shape, tf.int64))
  with pytest.raises(tf.errors.InvalidArgumentError, match=message):
    ev_tf.embedding_lookup_sparse(table, ids, None, combiner="sum")


@pytest.mark.parametrize("changed, message", [
    (dict(dense_shapes=[[-3, 2]]), "dense shape: expected at most .* entries, found -3 x 1"),
    (dict(dense_shapes=[[2]], combiners=["tile"]), "dense shape: expected a vector of at least 2"),
    (dict(dense_shapes=[[2**31, 2**31]], combiners=["tile"]), "dense shape: expected at most"),
    (dict(indices=[[[0, 0]]]), r"indices: expected shape \[2,>=1\]"),
    (dict(indices=[[0, 1]], combiners=["tile"]), r"indices: expected shape \[2,>=2\]"),
    (dict(max_norms=[-1.0]), "max_norm: expected a finite number"),
    (dict(weighted=[True]), "weights: expected 1, found 0"),
    (dict(weighted=[False, False]), "expected 1 of each"),
    (dict(weighted=[True], weights=[[1.0]]), "weights: expected shape"),
])
def test_the_op_believes_no_shape(changed, message):
  arguments = dict(rows=[[[1.0], [2.0]]], indices=[[[0, 0], [1, 0]]], dense_shapes=[[2, 2]], weights=[], combiners=["sum"],
                   max_norms=[0.0], weighted=[False])
  assert raw_ops.ev_combine(**arguments)[0].numpy().tolist() == [[1.0], [2.0]]
  arguments.update(changed)
  for name in ("indices", "dense_shapes"):
    arguments[name] = [tf.constant(value, tf.int64) for value in arguments[name]]
  with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
    raw_ops.ev_combine(**arguments)
  if changed.get("indices") == [[[0, 0]]]:
    return  # the gradient has as many rows as there are indices
  gradient = dict(arguments, grads=[tf.zeros([2, 1])])
  with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
    raw_ops.ev_combine_grad(**gradient)


def test_bad_columns_of_tile_are_errors():
  table = make_table(dim=2)
  for indices, message in (([[0, 2], [1, 0]], "column: expected 0 to 1, found 2"), ([[0, 1], [0, 0]], "row-major order")):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
      ev_tf.embedding_lookup_sparse(table, tf.SparseTensor(indices, tf.constant([1, 2], tf.int64), [2, 2]), None,
                                    combiner="tile")


def test_bad_arguments_are_errors():
  table = make_table(dim=2)
  ids = tf.SparseTensor(SORTED, tf.constant([1, 2], tf.int64), [2, 2])
  with pytest.raises(ValueError, match="combiner: expected one of mean, sqrtn, sum, tile, got 'max'"):
    ev_tf.embedding_lookup_sparse(table, ids, None, combiner="max")
  for max_norm in (0.0, -1.0, float("nan"), float("inf")):
    with pytest.raises(ValueError, match="max_norm: expected a finite number > 0"):
      ev_tf.embedding_lookup_sparse(table, ids, None, max_norm=max_norm)
  with pytest.raises(TypeError, match="sp_ids: expected a SparseTensor or a RaggedTensor"):
    ev_tf.embedding_lookup_sparse(table, tf.constant([1]), None)
  with pytest.raises(TypeError, match="weights: expected"):
    ev_tf.embedding_lookup_sparse(table, ids, tf.ragged.constant([[1.0], [1.0]]))
  with pytest.raises(TypeError, match="weights: expected"):
    ev_tf.embedding_lookup_sparse(table, ids, tf.constant([1.0, 1.0]))
  with pytest.raises(ValueError, match="blocknums: of no use"):
    ev_tf.embedding_lookup(table, [1], blocknums=[1])
  with pytest.raises(tf.errors.InvalidArgumentError, match="weights: expected shape"):
    ev_tf.embedding_lookup_sparse(table, ids, tf.SparseTensor(SORTED[:1], [1.0], [2, 2]))
  text = tf.SparseTensor(SORTED, ["a", "b"], [2, 2])
  with pytest.raises(TypeError, match="ids: expected int64 or int32"):
    ev_tf.embedding_lookup_sparse(table, text, None)
