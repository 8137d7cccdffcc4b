"""The stock tf.compat.v1.train.Saver on tables."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import table_file

v1 = tf.compat.v1
PROGRAM = pathlib.Path(__file__).with_name("save_and_resume.py")


def run_program(*arguments, program=PROGRAM):
  done = subprocess.run([sys.executable, str(program), *map(str, arguments)], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


def check_that_training_goes_on(directory, *cases):
  both = run_program(directory, "both", *cases)  # saves after its fifth step
  second = run_program(directory, "second", *cases)
  for case in cases:
    assert second[case].pop("losses") == both[case].pop("losses")[5:], case
  assert second == both


def test_training_goes_on_in_a_new_process(tmp_path):
  check_that_training_goes_on(tmp_path, "adagrad-1", "adam-3")


@pytest.mark.slow
def test_every_optimizer_goes_on_in_a_new_process(tmp_path):
  optimizers = ["sgd", "momentum", "adagrad", "adam", "adamw", "ftrl"]
  check_that_training_goes_on(tmp_path, *(f"{optimizer}-{parts}" for optimizer in optimizers for parts in (1, 2)))


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_checkpoint(tmp_path):
  begun = run_program(tmp_path, 25, 1, program=PROGRAM.with_name("killed_saves.py"))
  assert len(begun) == 26 and all(after > before for before, after in zip(begun, begun[1:])), begun


def files_of_tables(directory):
  return sorted(name for name in os.listdir(directory) if re.search(r"\.data-e\w{4}-of-\w{5}", name))


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
  assert dict(tf.train.list_variables(path)) == {"e-table": []}
  (file,) = table_file.table_files(path)
  assert file.tensor == "e-table" and (file.partition, file.partitions, file.rows) == (0, 1, 2)
  assert os.path.getsize(file.path) == file.bytes
  assert files_of_tables(tmp_path) == [os.path.basename(file.path)]


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
    with pytest.raises(tf.errors.InvalidArgumentError, match="dim: expected 8 as variable 'e' has, found 4"):
      saver.restore(graph.session, path)
    np.testing.assert_array_equal(graph.run(tf.gather(ev, tf.constant([1], tf.int64))), np.ones([1, 8]))


def test_ids_that_int32_cannot_have_are_refused_and_nothing_changes(new_graph, tmp_path):
  for ids, fit in (([1, 1 << 40], False), ([-(1 << 31), (1 << 31) - 1], True)):
    with new_graph() as graph:
      ev = ev_tf.get_embedding_variable("e", 4)
      train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(ev, tf.constant(ids, tf.int64))))
      graph.initialize()
      graph.run(train_op)
      path = v1.train.Saver().save(graph.session, str(tmp_path / f"{fit}.ckpt"))
    with new_graph() as graph:
      ev = ev_tf.get_embedding_variable("e", 4, key_dtype=tf.int32)
      saver = v1.train.Saver()
      graph.initialize()
      if fit:
        saver.restore(graph.session, path)
        assert sorted(graph.run(ev.export()).keys) == ids
        continue
      with pytest.raises(tf.errors.InvalidArgumentError, match=f"keys: expected int32 as variable 'e' has, found {1 << 40}"):
        saver.restore(graph.session, path)
      assert graph.run(ev.size()) == 0


@pytest.mark.parametrize("dim", [2, 6])
def test_another_dim_by_the_environment(dim, new_graph, tmp_path, monkeypatch):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path, dim=4, initializer=v1.ones_initializer())  # rows of 1 - 0.1 / sqrt(1.1)
  monkeypatch.setenv("TF_EV_RESTORE_CUSTOM_DIM", "1")
  with new_graph() as graph:
    draw = v1.random_uniform_initializer(seed=3)
    ev, twin = ev_tf.get_embedding_variable("e", dim, initializer=draw), ev_tf.get_embedding_variable("twin", dim, initializer=draw)
    saver = v1.train.Saver([ev])
    graph.run(twin.initializer)
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
    with pytest.raises(tf.errors.NotFoundError, match="no table of variable 'other': expected tensor other-table or other/part_0-table"):
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
  assert len(files_of_tables(tmp_path)) == 4, "two parts of each of two checkpoints"
  assert v1.train.latest_checkpoint(str(tmp_path)) == paths[-1]
  saver.restore(graph.session, paths[-1])
  assert {name for name, _ in tf.train.list_variables(paths[-1])} == {"scope/e/part_0-table", "scope/e/part_1-table", "w"}
  del ev, w


def test_full_files_of_an_ssd_tier_are_linked_and_go_with_the_checkpoint(new_graph, tmp_path):
  dim, rows = 2048, 24000  # three files of 64 MiB
  def make():
    storage = ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, str(tmp_path / "tier"), [16 << 20])
    return ev_tf.get_embedding_variable("e", dim, ev_option=ev_tf.EmbeddingVariableOption(storage_option=storage))
  def segments():
    return sorted(path for path in (tmp_path / "ckpt").iterdir() if re.search(r"\.data-s\w{4}-of-\w{5}$", path.name))
  with new_graph() as program:
    ev = make()
    ids = tf.range(rows, dtype=tf.int64)
    train = v1.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(tf.gather(ev, ids)))
    saver = v1.train.Saver(max_to_keep=1)
    program.initialize()
    program.run(train)
    program.run(ev.flush_evictions())
    expected = program.run(tf.gather(ev, [0, 7, rows - 1]))
    saver.save(program.session, str(tmp_path / "ckpt" / "m"), global_step=1)
    assert segments()
    assert all(path.stat().st_nlink == 2 for path in segments()), "one name of the tier, one of the checkpoint"
    path = saver.save(program.session, str(tmp_path / "ckpt" / "m"), global_step=2)
    assert all(name.name.startswith("m-2.") for name in segments())
    file, = table_file.table_files(path)
    assert file.rows == rows
    assert os.path.getsize(file.path) < 0.7 * rows * dim * 4
  with new_graph() as program:
    ev = make()
    v1.train.Saver().restore(program.session, path)
    np.testing.assert_array_equal(program.run(tf.gather(ev, [0, 7, rows - 1])), expected)
    assert program.run(ev.size()) == rows


def test_a_saver_of_the_front_saves_its_parts(graph, tmp_path):
  front = ev_tf.get_embedding_variable("e", 4, partitioner=v1.fixed_size_partitioner(2))
  train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(front, tf.range(10, dtype=tf.int64))))
  rows, saver = tf.gather(front, tf.range(12, dtype=tf.int64)), v1.train.Saver([front])
  graph.initialize()
  graph.run(train_op)
  expected = graph.run(rows)
  path = saver.save(graph.session, str(tmp_path / "m.ckpt"))
  assert {name for name, _ in tf.train.list_variables(path)} == {"e/part_0-table", "e/part_1-table"}
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


def content(exported):
  """{key: row} of an export."""
  return {int(key): row.tolist() for key, row in zip(exported.keys, exported.values)}


def model(parts, **kwargs):
  """A table, a step of Adagrad on some of its ids, and its export."""
  ev = ev_tf.get_embedding_variable("e", 4, partitioner=v1.fixed_size_partitioner(parts) if parts else None, **kwargs)
  ids = np.arange(-50, 50) * 37
  train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.square(tf.gather(ev, ids))))
  return train_op, ev.export()


@pytest.mark.parametrize("saved", [None, 1, 2, 3, 5])
def test_any_number_of_parts_becomes_any_other(new_graph, tmp_path, saved):
  with new_graph() as graph:
    train_op, exported = model(saved)
    saver = v1.train.Saver()
    graph.initialize()
    graph.run(train_op)
    path, before = saver.save(graph.session, str(tmp_path / "m.ckpt")), content(graph.run(exported))
    graph.run(train_op)
    after = content(graph.run(exported))
  assert len(before) == 100
  for restored in (None, 1, 2, 3, 4, 5):
    with new_graph() as graph:
      train_op, exported = model(restored)
      v1.train.Saver().restore(graph.session, path)
      assert content(graph.run(exported)) == before, restored
      graph.run(train_op)
      assert content(graph.run(exported)) == after, restored


def test_a_part_that_is_missing_is_said(new_graph, tmp_path):
  with new_graph() as graph:
    model(3)
    graph.initialize()
    some = [variable for variable in v1.global_variables() if "part_2" not in variable.name]
    path = v1.train.Saver(some).save(graph.session, str(tmp_path / "m.ckpt"))
  for parts in (None, 2):
    with new_graph() as graph:
      model(parts)
      with pytest.raises(tf.errors.DataLossError, match="expected 3 parts of variable 'e', found no tensor e/part_2-table"):
        v1.train.Saver().restore(graph.session, path)


@pytest.mark.parametrize("parts", [None, 2])
def test_names_that_a_saver_is_given(new_graph, tmp_path, parts):
  with new_graph() as graph:
    train_op, exported = model(parts)
    ev = next(iter(v1.global_variables())) if parts is None else [*v1.global_variables()]
    given = {"other": ev} if parts is None else {f"other/part_{i}": part for i, part in enumerate(ev)}
    saver = v1.train.Saver(given)
    graph.initialize()
    graph.run(train_op)
    path, expected = saver.save(graph.session, str(tmp_path / "m.ckpt")), content(graph.run(exported))
    graph.run(train_op)
    saver.restore(graph.session, path)
    assert content(graph.run(exported)) == expected
  names = {"other-table"} if parts is None else {"other/part_0-table", "other/part_1-table"}
  assert {name for name, _ in tf.train.list_variables(path)} == names
  with new_graph() as graph:
    front = ev_tf.get_embedding_variable("mine", 4, partitioner=v1.fixed_size_partitioner(3))
    v1.train.Saver({"other": front}).restore(graph.session, path)
    assert content(graph.run(front.export())) == expected


def test_overwriting_a_checkpoint_keeps_the_old_one_whole_until_the_new_one_is(graph, tmp_path):
  ev = ev_tf.get_embedding_variable("e", 4, initializer=v1.ones_initializer())
  train_op = v1.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))))
  row, saver = tf.gather(ev, tf.constant([1], tf.int64)), v1.train.Saver()
  graph.initialize()
  path = str(tmp_path / "m.ckpt")
  saver.save(graph.session, path)
  graph.run(train_op)
  # The table's file is written, and then the program dies before the checkpoint's index is.
  (save,) = [op for op in graph.session.graph.get_operations() if op.type == "EvSave"]
  for _ in range(3):
    graph.run(save.outputs[0], {saver.saver_def.filename_tensor_name: path})
    saver.restore(graph.session, path)
    np.testing.assert_array_equal(graph.run(row), np.ones([1, 4]))
  assert len(files_of_tables(tmp_path)) == 2, "the one of the checkpoint, and the last that was abandoned"
  graph.run(train_op)
  saver.save(graph.session, path)
  saver.save(graph.session, path)
  graph.run(train_op)
  saver.restore(graph.session, path)
  np.testing.assert_array_equal(graph.run(row), np.zeros([1, 4]))
  assert len(files_of_tables(tmp_path)) <= 2


@pytest.mark.parametrize("change, error, message", [
    (lambda file: file.unlink(), tf.errors.NotFoundError, "data-e"),
    (lambda file: file.write_bytes(file.read_bytes()[:-1]), tf.errors.DataLossError, "end of the file"),
    (lambda file: file.write_bytes(b""), tf.errors.DataLossError, "size of the file: expected at least 64, found 0"),
    (lambda file: file.write_bytes(file.read_bytes().replace(b"Adagrad", b"Adagrat")), tf.errors.DataLossError,
     "@ 64: crc of a block"),
])
def test_a_damaged_file_is_refused_and_nothing_changes(new_graph, tmp_path, change, error, message):
  with new_graph() as graph:
    path = train_and_save(graph, tmp_path)
  change(tmp_path / files_of_tables(tmp_path)[0])
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4, initializer=v1.ones_initializer())
    saver = v1.train.Saver()
    graph.initialize()
    with pytest.raises(error, match=message):
      saver.restore(graph.session, path)
    np.testing.assert_array_equal(graph.run(tf.gather(ev, tf.constant([1], tf.int64))), np.ones([1, 4]))


def test_a_file_of_another_save_is_refused(new_graph, tmp_path):
  for name in ("a", "b"):
    with new_graph() as graph:
      train_and_save(graph, tmp_path / name, optimizer=v1.train.AdagradOptimizer(0.1 if name == "a" else 0.2))
  a, b = (tmp_path / name / files_of_tables(tmp_path / name)[0] for name in ("a", "b"))
  b.write_bytes(a.read_bytes())
  with new_graph() as graph:
    ev_tf.get_embedding_variable("e", 4)
    with pytest.raises(tf.errors.DataLossError, match="the file is of another save"):
      v1.train.Saver().restore(graph.session, str(tmp_path / "b" / "model.ckpt"))


def test_a_checkpoint_can_be_moved(new_graph, tmp_path):
  with new_graph() as graph:
    train_and_save(graph, tmp_path / "here")
  (tmp_path / "here").rename(tmp_path / "there")
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", 4)
    v1.train.Saver().restore(graph.session, f"file://{tmp_path}/there/model.ckpt")
    assert graph.run(ev.size()) == 2


def test_other_file_systems_are_refused(graph):
  ev_tf.get_embedding_variable("e", 4)
  graph.initialize()
  with pytest.raises(tf.errors.UnimplementedError, match="local or mounted file system, found ram://"):
    v1.train.Saver().save(graph.session, "ram://m.ckpt")


def test_saving_while_four_threads_train(graph, tmp_path):
  """A step adds one to the sum of squares of a row, so that says which value the row has: both are of one moment."""
  ev = ev_tf.get_embedding_variable("e", 4, initializer=v1.zeros_initializer())
  ids = v1.placeholder(tf.int64, [None])
  optimizer = v1.train.AdagradOptimizer(0.1, initial_accumulator_value=1.0)
  train_op, saver = optimizer.minimize(-tf.reduce_sum(tf.gather(ev, ids))), v1.train.Saver()
  accumulators = ev.export_slot("Adagrad/accumulator")
  graph.initialize()
  graph.run(train_op, {ids: [0]})
  stop, errors = threading.Event(), []

  def train(seed):
    rng = np.random.default_rng(seed)
    try:
      while not stop.is_set():
        graph.run(train_op, {ids: rng.choice(500, 100, replace=False)})
    except Exception as error:  # pylint: disable=broad-except
      errors.append(error)

  threads = [threading.Thread(target=train, args=(seed,)) for seed in range(4)]
  for thread in threads:
    thread.start()
  try:
    paths = [saver.save(graph.session, str(tmp_path / "m.ckpt"), global_step=i) for i in range(4)]
  finally:
    stop.set()
    for thread in threads:
      thread.join()
  assert not errors
  values_after = [np.float32(0)]  # by how often a row was updated
  for step in range(20000):
    values_after.append(values_after[-1] + np.float32(0.1) / np.sqrt(np.float32(2 + step)))
  for path in paths:
    saver.restore(graph.session, path)
    keys, sums = graph.run(accumulators)
    rows = dict(zip(*graph.run(ev.export())[:2]))
    assert len(keys) > 0
    for key, row_sums in zip(keys, sums):
      assert len(set(row_sums)) == 1, "floats of one slot row are of different moments"
      np.testing.assert_allclose(rows[key], values_after[int(row_sums[0]) - 1], rtol=1e-4)
