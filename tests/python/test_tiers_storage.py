"""The files of tiers below DRAM: checkpoints between storage types, errors, and what is left when a table goes."""

import gc
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
TYPES = ["DRAM_SSDHASH", "DRAM_LEVELDB", "DRAM_PMEM", "DRAM_PMEM_SSDHASH"]
DIM, PADDED = 4, 16


def tiered(storage_type, path, rows=8, parts=PADDED * 2, **kwargs):
  """ev_option of a variable that keeps `rows` rows of `parts` bytes in DRAM."""
  path = None if storage_type == "DRAM" else str(path)
  storage = ev_tf.StorageOption(ev_tf.StorageType[storage_type], path, [rows * parts])
  return ev_tf.EmbeddingVariableOption(storage_option=storage, **kwargs)


def files_under(path):
  return [os.path.join(folder, file) for folder, folders, files in os.walk(path) for file in [*files, *folders]]


def model(storage_type, path, **kwargs):
  """(variable, op that trains ids 0 to 99, ExportedRows) in the current graph."""
  ev = ev_tf.get_embedding_variable("e", DIM, initializer=v1.random_uniform_initializer(seed=3),
                                    ev_option=tiered(storage_type, path, record_version=True), **kwargs)
  loss = tf.reduce_sum(tf.square(tf.nn.embedding_lookup(ev, tf.range(100, dtype=tf.int64)) - 1.0))
  return ev, v1.train.AdagradOptimizer(0.1).minimize(loss, global_step=v1.train.get_or_create_global_step()), ev.export()


def content(program, export):
  exported = program.run(export)
  order = np.argsort(exported.keys)
  return [column[order] for column in exported if len(column) == len(order)]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("storage_type", TYPES)
def test_a_checkpoint_goes_from_one_storage_type_to_another(storage_type, parts, new_graph, tmp_path, skip_without):
  skip_without(storage_type)
  partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
  path, expected, after = None, None, []
  for number, kind in enumerate([storage_type, "DRAM", storage_type]):
    with new_graph() as graph:
      ev, train, export = model(kind, tmp_path / "rows", partitioner=partitioner)
      saver = v1.train.Saver()
      if number == 0:
        graph.initialize()
        for _ in range(3):
          graph.run(train)
        path, expected = saver.save(graph.session, str(tmp_path / "m.ckpt")), content(graph, export)
      else:
        saver.restore(graph.session, path)
      metrics = graph.run([ev.metrics(), ev.flush_evictions()])[0]
      assert metrics["rows"] == 100
      if kind != "DRAM":
        metrics = graph.run(ev.metrics())
        assert metrics["hot_capacity"] == metrics["hot_rows"] == 8 * parts and metrics["lower_rows"] >= 100 - 8 * parts
      for column, wanted in zip(content(graph, export), expected):
        np.testing.assert_array_equal(column, wanted)
      graph.run(train)
      after.append(content(graph, export))
  for trained in after[1:]:  # the slots came along
    for column, wanted in zip(trained, after[0]):
      np.testing.assert_array_equal(column, wanted)


def test_object_based_checkpoints(make_ev, tmp_path):
  ids = tf.range(50, dtype=tf.int64)
  first = make_ev(DIM, ev_option=tiered("DRAM_SSDHASH", tmp_path / "rows"))
  optimizer = v1.train.AdagradOptimizer(0.1)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(first, ids))
  optimizer.apply_gradients([(tape.gradient(loss, first), first)])
  path = tf.train.Checkpoint(ev=first).save(str(tmp_path / "c"))
  second = make_ev(DIM, ev_option=tiered("DRAM_LEVELDB", tmp_path / "rows"))
  tf.train.Checkpoint(ev=second).restore(path).assert_consumed()
  second.flush_evictions()
  assert second.metrics()["hot_rows"] == 8 and int(second.size()) == 50
  np.testing.assert_array_equal(tf.gather(second, ids), tf.gather(first, ids))


