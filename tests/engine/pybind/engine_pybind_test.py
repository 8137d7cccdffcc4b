"""ev_tf.engine: the engine through its Python module. Needs no TensorFlow."""

import doctest
import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from ev_tf import engine

INT64_MIN = np.iinfo(np.int64).min
INT64_MAX = np.iinfo(np.int64).max
DIM = 4


def default_rows(rows=8, dim=DIM):
  return np.arange(rows * dim, dtype=np.float32).reshape(rows, dim)


@pytest.fixture
def ev():
  return engine.EmbeddingVariable(DIM, default_rows(), name="table", record_frequency=True, record_version=True)


def step(ev, keys, rule=None, **kwargs):
  keys = np.asarray(keys, np.int64)
  ev.apply(rule or engine.sgd(1.0), keys, np.ones((*keys.shape, ev.dim), np.float32), **kwargs)


def test_examples_of_the_docstrings_run():
  finder = doctest.DocTestFinder()
  results = doctest.testmod(engine)
  assert results.failed == 0
  with_examples = {test.name for test in finder.find(engine) if test.examples}
  assert {"ev_tf.engine", "ev_tf.engine.adam", "ev_tf.engine.EmbeddingVariable.lookup"} <= with_examples


def test_import_loads_no_tensorflow():
  code = "import sys, ev_tf.engine; sys.exit('tensorflow' in sys.modules)"
  environment = {**os.environ, "EV_TF_ENGINE_ONLY": "1"}
  assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


