"""Tables that keep a few rows in DRAM and the rest below: the same bits as tables that keep all of them in DRAM."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import variable
from ev_tf._native import raw_ops

v1 = tf.compat.v1
TYPES = ["DRAM_SSDHASH", "DRAM_LEVELDB", "DRAM_PMEM", "PMEM_MEMKIND", "DRAM_PMEM_SSDHASH"]
# All of them, in the graphs of one test each.
GROUPS = {
    "two": ["DRAM_SSDHASH", "DRAM_LEVELDB", "DRAM_PMEM"],
    "three": ["DRAM_PMEM_SSDHASH", "DRAM_PMEM_LEVELDB"],
    "single": ["SSDHASH", "LEVELDB", "PMEM_LIBPMEM", "PMEM_MEMKIND"],
}
STRATEGIES = ["LRU", "LFU"]
OPTIMIZERS = {
    "sgd": lambda: v1.train.GradientDescentOptimizer(0.1),
    "adagrad": lambda: v1.train.AdagradOptimizer(0.1),
    "adam": lambda: v1.train.AdamOptimizer(0.01),
    "ftrl": lambda: v1.train.FtrlOptimizer(0.1, l1_regularization_strength=0.001, l2_regularization_strength=0.01),
}
DIM, IDS, BATCH = 6, 1000, 64
PADDED = 32  # bytes of DIM floats in a row


def tiered(storage_type, path, dram_bytes, strategy="LFU", middle=2, **kwargs):
  """ev_option of a variable with that storage; "DRAM" keeps no files, a tier between holds `middle` times what DRAM does."""
  path = None if storage_type == "DRAM" else str(path)
  storage = ev_tf.StorageOption(ev_tf.StorageType[storage_type], path, [dram_bytes, middle * dram_bytes],
                                ev_tf.CacheStrategy[strategy])
  return ev_tf.EmbeddingVariableOption(storage_option=storage, **kwargs)


def slots_of(optimizer):
  return {"sgd": 0, "adagrad": 1, "adam": 2, "ftrl": 2}[optimizer]


def skewed(rng, size):
  """Ids of which a few come often; half of them negative."""
  ids = np.minimum(rng.zipf(1.2, size), IDS) - 1
  ids = np.where(rng.random(size) < 0.3, rng.integers(0, IDS, size), ids)
  return ids - IDS // 2


def by_key(content):
  """The tensors of a table's export, ordered by key."""
  order = np.argsort(content.keys)
  return [np.asarray(column)[order] for column in content if len(column) == len(order)]


