import inspect

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1


def test_the_signature_is_deeprecs():
  parameters = inspect.signature(ev_tf.get_embedding_variable).parameters
  assert list(parameters) == [
      "name", "embedding_dim", "key_dtype", "value_dtype", "initializer", "regularizer", "trainable", "collections",
      "caching_device", "partitioner", "validate_shape", "custom_getter", "constraint", "steps_to_live",
      "init_data_source", "ev_option"]
  defaults = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
  assert defaults["key_dtype"] is tf.int64 and defaults["trainable"] is True and defaults["validate_shape"] is True
  assert defaults["ev_option"] == ev_tf.EmbeddingVariableOption()
  assert {name for name, default in defaults.items() if default is None} == {
      "value_dtype", "initializer", "regularizer", "collections", "caching_device", "partitioner", "custom_getter",
      "constraint", "steps_to_live", "init_data_source"}


def test_names_collections_and_initialization(graph):
  with v1.variable_scope("towers"):
    ev = ev_tf.get_embedding_variable("users", 4)
  frozen = ev_tf.get_embedding_variable("frozen", 4, trainable=False, collections=["mine", v1.GraphKeys.GLOBAL_VARIABLES])
  assert ev.name == "towers/users" or ev.name == "towers/users:0"
  assert isinstance(ev, tf.Variable) and isinstance(ev, ev_tf.EmbeddingVariable)
  assert any(v is ev for v in v1.trainable_variables()) and any(v is ev for v in v1.global_variables())
  assert not any(v is frozen for v in v1.trainable_variables()) and any(v is frozen for v in v1.get_collection("mine"))
  report = v1.report_uninitialized_variables()
  assert set(graph.run(report)) == {b"towers/users", b"frozen"}
  graph.initialize()
  assert graph.run(report).size == 0
  assert graph.run(ev.is_initialized())
  graph.initialize()  # keeps what is there
  assert graph.run(ev.size()) == 0


def test_a_session_says_that_there_is_no_dense_value(graph):
  ev = ev_tf.get_embedding_variable("dense", 4)
  graph.initialize()
  with pytest.raises(tf.errors.InvalidArgumentError, match="is a table without a dense value: read rows with"):
    graph.run(ev)


@pytest.mark.parametrize("method", ["value", "initialized_value", "count_up_to", "assign"])
def test_what_needs_a_dense_value_is_refused(method):
  with pytest.raises(NotImplementedError, match="table without a dense value"):
    getattr(ev_tf.get_embedding_variable("refused", 4), method)(1)


def test_collections_are_a_list_of_names():
  with pytest.raises(TypeError, match="collections: expected a list"):
    ev_tf.get_embedding_variable("collected", 4, collections="mine")


def test_reuse_gives_the_same_object(graph):
  with v1.variable_scope("a"):
    first = ev_tf.get_embedding_variable("e", 4)
  with v1.variable_scope("a", reuse=True):
    assert ev_tf.get_embedding_variable("e", 4) is first
  with v1.variable_scope("a", reuse=v1.AUTO_REUSE):
    assert ev_tf.get_embedding_variable("e", 4) is first
    other = ev_tf.get_embedding_variable("f", 4)
  assert other is not first
  with v1.variable_scope("a", reuse=True), pytest.raises(ValueError, match=r"\(4096, 8\).*\(4096, 4\)"):
    ev_tf.get_embedding_variable("e", 8)
  with v1.variable_scope("a", reuse=True), pytest.raises(ValueError, match="key_dtype=int64, got .*key_dtype=int32"):
    ev_tf.get_embedding_variable("e", 4, key_dtype=tf.int32)


def test_a_name_clash_is_an_error(graph):
  ev_tf.get_embedding_variable("e", 4)
  with pytest.raises(ValueError, match="e already exists"):
    ev_tf.get_embedding_variable("e", 4)
  v1.get_variable("dense", shape=[4096, 4])
  with v1.variable_scope("", reuse=True), pytest.raises(ValueError, match="is no EmbeddingVariable"):
    ev_tf.get_embedding_variable("dense", 4)


