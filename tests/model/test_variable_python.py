"""Random operations on an embedding variable and on a dictionary."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

pytest.importorskip("hypothesis")
tf = pytest.importorskip("tensorflow", reason="the Python package over TensorFlow")
ev_tf = pytest.importorskip("ev_tf")

from hypothesis import HealthCheck, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule  # noqa: E402

from ev_tf import table, testing  # noqa: E402

v1 = tf.compat.v1
DIM, DEFAULT_ROWS = 3, 5
KEYS = st.lists(st.one_of(st.integers(-6, 6), st.sampled_from([-2**63, 2**63 - 1]), st.integers(-2**63, 2**63 - 1)),
                max_size=8)


class VariableModel(RuleBasedStateMachine):

  def __init__(self):
    super().__init__()
    rows = np.arange(DEFAULT_ROWS * DIM, dtype=np.float32).reshape(DEFAULT_ROWS, DIM) / 10
    option = ev_tf.EmbeddingVariableOption(record_frequency=True, init_option=ev_tf.InitializerOption(
        initializer=lambda shape, dtype: tf.constant(rows, dtype), default_value_dim=DEFAULT_ROWS))
    self.ev = ev_tf.get_embedding_variable("model", DIM, ev_option=option)
    self.model = testing.TableModel(rows)
    self.frequency = {}
    self.optimizers = {"sgd": v1.train.GradientDescentOptimizer(0.1), "adagrad": v1.train.AdagradOptimizer(0.1)}

  @rule(keys=KEYS, name=st.sampled_from(["sgd", "adagrad"]), seed=st.integers(0, 1000))
  def train(self, keys, name, seed):
    grads = np.random.default_rng(seed).normal(size=[len(keys), DIM]).astype(np.float32)
    gradient = tf.IndexedSlices(tf.constant(grads), tf.constant(keys, tf.int64))
    self.optimizers[name].apply_gradients([(gradient, self.ev)])
    self.model.train(name, keys, grads, lr=0.1)
    for key in keys:
      self.frequency[key] = self.frequency.get(key, 0) + 1

  @rule(keys=KEYS)
  def look(self, keys):
    np.testing.assert_allclose(tf.gather(self.ev, tf.constant(keys, tf.int64)).numpy(), self.model.lookup(keys), rtol=1e-4,
                               atol=1e-5)
    assert self.ev.get_frequency(tf.constant(keys, tf.int64)).numpy().tolist() == [self.frequency.get(k, 0) for k in keys]

  @rule(keys=KEYS)
  def remove(self, keys):
    assert int(self.ev.remove(tf.constant(keys, tf.int64))) == self.model.remove(keys)
    for key in keys:
      self.frequency.pop(key, None)

  @rule()
  def export_and_import(self):
    spec, handle = self.ev._table_spec, self.ev.handle
    table.restore_content(spec, handle, table.export_content(spec, handle))

  @invariant()
  def holds_the_same_rows(self):
    export = self.ev.export()
    keys = export.keys.numpy().tolist()
    assert len(keys) == int(self.ev.size()) and set(keys) == set(self.model.rows)
    np.testing.assert_allclose(export.values, self.model.lookup(keys), rtol=1e-4, atol=1e-5)


VariableModel.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None,
                                           suppress_health_check=list(HealthCheck))
TestVariable = VariableModel.TestCase
