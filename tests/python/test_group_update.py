"""One apply_gradients updates its tables by one op: as each would be by an optimizer of its own, to the bit."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import train

v1 = tf.compat.v1
DIMS = (1, 4, 16, 7)

# Made from the step of the training.
OPTIMIZERS = {
    "sgd": lambda step: v1.train.GradientDescentOptimizer(0.1),
    "momentum": lambda step: v1.train.MomentumOptimizer(0.05, 0.9, use_nesterov=True),
    "adagrad": lambda step: v1.train.AdagradOptimizer(0.1),
    "adam": lambda step: v1.train.AdamOptimizer(0.1),
    "ftrl": lambda step: v1.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
    "rms_prop": lambda step: v1.train.RMSPropOptimizer(0.1, momentum=0.5, centered=True),
    "adagrad_decay": lambda step: train.AdagradDecayOptimizer(0.1, step, accumulator_decay_step=1),
    "row_wise_adagrad": lambda step: train.RowWiseAdagradOptimizer(0.1),
    "adamw": lambda step: train.AdamWOptimizer(0.01, 0.1),
    "adam_async": lambda step: train.AdamAsyncOptimizer(0.1),
}


def make_tables(prefix):
  """Tables of many dims; one has int32 keys, one keeps versions."""
  draw_rows = lambda shape, dtype: tf.random.stateless_normal(shape, [shape[1], 7], dtype=dtype)
  return [ev_tf.get_embedding_variable(
      f"{prefix}_{i}", dim, key_dtype=tf.int32 if i == 1 else tf.int64, initializer=draw_rows, ev_option=ev_tf.EmbeddingVariableOption(
          record_version=i == 2)) for i, dim in enumerate(DIMS)]


def draw(rng):
  """Ids with duplicates, and what their rows are multiplied by, for each table."""
  sizes = [0 if i == 3 and rng.random() < 0.5 else 40 for i in range(len(DIMS))]
  return [(rng.integers(-9, 9, n), rng.normal(size=[n, dim]).astype(np.float32)) for n, dim in zip(sizes, DIMS)]


def gradients_of(tables, batch):
  losses = lambda: [tf.reduce_sum(tf.nn.embedding_lookup(table, tf.constant(ids, table.key_dtype)) * factor)
                    for table, (ids, factor) in zip(tables, batch)]
  if not tf.executing_eagerly():
    return tf.gradients(tf.add_n(losses()), tables)
  with tf.GradientTape() as tape:
    loss = tf.add_n(losses())
  return tape.gradient(loss, tables)


def contents(table):
  columns = [column.numpy() for column in table.export()]
  order = np.argsort(columns[0])
  return [column[order] for column in columns if len(column)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_an_optimizer_for_each_table(name, rng):
  together, alone = make_tables("together"), make_tables("alone")
  step = tf.Variable(5, dtype=tf.int64)
  optimizer, own = OPTIMIZERS[name](step), [OPTIMIZERS[name](step) for _ in DIMS]
  for _ in range(4):
    batch = draw(rng)
    optimizer.apply_gradients(zip(gradients_of(together, batch), together), global_step=step)
    step.assign_sub(1)
    for each, gradient, table in zip(own, gradients_of(alone, batch), alone):
      each.apply_gradients([(gradient, table)], global_step=step)
      step.assign_sub(1)
    step.assign_add(1)
  for a, b in zip(together, alone):
    assert a.size() == b.size() > 9
    for x, y in zip(contents(a), contents(b)):
      np.testing.assert_array_equal(x, y)


def apply_ops(graph):
  return sorted(op.type for op in graph.graph.get_operations() if "Apply" in op.type)


@pytest.mark.parametrize("name, found", [("adagrad", ["EvGroupApplyAdagrad"]), ("adam", ["EvGroupApplyAdam"]),
                                         ("adam_async", 4 * ["EvApplyAdam"]), ("adamw", ["EvGroupApplyAdamW"])])
def test_what_is_built_in_a_graph(name, found, graph, rng):
  tables, batch = make_tables("graph"), draw(rng)
  train_op = OPTIMIZERS[name](None).apply_gradients(zip(gradients_of(tables, batch), tables))
  assert apply_ops(graph) == found
  graph.initialize()
  graph.run(train_op)
  assert graph.run([table.size() for table in tables]) == [len(set(ids)) for ids, _ in batch]


def test_tables_that_decay_and_others_are_two_groups(graph, rng):
  tables, batch = make_tables("decay"), draw(rng)
  optimizer = train.AdamWOptimizer(0.5, 0.1)
  train_op = optimizer.apply_gradients([(tf.IndexedSlices(gradient.values * 0, gradient.indices), table) for gradient, table
                                        in zip(gradients_of(tables, batch), tables)], decay_var_list=tables[:2])
  assert apply_ops(graph) == 2 * ["EvGroupApplyAdamW"]
  rows = [tf.gather(table, tf.constant([5], table.key_dtype)) for table in tables]
  graph.initialize()
  before = graph.run(rows)
  graph.run(train_op)
  for i, (old, new) in enumerate(zip(before, graph.run(rows))):
    touched = 5 in batch[i][0]
    np.testing.assert_allclose(new, old * (0.5 if i < 2 and touched else 1.0), rtol=1e-6)


def test_tables_of_two_devices_are_two_groups(graph, rng):
  with tf.device("/job:ps/task:0"):
    first = make_tables("first")[:2]
  with tf.device("/job:ps/task:1"):
    second = make_tables("second")[2:]
  tables = first + second
  v1.train.AdagradOptimizer(0.1).apply_gradients(zip(gradients_of(tables, draw(rng)), tables))
  groups = [op for op in graph.graph.get_operations() if op.type == "EvGroupApplyAdagrad"]
  assert [op.device for op in groups] == ["/job:ps/task:0", "/job:ps/task:1"]


def test_a_table_that_stands_twice_is_updated_twice():
  table = ev_tf.get_embedding_variable("twice", 1, initializer=v1.zeros_initializer())
  gradient = lambda: tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([3], tf.int64))
  v1.train.GradientDescentOptimizer(1.0).apply_gradients([(gradient(), table), (gradient(), table)])
  assert tf.gather(table, tf.constant([3], tf.int64)).numpy().tolist() == [[-2.0]]


def test_a_wrong_gradient_names_its_table():
  tables = make_tables("wrong")[:2]
  pairs = [(tf.IndexedSlices(tf.ones([2, table.dim]), tf.constant([1], table.key_dtype)), table) for table in tables]
  with pytest.raises(tf.errors.InvalidArgumentError, match="grad"):
    v1.train.AdagradOptimizer(0.1).apply_gradients(pairs)
  assert [int(table.size()) for table in tables] == [0, 0]