@pytest.mark.parametrize("storage_type", TYPES)
def test_a_table_that_goes_takes_its_files_with_it(storage_type, make_ev, new_graph, tmp_path, skip_without):
  skip_without(storage_type)
  with new_graph() as graph:
    _, train, _ = model(storage_type, tmp_path)
    graph.initialize()
    graph.run(train)
    assert files_under(tmp_path)
    del train
  gc.collect()
  assert not files_under(tmp_path)
  ev = make_ev(DIM, ev_option=tiered(storage_type, tmp_path))
  assert files_under(tmp_path)
  del ev
  gc.collect()
  assert not files_under(tmp_path)


@pytest.mark.parametrize("storage_type", TYPES)
def test_many_tables_keep_apart_under_one_path(storage_type, make_ev, tmp_path, skip_without):
  skip_without(storage_type)
  option = tiered(storage_type, tmp_path, rows=1, parts=PADDED)
  tables = [make_ev(DIM, name="same", initializer=v1.zeros_initializer(), ev_option=option) for _ in range(8)]
  ids = tf.range(10, dtype=tf.int64)
  for n, ev in enumerate(tables):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.gather(ev, ids))
    v1.train.GradientDescentOptimizer(float(n)).apply_gradients([(tape.gradient(loss, ev), ev)])
  for n, ev in enumerate(tables):
    np.testing.assert_array_equal(tf.gather(ev, ids), np.full([10, DIM], -float(n)))


def bad_place(tmp_path, place):
  if place == "a file":
    (tmp_path / "file").write_text("not a directory")
    return tmp_path / "file"
  return {"below a file": "/etc/hostname/rows", "read-only": "/proc/self/rows"}[place]


@pytest.mark.parametrize("storage_type", TYPES)
@pytest.mark.parametrize("place", ["a file", "below a file", "read-only"])
def test_a_path_that_cannot_be_written(storage_type, place, make_ev, new_graph, tmp_path, skip_without):
  skip_without(storage_type)
  path = bad_place(tmp_path, place)
  with pytest.raises(tf.errors.InvalidArgumentError, match="storage_path: .* cannot be made"):
    make_ev(DIM, ev_option=tiered(storage_type, path))
  with new_graph() as graph:
    ev, _, _ = model(storage_type, path)
    with pytest.raises(tf.errors.InvalidArgumentError, match="storage_path: .* cannot be made"):
      graph.initialize()
    assert not graph.run(ev.is_initialized())


def test_a_restore_that_finds_no_room_leaves_the_table(new_graph, tmp_path):
  with new_graph() as graph:
    _, train, export = model("DRAM_SSDHASH", tmp_path / "rows")
    saver = v1.train.Saver()
    graph.initialize()
    graph.run(train)
    path, expected = saver.save(graph.session, str(tmp_path / "m.ckpt")), content(graph, export)
    os.rename(tmp_path / "rows", tmp_path / "away")
    (tmp_path / "rows").write_text("in the way")
    with pytest.raises(tf.errors.InvalidArgumentError, match="storage_path"):
      saver.restore(graph.session, path)
    os.remove(tmp_path / "rows")
    os.rename(tmp_path / "away", tmp_path / "rows")
    for column, wanted in zip(content(graph, export), expected):
      np.testing.assert_array_equal(column, wanted)


@pytest.mark.parametrize("name, value, message", [
    ("TF_SSDHASH_ASYNC_COMPACTION", "2", "TF_SSDHASH_ASYNC_COMPACTION: expected 0 or 1, found 2"),
    ("TF_SSDHASH_IO_SCHEME", "tape", "TF_SSDHASH_IO_SCHEME: expected directio"),
])
def test_an_environment_variable_without_a_meaning(name, value, message, make_ev, tmp_path, monkeypatch):
  monkeypatch.setenv(name, value)
  with pytest.raises(tf.errors.InvalidArgumentError, match=message):
    make_ev(DIM, ev_option=tiered("DRAM_SSDHASH", tmp_path))
  make_ev(DIM, ev_option=tiered("DRAM_LEVELDB", tmp_path))  # which asks nobody


@pytest.mark.parametrize("value", ["abc", "-3", "0"])
def test_eviction_threads_that_are_none(value, make_ev, tmp_path, monkeypatch):
  monkeypatch.setenv("TF_MULTI_TIER_EV_EVICTION_THREADS", value)
  with pytest.raises(tf.errors.InvalidArgumentError, match=f"EVICTION_THREADS: expected 1 to 256, found {value}"):
    make_ev(DIM, ev_option=tiered("DRAM_PMEM", tmp_path))
  make_ev(DIM)


