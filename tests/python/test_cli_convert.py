"""ev-tf convert: tables of DeepRec, DynamicEmb and TFRA."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from ev_tf.cli import _tables
from tests.python.test_cli_files import call, complaint

DIM = 4
NONE = np.empty(0, np.int64)


def read(directory, name=None):
  """{key: (vector, slots, frequency, version)} of a converted table."""
  found = {}
  for block in _tables.find_table(str(directory), name).blocks():
    for j, key in enumerate(block.keys.tolist()):
      numbers = (None if c is None else int(c[j]) for c in (block.frequencies, block.versions))
      found[key] = (block.values[j].tolist(), block.slots[j].tolist(), *numbers)
  return found


def save_bundle(prefix, tensors):
  names, values = zip(*sorted(tensors.items()))
  tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names),
                    tensors=[tf.constant(value) for value in values])


def by_bucket(keys):
  """Keys in the order in which DeepRec saves them, and where its buckets begin."""
  buckets = keys % 1000
  return keys[np.argsort(buckets, kind="stable")], np.searchsorted(np.sort(buckets), np.arange(1001)).astype(np.int32)


def deeprec(name, keys, slots=(), seed=0, freqs=True, key_dtype=np.int64):
  """The tensors of one EV, and {key: (vector, slots in order)}."""
  random = np.random.default_rng(seed)
  keys, offsets = by_bucket(np.asarray(keys))
  values = random.standard_normal((len(keys), DIM)).astype(np.float32)
  tensors = {f"{name}-keys": keys.astype(key_dtype), f"{name}-values": values, f"{name}-partition_offset": offsets,
             f"{name}-freqs": keys % 7 if freqs else NONE, f"{name}-versions": keys % 5 - 1 if freqs else NONE}
  states = []
  for slot in slots:
    state = random.random((len(keys), DIM)).astype(np.float32)
    states.append(state)
    tensors |= {f"{name}/{slot}-keys": keys.astype(key_dtype), f"{name}/{slot}-values": state,
                f"{name}/{slot}-freqs": NONE, f"{name}/{slot}-versions": NONE, f"{name}/{slot}-partition_offset": offsets}
  rows = {int(key): (values[j].tolist(), [x for state in states for x in state[j].tolist()]) for j, key in enumerate(keys)}
  return tensors, rows


class TestDeepRec:
  @pytest.mark.parametrize("partitions", [1, 3])
  def test_parts_slots_counts_and_filtered_ids(self, tmp_path, partitions):
    first, rows = deeprec("emb/part_0", np.arange(0, 200, 2), ("Adam", "Adam_1"))
    second, more = deeprec("emb/part_1", np.arange(1, 200, 2), ("Adam", "Adam_1"), seed=1)
    first |= {"emb/part_0-keys_filtered": np.array([500, 502]), "emb/part_0-freqs_filtered": np.array([1, 2]),
              "emb/part_0-versions_filtered": np.array([3, 4])}
    other, others = deeprec("plain", [7, 9], freqs=False, key_dtype=np.int32)
    save_bundle(tmp_path / "model.ckpt", first | second | other | {"global_step": np.int64(7)})
    text = call("convert", tmp_path / "model.ckpt", "--out", tmp_path / "o", "--partitions", partitions)
    assert "emb: 200 rows of 4, Adam/m, Adam/v" in text and "plain: 2 rows of 4, no slots" in text
    expected = {key: (*row, key % 7, key % 5 - 1) for key, row in (rows | more).items()}
    assert read(tmp_path / "o", "emb") == expected
    assert read(tmp_path / "o", "plain") == {key: (*row, None, None) for key, row in others.items()}
    table = _tables.find_table(str(tmp_path / "o"), "emb")
    assert len(table.parts) == partitions
    filtered = [row for block in table.filtered_blocks()
                for row in zip(block.keys.tolist(), block.frequencies.tolist(), block.versions.tolist())]
    assert sorted(filtered) == [(500, 1, 3), (502, 2, 4)]

  def test_slots_with_other_keys_than_the_rows(self, tmp_path):
    tensors, rows = deeprec("emb", range(10), ("Adagrad",))
    state = tensors["emb/Adagrad-values"][::-1][:-1]  # in another order, and without key 0
    tensors |= {"emb/Adagrad-keys": np.concatenate([tensors["emb/Adagrad-keys"][::-1][:-1], [77]]),
                "emb/Adagrad-values": np.concatenate([state, state[:1]])}
    save_bundle(tmp_path / "m", tensors)
    assert "note: emb/Adagrad: 1 of 10 ids have no slot there and get 0.1" in call("convert", tmp_path / "m", "--out", tmp_path / "o")
    found = read(tmp_path / "o")
    assert found.keys() == rows.keys()
    assert found[0][1] == np.full(DIM, 0.1, np.float32).tolist()
    assert all(found[key][:2] == rows[key] for key in range(1, 10))

  def test_a_choice_of_tables_and_no_slots(self, tmp_path):
    tensors = deeprec("a", [1], ("Ftrl", "Ftrl_1"))[0] | deeprec("b", [2])[0]
    save_bundle(tmp_path / "m", tensors)
    call("convert", tmp_path / "m", "--out", tmp_path / "o", "--table", "a", "--no-slots")
    (table,) = _tables.find_tables(str(tmp_path / "o"))
    assert (table.name, table.slots) == ("a", [])
    assert "expected table c, found a, b" in complaint("convert", tmp_path / "m", "--out", tmp_path / "p", "--table", "c")

  def test_a_table_whose_name_looks_like_a_slot(self, tmp_path):
    save_bundle(tmp_path / "m", deeprec("user", [1])[0] | deeprec("user/history", [2])[0])
    call("convert", tmp_path / "m", "--out", tmp_path / "o")
    assert [table.name for table in _tables.find_tables(str(tmp_path / "o"))] == ["user", "user/history"]

  def test_damage_is_named_and_leaves_nothing(self, tmp_path):
    save_bundle(tmp_path / "m", deeprec("emb", range(100))[0])
    file = tmp_path / "m.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    for place in (5, 900, 6000, len(data) - 40):  # counts, keys, vectors, versions
      damaged = bytearray(data)
      damaged[place] ^= 1
      file.write_bytes(damaged)
      message = complaint("convert", tmp_path / "m", "--out", tmp_path / "o")
      assert f"{file} @ " in message and "crc: expected" in message
    file.write_bytes(data[:1000])
    assert "is the file cut short?" in complaint("convert", tmp_path / "m", "--out", tmp_path / "o")
    os.unlink(file)
    assert "No such file" in complaint("convert", tmp_path / "m", "--out", tmp_path / "o")
    (tmp_path / "m.index").write_bytes(b"x" * 100)
    assert "expected the index of a TensorFlow checkpoint" in complaint("convert", tmp_path / "m", "--out", tmp_path / "o")
    assert os.listdir(tmp_path) == ["m.index"]

  def test_what_is_not_read_is_refused(self, tmp_path):
    save_bundle(tmp_path / "m", deeprec("emb", range(5))[0])
    (tmp_path / "m-emb-ssd_record.index").write_text("")
    assert "rows of DeepRec's SSD tier" in complaint("convert", tmp_path / "m", "--out", tmp_path / "o")
    save_bundle(tmp_path / "n", {"w": np.arange(3.0)})
    assert "expected tables, found none" in complaint("convert", tmp_path / "n", "--out", tmp_path / "o")
    bad = deeprec("emb", range(5))[0]
    save_bundle(tmp_path / "p", bad | {"emb-values": bad["emb-values"][:3]})
    assert "expected integers [n] and floats [n, dim], found int64 [5] and float32 [3, 4]" in complaint(
        "convert", tmp_path / "p", "--out", tmp_path / "o")
    save_bundle(tmp_path / "q", deeprec("e/part_0", [5])[0] | deeprec("e/part_1", [5])[0])
    assert "table e: expected distinct ids, found 1" in complaint("convert", tmp_path / "q", "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def dump(folder, table, world=2, width=0, seed=0, scores=None, strategy=None):
  """A DynamicEmb dump; {key: (vector, optimizer's floats)}."""
  os.makedirs(folder, exist_ok=True)
  random = np.random.default_rng(seed)
  rows = {}
  for rank in range(world):
    keys = np.arange(rank - 10, 50, world)
    values = random.standard_normal((len(keys), DIM)).astype(np.float32)
    state = random.random((len(keys), width)).astype(np.float32)
    parts = dict(emb_keys=keys, emb_values=values)
    if width:
      parts["emb_opt_values"] = state
    if scores is not None:
      parts["emb_scores"] = scores(keys).astype(np.uint64)
    for what, array in parts.items():
      array.tofile(os.path.join(folder, f"{table}_{what}.rank_{rank}.world_size_{world}"))
    rows.update({int(k): (values[j].tolist(), state[j].tolist()) for j, k in enumerate(keys)})
  with open(os.path.join(folder, f"{table}_opt_args.json"), "w") as file:
    json.dump({"evict_strategy": strategy} if strategy else {}, file)
  return rows


class TestDynamicEmb:
  @pytest.mark.parametrize("width, names", [(0, []), (1, ["RowWiseAdagrad/accumulator"]), (DIM, ["Adagrad/accumulator"]),
                                            (2 * DIM, ["Adam/m", "Adam/v"])])
  def test_rows_and_state(self, tmp_path, width, names):
    rows = dump(tmp_path / "d" / "model.ebc", "items", world=3, width=width)
    call("convert", tmp_path / "d", "--out", tmp_path / "o", "--partitions", 2)
    assert read(tmp_path / "o") == {key: (*row, None, None) for key, row in rows.items()}
    assert [slot.name for slot in _tables.find_table(str(tmp_path / "o")).slots] == names

  def test_scores(self, tmp_path):
    rows = dump(tmp_path / "d", "items", scores=lambda keys: keys + 10, strategy="EvictStrategy.KLfu")
    for options, frequency, version in (((), True, False), (("--scores", "version"), False, True), (("--scores", "none"), False, False)):
      out = tmp_path / "_".join(("o", *options))
      call("convert", tmp_path / "d", "--out", out, *options)
      assert read(out) == {key: (*row, key + 10 if frequency else None, key + 10 if version else None) for key, row in rows.items()}

  def test_counters_are_counts_of_a_filter(self, tmp_path):
    dump(tmp_path / "d", "items", world=1)
    np.array([1000, 1001]).tofile(tmp_path / "d" / "items_counter_keys.rank_0.world_size_1")
    np.array([3, 4]).tofile(tmp_path / "d" / "items_counter_frequencies.rank_0.world_size_1")
    call("convert", tmp_path / "d", "--out", tmp_path / "o")
    (block,) = _tables.find_table(str(tmp_path / "o")).filtered_blocks()
    assert (block.keys.tolist(), block.frequencies.tolist()) == ([1000, 1001], [3, 4])

  def test_one_name_in_two_modules(self, tmp_path):
    dump(tmp_path / "d" / "deep", "items")
    dump(tmp_path / "d" / "seq", "items")
    call("convert", tmp_path / "d", "--out", tmp_path / "o")
    assert [table.name for table in _tables.find_tables(str(tmp_path / "o"))] == ["deep/items", "seq/items"]

  def test_damage(self, tmp_path):
    dump(tmp_path / "d", "items", world=2, width=3)
    assert "expected 1, 4 or 8 as RowWiseAdagrad, Adagrad and Adam have, found 3" in complaint(
        "convert", tmp_path / "d", "--out", tmp_path / "o")
    values = tmp_path / "d" / "items_emb_values.rank_1.world_size_2"
    data = values.read_bytes()
    for cut, message in ((3, "expected a multiple of 4 bytes"), (4, "for 30 keys")):
      values.write_bytes(data[:-cut])
      assert f"{values}: size of the file: " in (found := complaint("convert", tmp_path / "d", "--out", tmp_path / "o", "--no-slots"))
      assert message in found
    os.unlink(values)
    assert "No such file" in complaint("convert", tmp_path / "d", "--out", tmp_path / "o", "--no-slots")
    os.unlink(tmp_path / "d" / "items_emb_keys.rank_1.world_size_2")
    assert "expected the files of ranks 0 to 1 of 2, found 0 of 2" in complaint("convert", tmp_path / "d", "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


class TestTfra:
  def shards(self, folder, count=2, key_dtype=np.int64):
    os.makedirs(folder, exist_ok=True)
    rows = {}
    for shard in range(count):
      keys = np.arange(shard, 30, count).astype(key_dtype)
      values = np.random.default_rng(shard).standard_normal((len(keys), DIM)).astype(np.float32)
      stem = os.path.join(folder, f"emb_mht_{shard + 1}of{count}_rank0_size1")
      keys.tofile(f"{stem}-keys")
      values.tofile(f"{stem}-values")
      rows.update({int(k): (values[j].tolist(), [], None, None) for j, k in enumerate(keys)})
    return rows

  @pytest.mark.parametrize("dtype", ["int64", "int32"])
  def test_files(self, tmp_path, dtype):
    rows = self.shards(tmp_path / "TFRADynamicEmbedding", key_dtype=dtype)
    call("convert", tmp_path, "--out", tmp_path / "o", "--key-dtype", dtype)
    assert read(tmp_path / "o", "emb") == rows

  def test_tensors_of_a_checkpoint(self, tmp_path):
    first, second = (np.random.default_rng(i).standard_normal((3, DIM)).astype(np.float32) for i in (0, 1))
    save_bundle(tmp_path / "m", {"emb_mht_1of2-keys": np.array([0, 2, 4]), "emb_mht_1of2-values": first,
                                 "emb_mht_2of2-keys": np.array([1, 3, 5]), "emb_mht_2of2-values": second})
    call("convert", tmp_path / "m", "--out", tmp_path / "o")
    found = read(tmp_path / "o", "emb")
    assert found[4][0] == first[2].tolist() and found[1][0] == second[0].tolist() and len(found) == 6

  def test_damage(self, tmp_path):
    self.shards(tmp_path / "d")
    values = tmp_path / "d" / "emb_mht_2of2_rank0_size1-values"
    values.write_bytes(values.read_bytes()[:-4])
    assert "size of the file: expected a multiple of 60 bytes for 15 keys" in complaint("convert", tmp_path / "d", "--out", tmp_path / "o")
    os.unlink(values)
    assert "emb_mht_2of2_rank0_size1-values: No such file" in complaint("convert", tmp_path / "d", "--out", tmp_path / "o")


def test_what_it_is_not(tmp_path):
  os.mkdir(tmp_path / "empty")
  assert "found none of them" in complaint("convert", tmp_path / "empty", "--out", tmp_path / "o")
  assert "found nothing" in complaint("convert", tmp_path / "none", "--out", tmp_path / "o")
  assert "Missing option" in complaint("convert", tmp_path / "empty", code=2)
