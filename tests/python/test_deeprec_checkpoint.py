"""Checkpoints that DeepRec reads, and those that it writes."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import train

v1 = tf.compat.v1
IDS = np.concatenate([np.arange(-30, 30) * 37, [7, 7, 1007, 1 << 40]])
OPTIMIZERS = {
    "sgd": lambda: v1.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: v1.train.MomentumOptimizer(0.1, 0.9),
    "adagrad": lambda: v1.train.AdagradOptimizer(0.1, 0.5),
    "adam": lambda: v1.train.AdamOptimizer(0.01),
    "ftrl": lambda: v1.train.FtrlOptimizer(0.1),
    "adagrad_decay": lambda: train.AdagradDecayOptimizer(0.1, v1.train.get_or_create_global_step(), 0.1, 2, 0.5),
}


def parted(parts):
  return v1.fixed_size_partitioner(parts) if parts else None


class Program:
  """A table, a dense weight and an optimizer; steps bring ids in turn, and there are some that come only later."""

  def __init__(self, graph, optimizer, parts=None, **option):
    self.graph = graph
    self.step = v1.train.get_or_create_global_step()
    option = ev_tf.EmbeddingVariableOption(record_frequency=True, record_version=True, **option)
    self.ev = ev_tf.get_embedding_variable("emb/items", 4, partitioner=parted(parts), ev_option=option,
                                           initializer=v1.random_uniform_initializer(seed=5))
    w = v1.get_variable("w", [4], initializer=v1.constant_initializer([1.0, -1.0, 0.5, 2.0]))
    self.ids = v1.placeholder(tf.int64, [None])
    self.loss = tf.reduce_mean(tf.square(tf.linalg.matvec(tf.gather(self.ev, self.ids), w) - 1.0))
    self.train_op = optimizer.minimize(self.loss, global_step=self.step)
    self.content = [self.ev.export(), self.ev.get_frequency(IDS), self.ev.get_version(IDS)]

  def losses(self, steps):
    return [self.graph.run([self.loss, self.train_op], {self.ids: IDS[i % 3::3]})[0] for i in steps]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("saved, restored", [(None, 3), (2, None), (3, 2)])
def test_what_is_saved_for_deeprec_trains_on_as_if_nothing_had_been(optimizer, saved, restored, new_graph, tmp_path):
  with new_graph() as graph:
    program = Program(graph, OPTIMIZERS[optimizer](), saved)
    saver = train.Saver(checkpoint_format="deeprec")
    graph.initialize()
    program.losses(range(4))
    path = saver.save(graph.session, str(tmp_path / "m.ckpt"))
    expected = program.losses(range(4, 9))
    after = graph.run(program.content[1:])
  assert not [name for name in tmp_path.iterdir() if ".data-e" in str(name)]
  with new_graph() as graph:
    program = Program(graph, OPTIMIZERS[optimizer](), restored)
    v1.train.Saver().restore(graph.session, path)  # a stock one sees by itself what it reads
    np.testing.assert_allclose(program.losses(range(4, 9)), expected, rtol=1e-6)
    np.testing.assert_array_equal(graph.run(program.content[1:]), after)


def test_the_tensors_are_deeprecs(new_graph, tmp_path):
  with new_graph() as graph:
    program = Program(graph, v1.train.AdamOptimizer(0.01), 2, filter_option=ev_tf.CounterFilter(2))
    saver = train.Saver(checkpoint_format="deeprec")
    graph.initialize()
    graph.run(program.train_op, {program.ids: [5, 5, 1005, 1005, -995, -995, 4, 4, 9, 2]})
    path = saver.save(graph.session, str(tmp_path / "m.ckpt"))
  reader = tf.train.load_checkpoint(path)
  suffixes = ("keys", "values", "freqs", "versions", "partition_offset", "keys_filtered", "freqs_filtered", "versions_filtered",
              "partition_filter_offset")
  tables = [f"emb/items/part_{i}{slot}" for i in range(2) for slot in ("", "/Adam", "/Adam_1")]
  tensors = {f"{table}-{suffix}" for table in tables for suffix in suffixes}
  assert set(reader.get_variable_to_shape_map()) == tensors | {"w", "w/Adam", "w/Adam_1", "beta1_power", "beta2_power",
                                                              "global_step"}
  get = lambda suffix, slot="": reader.get_tensor(f"emb/items/part_1{slot}-{suffix}")
  assert get("keys").tolist() == [-995, 5, 1005] and get("keys").dtype == np.int64
  assert get("freqs").tolist() == [2, 2, 2] and get("versions").tolist() == [0, 0, 0]
  assert get("partition_offset").dtype == np.int32
  assert get("partition_offset").tolist() == [0] * 6 + [3] * 995
  assert (get("keys_filtered").tolist(), get("freqs_filtered").tolist()) == ([9], [1])
  assert get("partition_filter_offset").tolist() == [0] * 10 + [1] * 991
  assert get("values").shape == get("values", "/Adam").shape == get("values", "/Adam_1").shape == (3, 4)
  assert get("keys", "/Adam_1").tolist() == [-995, 5, 1005]
  assert np.all(get("values", "/Adam_1") > 0), "the second moment"


def write_bundle(path, tensors):
  """A checkpoint as TensorFlow writes it, with tensors of any names."""
  names = sorted(tensors)
  with tf.Graph().as_default(), v1.Session() as session:
    session.run(tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=[""] * len(names),
                                  tensors=[tf.constant(tensors[name]) for name in names]))
  return str(path)


def ids_of_part(ids, part, parts):
  return sorted((i for i in ids if i % 1000 % parts == part), key=lambda i: (i % 1000, i))


def offsets(ids):
  return np.searchsorted([i % 1000 for i in ids], np.arange(1001)).astype(np.int32)


def variable_of_deeprec(name, rows, versions=None, freqs=None, parts=1, with_offsets=True, filtered=(), key_dtype=np.int64):
  """DeepRec's tensors of {id: row}. name: "e", or "e|Adagrad" for a slot of e. filtered: (id, freq, version) each."""
  tensors, (whole, _, slot) = {}, name.partition("|")
  counted = {i: (freq, version) for i, freq, version in filtered}
  for part in range(parts):
    own = (f"{whole}/part_{part}" if parts > 1 else whole) + (f"/{slot}" if slot else "")
    keys, missing = ids_of_part(rows, part, parts), ids_of_part(counted, part, parts)
    tensors.update({
        f"{own}-keys": np.array(keys, key_dtype),
        f"{own}-values": np.array([rows[i] for i in keys], np.float32).reshape(len(keys), len(next(iter(rows.values())))),
        f"{own}-freqs": np.array([freqs[i] for i in keys] if freqs else [], np.int64),
        f"{own}-versions": np.array([versions[i] for i in keys] if versions else [], np.int64)})
    if with_offsets:
      tensors.update({
          f"{own}-partition_offset": offsets(keys), f"{own}-partition_filter_offset": offsets(missing),
          f"{own}-keys_filtered": np.array(missing, key_dtype),
          f"{own}-freqs_filtered": np.array([counted[i][0] for i in missing], np.int64),
          f"{own}-versions_filtered": np.array([counted[i][1] for i in missing], np.int64)})
  return tensors


