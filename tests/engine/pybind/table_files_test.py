"""TableReader and TableWriter of ev_tf.engine: table files as NumPy arrays. Needs no TensorFlow."""

import os
import threading

import numpy as np
import pytest

from ev_tf import engine

EDGES = np.array([0, 1, -1, 999, 1000, -1000, np.iinfo(np.int64).min, np.iinfo(np.int64).max], np.int64)


@pytest.fixture
def rng():
  seed = int(os.environ.get("EV_SEED", "20240607"))
  print(f"EV_SEED={seed}")
  return np.random.default_rng(seed)


def rows_of(keys, dim, slots, rng):
  n = len(keys)
  return dict(keys=keys, values=rng.standard_normal((n, dim)).astype(np.float32),
              slots=rng.standard_normal((n, slots)).astype(np.float32), frequencies=rng.integers(0, 1 << 32, n),
              versions=rng.integers(-1, 1 << 31, n))


def random_keys(rng, n):
  return np.unique(np.concatenate([EDGES, rng.integers(-(1 << 62), 1 << 62, n)]))


def new_writer(path, dim=4, **kwargs):
  slots = [engine.SlotSpec("m", 0, 0.5), engine.SlotSpec("v", 1, 0.0)]
  return engine.TableWriter(str(path), dim, "items", np.arange(2 * dim, dtype=np.float32).reshape(2, dim), slots, True, True,
                            **kwargs)


def read_all(reader, **part):
  """{key: all that stands of it}."""
  found = {}
  for i in reader.row_blocks(**part):
    block = reader.read(i, **part)
    assert not block.filtered and len(block) == len(block.keys)
    for j, key in enumerate(block.keys.tolist()):
      assert key not in found
      found[key] = (block.values[j].tolist(), block.slots[j].tolist(), int(block.frequencies[j]), int(block.versions[j]))
  return found


def expected(rows):
  return {key: (rows["values"][j].tolist(), rows["slots"][j].tolist(), int(rows["frequencies"][j]), int(rows["versions"][j]))
          for j, key in enumerate(rows["keys"].tolist())}


@pytest.mark.parametrize("n", [0, 1, 3000, 60_000])
def test_what_is_written_is_read(tmp_path, rng, n):
  rows = rows_of(random_keys(rng, n) if n else np.empty(0, np.int64), 4, 5, rng)
  with new_writer(tmp_path / "t") as writer:
    writer.write(**rows)
    assert not (tmp_path / "t").exists()
  reader = engine.TableReader(str(tmp_path / "t"))
  assert (reader.name, reader.dim, reader.rows, reader.default_value_dim) == ("items", 4, len(rows["keys"]), 2)
  assert [(s.name, s.dim, s.initial) for s in reader.slots] == [("m", 4, 0.5), ("v", 1, 0.0)]
  assert reader.has_frequency and reader.has_version and reader.file_bytes == os.path.getsize(tmp_path / "t")
  np.testing.assert_array_equal(reader.default_rows(), np.arange(8, dtype=np.float32).reshape(2, 4))
  assert read_all(reader) == expected(rows)
  assert os.listdir(tmp_path) == ["t"]


def test_parts_are_the_whole(tmp_path, rng):
  rows = rows_of(random_keys(rng, 5000), 4, 5, rng)
  with new_writer(tmp_path / "t") as writer:
    writer.write(**rows)
    writer.write_filtered(EDGES[:3] + 5, np.array([1, 2, 3]), np.array([-1, 0, 7]))
  reader = engine.TableReader(str(tmp_path / "t"))
  for partitions in (2, 7, 1000):
    found = {}
    for partition in range(partitions):
      part = read_all(reader, partition=partition, partitions=partitions)
      assert all(key % 1000 % partitions == partition for key in part)
      found.update(part)
    assert found == expected(rows)
  keys = [key for p in range(3) for i in reader.filtered_blocks(p, 3) for key in reader.read(i, p, 3).keys.tolist()]
  assert sorted(keys) == sorted((EDGES[:3] + 5).tolist())


def test_filtered_keys_come_back(tmp_path):
  with new_writer(tmp_path / "t") as writer:
    writer.write_filtered(np.array([5, -6]), np.array([1, 2**32 - 1]), np.array([-1, 9]))
  reader = engine.TableReader(str(tmp_path / "t"))
  (i,) = reader.filtered_blocks()
  block = reader.read(i)
  assert block.filtered and block.values is None and block.slots is None
  assert list(zip(block.keys.tolist(), block.frequencies.tolist(), block.versions.tolist())) == [(5, 1, -1), (-6, 2**32 - 1, 9)]
  assert reader.row_blocks() == [] and reader.rows == 0


def test_a_table_without_extras_has_none(tmp_path):
  with engine.TableWriter(str(tmp_path / "t"), 3) as writer:
    writer.write([4], np.ones((1, 3), np.float32))
  reader = engine.TableReader(str(tmp_path / "t"))
  block = reader.read(0)
  assert block.frequencies is None and block.versions is None and block.slots.shape == (1, 0)
  np.testing.assert_array_equal(reader.default_rows(), np.zeros((1, 3), np.float32))


def test_threads_write_and_read_one_table(tmp_path, rng):
  rows = rows_of(random_keys(rng, 40_000), 4, 5, rng)
  pieces = np.array_split(np.arange(len(rows["keys"])), 8)
  with new_writer(tmp_path / "t") as writer:
    threads = [threading.Thread(target=lambda p=p: writer.write(**{k: v[p] for k, v in rows.items()})) for p in pieces]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert writer.rows == len(rows["keys"])
  assert read_all(engine.TableReader(str(tmp_path / "t"))) == expected(rows)


