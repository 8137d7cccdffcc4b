"""Feature columns over embedding variables, in stock layers: equal to identity columns over dense variables."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1

import ev_tf
from ev_tf import feature_column

v1, fc = tf.compat.v1, tf.feature_column
IDS = 16  # ids of both kinds of column; initial rows of a table are those of the dense variable
OPTION = ev_tf.EmbeddingVariableOption(init_option=ev_tf.InitializerOption(default_value_dim=IDS))
OPTIMIZERS = {"sgd": lambda: v1.train.GradientDescentOptimizer(0.05), "adagrad": lambda: v1.train.AdagradOptimizer(0.1),
              "ftrl": lambda: v1.train.FtrlOptimizer(0.1)}
PARTITIONER = v1.fixed_size_partitioner(2)


def initial_rows(shape, dtype=tf.float32, **unused):
  """The same rows for each variable of one shape."""
  return tf.random.stateless_normal(shape, [3, 1], dtype=dtype)


def column(kind, key):
  if kind == "identity":
    return fc.categorical_column_with_identity(key, IDS)
  return feature_column.categorical_column_with_embedding(key, tf.int64, ev_option=OPTION)


def sequence(kind, key):
  if kind == "identity":
    return fc.sequence_categorical_column_with_identity(key, IDS)
  return feature_column.sequence_categorical_column_with_embedding(key, tf.int64, ev_option=OPTION)


def features():
  """A list of ids per example, one of them empty, with weights; and one id per example."""
  where = [[0, 0], [1, 0], [1, 1], [2, 0], [3, 3], [3, 4]]
  return {
      "list": tf.SparseTensor(where, tf.constant([1, 2, 3, 1, 5, 15], tf.int64), [5, 5]),
      "weight": tf.SparseTensor(where, tf.constant([1.0, 2.0, 3.0, 4.0, 0.5, 0.25]), [5, 5]),
      "one": tf.constant([[1], [2], [3], [2], [0]], tf.int64),
  }


def embedded(kind):
  columns = [fc.embedding_column(column(kind, key), 4, initializer=initial_rows) for key in ("list", "one")]
  return v1.feature_column.input_layer(features(), columns)


def weighted(kind):
  weights = fc.weighted_categorical_column(column(kind, "list"), "weight")
  return v1.feature_column.input_layer(features(), [fc.embedding_column(weights, 4, "sum", initial_rows)])


def clipped(kind):
  return v1.feature_column.input_layer(features(), [fc.embedding_column(column(kind, "list"), 4, "sqrtn", initial_rows,
                                                                        max_norm=0.5)])


def shared(kind):
  columns = v1.feature_column.shared_embedding_columns([column(kind, "list"), column(kind, "one")], 4,
                                                       initializer=initial_rows)
  return v1.feature_column.input_layer(features(), columns)


def linear(kind):
  return 1.0 + v1.feature_column.linear_model(features(), [column(kind, "list"), column(kind, "one")], units=2)


def weighted_linear(kind):
  weights = fc.weighted_categorical_column(column(kind, "list"), "weight")
  return 1.0 + v1.feature_column.linear_model(features(), [weights], sparse_combiner="mean")


def train(make, kind, optimizer, partitioner=None):
  """The outputs of four steps, and the names of what was trained."""
  with tf.Graph().as_default(), v1.variable_scope("", partitioner=partitioner, use_resource=True):
    output = make(kind)
    update = OPTIMIZERS[optimizer]().minimize(tf.reduce_sum(output**2))
    names = [variable.op.name for variable in v1.trainable_variables()]
    with v1.Session() as session:
      session.run(v1.global_variables_initializer())
      return [session.run([output, update])[0] for _ in range(4)], names


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [embedded, weighted, clipped, shared, linear, weighted_linear],
                         ids=lambda make: make.__name__)
def test_equals_identity_columns(make, optimizer):
  expected, dense_names = train(make, "identity", optimizer)
  assert not np.array_equal(expected[0], expected[3])
  for partitioner in (None, PARTITIONER):
    outputs, names = train(make, "table", optimizer, partitioner)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    if partitioner is None:
      assert names == dense_names  # a checkpoint's names are stock ones
    else:
      assert all(name.endswith(("/part_0", "/part_1")) for name in names)


def grouped(kind, scope=contextlib.nullcontext):
  """Columns of several kinds in one layer: of the ones in `scope`, four are tables of dims and combiners of their own."""
  with scope():
    columns = [fc.embedding_column(column(kind, "list"), 4, "mean", initial_rows),
               fc.embedding_column(column(kind, "one"), 3, "sum", initial_rows),
               fc.embedding_column(fc.weighted_categorical_column(column(kind, "list"), "weight"), 2, "sqrtn", initial_rows),
               fc.embedding_column(column(kind, "again"), 4, "mean", initial_rows, max_norm=0.5),
               fc.embedding_column(column("identity", "two"), 2, "sum", initial_rows)]
  columns.append(fc.embedding_column(column(kind, "three"), 5, "mean", initial_rows))
  more = {name: features()["one"] for name in ("again", "two", "three")}
  variables, outputs = {}, {}
  layer = v1.feature_column.input_layer({**features(), **more}, columns, cols_to_vars=variables, cols_to_output_tensors=outputs)
  assert set(variables) == set(outputs) == set(columns) and all(len(found) in (1, 2) for found in variables.values())
  return layer


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_columns_of_a_group_are_looked_up_by_one_op_with_the_same_rows(optimizer):
  counts = []

  def in_scope(kind):
    output = grouped(kind, feature_column.group_embedding_column_scope)
    counts.append([op.type for op in output.graph.get_operations()].count("EvGroupLookup"))
    return output

  expected, dense_names = train(grouped, "identity", optimizer)
  outputs, names = train(in_scope, "table", optimizer)
  np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
  assert names == dense_names and counts == [2]  # the group's, and that of the column outside
  np.testing.assert_allclose(train(in_scope, "table", optimizer, PARTITIONER)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_template_of_a_group_has_one_table_a_column(graph):
  with feature_column.group_embedding_column_scope("ids"):
    columns = [fc.embedding_column(column("table", key), 4, initializer=initial_rows) for key in ("list", "one")]
  layer = fc_v1.InputLayer(columns)
  outputs = [layer(features()) for _ in range(2)]
  assert len(v1.trainable_variables()) == 2
  graph.initialize()
  np.testing.assert_array_equal(*graph.run(outputs))


def test_groups_do_not_nest():
  with feature_column.group_embedding_column_scope("a"), pytest.raises(ValueError, match="got 'b' inside 'a'"):
    with feature_column.group_embedding_column_scope("b"):
      pass
  with feature_column.group_embedding_column_scope():
    pass


def test_any_id_and_no_row_for_an_empty_list(graph):
  where = [[0, 0], [1, 0], [3, 0]]
  ids = {"x": tf.SparseTensor(where, tf.constant([-1, -(1 << 63), (1 << 63) - 1], tf.int64), [4, 1])}
  sparse = feature_column.categorical_column_with_embedding("x", tf.int64)
  output = v1.feature_column.input_layer(ids, [fc.embedding_column(sparse, 3, initializer=v1.ones_initializer())])
  update = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(output))
  (table,) = v1.trainable_variables()
  graph.initialize()
  before, _ = graph.run([output, update])
  np.testing.assert_array_equal(before, np.ones([4, 3]) * [[1], [1], [0], [1]])
  assert sorted(graph.run(table.export().keys)) == [-(1 << 63), -1, (1 << 63) - 1]


def test_strings_are_hashed(graph):
  words = {"word": tf.constant([["apple"], ["pear"], [""], ["apple"]])}
  hashed = feature_column.categorical_column_with_embedding("word")
  output = v1.feature_column.input_layer(words, [fc.embedding_column(hashed, 2)])
  update = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(output**2))
  (table,) = v1.trainable_variables()
  ids = tf.strings.to_hash_bucket_fast(["apple", "pear"], (1 << 63) - 1)
  graph.initialize()
  rows, _ = graph.run([output, update])
  np.testing.assert_array_equal(rows[0], rows[3])
  np.testing.assert_array_equal(rows[2], [0, 0])
  assert set(graph.run(table.export().keys)) == set(graph.run(ids))


def test_partition_num_makes_parts_without_a_partitioner(graph):
  parted = feature_column.categorical_column_with_embedding("one", tf.int64, partition_num=3)
  output = v1.feature_column.input_layer(features(), [fc.embedding_column(parted, 4)])
  assert [part.op.name.rsplit("/", 1)[1] for part in v1.trainable_variables()] == ["part_0", "part_1", "part_2"]
  graph.initialize()
  assert graph.run(output).shape == (5, 4)


def test_reused_scope_has_one_table(graph):
  columns = [fc.embedding_column(column("table", "one"), 4)]
  outputs = []
  for _ in range(2):
    with v1.variable_scope("tower", reuse=v1.AUTO_REUSE):
      outputs.append(v1.feature_column.input_layer(features(), columns))
  assert len(v1.trainable_variables()) == 1
  graph.initialize()
  np.testing.assert_array_equal(*graph.run(outputs))


def test_option_of_the_column_is_the_tables(graph):
  storage = ev_tf.StorageOption(ev_tf.StorageType.DRAM, storage_size=[4096])
  option = ev_tf.EmbeddingVariableOption(storage_option=storage, record_frequency=True)
  columns = [fc.embedding_column(feature_column.categorical_column_with_embedding("one", tf.int64, ev_option=option), 4)]
  v1.feature_column.input_layer(features(), columns, weight_collections=["mine"])
  (table,) = v1.get_collection("mine")
  assert table.option is option and isinstance(table, ev_tf.EmbeddingVariable)


def test_not_trainable(graph):
  frozen = fc.embedding_column(column("table", "one"), 4, trainable=False)
  v1.feature_column.input_layer(features(), [frozen])
  assert not v1.trainable_variables() and len(v1.global_variables()) == 1


def test_other_columns_are_left_alone(graph):
  columns = [fc.embedding_column(column("identity", "one"), 4), fc.indicator_column(column("identity", "list"))]
  v1.feature_column.input_layer(features(), columns)
  assert not any(isinstance(variable, ev_tf.EmbeddingVariable) for variable in v1.global_variables())


def test_sequences_equal_identity_columns():
  def run(kind):
    with tf.Graph().as_default(), v1.variable_scope("", use_resource=True):
      clicks = {"clicks": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], tf.constant([3, 4, 3], tf.int64), [3, 2])}
      embedding = fc.embedding_column(sequence(kind, "clicks"), 4, initializer=initial_rows)
      dense = embedding._get_sequence_dense_tensor(fc_v1._LazyBuilder(clicks), trainable=True)
      update = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(dense.dense_tensor**2))
      with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        return [session.run([dense.dense_tensor, dense.sequence_length, update])[:2] for _ in range(3)]

  for (ours, our_lengths), (theirs, their_lengths) in zip(run("table"), run("identity")):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours.shape == (3, 2, 4) and our_lengths.tolist() == their_lengths.tolist() == [2, 0, 1]


def test_adaptive_column_against_numpy():
  ids, mask, buckets, rate = np.array([1, 2, 3, 2, 0]), np.array([1, 0, 1, 0, 1]), 3, 0.1
  adaptive = feature_column.categorical_column_with_adaptive_embedding("one", buckets, tf.int64, ev_option=OPTION)
  shared = initial_rows([buckets, 4]).numpy()
  bucket = tf.strings.to_hash_bucket_fast(tf.strings.as_string(ids), buckets).numpy()
  with tf.Graph().as_default(), v1.Session() as session:
    output = feature_column.input_layer(features(), [fc.embedding_column(adaptive, 4, initializer=initial_rows)],
                                        adaptive_mask_tensors={"one": tf.constant(mask, tf.int32)})
    update = v1.train.GradientDescentOptimizer(rate).minimize(tf.reduce_sum(output**2))
    session.run(v1.global_variables_initializer())
    outputs = [session.run([output, update])[0] for _ in range(4)]
    (table,) = [variable for variable in v1.trainable_variables() if isinstance(variable, ev_tf.EmbeddingVariable)]
    assert sorted(session.run(table.export().keys)) == [0, 1, 3]
  own = {}
  for found in outputs:
    rows = np.array([own.get(i, shared[b]) if m else shared[b] for i, b, m in zip(ids, bucket, mask)])
    np.testing.assert_allclose(found, rows, rtol=1e-5, atol=1e-6)
    for i, m, row in zip(ids, mask, rows):
      if m:
        own[i] = row - rate * 2 * row
    np.subtract.at(shared, bucket[mask == 0], rate * 2 * rows[mask == 0])


def test_adaptive_column_needs_its_mask(graph):
  adaptive = feature_column.categorical_column_with_adaptive_embedding("one", 3, tf.int64)
  with pytest.raises(ValueError, match="expected adaptive_mask_tensors="):
    feature_column.input_layer(features(), [fc.embedding_column(adaptive, 4)])
  with pytest.raises(NotImplementedError, match="AdaptiveEmbeddingCategoricalColumn 'one' works in an embedding_column"):
    v1.feature_column.linear_model(features(), [adaptive])


@pytest.mark.parametrize("operation, dim", [("concat", 5), ("add", 3), ("mul", 3)])
def test_multihash_column(graph, operation, dim):
  other = dim - 3 if operation == "concat" else 3
  column = feature_column.categorical_column_with_multihash("one", [[2, 3], [2, other]], operation=operation)
  output = v1.feature_column.input_layer(features(), [fc.embedding_column(column, dim, initializer=initial_rows)])
  loss = tf.reduce_sum(output**2)
  update = v1.train.AdagradOptimizer(0.1).minimize(loss)
  quotients, remainders = graph.run([initial_rows([2, 3]), initial_rows([2, other])])
  ids = np.array([1, 2, 3, 2, 0])
  join = {"concat": lambda a, b: np.concatenate([a, b], 1), "add": np.add, "mul": np.multiply}[operation]
  graph.initialize()
  np.testing.assert_allclose(graph.run(output), join(quotients[ids // 2], remainders[ids % 2]), rtol=1e-6)
  losses = [graph.run([loss, update])[0] for _ in range(5)]
  assert losses[-1] < losses[0]


def test_multihash_column_of_strings_and_wrong_dimension(graph):
  words = {"word": tf.constant([["apple"], ["pear"]])}
  column = feature_column.categorical_column_with_multihash("word", [[10, 2], [7, 2]], dtype=tf.string)
  output = v1.feature_column.input_layer(words, [fc.embedding_column(column, 4)])
  graph.initialize()
  assert graph.run(output).shape == (2, 4)
  with pytest.raises(ValueError, match="expected dimension=4, which 'concat' of"):
    v1.feature_column.input_layer(words, [fc.embedding_column(column, 3)])


def dense_features():
  """tf.keras.layers.DenseFeatures."""
  layer = getattr(tf.keras.layers, "DenseFeatures", None)
  if layer is None:
    pytest.skip("Keras 3 has no DenseFeatures")
  return layer


@pytest.mark.parametrize("parts", [None, 2])
def test_dense_features(parts):
  layers = {}
  for kind in ("table", "identity"):
    source = column(kind, "one")
    if kind == "table":
      source = source._replace(partition_num=parts)
    layers[kind] = dense_features()([fc.embedding_column(source, 4, initializer=initial_rows),
                                     fc.embedding_column(column(kind, "list"), 2, initializer=initial_rows)])
  optimizers = {kind: tf.keras.optimizers.Adagrad(0.1) for kind in layers}
  for _ in range(3):
    outputs = {}
    for kind, layer in layers.items():
      with tf.GradientTape() as tape:
        outputs[kind] = layer(features())
        loss = tf.reduce_sum(outputs[kind] ** 2)
      weights = layer.trainable_variables
      optimizers[kind].apply_gradients(zip(tape.gradient(loss, weights), weights))
    np.testing.assert_allclose(outputs["table"], outputs["identity"], rtol=1e-5, atol=1e-6)
  assert len(layers["table"].trainable_variables) == (3 if parts else 2)


def test_dense_features_in_fit_and_checkpoint(tmp_path):
  def model():
    layer = dense_features()([fc.embedding_column(column("table", "one"), 4, initializer=initial_rows)])
    inputs = {"one": tf.keras.Input([1], dtype=tf.int64, name="one")}
    return tf.keras.Model(inputs, tf.keras.layers.Dense(1, kernel_initializer="ones")(layer(inputs)))

  ids = {"one": np.array([[1], [2], [3], [-9]], np.int64)}
  first = model()
  first.compile(tf.keras.optimizers.legacy.Adam(0.1), "mse")
  losses = first.fit(ids, np.arange(4.0), epochs=5, verbose=0).history["loss"]
  assert losses[-1] < losses[0]
  path = tf.train.Checkpoint(model=first).save(str(tmp_path / "model"))
  second = model()
  tf.train.Checkpoint(model=second).restore(path)
  np.testing.assert_allclose(first.predict(ids, verbose=0), second.predict(ids, verbose=0), rtol=1e-6)


def test_config_makes_the_same_column():
  for made in (column("table", "a"), feature_column.categorical_column_with_adaptive_embedding("a", 7),
               feature_column.categorical_column_with_multihash("a", [[10, 2], [5, 2]])):
    assert type(made).from_config(made.get_config()) == made
    assert made.parse_example_spec == {"a": tf.io.VarLenFeature(made.dtype)}


@pytest.mark.parametrize("make, message", [
    (lambda: feature_column.categorical_column_with_embedding(3), "key: expected a str, got 3"),
    (lambda: feature_column.categorical_column_with_embedding("x", tf.float32), "dtype: expected tf.string or an integer"),
    (lambda: feature_column.categorical_column_with_embedding("x", partition_num=0), "partition_num: expected an int of at"),
    (lambda: feature_column.categorical_column_with_adaptive_embedding("x", 1), "hash_bucket_size: expected an int of at"),
    (lambda: feature_column.categorical_column_with_multihash("x", [[1, 2], [3, 4]], operation="add"), "two matrices of one"),
    (lambda: feature_column.categorical_column_with_multihash("x", [[1, 2]]), "expected \\[\\[rows, dim\\]"),
    (lambda: feature_column.categorical_column_with_multihash("x", [[1, 2], [3, 2]], "R-Q"), 'expected "Q-R"'),
    (lambda: feature_column.categorical_column_with_multihash("x", [[1, 2], [3, 2]], operation="max"), "operation: expected"),
])
def test_bad_arguments(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_bad_option():
  with pytest.raises(TypeError, match="ev_option: expected an EmbeddingVariableOption, got None"):
    feature_column.categorical_column_with_embedding("x", ev_option=None)


@pytest.mark.parametrize("dtype, ids, message", [
    (tf.string, tf.int64, "expected strings as in the column's dtype, got int64. Give the column dtype=tf.int64"),
    (tf.int64, tf.string, "expected int64 as in the column's dtype, got strings"),
    (tf.int64, tf.float32, "expected strings or integers, got float32"),
])
def test_wrong_type_of_feature(graph, dtype, ids, message):
  columns = [fc.embedding_column(feature_column.categorical_column_with_embedding("x", dtype), 4)]
  feature = tf.SparseTensor([[0, 0]], tf.zeros([1], ids) if ids != tf.string else [""], [1, 1])
  with pytest.raises(ValueError, match=message):
    v1.feature_column.input_layer({"x": feature}, columns)


def test_checkpoint_of_a_column_is_refused(graph):
  columns = [fc.embedding_column(column("table", "one"), 4, ckpt_to_load_from="/x", tensor_name_in_ckpt="y")]
  with pytest.raises(NotImplementedError, match="CheckpointOption"):
    v1.feature_column.input_layer(features(), columns)
