"""ev-tf diff and prune, against dictionaries."""

import json
import os
import shutil
import tempfile

import hypothesis
from hypothesis import strategies as st
import numpy as np

from ev_tf import engine
from ev_tf.cli import _bundle, _sweep, _tables
from tests.python.test_cli_files import call, complaint, make

DIM = 2
KEYS = st.sampled_from([0, 1, -1, 5, 999, 1000, -1000, 2005, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.0000001, -3.5, float("nan"), float("inf"), float("-inf"), 1e-30])
ROWS = st.fixed_dictionaries(dict(value=st.tuples(FLOATS, FLOATS), slot=FLOATS, frequency=st.integers(0, 5),
                                  version=st.integers(-1, 9)))
TABLES = st.dictionaries(KEYS, ROWS, max_size=8)


def write(path, rows, parts=1):
  """A table, or the files of its parts, of {key: row}; the directory."""
  os.makedirs(path, exist_ok=True)
  for part in range(parts):
    keys = [key for key in rows if key % 1000 % parts == part]
    own = f"t/part_{part}" if parts > 1 else "t"
    with engine.TableWriter(os.path.join(path, f"t{part}"), DIM, own, np.zeros((1, DIM), np.float32),
                            [engine.SlotSpec("s", 1, 0.5)], True, True) as writer:
      for key in keys:  # each in a block of its own
        row = rows[key]
        writer.write([key], np.array([row["value"]], np.float32), np.array([[row["slot"]]], np.float32),
                     np.array([row["frequency"]]), np.array([row["version"]]))
  return path


def read(path):
  """{key: row} of the only table in a checkpoint."""
  found = {}
  for block in _tables.find_table(str(path)).blocks():
    for j, key in enumerate(block.keys.tolist()):
      found[key] = dict(value=tuple(block.values[j].tolist()), slot=float(block.slots[j, 0]), frequency=int(block.frequencies[j]),
                        version=int(block.versions[j]))
  return found


def bits(value):
  return np.array(value, np.float32).tobytes()


def expected_counts(a, b):
  common = a.keys() & b.keys()
  changed = {field: {key for key in common if bits(a[key][field]) != bits(b[key][field])} for field in ("value", "slot")}
  changed |= {field: {key for key in common if a[key][field] != b[key][field]} for field in ("frequency", "version")}
  return dict(added=len(b.keys() - a.keys()), removed=len(a.keys() - b.keys()), changed_vector=len(changed["value"]),
              changed_slots=len(changed["slot"]), changed_frequency=len(changed["frequency"]),
              changed_version=len(changed["version"]), unchanged=len(common - set().union(*changed.values())))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(TABLES, TABLES, st.integers(1, 3), st.integers(1, 3))
def test_diff_counts_what_dictionaries_count(a, b, parts_a, parts_b):
  with tempfile.TemporaryDirectory() as folder:
    one, two = write(f"{folder}/a", a, parts_a), write(f"{folder}/b", b, parts_b)
    (found,) = json.loads(call("diff", one, two, "--json", "--top", "20"))["tables"]
    counts = expected_counts(a, b)
    assert {name: found[name] for name in counts} == counts
    assert sorted(found["examples"]["added"]) == sorted(b.keys() - a.keys())
    assert {key for key, _ in found["largest"]} == {k for k in a.keys() & b.keys() if bits(a[k]["value"]) != bits(b[k]["value"])}
    same = not any(count for name, count in counts.items() if name != "unchanged")
    call("diff", one, two, "--exit-code", code=0 if same else 1)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(TABLES, st.none() | st.integers(0, 6), st.none() | st.integers(0, 10), st.none() | st.sampled_from([0.0, 1.0, 3.6]),
                  st.none() | st.integers(0, 12), st.integers(1, 3))
