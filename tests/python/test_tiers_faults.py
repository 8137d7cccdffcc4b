"""Disks that fill up, files that are spoiled, processes that are killed: an error that says so, and nothing that was kept is lost."""

import ctypes
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
TYPES = ["DRAM_SSDHASH", "DRAM_LEVELDB", "DRAM_PMEM"]
DIM, ROW_BYTES, BATCH = 256, 1024, 1000
HOT_ROWS = 64
MIB = 1 << 20


def spilling(make_ev, storage_type, path, **kwargs):
  """A variable of zeros that keeps HOT_ROWS rows of 1 KiB in DRAM."""
  storage = ev_tf.StorageOption(ev_tf.StorageType[storage_type], str(path), [HOT_ROWS * ROW_BYTES], ev_tf.CacheStrategy.LRU)
  return make_ev(DIM, initializer=v1.zeros_initializer(),
                 ev_option=ev_tf.EmbeddingVariableOption(storage_option=storage), **kwargs)


def train(ev, first, count=BATCH):
  """One step of SGD: rows [first, first + count) become one less."""
  ids = tf.range(first, first + count, dtype=tf.int64)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(ev, ids))
  v1.train.GradientDescentOptimizer(1.0).apply_gradients([(tape.gradient(loss, ev), ev)])
  ev.flush_evictions()


def expect_trained(ev, count, value=-1.0):
  for first in range(0, count, BATCH):
    rows = tf.gather(ev, tf.range(first, min(first + BATCH, count), dtype=tf.int64)).numpy()
    np.testing.assert_array_equal(rows, np.full_like(rows, value))


def train_until_it_fails(ev, first_step=0, limit=400):
  """Gives (the error, how many rows were trained before it)."""
  for step in range(first_step, limit):
    try:
      train(ev, step * BATCH)
    except tf.errors.OpError as error:
      return error, step * BATCH
  raise AssertionError(f"{limit * BATCH * ROW_BYTES >> 20} MiB were written, and no disk was full")


class Disk:
  """A tmpfs of a few MiB."""

  def __init__(self, path, size):
    self.path = path
    self._libc = ctypes.CDLL(None, use_errno=True)
    self._mount(0, size)

  def _mount(self, flags, size=None):
    options = f"size={size}".encode() if size else None
    if self._libc.mount(b"none", os.fsencode(self.path), b"tmpfs", flags, options) != 0:
      raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

  def resize(self, size):
    self._mount(32, size)  # MS_REMOUNT

  def make_read_only(self):
    self._mount(32 | 1)

  def unmount(self):
    self._libc.umount2(os.fsencode(self.path), 2)  # MNT_DETACH


@pytest.fixture
def small_disk(tmp_path):
  try:
    disk = Disk(tmp_path, 96 * MIB)
  except OSError as error:
    pytest.skip(f"no small disk to fill: mount says {error.strerror}")
  yield disk
  disk.unmount()


@pytest.mark.parametrize("storage_type", TYPES)
def test_a_disk_that_fills_up(storage_type, small_disk, make_ev, tmp_path_factory, skip_without):
  skip_without(storage_type)
  ev = spilling(make_ev, storage_type, small_disk.path)
  error, trained = train_until_it_fails(ev)
  assert isinstance(error, tf.errors.ResourceExhaustedError), error
  assert str(small_disk.path) in error.message and "No space left on device" in error.message, error.message
  assert trained >= 20 * BATCH
  with pytest.raises(tf.errors.OpError, match=str(small_disk.path)):  # it is said again, to whoever goes on
    for _ in range(3):
      train(ev, 10_000_000)
  # Everything is there, and can be saved elsewhere.
  expect_trained(ev, trained)
  path = tf.train.Checkpoint(ev=ev).save(str(tmp_path_factory.mktemp("saved") / "c"))
  expect_trained(ev, trained)
  copy = make_ev(DIM, initializer=v1.zeros_initializer())
  tf.train.Checkpoint(ev=copy).restore(path).assert_consumed()
  expect_trained(copy, trained)
  if storage_type == "DRAM_LEVELDB":
    return  # after a compaction that failed LevelDB writes no more
  small_disk.resize(512 * MIB)
  for _ in range(2):  # the first one may bring the last of the old errors
    try:
      train(ev, 20_000_000)
    except tf.errors.ResourceExhaustedError:
      continue
  train(ev, 20_100_000)
  expect_trained(ev, trained)
  rows = tf.gather(ev, tf.range(20_100_000, 20_100_000 + BATCH, dtype=tf.int64)).numpy()
  np.testing.assert_array_equal(rows, np.full_like(rows, -1.0))


@pytest.mark.parametrize("storage_type", TYPES)
def test_a_read_only_disk(storage_type, small_disk, make_ev, skip_without):
  skip_without(storage_type)
  small_disk.make_read_only()
  with pytest.raises(tf.errors.InvalidArgumentError, match="storage_path: .* cannot be made: Read-only file system"):
    spilling(make_ev, storage_type, small_disk.path / "rows")


