"""Rows that leave by age or by weight: which, when, from every tier, and that none comes back."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import table_file

v1 = tf.compat.v1
DIM, PER_STEP, STEPS, LIVE = 6, 10, 30, 8
PADDED = 32  # bytes of DIM floats in a row


def option_of(evict, storage_type="DRAM", path=None, **kwargs):
  storage = ev_tf.StorageOption(ev_tf.StorageType[storage_type], None if storage_type == "DRAM" else str(path), [8 * 2 * PADDED])
  return ev_tf.EmbeddingVariableOption(evict_option=evict, storage_option=storage, **kwargs)


def ids_of(step):
  return [(step * PER_STEP + i) * 1009 * (-1) ** i for i in range(PER_STEP)]


class Training:
  """A graph whose step trains ids_of(step), so that each id is as old as its step."""

  def __init__(self, graph, option, optimizer=None, **kwargs):
    self.graph = graph
    self.ev = ev_tf.get_embedding_variable("e", DIM, initializer=v1.ones_initializer(), ev_option=option, **kwargs)
    self.ids, self.step = v1.placeholder(tf.int64, [None]), v1.train.get_or_create_global_step()
    optimizer = optimizer or v1.train.AdagradOptimizer(0.1)
    self.train_op = optimizer.minimize(tf.reduce_sum(tf.gather(self.ev, self.ids)), global_step=self.step)
    self.saver = v1.train.Saver()
    self.keys = self.ev.export().keys

  def run(self, steps=STEPS):
    self.graph.initialize()
    for step in range(steps):
      self.graph.run(self.train_op, {self.ids: ids_of(step)})

  def ids_with_rows(self):
    return set(self.graph.run(self.keys).tolist())


def young(at):
  return {i for step in range(STEPS) if at - step <= LIVE for i in ids_of(step)}


@pytest.mark.parametrize("storage_type", ["DRAM", "DRAM_SSDHASH", "DRAM_LEVELDB"])
@pytest.mark.parametrize("when", ["request", "save"])
def test_exactly_the_old_rows_leave_every_tier(when, storage_type, graph, tmp_path, skip_without):
  if storage_type != "DRAM":
    skip_without(storage_type)
  training = Training(graph, option_of(ev_tf.GlobalStepEvict(LIVE), storage_type, tmp_path / "rows"))
  shrink, flush = training.ev.shrink(), training.ev.flush_evictions()
  rows = tf.gather(training.ev, training.ids)
  training.run()
  graph.run(flush)
  if when == "request":  # the step that the graph has reached is STEPS
    assert graph.run(shrink) == STEPS * PER_STEP - len(young(STEPS))
  else:
    path = training.saver.save(graph.session, str(tmp_path / "m.ckpt"))
    assert table_file.table_files(path)[0].rows == len(young(STEPS))
  assert training.ids_with_rows() == young(STEPS)
  graph.run(flush)
  assert training.ids_with_rows() == young(STEPS)
  gone = ids_of(0)
  np.testing.assert_array_equal(graph.run(rows, {training.ids: gone}), np.ones([PER_STEP, DIM]))
  trained = graph.run(rows, {training.ids: ids_of(STEPS - 1)})
  graph.run(training.train_op, {training.ids: gone})
  np.testing.assert_array_equal(graph.run(rows, {training.ids: gone}), trained, "as a row that was trained once")
  if when == "save":
    training.saver.restore(graph.session, path)
    assert training.ids_with_rows() == young(STEPS)


def test_a_step_of_ones_own_and_the_older_spelling(graph):
  with pytest.warns(DeprecationWarning, match="older spelling"):
    training = Training(graph, option_of(None), steps_to_live=LIVE)
  assert training.ev.steps_to_live == LIVE
  at = v1.placeholder(tf.int32, [])
  shrink = training.ev.shrink(global_step=at)
  training.run()
  assert graph.run(shrink, {at: 10}) == 2 * PER_STEP  # steps 0 and 1: 10 - 1 > LIVE
  assert graph.run(shrink, {at: 10}) == 0
  assert training.ids_with_rows() == young(10)
  assert graph.run(shrink, {at: STEPS + LIVE}) == len(young(10))


@pytest.mark.parametrize("storage_type", ["DRAM", "DRAM_SSDHASH"])
def test_light_rows_leave(storage_type, graph, tmp_path):
  option = option_of(ev_tf.L2WeightEvict(DIM * 0.25 / 2), storage_type, tmp_path)  # half the sum of squares of 0.5
  ev = ev_tf.get_embedding_variable("e", DIM, initializer=v1.ones_initializer(), ev_option=option)
  ids, scale = tf.range(100, dtype=tf.int64), tf.linspace(0.0, 0.99, 100)
  loss = tf.reduce_sum(tf.gather(ev, ids) * scale[:, None])
  train_op = v1.train.GradientDescentOptimizer(1.0).minimize(loss)
  left, shrink, rows = ev.export().keys, ev.shrink(), tf.gather(ev, ids)
  graph.initialize()
  graph.run(train_op)
  values = graph.run(rows)
  heavy = (np.square(values).sum(1) / 2 >= DIM * 0.25 / 2).nonzero()[0]
  assert graph.run(shrink) == 100 - len(heavy) and 40 < len(heavy) < 60
  assert sorted(graph.run(left)) == heavy.tolist()


def test_counts_of_a_filter_age_with_the_rows(graph):
  option = ev_tf.EmbeddingVariableOption(evict_option=ev_tf.GlobalStepEvict(LIVE), filter_option=ev_tf.CounterFilter(2))
  training = Training(graph, option)
  shrink = training.ev.shrink()
  everything = tf.constant([i for step in range(STEPS) for i in ids_of(step)], tf.int64)
  frequencies = training.ev.get_frequency(everything)
  training.run()  # every id once: no rows
  assert training.ids_with_rows() == set()
  graph.run(shrink)
  counted = {int(i) for i, f in zip(graph.run(everything), graph.run(frequencies)) if f}
  assert counted == young(STEPS)
  graph.run(training.train_op, {training.ids: ids_of(0) + ids_of(STEPS - 1)})
  assert training.ids_with_rows() == set(ids_of(STEPS - 1))


def test_eager_variables_take_the_largest_step(tmp_path, make_ev):
  ev = make_ev(ev_option=option_of(ev_tf.GlobalStepEvict(2)), name="aged")
  optimizer = tf.keras.optimizers.SGD(1.0)
  for ids in ([1, 2], [2], [2], [3]):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, tf.constant(ids, tf.int64)))
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])
  path = tf.train.Checkpoint(ev=ev).write(str(tmp_path / "checkpoint"))
  assert sorted(ev.export().keys.numpy()) == [2, 3]
  assert int(ev.shrink(global_step=100)) == 2
  tf.train.Checkpoint(ev=ev).read(path)
  assert sorted(ev.export().keys.numpy()) == [2, 3]
  with pytest.raises(TypeError, match="expected an int"):
    ev.shrink(global_step=1.5)


def test_parts_shrink_together(graph):
  training = Training(graph, option_of(ev_tf.GlobalStepEvict(LIVE)), partitioner=v1.fixed_size_partitioner(3))
  shrink = training.ev.shrink()
  training.run()
  assert graph.run(shrink) == STEPS * PER_STEP - len(young(STEPS))
  assert training.ids_with_rows() == young(STEPS)


def test_a_variable_that_keeps_everything(make_ev):
  for evict in (None, ev_tf.L2WeightEvict(), ev_tf.GlobalStepEvict()):
    with pytest.raises(ValueError, match="drops no rows: create it with ev_option"):
      make_ev(ev_option=option_of(evict)).shrink()


def test_a_first_content_from_a_checkpoint(new_graph, tmp_path):
  with new_graph() as graph:
    training = Training(graph, option_of(None))
    training.run(3)
    path = training.saver.save(graph.session, str(tmp_path / "m.ckpt"))
    expected = graph.run(tf.gather(training.ev, tf.constant(ids_of(1), tf.int64)))
  for always in (False, True):
    source = ev_tf.CheckpointOption(path, tensor_name_in_ckpt="e", always_load_from_specific_ckpt=always)
    with new_graph() as graph:
      ev = ev_tf.get_embedding_variable("other", DIM, ev_option=ev_tf.EmbeddingVariableOption(ckpt=source))
      rows, size, remove = tf.gather(ev, tf.constant(ids_of(1), tf.int64)), ev.size(), ev.remove(ids_of(1))
      saver = v1.train.Saver()
      graph.initialize()
      np.testing.assert_array_equal(graph.run(rows), expected)
      graph.run(remove)
      saver.restore(graph.session, saver.save(graph.session, str(tmp_path / "later.ckpt")))
      assert graph.run(size) == (30 if always else 20)
  eager = ev_tf.get_embedding_variable("e", DIM, ev_option=ev_tf.EmbeddingVariableOption(ckpt=ev_tf.CheckpointOption(path)))
  np.testing.assert_array_equal(tf.gather(eager, tf.constant(ids_of(1), tf.int64)), expected)
  with pytest.raises(tf.errors.NotFoundError):
    ev_tf.get_embedding_variable("missing", DIM, ev_option=ev_tf.EmbeddingVariableOption(ckpt=ev_tf.CheckpointOption(path)))
