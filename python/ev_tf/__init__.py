"""Embedding variables for TensorFlow: trainable tables from any int64 id to a row of floats, without a vocabulary.

Example:
  >>> import ev_tf
  >>> import tensorflow as tf
  >>> table = ev_tf.get_embedding_variable("doc/items", embedding_dim=8)
  >>> tf.nn.embedding_lookup(table, tf.constant([7, -3, 1 << 40], tf.int64)).shape
  TensorShape([3, 8])

`ev_tf.engine` is the same engine without TensorFlow; on a machine that has no TensorFlow it is all there is. Set
EV_TF_ENGINE_ONLY=1 to import `ev_tf.engine` without importing an installed TensorFlow.
"""

import importlib
import importlib.util
import os
import sys

# Where each public name lives. Looked up on first use, so that ev_tf.engine does not need TensorFlow.
_HOMES = {
    "CBFFilter": "options",
    "CacheStrategy": "options",
    "CheckpointOption": "options",
    "CounterFilter": "options",
    "DynamicDimensionEmbeddingVariable": "dynamic_dimension",
    "EmbeddingVariable": "variable",
    "EmbeddingVariableOption": "options",
    "GlobalStepEvict": "options",
    "InitializerOption": "options",
    "L2WeightEvict": "options",
    "MultiHashVariable": "multihash",
    "PartitionedEmbeddingVariable": "partitioned",
    "StorageOption": "options",
    "StorageType": "options",
    "adaptive_embedding_lookup_sparse": "adaptive",
    "embedding_lookup": "lookup",
    "embedding_lookup_sparse": "lookup",
    "get_dynamic_dimension_embedding_variable": "dynamic_dimension",
    "get_embedding_variable": "creation",
    "get_multihash_variable": "multihash",
    "group_embedding_lookup": "group_lookup",
    "group_embedding_lookup_sparse": "group_lookup",
    "safe_adaptive_embedding_lookup_sparse": "adaptive",
    "safe_embedding_lookup_sparse": "lookup",
}
_NEED_NO_TENSORFLOW = ("options",)
_MODULES = ("data", "engine", "feature_column", "keras", "kv_variable_ops", "serving", "summary", "testing", "train")

__all__ = sorted([*_HOMES, *_MODULES])


def __getattr__(name):
  if name in _HOMES:
    if _HOMES[name] not in _NEED_NO_TENSORFLOW:
      _require_tensorflow(name)
    value = getattr(importlib.import_module(f"ev_tf.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
  if name in _MODULES:
    return importlib.import_module(f"ev_tf.{name}")
  raise AttributeError(f"module 'ev_tf' has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__():
  return sorted({*globals(), *__all__})


def _has_tensorflow():
  return importlib.util.find_spec("tensorflow") is not None


def _require_tensorflow(name):
  if not _has_tensorflow():
    raise ImportError(f"ev_tf.{name} needs TensorFlow, which is not installed here: pip install tensorflow, then build "
                      "ev_tf again. ev_tf.engine works without it.")


def _built_for_tensorflow():
  """Whether this build has an op library: one made without TensorFlow has only ev_tf.engine."""
  return os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "_ev_ops.so"))


def _is_command():
  """Whether this process is `ev-tf ...`: its commands import TensorFlow themselves where they need it, as it takes seconds."""
  if sys.argv[:1] == ["-m"]:  # as it is while `python -m ev_tf.cli` imports this package
    return "ev_tf.cli" in getattr(sys, "orig_argv", ())
  return os.path.basename(sys.argv[0] if sys.argv else "") == "ev-tf"


# With TensorFlow here, importing ev_tf registers its ops, gradients and lookups: a parameter server or a program that loads a
# SavedModel needs no more than `import ev_tf`. What is patched for the sake of tables has to be before a device is chosen.
if os.environ.get("EV_TF_ENGINE_ONLY") != "1" and not _is_command() and _built_for_tensorflow() and _has_tensorflow():
  importlib.import_module("ev_tf.lookup")
  importlib.import_module("ev_tf.patches").apply()
