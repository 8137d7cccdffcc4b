"""A group of lookups gives what the lookups give one by one, to the bit, and trains the same."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
DIMS = (1, 3, 4, 16, 17, 64, 4)
COMBINERS = ("sum", "mean", "sqrtn", "tile", "mean", "sum", "sqrtn")
NORMS = (None, 1.0, None, None, 0.5, None, None)


def make_tables(prefix="group"):
  """Tables of many dims, the last one in three parts, and a matrix."""
  draw_rows = lambda shape, dtype: tf.random.stateless_normal(shape, [shape[1], 7], dtype=dtype)
  option = ev_tf.EmbeddingVariableOption(init_option=ev_tf.InitializerOption(default_value_dim=64))
  return [ev_tf.get_embedding_variable(f"{prefix}_{i}", dim, initializer=draw_rows, ev_option=option,
                                       key_dtype=tf.int32 if i == 2 else tf.int64,
                                       partitioner=v1.fixed_size_partitioner(3) if i == len(DIMS) - 1 else None)
          for i, dim in enumerate(DIMS)]


def draw(rng, rows=30, most=5):
  """One batch for each table: SparseTensors of ids; ids of weights, or None."""
  ids, weights = [], []
  for i in range(len(DIMS)):
    mask = rng.random([rows, most]) < 0.5
    mask[[0, rows - 1]] = False
    places = np.argwhere(mask)
    make = lambda values, places=places: tf.SparseTensor(places, values, [rows, most])
    ids.append(make(tf.constant(rng.integers(-20, 20, len(places)), tf.int32 if i == 2 else tf.int64)))
    weights.append(make(rng.uniform(0.5, 2.0, len(places)).astype(np.float32)) if i % 3 == 1 else None)
  return ids, weights


def one_by_one(tables, ids, weights):
  return [ev_tf.safe_embedding_lookup_sparse(table, i, w, combiner, max_norm=norm)
          for table, i, w, combiner, norm in zip(tables, ids, weights, COMBINERS, NORMS)]


def parts_of(tables):
  return [part for table in tables for part in
          (table if isinstance(table, ev_tf.PartitionedEmbeddingVariable) else [table])]


def loss_of(outputs):
  return tf.add_n([tf.reduce_sum(tf.square(output) + output) for output in outputs])


def rows_of(tables):
  exports = [part.export() for part in parts_of(tables)]
  return [dict(zip(e.keys.numpy().tolist(), map(tuple, e.values.numpy().tolist()))) for e in exports]


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_outputs_equal_the_lookups_one_by_one(rng, size):
  tables = make_tables()
  ids, weights = draw(rng)
  found = ev_tf.group_embedding_lookup_sparse(tables, ids, list(COMBINERS), weights, params_num_per_group=size,
                                              max_norms=list(NORMS))
  for output, expected in zip(found, one_by_one(tables, ids, weights)):
    assert output.shape == expected.shape
    np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("optimizer", [v1.train.GradientDescentOptimizer, v1.train.AdagradOptimizer])
def test_training_equals_that_of_the_lookups_one_by_one(rng, optimizer):
  grouped, single = make_tables("grouped"), make_tables("single")
  group_optimizer, single_optimizer = optimizer(0.1), optimizer(0.1)
  for _ in range(3):
    ids, weights = draw(rng)
    with tf.GradientTape() as tape:
      loss = loss_of(ev_tf.group_embedding_lookup_sparse(grouped, ids, list(COMBINERS), weights, max_norms=list(NORMS)))
    group_optimizer.apply_gradients(list(zip(tape.gradient(loss, parts_of(grouped)), parts_of(grouped))))
    with tf.GradientTape() as tape:
      loss = loss_of(one_by_one(single, ids, weights))
    single_optimizer.apply_gradients(list(zip(tape.gradient(loss, parts_of(single)), parts_of(single))))
  assert rows_of(grouped) == rows_of(single)
  assert all(len(rows) > 5 for rows in rows_of(grouped))


def test_in_a_graph(rng, new_graph):
  ids, weights = draw(rng)
  value_of = lambda s: v1.SparseTensorValue(s.indices.numpy(), s.values.numpy(), s.dense_shape.numpy())
  exports = []
  for grouped in (True, False):
    with new_graph() as graph:
      tables = make_tables()
      feed, fed_ids, fed_weights = {}, [], []
      for i, w in zip(ids, weights):
        fed_ids.append(v1.sparse_placeholder(i.dtype, [None, None]))
        fed_weights.append(None if w is None else v1.sparse_placeholder(tf.float32))
        feed[fed_ids[-1]] = value_of(i)
        if w is not None:
          feed[fed_weights[-1]] = value_of(w)
      if grouped:
        outputs = ev_tf.group_embedding_lookup_sparse(tables, fed_ids, list(COMBINERS), fed_weights, max_norms=list(NORMS))
        ops = [op.type for op in graph.graph.get_operations()]
        assert ops.count("EvGroupLookup") == 1 and ops.count("EvCombine") == 1
      else:
        outputs = one_by_one(tables, fed_ids, fed_weights)
      assert all(output.shape.rank == 2 for output in outputs)
      train = v1.train.AdagradOptimizer(0.1).minimize(loss_of(outputs))
      graph.initialize()
      graph.run(train, feed)
      graph.run(train, feed)
      exports.append(graph.run([list(part.export()) for part in parts_of(tables)]))
  for grouped, single in zip(*exports):
    order = [np.argsort(columns[0]) for columns in (grouped, single)]
    for a, b in zip(grouped[:2], single[:2]):
      np.testing.assert_array_equal(a[order[0]], b[order[1]])


def test_in_a_function(rng):
  tables = make_tables()
  ids, weights = draw(rng)
  lookup = tf.function(lambda ids, weights: ev_tf.group_embedding_lookup_sparse(tables, ids, list(COMBINERS), weights,
                                                                                max_norms=list(NORMS)))
  for output, expected in zip(lookup(ids, weights), one_by_one(tables, ids, weights)):
    np.testing.assert_array_equal(output, expected)


def test_tables_together_with_matrices(rng):
  table = ev_tf.get_embedding_variable("with_matrix", 3)
  matrix = tf.Variable(rng.normal(size=[50, 2]).astype(np.float32))
  hashed = ev_tf.get_multihash_variable("with_hash", [[8, 2], [8, 2]], operation="mul")
  ids = [tf.ragged.constant([[1, 2], [], [3]], dtype=tf.int64)] * 3
  with tf.GradientTape() as tape:
    outputs = ev_tf.group_embedding_lookup_sparse([table, matrix, hashed], ids, ["sum", "mean", "sqrtn"])
    loss = loss_of(outputs)
  rows = matrix.numpy()
  np.testing.assert_allclose(outputs[1], [(rows[1] + rows[2]) / 2, [0, 0], rows[3]], rtol=1e-6)
  single = ev_tf.embedding_lookup(hashed, [1, 2, 3]).numpy()
  np.testing.assert_allclose(outputs[2], [(single[0] + single[1]) / np.sqrt(2), [0, 0], single[2]], rtol=1e-5)
  gradients = tape.gradient(loss, [table, matrix, *hashed.val_list])
  assert all(gradient is not None for gradient in gradients)
  assert sorted(gradients[0].indices.numpy()) == [1, 2, 3]


def test_one_table_several_times():
  table = ev_tf.get_embedding_variable("twice", 2, initializer=v1.zeros_initializer())
  ids = [tf.ragged.constant([[7], [7]], dtype=tf.int64), tf.ragged.constant([[7], [-8]], dtype=tf.int64)]
  with tf.GradientTape() as tape:
    loss = tf.add_n([tf.reduce_sum(o) for o in ev_tf.group_embedding_lookup_sparse([table, table], ids, "sum")])
  v1.train.GradientDescentOptimizer(1.0).apply_gradients([(tape.gradient(loss, table), table)])
  np.testing.assert_array_equal(tf.gather(table, tf.constant([7, -8], tf.int64)).numpy()[:, 0], [-3, -1])


def test_a_sequence_is_not_combined():
  tables = [ev_tf.get_embedding_variable(f"sequence_{dim}", dim) for dim in (2, 3)]
  ids = [tf.ragged.constant([[5], [], [6, -7]], dtype=tf.int64), tf.ragged.constant([[1, 2, 3], [4], []], dtype=tf.int64)]
  outputs = ev_tf.group_embedding_lookup_sparse(tables, ids, ["mean", "mean"], is_sequence=True)
  for table, i, output in zip(tables, ids, outputs):
    expected = ev_tf.embedding_lookup(table, i).to_tensor()
    assert output.shape == expected.shape
    np.testing.assert_array_equal(output, expected)


def test_dense_ids(rng):
  tables = make_tables("dense")
  matrix = tf.Variable(rng.normal(size=[50, 2]).astype(np.float32))
  ids = [tf.constant(rng.integers(-9, 9, shape), tf.int32 if i == 2 else tf.int64)
         for i, shape in enumerate([(4,), (2, 3), (), (0,), (2, 0, 2), (1, 1), (5,)])]
  ids[1] = tf.ragged.constant([[1, 2], [], [-3]], dtype=tf.int64)
  with tf.GradientTape(persistent=True) as tape:
    found = ev_tf.group_embedding_lookup([*tables, matrix], [*ids, tf.constant([3])])
    expected = [*(ev_tf.embedding_lookup(table, i) for table, i in zip(tables, ids)), tf.gather(matrix, [3])]
    losses = [tf.add_n([tf.reduce_sum(getattr(r, "flat_values", r)) for r in rows]) for rows in (found, expected)]
  for a, b in zip(found, expected):
    assert a.shape.as_list() == b.shape.as_list()
    np.testing.assert_array_equal(getattr(a, "flat_values", a), getattr(b, "flat_values", b))
  for part in parts_of(tables):
    a, b = (tape.gradient(loss, part) for loss in losses)
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_array_equal(a.values, b.values)


def test_a_table_of_the_group_that_the_loss_does_not_use_keeps_its_values():
  tables = [ev_tf.get_embedding_variable(f"used_{i}", 2, initializer=v1.ones_initializer()) for i in range(2)]
  ids = [tf.ragged.constant([[1]], dtype=tf.int64)] * 2
  with tf.GradientTape() as tape:
    used, _ = ev_tf.group_embedding_lookup_sparse(tables, ids, "sum")
    loss = tf.reduce_sum(used)
  gradients = [(g, t) for g, t in zip(tape.gradient(loss, tables), tables) if g is not None]
  v1.train.GradientDescentOptimizer(0.5).apply_gradients(gradients)
  assert [tf.gather(table, [1]).numpy().tolist() for table in tables] == [[[0.5, 0.5]], [[1.0, 1.0]]]


def test_bad_arguments_are_errors():
  table = ev_tf.get_embedding_variable("bad", 2)
  ids = [tf.ragged.constant([[1]], dtype=tf.int64)]
  with pytest.raises(ValueError, match="params: expected a list of tables"):
    ev_tf.group_embedding_lookup_sparse([], [], [])
  with pytest.raises(ValueError, match="sp_ids: expected a list of 1, one for each of params, got 2"):
    ev_tf.group_embedding_lookup_sparse([table], ids * 2, ["sum"])
  with pytest.raises(ValueError, match="combiners: expected a list of 1.*got 2"):
    ev_tf.group_embedding_lookup_sparse([table], ids, ["sum"] * 2)
  with pytest.raises(ValueError, match="combiner: expected one of"):
    ev_tf.group_embedding_lookup_sparse([table], ids, ["most"])
  with pytest.raises(ValueError, match="params_num_per_group: expected an integer >= 1"):
    ev_tf.group_embedding_lookup([table], [[1]], params_num_per_group=0)
  with pytest.raises(TypeError, match=r"sp_ids\[0\]: expected a SparseTensor"):
    ev_tf.group_embedding_lookup_sparse([table], [tf.constant([1])], ["sum"])
  with pytest.raises(TypeError, match="ids: expected int64 or int32"):
    ev_tf.group_embedding_lookup([table], [tf.constant(["a"])])
  unsorted = tf.SparseTensor([[1, 0], [0, 0]], tf.constant([1, 2], tf.int64), [2, 1])
  with pytest.raises(tf.errors.InvalidArgumentError, match="table 1: .*row-major"):
    ev_tf.group_embedding_lookup_sparse([table, table], [*ids, unsorted], "sum")


def test_tables_are_read_where_they_are(graph):
  """On a parameter server each, while the rest of the step is a worker's."""
  tables = []
  for i in range(4):
    with tf.device(f"/job:ps/task:{i % 2}"):
      tables.append(ev_tf.get_embedding_variable(f"placed_{i}", 2))
  with tf.device("/job:worker/task:0"):
    ids = [tf.ragged.constant([[1], [2]], dtype=tf.int64)] * 4
    ev_tf.group_embedding_lookup_sparse(tables, ids, "sum")
    ev_tf.group_embedding_lookup(tables, [tf.constant([1], tf.int64)] * 4)
    tf.nn.embedding_lookup_sparse(tables[1], ids[0], None, combiner="sum")
    ev_tf.embedding_lookup(tables[3], [1])
  placed = [(op.type, op.device) for op in graph.graph.get_operations() if op.type.startswith("EvG")]
  first, second = "/job:ps/task:0", "/job:ps/task:1"
  assert placed == [("EvGroupLookup", first), ("EvGroupLookup", second), ("EvGroupGather", first), ("EvGroupGather", second),
                    ("EvGroupLookup", second), ("EvGather", second)]


def test_uninitialized_tables_are_named(graph):
  table = ev_tf.get_embedding_variable("cold", 2)
  rows = ev_tf.group_embedding_lookup([table], [tf.constant([1], tf.int64)])
  with pytest.raises(tf.errors.FailedPreconditionError, match="'cold' is not initialized"):
    graph.run(rows)