class TestLookup:
  @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (1, 2, 1, 2)])
  def test_shape_is_that_of_the_keys_and_dim(self, ev, shape):
    rows = ev.lookup(np.zeros(shape, np.int64))
    assert rows.shape == (*shape, DIM)
    assert rows.dtype == np.float32

  @pytest.mark.parametrize("key", [0, 1, -1, -2, INT64_MIN, INT64_MAX])
  def test_a_missing_key_reads_its_default_row_and_is_not_inserted(self, ev, key):
    np.testing.assert_array_equal(ev.lookup(np.int64(key)), default_rows()[key % 8])
    assert ev.size == 0

  def test_int32_keys_and_lists_are_widened(self, ev):
    step(ev, [-3])
    np.testing.assert_array_equal(ev.lookup(np.array([-3], np.int32)), ev.lookup([-3]))
    assert ev.lookup([]).shape == (0, DIM)

  def test_keys_that_are_not_contiguous(self, ev):
    keys = np.arange(12).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(ev.lookup(keys), ev.lookup(keys.copy()))

  def test_out_is_written_in_place(self, ev):
    out = np.full((2, DIM), np.nan, np.float32)
    assert ev.lookup([1, 2], out=out) is out
    np.testing.assert_array_equal(out, default_rows()[1:3])

  @pytest.mark.parametrize("keys", [[1.0], ["a"], np.array([1], np.uint64), [True]])
  def test_keys_of_another_type_are_a_type_error(self, ev, keys):
    with pytest.raises(TypeError, match="keys: expected dtype int64 or int32, received"):
      ev.lookup(keys)

  def test_a_wrong_out_is_refused_and_says_why(self, ev):
    with pytest.raises(ValueError, match=r"out: expected shape \(2, 4\), received \(2, 5\)"):
      ev.lookup([1, 2], out=np.zeros((2, 5), np.float32))
    with pytest.raises(TypeError, match="out: expected dtype float32, received float64"):
      ev.lookup([1, 2], out=np.zeros((2, 4)))
    with pytest.raises(TypeError, match="out: expected a numpy array, received list"):
      ev.lookup([1, 2], out=[[0.0] * 4] * 2)
    with pytest.raises(ValueError, match="writable array in C order"):
      ev.lookup([1, 2], out=np.zeros((4, 2), np.float32).T)
    frozen = np.zeros((2, 4), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writable array in C order"):
      ev.lookup([1, 2], out=frozen)


class TestApply:
  def test_equal_keys_are_one_update_of_the_sum(self, ev):
    step(ev, [5, 5, 6])
    np.testing.assert_array_equal(ev.lookup([5, 6]), default_rows()[5:7] - [[2], [1]])

  def test_grads_must_have_the_shape_of_the_rows(self, ev):
    with pytest.raises(ValueError, match=r"grads: expected shape \(2, 4\), received \(3, 4\)"):
      ev.apply(engine.sgd(1.0), [1, 2], np.zeros((3, 4), np.float32))
    with pytest.raises(TypeError, match=r"grads: expected dtype float32, received float64.*astype"):
      ev.apply(engine.sgd(1.0), [1, 2], np.zeros((2, 4)))
    assert ev.size == 0

  def test_slots_are_added_to_rows_that_exist(self, ev):
    step(ev, [1])
    step(ev, [2], engine.adagrad(0.1, initial_accumulator=3.0))
    assert ev.slots == [engine.SlotSpec("adagrad/accumulator", DIM, 3.0)]
    np.testing.assert_array_equal(ev.read_rows([1, 2])["slots"], [[3.0] * DIM, [4.0] * DIM])

  def test_slots_may_be_named_by_the_caller(self, ev):
    step(ev, [1], engine.momentum(0.1), slots=[engine.SlotSpec("mine")])
    assert [slot.name for slot in ev.slots] == ["mine"]
    with pytest.raises(ValueError, match="slots: momentum uses 1, received 2"):
      step(ev, [1], engine.momentum(0.1), slots=[engine.SlotSpec("a"), engine.SlotSpec("b")])

  def test_a_slot_of_another_dim_is_refused(self, ev):
    step(ev, [1], engine.momentum(0.1), slots=[engine.SlotSpec("m", dim=DIM)])
    with pytest.raises(ValueError, match="m"):
      step(ev, [1], engine.momentum(0.1), slots=[engine.SlotSpec("m", dim=1)])

  def test_two_optimizers_keep_their_own_slots(self, ev):
    step(ev, [1], engine.adagrad(0.1))
    step(ev, [1], engine.ftrl(0.1))
    assert [slot.name for slot in ev.slots] == ["adagrad/accumulator", "ftrl/accumulator", "ftrl/linear"]


def test_the_global_step_reaches_the_rows(ev):
  step(ev, [1, 1, 2], global_step=7)
  step(ev, [2])
  rows = ev.read_rows([1, 2, 3])
  np.testing.assert_array_equal(rows["versions"], [7, 7, -1])
  np.testing.assert_array_equal(rows["frequencies"], [2, 2, 0])
  np.testing.assert_array_equal(rows["found"], [True, True, False])


class TestRules:
  @pytest.mark.parametrize(("make", "names"), [
      (lambda: engine.sgd(0.1), []),
      (lambda: engine.momentum(0.1), ["momentum/momentum"]),
      (lambda: engine.momentum(0.1, nesterov=True), ["momentum/momentum"]),
      (lambda: engine.adagrad(0.1), ["adagrad/accumulator"]),
      (lambda: engine.adam(0.1), ["adam/m", "adam/v"]),
      (lambda: engine.adamw(0.1, weight_decay=0.01), ["adamw/m", "adamw/v"]),
      (lambda: engine.ftrl(0.1), ["ftrl/accumulator", "ftrl/linear"]),
      (lambda: engine.ftrl(0.1, l1=0.1, group_l1=True), ["ftrl/accumulator", "ftrl/linear"]),
      (lambda: engine.adagrad_decay(0.1, step=9), ["adagrad_decay/accumulator", "adagrad_decay/accumulator_decay_power"]),
      (lambda: engine.row_wise_adagrad(0.1), ["row_wise_adagrad/accumulator"]),
      (lambda: engine.rms_prop(0.1), ["rms_prop/rms"]),
      (lambda: engine.rms_prop(0.1, momentum=0.9, centered=True), ["rms_prop/rms", "rms_prop/mg", "rms_prop/momentum"]),
  ])
  def test_each_rule_brings_its_slots_and_trains(self, ev, make, names):
    rule = make()
    step(ev, [1], rule)
    assert [slot.name for slot in ev.slots] == names
    assert np.isfinite(ev.lookup([1])).all()
    assert (ev.lookup([1]) != default_rows()[1]).all()

  def test_adam_corrects_the_bias_by_its_step(self):
    for t in (1, 7):
      ev = engine.EmbeddingVariable(1, np.zeros((1, 1), np.float32))
      step(ev, [0], engine.adam(0.1, step=t))
      m, v = 0.1, 0.001
      alpha = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
      np.testing.assert_allclose(ev.lookup([0]), [[-alpha * m / (np.sqrt(v) + 1e-8)]], rtol=1e-4)

  def test_a_row_wise_slot_is_one_number_a_row(self, ev):
    step(ev, [1, 2], engine.adagrad_decay(0.1, step=200_000))
    assert [slot.dim for slot in ev.slots] == [DIM, 1]
    np.testing.assert_array_equal(ev.read_rows([1, 2])["slots"][:, -1], [1.0, 1.0])

  @pytest.mark.parametrize(("make", "message"), [
      (lambda: engine.sgd(float("nan")), "lr: expected a finite number, received nan"),
      (lambda: engine.adam(0.1, beta1=float("inf")), "beta1: expected a finite number, received inf"),
      (lambda: engine.adam(0.1, step=0), "step: expected 1 or more, received 0"),
      (lambda: engine.ftrl(0.0), "lr: FTRL divides by it"),
      (lambda: engine.adagrad_decay(0.1, step=1, decay_step=0), "decay_step: expected 1 or more, received 0"),
      (lambda: engine.adagrad_decay(0.1, step=-1), "step: expected 0 or more"),
      (lambda: engine.row_wise_adagrad(0.1, 0.0, 0.0), "one of them > 0"),
      (lambda: engine.rms_prop(0.1, epsilon=0.0, initial_rms=0.0), "epsilon: expected a number > 0"),
      (lambda: engine.adagrad(0.1, initial_accumulator=0.0), "initial_accumulator: expected a number > 0"),
  ])
  def test_a_bad_hyperparameter_is_a_value_error(self, make, message):
    with pytest.raises(ValueError, match=message):
      make()


class TestRows:
  def test_write_then_read_gives_the_same(self, ev):
    rng = np.random.default_rng(1)
    keys = np.array([INT64_MIN, -1, 0, INT64_MAX])
    slots = [engine.SlotSpec("a"), engine.SlotSpec("b", dim=1)]
    written = {
        "values": rng.random((4, DIM), np.float32),
        "slots": rng.random((4, DIM + 1), np.float32),
        "frequencies": np.arange(4),
        "versions": np.array([-1, 0, 5, 2**31]),
    }
    ev.write_rows(keys, slot_specs=slots, **written)
    assert [(slot.name, slot.dim) for slot in ev.slots] == [("a", DIM), ("b", 1)]
    read = ev.read_rows(keys)
    assert read.pop("found").all()
    for name, array in written.items():
      np.testing.assert_array_equal(read[name], array, err_msg=name)
    np.testing.assert_array_equal(np.sort(ev.keys()), keys)

  def test_a_wrong_column_is_refused_and_named(self, ev):
    values = np.zeros((2, DIM), np.float32)
    with pytest.raises(ValueError, match=r"values: expected shape \(1, 4\)"):
      ev.write_rows([1], values)
    with pytest.raises(ValueError, match=r"slots: expected shape \(2, 0\)"):
      ev.write_rows([1, 2], values, slots=np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="versions: expected dtype int64"):
      ev.write_rows([1, 2], values, versions=np.zeros(2, np.int32))
    with pytest.raises(ValueError, match=r"keys: expected shape \[n\]"):
      ev.write_rows([[1, 2]], values)
    assert ev.size == 0

  def test_keys_outlive_the_variable(self):
    ev = engine.EmbeddingVariable(1, np.zeros((1, 1), np.float32))
    step(ev, np.arange(100))
    keys = ev.keys()
    del ev
    gc.collect()
    np.testing.assert_array_equal(np.sort(keys), np.arange(100))

  def test_remove_and_clear(self, ev):
    step(ev, np.arange(10))
    assert ev.remove([3, 3, 99]) == 1
    assert len(ev) == ev.size == 9
    np.testing.assert_array_equal(ev.lookup([3]), default_rows()[3:4])
    ev.clear()
    assert ev.size == 0
    assert ev.keys().shape == (0,)


def test_metrics_count_what_happened(ev):
  step(ev, [1, 1, 2])
  ev.lookup([1, 50])
  ev.remove([2])
  metrics = ev.metrics()
  expected = {"rows": 1, "inserts": 2, "removes": 1, "update_keys": 3, "update_rows": 2, "lookup_keys": 2,
              "lookup_misses": 1, "row_bytes": 16}
  assert {name: metrics[name] for name in expected} == expected


def as_bfloat16(values):
  """float32 rounded to the nearest bfloat16, of two the even one."""
  bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
  return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


class TestValueTypes:
  ROUND = {"float32": lambda v: v, "float16": lambda v: v.astype(np.float16).astype(np.float32), "bfloat16": as_bfloat16}

  @pytest.mark.parametrize("value_type", ROUND)
  def test_values_are_rounded_after_each_update(self, value_type):
    rounded, rng = self.ROUND[value_type], np.random.default_rng(3)
    defaults = rng.normal(size=[1, 19]).astype(np.float32)
    ev = engine.EmbeddingVariable(19, defaults, value_type=value_type)
    assert ev.value_type == value_type
    row, accumulator = rounded(defaults[0]), np.full(19, 0.25, np.float32)
    np.testing.assert_array_equal(ev.lookup([5])[0], row)
    for _ in range(50):
      grad = rng.normal(size=19).astype(np.float32)
      ev.apply(engine.adagrad(0.5, initial_accumulator=0.25), [5], grad[None])
      accumulator += grad * grad
      row = rounded(row - np.float32(0.5) * grad / np.sqrt(accumulator))
      np.testing.assert_allclose(ev.lookup([5])[0], row, rtol=1e-6 if value_type == "float32" else 0.01)
      row = ev.lookup([5])[0]
      np.testing.assert_array_equal(row, rounded(row))
    np.testing.assert_allclose(ev.read_rows([5])["slots"][0], accumulator, rtol=1e-5)

  @pytest.mark.parametrize("value_type, row_bytes", [("float32", 80), ("float16", 48), ("bfloat16", 48)])
  def test_rows_take_what_their_values_take(self, value_type, row_bytes):
    ev = engine.EmbeddingVariable(19, np.zeros([1, 19], np.float32), value_type=value_type)
    assert ev.metrics()["row_bytes"] == row_bytes

  @pytest.mark.parametrize("value_type", ["float16", "bfloat16"])
  def test_rows_that_are_written_are_rounded(self, value_type):
    values = np.random.default_rng(4).normal(size=[500, 19]).astype(np.float32)
    ev = engine.EmbeddingVariable(19, values[:1], value_type=value_type)
    ev.write_rows(np.arange(500), values)
    np.testing.assert_array_equal(ev.lookup(np.arange(500)), self.ROUND[value_type](values))
    np.testing.assert_array_equal(ev.read_rows(np.arange(500))["values"], self.ROUND[value_type](values))


class TestConstruction:
  @pytest.mark.parametrize(("kwargs", "error", "message"), [
      ({"dim": 0}, ValueError, "dim"),
      ({"dim": -1}, ValueError, "dim"),
      ({"dim": 70000}, ValueError, r"default_rows: expected shape \[rows, 70000\]"),
      ({"dim": 5}, ValueError, r"default_rows: expected shape \[rows, 5\], received \(8, 4\)"),
      ({"default_rows": np.zeros((8, 4))}, TypeError, "default_rows: expected dtype float32, received float64"),
      ({"default_rows": np.zeros(4, np.float32)}, ValueError, "default_rows: expected a matrix"),
      ({"default_rows": np.zeros((0, 4), np.float32)}, ValueError, "default"),
      ({"threads": 0}, ValueError, "threads: expected 1 to 1024, received 0"),
      ({"value_type": "half"}, ValueError, "value_type: expected 'float32', 'float16' or 'bfloat16', received 'half'"),
      ({"dim": 4.0}, TypeError, "incompatible"),
  ])
  def test_a_bad_argument_is_refused(self, kwargs, error, message):
    with pytest.raises(error, match=message):
      engine.EmbeddingVariable(**{"dim": DIM, "default_rows": default_rows(), **kwargs})

  def test_attributes(self):
    ev = engine.EmbeddingVariable(DIM, default_rows(), name="t", threads=2)
    assert (ev.name, ev.dim, ev.threads, ev.size, ev.slots) == ("t", DIM, 2, 0, [])

  def test_default_rows_are_copied(self):
    rows = default_rows()
    ev = engine.EmbeddingVariable(DIM, rows)
    rows[:] = -1
    np.testing.assert_array_equal(ev.lookup([1]), default_rows()[1:2])


def test_python_threads_train_one_variable_at_once():
  ev = engine.EmbeddingVariable(2, np.zeros((1, 2), np.float32), threads=2)
  threads, steps, keys = 4, 25, np.arange(1000)

  def train(seed):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
      ids = rng.permutation(keys)
      ev.apply(engine.sgd(1.0), ids, np.full((len(ids), 2), -1, np.float32))
      ev.lookup(ids)

  workers = [threading.Thread(target=train, args=(seed,)) for seed in range(threads)]
  for worker in workers:
    worker.start()
  for worker in workers:
    worker.join()
  assert ev.size == len(keys)
  np.testing.assert_array_equal(ev.lookup(keys), np.full((len(keys), 2), threads * steps, np.float32))