def some_rows(rng, ids):
  return {int(i): rng.normal(size=4).astype(np.float32) for i in ids}


class Oracle:
  """Adagrad on a dictionary: what DeepRec trains."""

  def __init__(self, rows, sums):
    self.rows, self.sums = dict(rows), dict(sums)

  def step(self, ids, lr):
    """The loss is the sum of squares of the rows of ids, duplicates counted."""
    for i in set(ids):
      grad = 2 * self.rows[i] * np.float32(list(ids).count(i))
      self.sums[i] = self.sums[i] + grad**2
      self.rows[i] = self.rows[i] - np.float32(lr) * grad / np.sqrt(self.sums[i])


@pytest.mark.parametrize("saved, restored, key_dtype", [(1, None, np.int64), (1, 2, np.int32), (3, None, np.int64), (2, 5, np.int64)])
def test_training_goes_on_from_what_deeprec_wrote(saved, restored, key_dtype, graph, tmp_path, rng):
  ids = np.array([0, 1, 2, 17, 999, 1000, 1017, 123456, 7, 5003])
  rows, sums = some_rows(rng, ids), {i: np.abs(row) + 0.1 for i, row in some_rows(rng, ids).items()}
  freqs, versions = ({int(i): int(n) for i, n in zip(ids, rng.integers(1, 9, len(ids)))} for _ in range(2))
  path = write_bundle(tmp_path / "model.ckpt-9", {
      **variable_of_deeprec("e", rows, versions, freqs, saved, key_dtype=key_dtype),
      **variable_of_deeprec("e|Adagrad", sums, versions, freqs, saved, key_dtype=key_dtype),
      "global_step": np.int64(9)})
  option = ev_tf.EmbeddingVariableOption(record_frequency=True, record_version=True)
  ev = ev_tf.get_embedding_variable("e", 4, partitioner=parted(restored), ev_option=option)
  step, batch = v1.train.get_or_create_global_step(), v1.placeholder(tf.int64, [None])
  train_op = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.square(tf.gather(ev, batch))), global_step=step)
  gathered, counts, at = tf.gather(ev, ids), ev.get_frequency(ids), ev.get_version(ids)
  v1.train.Saver().restore(graph.session, path)
  np.testing.assert_array_equal(graph.run(gathered), [rows[int(i)] for i in ids])
  assert graph.run(counts).tolist() == [freqs[int(i)] for i in ids]
  assert graph.run(at).tolist() == [versions[int(i)] for i in ids]
  oracle = Oracle(rows, sums)
  for _ in range(5):
    chosen = rng.choice(ids[1:], 6)
    graph.run(train_op, {batch: chosen})
    oracle.step(chosen.tolist(), 0.1)
  np.testing.assert_allclose(graph.run(gathered), [oracle.rows[int(i)] for i in ids], rtol=1e-5, atol=1e-6)
  assert graph.run(at)[0] == versions[0] and graph.run(step) == 14


