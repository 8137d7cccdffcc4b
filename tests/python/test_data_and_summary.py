"""ev_tf.data and ev_tf.summary: what stands around a table with tiers."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
DIM, PADDED = 4, 16


def option(path, rows):
  return ev_tf.EmbeddingVariableOption(
      storage_option=ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, str(path), [rows * PADDED]))


def spilled(make_ev, path, rows=40, ids=1000, **kwargs):
  """A table of `ids` rows, all -1, of which `rows` are in DRAM."""
  ev = make_ev(DIM, initializer=v1.zeros_initializer(), ev_option=option(path, rows), **kwargs)
  front = list(ev) if hasattr(ev, "__len__") else [ev]
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, tf.range(ids, dtype=tf.int64)))
  v1.train.GradientDescentOptimizer(1.0).apply_gradients(zip(tape.gradient(loss, front), front))
  ev.flush_evictions()
  return ev


@pytest.mark.parametrize("parts", [1, 2])
def test_rows_are_there_before_their_batch(parts, make_ev, tmp_path):
  partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
  ev = spilled(make_ev, tmp_path, partitioner=partitioner)
  batches = tf.data.Dataset.range(400).batch(8).map(lambda ids: {"ids": ids, "label": ids + 1})
  dataset = ev_tf.data.prefetch_rows(batches, ev, lambda batch: batch["ids"], batches=2)
  before, seen = ev.metrics()["promotions"], 0
  for batch in dataset:
    assert (ev.lookup_tier(batch["ids"]).numpy() == 0).all()
    np.testing.assert_array_equal(tf.nn.embedding_lookup(ev, batch["ids"]), np.full([8, DIM], -1.0))
    np.testing.assert_array_equal(batch["label"], batch["ids"] + 1)
    seen += 1
  assert seen == 50 and ev.metrics()["promotions"] > before


def test_elements_keep_their_structure(make_ev, tmp_path):
  ev = spilled(make_ev, tmp_path)
  pairs = tf.data.Dataset.from_tensor_slices((np.arange(6), np.arange(6.0))).batch(3)
  assert ev_tf.data.prefetch_rows(pairs, ev, lambda ids, label: ids).element_spec == pairs.element_spec
  sparse = tf.data.Dataset.from_tensors(tf.sparse.from_dense([[1, 0], [0, 7]]))
  ahead = ev_tf.data.prefetch_rows(sparse, ev, lambda s: s.values, batches=1)
  assert next(iter(ahead)).values.numpy().tolist() == [1, 7]
  with pytest.raises(ValueError, match="batches: expected an int of at least 1, got 0"):
    ev_tf.data.prefetch_rows(pairs, ev, lambda ids, label: ids, batches=0)


def test_prefetching_in_a_graph(graph, tmp_path):
  ev = ev_tf.get_embedding_variable("e", DIM, initializer=v1.zeros_initializer(), ev_option=option(tmp_path, 32))
  dataset = ev_tf.data.prefetch_rows(tf.data.Dataset.range(64).repeat(3).batch(8), ev, lambda ids: ids)
  iterator = v1.data.make_initializable_iterator(dataset)
  ids = iterator.get_next()
  train = v1.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(tf.gather(ev, ids)))
  rows = tf.gather(ev, tf.range(64, dtype=tf.int64))
  graph.initialize()
  graph.run(iterator.initializer)
  for _ in range(24):
    graph.run(train)
  np.testing.assert_array_equal(graph.run(rows), np.full([64, DIM], -3.0))


def scalars_in(folder):
  """{tag: (value, step)} of all event files in a folder."""
  found = {}
  for file in folder.iterdir():
    for event in v1.train.summary_iterator(str(file)):
      for value in event.summary.value:
        if value.HasField("tensor"):
          assert value.metadata.plugin_data.plugin_name == "scalars"
        number = tf.make_ndarray(value.tensor).item() if value.HasField("tensor") else value.simple_value
        found[value.tag] = (number, event.step)
  return found


def test_scalars_of_eager_programs(make_ev, tmp_path):
  ev = spilled(make_ev, tmp_path / "rows")
  with tf.summary.create_file_writer(str(tmp_path / "log")).as_default():
    ev_tf.summary.scalars(ev, step=7)
  found = scalars_in(tmp_path / "log")
  assert len(found) == len(ev.metrics())
  assert found["table/hot_capacity"] == (40, 7) and found["table/rows"] == (1000, 7)
  with pytest.raises(ValueError, match="expected names of rows, .*; got 'speed'"):
    ev_tf.summary.scalars(ev, step=7, metrics=["rows", "speed"])


def test_scalars_of_graphs(graph, tmp_path):
  ev = ev_tf.get_embedding_variable("scope/e", DIM, ev_option=option(tmp_path / "rows", 32))
  summary = ev_tf.summary.scalars(ev, metrics=["hot_capacity", "cold_reads"])
  graph.initialize()
  with v1.summary.FileWriter(str(tmp_path / "log")) as writer:
    writer.add_summary(graph.run(summary), 3)
  assert scalars_in(tmp_path / "log") == {"scope/e/hot_capacity": (32, 3), "scope/e/cold_reads": (0, 3)}