def test_arrays_outlive_their_reader(tmp_path):
  with engine.TableWriter(str(tmp_path / "t"), 1) as writer:
    writer.write([4], np.full((1, 1), 2.5, np.float32))
  values = engine.TableReader(str(tmp_path / "t")).read(0).values
  assert values.tolist() == [[2.5]]


def test_nothing_is_left_of_a_writer_that_failed(tmp_path):
  (tmp_path / "t").write_text("old")
  with pytest.raises(ZeroDivisionError):
    with new_writer(tmp_path / "t") as writer:
      writer.write([1], np.zeros((1, 4), np.float32), np.zeros((1, 5), np.float32), np.array([1]), np.array([1]))
      raise ZeroDivisionError
  assert os.listdir(tmp_path) == ["t"] and (tmp_path / "t").read_text() == "old"
  with pytest.raises(ValueError, match="committed or discarded before"):
    writer.commit()


@pytest.mark.parametrize("change, error, message", [
    (dict(values=np.zeros((1, 3), np.float32)), ValueError, r"values: expected shape \(1, 4\)"),
    (dict(values=np.zeros((1, 4))), TypeError, "expected dtype float32"),
    (dict(slots=None), TypeError, "slots"),
    (dict(frequencies=np.array([-1])), ValueError, "expected at least 0, found -1"),
    (dict(versions=np.array([-2])), ValueError, "expected at least -1, found -2"),
    (dict(versions=np.array([1, 2])), ValueError, "versions"),
])
def test_bad_rows_are_refused(tmp_path, change, error, message):
  good = dict(keys=[1], values=np.zeros((1, 4), np.float32), slots=np.zeros((1, 5), np.float32), frequencies=np.array([1]),
              versions=np.array([1]))
  with new_writer(tmp_path / "t") as writer:
    with pytest.raises(error, match=message):
      writer.write(**{**good, **change})
  assert engine.TableReader(str(tmp_path / "t")).rows == 0


@pytest.mark.parametrize("arguments, message", [
    (dict(dim=0), "dim: expected 1 to 65536, found 0"),
    (dict(dim=2, slots=[engine.SlotSpec("m", 0, 0.0), engine.SlotSpec("m", 0, 0.0)]), "distinct names"),
    (dict(dim=2, slots=[engine.SlotSpec("m", 3, 0.0)]), "3"),
    (dict(dim=2, default_rows=np.zeros((1, 3), np.float32)), r"expected shape \[rows, 2\]"),
])
def test_bad_tables_are_refused(tmp_path, arguments, message):
  with pytest.raises(ValueError, match=message):
    engine.TableWriter(str(tmp_path / "t"), **arguments)
  assert not os.listdir(tmp_path)


def test_bad_blocks_and_parts_are_refused(tmp_path):
  with engine.TableWriter(str(tmp_path / "t"), 1) as writer:
    writer.write([4], np.zeros((1, 1), np.float32))
  reader = engine.TableReader(str(tmp_path / "t"))
  for block in (-1, 1):
    with pytest.raises(IndexError, match="expected 0 to 1"):
      reader.read(block)
  for partition, partitions in ((0, 0), (2, 2), (-1, 2), (0, 1001)):
    with pytest.raises(ValueError, match="expected 0 <= partition < partitions <= 1000"):
      reader.read(0, partition, partitions)


def test_damage_is_named(tmp_path):
  path = tmp_path / "t"
  with engine.TableWriter(str(path), 4) as writer:
    writer.write(np.arange(10), np.zeros((10, 4), np.float32))
  data = bytearray(path.read_bytes())
  data[300] ^= 1
  path.write_bytes(data)
  reader = engine.TableReader(str(path))
  with pytest.raises(RuntimeError, match=rf"{path} @ \d+: crc of a block: expected \d+, found \d+"):
    for i in range(reader.blocks):
      reader.read(i)
  with pytest.raises(RuntimeError, match=rf"{path} @ \d+: crc of a block: expected \d+, found \d+"):
    engine.verify_table(str(path))
  data[300] ^= 1
  path.write_bytes(data)
  engine.verify_table(str(path))
  for read in (engine.TableReader, engine.verify_table):
    with pytest.raises(KeyError, match="no_such_file"):
      read(str(tmp_path / "no_such_file"))


def test_buckets_and_checksum_are_of_the_file(tmp_path, rng):
  rows = rows_of(random_keys(rng, 30_000), 4, 5, rng)
  for name, keys in (("a", rows["keys"]), ("b", rows["keys"]), ("c", rows["keys"] ^ 1)):
    with new_writer(tmp_path / name) as writer:
      writer.write(**{**rows, "keys": keys})
  a, b, c = (engine.TableReader(str(tmp_path / name)) for name in "abc")
  assert a.checksum == b.checksum != c.checksum
  ends = [a.buckets(i) for i in a.row_blocks()]
  assert len(ends) > 10 and ends == sorted(ends) and ends[0][0] == 0 and ends[-1][1] == 999
  for i in a.row_blocks():
    keys = a.read(i).keys % 1000
    assert (keys.min(), keys.max()) == a.buckets(i)


def test_crc32c_takes_any_buffer():
  data = np.arange(1000, dtype=np.int32)
  assert engine.crc32c(data) == engine.crc32c(data.tobytes()) == engine.crc32c(data[500:], engine.crc32c(data[:500]))
  assert engine.crc32c(b"") == 0 and engine.crc32c(b"123456789") == 0xE3069283
  with pytest.raises(ValueError, match="C order"):
    engine.crc32c(data[::2])
