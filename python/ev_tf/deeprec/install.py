"""Puts DeepRec's names where a program looks for them."""

import importlib
import importlib.machinery
import sys
import types

import tensorflow as tf
from tensorflow.python.client import session as session_lib
from tensorflow.python.framework import ops

from ev_tf import patches, variable
from ev_tf.deeprec import names, session

VERSION = "1.15.5"  # of TensorFlow, that the surface is of; DeepRec's last

# Modules that say `import tensorflow as tf` and mean version 2: in before the name means something else.
_MEAN_VERSION_2 = ("keras", "tensorflow_estimator", "ev_tf.data", "ev_tf.feature_column.hooks", "ev_tf.keras",
                   "ev_tf.optimizers.v1", "ev_tf.summary", "ev_tf.train", "ev_tf.testing")


class Overlay(types.ModuleType):
  """A module with names of its own before those of another.

  Args:
    name: str, its full name.
    base: module with the other names.
    own: dict of names.
  """

  def __init__(self, name, base, own):
    super().__init__(name, base.__doc__)
    self.__path__ = list(getattr(base, "__path__", []))
    self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    self._base = base
    self.__dict__.update(own)

  def __getattr__(self, name):
    if name.startswith("__"):
      raise AttributeError(name)
    try:
      return getattr(self._base, name)
    except AttributeError:
      raise AttributeError(f"{self.__name__} has no {name!r} in ev_tf.deeprec: the installed TensorFlow "
                           f"{tf.__version__} has none, and it is no part of DeepRec's embedding variables. See "
                           "docs/deeprec.md.") from None

  def __dir__(self):
    return sorted({*self.__dict__, *dir(self._base)})


def install():
  """Does it, once: see ev_tf.deeprec."""
  if isinstance(sys.modules["tensorflow"], Overlay):
    return
  for module in _MEAN_VERSION_2:
    if importlib.util.find_spec(module.split(".")[0]) is not None:
      importlib.import_module(module)
  patches.apply()
  v1 = tf.compat.v1
  v1.disable_v2_behavior()
  v1.enable_resource_variables()
  session_lib.BaseSession.__init__ = session.wrap_session_init(session_lib.BaseSession.__init__)
  for key, value in names.GRAPH_KEYS.items():
    setattr(ops.GraphKeys, key, value)
  variable.on_creation.append(_collect)
  for name, contents in names.MORE_NAMES.items():
    vars(importlib.import_module(name)).update(names.resolve_all(contents))
  new = {name: names.resolve_all(contents) for name, contents in sorted(names.NEW_MODULES.items())}
  sys.modules["tensorflow"] = _facade(v1)
  for name, contents in new.items():
    _add_module(name, contents)


def _collect(made):
  """Puts a new variable where DeepRec programs look for it and its initializer."""
  if made._in_graph_mode:
    ops.add_to_collection(ops.GraphKeys.EMBEDDING_VARIABLES, made)
    ops.add_to_collection(ops.GraphKeys.EV_INIT_VAR_OPS, made.initializer)


def _facade(v1):
  """The module that `import tensorflow` gives."""
  config = Overlay("tensorflow.config", v1.config, {"experimental": Overlay(
      "tensorflow.config.experimental", v1.config.experimental, names.resolve_all(names.EXPERIMENTAL_CONFIG))})
  nn = Overlay("tensorflow.nn", v1.nn, names.resolve_all(names.NN))
  distribute = Overlay("tensorflow.distribute", v1.distribute, {"Server": session.Server})
  own = {
      **names.resolve_all(names.TOP), "__version__": VERSION, "VERSION": VERSION, "config": config, "nn": nn,
      "distribute": distribute,
      "feature_column": Overlay("tensorflow.feature_column", v1.feature_column, names.resolve_all(names.FEATURE_COLUMN)),
      "train": Overlay("tensorflow.train", v1.train, names.resolve_all(names.TRAIN)),
      "compat": tf.compat, "python": sys.modules["tensorflow.python"], "core": sys.modules["tensorflow.core"],
  }
  if not hasattr(v1.layers, "dense"):
    layers = importlib.import_module("ev_tf.deeprec.layers")
    own["layers"] = layers
    nn.rnn_cell = types.ModuleType("tensorflow.nn.rnn_cell")
    vars(nn.rnn_cell).update(layers.CELLS)
  facade = Overlay("tensorflow", v1, own)
  facade.__path__, facade.__file__ = tf.__path__, tf.__file__
  facade.__spec__ = tf.__spec__
  return facade


def _add_module(name, contents):
  """A new module `name` with these contents, as an attribute of its parent too."""
  module = types.ModuleType(name)
  module.__path__ = []
  module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
  vars(module).update(contents)
  if name.startswith("tensorflow.contrib"):
    module.__getattr__ = lambda missing: _refuse_contrib(name, missing)
  sys.modules[name] = module
  parent, _, last = name.rpartition(".")
  setattr(sys.modules[parent], last, module)


def _refuse_contrib(name, missing):
  if missing.startswith("__"):
    raise AttributeError(missing)
  raise AttributeError(f"{name}.{missing} is not in ev_tf.deeprec: TensorFlow 2 has no contrib, and this is not one of the "
                       "parts that DeepRec's embedding variables need. See docs/deeprec.md.")