def test_the_old_form_and_slots_of_other_keys(graph, tmp_path, rng):
  rows = some_rows(rng, [3, 1, 2])
  m = some_rows(rng, [1, 2, 77])  # a slot that was saved at another moment
  path = write_bundle(tmp_path / "m", {**variable_of_deeprec("e", rows, with_offsets=False),
                                       **variable_of_deeprec("e|Momentum", m, with_offsets=False)})
  ev = ev_tf.get_embedding_variable("e", 4)
  optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
  optimizer.minimize(tf.reduce_sum(tf.gather(ev, tf.constant([1], tf.int64))))
  v1.train.Saver().restore(graph.session, path)
  keys, slots = graph.run(optimizer.get_slot(ev, "momentum").export())
  found = {int(key): slot for key, slot in zip(keys, slots)}
  assert set(found) == {1, 2, 3}
  for key in (1, 2):
    np.testing.assert_array_equal(found[key], m[key])
  np.testing.assert_array_equal(found[3], np.zeros(4))


def test_counts_of_a_filter(new_graph, tmp_path, rng):
  rows = some_rows(rng, [3])
  path = write_bundle(tmp_path / "m", variable_of_deeprec("e", rows, freqs={3: 9}, filtered=[(8, 2, 4), (-1, 1, -1)]))
  for parts in (None, 3):
    with new_graph() as graph:
      option = ev_tf.EmbeddingVariableOption(filter_option=ev_tf.CounterFilter(3))
      ev = ev_tf.get_embedding_variable("e", 4, ev_option=option, partitioner=parted(parts))
      v1.train.Saver().restore(graph.session, path)
      assert graph.run(ev.get_frequency(tf.constant([3, 8, -1, 5], tf.int64))).tolist() == [9, 2, 1, 0]
      assert graph.run(ev.size()) == 1


def test_a_session_starts_from_a_directory_of_deeprecs(new_graph, tmp_path, rng):
  rows = some_rows(rng, [3, 5])
  write_bundle(tmp_path / "model.ckpt-7", {**variable_of_deeprec("e", rows), "global_step": np.int64(7)})
  v1.train.update_checkpoint_state(str(tmp_path), str(tmp_path / "model.ckpt-7"))
  with new_graph():
    ev = ev_tf.get_embedding_variable("e", 4, initializer=v1.ones_initializer())
    step = v1.train.get_or_create_global_step()
    gathered = tf.gather(ev, tf.constant([3, 5, 6], tf.int64))
    with v1.train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path)) as session:
      found, at = session.run([gathered, step])
  np.testing.assert_array_equal(found, [rows[3], rows[5], np.ones(4)])
  assert at == 7