@pytest.mark.parametrize("steps", [80, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("group", GROUPS)
def test_spilling_changes_no_bit(group, strategy, optimizer, steps, graph, rng, tmp_path, skip_without):
  for storage_type in GROUPS[group]:
    skip_without(storage_type)
  row_bytes = PADDED * (1 + slots_of(optimizer))
  spilled = [(kind, rows) for kind in GROUPS[group] for rows in (IDS // 100, IDS // 10)]  # 1 % and 10 % of the rows
  options = [tiered(kind, tmp_path, rows * row_bytes, strategy, record_frequency=True, record_version=True)
             for kind, rows in [("DRAM", 1), *spilled]]
  initializer = v1.random_uniform_initializer(-1, 1, seed=1)
  tables = [ev_tf.get_embedding_variable(f"t{i}", DIM, initializer=initializer, ev_option=o) for i, o in enumerate(options)]
  ids = v1.placeholder(tf.int64, [None])
  rows = [tf.gather(t, ids) for t in tables]
  step = v1.train.get_or_create_global_step()
  train = OPTIMIZERS[optimizer]().minimize(tf.add_n([tf.reduce_sum(tf.square(r - 0.5)) for r in rows]), global_step=step)
  remove, flush = [t.remove(ids) for t in tables], [t.flush_evictions() for t in tables]
  exports, metrics = [t.export() for t in tables], [t.metrics() for t in tables]
  graph.initialize()
  for s in range(steps):
    seen, _ = graph.run([rows, train], {ids: skewed(rng, BATCH)})
    for each in seen[1:]:
      np.testing.assert_array_equal(seen[0], each)
    if s % 10 == 5:  # a lookup without an update, then removals
      everything = graph.run(rows, {ids: np.arange(-IDS, IDS)})
      for each in everything[1:]:
        np.testing.assert_array_equal(everything[0], each)
      assert len(set(graph.run(remove, {ids: skewed(rng, 5)}))) == 1
  graph.run(flush)
  contents = [by_key(content) for content in graph.run(exports)]
  for content in contents[1:]:
    for column, expected in zip(content, contents[0]):
      np.testing.assert_array_equal(column, expected)
  for m, (kind, capacity) in zip(graph.run(metrics[1:]), spilled):
    assert (m["row_bytes"], m["hot_capacity"]) == (row_bytes, capacity)
    assert m["hot_rows"] <= capacity
    assert m["demotions"] > 0 and m["promotions"] > 0 and m["cold_reads"] >= m["promotions"]
    assert m["lower_bytes"] > 0
    tiers = ev_tf.StorageType[kind].tiers
    assert sum(m[f"tier{t}/rows"] for t in range(tiers)) == m["rows"] and f"tier{tiers}/rows" not in m
    if tiers == 3:
      assert m["tier1/capacity"] == 2 * capacity >= m["tier1/rows"] + m["tier1/copies"]
      assert m["tier1/demotions"] > 0 and m["tier2/promotions"] > 0


def run_threads(works):
  """Runs each function in a thread of its own; raises what one of them raised."""
  errors = []

  def guarded(work):
    try:
      work()
    except BaseException as error:  # noqa: B902  handed to the main thread
      errors.append(error)

  threads = [threading.Thread(target=guarded, args=[work]) for work in works]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  if errors:
    raise errors[0]


@pytest.mark.parametrize("storage_type", TYPES)
def test_sums_are_exact_with_eight_threads(storage_type, graph, tmp_path, skip_without):
  skip_without(storage_type)
  capacity, steps = 40, 40
  ev = ev_tf.get_embedding_variable("e", DIM, initializer=v1.zeros_initializer(),
                                    ev_option=tiered(storage_type, tmp_path, capacity * PADDED, record_frequency=True))
  ids = v1.placeholder(tf.int64, [None])
  rows = tf.gather(ev, ids)
  train = v1.train.GradientDescentOptimizer(0.25).minimize(tf.reduce_sum(rows))  # exact in float32, whatever the order
  prefetch, tier, flush = ev.prefetch(ids), ev.lookup_tier(ids), ev.flush_evictions()
  graph.initialize()
  batch = lambda thread, s: skewed(np.random.default_rng([thread, s]), BATCH)

  def train_all(thread):
    for s in range(steps):
      graph.run(train, {ids: batch(thread, s)})

  def look(thread):
    for s in range(steps):
      values = graph.run([rows, prefetch, tier], {ids: batch(thread, s)})[0]
      np.testing.assert_array_equal(values, np.round(values * 4) / 4)  # no row that nobody wrote
      if s % 10 == 0:
        graph.run(flush)

  run_threads([lambda t=t: (train_all if t < 5 else look)(t) for t in range(8)])
  keys, counts = np.unique(np.concatenate([batch(t, s) for t in range(5) for s in range(steps)]), return_counts=True)
  graph.run(flush)
  assert graph.run(ev.size()) == len(keys)
  np.testing.assert_array_equal(graph.run(ev.get_frequency(keys)), counts)
  expected = np.repeat(-0.25 * counts[:, None], DIM, 1).astype(np.float32)
  np.testing.assert_array_equal(graph.run(rows, {ids: keys}), expected)
  np.testing.assert_array_equal(graph.run(rows, {ids: keys}), expected)  # from wherever they are now


def train_eagerly(ev, ids, optimizer=None):
  """One step of SGD on `ids`, each of whose values becomes one less."""
  optimizer = optimizer or v1.train.GradientDescentOptimizer(1.0)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(ev, tf.constant(ids, tf.int64)))
  optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])


@pytest.mark.parametrize("storage_type", TYPES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluation_stays_within_the_budget(storage_type, strategy, make_ev, tmp_path, skip_without):
  skip_without(storage_type)
  capacity, batch = 50, 20
  ev = make_ev(DIM, initializer=v1.ones_initializer(), ev_option=tiered(storage_type, tmp_path, capacity * PADDED, strategy))
  train_eagerly(ev, np.arange(IDS))  # twenty times what DRAM holds, in one batch
  ev.flush_evictions()
  metrics = ev.metrics()
  assert (metrics["rows"], metrics["hot_rows"], metrics["hot_capacity"]) == (IDS, capacity, capacity)
  for first in range(0, IDS, batch):
    rows = tf.gather(ev, tf.range(first, first + batch, dtype=tf.int64))
    np.testing.assert_array_equal(rows, np.zeros([batch, DIM]))
    assert ev.metrics()["hot_rows"] <= capacity + batch
    ev.flush_evictions()
  metrics = ev.metrics()
  assert metrics["hot_rows"] == capacity and metrics["inserts"] == IDS
  # What a lookup brought up is not written again.
  assert metrics["clean_demotions"] > 0


def test_lookup_tier(make_ev, tmp_path):
  ev = make_ev(DIM, ev_option=tiered("DRAM_SSDHASH", tmp_path, 2 * PADDED, "LRU"))
  train_eagerly(ev, [1, 2, 3])
  train_eagerly(ev, [3, 4])
  ev.flush_evictions()
  tiers = ev.lookup_tier(tf.constant([[1, 2, 3], [4, 5, 1]], tf.int64))
  assert tiers.dtype == tf.int32
  assert tiers.numpy().tolist() == [[1, 1, 0], [0, -1, 1]]
  ev.prefetch(tf.constant([1, 5], tf.int64))
  assert ev.lookup_tier([1, 5]).numpy().tolist() == [0, -1]  # up, and no row made
  assert int(ev.remove([1, 2])) == 2
  assert ev.lookup_tier([1, 2]).numpy().tolist() == [-1, -1]
  ev.flush_evictions()
  assert ev.lookup_tier([1, 2]).numpy().tolist() == [-1, -1] and (ev.lookup_tier([3, 4]).numpy() >= 0).all()
  assert ev.lookup_tier(tf.zeros([0], tf.int64)).shape == [0]


def test_lookup_tier_of_three(make_ev, tmp_path, skip_without):
  skip_without("DRAM_PMEM_SSDHASH")
  ev = make_ev(DIM, ev_option=tiered("DRAM_PMEM_SSDHASH", tmp_path, 4 * PADDED, "LRU", middle=1))
  for id_ in range(12):
    train_eagerly(ev, [id_])
    ev.flush_evictions()
  assert ev.lookup_tier(np.arange(13)).numpy().tolist() == [2] * 4 + [1] * 4 + [0] * 4 + [-1]
  train_eagerly(ev, [5])
  ev.flush_evictions()
  assert ev.lookup_tier(np.arange(13)).numpy().tolist() == [2] * 4 + [1, 0, 1, 1, 1] + [0] * 3 + [-1]
  assert int(ev.remove(np.arange(0, 12, 2))) == 6
  assert [ev.metrics()[f"tier{t}/rows"] for t in range(3)] == [3, 1, 2]


def test_metrics_of_each_tier(make_ev, tmp_path, rng, skip_without):
  skip_without("DRAM_PMEM_SSDHASH")
  ev = make_ev(DIM, initializer=v1.zeros_initializer(),
               ev_option=tiered("DRAM_PMEM_SSDHASH", tmp_path, 4 * PADDED, "LRU", middle=2))
  assert set(ev.metrics()) == {*variable.METRICS, *(f"tier{t}/{name}" for t in range(3) for name in variable.TIER_METRICS)}
  hits, trained = [0, 0, 0], set()
  for id_ in rng.integers(0, 30, 150):
    for trains in (False, True):
      tier = int(ev.lookup_tier([id_])[0])
      if tier >= 0:
        hits[tier] += 1
      if trains:
        train_once(ev, id_)
      else:
        tf.gather(ev, tf.constant([id_], tf.int64))
      ev.flush_evictions()
    trained.add(id_)
  m = ev.metrics()
  tiers = ev.lookup_tier(np.arange(30)).numpy()
  for t in range(3):
    assert m[f"tier{t}/rows"] == (tiers == t).sum()
    # A turn of the eviction pool that began before a flush may move a row after it.
    assert abs(m[f"tier{t}/hits"] - hits[t]) <= 2
    assert m[f"tier{t}/misses"] == sum(m[f"tier{u}/hits"] for u in range(t + 1, 3))
    assert (m[f"tier{t}/promotions"] == 0) == (t == 0) and (m[f"tier{t}/demotions"] == 0) == (t == 2)
  assert sum(hits) == m["lookup_keys"] - m["lookup_misses"] + m["update_rows"] - m["inserts"] and m["inserts"] == len(trained)
  assert m["promotions"] == m["tier0/misses"] == m["cold_reads"]
  assert m["tier1/capacity"] == 8 and m["tier1/write_amplification"] == 1.0
  assert m["tier1/read_p99_us"] >= m["tier1/read_p50_us"] > 0 and isinstance(m["tier1/read_p50_us"], float)
  assert m["tier2/writes"] + m["tier1/clean_demotions"] >= m["tier1/demotions"] > 0
  assert all(isinstance(value, int) for name, value in m.items() if not name.endswith(("_us", "amplification")))

  @tf.function
  def of_an_argument(table):
    return table.metrics()

  inside = {name: value.numpy() for name, value in of_an_argument(ev).items()}
  assert set(inside) == set(m) and inside["tier2/rows"] == m["tier2/rows"]


def train_once(ev, id_):
  """One update, and no lookup."""
  v1.train.GradientDescentOptimizer(1.0).apply_gradients(
      [(tf.IndexedSlices(tf.ones([1, DIM]), tf.constant([id_], tf.int64)), ev)])


def test_the_names_of_metrics_are_the_op_s(make_ev):
  ev = make_ev(DIM)
  assert tuple(name.decode() for name in raw_ops.ev_metrics(ev.handle).names.numpy()) == variable.METRICS
  assert tuple(name.decode() for name in raw_ops.ev_tier_metrics(ev.handle).names.numpy()) == variable.TIER_METRICS
  assert raw_ops.ev_tier_metrics(ev.handle, tiers=4).values.shape == [4, len(variable.TIER_METRICS)]
  train_eagerly(ev, [1, 2, 2])
  metrics = ev.metrics()
  assert metrics["tier0/rows"] == 2 and metrics["tier0/hits"] == 0 and "tier1/rows" not in metrics
  tf.gather(ev, tf.constant([2, 1, 2, 9], tf.int64))
  assert ev.metrics()["tier0/hits"] == 3


def test_parts_add_up():
  parts = [{"rows": 3, "row_bytes": 32, "tier0/read_p99_us": 4.0, "tier1/written_bytes": 100, "tier1/write_amplification": 2.0},
           {"rows": 4, "row_bytes": 32, "tier0/read_p99_us": 9.0, "tier1/written_bytes": 300, "tier1/write_amplification": 1.0},
           {"rows": 0, "row_bytes": 32, "tier0/read_p99_us": 0.0, "tier1/written_bytes": 0, "tier1/write_amplification": 0.0}]
  expected = {"rows": 7, "row_bytes": 32, "tier0/read_p99_us": 9.0, "tier1/written_bytes": 400,
              "tier1/write_amplification": 400 / (50 + 300)}
  assert variable.summed(parts) == expected
  with tf.Graph().as_default(), v1.Session() as session:
    as_tensor = lambda value: tf.constant(value, tf.int64 if isinstance(value, int) else tf.float64)
    total = variable.summed([{name: as_tensor(value) for name, value in part.items()} for part in parts])
    assert session.run(total) == expected


def test_persistent_memory_that_the_machine_lacks(make_ev):
  option = ev_tf.EmbeddingVariableOption(storage_option=ev_tf.StorageOption(ev_tf.StorageType.PMEM_MEMKIND, None, [64]))
  try:
    ev = make_ev(DIM, ev_option=option)
  except tf.errors.UnimplementedError as error:
    assert "KMEM DAX" in error.message or "libmemkind" in error.message
  else:  # a machine that has it
    train_eagerly(ev, [1])
    assert int(ev.size()) == 1


def test_tiers_of_the_parts(make_ev, tmp_path):
  ev = make_ev(DIM, partitioner=v1.fixed_size_partitioner(3), initializer=v1.zeros_initializer(),
               ev_option=tiered("DRAM_SSDHASH", tmp_path, 4 * PADDED))
  ids = np.arange(-30, 30)
  rows = lambda: tf.nn.embedding_lookup(ev, tf.constant(ids, tf.int64)).numpy()
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, tf.constant(ids, tf.int64)))
  v1.train.GradientDescentOptimizer(1.0).apply_gradients(zip(tape.gradient(loss, list(ev)), ev))
  ev.flush_evictions()
  tiers = ev.lookup_tier(np.append(ids, 1000)).numpy()
  assert tiers[-1] == -1 and sorted(tiers[:-1]) == [0] * 12 + [1] * 48
  metrics = ev.metrics()
  assert (metrics["rows"], metrics["hot_rows"], metrics["hot_capacity"], metrics["row_bytes"]) == (60, 12, 12, 32)
  ev.prefetch(ids[:2])
  assert ev.lookup_tier(ids[:2]).numpy().tolist() == [0, 0]
  np.testing.assert_array_equal(rows(), -np.ones([60, DIM]))

  @tf.function
  def in_a_function(keys):
    ev.prefetch(keys)
    return ev.lookup_tier(keys)

  assert in_a_function(tf.constant(ids[10:13])).numpy().tolist() == [0, 0, 0]


