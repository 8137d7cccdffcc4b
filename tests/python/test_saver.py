"""The stock tf.compat.v1.train.Saver on tables."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import table as table_lib

v1 = tf.compat.v1
PROGRAM = pathlib.Path(__file__).with_name("save_and_resume.py")


def run_program(*arguments):
  done = subprocess.run([sys.executable, str(PROGRAM), *map(str, arguments)], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("optimizer, parts", [("adagrad", 1), ("adam", 3)])
def test_training_goes_on_in_a_new_process(tmp_path, optimizer, parts):
  first = run_program(tmp_path, optimizer, parts, "both")  # saves after its fifth step
  second = run_program(tmp_path, optimizer, parts, "second")
  assert second["losses"] == first["losses"][5:]
  assert (second["size"], second["frequency"], second["version"]) == (first["size"], first["frequency"], first["version"])


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adam", "adamw", "ftrl"])
def test_every_optimizer_goes_on_in_a_new_process(tmp_path, optimizer, parts):
  first = run_program(tmp_path, optimizer, parts, "both")
  assert run_program(tmp_path, optimizer, parts, "second")["losses"] == first["losses"][5:]


def train_and_save(program, path, dim=4, name="e", optimizer=None, **kwargs):
  """Makes a table with rows for ids 1 and -2, and saves it; gives the checkpoint."""
  ev = ev_tf.get_embedding_variable(name, dim, **kwargs)
  optimizer = optimizer or v1.train.AdagradOptimizer(0.1)
  train_op = optimizer.minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1, -2], tf.int64))))
  saver = v1.train.Saver()
  program.initialize()
  program.run(train_op)
  return saver.save(program.session, str(path / "model.ckpt"))


def test_what_is_in_a_checkpoint(new_graph, tmp_path):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path)
  tensors = dict(tf.train.list_variables(path))
  assert tensors == {"e-keys": [2], "e-values": [2, 4], "e-slots": [2, 4], "e-slot_names": [1], "e-slot_dims": [1],
                     "e-slot_initials": [1], "e-freqs": [0], "e-versions": [0], "e-default_rows": [4096, 4],
                     "e-keys_filtered": [0], "e-freqs_filtered": [0], "e-versions_filtered": [0]}
  assert set(tensors) == {f"e-{suffix}" for suffix, _ in table_lib.CONTENT.values()}
  assert tf.train.load_variable(path, "e-slot_names").tolist() == [b"Adagrad/accumulator"]
  np.testing.assert_allclose(tf.train.load_variable(path, "e-slots"), np.full([2, 4], 1.1))


def test_a_restored_table_needs_no_initializer_and_replaces_what_was_there(new_graph, tmp_path):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path, initializer=v1.truncated_normal_initializer(seed=1))
    all_ids = tf.constant([1, -2, 3, 7], tf.int64)
    expected = graph.run(tf.gather(tf.compat.v1.global_variables()[0], all_ids))
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4, initializer=v1.zeros_initializer())
    train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(ev, tf.constant([100, 101, 1], tf.int64))))
    rows = tf.gather(ev, tf.constant([1, -2, 3, 7], tf.int64))
    saver = v1.train.Saver()
    saver.restore(graph.session, path)
    np.testing.assert_array_equal(graph.run(rows), expected)
    graph.run(train_op)
    assert graph.run(ev.size()) == 4
    saver.restore(graph.session, path)
    assert graph.run(ev.size()) == 2
    np.testing.assert_array_equal(graph.run(rows), expected)


def test_import_meta_graph_and_saved_models_of_sessions(new_graph, tmp_path):
  with new_graph() as graph:
    ev, ids = ev_tf.get_embedding_variable("s/e", 4), v1.placeholder(tf.int64, [None], name="ids")
    rows = tf.identity(tf.gather(ev, ids), name="rows")
    graph.initialize()
    expected = graph.run(rows, {ids: [1, -2]})
    path = v1.train.Saver().save(graph.session, str(tmp_path / "m.ckpt"))
    v1.saved_model.simple_save(graph.session, str(tmp_path / "saved"), {"ids": ids}, {"rows": rows})
  with new_graph() as graph:
    v1.train.import_meta_graph(path + ".meta").restore(graph.session, path)
    np.testing.assert_array_equal(graph.run("rows:0", {"ids:0": [1, -2]}), expected)
  with new_graph() as graph:
    v1.saved_model.load(graph.session, ["serve"], str(tmp_path / "saved"))
    np.testing.assert_array_equal(graph.run("rows:0", {"ids:0": [1, -2]}), expected)


def test_another_dim_is_refused_and_nothing_changes(new_graph, tmp_path):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path, dim=4)
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 8, initializer=v1.ones_initializer())
    saver = v1.train.Saver()
    graph.initialize()
    with pytest.raises(tf.errors.InvalidArgumentError, match="'e' cannot take this content: embedding dim: expected 8, found 4"):
      saver.restore(graph.session, path)
    np.testing.assert_array_equal(graph.run(tf.gather(ev, tf.constant([1], tf.int64))), np.ones([1, 8]))


@pytest.mark.parametrize("dim", [2, 6])
def test_another_dim_by_the_environment(dim, new_graph, tmp_path, monkeypatch):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path, dim=4, initializer=v1.ones_initializer())  # rows of 1 - 0.1 / sqrt(1.1)
  monkeypatch.setenv("TF_EV_RESTORE_CUSTOM_DIM", "1")
  with new_graph() as graph:
    draw = v1.random_uniform_initializer(seed=3)
    ev, twin = ev_tf.get_embedding_variable("e", dim, initializer=draw), ev_tf.get_embedding_variable("twin", dim, initializer=draw)
    saver = v1.train.Saver([ev])
    if dim > 4:
      with pytest.raises(tf.errors.InvalidArgumentError, match="expected 6, found 4; .* run its initializer before the restore"):
        saver.restore(graph.session, path)
    graph.initialize()
    saver.restore(graph.session, path)
    ids = tf.constant([1, -2, 9, 4097], tf.int64)  # the last two have no rows
    rows, own = graph.run([tf.gather(ev, ids), tf.gather(twin, ids)])
    trained = np.float32(1.0) - np.float32(0.1) / np.sqrt(np.float32(1.1))
    np.testing.assert_allclose(rows[:2, :4], np.full([2, min(dim, 4)], trained), rtol=1e-6)
    np.testing.assert_array_equal(rows[2:, :4], np.ones([2, min(dim, 4)]))
    np.testing.assert_array_equal(rows[:, 4:], own[:, 4:])
    keys, slots = graph.run(ev.export_slot("Adagrad/accumulator"))
    np.testing.assert_allclose(slots, np.tile([1.1] * min(dim, 4) + [0.1] * (dim - 4), [2, 1]), rtol=1e-6)
    assert sorted(keys) == [-2, 1]
  monkeypatch.setenv("TF_EV_RESTORE_CUSTOM_DIM", "6")
  with new_graph() as graph:
    ev_tf.get_embedding_variable("e", 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="TF_EV_RESTORE_CUSTOM_DIM: expected 0, 1, true or false, found '6'"):
      v1.train.Saver().restore(graph.session, path)


def test_a_checkpoint_without_the_variable(new_graph, tmp_path):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path)
  with new_graph() as graph:
    ev_tf.get_embedding_variable("other", 4)
    with pytest.raises(tf.errors.NotFoundError, match="other-"):
      v1.train.Saver().restore(graph.session, path)


def test_saving_what_is_not_initialized(graph, tmp_path):
  ev_tf.get_embedding_variable("e", 4)
  with pytest.raises(tf.errors.FailedPreconditionError, match="'e' is not initialized"):
    v1.train.Saver().save(graph.session, str(tmp_path / "model.ckpt"))


def test_an_empty_table(new_graph, tmp_path):
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4, initializer=v1.ones_initializer())
    graph.initialize()
    path = v1.train.Saver().save(graph.session, str(tmp_path / "model.ckpt"))
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4)
    v1.train.Saver().restore(graph.session, path)
    assert graph.run(ev.size()) == 0
    np.testing.assert_array_equal(graph.run(tf.gather(ev, tf.constant([9], tf.int64))), np.ones([1, 4]))


def test_another_optimizer_after_the_restore_starts_its_slots_anew(new_graph, tmp_path):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path)
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4)
    optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
    train_op = optimizer.minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))))
    v1.train.Saver().restore(graph.session, path)
    graph.run(train_op)
    keys, rows = graph.run(optimizer.get_slot(ev, "momentum").export())
    assert dict(zip(keys, rows[:, 0])) == {1: 1.0, -2: 0.0}
    keys, rows = graph.run(ev.export_slot("Adagrad/accumulator"))
    np.testing.assert_allclose(rows, np.full([2, 4], 1.1))


@pytest.mark.parametrize("sharded", [False, True])
def test_sharded_savers_keep_the_last_ones(graph, tmp_path, sharded):
  ev = ev_tf.get_embedding_variable("scope/e", 4, partitioner=v1.fixed_size_partitioner(2))
  w = v1.get_variable("w", [3])
  saver = v1.train.Saver(sharded=sharded, max_to_keep=2)
  graph.initialize()
  paths = [saver.save(graph.session, str(tmp_path / "m.ckpt"), global_step=i) for i in range(4)]
  assert saver.last_checkpoints == paths[2:]
  saver.restore(graph.session, paths[-1])
  assert {name for name, _ in tf.train.list_variables(paths[-1])} >= {"scope/e/part_0-keys", "scope/e/part_1-keys", "w"}
  del ev, w


def test_a_saver_of_the_front_saves_its_parts(graph, tmp_path):
  front = ev_tf.get_embedding_variable("e", 4, partitioner=v1.fixed_size_partitioner(2))
  train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(front, tf.range(10, dtype=tf.int64))))
  rows, saver = tf.gather(front, tf.range(12, dtype=tf.int64)), v1.train.Saver([front])
  graph.initialize()
  graph.run(train_op)
  expected = graph.run(rows)
  path = saver.save(graph.session, str(tmp_path / "m.ckpt"))
  assert {name for name, _ in tf.train.list_variables(path)} >= {"e/part_0-keys", "e/part_1-values"}
  graph.run(train_op)
  saver.restore(graph.session, path)
  np.testing.assert_array_equal(graph.run(rows), expected)


def test_the_saver_of_monitored_sessions(new_graph, tmp_path):
  sizes = []
  for _ in range(2):
    with tf.Graph().as_default():
      ev = ev_tf.get_embedding_variable("e", 4)
      step = v1.train.get_or_create_global_step()
      ids = tf.stack([step, -step])
      train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(ev, ids)), global_step=step)
      size = ev.size()
      hooks = [v1.train.StopAtStepHook(num_steps=3)]
      with v1.train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path), hooks=hooks, save_checkpoint_steps=100) as session:
        while not session.should_stop():
          with_size = session.run([train_op, size, step])
      sizes.append(int(with_size[1]))
  assert sizes[1] > sizes[0]
