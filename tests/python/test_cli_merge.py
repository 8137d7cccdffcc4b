"""ev-tf merge: full saves and deltas as one checkpoint."""

import json
import os

import numpy as np
import pytest

from ev_tf import engine
from ev_tf.cli import _tables
from tests.python.test_cli_files import call, complaint

DIM = 3


class Chain:
  """A table that changes at random, and the files of its saves.

  Args:
    folder: path of the files.
    name: str, the variable's.
    keys: list of int that it may have.
    seed: int.
  """

  def __init__(self, folder, name, keys, seed):
    self._folder, self._keys = folder, np.asarray(keys, np.int64)
    self._random = np.random.default_rng(seed)
    self._ev = engine.EmbeddingVariable(DIM, np.ones((2, DIM), np.float32), name, record_frequency=True, record_version=True)
    self.files = []
    self.change(0)
    self.save(self._ev.save_base)

  def change(self, step):
    chosen = self._random.choice(self._keys, 10)
    self._ev.apply(engine.adagrad(0.1), chosen, self._random.standard_normal((10, DIM)).astype(np.float32), global_step=step)
    self._ev.remove(self._random.choice(self._keys, 3))

  def save(self, how):
    path = os.path.join(self._folder, f"{self._ev.name.replace('/', '_')}_{len(self.files)}")
    how(path)
    self.files.append(path)

  def grow(self, links):
    for link in range(1, links + 1):
      self.change(link)
      self.save(self._ev.save_delta)
    return self

  def rows(self):
    """{key: all that the table holds of it}."""
    keys = self._ev.keys()
    rows = self._ev.read_rows(keys)
    return {int(key): (rows["values"][j].tolist(), rows["slots"][j].tolist(), int(rows["frequencies"][j]),
                       int(rows["versions"][j])) for j, key in enumerate(keys)}


def read(directory, name):
  found = {}
  for block in _tables.find_table(str(directory), name).blocks():
    for j, key in enumerate(block.keys.tolist()):
      found[key] = (block.values[j].tolist(), block.slots[j].tolist(), int(block.frequencies[j]), int(block.versions[j]))
  return found


@pytest.fixture
def folder(tmp_path):
  os.mkdir(tmp_path / "saves")
  return tmp_path / "saves"


@pytest.mark.parametrize("seed", range(4))
def test_what_is_merged_is_the_state_of_the_last_save(folder, tmp_path, seed):
  seed += int(os.environ.get("EV_SEED", "1"))
  print(f"EV_SEED={seed}")
  chain = Chain(folder, "t", range(-15, 15), seed).grow(5)
  files = list(np.random.default_rng(seed).permutation(chain.files))
  text = call("merge", *files, "--out", tmp_path / "o")
  assert f"t: {len(chain.rows()):,} rows, of 6 files, 5 of them deltas" in text
  assert read(tmp_path / "o", "t") == chain.rows()
  assert "ok " in call("verify", tmp_path / "o")


def test_parts_stay_parts_and_tables_tables(folder, tmp_path):
  chains = [Chain(folder, f"t/part_{p}", [k for k in range(60) if k % 2 == p], p).grow(3) for p in (0, 1)]
  other = Chain(folder, "u", range(20), 9)
  call("merge", folder, "--out", tmp_path / "o")
  assert read(tmp_path / "o", "t") == {**chains[0].rows(), **chains[1].rows()}
  assert read(tmp_path / "o", "u") == other.rows()
  assert len(_tables.find_table(str(tmp_path / "o"), "t").parts) == 2


def test_a_merge_is_a_full_save_on_which_later_deltas_build(folder, tmp_path):
  chain = Chain(folder, "t", range(30), 5).grow(4)
  call("merge", *chain.files[:3], "--out", tmp_path / "half")
  call("merge", tmp_path / "half", *chain.files[3:], "--out", tmp_path / "o")
  assert read(tmp_path / "o", "t") == chain.rows()


def test_a_missing_link_is_an_error(folder, tmp_path):
  chain = Chain(folder, "t", range(30), 6).grow(3)
  for missing in (0, 1, 2):
    files = [file for i, file in enumerate(chain.files) if i != missing]
    complaint("merge", *files, "--out", tmp_path / "o")
  other = Chain(folder, "other", range(30), 7).grow(1)
  os.rename(other.files[1], folder / "lonely")
  assert "lonely" in complaint("merge", folder / "lonely", "--out", tmp_path / "o")
  assert not (tmp_path / "o").exists()


def test_other_commands_know_what_a_delta_is(folder, tmp_path):
  chain = Chain(folder, "t", range(30), 8).grow(2)
  assert call("verify", folder).count("ok ") == 3
  for command in (("inspect",), ("export", "--out", tmp_path / "x.csv"), ("prune", "--min-norm", 1, "--out", tmp_path / "o")):
    assert "expected a whole table, found delta 1" in complaint(*command, chain.files[1])
  (found,) = json.loads(call("inspect", chain.files[0], "--json"))
  assert found["name"] == "t" and found["rows"] > 0
  info = engine.inspect_table(chain.files[2])
  assert info["is_delta"] and info["sequence"] == 2 and info["base_id"] == engine.inspect_table(chain.files[0])["save_id"]


def test_a_damaged_delta_is_named(folder, tmp_path):
  chain = Chain(folder, "t", range(30), 9).grow(2)
  with open(chain.files[1], "r+b") as file:
    file.seek(200)
    byte = file.read(1)
    file.seek(200)
    file.write(bytes([byte[0] ^ 1]))
  assert f"{chain.files[1]} @ " in complaint("merge", folder, "--out", tmp_path / "o")
  text = call("verify", folder, code=1)
  assert text.count("ok ") == 2 and f"damaged  {chain.files[1]} @ " in text
  assert os.listdir(tmp_path) == ["saves"]


def test_arguments(folder, tmp_path):
  assert "Missing argument" in complaint("merge", "--out", tmp_path / "o", code=2)
  assert "found nothing" in complaint("merge", tmp_path / "none", "--out", tmp_path / "o")
  chain = Chain(folder, "t", range(30), 1)
  with pytest.raises(RuntimeError):
    engine.EmbeddingVariable(1, np.zeros((1, 1), np.float32)).save_delta(str(tmp_path / "d"))
  assert "expected no such directory" in complaint("merge", *chain.files, "--out", folder)