def test_prune_keeps_what_a_dictionary_keeps(rows, min_frequency, max_age, min_norm, step, parts):
  hypothesis.assume((min_frequency, max_age, min_norm) != (None, None, None))
  step = step if max_age is not None else None
  options = [text for name, value in (("--min-frequency", min_frequency), ("--max-age", max_age), ("--min-norm", min_norm),
                                      ("--step", step)) if value is not None for text in (name, value)]
  now = step if step is not None else max((row["version"] for row in rows.values()), default=-1)

  def stays(row):
    norm = float(np.sqrt(np.sum(np.square(np.array(row["value"], np.float32), dtype=np.float64))))
    return ((min_frequency is None or row["frequency"] >= min_frequency)
            and (max_age is None or row["version"] < 0 or now - row["version"] <= max_age)
            and (min_norm is None or not norm < min_norm))

  with tempfile.TemporaryDirectory() as folder:
    call("prune", write(f"{folder}/a", rows, parts), "--out", f"{folder}/b", *options)
    kept = {key: row for key, row in rows.items() if stays(row)}
    found = read(f"{folder}/b")
    assert found.keys() == kept.keys()
    assert all(bits(found[key][field]) == bits(kept[key][field]) for key in kept for field in kept[key])
    assert len(_tables.find_table(f"{folder}/b").parts) == parts


def test_diff_of_larger_tables_goes_in_pieces(tmp_path, monkeypatch):
  monkeypatch.setattr(_sweep, "_BYTES_AT_ONCE", 1 << 18)
  keys = np.random.default_rng(2).permutation(40_000) - 20_000
  make(tmp_path / "a", keys, dim=4)
  make(tmp_path / "b", keys[:39_000], dim=4)
  changed = {}
  random = np.random.default_rng(3)
  table = _tables.find_table(str(tmp_path / "a"))
  assert len(_sweep.ranges([table, table])) > 10
  with engine.TableWriter(str(tmp_path / "c"), 4, "items", table.default_rows(), table.slots) as writer:
    for block in table.blocks():
      values = block.values.copy()
      for i in random.integers(0, len(block), 3):
        values[i, 1] += 2.0**-10 * (1 + len(changed))
        changed[int(block.keys[i])] = abs(float(values[i, 1]) - float(block.values[i, 1]))
      writer.write(block.keys, values, block.slots)
  (found,) = json.loads(call("diff", tmp_path / "a", tmp_path / "c", "--json", "--top", "3"))["tables"]
  assert found["changed_vector"] == len(changed) and found["unchanged"] == 40_000 - len(changed)
  assert found["largest"] == [[key, changed[key]] for key in sorted(changed, key=changed.get, reverse=True)[:3]]
  (found,) = json.loads(call("diff", tmp_path / "a", tmp_path / "c", "--json", "--tolerance", "1e6"))["tables"]
  assert found["unchanged"] == 40_000
  text = call("diff", tmp_path / "a", tmp_path / "a")
  assert "the same                  40,000" in text
  assert "40,000 rows" in text and "added                          0" in text


def test_a_number_that_is_none_is_no_limit(tmp_path):
  make(tmp_path / "t", [1])
  for number in ("nan", "inf", "-1"):
    for arguments in (("diff", tmp_path / "t", tmp_path / "t", "--tolerance"), ("prune", tmp_path / "t", "--out", tmp_path / "o", "--min-norm")):
      assert arguments[-1] in complaint(*arguments, number, code=2)


def test_diff_says_what_cannot_be_compared(tmp_path):
  make(tmp_path / "a", [1])
  make(tmp_path / "b", [1], dim=5)
  assert "dim: expected 3 in both, found 5" in complaint("diff", tmp_path / "a", tmp_path / "b")
  assert "expected table 'x', found: items" in complaint("diff", tmp_path / "a", tmp_path / "b", "--table", "x")
  make(tmp_path / "c", [1], slots=False)
  assert "slots only in A: Adagrad/accumulator" in call("diff", tmp_path / "a", tmp_path / "c", "--exit-code", code=1)
  for name in "xyz":
    os.mkdir(tmp_path / name)
  make(tmp_path / "x" / "t.data-eaaaa-of-aaaaa", [1], name="users")
  make(tmp_path / "x" / "t.data-eaaaa-of-aaaab", [1], name="items")
  make(tmp_path / "y" / "t.data-eaaaa-of-aaaaa", [1], name="items")
  text = call("diff", tmp_path / "x", tmp_path / "y", "--exit-code", code=1)
  assert "tables only in A: users" in text and "table items" in text


