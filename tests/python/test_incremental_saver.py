"""Checkpoints that hold what has changed since the one before."""

import glob
import os

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import table_file

v1 = tf.compat.v1


class Program:
  """A graph with a table, a dense variable and a Saver."""

  def __init__(self, parts=None, saver=ev_tf.train.IncrementalSaver, **saver_options):
    self.graph = tf.Graph()
    with self.graph.as_default():
      partitioner = v1.fixed_size_partitioner(parts) if parts else None
      self.table = ev_tf.get_embedding_variable("table", 4, partitioner=partitioner)
      self.dense = v1.get_variable("dense", [4], initializer=v1.ones_initializer(), use_resource=True)
      self.step = v1.train.get_or_create_global_step()
      self.ids = v1.placeholder(tf.int64, [None])
      self.rows = tf.nn.embedding_lookup(self.table, self.ids)
      loss = tf.reduce_sum(tf.square(self.rows * self.dense - 1.0))
      self.train_op = v1.train.AdamOptimizer(0.1).minimize(loss, global_step=self.step)
      self.removed = [part.remove(self.ids) for part in (self.table if parts else [self.table])]
      self.saver = saver(**saver_options)
      self.session = v1.Session()
      self.session.run(v1.global_variables_initializer())

  def save(self, path, step):
    with self.graph.as_default():
      return self.saver.save(self.session, path, global_step=step)

  def increment(self, path, step):
    with self.graph.as_default():
      return self.saver.incremental_save(self.session, path, global_step=step)

  def restore(self, path):
    with self.graph.as_default():
      self.saver.restore(self.session, path)

  def train(self, ids):
    self.session.run(self.train_op, {self.ids: ids})

  def remove(self, ids):
    self.session.run(self.removed, {self.ids: ids})

  def state(self):
    """Rows by id, the dense variable, and what lookups give, of ids without a row as well."""
    with self.graph.as_default():
      if not hasattr(self, "exported"):
        parts = self.table if isinstance(self.table, ev_tf.PartitionedEmbeddingVariable) else [self.table]
        self.exported = [part.export() for part in parts]
    rows = {}
    for keys, values, *_ in self.session.run([tuple(part)[:2] for part in self.exported]):
      rows.update({int(key): value.tolist() for key, value in zip(keys, values)})
    return rows, self.session.run(self.dense).tolist(), self.session.run(self.rows, {self.ids: range(-50, 50)}).tolist()


def ids(*bounds):
  return np.arange(*bounds, dtype=np.int64)


@pytest.mark.parametrize("parts, again", [(None, None), (None, 2), (3, None), (2, 3)])
def test_an_increment_restores_the_whole_state(tmp_path, parts, again):
  program = Program(parts)
  path = str(tmp_path / "model")
  program.train(ids(-40, 40))
  program.save(path, 1)
  for step in range(2, 5):
    program.train(ids(step, step + 5))
    program.remove(ids(-step, -step + 1))
    saved = program.increment(path, program.step if step == 4 else step)
  assert os.path.basename(saved).startswith("incremental_model-")
  assert tf.train.latest_checkpoint(str(tmp_path)) == saved
  increments = [file for file in table_file.table_files(saved) if file.path.startswith(saved)]
  assert sum(file.rows for file in increments) == 5
  before = program.state()
  program.train(ids(0, 20))
  after = program.state()
  for saver in (ev_tf.train.IncrementalSaver, v1.train.Saver):  # a stock Saver restores it, too
    restored = Program(again, saver)
    restored.train(ids(1000, 1010))  # is gone after the restore
    restored.restore(saved)
    assert restored.state() == before
    restored.train(ids(0, 20))  # slots are right, too
    assert restored.state() == after


def test_first_save_and_one_after_a_restore_or_a_failure_are_full(tmp_path):
  program = Program()
  path = str(tmp_path / "model")
  program.train(ids(10))
  first = program.increment(path, 1)
  assert os.path.basename(first) == "model-1"
  second = program.increment(path, 2)
  assert os.path.basename(second) == "incremental_model-2"
  with pytest.raises(ValueError, match="expected one that was not saved yet"):
    program.increment(path, 2)
  with pytest.raises(ValueError, match="expected the directory of"):
    program.increment(str(tmp_path / "other" / "model"), 3)
  third = program.increment(path, 3)
  assert os.path.basename(third) == "incremental_model-3"
  blocked = tmp_path / "incremental_model-4.index"
  blocked.mkdir()
  with pytest.raises(tf.errors.OpError):
    program.increment(path, 4)
  blocked.rmdir()
  assert os.path.basename(program.increment(path, 5)) == "model-5"
  program.restore(first)
  assert os.path.basename(program.increment(path, 6)) == "model-6"


