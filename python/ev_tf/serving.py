"""Exports for serving: SavedModels whose tables are for lookups alone, and have their rows in files of the SavedModel.

docs/serving.md is the guide.
"""

import collections
import contextlib
import os
import re
import threading

from tensorflow.python.framework import ops
from tensorflow.python.saved_model import path_helpers
from tensorflow.python.trackable import asset

from ev_tf import _native
from ev_tf import options as option_lib

__all__ = ["frozen", "op_library_path"]

_SERVED_FROM = ("memory", "files")

_local = threading.local()


def op_library_path():
  """str: the op library, which a process that serves needs before it loads a SavedModel, and nothing else of ev_tf.

  TensorFlow's own loaders of op libraries take it, in Python and in C; docs/serving.md names them.

  Example:
    >>> import os, ev_tf.serving
    >>> os.path.basename(ev_tf.serving.op_library_path())
    '_ev_ops.so'
  """
  return _native.LIBRARY


@contextlib.contextmanager
def frozen(*, served_from=None, dram_bytes=None):
  """While it is open, what this thread exports is frozen for serving.

  A table in such an export has the values of its rows and what ids without a row read: no slots, frequencies, versions
  nor counts of a filter. Its rows are in files inside the SavedModel's directory, written as a checkpoint is, in some
  30 MB of memory. Who loads it gets a table whose lookups insert nothing and write nothing, and that refuses updates.

  It holds for tf.saved_model.save and what calls it, as Keras's Model.export does, and for SavedModels that go through a
  tf.compat.v1.train.Saver which is made meanwhile: SavedModelBuilder, simple_save, Estimator.export_saved_model.
  Checkpoints of tf.train.Checkpoint are saved as ever.

  Args:
    served_from: "memory": who loads the export has all rows in DRAM. "files": it reads rows from the files as lookups
      want them, and keeps those that are wanted most in DRAM; many processes may share the files, and nobody writes to
      them. None: "files" for variables of a storage type that keeps rows below DRAM, "memory" for others.
    dram_bytes: int > 0, bytes of rows of each table that is served from files, or of each part of one, that a server
      keeps in DRAM. None: the variable's storage_size[0], 1 GiB where it says nothing. TF_EV_SERVING_DRAM_BYTES in the
      environment of a server counts before it.

  Raises:
    ValueError: an argument is out of range; it is opened within itself; or, when it closes, no table was exported: the
      Saver was made before, or there is none in the model.

  Example:
    >>> import tempfile
    >>> model = tf.Module()
    >>> model.table = get_embedding_variable("doc/served", 4, initializer=tf.compat.v1.ones_initializer())
    >>> model.serve = tf.function(lambda ids: tf.nn.embedding_lookup(model.table, ids),
    ...                           input_signature=[tf.TensorSpec([None], tf.int64)])
    >>> with ev_tf.serving.frozen():
    ...   tf.saved_model.save(model, os.path.join(tempfile.mkdtemp(), "1"))
  """
  if served_from is not None and served_from not in _SERVED_FROM:
    raise ValueError(f"served_from: expected 'memory', 'files' or None, got {served_from!r}.")
  if dram_bytes is not None and (isinstance(dram_bytes, bool) or not isinstance(dram_bytes, int) or dram_bytes <= 0):
    raise ValueError(f"dram_bytes: expected an int of bytes above 0 or None, got {dram_bytes!r}.")
  if export() is not None:
    raise ValueError("ev_tf.serving.frozen: expected to be opened once, found it open in this thread.")
  _local.export = Export(served_from, dram_bytes)
  try:
    yield
    if not _local.export.any_table:
      raise ValueError("ev_tf.serving.frozen: expected an export of a table while it was open, found none. A Saver that "
                       "was made before saves tables as they are: make it, or have the builder make it, inside.")
  finally:
    _local.export = None


def export():
  """The Export that this thread has open, or None."""
  return getattr(_local, "export", None)


@contextlib.contextmanager
def written_to(directory):
  """While it is open, this thread's Export writes the SavedModel of that directory."""
  current = export()
  if current is None:
    yield
    return
  current.directory, current.assets, current.names = os.fspath(directory), {}, collections.Counter()
  try:
    yield
  finally:
    current.directory = None


class Export:
  """What frozen() was asked for, and what has been written since."""

  def __init__(self, served_from, dram_bytes):
    self._served_from = served_from
    self._dram_bytes = dram_bytes
    self.any_table = False
    self.directory = None  # of the SavedModel that tf.saved_model.save writes now
    self.assets = {}  # shared name of a table -> its Asset in there
    self.names = collections.Counter()

  def served_from(self, spec):
    """"memory" or "files", for a table of a table.TableSpec."""
    if self._served_from is not None:
      return self._served_from
    return "files" if option_lib.StorageType(spec.storage.storage_type).spills else "memory"

  def dram_bytes(self, spec):
    """int: bytes of rows that a server keeps in DRAM."""
    return spec.storage.dram_bytes if self._dram_bytes is None else self._dram_bytes

  def asset(self, spec, shared_name, write):
    """The tf.saved_model.Asset of a table's file, which write(path, served_from) writes when it is asked for first.

    It is written where it is to be: a SavedModel's other assets are copied there.
    """
    if shared_name not in self.assets:
      name = re.sub(r"[^\w.-]", "_", spec.name)
      self.names[name] += 1
      if self.names[name] > 1:
        name = f"{name}-{self.names[name]}"
      path = os.path.join(path_helpers.get_or_create_assets_dir(self.directory), f"{name}.evtable")
      with ops.init_scope():
        write(path, self.served_from(spec))
        self.assets[shared_name] = asset.Asset(path)
      self.any_table = True
    return self.assets[shared_name]
