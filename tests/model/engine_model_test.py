"""Random operations on ev_tf.engine.EmbeddingVariable and on a dictionary of NumPy rows.

The seed is printed when a test fails; EV_SEED=<seed> runs the same examples again.
"""

import os
import random

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule  # noqa: E402

from ev_tf import engine  # noqa: E402

INT64_MIN = np.iinfo(np.int64).min
INT64_MAX = np.iinfo(np.int64).max
MAX_FREQUENCY = 2**32 - 1
MAX_VERSION = 2**32 - 2
# Few, so that operations meet; the ends of int64 are as legal as any.
KEY = st.one_of(st.integers(-4, 4), st.sampled_from([INT64_MIN, INT64_MIN + 1, INT64_MAX, -1000, 2**32]),
                st.integers(INT64_MIN, INT64_MAX))
KEYS = st.lists(KEY, max_size=12)
DISTINCT_KEYS = st.lists(KEY, max_size=6, unique=True)
STEP = st.one_of(st.just(-1), st.integers(0, 100), st.just(MAX_VERSION))
SEED = int(os.environ.get("EV_SEED") or random.SystemRandom().randrange(2**32))


class Optimizer:
  """One rule of the engine, and the same in float64 on one row."""

  def __init__(self, name, rule_of, slots, update):
    self.name = name
    self.rule_of = rule_of  # makes the engine's rule
    self.slots = slots      # [(name, initial value)]
    self.update = update    # (value, [slot], grad) -> None, in place


def update_sgd(value, slots, grad):
  value -= 0.5 * grad


def update_momentum(value, slots, grad):
  slots[0][:] = 0.5 * slots[0] + grad
  value -= 0.25 * slots[0]


def update_adagrad(value, slots, grad):
  slots[0] += grad**2
  value -= 0.125 * grad / np.sqrt(slots[0])


def update_adam(value, slots, grad):
  beta1, beta2, step = 0.5, 0.75, 3
  slots[0] += (grad - slots[0]) * (1 - beta1)
  slots[1] += (grad**2 - slots[1]) * (1 - beta2)
  value -= 0.125 * np.sqrt(1 - beta2**step) / (1 - beta1**step) * slots[0] / (np.sqrt(slots[1]) + 1e-3)


OPTIMIZERS = [
    Optimizer("sgd", lambda: engine.sgd(0.5), [], update_sgd),
    Optimizer("momentum", lambda: engine.momentum(0.25, momentum=0.5), [("momentum/momentum", 0.0)], update_momentum),
    Optimizer("adagrad", lambda: engine.adagrad(0.125, initial_accumulator=0.5), [("adagrad/accumulator", 0.5)],
              update_adagrad),
    Optimizer("adam", lambda: engine.adam(0.125, beta1=0.5, beta2=0.75, epsilon=1e-3, step=3),
              [("adam/m", 0.0), ("adam/v", 0.0)], update_adam),
]


class Row:

  def __init__(self, value, slots):
    self.value = np.array(value, np.float64)
    self.slots = slots
    self.frequency = 0
    self.version = -1


