"""Stock savers and the tables of variables: what they ask a variable for, and the hooks that tell which checkpoint it is for.

Where the tables go stands in table_file.py.
"""

from tensorflow.python.framework import ops
from tensorflow.python.training.saving import saveable_object

from ev_tf import deeprec_tensors, serving, table, table_file


class SavedByName(saveable_object.SaveableObject):
  """Marks a variable that a tf.compat.v1.train.Saver takes as it is. A subclass gives saveables(name)."""

  optional_restore = False

  def saveables(self, name):
    """list of TableSaveable: what a Saver that calls the variable `name` saves and restores."""
    raise NotImplementedError


class TableSaveable(saveable_object.SaveableObject):
  """One variable in a Saver: a variable v is the string tensor v-table, its part 0 is v/part_0-table.

  Another number of parts than was saved takes the rows that are its own. The default rows are saved too: after a restore, an id
  that was never trained reads what it read before. Rows that the eviction option gives up leave the variable first.

  One that is made while serving.frozen() is open saves tables for serving.

  Args:
    variable: EmbeddingVariable.
    spec: its TableSpec.
    name: str, in the checkpoint.
  """

  optional_restore = False

  def __init__(self, variable, spec, name):
    frozen = "no"
    export = serving.export()
    if export is not None:
      frozen = export.served_from(spec)
      spec = spec._replace(storage=spec.storage._replace(dram_bytes=export.dram_bytes(spec)))
      export.any_table = True

    def write(prefix, tensor_name):
      return table.save(spec, variable.handle, prefix, tensor_name, frozen)

    super().__init__(variable, [table_file.TableSaveSpec(name, write, name + table_file.SUFFIX, variable.device)], name)
    self._spec = spec
    self._frozen = frozen != "no"
    self._known = variable.known_slots

  def restore(self, restored_tensors, restored_shapes):
    del restored_tensors, restored_shapes  # the op reads the checkpoint itself, as it may have other parts
    source = self.op.option.ckpt
    with ops.device(self.device):
      if source is not None and source.always_load_from_specific_ckpt and not self._frozen:
        return table.restore_from_option(self._spec, self.op.handle, source, self.op.own_default_rows, self._known)
      return table.restore_by_name(self._spec, self.op.handle, table_file.current_prefix(self.name), self.name,
                                   default_rows=self.op.own_default_rows, known_slots=self._known)


class DeepRecSaveable(TableSaveable):
  """One variable in a Saver that saves for DeepRec: the tensors of deeprec_tensors.py. It restores either format."""

  def __init__(self, variable, spec, name):
    if serving.export() is not None:
      raise ValueError(f"EmbeddingVariable {variable.name!r}: expected checkpoint_format='table' while "
                       "ev_tf.serving.frozen is open, got 'deeprec'.")
    super().__init__(variable, spec, name)
    self.specs = deeprec_tensors.save_specs(spec, variable.handle, name, variable.known_slots,
                                            lambda: table.shrink_before_save(spec, variable.handle), variable.device)


# The wrappers of patches.py.


def wrap_saveable_objects_for_op(original):
  def saveable_objects_for_op(op, name):
    if isinstance(op, SavedByName):
      return iter(op.saveables(name.rsplit(":", 1)[0]))
    return original(op, name)
  return saveable_objects_for_op


def wrap_save_op(original):
  def save_op(self, filename_tensor, saveables):
    with table_file.checkpoint_prefix(filename_tensor):
      return original(self, filename_tensor, saveables)
  return save_op


def wrap_sharded_save(original):
  def add_sharded_save_ops(self, checkpoint_prefix, per_device):
    with table_file.checkpoint_prefix(checkpoint_prefix):
      return original(self, checkpoint_prefix, per_device)
  return add_sharded_save_ops


def wrap_add_restore_ops(original):
  def add_restore_ops(self, filename_tensor, saveables, *args, **kwargs):
    with table_file.checkpoint_prefix(filename_tensor):
      return original(self, filename_tensor, saveables, *args, **kwargs)
  return add_restore_ops


def wrap_bulk_restore(original):
  """Leaves tables out of what is read: they read their own."""
  def bulk_restore(self, filename_tensor, saveables, *args, **kwargs):
    others = [saveable for saveable in saveables if not isinstance(saveable, TableSaveable)]
    restored = iter(original(self, filename_tensor, others, *args, **kwargs) if others else ())
    return [filename_tensor if isinstance(saveable, TableSaveable) else next(restored)
            for saveable in saveables for _ in saveable.specs]
  return bulk_restore


def wrap_multi_device(original):
  def save_or_restore(self, file_prefix, *args, **kwargs):
    with table_file.checkpoint_prefix(file_prefix):
      return original(self, file_prefix, *args, **kwargs)
  return save_or_restore


def wrap_saved_model(original):
  def save(obj, export_dir, *args, **kwargs):
    with table_file.saved_model(), serving.written_to(export_dir):
      return original(obj, export_dir, *args, **kwargs)
  return save
