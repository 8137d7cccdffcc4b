"""ev-tf inspect, verify and export: table files from the command line."""

import csv
import json
import os
import pathlib
import shlex
import stat
import subprocess
import sys

from click import testing
import numpy as np
import pyarrow.parquet
import pytest

from ev_tf import cli, engine
from ev_tf.cli import _bundle, _support, _tables, export

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIM = 3


def call(*arguments, code=0):
  """Runs `ev-tf ...` in this process; what it printed, standard error included."""
  result = testing.CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
  if result.exception is not None and not isinstance(result.exception, SystemExit):
    raise result.exception
  assert result.exit_code == code, result.output
  return result.output


def complaint(*arguments, code=1):
  """The one sentence of a command that cannot do what it is asked."""
  output = call(*arguments, code=code).strip()
  last = output.splitlines()[-1]
  assert last.startswith("Error: ") and "Traceback" not in output
  return last


def make(path, keys, name="items", seed=0, dim=DIM, frequencies=None, versions=None, slots=True):
  """A table file with rows of `keys`; {key: (value, slots)}."""
  random = np.random.default_rng(seed)
  keys = np.asarray(keys, np.int64)
  values = random.standard_normal((len(keys), dim)).astype(np.float32)
  specs = [engine.SlotSpec("Adagrad/accumulator", 0, 0.1)] if slots else []
  state = random.random((len(keys), dim)).astype(np.float32) if slots else None
  with engine.TableWriter(str(path), dim, name, np.zeros((2, dim), np.float32), specs, frequencies is not None,
                          versions is not None) as writer:
    writer.write(keys, values, state, *(None if c is None else np.asarray(c, np.int64) for c in (frequencies, versions)))
  return values, state


@pytest.fixture
def table(tmp_path):
  path = tmp_path / "items.evtable"
  make(path, range(-5, 10), frequencies=[0, 1, 2, 3, 4, 7, 8, 100, 5, 5, 5, 5, 5, 5, 6], versions=[-1, *range(90, 104)])
  return path


