"""Where the tables of a checkpoint are: each in a file of its own beside it, which a string in a tensor of the checkpoint names.

Stock savers ask for tensors, and do not say for which checkpoint. So the few methods of theirs that know its prefix tell
it here while they run (ev_tf/patches.py), and the tensor that a table gives is made only then.
"""

import collections
import contextlib
import os
import re
import threading

from tensorflow.python.framework import dtypes, ops
from tensorflow.python.training import py_checkpoint_reader
from tensorflow.python.training.saving import saveable_object

from ev_tf._native import raw_ops

# A variable v is in a checkpoint of a tf.compat.v1.train.Saver as the tensor v-table, its part 0 as v/part_0-table.
SUFFIX = "-table"
# In an object-based checkpoint it is the tensor .../.ATTRIBUTES/table, with an element for each part.
ATTRIBUTE = "table"

_MANIFEST = re.compile(r"ev_tf table 1 (?P<suffix>\.data-e\w{4}-of-\w{5}) part=(?P<partition>\d+)/(?P<partitions>\d+) "
                       r"rows=(?P<rows>\d+) bytes=(?P<bytes>\d+) checksum=[0-9a-f]{8}(?: of=(?P<of>[^/]+))?")

TableFile = collections.namedtuple("TableFile", ["tensor", "path", "partition", "partitions", "rows", "bytes"])
TableFile.__doc__ = """A file of a checkpoint that holds a table, or one part of it.

tensor: str, the tensor of the checkpoint that names it. path: str. partition, partitions: int, which part of how many; 0 and 1
for a whole table. rows, bytes: int, what it had when it was saved."""

_local = threading.local()


def table_files(prefix):
  """The files of the tables of a checkpoint.

  Args:
    prefix: str, the checkpoint's, as a Saver or tf.train.latest_checkpoint gives it.

  Returns:
    list of TableFile, by tensor and part. Empty if no table is in it.

  Raises:
    tf.errors.NotFoundError: no such checkpoint.
  """
  reader = py_checkpoint_reader.NewCheckpointReader(os.fspath(prefix))
  found = []
  for name, dtype in sorted(reader.get_variable_to_dtype_map().items()):
    if dtype != dtypes.string or not name.endswith((SUFFIX, f"/{ATTRIBUTE}")):
      continue
    for text in _flat(reader.get_tensor(name)):
      manifest = _MANIFEST.fullmatch(text.decode(errors="replace"))
      if manifest:
        numbers = (int(manifest[key]) for key in ("partition", "partitions", "rows", "bytes"))
        checkpoint = os.fspath(prefix)
        if manifest["of"]:  # of another checkpoint, on which this one builds
          checkpoint = os.path.join(os.path.dirname(checkpoint), manifest["of"])
        found.append(TableFile(name, checkpoint + manifest["suffix"], *numbers))
  return found


def contains(prefix, name):
  """Whether the checkpoint `prefix` has a table that a Saver, ours or DeepRec's, saved under `name`, whole or in parts."""
  reader = py_checkpoint_reader.NewCheckpointReader(os.fspath(prefix))
  return any(reader.has_tensor(one + suffix) for one in (name, f"{name}/part_0") for suffix in (SUFFIX, "-keys"))


def _flat(strings):
  return [strings] if isinstance(strings, bytes) else strings.reshape(-1).tolist()


@contextlib.contextmanager
def checkpoint_prefix(prefix):
  """While it is open, `prefix` (string tensor) is the checkpoint that this thread saves or restores; the outermost counts."""
  outer = getattr(_local, "prefix", None)
  _local.prefix = prefix if outer is None else outer
  try:
    yield
  finally:
    _local.prefix = outer


@contextlib.contextmanager
def links_to(previous):
  """While it is open, what this thread makes to save a table makes links of a chain, each on the checkpoint `previous` (string
  tensor; empty: on none)."""
  outer, _local.previous = previous_link(), previous
  try:
    yield
  finally:
    _local.previous = outer


def previous_link():
  """The tensor of links_to; None: what is saved is no link."""
  return getattr(_local, "previous", None)


@contextlib.contextmanager
def saved_model():
  """While it is open, this thread writes a SavedModel."""
  _local.saved_model = True
  try:
    yield
  finally:
    _local.saved_model = False


@contextlib.contextmanager
def as_deeprec(wanted):
  """While it is open and `wanted`, Savers that this thread makes save tables as DeepRec's tensors."""
  outer = saves_as_deeprec()
  _local.as_deeprec = wanted
  try:
    yield
  finally:
    _local.as_deeprec = outer


def saves_as_deeprec():
  """Whether a Saver that is made now saves tables as DeepRec's tensors."""
  return getattr(_local, "as_deeprec", False)


def in_saved_model():
  """Whether what is saved now is a SavedModel: the functions in it that restore have no place for a file's name, so there
  a table is tensors."""
  return getattr(_local, "saved_model", False)


def current_prefix(variable_name):
  """The prefix of the checkpoint that this thread saves or restores.

  Raises:
    NotImplementedError: it does neither.
  """
  prefix = getattr(_local, "prefix", None)
  if prefix is None:
    raise NotImplementedError(
        f"EmbeddingVariable {variable_name!r} can be saved and restored by tf.train.Checkpoint, tf.saved_model, Keras and "
        "tf.compat.v1.train.Saver; what asks for its tensors now does not say which checkpoint they are for.")
  return prefix


def find(prefix, name):
  """String tensor: the manifests of the table or of all its parts that a Saver saved under `name`, read when it is run."""
  return raw_ops.ev_find_tables(prefix, base=name, suffix=SUFFIX)


class TableSaveSpec(saveable_object.SaveSpec):
  """What a saver saves of a table: the manifests of its files, which are written when `tensor` is asked for.

  Args:
    variable_name: str, for messages.
    write: callable, write(prefix, tensor_name) gives the manifests.
    name: str, of the tensor in the checkpoint; object-based savers set their own.
    device: str, where the table is.
  """

  def __init__(self, variable_name, write, name, device):

    def save():
      prefix = current_prefix(variable_name)
      with ops.device(device):
        return write(prefix, self.name)

    super().__init__(save, "", name, dtype=dtypes.string, device=device)
