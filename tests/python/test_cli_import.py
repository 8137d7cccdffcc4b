"""ev-tf import: vectors of Parquet and CSV files as a table."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from ev_tf import engine
from ev_tf.cli import _columns, _distinct, _output, _support, _tables
from tests.python.test_cli_files import call, complaint, make

DIM = 4


def vectors(n, seed=0):
  return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def texts(rows, separator=","):
  return [separator.join(repr(float(x)) for x in row) for row in rows]


def write_parquet(path, ids, rows, kind="list", names=("id", "emb")):
  flat = pa.array(rows.reshape(-1))
  made = {"list": lambda: pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1], flat),
          "fixed": lambda: pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]),
          "double": lambda: pa.array(rows.astype(np.float64).tolist(), pa.large_list(pa.float64())),
          "text": lambda: pa.array(texts(rows)),
          "dictionary": lambda: pa.array(texts(rows)).dictionary_encode()}[kind]()
  pa.parquet.write_table(pa.table([pa.array(ids), made], names=list(names)), path)


def read(directory):
  """{id: vector} of all table files in a directory, and their readers."""
  readers = [engine.TableReader(file) for file in _tables.table_files(str(directory))]
  found = {}
  for reader in readers:
    for i in reader.row_blocks():
      block = reader.read(i)
      found.update(zip(block.keys.tolist(), block.values.tolist()))
  return found, readers


def expected(ids, rows):
  return dict(zip(np.asarray(ids).tolist(), rows.tolist()))


@pytest.mark.parametrize("kind", ["list", "fixed", "double", "text", "dictionary"])
def test_parquet(tmp_path, kind):
  ids = np.array([7, -3, 0, 2**62, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
  rows = vectors(len(ids))
  write_parquet(tmp_path / "t.parquet", ids, rows, kind)
  assert f"{len(ids)} rows of items, {DIM} floats each" in call("import", tmp_path / "t.parquet", "--out", tmp_path / "o", "--name", "items")
  found, (reader,) = read(tmp_path / "o")
  assert found == expected(ids, rows)
  assert (reader.name, reader.dim, reader.has_frequency, reader.has_version) == ("items", DIM, False, False)
  assert sorted(os.listdir(tmp_path)) == ["o", "t.parquet"]


@pytest.mark.parametrize("separator, delimiter, header", [(",", ",", True), (" ", ",", False), ("|", ";", True), (",", "\t", True)])
def test_csv(tmp_path, separator, delimiter, header):
  rows = vectors(5)
  lines = [f'{i}{delimiter}"{text}"' for i, text in enumerate(texts(rows, separator))]
  if header:
    lines.insert(0, f"id{delimiter}emb")
  (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
  call("import", tmp_path / "t.csv", "--out", tmp_path / "o", "--separator", separator, "--delimiter", delimiter,
       "--header" if header else "--no-header")
  assert read(tmp_path / "o")[0] == expected(range(5), rows)


def test_columns_by_name_and_several_files(tmp_path):
  os.mkdir(tmp_path / "in")
  for part in range(3):
    ids = np.arange(part * 10, part * 10 + 10, dtype=np.int32)
    write_parquet(tmp_path / "in" / f"{part}.parquet", ids, vectors(10, part), names=("user", "v"))
  (tmp_path / "in" / "_SUCCESS").write_text("")
  call("import", tmp_path / "in", "--out", tmp_path / "o", "--id-column", "user", "--vector-column", "v")
  found, _ = read(tmp_path / "o")
  assert found == {k: v for p in range(3) for k, v in expected(range(p * 10, p * 10 + 10), vectors(10, p)).items()}


@pytest.mark.parametrize("partitions", [2, 7])
def test_parts_hold_their_ids(tmp_path, partitions):
  ids = np.random.default_rng(1).integers(-(1 << 62), 1 << 62, 3000)
  rows = vectors(3000)
  write_parquet(tmp_path / "t.parquet", ids, rows)
  call("import", tmp_path / "t.parquet", "--out", tmp_path / "o", "--partitions", partitions, "--threads", "3")
  found, readers = read(tmp_path / "o")
  assert found == expected(ids, rows)
  for part, reader in enumerate(readers):
    assert reader.name == f"embedding/part_{part}"
    keys = np.concatenate([reader.read(i).keys for i in reader.row_blocks()])
    assert set(keys % 1000 % partitions) == {part}
  np.testing.assert_array_equal(readers[0].default_rows(), readers[1].default_rows())


def test_frequency_and_version_are_recorded_when_asked_for(tmp_path):
  write_parquet(tmp_path / "t.parquet", np.arange(9), vectors(9))
  call("import", tmp_path / "t.parquet", "--out", tmp_path / "o", "--frequency", 12, "--version", 0)
  _, (reader,) = read(tmp_path / "o")
  block = reader.read(0)
  assert set(block.frequencies.tolist()) == {12} and set(block.versions.tolist()) == {0}


def test_first_rows_of_other_ids(tmp_path):
  write_parquet(tmp_path / "t.parquet", np.arange(2), vectors(2))
  call("import", tmp_path / "t.parquet", "--out", tmp_path / "a")
  call("import", tmp_path / "t.parquet", "--out", tmp_path / "b", "--initial-rows", 5, "--initial-stddev", 0, "--seed", 3)
  rows = read(tmp_path / "a")[1][0].default_rows()
  assert rows.shape == (4096, DIM) and abs(rows).max() <= 2 * DIM**-0.5 and 0.8 < rows.std() * DIM**0.5 < 0.95
  np.testing.assert_array_equal(read(tmp_path / "b")[1][0].default_rows(), np.zeros((5, DIM), np.float32))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_an_export_comes_back(tmp_path, kind):
  keys = np.random.default_rng(3).permutation(150_000) * 11 - 9
  values, _ = make(tmp_path / "t.evtable", keys, dim=DIM)
  call("export", tmp_path / "t.evtable", "--out", tmp_path / f"x.{kind}")
  call("import", tmp_path / f"x.{kind}", "--out", tmp_path / "o", "--partitions", 2)
  assert read(tmp_path / "o")[0] == expected(keys, values)


def bad_input(tmp_path, ids, column, name="t.parquet"):
  pa.parquet.write_table(pa.table([ids, column], names=["id", "emb"]), tmp_path / name, row_group_size=3)
  return tmp_path / name


LISTS = pa.array([[1.0, 2.0]] * 5)
IDS = pa.array(range(5))


@pytest.mark.parametrize("ids, column, message", [
    (IDS, pa.array([[1.0, 2.0]] * 4 + [[1.0]]), "row 5: vector: expected 2 numbers, found 1"),
    (IDS, pa.array([[1.0, 2.0]] * 3 + [None, [1.0, 2.0]]), "row 4: vector: expected a value, found none"),
    (IDS, pa.array([[1.0, 2.0]] * 4 + [[1.0, None]]), "row 5: vector: expected 2 numbers, found an empty one"),
    (IDS, pa.array([[1.0, 2.0]] * 4 + [[1.0, float("nan")]]), "row 5: vector: expected finite numbers, found nan"),
    (IDS, pa.array([[1.0, 2.0]] * 4 + [[1e300, 0.0]]), "row 5: vector: expected finite numbers, found inf"),
    (IDS, pa.array(["1,2"] * 4 + ["1,two"]), "row 5: vector: expected numbers, found 'two'"),
    (IDS, pa.array(["1,2"] * 4 + ["1,2,"]), "row 5: vector: expected 2 numbers, found 3"),
    (IDS, pa.array(["1,2"] * 4 + [""]), "row 5: vector: expected 2 numbers, found 1; is --separator ',' right?"),
    (IDS, pa.array([1.0] * 5), "vectors: expected lists of numbers or texts of them, found double"),
    (pa.array([0, 1, None, 3, 4]), LISTS, "row 3: id: expected a value, found none"),
    (pa.array(list("abcde")), LISTS, "ids: expected integers, found string; is --id-column the right one?"),
    (pa.array([0, 1, 2, 3, 2**63], pa.uint64()), LISTS, "ids: expected numbers of int64, found larger ones"),
    (pa.array([0, 1, 2, 1, 0]), LISTS, "expected distinct ids, found 2 that stand more than once, such as 0, 1"),
    (pa.array([], pa.int64()), pa.array([], pa.list_(pa.float32())), "expected rows, found none"),
])
def test_bad_rows(tmp_path, ids, column, message):
  path = bad_input(tmp_path, ids, column)
  for threads in (1, 3):
    found = complaint("import", path, "--out", tmp_path / "o", "--threads", threads)
    assert message in found and str(path) in found
    assert os.listdir(tmp_path) == ["t.parquet"]


@pytest.mark.parametrize("text, message", [
    ("id,emb\n1,1 2\nx,1 2\n", "CSV conversion error to int64: invalid value 'x'"),
    ("id,emb\n1,1 2\n2,1 x\n", "row 2: vector: expected numbers, found 'x'"),
    ("id,emb\n1,1 2\n2,\n", "row 2: vector: expected a value, found none"),
    ("id,emb\n1,1 2\n2\n", "Expected 2 columns, got 1"),
    ("id,emb\n", "expected rows, found none"),
    ("", "t.csv: Empty CSV file"),
])
def test_bad_csv(tmp_path, text, message):
  (tmp_path / "t.csv").write_text(text)
  assert message in complaint("import", tmp_path / "t.csv", "--out", tmp_path / "o", "--separator", " ")
  assert os.listdir(tmp_path) == ["t.csv"]


def test_duplicates_far_apart_are_found(tmp_path):
  ids = np.arange(200_000)
  ids[-1] = 17
  write_parquet(tmp_path / "t.parquet", ids, vectors(len(ids)))
  assert "found 1 that stand more than once, such as 17" in complaint("import", tmp_path / "t.parquet", "--out", tmp_path / "o")
  with _distinct.DistinctIds(tmp_path, "here") as distinct:
    for piece in np.array_split(np.random.default_rng(0).permutation(100_000), 7):
      distinct.add(piece)
    distinct.check()
    distinct.add(np.array([5]))
    with pytest.raises(_support.Failure, match="such as 5"):
      distinct.check()


def test_bad_arguments(tmp_path):
  good = bad_input(tmp_path, IDS, LISTS)
  out = ("--out", tmp_path / "o")
  assert "expected a column 'x', found id, emb" in complaint("import", good, *out, "--id-column", "x")
  assert "expected a column '2', found id, emb" in complaint("import", good, *out, "--vector-column", "2")
  assert "expected 3 numbers as --dim says, found 2" in complaint("import", good, *out, "--dim", "3")
  assert "expected a file or a directory, found nothing" in complaint("import", tmp_path / "none.csv", *out)
  (tmp_path / "t.txt").write_text("1")
  assert "expected a file *.parquet or *.csv" in complaint("import", tmp_path / "t.txt", *out)
  (tmp_path / "no.parquet").write_text("1")
  assert "no.parquet" in complaint("import", tmp_path / "no.parquet", *out)
  assert "--delimiter" in complaint("import", good, *out, "--delimiter", ",,", code=2)
  assert "--partitions" in complaint("import", good, *out, "--partitions", "1001", code=2)
  assert "Missing option" in complaint("import", good, code=2)
  assert "Missing argument" in complaint("import", *out, code=2)
  assert not (tmp_path / "o").exists()


def test_where_it_cannot_be_written(tmp_path):
  good = bad_input(tmp_path, IDS, LISTS)
  assert f"expected {tmp_path / 'none'} to be a directory" in complaint("import", good, "--out", tmp_path / "none" / "o")
  assert "expected no such directory, or an empty one" in complaint("import", good, "--out", tmp_path)
  assert "expected no such directory, or an empty one" in complaint("import", good, "--out", good)
  os.mkdir(tmp_path / "o")
  call("import", good, "--out", tmp_path / "o")
  assert sorted(os.listdir(tmp_path / "o")) == ["checkpoint", "model.ckpt-0.data-00000-of-00001",
                                                "model.ckpt-0.data-etool-of-00000", "model.ckpt-0.index"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm") or os.geteuid() != 0, reason="mounts a small tmpfs, which needs root")
def test_a_full_disk(tmp_path):
  small = tmp_path / "small"
  os.mkdir(small)
  if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=False, capture_output=True).returncode:
    pytest.skip("this machine does not let a tmpfs be mounted")
  try:
    write_parquet(tmp_path / "t.parquet", np.arange(200_000), vectors(200_000))
    assert "No space left on device" in complaint("import", tmp_path / "t.parquet", "--out", small / "o")
    assert os.listdir(small) == []
    call("import", bad_input(tmp_path, IDS, LISTS, "u.parquet"), "--out", small / "o")
    make(tmp_path / "big.evtable", range(200_000))
    for kind in ("csv", "parquet", "npz"):
      assert "No space left on device" in complaint("export", tmp_path / "big.evtable", "--out", small / f"x.{kind}")
    assert os.listdir(small) == ["o"]
  finally:
    subprocess.run(["umount", "--lazy", small], check=True)


def test_a_killed_import_leaves_no_directory_of_that_name(tmp_path):
  write_parquet(tmp_path / "t.parquet", np.arange(200_000), vectors(200_000))
  code = ("import os, signal, sys; sys.argv = ['ev-tf', *sys.argv[1:]]\nfrom ev_tf.cli import _distinct, main\n"
          "_distinct.DistinctIds.check = lambda self: os.kill(os.getpid(), signal.SIGKILL)\nmain()")
  done = subprocess.run([sys.executable, "-c", code, "import", str(tmp_path / "t.parquet"), "--out", str(tmp_path / "o")],
                        capture_output=True, check=False)
  assert done.returncode == -9 and not (tmp_path / "o").exists()


def test_memory_does_not_grow_with_the_table(tmp_path):
  """Six times the rows take little more memory: what is read ahead, not the table."""
  # Not ru_maxrss: that begins with what the parent had.
  code = ("import sys; sys.argv = ['ev-tf', *sys.argv[1:]]\nfrom ev_tf.cli import main\n"
          "try: main()\nfinally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])")
  peaks = []
  for n in (400_000, 2_400_000):
    rows = np.zeros((n, 16), np.float32)
    write_parquet(tmp_path / f"{n}.parquet", np.arange(n), rows, "fixed")
    done = subprocess.run([sys.executable, "-c", code, "import", str(tmp_path / f"{n}.parquet"), "--out", str(tmp_path / str(n)),
                           "--threads", "2"], capture_output=True, text=True, check=True)
    peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
  assert peaks[1] - peaks[0] < 64, peaks  # MB; the vectors have 128 more


def test_first_rows_are_drawn_once():
  np.testing.assert_array_equal(_output.initial_rows(9, 3, None, 1), _output.initial_rows(9, 3, None, 1))
  assert not np.array_equal(_output.initial_rows(9, 3, None, 1), _output.initial_rows(9, 3, None, 2))
  assert _columns.find_files([]) == []
