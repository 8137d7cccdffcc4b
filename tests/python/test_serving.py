"""SavedModels that are frozen for serving, loaded as servers load them."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
SERVER = pathlib.Path(__file__).with_name("serve_saved_model.py")
DIM = 4
TRAINED = np.concatenate([np.arange(300), [-1, 2**62, np.iinfo(np.int64).min]])
IDS = np.concatenate([TRAINED, [1000, -1000, 4096 + 7]])  # and some without a row
# What keeps the rows of a training, and what its export is served from by default.
STORAGES = {"DRAM": "memory", "DRAM_SSDHASH": "files", "DRAM_LEVELDB": "files"}
# The C API's starts in a second, as it imports no TensorFlow.
LOADERS = ["c", pytest.param("python", marks=pytest.mark.slow), pytest.param("session", marks=pytest.mark.slow)]


def stored(kind, tmp_path, **kwargs):
  """EmbeddingVariableOption of that storage type, of which DRAM holds a few rows."""
  path = None if kind == "DRAM" else str(tmp_path / "storage")
  return ev_tf.EmbeddingVariableOption(
      storage_option=ev_tf.StorageOption(ev_tf.StorageType[kind], path, [1024] if path else [1 << 30]), **kwargs)


class Model(tf.Module):
  """A table that is looked up, trained and counted."""

  def __init__(self, name="table", **kwargs):
    super().__init__()
    self.table = ev_tf.get_embedding_variable(name, DIM, **kwargs)
    self._tables = list(self.table) if isinstance(self.table, ev_tf.PartitionedEmbeddingVariable) else [self.table]
    ids = tf.TensorSpec([None], tf.int64, name="ids")
    self.serve = tf.function(lambda ids: tf.nn.embedding_lookup(self.table, ids), input_signature=[ids])
    self.update = tf.function(self._update, input_signature=[ids])
    self.count = tf.function(lambda ids: tf.cast(self.table.size() + 0 * tf.size(ids, tf.int64), tf.float32),
                             input_signature=[ids])

  def _update(self, ids):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.square(tf.nn.embedding_lookup(self.table, ids) - 1.0))
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    optimizer.apply_gradients(zip(tape.gradient(loss, self._tables), self._tables))
    return loss

  def train(self, ids=TRAINED):
    optimizer = v1.train.AdamOptimizer(0.1)  # two slots, which do not belong to what is served
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.square(tf.nn.embedding_lookup(self.table, tf.constant(ids)) - 1.0))
    optimizer.apply_gradients(zip(tape.gradient(loss, self._tables), self._tables))
    return self

  def export(self, directory, **kwargs):
    with ev_tf.serving.frozen(**kwargs):
      tf.saved_model.save(self, str(directory),
                          signatures={"serving_default": self.serve, "update": self.update, "count": self.count})
    return directory

  def rows(self, ids=IDS):
    return tf.nn.embedding_lookup(self.table, tf.constant(ids)).numpy()


def ask(directory, tmp_path, *signatures, loader="c", ids=IDS, inside=(), **environment):
  """(answer or None, report) of serve_saved_model.py in a process of its own. inside: a command that is to run it."""
  np.save(tmp_path / "requests.npy", ids)
  answers = tmp_path / "answers.npy"
  answers.unlink(missing_ok=True)
  program = [*inside, sys.executable, str(SERVER), loader, ev_tf.serving.op_library_path(), str(directory),
             str(tmp_path / "requests.npy"), str(answers), *signatures]
  done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path,
                        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": "", **environment})
  assert done.returncode == 0, done.stderr[-3000:]
  return np.load(answers) if answers.exists() else None, json.loads(done.stdout.splitlines()[-1])


def serves(directory, tmp_path, expected, **kwargs):
  answer, report = ask(directory, tmp_path, **kwargs)
  assert "error" not in report, report
  np.testing.assert_array_equal(answer, expected)


def files_of(directory):
  """{name: (bytes' digest, time of change)} of a directory tree."""
  return {str(path.relative_to(directory)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
          for path in sorted(pathlib.Path(directory).rglob("*")) if path.is_file()}


def is_in_files(directory):
  return any(".segment-" in name or ".data-s" in name for name in files_of(directory))


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("kind", STORAGES)
def test_a_fresh_process_with_the_op_library_alone_serves_the_trained_rows(kind, loader, tmp_path, skip_without):
  skip_without(kind)
  model = Model(ev_option=stored(kind, tmp_path)).train()
  directory = model.export(tmp_path / "1")
  assert is_in_files(directory) == (STORAGES[kind] == "files")
  serves(directory, tmp_path, model.rows(), loader=loader)


@pytest.mark.parametrize("kind, served_from", [("DRAM", "files"), ("DRAM_SSDHASH", "memory")])
def test_where_rows_are_served_from_is_a_choice(kind, served_from, tmp_path):
  model = Model(ev_option=stored(kind, tmp_path)).train()
  directory = model.export(tmp_path / "1", served_from=served_from, dram_bytes=160)  # ten rows
  assert is_in_files(directory) == (served_from == "files")
  serves(directory, tmp_path, model.rows())


def read_only(directory):
  """A command that runs what is behind it with the directory mounted for reading only; [] where that is not allowed."""
  inside = ["unshare", "--mount", "sh", "-c",
            f"mount --bind {directory} {directory} && mount -o remount,ro,bind {directory} && exec \"$@\"", "sh"]
  try:
    return inside if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode == 0 else []
  except FileNotFoundError:
    return []


@pytest.mark.parametrize("served_from", ["memory", "files"])
def test_a_moved_directory_that_cannot_be_written_to(served_from, tmp_path):
  model = Model().train()
  model.export(tmp_path / "made", served_from=served_from)
  moved = tmp_path / "moved" / "7"
  shutil.copytree(tmp_path / "made", moved)
  shutil.rmtree(tmp_path / "made")
  for path in [moved, *moved.rglob("*")]:
    path.chmod(0o555 if path.is_dir() else 0o444)
  before = files_of(moved)
  serves(moved, tmp_path, model.rows(), inside=read_only(moved))
  assert files_of(moved) == before


@pytest.mark.parametrize("served_from", ["memory", "files"])
def test_updates_are_refused_and_lookups_insert_nothing(served_from, tmp_path):
  model = Model().train()
  directory = model.export(tmp_path / "1", served_from=served_from)
  before = files_of(directory)
  loaded = tf.saved_model.load(str(directory))
  for _ in range(2):
    np.testing.assert_array_equal(loaded.serve(tf.constant(IDS)), model.rows())
    with pytest.raises(tf.errors.FailedPreconditionError, match="table: .*frozen for serving.*restore a checkpoint"):
      loaded.update(tf.constant([1, 5000], tf.int64))
    assert int(loaded.count(tf.constant([], tf.int64))) == len(TRAINED)
  assert files_of(directory) == before
  _, report = ask(directory, tmp_path, "update")
  assert "frozen for serving" in report["error"]
  answer, _ = ask(directory, tmp_path, "serving_default", "count")
  assert answer == len(TRAINED)


@pytest.mark.parametrize("served_from", ["memory", "files"])
def test_two_versions_at_once(served_from, tmp_path):
  model = Model().train()
  first, loaded = model.rows(), {}
  loaded[1] = tf.saved_model.load(str(model.export(tmp_path / "1", served_from=served_from)))
  second = model.train().rows()
  loaded[2] = tf.saved_model.load(str(model.export(tmp_path / "2", served_from=served_from)))
  assert np.any(first != second)
  for _ in range(2):
    np.testing.assert_array_equal(loaded[1].serve(tf.constant(IDS)), first)
    np.testing.assert_array_equal(loaded[2].serve(tf.constant(IDS)), second)
  del loaded[1]
  np.testing.assert_array_equal(loaded[2].serve(tf.constant(IDS)), second)


@pytest.mark.parametrize("served_from", ["memory", "files"])
def test_ids_that_a_filter_refused_read_as_in_training(served_from, tmp_path):
  option = ev_tf.EmbeddingVariableOption(
      filter_option=ev_tf.CounterFilter(filter_freq=2),
      init_option=ev_tf.InitializerOption(default_value_no_permission=0.5))
  model = Model(ev_option=option).train().train(TRAINED[:10])
  directory = model.export(tmp_path / "1", served_from=served_from)
  assert int(model.table.size()) == 10
  expected = model.rows()
  assert np.all(expected[10:] == 0.5)
  serves(directory, tmp_path, expected)


def test_parts_of_a_table_and_another_table_beside_it(tmp_path):
  model = Model(partitioner=v1.fixed_size_partitioner(3)).train()
  model.other = Model("table").train(TRAINED[:5])  # of the same name
  model.serve = tf.function(
      lambda ids: tf.nn.embedding_lookup(model.table, ids) + 2 * tf.nn.embedding_lookup(model.other.table, ids),
      input_signature=[tf.TensorSpec([None], tf.int64, name="ids")])
  with ev_tf.serving.frozen(served_from="files"):
    tf.saved_model.save(model, str(tmp_path / "1"), signatures=model.serve)
  serves(tmp_path / "1", tmp_path, model.rows() + 2 * model.other.rows())


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("file", ["table.evtable", "table.evtable.segment-1-000000"])
def test_damaged_and_missing_files_are_named(file, damage, tmp_path):
  directory = Model().train().export(tmp_path / "1", served_from="files")
  path = directory / "assets" / file
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  if damage == "remove":
    path.unlink()
  else:
    path.write_bytes(content if damage == "flip" else content[:len(content) // 3])
  answer, report = ask(directory, tmp_path)
  assert answer is None and file in report["error"]


def test_the_servers_environment_says_how_much_of_it_is_in_memory(tmp_path):
  directory = Model().train().export(tmp_path / "1", served_from="files")
  serves(directory, tmp_path, ask(directory, tmp_path)[0], TF_EV_SERVING_DRAM_BYTES="64")
  _, report = ask(directory, tmp_path, TF_EV_SERVING_DRAM_BYTES="some")
  assert "TF_EV_SERVING_DRAM_BYTES: expected a number of bytes above 0, found 'some'" in report["error"]


def build_in_session(graph, directory, option, **kwargs):
  """Trains in a session and exports by a SavedModelBuilder; the rows that the session reads."""
  ev = ev_tf.get_embedding_variable("e", DIM, ev_option=option, **kwargs)
  ids = v1.placeholder(tf.int64, [None], name="ids")
  rows = tf.nn.embedding_lookup(ev, ids)
  train_op = v1.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(tf.square(rows - 1.0)))
  graph.initialize()
  graph.run(train_op, {ids: TRAINED})
  with ev_tf.serving.frozen():
    builder = v1.saved_model.Builder(str(directory))
    signature = v1.saved_model.predict_signature_def({"ids": ids}, {"rows": rows})
    builder.add_meta_graph_and_variables(graph.session, ["serve"], {"serving_default": signature, "update": signature})
    builder.save()
  graph.run(train_op, {ids: TRAINED[:1]})  # the training goes on
  return graph.run(rows, {ids: np.concatenate([TRAINED[1:], IDS[-3:]])})


@pytest.mark.parametrize("loader", [LOADERS[0], LOADERS[2]])  # tf.saved_model.load makes a dense variable of a session's
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", STORAGES)
def test_exports_of_sessions(kind, parts, loader, graph, tmp_path, skip_without):
  skip_without(kind)
  partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
  option = stored(kind, tmp_path)
  expected = build_in_session(graph, tmp_path / "1", option, partitioner=partitioner)
  shutil.rmtree(tmp_path / "storage", ignore_errors=True)  # a server has no such directory
  assert is_in_files(tmp_path / "1") == (STORAGES[kind] == "files")
  os.rename(tmp_path / "1", tmp_path / "2")
  before = files_of(tmp_path / "2")
  serves(tmp_path / "2", tmp_path, expected, loader=loader, ids=np.concatenate([TRAINED[1:], IDS[-3:]]))
  assert files_of(tmp_path / "2") == before and not (tmp_path / "storage").exists()


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", ["DRAM", "DRAM_SSDHASH"])
def test_a_saver_that_restores_a_checkpoint_and_exports_it(kind, parts, new_graph, tmp_path):
  # As Estimator.export_saved_model does.
  arguments = {"ev_option": stored(kind, tmp_path),
               "partitioner": v1.fixed_size_partitioner(parts) if parts > 1 else None}
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", DIM, **arguments)
    rows = tf.nn.embedding_lookup(ev, tf.constant(IDS))
    train_op = v1.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(tf.square(rows[:len(TRAINED)] - 1.0)))
    graph.initialize()
    graph.run(train_op)
    expected = graph.run(rows)
    path = v1.train.Saver(sharded=True).save(graph.session, str(tmp_path / "model.ckpt"))
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", DIM, **arguments)
    ids = v1.placeholder(tf.int64, [None], name="ids")
    rows = tf.nn.embedding_lookup(ev, ids)
    with ev_tf.serving.frozen():
      saver = v1.train.Saver(sharded=True)
      saver.restore(graph.session, path)
      builder = v1.saved_model.Builder(str(tmp_path / "1"))
      signature = v1.saved_model.predict_signature_def({"ids": ids}, {"rows": rows})
      builder.add_meta_graph_and_variables(graph.session, ["serve"], {"serving_default": signature}, saver=saver)
      builder.save()
  assert is_in_files(tmp_path / "1") == (STORAGES[kind] == "files")
  serves(tmp_path / "1", tmp_path, expected)


def test_a_graph_that_restores_an_export_refuses_to_train_on_it(new_graph, tmp_path):
  with new_graph() as graph:
    build_in_session(graph, tmp_path / "1", ev_tf.EmbeddingVariableOption())
  prefix = str(tmp_path / "1" / "variables" / "variables")
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("e", DIM)
    train_op = v1.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))))
    removed = ev.remove(tf.constant([1], tf.int64))
    graph.initialize()
    v1.train.Saver([ev]).restore(graph.session, prefix)
    for op in (train_op, removed):
      with pytest.raises(tf.errors.FailedPreconditionError, match="frozen for"):
        graph.run(op)
    assert graph.run(ev.size()) == len(TRAINED)
  with new_graph() as graph:  # but a training may begin with its rows
    ev = ev_tf.get_embedding_variable("e", DIM)
    train_op = v1.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(ev, tf.constant([5000], tf.int64))))
    v1.train.init_from_checkpoint(prefix, {"e": ev})
    graph.initialize()
    graph.run(train_op)
    assert graph.run(ev.size()) == len(TRAINED) + 1


