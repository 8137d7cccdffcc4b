"""Programs of both worlds: a graph with its session, and eager mode."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the Python package over TensorFlow")
ev_tf = pytest.importorskip("ev_tf")

tf.get_logger().setLevel("ERROR")


class GraphProgram:
  """A graph and a session in it. Use as a context manager; `run` initializes what is new first."""

  def __init__(self):
    self.graph = tf.Graph()

  def __enter__(self):
    self._in_graph = self.graph.as_default()
    self._in_graph.__enter__()
    self.session = tf.compat.v1.Session(graph=self.graph)
    return self

  def __exit__(self, *error):
    self.session.close()
    self._in_graph.__exit__(*error)

  def initialize(self):
    self.session.run(tf.compat.v1.global_variables_initializer())

  def run(self, fetches, feed=None):
    return self.session.run(fetches, feed)


@pytest.fixture
def graph():
  """A GraphProgram."""
  with GraphProgram() as program:
    yield program


@pytest.fixture
def new_graph():
  """GraphProgram itself, for tests that need several."""
  return GraphProgram


@pytest.fixture
def rng():
  """numpy Generator with a seed that EV_SEED chooses; it is printed, so that a failure can be repeated."""
  seed = int(os.environ.get("EV_SEED", "20240607"))
  print(f"EV_SEED={seed}")
  return np.random.default_rng(seed)


@pytest.fixture
def make_ev():
  """Makes an eager variable: make_ev(dim=4, name="table", **kwargs of get_embedding_variable)."""

  def make(dim=4, name="table", **kwargs):
    return ev_tf.get_embedding_variable(name, dim, **kwargs)

  return make


@pytest.fixture(scope="session")
def skip_without(tmp_path_factory):
  """skip_without("DRAM_LEVELDB") skips the test where this build or machine lacks that storage type, and says why."""
  reasons = {}

  def missing(kind):
    storage = ev_tf.StorageOption(ev_tf.StorageType[kind], str(tmp_path_factory.mktemp("probe")), [1024])
    with GraphProgram() as program:  # whatever the test is in
      ev_tf.get_embedding_variable("probe", 4, ev_option=ev_tf.EmbeddingVariableOption(storage_option=storage))
      try:
        program.initialize()
      except tf.errors.UnimplementedError as error:
        return error.message
    return None

  def skip(kind):
    if kind not in reasons:
      reasons[kind] = missing(kind)
    if reasons[kind]:
      pytest.skip(f"{kind}: {reasons[kind]}")

  return skip