class TestPrune:
  def test_arguments(self, tmp_path):
    make(tmp_path / "t", [1, 2])
    assert "what is to go?" in complaint("prune", tmp_path / "t", "--out", tmp_path / "o", code=2)
    assert "--step is for --max-age" in complaint("prune", tmp_path / "t", "--out", tmp_path / "o", "--min-norm", 1, "--step", 3,
                                                  code=2)
    for option, what in (("--min-frequency", "frequencies"), ("--max-age", "versions")):
      message = complaint("prune", tmp_path / "t", "--out", tmp_path / "o", option, 1)
      assert f"table items: {option} needs {what}, which it does not record" in message
    assert "expected no such directory, or an empty one" in complaint("prune", tmp_path / "t", "--out", tmp_path, "--min-norm", 1)
    assert os.listdir(tmp_path) == ["t"]

  def test_counts_of_a_filter(self, tmp_path):
    with engine.TableWriter(str(tmp_path / "t"), 1, "t") as writer:
      writer.write([1], np.ones((1, 1), np.float32))
      writer.write_filtered(np.array([8, 9]), np.array([3, 4]), np.array([-1, 5]))
    call("prune", tmp_path / "t", "--out", tmp_path / "all", "--min-norm", 0)
    call("prune", tmp_path / "t", "--out", tmp_path / "none", "--drop-filtered")
    kept = [(b.keys.tolist(), b.frequencies.tolist(), b.versions.tolist())
            for b in _tables.find_table(str(tmp_path / "all")).filtered_blocks()]
    assert kept == [([8, 9], [3, 4], [-1, 5])]
    assert not list(_tables.find_table(str(tmp_path / "none")).filtered_blocks())
    assert _tables.find_table(str(tmp_path / "none")).rows == 1

  def test_damage_leaves_nothing(self, tmp_path):
    make(tmp_path / "t", range(9000))
    data = bytearray((tmp_path / "t").read_bytes())
    data[150_000] ^= 4
    (tmp_path / "t").write_bytes(data)
    assert "t @ " in complaint("prune", tmp_path / "t", "--out", tmp_path / "o", "--min-norm", 1)
    assert os.listdir(tmp_path) == ["t"]

  def test_other_variables_of_a_checkpoint_stay(self, tmp_path):
    import tensorflow as tf

    prefix = str(tmp_path / "a" / "model.ckpt-7")
    os.mkdir(tmp_path / "a")
    files = []
    for name, suffix in (("items", ".data-e1111-of-00000"), ("users", ".data-e2222-of-00000")):
      make(prefix + suffix, range(20), name=name, frequencies=range(20))
      reader = engine.TableReader(prefix + suffix)
      files.append(f"ev_tf table 1 {suffix} part=0/1 rows=20 bytes={reader.file_bytes} checksum={reader.checksum:08x}")
    tensors = {"items-table": tf.constant(files[:1]), "users-table": tf.constant(files[1:]), "w": tf.range(5.0),
               "note": tf.constant(["some", "texts"])}
    names, values = zip(*sorted(tensors.items()))
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * 4, tensors=values)
    call("prune", prefix, "--out", tmp_path / "b", "--table", "items", "--min-frequency", 15)
    shutil.rmtree(tmp_path / "a")
    latest = tf.train.latest_checkpoint(str(tmp_path / "b"))
    reader = tf.train.load_checkpoint(latest)
    assert reader.get_variable_to_shape_map() == {"items-table": [1], "users-table": [1], "w": [5], "note": [2]}
    np.testing.assert_array_equal(reader.get_tensor("w"), np.arange(5.0))
    assert reader.get_tensor("note").tolist() == [b"some", b"texts"]
    assert {t.name: t.rows for t in _tables.find_tables(latest)} == {"items": 5, "users": 20}
    assert b"rows=5 " in reader.get_tensor("items-table")[0]
    assert call("verify", latest).count("ok  ") == 3
    os.replace(latest + ".data-etool-of-00000", latest + ".data-etool-of-00001")
    make(latest + ".data-etool-of-00000", [1])
    text = call("verify", latest, code=1)
    assert text.count("the file is of another save") == 2 and "2 of 3 are damaged" in text
    bundle = _bundle.Bundle(latest)
    with open(bundle.file(0), "r+b") as file:
      file.seek(bundle.entries["w"].offset)
      file.write(b"\xff")
    assert "tensor w: crc: expected" in call("verify", latest, code=1)