def test_rows_that_a_lookup_brings_are_read_and_not_kept(tmp_path):
  model = Model().train()
  model.serve = tf.function(lambda ids: model.table.sparse_read(ids, ev_init_value=tf.fill([tf.size(ids), DIM], 3.0)),
                            input_signature=[tf.TensorSpec([None], tf.int64, name="ids")])
  expected = model.rows()
  expected[-3:] = 3.0
  directory = model.export(tmp_path / "1")
  loaded = tf.saved_model.load(str(directory))
  np.testing.assert_array_equal(loaded.serve(tf.constant(IDS)), expected)
  assert int(loaded.count(tf.constant([], tf.int64))) == len(TRAINED)


def test_keras_models(tmp_path):
  keras = pytest.importorskip("keras")
  if int(keras.__version__.split(".")[0]) < 3:
    pytest.skip(f"Model.export is Keras 3's, this is {keras.__version__}")
  from ev_tf.keras import Embedding

  layers = [keras.Input([2], dtype="int64"), Embedding(DIM), keras.layers.Flatten(), keras.layers.Dense(1)]
  model = keras.Sequential(layers)
  model.compile("adam", "mse")
  ids = np.array([[1, 2], [-3, 2**40]])
  model.fit(ids, np.ones([2, 1]), verbose=0)
  with ev_tf.serving.frozen():
    model.export(str(tmp_path / "1"), verbose=False)
  assert any(name.endswith(".evtable") for name in os.listdir(tmp_path / "1" / "assets"))
  answer, report = ask(tmp_path / "1", tmp_path, "serve", ids=np.concatenate([ids, [[7, 8]]]))
  assert "error" not in report
  np.testing.assert_allclose(answer, model.predict(np.concatenate([ids, [[7, 8]]]), verbose=0), rtol=1e-5)