def test_slots_that_come_when_rows_have_spilled(make_ev, tmp_path):
  tables = [make_ev(DIM, name=kind, initializer=v1.ones_initializer(), ev_option=tiered(kind, tmp_path, 8 * 3 * PADDED))
            for kind in ("DRAM", "DRAM_SSDHASH")]
  optimizers = [v1.train.GradientDescentOptimizer(0.5), v1.train.AdagradOptimizer(0.1)]
  for ev in tables:
    for optimizer in optimizers:
      for first in (0, 50, 25):
        train_eagerly(ev, np.arange(first, first + 50), optimizer)
      ev.flush_evictions()
  metrics = tables[1].metrics()
  assert (metrics["row_bytes"], metrics["hot_capacity"], metrics["hot_rows"]) == (64, 12, 12)
  for column, expected in zip(by_key(tables[1].export()), by_key(tables[0].export())):
    np.testing.assert_array_equal(column, expected)


def test_in_a_function(make_ev, tmp_path):
  ev = make_ev(DIM, initializer=v1.zeros_initializer(), ev_option=tiered("DRAM_SSDHASH", tmp_path, 4 * PADDED))
  optimizer = v1.train.GradientDescentOptimizer(1.0)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
  def step(ids):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(tf.gather(ev, ids))
    optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])
    ev.flush_evictions()  # after the update
    return ev.lookup_tier(ids), ev.metrics()["hot_rows"]

  tiers, hot = step(tf.range(10, dtype=tf.int64))
  assert int(hot) == 4 and sorted(tiers.numpy()) == [0] * 4 + [1] * 6