@seed(SEED)
class EngineModel(RuleBasedStateMachine):

  @initialize(dim=st.sampled_from([1, 3, 4, 17]), default_rows=st.integers(1, 5), threads=st.integers(1, 3))
  def open(self, dim, default_rows, threads):
    self.dim = dim
    self.defaults = (np.arange(default_rows * dim, dtype=np.float32) / 8 - 1).reshape(default_rows, dim)
    self.ev = engine.EmbeddingVariable(dim, self.defaults, name="model", record_frequency=True, record_version=True,
                                       threads=threads)
    self.model = {}
    self.slots = {}  # name -> initial value, in the order of the variable

  # What the model says.

  def default(self, key):
    return self.defaults[key % len(self.defaults)]  # Python's % is a floor mod

  def expected(self, key):
    return self.model[key].value if key in self.model else self.default(key)

  def new_row(self, key):
    return Row(self.default(key), {name: np.full(self.dim, initial) for name, initial in self.slots.items()})

  def add_slots(self, slots):
    for name, initial in slots:
      if name not in self.slots:
        self.slots[name] = initial
        for row in self.model.values():
          row.slots[name] = np.full(self.dim, initial)

  def floats(self, n, draw):
    """n rows of multiples of 1/8, some of them zero."""
    return (np.random.default_rng(draw).integers(-8, 9, [n, self.dim]) / 8).astype(np.float32)

  # Operations.

  @rule(keys=KEYS, optimizer=st.sampled_from(OPTIMIZERS), step=STEP, draw=st.integers(0, 2**16))
  def apply(self, keys, optimizer, step, draw):
    grads = self.floats(len(keys), draw)
    self.ev.apply(optimizer.rule_of(), np.array(keys, np.int64), grads, global_step=step)
    self.add_slots(optimizer.slots)
    sums = {}
    for key, grad in zip(keys, grads):
      sums[key] = sums.get(key, 0) + grad.astype(np.float64)
    for key, grad in sums.items():
      row = self.model.setdefault(key, self.new_row(key))
      optimizer.update(row.value, [row.slots[name] for name, _ in optimizer.slots], grad)
      row.frequency = min(row.frequency + keys.count(key), MAX_FREQUENCY)
      row.version = step if step >= 0 else row.version

  @rule(keys=KEYS, as_int32=st.booleans())
  def lookup(self, keys, as_int32):
    as_int32 = as_int32 and all(-2**31 <= key < 2**31 for key in keys)
    rows = self.ev.lookup(np.array(keys, np.int32 if as_int32 else np.int64))
    assert rows.shape == (len(keys), self.dim)
    for key, row in zip(keys, rows):
      np.testing.assert_allclose(row, self.expected(key), rtol=1e-4, atol=1e-4)
      if key not in self.model:
        np.testing.assert_array_equal(row, self.default(key))

  @rule(keys=KEYS)
  def remove(self, keys):
    assert self.ev.remove(np.array(keys, np.int64)) == len({key for key in keys if self.model.pop(key, None)})

  @rule(keys=DISTINCT_KEYS, draw=st.integers(0, 2**16), frequency=st.sampled_from([0, 1, MAX_FREQUENCY - 1]), version=STEP)
  def write(self, keys, draw, frequency, version):
    """The values, one new slot or an old one, and the meta: other slots get their initial values."""
    slot = engine.SlotSpec("written", initial=0.25)
    values, columns = self.floats(len(keys), draw), self.floats(len(keys), draw + 1)
    self.ev.write_rows(np.array(keys, np.int64), values, slots=columns, slot_specs=[slot],
                       frequencies=np.full(len(keys), frequency), versions=np.full(len(keys), version))
    self.add_slots([("written", 0.25)])
    for key, value, column in zip(keys, values, columns):
      row = self.model[key] = self.new_row(key)
      row.value[:] = value
      row.slots["written"][:] = column
      row.frequency, row.version = frequency, version

  @precondition(lambda self: len(self.model) > 5)
  @rule()
  def clear(self):
    self.ev.clear()
    self.model.clear()

  @rule(threads=st.integers(1, 3))
  def export_and_import(self, threads):
    """A variable made from what another one exports is the same variable."""
    keys = self.ev.keys()
    rows = self.ev.read_rows(keys)
    fresh = engine.EmbeddingVariable(self.dim, self.defaults, name="copy", record_frequency=True, record_version=True,
                                     threads=threads)
    fresh.write_rows(keys, rows["values"], slots=rows["slots"], slot_specs=self.ev.slots,
                     frequencies=rows["frequencies"], versions=rows["versions"])
    self.ev = fresh

  @rule(keys=st.lists(KEY, min_size=1, max_size=4))
  def a_wrong_call_changes_nothing(self, keys):
    keys = np.array(keys, np.int64)
    with pytest.raises(ValueError, match="grads: expected shape"):
      self.ev.apply(engine.sgd(1.0), keys, np.zeros((len(keys) + 1, self.dim), np.float32))
    with pytest.raises(ValueError, match="global_step"):
      self.ev.apply(engine.sgd(1.0), keys, np.ones((len(keys), self.dim), np.float32), global_step=MAX_VERSION + 1)
    with pytest.raises(ValueError, match="versions"):
      self.ev.write_rows(keys, np.ones((len(keys), self.dim), np.float32), versions=np.full(len(keys), -2))
    twice = [engine.SlotSpec("twice"), engine.SlotSpec("twice")]
    with pytest.raises(ValueError, match="twice"):
      self.ev.apply(engine.adam(0.1), keys, np.ones((len(keys), self.dim), np.float32), slots=twice)

  # What must hold after each of them.

  @invariant()
  def holds_the_same_keys(self):
    keys = self.ev.keys()
    assert sorted(keys.tolist()) == sorted(self.model)
    assert self.ev.size == len(self.ev) == self.ev.metrics()["rows"] == len(self.model)

  @invariant()
  def holds_the_same_rows(self):
    assert {slot.name: slot.initial for slot in self.ev.slots} == self.slots
    keys = sorted(self.model)
    rows = self.ev.read_rows(np.array(keys, np.int64))
    assert rows["found"].all()
    width = len(self.slots) * self.dim
    for i, key in enumerate(keys):
      row = self.model[key]
      np.testing.assert_allclose(rows["values"][i], row.value, rtol=1e-4, atol=1e-4)
      slots = np.concatenate([row.slots[slot.name] for slot in self.ev.slots]) if width else np.zeros(0)
      np.testing.assert_allclose(rows["slots"][i], slots, rtol=1e-4, atol=1e-4)
      assert (rows["frequencies"][i], rows["versions"][i]) == (row.frequency, row.version)


class TestEngineModel(EngineModel.TestCase):
  settings = settings(max_examples=50, stateful_step_count=30, deadline=None, print_blob=True,
                      suppress_health_check=list(HealthCheck))

  def runTest(self):  # noqa: N802: unittest's name
    print(f"EV_SEED={SEED}")
    super().runTest()