def test_a_path_removed_under_leveldb(make_ev, tmp_path, skip_without):
  """Files that LevelDB has closed cannot be read any more: an error that names them, and never a wrong row."""
  skip_without("DRAM_LEVELDB")
  ev = spilling(make_ev, "DRAM_LEVELDB", tmp_path)
  train(ev, 0)
  for folder in os.listdir(tmp_path):
    shutil.rmtree(tmp_path / folder)
  error, trained = train_until_it_fails(ev, first_step=1)
  assert "leveldb tier " + str(tmp_path) in error.message and "No such file" in error.message, error.message
  for first in range(0, trained, BATCH):
    try:
      rows = tf.gather(ev, tf.range(first, first + BATCH, dtype=tf.int64)).numpy()
    except tf.errors.OpError as unreadable:
      assert str(tmp_path) in unreadable.message
    else:
      np.testing.assert_array_equal(rows, np.full_like(rows, -1.0))


def spoil(path, how):
  """Spoils a file in place, so that whoever has it open sees it; gives what it was."""
  before = path.read_bytes()
  with open(path, "r+b") as file:
    if how == "truncated":
      file.truncate(16 * 1024)
    else:
      file.seek(8192)
      piece = file.read(256 * 1024)
      file.seek(8192)
      file.write(bytes(b ^ 0x10 for b in piece))
  return before


@pytest.mark.parametrize("how, words", [("flipped", r"rows-000000\.ssd @ \d+: crc 0x"), ("truncated", r"rows-000000\.ssd @ \d+")])
@pytest.mark.parametrize("scheme", ["directio", "mmap_and_madvise"])
def test_a_spoiled_segment(how, words, scheme, make_ev, tmp_path, monkeypatch):
  monkeypatch.setenv("TF_SSDHASH_IO_SCHEME", scheme)
  ev = spilling(make_ev, "DRAM_SSDHASH", tmp_path)
  rows = 5 * BATCH
  for first in range(0, rows, BATCH):
    train(ev, first)
  (segment,) = [pathlib.Path(file) for file in glob.glob(f"{tmp_path}/**/rows-000000.ssd", recursive=True)]
  before = spoil(segment, how)
  code = tf.errors.DataLossError if how == "flipped" else tf.errors.OpError
  with pytest.raises(code, match=words):
    for first in range(0, rows, BATCH):
      tf.gather(ev, tf.range(first, first + BATCH, dtype=tf.int64))
  with pytest.raises(code, match=words):
    for first in range(0, rows, BATCH):
      train(ev, first)
  if how == "flipped":
    newest = tf.gather(ev, tf.range(rows - BATCH, rows, dtype=tf.int64)).numpy()  # of another part of the file
    assert set(np.unique(newest)) <= {-1.0, -2.0}
  with open(segment, "r+b") as file:  # the operator finds a copy: nothing else was hurt
    file.write(before)
  values = np.concatenate([tf.gather(ev, tf.range(first, first + BATCH, dtype=tf.int64)).numpy()
                           for first in range(0, rows, BATCH)])
  assert set(np.unique(values)) <= {-1.0, -2.0}
  np.testing.assert_array_equal(values, np.repeat(values[:, :1], DIM, 1))


TRAINER = """
    import sys
    import numpy as np
    import tensorflow as tf
    import ev_tf
    v1 = tf.compat.v1
    storage = ev_tf.StorageOption(ev_tf.StorageType[sys.argv[2]], sys.argv[1], [64 * 1024])
    ev = ev_tf.get_embedding_variable("e", 256, initializer=v1.zeros_initializer(),
                                      ev_option=ev_tf.EmbeddingVariableOption(storage_option=storage))
    optimizer = v1.train.GradientDescentOptimizer(1.0)

    @tf.function
    def step(ids):
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(ev, ids))
      optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])

    for steps in range(1, 1_000_000):
      step(tf.range(4000, dtype=tf.int64))
      assert (tf.gather(ev, tf.range(0, 4000, 7, dtype=tf.int64)).numpy() == -steps).all()
      print(steps, flush=True)
"""


def start_trainer(path, storage_type):
  """A process that trains until it is killed, after its second step."""
  trainer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(TRAINER), str(path), storage_type], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
  for _ in range(2):
    assert trainer.stdout.readline(), trainer.communicate()[1][-3000:]
  return trainer


def process_folders(path):
  return {name.split("_")[1] for name in os.listdir(path)}


@pytest.mark.slow
def test_what_a_killed_process_leaves(make_ev, tmp_path):
  killed, alive = [start_trainer(tmp_path, "DRAM_SSDHASH") for _ in range(2)]
  try:
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert process_folders(tmp_path) == {str(killed.pid), str(alive.pid)}
    ev = spilling(make_ev, "DRAM_SSDHASH", tmp_path)
    assert process_folders(tmp_path) == {str(os.getpid()), str(alive.pid)}
    train(ev, 0)
    for _ in range(5):  # each line is a step whose rows were right
      assert alive.stdout.readline(), alive.communicate()[1][-3000:]
    expect_trained(ev, BATCH)
  finally:
    alive.kill()
    killed.kill()
    alive.communicate()
    killed.communicate()