@pytest.mark.parametrize("asynchronous, scheme", [("0", "directio"), ("1", "directio"), ("1", "mmap_and_madvise")])
def test_the_ways_of_the_log(asynchronous, scheme, make_ev, tmp_path, monkeypatch):
  monkeypatch.setenv("TF_SSDHASH_ASYNC_COMPACTION", asynchronous)
  monkeypatch.setenv("TF_SSDHASH_IO_SCHEME", scheme)
  ev = make_ev(DIM, initializer=v1.zeros_initializer(), ev_option=tiered("DRAM_SSDHASH", tmp_path, rows=10, parts=PADDED))
  optimizer = v1.train.GradientDescentOptimizer(0.5)
  ids = tf.range(2000, dtype=tf.int64)
  for _ in range(20):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.gather(ev, ids))
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])
  ev.flush_evictions()
  np.testing.assert_array_equal(tf.gather(ev, ids), np.full([2000, DIM], -10.0))


def run_program(code, *arguments, **environment):
  return subprocess.run([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True,
                        timeout=120, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment})


EXIT = """
    import os, sys, threading
    import numpy as np
    import tensorflow as tf
    import ev_tf
    v1, way = tf.compat.v1, sys.argv[2]
    storage = ev_tf.StorageOption(ev_tf.StorageType[sys.argv[3]], sys.argv[1], [64 * 256])
    ev = ev_tf.get_embedding_variable("e", 64, ev_option=ev_tf.EmbeddingVariableOption(storage_option=storage))
    optimizer = v1.train.GradientDescentOptimizer(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(ids):
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(ev, ids))
      optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])

    def train():
      while True:
        step(tf.constant(np.random.randint(0, 100_000, 5000)))

    for _ in range(20):
      step(tf.constant(np.random.randint(0, 100_000, 5000)))
    assert ev.metrics()["demotions"] > 0
    if way == "while training":
      threading.Thread(target=train, daemon=True).start()
      step(tf.constant(np.random.randint(0, 100_000, 5000)))
    print("done", flush=True)
    if way == "exit now":
      os._exit(0)
"""


@pytest.mark.parametrize("way, storage_type", [("in peace", "DRAM_LEVELDB"), ("while training", "DRAM_SSDHASH"),
                                               pytest.param("while training", "DRAM_LEVELDB", marks=pytest.mark.slow),
                                               pytest.param("in peace", "DRAM_SSDHASH", marks=pytest.mark.slow),
                                               pytest.param("exit now", "DRAM_SSDHASH", marks=pytest.mark.slow)])
def test_a_process_may_end_while_rows_move(way, storage_type, tmp_path):
  done = run_program(EXIT, tmp_path, way, storage_type, TF_MULTI_TIER_EV_EVICTION_THREADS="4",
                     TF_SSDHASH_ASYNC_COMPACTION="1")
  assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-3000:]
  if way != "exit now":
    assert not files_under(tmp_path)


def test_a_path_that_is_taken_away_loses_nothing_silently(make_ev, tmp_path):
  """Files that are open stay; a new one cannot be made: an error, and what was trained before is still read."""
  ev = make_ev(64, initializer=v1.zeros_initializer(), ev_option=tiered("DRAM_SSDHASH", tmp_path, rows=8, parts=256))
  optimizer = v1.train.GradientDescentOptimizer(1.0)

  def train(first):
    ids = tf.range(first, first + 50_000, dtype=tf.int64)
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.gather(ev, ids))
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])
    ev.flush_evictions()

  train(0)
  for folder in os.listdir(tmp_path):
    shutil.rmtree(tmp_path / folder)
  with pytest.raises(tf.errors.OpError, match="ssd|segment|No such file"):
    for first in range(50_000, 1_000_000, 50_000):  # more than a segment of 64 MiB holds
      train(first)
  rows = tf.gather(ev, tf.range(50_000, dtype=tf.int64)).numpy()
  np.testing.assert_array_equal(rows, np.full([50_000, 64], -1.0))