@pytest.mark.slow
def test_the_command_shows_and_runs_a_saved_model(tmp_path):
  model = Model().train()
  directory = str(model.export(tmp_path / "1"))
  run = [sys.executable, "-m", "ev_tf.cli", "saved-model"]
  shown = subprocess.run([*run, "show", "--dir", directory, "--all"], capture_output=True, text=True, check=False)
  assert shown.returncode == 0, shown.stderr[-3000:]
  assert "signature_def['serving_default']" in shown.stdout and "Function Name: 'serve'" in shown.stdout
  np.save(tmp_path / "ids.npy", IDS)
  done = subprocess.run([*run, "run", "--dir", directory, "--tag_set", "serve", "--signature_def", "serving_default",
                         "--inputs", f"ids={tmp_path}/ids.npy", "--outdir", str(tmp_path / "answers")],
                        capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  (answer,) = (tmp_path / "answers").glob("*.npy")
  np.testing.assert_array_equal(np.load(answer), model.rows())


EXPORTER = """
import sys
import numpy as np, tensorflow as tf, ev_tf
model = tf.Module()
model.table = ev_tf.get_embedding_variable("t", 64)
for first in range(0, 500_000, 50_000):
  ids = tf.range(first, first + 50_000, dtype=tf.int64)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.embedding_lookup(model.table, ids))
  tf.compat.v1.train.GradientDescentOptimizer(1.0).apply_gradients([(tape.gradient(loss, model.table), model.table)])
model.serve = tf.function(lambda ids: tf.nn.embedding_lookup(model.table, ids),
                          input_signature=[tf.TensorSpec([None], tf.int64, name="ids")])
tf.saved_model.save(tf.Module(), sys.argv[1] + "-warm")
def memory(name):
  with open("/proc/self/status") as status:
    return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))
with open("/proc/self/clear_refs", "w") as refs:
  refs.write("5")  # the peak begins anew
before = memory("VmRSS")
with ev_tf.serving.frozen(served_from=sys.argv[2], dram_bytes=1 << 20):
  tf.saved_model.save(model, sys.argv[1], signatures=model.serve)
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("served_from", ["memory", "files"])
def test_an_export_takes_little_memory(served_from, tmp_path):
  directory = str(tmp_path / "1")
  done = subprocess.run([sys.executable, "-c", EXPORTER, directory, served_from], capture_output=True, text=True,
                        check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  assert int(done.stdout) < 64 << 20, "of a table of 128 MB"
  answer, report = ask(directory, tmp_path, ids=np.arange(0, 500_000, 1000))
  assert answer.shape == (500, 64)
  if served_from == "files":  # all of a table of 128 MB is not in it, its index is
    Model().train().export(tmp_path / "small")
    assert report["peak_bytes"] - ask(tmp_path / "small", tmp_path)[1]["peak_bytes"] < 64 << 20


def test_what_cannot_be_is_said(tmp_path, graph):
  with pytest.raises(ValueError, match="served_from: expected 'memory', 'files' or None, got 'disk'"):
    with ev_tf.serving.frozen(served_from="disk"):
      pass
  with pytest.raises(ValueError, match="dram_bytes: expected an int of bytes above 0 or None, got 0"):
    with ev_tf.serving.frozen(dram_bytes=0):
      pass
  with pytest.raises(ValueError, match="found it open in this thread"):
    with ev_tf.serving.frozen(), ev_tf.serving.frozen():
      pass
  ev_tf.get_embedding_variable("e", DIM)
  graph.initialize()
  saver = v1.train.Saver()
  with pytest.raises(ValueError, match="expected an export of a table while it was open"):
    with ev_tf.serving.frozen():
      saver.save(graph.session, str(tmp_path / "m.ckpt"))
  with pytest.raises(ValueError, match="checkpoint_format='table'"):
    with ev_tf.serving.frozen():
      ev_tf.train.Saver(checkpoint_format="deeprec")
  with pytest.raises(ValueError, match="one that saves increments"):
    with ev_tf.serving.frozen():
      ev_tf.train.IncrementalSaver()
  assert ev_tf.serving.export() is None