class TestInspect:
  def test_text_names_what_the_table_is(self, table):
    text = call("inspect", table)
    for part in ("table items", "15 of 3 floats", "Adagrad/accumulator [3]", "frequency and version", "2 rows for ids"):
      assert part in text
    assert ["2", "100"] in [line.split() for line in text.splitlines()]  # the id of the highest frequency

  def test_json_has_the_histograms(self, table):
    (found,) = json.loads(call("inspect", table, "--json", "--top", "2"))
    assert found["frequencies"] == [["0", 1], ["1", 1], ["2 - 3", 2], ["4 - 7", 9], ["8 - 15", 1], ["16 - 31", 0],
                                    ["32 - 63", 0], ["64 - 127", 1]]
    assert found["ages"] == [["0", 1], ["1", 1], ["2 - 3", 2], ["4 - 7", 4], ["8 - 15", 6]]
    assert (found["newest_version"], found["never_updated"], found["not_finite"]) == (103, 1, 0)
    assert found["top"] == [[2, 100], [1, 8]]

  def test_histograms_and_top_equal_a_count_by_hand(self, tmp_path):
    random = np.random.default_rng(5)
    n = 30_000
    frequencies, versions = random.zipf(1.3, n) % (1 << 32), random.integers(-1, 1 << 20, n)
    keys = random.permutation(n)
    make(tmp_path / "t", keys, frequencies=frequencies, versions=versions, slots=False)
    (found,) = json.loads(call("inspect", tmp_path / "t", "--json", "--top", "50", "--threads", "3"))
    assert sum(rows for _, rows in found["frequencies"]) == n
    for label, rows in found["frequencies"] + [["", 0]]:
      if label:
        low, _, high = label.replace(",", "").partition(" - ")
        assert rows == int(((frequencies >= int(low)) & (frequencies <= int(high or low))).sum())
    order = np.lexsort((keys, -frequencies))[:50]
    assert found["top"] == [[int(keys[i]), int(frequencies[i])] for i in order]
    assert found["newest_version"] == versions.max() and found["never_updated"] == (versions < 0).sum()
    assert sum(rows for _, rows in found["ages"]) == (versions >= 0).sum()

  def test_rows_that_are_not_finite_are_counted(self, tmp_path):
    values = np.array([[1, np.nan], [1, 2], [np.inf, 0]], np.float32)
    with engine.TableWriter(str(tmp_path / "t"), 2, "t") as writer:
      writer.write(np.arange(3), values)
    assert "NOT FINITE  2 rows" in call("inspect", tmp_path / "t")

  def test_brief_reads_no_row(self, table):
    data = bytearray(table.read_bytes())
    reader = engine.TableReader(str(table))
    data[-(48 + 32 * (2 + reader.blocks)) - 100] ^= 255  # in the last block
    table.write_bytes(data)
    assert "15 of 3 floats" in call("inspect", "--brief", table)
    assert "crc of a block" in complaint("inspect", table)
    assert "--brief" in complaint("inspect", "--brief", "--png", "x.png", table, code=2)

  def test_parts_are_one_table(self, tmp_path):
    for part in range(12):
      make(tmp_path / f"items.part_{part}.data-etool-of-000{part:02d}", [part, part + 100], name=f"items/part_{part}")
    make(tmp_path / "users", [7], name="users")
    items, users = json.loads(call("inspect", tmp_path, "--json"))
    assert (items["name"], items["rows"], len(items["files"]), users["name"]) == ("items", 24, 12, "users")
    assert items["files"][2].endswith("of-00002")
    assert "users" not in call("inspect", tmp_path, "--table", "items")
    assert "expected table 'item', found: items, users" in complaint("inspect", tmp_path, "--table", "item")

  def test_picture(self, table, tmp_path):
    call("inspect", table, "--png", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    make(tmp_path / "plain", [1])
    assert "no table records" in complaint("inspect", tmp_path / "plain", "--png", tmp_path / "q.png")
    assert not (tmp_path / "q.png").exists()
    assert "none to be a directory" in complaint("inspect", table, "--png", tmp_path / "none" / "q.png")

  def test_empty_table(self, tmp_path):
    make(tmp_path / "t", [], frequencies=[], versions=[])
    assert "rows      0 of 3 floats" in call("inspect", tmp_path / "t")


class TestFindingTables:
  def test_what_is_no_table_is_said(self, tmp_path):
    (tmp_path / "text").write_text("hello, this is a text of some length that is no table at all, not even a small one.")
    assert "magic: expected" in complaint("inspect", tmp_path / "text")
    assert "expected a table file, a directory of table files or the prefix" in complaint("inspect", tmp_path / "none")
    assert "expected table files in the directory, found none" in complaint("inspect", tmp_path)

  def test_parts_of_different_tables_are_refused(self, tmp_path):
    make(tmp_path / "a.evtable", [1], name="items/part_0")
    make(tmp_path / "b.evtable", [1], name="items/part_1", dim=4)
    assert "b.evtable: dim: expected 3" in complaint("inspect", tmp_path)

  def test_two_saves_in_one_directory_are_not_one_table(self, tmp_path):
    for save in (1, 2):
      make(tmp_path / f"model.ckpt-{save}.data-e0000-of-00000", [1, 2])
    message = complaint("inspect", tmp_path)
    assert "model.ckpt-2.data-e0000-of-00000: expected one file of items, found another in " in message and "-1.data" in message
    assert "name one of them by its prefix" in message

  def test_a_leftover_of_a_save_is_no_table(self, tmp_path):
    make(tmp_path / "t.evtable", [1])
    (tmp_path / "u.evtable.tmp").write_bytes((tmp_path / "t.evtable").read_bytes())
    assert len(_tables.table_files(str(tmp_path))) == 1

  def test_a_checkpoint_names_its_files(self, tmp_path):
    """Without TensorFlow: the manifests of tables among the tensors of a checkpoint."""
    import tensorflow as tf

    prefix = str(tmp_path / "model.ckpt-7")
    make(prefix + ".data-e1234-of-56789", [1, 2], name="items")
    make(prefix + ".data-eold00-of-00000"[:20], [1], name="items")  # of a save that this one replaced
    manifest = b"ev_tf table 1 .data-e1234-of-56789 part=0/1 rows=2 bytes=9 checksum=00000000"
    tensors = {"items-table": tf.constant([manifest]), "note": tf.constant("hello"), "w": tf.range(5000, dtype=tf.float32)}
    tensors.update({f"many/{i}": tf.constant(i) for i in range(300)})  # more than one block of the index
    names, values = zip(*sorted(tensors.items()))
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
    (found,) = json.loads(call("inspect", prefix, "--json"))
    assert found["files"] == [prefix + ".data-e1234-of-56789"]
    bundle = _bundle.Bundle(prefix)
    np.testing.assert_array_equal(bundle.tensor("w"), np.arange(5000, dtype=np.float32))
    assert bundle.texts("note") == [b"hello"] and all(bundle.tensor(f"many/{i}") == i for i in range(300))
    index = (tmp_path / "model.ckpt-7.index").read_bytes()
    end = len(index) - 48  # of the blocks; the footer has bytes without a meaning
    for place in range(3, end, end // 40):
      (tmp_path / "model.ckpt-7.index").write_bytes(index[:place] + bytes([index[place] ^ 16]) + index[place + 1 :])
      message = complaint("verify", prefix)
      assert "model.ckpt-7.index: the index of the checkpoint does not parse (@ " in message and "crc of a block: expected" in message
    (tmp_path / "model.ckpt-7.index").write_bytes(index)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"\n')
    assert _tables.table_files(str(tmp_path)) == found["files"]


class TestVerify:
  def test_good(self, table):
    assert call("verify", table) == f"ok       {table}: 15 rows, {os.path.getsize(table):,} bytes\n"

  def test_every_flipped_byte_is_found(self, table):
    data = table.read_bytes()
    reader = engine.TableReader(str(table))
    covered = 0
    for place in range(0, len(data), 7):
      damaged = bytearray(data)
      damaged[place] ^= 1 << (place % 8)
      table.write_bytes(damaged)
      result = testing.CliRunner().invoke(cli.main, ["verify", str(table), "--threads", "1"])
      if result.exit_code == 0:
        assert 16 <= place < len(data) - 48 - 32 * (2 + reader.blocks), f"byte {place} has a checksum"  # between blocks
        continue
      covered += 1
      assert result.exit_code == 1 and f"{table}" in result.output and "expected" in result.output
      assert isinstance(result.exception, SystemExit)
    assert covered > len(data) / 7 * 0.7

  def test_all_damages_of_all_files_are_told(self, tmp_path):
    for name in ("a", "b", "c"):
      make(tmp_path / f"{name}.evtable", range(20_000), name=name)
    data = bytearray((tmp_path / "a.evtable").read_bytes())
    reader = engine.TableReader(str(tmp_path / "a.evtable"))
    assert reader.blocks > 3
    for place in (200_000, 400_000):
      data[place] ^= 1
    (tmp_path / "a.evtable").write_bytes(data)
    (tmp_path / "b.evtable").write_bytes(data[:1000])
    text = call("verify", tmp_path, code=1)
    assert text.count("damaged  ") == 3 and text.count("ok  ") == 1 and "2 of 3 are damaged" in text
    assert "a.evtable @ " in text and "is the file cut short?" in text

  def test_a_file_that_the_checkpoint_lacks(self, tmp_path):
    make(tmp_path / "t.evtable", [1])
    os.symlink(tmp_path / "gone", tmp_path / "u.data-e1234-of-12345")
    assert "No such file" in call("verify", tmp_path, code=1)


class TestExport:
  def read(self, path):
    """{id: vector} of an export."""
    if path.suffix == ".npz":
      arrays = np.load(path)
      return dict(zip(arrays["id"].tolist(), arrays["embedding"].tolist())), arrays.files
    if path.suffix == ".parquet":
      columns = pyarrow.parquet.read_table(path).to_pydict()
      return dict(zip(columns["id"], columns["embedding"])), list(columns)
    with open(path) as file:
      lines = list(csv.DictReader(file))
    return {int(line["id"]): [float(np.float32(x)) for x in line["embedding"].split(",")] for line in lines}, list(lines[0])

  @pytest.mark.parametrize("kind", ["parquet", "csv", "npz"])
  def test_all_formats_have_all_rows(self, tmp_path, kind):
    keys = np.random.default_rng(3).permutation(70_000) - 9
    values, _ = make(tmp_path / "t.evtable", keys, frequencies=keys + 9, versions=keys + 9)
    out = tmp_path / f"out.{kind}"
    call("export", tmp_path / "t.evtable", "--out", out)
    found, names = self.read(out)
    assert names == ["id", "embedding", "frequency", "version"]
    assert found == dict(zip(keys.tolist(), values.tolist()))

  def test_slots_are_columns(self, tmp_path):
    _, state = make(tmp_path / "t.evtable", [5, 6])
    call("export", tmp_path / "t.evtable", "--to", "npz", "--out", tmp_path / "x", "--slots")
    arrays = np.load(tmp_path / "x")
    order = np.argsort(arrays["id"])
    np.testing.assert_array_equal(arrays["Adagrad/accumulator"][order], state)

  @pytest.mark.parametrize("kind", ["parquet", "csv", "npz"])
  def test_a_table_without_rows(self, tmp_path, kind):
    make(tmp_path / "t.evtable", [])
    assert "0 rows of items" in call("export", tmp_path / "t.evtable", "--out", tmp_path / f"x.{kind}")
    assert (tmp_path / f"x.{kind}").stat().st_size > 0

  def test_bad_arguments(self, tmp_path):
    make(tmp_path / "a.evtable", [1], name="a")
    make(tmp_path / "b.evtable", [1], name="b")
    assert "expected --table, as there are several: a, b" in complaint("export", tmp_path, "--out", tmp_path / "x.csv")
    assert "expected --to" in complaint("export", tmp_path, "--table", "a", "--out", tmp_path / "x.txt", code=2)
    assert "--separator" in complaint("export", tmp_path, "--table", "a", "--out", tmp_path / "x.csv", "--separator", "1", code=2)
    assert "Missing option" in complaint("export", tmp_path, code=2)
    assert "found a directory" in complaint("export", tmp_path, "--table", "a", "--to", "csv", "--out", tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.evtable", "b.evtable"]

  def test_what_cannot_be_replaced_is_written_to(self, table, tmp_path):
    """A device or a pipe that is renamed over is gone, for every program of the machine."""
    os.mkfifo(tmp_path / "pipe")
    end = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    call("export", table, "--to", "csv", "--out", tmp_path / "pipe")
    lines = os.read(end, 1 << 16).decode().splitlines()
    os.close(end)
    assert len(lines) == 16 and stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    command = [sys.executable, "-m", "ev_tf.cli", "export", str(table), "--to", "csv", "--out"]
    done = subprocess.run([*command, "-"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == lines and "15 rows of items" in done.stderr
    assert complaint("export", table, "--to", "csv", "--out", "/dev/full").endswith("/dev/full: No space left on device")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)

  def test_a_link_stays_one(self, table, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "x.csv").symlink_to(tmp_path / "there" / "y.csv")
    call("export", table, "--out", tmp_path / "x.csv")
    assert (tmp_path / "x.csv").is_symlink() and os.listdir(tmp_path / "there") == ["y.csv"]

  @pytest.mark.parametrize("kind", ["parquet", "csv", "npz"])
  def test_a_full_disk_is_said_with_the_file(self, table, tmp_path, kind, monkeypatch):
    def fail(path, *unused, **also_unused):
      with open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")

    monkeypatch.setitem(export._WRITERS, kind, fail)
    out = tmp_path / f"x.{kind}"
    assert complaint("export", table, "--out", out) == f"Error: {out}: No space left on device"

  def test_damage_leaves_the_old_file(self, table, tmp_path):
    (tmp_path / "x.csv").write_text("old")
    data = bytearray(table.read_bytes())
    data[320] ^= 1
    table.write_bytes(data)
    assert f"{table} @ " in complaint("export", table, "--out", tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "old" and len(os.listdir(tmp_path)) == 2


def test_without_the_packages_of_the_extra(monkeypatch, table, tmp_path):
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  assert "this needs pyarrow: pip install 'ev_tf[cli]'" in complaint("export", table, "--out", tmp_path / "x.parquet")
  assert os.listdir(tmp_path) == [table.name]


def test_results_come_in_order_whatever_the_threads():
  assert list(_support.in_order(lambda x: x * x, range(100), 7)) == [x * x for x in range(100)]
  with pytest.raises(ZeroDivisionError):
    list(_support.in_order(lambda x: 1 / (3 - x), range(100), 4))


def test_the_command_needs_no_tensorflow(table):
  """A process of its own: importing TensorFlow would take seconds."""
  code = ("import sys; sys.argv = ['ev-tf', 'verify', sys.argv[1]]\nfrom ev_tf.cli import main\n"
          "try: main()\nfinally: print('tensorflow' in sys.modules)")
  done = subprocess.run([sys.executable, "-c", code, str(table)], capture_output=True, text=True, check=False)
  assert done.returncode == 0 and done.stdout.splitlines()[-1] == "False", done.stderr
  done = subprocess.run([sys.executable, "-X", "importtime", "-m", "ev_tf.cli", "verify", str(table)], capture_output=True,
                        text=True, check=False)
  assert done.returncode == 0 and done.stdout.startswith("ok ") and "tensorflow" not in done.stderr


def test_the_tour_of_the_documentation(tmp_path, monkeypatch):
  text = (ROOT / "docs" / "cli.md").read_text()
  tour = text[text.index("## A tour"):]
  monkeypatch.chdir(tmp_path)
  blocks = ["\n".join(line[4:] for line in block.splitlines()) for block in tour.split("\n\n") if block.startswith("    ")]
  (tmp_path / "vectors.csv").write_text(blocks[0] + "\n")
  lines = blocks[1].splitlines()
  assert len(lines) >= 5 and all(line.startswith("ev-tf ") for line in lines)
  for line in lines:
    call(*shlex.split(line)[1:])
  assert "recorded  frequency" in call("inspect", "again") and (tmp_path / "items.png").exists()