@pytest.mark.parametrize("how", ["option", "warm start"])
def test_first_content(how, new_graph, tmp_path, rng):
  rows = some_rows(rng, [3, 5])
  path = write_bundle(tmp_path / "m", {**variable_of_deeprec("e", rows, parts=2), **variable_of_deeprec("e|Adagrad", rows, parts=2)})
  option = ev_tf.EmbeddingVariableOption(ckpt=ev_tf.CheckpointOption(path, "e") if how == "option" else None)
  with new_graph() as graph:
    ev = ev_tf.get_embedding_variable("mine", 4, ev_option=option)
    if how == "warm start":
      v1.train.init_from_checkpoint(path, {"e": ev})
    graph.initialize()
    np.testing.assert_array_equal(graph.run(tf.gather(ev, tf.constant([3, 5], tf.int64))), [rows[3], rows[5]])
    if how == "option":
      keys, slots = graph.run(ev.export_slot("Adagrad/accumulator"))
      np.testing.assert_array_equal(slots, [rows[int(key)] for key in keys])


def test_each_refusal_has_its_words(new_graph, tmp_path, rng):
  rows = some_rows(rng, [3, 5])
  good = variable_of_deeprec("e", rows)
  cases = [
      ({**good, "e-values": np.ones([3, 4], np.float32)}, "tensor e-values: expected float .2,any., found float .3,4."),
      ({**good, "e-values": np.ones([2, 4], np.int32)}, "tensor e-values: expected float .2,any., found int32 .2,4."),
      ({**good, "e-keys": np.array([3.0, 5.0])}, "tensor e-keys: expected a vector of int64 or int32, found double .2."),
      ({**good, "e-keys": np.array([3, 3])}, "tensor e-keys: expected distinct keys, found 2 of which 1 are distinct"),
      ({**good, "e-freqs": np.array([3])}, "tensor e-freqs: expected 2 int64, found int64 .1."),
      ({**good, **variable_of_deeprec("e|Adagrad", {3: np.ones(5)})}, "tensor e/Adagrad-values: expected float .any, 1 to 4."),
      ({**good, "e-values": np.ones([2, 6], np.float32)}, "tensor e-values: dim: expected 4 as variable 'e' has, found 6"),
      ({"f-keys": np.array([1])}, "has no table of variable 'e'"),
  ]
  for i, (tensors, message) in enumerate(cases):
    path = write_bundle(tmp_path / f"m{i}", tensors)
    with new_graph() as graph:
      ev = ev_tf.get_embedding_variable("e", 4, initializer=v1.ones_initializer())
      graph.initialize()
      with pytest.raises(tf.errors.OpError, match=message):
        v1.train.Saver().restore(graph.session, path)
      assert graph.run(ev.size()) == 0, "nothing is loaded half"
  path = write_bundle(tmp_path / "ssd", good)
  (tmp_path / "ssd-e-ssd_record.index").touch()
  with new_graph() as graph:
    ev_tf.get_embedding_variable("e", 4)
    with pytest.raises(tf.errors.UnimplementedError, match="ssd-e-ssd_record.index: rows of an SSD tier of DeepRec's are not"):
      v1.train.Saver().restore(graph.session, path)
  with pytest.raises(ValueError, match="checkpoint_format: expected one of"):
    train.Saver(checkpoint_format="other")


def test_another_dim_by_the_environment(graph, tmp_path, rng, monkeypatch):
  rows = some_rows(rng, [3, 5])
  path = write_bundle(tmp_path / "m", {**variable_of_deeprec("e", rows), **variable_of_deeprec("e|Adagrad", rows)})
  monkeypatch.setenv("TF_EV_RESTORE_CUSTOM_DIM", "1")
  ev = ev_tf.get_embedding_variable("e", 6, initializer=v1.ones_initializer())
  v1.train.Saver().restore(graph.session, path)
  found = graph.run(tf.gather(ev, tf.constant([3, 5], tf.int64)))
  np.testing.assert_array_equal(found, [[*rows[3], 1, 1], [*rows[5], 1, 1]])
  keys, slots = graph.run(ev.export_slot("Adagrad/accumulator"))
  np.testing.assert_allclose(slots, [[*rows[int(key)], 0.1, 0.1] for key in keys])
