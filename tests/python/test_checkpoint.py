"""tf.train.Checkpoint and SavedModel with tables."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import table_file

v1 = tf.compat.v1
IDS = np.array([3, 5, 3, -7, 1 << 50])


class Model(tf.Module):

  def __init__(self, parts=None):
    super().__init__()
    self.table = ev_tf.get_embedding_variable("table", 4, partitioner=v1.fixed_size_partitioner(parts) if parts else None)
    self.w = tf.Variable(tf.ones([4, 1]))
    self.optimizer = v1.train.AdagradOptimizer(0.1)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def serve(self, ids):
    return tf.matmul(tf.nn.embedding_lookup(self.table, ids), self.w)

  def train(self, ids):
    variables = [*(self.table if isinstance(self.table, ev_tf.PartitionedEmbeddingVariable) else [self.table]), self.w]
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.square(self.serve(tf.constant(ids)) - 1.0))
    self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    return float(loss)


@pytest.mark.parametrize("parts", [None, 2])
def test_checkpoint_restores_rows_slots_and_initial_rows(tmp_path, parts):
  model = Model(parts)
  for _ in range(3):
    model.train(IDS)
  path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ck"))
  again = Model(parts)
  status = tf.train.Checkpoint(model=again).restore(path)
  status.assert_existing_objects_matched()
  probe = tf.constant(np.concatenate([IDS, [100, -100]]))
  np.testing.assert_array_equal(again.serve(probe), model.serve(probe))
  assert [again.train(IDS + 1) for _ in range(3)] == [model.train(IDS + 1) for _ in range(3)]


@pytest.mark.parametrize("saved", [None, 2, 3])
@pytest.mark.parametrize("restored", [None, 1, 2, 5])
def test_any_number_of_parts_becomes_any_other(tmp_path, saved, restored):
  model = Model(saved)
  model.train(IDS)
  path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ck"))
  again = Model(restored)
  tf.train.Checkpoint(model=again).restore(path).assert_existing_objects_matched()
  assert [again.train(IDS + 1) for _ in range(2)] == [model.train(IDS + 1) for _ in range(2)]


def test_a_manager_deletes_the_files_of_tables_with_their_checkpoint(tmp_path):
  model = Model(2)
  manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(tmp_path), max_to_keep=2)
  for _ in range(4):
    model.train(IDS)
    manager.save()
  files = [os.path.basename(file.path) for path in manager.checkpoints for file in table_file.table_files(path)]
  assert len(files) == 4
  assert sorted(name for name in os.listdir(tmp_path) if ".data-e" in name) == sorted(files)
  again = Model(2)
  tf.train.Checkpoint(model=again).restore(manager.latest_checkpoint)
  assert again.train(IDS) == model.train(IDS)


def test_two_variables_of_one_name_in_one_checkpoint(tmp_path):
  models = [Model(), Model()]
  for steps, model in enumerate(models, 1):
    for _ in range(steps):
      model.train(IDS)
  checkpoint = tf.train.Checkpoint(models=models)
  expected = [model.serve(tf.constant(IDS)).numpy() for model in models]
  for _ in range(2):  # the second overwrites the first
    path = checkpoint.write(str(tmp_path / "ck"))
  again = [Model(), Model()]
  tf.train.Checkpoint(models=again).read(path)
  for model, rows in zip(again, expected):
    np.testing.assert_array_equal(model.serve(tf.constant(IDS)), rows)


@pytest.mark.parametrize("parts", [None, 2])
def test_asynchronous_checkpoints(tmp_path, caplog, parts):
  model = Model(parts)
  model.train(IDS)
  checkpoint = tf.train.Checkpoint(model=model)
  options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=True)
  for _ in range(2):
    path = checkpoint.save(str(tmp_path / "ck"), options=options)
    checkpoint.sync()
  assert "skipped" not in caplog.text
  again = Model(parts)
  tf.train.Checkpoint(model=again).restore(path).assert_existing_objects_matched()
  assert again.train(IDS) == model.train(IDS)


def test_deferred_restoration(tmp_path):
  model = Model()
  model.train(IDS)
  path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ck"))
  empty = tf.Module()
  tf.train.Checkpoint(model=empty).restore(path)
  empty.table = ev_tf.get_embedding_variable("table", 4)
  np.testing.assert_array_equal(tf.gather(empty.table, IDS), tf.gather(model.table, IDS))


def test_another_dim_is_refused(tmp_path):
  holder = tf.Module()
  holder.table = ev_tf.get_embedding_variable("table", 4)
  path = tf.train.Checkpoint(model=holder).save(str(tmp_path / "ck"))
  holder.table = ev_tf.get_embedding_variable("table", 8)
  with pytest.raises(tf.errors.InvalidArgumentError, match="dim: expected 8 as variable 'table' has, found 4"):
    tf.train.Checkpoint(model=holder).restore(path)


def test_object_based_checkpoints_of_a_graph(tmp_path):
  path, results = None, []
  for restore in (False, True):
    with tf.Graph().as_default(), v1.Session() as session:
      ev = ev_tf.get_embedding_variable("table", 4)
      rows = tf.gather(ev, IDS)
      train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.square(rows)))
      checkpoint = v1.train.Checkpoint(table=ev)
      if restore:
        status = checkpoint.restore(path)
        status.assert_consumed()
        status.run_restore_ops(session)
      else:
        session.run(v1.global_variables_initializer())
        session.run(train_op)
        path = checkpoint.save(str(tmp_path / "ck"), session=session)
      session.run(train_op)
      results.append(session.run(rows))
  np.testing.assert_array_equal(*results)


LOADERS = {
    "python": """
import ev_tf
loaded = tf.saved_model.load(sys.argv[1])
result = loaded.serve(tf.constant(ids)).numpy()
""",
    "session": """
import ev_tf
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
  signature = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1]).signature_def["serving_default"]
  result = session.run(next(iter(signature.outputs.values())).name, {next(iter(signature.inputs.values())).name: ids})
""",
}


@pytest.mark.parametrize("loader", LOADERS)
def test_saved_model_in_a_new_process(tmp_path, loader):
  model = Model()
  for _ in range(2):
    model.train(IDS)
  del model.optimizer  # TensorFlow 1 optimizers with slots do not load from a SavedModel
  ids = np.concatenate([IDS, [100, -100]])
  expected = model.serve(tf.constant(ids)).numpy()
  tf.saved_model.save(model, str(tmp_path / "saved"), signatures=model.serve)
  program = ("import os, sys\nos.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\nimport numpy as np, tensorflow as tf\n"
             f"ids = np.array({ids.tolist()})\n{LOADERS[loader]}\nnp.save(sys.argv[2], result)\n")
  done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "saved"), str(tmp_path / "result.npy")],
                        capture_output=True, text=True, env=dict(os.environ))
  assert done.returncode == 0, done.stderr[-3000:]
  np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), expected)
