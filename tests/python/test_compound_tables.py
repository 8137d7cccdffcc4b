"""Tables made of others: multi-hash, dynamic dimension, adaptive; and DeepRec's functions on variables."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import kv_variable_ops

v1 = tf.compat.v1


def fill(rows):
  """An initializer that gives `rows`."""
  return lambda shape, dtype=tf.float32, **unused: tf.constant(rows, dtype, shape)


class TestMultiHash:

  @pytest.mark.parametrize("operation", ["add", "mul", "concat"])
  def test_a_row_is_made_of_quotient_and_remainder(self, operation):
    table = ev_tf.get_multihash_variable("t", [[4, 3], [7, 3]], operation=operation,
                                         initializer=v1.truncated_normal_initializer())
    quotients, remainders = (part.numpy() for part in table.val_list)
    ids = np.arange(28).reshape(4, 7)
    first, second = quotients[ids // 7], remainders[ids % 7]
    expected = {"add": first + second, "mul": first * second, "concat": np.concatenate([first, second], -1)}[operation]
    assert table.shape == [28, expected.shape[-1]]
    for lookup in (ev_tf.embedding_lookup, tf.nn.embedding_lookup, v1.nn.embedding_lookup):
      np.testing.assert_array_equal(lookup(table, tf.constant(ids, tf.int64)), expected)
    np.testing.assert_array_equal(ev_tf.embedding_lookup(table, ids.tolist()), expected)
    sparse = tf.sparse.from_dense(ids)
    for lookup in (tf.nn.embedding_lookup_sparse, tf.nn.safe_embedding_lookup_sparse):
      args = (None,) if lookup is tf.nn.embedding_lookup_sparse else ()
      np.testing.assert_allclose(lookup(table, sparse, *args, combiner="sum")[1:], expected.sum(1)[1:], rtol=1e-5, atol=1e-6)

  def test_every_id_has_a_row_of_its_own(self):
    table = ev_tf.get_multihash_variable("t", [[5, 1], [3, 1]], operation="concat",
                                         initializer=lambda shape, dtype, **unused: tf.reshape(
                                             tf.range(shape[0], dtype=dtype), shape))
    rows = ev_tf.embedding_lookup(table, tf.range(15)).numpy()
    assert len(np.unique(rows, axis=0)) == 15

  def test_names_and_training_in_a_graph(self, graph):
    table = ev_tf.get_multihash_variable("qr", [[4, 2], [4, 2]], operation="add", initializer=tf.ones_initializer())
    assert [variable.op.name for variable in v1.trainable_variables()] == ["qr/multhash_Q", "qr/multhash_R"]
    with v1.variable_scope("", reuse=True):
      again = ev_tf.get_multihash_variable("qr", [[4, 2], [4, 2]])
    assert again.val_list[0] is table.val_list[0]
    rows = tf.nn.embedding_lookup(table, tf.constant([5, 5, 6]))
    train = v1.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_sum(rows))
    graph.initialize()
    graph.run(train)
    np.testing.assert_array_equal(graph.run(table.val_list[0])[:, 0], [1, -0.5, 1, 1])
    np.testing.assert_array_equal(graph.run(table.val_list[1])[:, 0], [1, 0, 0.5, 1])

  def test_partitioned(self, graph):
    with v1.variable_scope("s", partitioner=v1.fixed_size_partitioner(2)):
      table = ev_tf.get_multihash_variable("t", [[4, 2], [6, 2]], operation="concat")
    graph.initialize()
    whole = [np.concatenate([graph.run(part) for part in value]) for value in table.val_list]
    ids = np.arange(24)
    found = graph.run(tf.nn.embedding_lookup(table, tf.constant(ids)))
    np.testing.assert_array_equal(found, np.concatenate([whole[0][ids // 6], whole[1][ids % 6]], -1))

  def test_ids_out_of_range_are_errors(self):
    table = ev_tf.get_multihash_variable("t", [[4, 2], [4, 2]])
    for bad in (16, -1):
      with pytest.raises(tf.errors.InvalidArgumentError):
        ev_tf.embedding_lookup(table, [bad])

  @pytest.mark.parametrize("dims, arguments, message", [
      ([[4, 2], [4, 3]], {}, "dims: expected one dim for both"),
      ([[4, 2]], {}, "dims: expected"), ([4, 2], {}, "dims: expected"), ([[4, 2], [0, 2]], {}, "dims: expected"),
      ([[4, 2], [4, 2]], dict(operation="sub"), "operation: expected one of add, concat, mul"),
      ([[4, 2], [4, 2]], dict(complementary_strategy="R-Q"), "complementary_strategy: expected 'Q-R'"),
      ([[4, 2], [4, 2]], dict(dtype=tf.int32), "dtype: expected a float type"),
  ])
  def test_bad_arguments_are_errors(self, dims, arguments, message):
    with pytest.raises(ValueError, match=message):
      ev_tf.get_multihash_variable("t", dims, **arguments)


class TestDynamicDimension:

  @pytest.mark.parametrize("parts", [1, 2])
  def test_each_id_has_its_own_number_of_blocks(self, parts):
    partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
    table = ev_tf.get_dynamic_dimension_embedding_variable("t", 2, 3, initializer=v1.ones_initializer(),
                                                           partitioner=partitioner)
    assert (table.dim, table.blocknum(), len(table.variables)) == (6, 3, 3 * parts)
    ids, blocknums = tf.constant([[7, -8], [9, 7]], tf.int64), tf.constant([[3, 1], [0, 2]])
    expected = [[[1] * 6, [1] * 2 + [0] * 4], [[0] * 6, [1] * 4 + [0] * 2]]
    np.testing.assert_array_equal(ev_tf.embedding_lookup(table, ids, blocknums=blocknums), expected)
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(ev_tf.embedding_lookup(table, ids, blocknums=blocknums))
    variables = table.variables
    v1.train.GradientDescentOptimizer(1.0).apply_gradients(zip(tape.gradient(loss, variables), variables))
    keys = [set(block.export().keys.numpy()) for block in table.blocks]
    assert keys == [{7, -8}, {7}, {7}]
    found = ev_tf.embedding_lookup(table, [7, 9], blocknums=[3, 3])
    np.testing.assert_array_equal(found, [[-1, -1, -1, -1, 0, 0], [1] * 6])

  def test_sparse(self):
    table = ev_tf.get_dynamic_dimension_embedding_variable("t", 1, 2, initializer=v1.ones_initializer())
    ids = tf.SparseTensor([[0, 0], [0, 1], [1, 0]], tf.constant([4, 5, 4], tf.int64), [2, 2])
    for lookup, expected in (("sum", [[2, 1], [1, 0]]), ("mean", [[1, 0.5], [1, 0]]), ("tile", [[1, 0, 1, 1], [1, 0, 0, 0]])):
      found = ev_tf.embedding_lookup_sparse(table, ids, None, combiner=lookup, blocknums=[1, 2, 1])
      np.testing.assert_array_equal(found, expected)

  def test_nothing(self):
    table = ev_tf.get_dynamic_dimension_embedding_variable("t", 2, 2)
    assert ev_tf.embedding_lookup(table, tf.zeros([0], tf.int64), blocknums=tf.zeros([0], tf.int32)).shape == [0, 4]

  def test_bad_arguments_are_errors(self):
    table = ev_tf.get_dynamic_dimension_embedding_variable("t", 2, 2)
    with pytest.raises(ValueError, match="blocknums: expected how many blocks"):
      ev_tf.embedding_lookup(table, [1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="blocknums: expected the shape of ids"):
      ev_tf.embedding_lookup(table, [1, 2], blocknums=[1])
    with pytest.raises(ValueError, match="embedding_block_num: expected an integer >= 1"):
      ev_tf.get_dynamic_dimension_embedding_variable("u", 2, 0)
    with pytest.raises(ValueError, match="storage_type, ev_option: expected one of them"):
      ev_tf.get_dynamic_dimension_embedding_variable("u", 2, 1, storage_type=ev_tf.StorageType.DRAM,
                                                     ev_option=ev_tf.EmbeddingVariableOption())

  def test_in_a_graph(self, graph):
    table = ev_tf.get_dynamic_dimension_embedding_variable("t", 2, 2, initializer=v1.ones_initializer(),
                                                           storage_type=ev_tf.StorageType.DRAM)
    ids, blocknums = v1.placeholder(tf.int64, [None]), v1.placeholder(tf.int32, [None])
    rows = ev_tf.embedding_lookup(table, ids, blocknums=blocknums)
    train = v1.train.AdagradOptimizer(1.0).minimize(tf.reduce_sum(rows))
    graph.initialize()
    graph.run(train, {ids: [3, 4, 5], blocknums: [1, 0, 2]})
    assert [graph.run(block.size()) for block in table.blocks] == [2, 1]


class TestAdaptive:

  def make(self):
    cold = tf.Variable(tf.reshape(tf.range(20.0), [10, 2]))
    hot = ev_tf.get_embedding_variable("hot", 2, initializer=v1.ones_initializer())
    return cold, hot

  @pytest.mark.parametrize("combiner, expected", [("sum", [[8, 9], [0, 0], [1, 1]]), ("mean", [[4, 4.5], [0, 0], [1, 1]])])
  def test_an_id_is_read_out_of_the_table_or_of_the_matrix(self, combiner, expected):
    cold, hot = self.make()
    ids = tf.SparseTensor([[0, 0], [0, 1], [2, 0]], tf.constant([113, 500, -500], tf.int64), [4, 2])
    # 113 is cold, bucket 3: [6, 7]
    with tf.GradientTape() as tape:
      rows = ev_tf.adaptive_embedding_lookup_sparse(cold, hot, ids, None, None, combiner=combiner, bucket_size=10,
                                                    adaptive_mask_tensor=[0, 1, 1])
      loss = tf.reduce_sum(rows)
    expected = np.array(expected, np.float32)
    if combiner == "sum":
      expected[0] = [7, 8]
    else:
      expected[0] = [3.5, 4]
    np.testing.assert_array_equal(rows, expected)
    cold_gradient, hot_gradient = tape.gradient(loss, [cold, hot])
    assert cold_gradient.indices.numpy().tolist() == [3]
    assert hot_gradient.indices.numpy().tolist() == [500, -500]

  def test_weights_and_empty_entries(self):
    cold, hot = self.make()
    ids = tf.SparseTensor([[1, 0], [1, 1]], tf.constant([3, 7], tf.int64), [3, 2])
    weights = tf.SparseTensor(ids.indices, [2.0, 0.5], ids.dense_shape)
    options = dict(combiner="sum", adaptive_mask_tensor=tf.constant([True, False]))
    safe = ev_tf.safe_adaptive_embedding_lookup_sparse
    np.testing.assert_array_equal(safe(cold, hot, ids, None, weights, **options), [[0, 0], [9, 9.5], [0, 0]])
    np.testing.assert_array_equal(safe(cold, hot, ids, None, weights, default_id=1, **options), [[2, 3], [9, 9.5], [2, 3]])

  def test_a_new_id_starts_from_its_bucket(self):
    cold, hot = self.make()
    ids = tf.SparseTensor([[0, 0], [1, 0]], tf.constant([500, 3], tf.int64), [2, 1])
    rows = ev_tf.adaptive_embedding_lookup_sparse(cold, hot, ids, tf.constant([4], tf.int64), None, combiner="sum",
                                                  adaptive_mask_tensor=[1, 0])
    np.testing.assert_array_equal(rows, [[8, 9], [6, 7]])

  def test_bad_arguments_are_errors(self):
    cold, hot = self.make()
    ids = tf.SparseTensor([[0, 0]], tf.constant([3], tf.int64), [1, 1])
    with pytest.raises(ValueError, match="adaptive_mask_tensor: expected"):
      ev_tf.adaptive_embedding_lookup_sparse(cold, hot, ids, None, None)
    with pytest.raises(ValueError, match="blocknums: expected None"):
      ev_tf.adaptive_embedding_lookup_sparse(cold, hot, ids, None, None, adaptive_mask_tensor=[1], blocknums=[1])


class TestFunctionsOnVariables:

  @pytest.mark.parametrize("parts", [1, 3])
  def test_they_say_what_the_methods_say(self, parts):
    partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
    table = ev_tf.get_embedding_variable(
        "t", 2, partitioner=partitioner,
        ev_option=ev_tf.EmbeddingVariableOption(record_frequency=True, record_version=True))
    members = list(table) if parts > 1 else [table]
    ids = tf.constant([5, -6, 5], tf.int64)
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.nn.embedding_lookup(table, ids))
    optimizer = v1.train.GradientDescentOptimizer(1.0)
    optimizer.apply_gradients(zip(tape.gradient(loss, members), members), global_step=tf.Variable(4, dtype=tf.int64))
    asked = tf.constant([[5, -6], [7, 5]], tf.int64)
    for var in (table, members):
      assert kv_variable_ops.lookup_tier(var, asked).numpy().tolist() == [[0, 0], [-1, 0]]
      assert kv_variable_ops.get_frequency(var, asked).numpy().tolist() == [[2, 1], [0, 2]]
      assert kv_variable_ops.get_version(var, asked).numpy().tolist() == [[4, 4], [-1, 4]]
    handles = kv_variable_ops.lookup_resource(table)
    assert handles is table.handle if parts == 1 else [h is part.handle for h, part in zip(handles, table)] == [True] * 3

  def test_others_are_errors(self):
    with pytest.raises(TypeError, match="expected an EmbeddingVariable"):
      kv_variable_ops.lookup_tier(tf.Variable([[1.0]]), [1])