def test_increments_leave_with_their_full_checkpoint(tmp_path):
  program = Program(max_to_keep=2)
  path = str(tmp_path / "model")
  for step in range(0, 40, 10):
    program.train(ids(step, step + 3))
    program.save(path, step)
    for between in (1, 2):
      program.train(ids(step + between))
      program.increment(path, step + between)
  indexes = sorted(os.path.basename(name) for name in glob.glob(path + "*.index"))
  assert indexes == ["model-20.index", "model-30.index"]
  increments = sorted(os.path.basename(name) for name in glob.glob(str(tmp_path / "incremental_*.index")))
  assert increments == [f"incremental_model-{n}.index" for n in (21, 22, 31, 32)]
  assert not glob.glob(str(tmp_path / "*model-0.*")) and not glob.glob(str(tmp_path / "incremental_model-1*.data*"))
  for name in increments:
    restored = Program()
    restored.restore(str(tmp_path / name[:-len(".index")]))


def test_a_missing_file_of_the_chain_is_named(tmp_path):
  program = Program()
  path = str(tmp_path / "model")
  program.train(ids(10))
  full = program.save(path, 1)
  increment = program.increment(path, 2)
  for file in table_file.table_files(full):
    os.remove(file.path)
  with pytest.raises(tf.errors.NotFoundError, match="model-1.data"):
    program.restore(increment)


def test_wrong_use_is_refused(tmp_path):
  program = Program(saver=ev_tf.train.Saver)
  with pytest.raises(ValueError, match="incremental_save_restore=True"):
    program.increment(str(tmp_path / "model"), 1)
  with program.graph.as_default():
    with pytest.raises(ValueError, match="expected no saver_def"):
      ev_tf.train.IncrementalSaver(saver_def=program.saver.saver_def)
    with pytest.raises(ValueError, match="expected a checkpoint_dir"):
      ev_tf.train.MonitoredTrainingSession(save_incremental_checkpoint_secs=1)
    with pytest.raises(ValueError, match="expected an ev_tf.train.Saver"):
      ev_tf.train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path), save_incremental_checkpoint_secs=1,
                                           scaffold=v1.train.Scaffold(saver=program.saver))


def test_a_monitored_session_saves_increments_and_goes_on_from_the_last(tmp_path):

  def run(steps):
    with tf.Graph().as_default():
      table = ev_tf.get_embedding_variable("table", 4)
      step = v1.train.get_or_create_global_step()
      ids = tf.range(step, step + 3)
      loss = tf.reduce_sum(tf.square(tf.nn.embedding_lookup(table, ids)))
      train = v1.train.AdagradOptimizer(0.1).minimize(loss, global_step=step)
      rows = tf.nn.embedding_lookup(table, tf.range(20))
      with ev_tf.train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path), save_checkpoint_steps=10,
                                                save_checkpoint_secs=None,
                                                save_incremental_checkpoint_steps=3) as session:
        began = session.run_step_fn(lambda step_context: step_context.session.run([step, rows]))
        for _ in range(steps):
          session.run(train)
        ended = session.run_step_fn(lambda step_context: step_context.session.run([step, rows]))
        last = tf.train.latest_checkpoint(str(tmp_path))
    return began, ended, last

  _, ended, last = run(6)
  assert os.path.basename(last) == "incremental_model.ckpt-6"
  names = {os.path.basename(name)[:-len(".index")] for name in glob.glob(str(tmp_path / "*.index"))}
  assert {"model.ckpt-0", "incremental_model.ckpt-3", "incremental_model.ckpt-6"} <= names
  # As after a crash: the checkpoint that the session wrote when it ended is not there.
  v1.train.remove_checkpoint(str(tmp_path / "model.ckpt-6"))
  v1.train.update_checkpoint_state(str(tmp_path), last, [str(tmp_path / "model.ckpt-0"), last])
  began, _, _ = run(1)
  assert began[0] == ended[0] == 6
  np.testing.assert_array_equal(began[1], ended[1])
