"""tf.compat.v1.train.init_from_checkpoint and warm starts with tables: rows of another training to begin from.

Stock code looks for a dense tensor of each variable's name. So the tables are taken out of what it is asked for, and their
initializers are set here. Rows, initial rows and what a filter has counted are taken; slots start from their initial values, as
those of other variables do, and versions are 0, as the steps of the other training are not this one's.
"""

from collections import abc
import re

from tensorflow.python.framework import ops
from tensorflow.python.ops import variable_scope
from tensorflow.python.training import checkpoint_utils

from ev_tf import saver, table, table_file

_PART = re.compile(r"/part_\d+$")


def wrap_init_from_checkpoint(original):
  def init_from_checkpoint(ckpt_dir_or_file, assignment_map):
    pairs = list(assignment_map.items() if isinstance(assignment_map, abc.Mapping) else assignment_map)
    store = variable_scope._get_default_variable_store()._vars  # pylint: disable=protected-access
    ours, others = [], []
    for name_in_checkpoint, target in pairs:
      found = _tables_of(name_in_checkpoint, target, store)
      ours.extend(found)
      if not found or _is_scope(target, store):
        others.append((name_in_checkpoint, target))
    if not ours:
      return original(ckpt_dir_or_file, assignment_map)
    prefix = checkpoint_utils._get_checkpoint_filename(ckpt_dir_or_file)  # pylint: disable=protected-access
    for name_in_checkpoint, variable in ours:
      _set_initializer(variable, prefix, name_in_checkpoint)
    with _without_tables(store):
      return original(ckpt_dir_or_file, others)
  return init_from_checkpoint


def wrap_infer_var_name(original):
  """Calls a table by its name, and a part by that of the whole, as stock variables are called."""
  def infer_var_name(var):
    if isinstance(var[0], saver.SavedByName):
      return _PART.sub("", var[0].name.split(":")[0])
    return original(var)
  return infer_var_name


def _is_scope(target, store):
  return isinstance(target, str) and target not in store and f"{target}/part_0" not in store


def _tables_of(name_in_checkpoint, target, store):
  """list of (name in the checkpoint, EmbeddingVariable) that one entry of an assignment map means."""
  if _is_scope(target, store):
    if not name_in_checkpoint.endswith("/"):
      return []  # stock code says what is wrong
    scope, root = target[:target.rfind("/") + 1].lstrip("/"), name_in_checkpoint.lstrip("/")
    return [(root + _PART.sub("", name)[len(scope):], variable) for name, variable in store.items()
            if name.startswith(scope) and isinstance(variable, saver.SavedByName)]
  if isinstance(target, str):
    target = [variable for name, variable in store.items() if _PART.sub("", name) == target or name == target]
  given = target if isinstance(target, (list, tuple)) else [target]
  return [(name_in_checkpoint, saveable.op)
          for one in given if isinstance(one, saver.SavedByName) for saveable in one.saveables("")]


def _set_initializer(variable, prefix, name):
  if not table_file.contains(prefix, name):
    raise ValueError(f"Tensor {name}{table_file.SUFFIX} of EmbeddingVariable {variable.name!r} is not found in {prefix} checkpoint, "
                     f"nor {name}/part_0{table_file.SUFFIX}.")
  with ops.device(variable.device):
    variable._initializer_op = table.restore(variable._table_spec, variable.handle, prefix, table_file.find(prefix, name),  # pylint: disable=protected-access
                                             default_rows=variable.own_default_rows, warm_start=True)


class _without_tables:  # pylint: disable=invalid-name
  """Takes the tables out of a variable store while it is open."""

  def __init__(self, store):
    self._store = store

  def __enter__(self):
    self._all = dict(self._store)
    for name, variable in self._all.items():
      if isinstance(variable, saver.SavedByName):
        del self._store[name]

  def __exit__(self, *unused):
    self._store.clear()
    self._store.update(self._all)
