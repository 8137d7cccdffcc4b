"""What `ev-tf` writes is taken by variables, and what they save is read by it."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import table_file
from tests.python.test_cli_files import call, complaint
from tests.python.test_cli_import import vectors, write_parquet

DIM = 4


@pytest.fixture
def imported(tmp_path):
  """(prefix of a checkpoint that `import` made, ids, vectors)."""
  ids = np.array([7, -3, 0, 999, 1000, 2**62, np.iinfo(np.int64).min])
  write_parquet(tmp_path / "t.parquet", ids, vectors(len(ids)))
  call("import", tmp_path / "t.parquet", "--out", tmp_path / "start", "--name", "items", "--partitions", 3, "--version", 5)
  return tf.train.latest_checkpoint(str(tmp_path / "start")), ids, vectors(len(ids))


def lookup(ev, ids):
  return tf.nn.embedding_lookup(ev, tf.constant(ids))


class TestImport:
  @pytest.mark.parametrize("parts", [1, 2])
  def test_a_variable_starts_with_it(self, imported, graph, parts):
    prefix, ids, rows = imported
    option = ev_tf.EmbeddingVariableOption(ckpt=ev_tf.CheckpointOption(ckpt_to_load_from=prefix))
    partitioner = tf.compat.v1.fixed_size_partitioner(parts) if parts > 1 else None
    ev = ev_tf.get_embedding_variable("items", DIM, ev_option=option, partitioner=partitioner)
    graph.initialize()
    np.testing.assert_array_equal(graph.run(lookup(ev, ids)), rows)
    other = graph.run(lookup(ev, [4]))
    assert 0 < abs(other).max() <= 2 * DIM**-0.5

  def test_a_saver_restores_it_and_training_goes_on(self, imported, graph):
    prefix, ids, rows = imported
    ev = ev_tf.get_embedding_variable("items", DIM)
    optimizer = tf.compat.v1.train.AdagradOptimizer(1.0)
    train = optimizer.minimize(tf.reduce_sum(lookup(ev, ids[:2])), var_list=[ev])
    saver = tf.compat.v1.train.Saver([ev])
    graph.initialize()
    saver.restore(graph.session, prefix)
    np.testing.assert_array_equal(graph.run(lookup(ev, ids)), rows)
    graph.run(train)
    expected = rows[:2] - 1.0 / np.sqrt(1.1, dtype=np.float32)
    np.testing.assert_allclose(graph.run(lookup(ev, ids[:2])), expected, rtol=1e-5)
    np.testing.assert_array_equal(graph.run(lookup(ev, ids[2:])), rows[2:])

  def test_rows_without_a_version_do_not_leave_at_once(self, imported, tmp_path, new_graph):
    """At step 1,000,000 with steps_to_live 10: rows at version 5 leave at the first save, rows without a version stay."""
    _, ids, rows = imported
    call("import", tmp_path / "t.parquet", "--out", tmp_path / "plain", "--name", "items")
    for folder, left in (("start", 0), ("plain", len(ids))):
      with new_graph() as graph:
        step = tf.compat.v1.train.get_or_create_global_step()
        option = ev_tf.EmbeddingVariableOption(evict_option=ev_tf.GlobalStepEvict(10))
        ev = ev_tf.get_embedding_variable("items", DIM, ev_option=option)
        optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.0)
        train = optimizer.minimize(tf.reduce_sum(lookup(ev, [12345])), var_list=[ev], global_step=step)
        saver = tf.compat.v1.train.Saver([ev])
        graph.initialize()
        saver.restore(graph.session, str(tmp_path / folder / "model.ckpt-0"))
        graph.run(step.assign(1_000_000))
        graph.run(train)
        saver.save(graph.session, str(tmp_path / f"after_{folder}"))
      (found,) = json.loads(call("inspect", tmp_path / f"after_{folder}", "--json"))
      assert found["rows"] == left + 1


class TestIncrements:
  @pytest.fixture
  def saved(self, tmp_path, new_graph):
    """Prefixes: of a full checkpoint, of two increments on it, and of a full one of the same moment as the last."""
    with new_graph() as graph:
      step = tf.compat.v1.train.get_or_create_global_step()
      ids = tf.compat.v1.placeholder(tf.int64, [None])
      items = ev_tf.get_embedding_variable("items", DIM, partitioner=tf.compat.v1.fixed_size_partitioner(2),
                                           ev_option=ev_tf.EmbeddingVariableOption(filter_option=ev_tf.CounterFilter(2)))
      users = ev_tf.get_embedding_variable("users", 3)
      dense = tf.compat.v1.get_variable("w", initializer=tf.range(3.0))
      loss = tf.add_n([tf.reduce_sum(tf.gather(table, ids)) for table in (items, users)]) + tf.reduce_sum(dense)
      train = tf.compat.v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
      saver, plain = ev_tf.train.IncrementalSaver(), tf.compat.v1.train.Saver()
      graph.initialize()
      prefixes, path = [], str(tmp_path / "run" / "model.ckpt")
      for save in (saver.save, saver.incremental_save, saver.incremental_save):
        for _ in range(3):
          graph.run(train, {ids: np.arange(20) + 7 * len(prefixes)})
        graph.run(users.remove([0, len(prefixes)]))
        prefixes.append(save(graph.session, path, global_step=step))
      return [*prefixes, plain.save(graph.session, str(tmp_path / "whole" / "model.ckpt"))]

  @pytest.mark.parametrize("given", [[2], [0, 1, 2], [2, 0]])
  def test_the_last_one_is_the_whole_chain(self, saved, given, tmp_path, new_graph):
    text = call("merge", *(saved[i] for i in given), "--out", tmp_path / "o")
    assert "of 6 files, 4 of them deltas" in text and "of 3 files, 2 of them deltas" in text
    call("diff", tmp_path / "o", saved[3], "--exit-code")
    assert call("verify", tmp_path / "o").count("ok ") == 4
    with new_graph() as graph:
      users, dense = ev_tf.get_embedding_variable("users", 3), tf.compat.v1.get_variable("w", initializer=tf.zeros(3))
      step = tf.compat.v1.train.get_or_create_global_step()
      restored = []
      for prefix in (tf.train.latest_checkpoint(str(tmp_path / "o")), saved[3]):
        tf.compat.v1.train.Saver().restore(graph.session, prefix)
        restored.append(graph.run([users.size(), dense, step]))
      np.testing.assert_equal(*restored)

  def test_part_of_a_chain_has_nothing_but_tables(self, saved, tmp_path):
    call("merge", saved[1], "--out", tmp_path / "o")
    assert "w" in dict(tf.train.list_variables(str(tmp_path / "o")))
    files = [file.path for file in table_file.table_files(saved[1])]
    call("merge", *files, "--out", tmp_path / "p")
    assert sorted(dict(tf.train.list_variables(str(tmp_path / "p")))) == ["items/part_0-table", "items/part_1-table", "users-table"]

  def test_every_file_of_the_chain_is_verified(self, saved):
    assert call("verify", saved[2]).count("ok ") == 10
    first, _, last = [file.path for file in table_file.table_files(saved[2]) if file.tensor == "users-table"]
    for path in (first, last):
      with open(path, "rb") as file:
        data = file.read()
      with open(path, "wb") as file:
        file.write(data.replace(b"users", b"uzers", 1))
      text = call("verify", saved[2], code=1)
      assert f"damaged  {path} @ " in text and "1 of 10 are damaged" in text
      with open(path, "wb") as file:
        file.write(data)
    other = [file.path for file in table_file.table_files(saved[1]) if file.tensor == "users-table"][-1]
    with open(other, "rb") as file:
      data = file.read()
    with open(last, "wb") as file:
      file.write(data)
    assert "the file is of another save" in call("verify", saved[2], code=1)

  def test_other_commands_say_what_to_do(self, saved):
    for path in (saved[2], os.path.dirname(saved[2])):
      message = complaint("inspect", path)
      assert f"{saved[2]}: expected a whole checkpoint, found an increment; `ev-tf merge {saved[2]} --out DIR`" in message


class TestSaved:
  @pytest.fixture
  def saved(self, tmp_path, new_graph):
    """Prefix of a checkpoint of a variable in two parts with Adagrad's slot, frequencies and versions, and a dense one."""
    with new_graph() as graph:
      step = tf.compat.v1.train.get_or_create_global_step()
      ev = ev_tf.get_embedding_variable("items", DIM, partitioner=tf.compat.v1.fixed_size_partitioner(2),
                                        ev_option=ev_tf.EmbeddingVariableOption(evict_option=ev_tf.GlobalStepEvict(1000)))
      dense = tf.compat.v1.get_variable("w", initializer=tf.range(3.0))
      ids = tf.compat.v1.placeholder(tf.int64, [None])
      loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, ids)) + tf.reduce_sum(dense)
      train = tf.compat.v1.train.AdagradOptimizer(0.1).minimize(loss, global_step=step)
      graph.initialize()
      for end in range(1, 21):
        graph.run(train, {ids: list(range(end))})
      return tf.compat.v1.train.Saver().save(graph.session, str(tmp_path / "run" / "model.ckpt"), global_step=20)

  def test_all_commands_read_it(self, saved, tmp_path):
    (found,) = json.loads(call("inspect", saved, "--json"))
    assert (found["name"], found["rows"], len(found["files"])) == ("items", 20, 2)
    assert [slot["name"] for slot in found["slots"]] == ["Adagrad/accumulator"]
    assert found["ages"] == [["0", 20]] or found["newest_version"] >= 19
    assert call("verify", saved).count("ok ") == 3
    call("export", saved, "--out", tmp_path / "x.npz", "--slots")
    assert sorted(np.load(tmp_path / "x.npz")["id"]) == list(range(20))
    assert "the same                      20" in call("diff", saved, tmp_path / "run", "--exit-code")

  def test_what_prune_leaves_is_restored_with_all_other_variables(self, saved, tmp_path, new_graph):
    call("prune", saved, "--out", tmp_path / "small", "--min-norm", 1e-9, "--drop-filtered")
    (found,) = json.loads(call("diff", saved, tmp_path / "small", "--json"))["tables"]
    assert found["added"] == 0 and found["unchanged"] == found["rows_b"]
    with new_graph() as graph:
      ev = ev_tf.get_embedding_variable("items", DIM)
      dense = tf.compat.v1.get_variable("w", initializer=tf.zeros(3))
      saver = tf.compat.v1.train.Saver()
      graph.initialize()
      saver.restore(graph.session, tf.train.latest_checkpoint(str(tmp_path / "small")))
      assert graph.run(ev.size()) == found["rows_b"] == 20
      assert (graph.run(dense) < np.arange(3.0)).all()

  def test_an_object_based_checkpoint(self, tmp_path):
    ev = ev_tf.get_embedding_variable("items", DIM)
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(lookup(ev, [3, 4, 5]))
    tf.compat.v1.train.GradientDescentOptimizer(0.1).apply_gradients([(tape.gradient(loss, ev), ev)])
    prefix = tf.train.Checkpoint(ev=ev).save(str(tmp_path / "object"))
    call("prune", prefix, "--out", tmp_path / "small", "--min-norm", 0)
    before = lookup(ev, [3, 4, 5, 6]).numpy()
    other = ev_tf.get_embedding_variable("others", DIM)
    tf.train.Checkpoint(ev=other).restore(tf.train.latest_checkpoint(str(tmp_path / "small"))).assert_consumed()
    np.testing.assert_array_equal(lookup(other, [3, 4, 5, 6]), before)
