"""Tables that begin with the rows of another training."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
IDS = np.arange(-20, 20) * 37


def table(name, parts=None, dim=4, **kwargs):
  partitioner = v1.fixed_size_partitioner(parts) if parts else None
  return ev_tf.get_embedding_variable(name, dim, partitioner=partitioner, **kwargs)


@pytest.fixture(params=[None, 3], ids=["whole", "3 parts"])
def saved(request, new_graph, tmp_path):
  """(directory, {id: row}): a checkpoint of tower/items, tower/w and other/items after some steps."""
  option = ev_tf.EmbeddingVariableOption(record_version=True, record_frequency=True)
  with new_graph() as graph:
    with v1.variable_scope("tower"):
      ev, w = table("items", request.param, ev_option=option), v1.get_variable("w", [4])
    with v1.variable_scope("other"):
      table("items")
    step = v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(tf.square(tf.matmul(tf.gather(ev, IDS), w[:, tf.newaxis]) - 1.0))
    train_op, rows = v1.train.AdagradOptimizer(0.1).minimize(loss, global_step=step), tf.gather(ev, IDS)
    graph.initialize()
    for _ in range(3):
      graph.run(train_op)
    v1.train.Saver().save(graph.session, str(tmp_path / "model.ckpt"), global_step=step)
    return tmp_path, graph.run(rows), graph.run(w)


def target(how, ev):
  return {"name": "mine/items", "object": ev, "parts": [*ev] if len(getattr(ev, "_parts", [])) else [ev]}[how]


@pytest.mark.parametrize("how", ["name", "object", "parts"])
@pytest.mark.parametrize("parts", [None, 2])
def test_a_table_by_name_object_and_parts(saved, graph, how, parts):
  directory, rows, _ = saved
  with v1.variable_scope("mine"):
    option = ev_tf.EmbeddingVariableOption(record_version=True, record_frequency=True)
    ev = table("items", parts, ev_option=option)
  dense = v1.get_variable("dense", [4])
  v1.train.init_from_checkpoint(str(directory), {"tower/items": target(how, ev), "tower/w": dense})
  optimizer = v1.train.AdagradOptimizer(0.5, initial_accumulator_value=1.0)
  train_op = optimizer.minimize(tf.reduce_sum(tf.gather(ev, IDS[:1])))
  gathered, versions, counts = tf.gather(ev, IDS), ev.get_version(IDS), ev.get_frequency(IDS)
  graph.initialize()
  np.testing.assert_array_equal(graph.run(gathered), rows)
  assert set(graph.run(versions)) == {0} and set(graph.run(counts)) == {3}
  graph.run(train_op)  # the slot is new: the sum of squares begins with 1
  np.testing.assert_allclose(graph.run(gathered)[0], rows[0] - 0.5 / np.sqrt(2.0), rtol=1e-6, atol=1e-6)


def test_scopes(saved, new_graph):
  directory, rows, w = saved
  for old, new, scope in (("tower/", "mine/", "mine"), ("tower/", "/", "")):
    with new_graph() as graph:
      with v1.variable_scope(scope):
        ev, dense = table("items", 2), v1.get_variable("w", [4])
      v1.train.init_from_checkpoint(str(directory), [(old, new)])
      graph.initialize()
      np.testing.assert_array_equal(graph.run(tf.gather(ev, IDS)), rows)
      np.testing.assert_array_equal(graph.run(dense), w)
  with new_graph() as graph:  # the root of the checkpoint
    with v1.variable_scope("mine"), v1.variable_scope("tower"):
      ev = table("items")
    v1.train.init_from_checkpoint(str(directory), {"/": "mine/"})
    graph.initialize()
    np.testing.assert_array_equal(graph.run(tf.gather(ev, IDS)), rows)


def test_what_is_not_there_is_said_and_changes_nothing(saved, graph):
  directory, _, _ = saved
  ev = table("items")
  before = ev.initializer
  with pytest.raises(ValueError, match="Tensor none-table of EmbeddingVariable 'items:0' is not found in .*model.ckpt-3"):
    v1.train.init_from_checkpoint(str(directory), {"none": ev})
  with pytest.raises(ValueError, match="scope"):
    v1.train.init_from_checkpoint(str(directory), {"none": "no_such_variable"})
  assert ev.initializer is before
  assert v1.get_variable_scope() is not None and "items" in str(v1.global_variables())


@pytest.mark.parametrize("parts", [None, 2])
def test_warm_start(saved, graph, parts):
  directory, rows, w = saved
  with v1.variable_scope("tower"):
    ev, dense = table("items", parts), v1.get_variable("w", [4])
  with v1.variable_scope("renamed"):
    again = table("items", parts)
  with v1.variable_scope("fresh"):
    fresh = table("items", initializer=v1.ones_initializer())
  v1.train.warm_start(str(directory), vars_to_warm_start="tower|renamed",
                      var_name_to_prev_var_name={"renamed/items": "tower/items"})
  graph.initialize()
  for warm in (ev, again):
    np.testing.assert_array_equal(graph.run(tf.gather(warm, IDS)), rows)
  np.testing.assert_array_equal(graph.run(dense), w)
  np.testing.assert_array_equal(graph.run(tf.gather(fresh, IDS)), np.ones([len(IDS), 4]))


SAYS_SLOTS = """
import sys, numpy as np, tensorflow as tf, ev_tf
v1 = tf.compat.v1
for optimizer in (v1.train.AdagradOptimizer(0.1), v1.train.AdagradOptimizer(0.1), v1.train.MomentumOptimizer(0.1, 0.9)):
  with tf.Graph().as_default(), v1.Session() as session:
    ev = ev_tf.get_embedding_variable("items", 4)
    train_op = optimizer.minimize(tf.reduce_sum(tf.gather(ev, np.arange(40))))
    saver = v1.train.Saver()
    if v1.train.latest_checkpoint(sys.argv[1]):
      saver.restore(session, v1.train.latest_checkpoint(sys.argv[1]))
    else:
      session.run(v1.global_variables_initializer())
    for _ in range(2):
      session.run(train_op)
    saver.save(session, sys.argv[1] + "/m.ckpt")
"""


def test_slots_that_rows_lack_are_said(tmp_path):
  done = subprocess.run([sys.executable, "-c", SAYS_SLOTS, str(tmp_path)], capture_output=True, text=True,
                        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"})
  assert done.returncode == 0, done.stderr[-3000:]
  said = [line for line in done.stderr.splitlines() if "'items'" in line]
  assert len(said) == 1 and "its 40 rows have no slot 'Momentum/momentum' yet, it starts from 0" in said[0], said