def test_a_custom_getter_sees_it(graph):
  seen = []

  def note(getter, name, *args, **kwargs):
    seen.append(name)
    return getter(name, *args, **kwargs)

  with v1.variable_scope("s", custom_getter=note):
    ev_tf.get_embedding_variable("e", 4)
  assert seen == ["s/e"]


def test_the_scope_gives_the_initializer_and_its_caching_device_is_no_matter(graph):
  with v1.variable_scope("s", initializer=v1.constant_initializer(3.0), caching_device=lambda op: "/cpu:0"):
    ev = ev_tf.get_embedding_variable("e", 2)
    assert v1.get_variable_scope().caching_device is not None
  graph.initialize()
  np.testing.assert_array_equal(graph.run(tf.gather(ev, tf.constant([5], tf.int64))), [[3.0, 3.0]])


def test_equals_a_dense_variable_of_the_same_seed(graph):
  initializer = v1.truncated_normal_initializer(seed=7)
  ev = ev_tf.get_embedding_variable("e", 6, initializer=initializer)
  dense = v1.get_variable("d", [4096, 6], initializer=initializer)
  graph.initialize()
  ids = tf.constant([0, 1, 77, 4095], tf.int64)
  a, b = graph.run([tf.nn.embedding_lookup(ev, ids), tf.nn.embedding_lookup(dense, ids)])
  np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rows", [1, 3, 4096, 10_000])
def test_default_value_dim_is_the_period_of_initial_rows(make_ev, rows):
  option = ev_tf.EmbeddingVariableOption(init_option=ev_tf.InitializerOption(
      initializer=v1.truncated_normal_initializer(seed=1), default_value_dim=rows))
  ev = make_ev(3, initializer=v1.ones_initializer(), ev_option=option)  # the option's initializer wins
  default_rows = tf.nn.embedding_lookup(ev, tf.range(rows, dtype=tf.int64)).numpy()
  assert len(np.unique(default_rows[:, 0])) > min(rows, 100) // 2
  ids = np.array([-1, 0, rows, rows + 1, -rows - 1, 2**63 - 1, -2**63], np.int64)
  np.testing.assert_array_equal(tf.gather(ev, ids).numpy(), default_rows[[int(i) % rows for i in ids]])
  assert int(ev.size()) == 0


@pytest.mark.parametrize("initializer", [
    v1.ones_initializer, v1.ones_initializer(), lambda shape, dtype: tf.ones(shape, dtype), tf.ones_initializer()])
def test_any_callable_initializer_works(make_ev, initializer):
  np.testing.assert_array_equal(tf.gather(make_ev(2, initializer=initializer), [8]).numpy(), [[1.0, 1.0]])


@pytest.mark.parametrize("arguments, error, message", [
    (dict(embedding_dim=0), ValueError, "expected 1 to 65536, got 0"),
    (dict(embedding_dim=-3), ValueError, "expected 1 to 65536, got -3"),
    (dict(embedding_dim=65537), ValueError, "expected 1 to 65536, got 65537"),
    (dict(embedding_dim=4.0), TypeError, "expected an int, got 4.0"),
    (dict(embedding_dim=None), TypeError, "expected an int"),
    (dict(key_dtype=tf.string), ValueError, "key_dtype: expected tf.int64 or tf.int32"),
    (dict(key_dtype=tf.float32), ValueError, "key_dtype: expected"),
    (dict(value_dtype=tf.float64), ValueError, "value_dtype: expected tf.float32"),
    (dict(value_dtype=tf.float16), NotImplementedError, "value_dtype=tf.float16: lookups give float32"),
    (dict(value_dtype=tf.bfloat16), NotImplementedError, "value_dtype=tf.bfloat16: lookups give float32"),
    (dict(initializer=0.5), TypeError, "expected a callable"),
    (dict(initializer=[1.0, 2.0]), TypeError, "expected a callable"),
    (dict(initializer=lambda shape, dtype: tf.zeros([3], dtype)), ValueError, r"expected float32 \[4096, 4\], got"),
    (dict(ev_option="DRAM"), TypeError, "expected an EmbeddingVariableOption"),
    (dict(regularizer=lambda v: v), NotImplementedError, "regularizer"),
    (dict(constraint=lambda v: v), NotImplementedError, "constraint"),
    (dict(caching_device="/cpu:0"), NotImplementedError, "caching_device"),
    (dict(init_data_source="odps://x"), NotImplementedError, "init_data_source='odps://x'"),
    (dict(partitioner=lambda shape, dtype: [1, 2]), ValueError, "first axis"),
    (dict(partitioner=2), TypeError, "partitioner: expected a callable such as"),
    (dict(name=None), TypeError, "name: expected a str that is not empty, got None"),
    (dict(name=""), TypeError, "name: expected a str that is not empty, got ''"),
])
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_bad_arguments(arguments, error, message, mode, new_graph):
  call = lambda: ev_tf.get_embedding_variable(**{"name": "bad", "embedding_dim": 4, **arguments})
  if mode == "eager":
    with pytest.raises(error, match=message):
      call()
  else:
    with new_graph(), pytest.raises(error, match=message):
      call()


