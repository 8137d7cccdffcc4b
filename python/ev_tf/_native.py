"""Loads the op library and says in one sentence what is wrong when it cannot.

An op library talks to one TensorFlow minor version only: the symbols of the libraries inside TensorFlow carry their
version. So the first thing checked is that the installed TensorFlow is of the minor version that ev_tf was built for.
"""

import os

import tensorflow as tf
from tensorflow.python.framework import auto_control_deps_utils, ops

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_ev_ops.so")
# Ops that read a variable: a tf.function may run them side by side, and need not order them after one another.
_LOOKUPS = ("EvGather", "EvGroupGather", "EvGroupLookup")
_INSPECTIONS = ("EvIsInitialized", "EvSize", "EvFrequency", "EvVersion", "EvExport", "EvMetrics", "EvTierMetrics",
                "EvLookupTier")


def _minor(version):
  return ".".join(version.split(".")[:2])


def check_version(built_for, installed):
  """Raises ImportError unless both TensorFlow versions have the same minor, e.g. 2.21.

  Args:
    built_for: str, the TensorFlow version of the build, e.g. "2.21.0".
    installed: str, the version of the TensorFlow that is imported.

  Raises:
    ImportError: the minors differ; the message says what to install.
  """
  if _minor(built_for) != _minor(installed):
    raise ImportError(
        f"ev_tf was built for TensorFlow {_minor(built_for)}, but TensorFlow {installed} is installed: build ev_tf again "
        f"here (pip install --force-reinstall --no-deps ev_tf from its source tree), or pip install "
        f"'tensorflow=={_minor(built_for)}.*'.")


def _load():
  try:
    from ev_tf import _build_info
  except ImportError:
    _build_info = None
  built_for = getattr(_build_info, "TF_VERSION", None)
  if built_for:
    check_version(built_for, tf.__version__)
  if not os.path.exists(LIBRARY):
    raise ImportError(
        f"ev_tf has no op library ({LIBRARY}): it was built where TensorFlow was not installed. Build ev_tf again now "
        f"that TensorFlow {tf.__version__} is there; ev_tf.engine works without it.")
  library = tf.load_op_library(LIBRARY)
  for name in (*_LOOKUPS, *_INSPECTIONS):
    auto_control_deps_utils.register_read_only_resource_op(name)
  for name in (*_INSPECTIONS, "EvFlushEvictions", "EvPrefetch", "EvShrink"):
    ops.NotDifferentiable(name)
  return library


raw_ops = _load()