def test_no_regularizer_is_welcome(graph):
  with v1.variable_scope("s", regularizer=lambda v: tf.reduce_sum(v)):
    ev_tf.get_embedding_variable("e", 4, regularizer=v1.no_regularizer)


@pytest.mark.parametrize("parts", [1, 2])
def test_what_deeprec_programs_ask_a_variable(parts, make_ev):
  ev = make_ev(3, partitioner=v1.fixed_size_partitioner(parts))
  assert (ev.block_num, ev.invalid_key, ev.need_counts()) == (1, 2**63 - 1, False)
  counted = ev_tf.EmbeddingVariableOption(filter_option=ev_tf.CounterFilter(2))
  narrow = make_ev(3, key_dtype=tf.int32, ev_option=counted)
  assert (narrow.invalid_key, narrow.need_counts()) == (-1, True)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, tf.constant([1, -2, 1], tf.int64)))
  tables = list(ev) if parts > 1 else [ev]
  v1.train.AdagradOptimizer(0.1).apply_gradients(zip(tape.gradient(loss, tables), tables))
  keys, rows = ev.export_slot("Adagrad/accumulator")
  np.testing.assert_allclose(dict(zip(keys.numpy(), rows.numpy()[:, 0]))[1], 4.1)
  with pytest.raises(tf.errors.InvalidArgumentError, match="(?s)slot_name: expected one of.*Adagrad/accumulator.*got.*gone"):
    ev.export_slot("gone")
  with pytest.raises(TypeError, match="counts: expected integers, got float32"):
    ev.sparse_read([1], counts=[1.5])


@pytest.mark.parametrize("ask", [
    lambda ev: ev.value(), lambda ev: ev.read_value(), lambda ev: tf.convert_to_tensor(ev), lambda ev: ev + 1.0,
    lambda ev: ev.assign(tf.ones([4096, 4])), lambda ev: ev.assign_add(tf.ones([4096, 4])), lambda ev: ev.numpy(),
    lambda ev: ev.scatter_sub(tf.IndexedSlices(tf.ones([1, 4]), [0]))])
def test_there_is_no_dense_value(make_ev, ask):
  with pytest.raises(NotImplementedError, match="without a dense value"):
    ask(make_ev())


def test_eager_variables_of_one_name_are_two_tables(make_ev):
  first, second = make_ev(2, initializer=v1.zeros_initializer()), make_ev(2, initializer=v1.ones_initializer())
  assert tf.gather(first, [1]).numpy()[0, 0] == 0.0 and tf.gather(second, [1]).numpy()[0, 0] == 1.0


def test_made_inside_a_function_once():
  holder = []

  @tf.function
  def step(ids):
    if not holder:
      holder.append(ev_tf.get_embedding_variable("inside", 4, initializer=v1.ones_initializer()))
    return tf.nn.embedding_lookup(holder[0], ids)

  np.testing.assert_array_equal(step(tf.constant([1, 2], tf.int64)), np.ones([2, 4]))
  np.testing.assert_array_equal(step(tf.constant([[3]], tf.int64)), np.ones([1, 1, 4]))
