"""What tf.compat.v1.train.Saver needs of a variable: the tensors to save, and the op that takes them back."""

from tensorflow.python.eager import context
from tensorflow.python.framework import ops
from tensorflow.python.training.saving import saveable_object

from ev_tf import table


class V1Saveable(saveable_object.SaveableObject):
  """The SaveableObject half of an EmbeddingVariable: a stock Saver takes the variable as it is.

  A variable `v` is saved as the tensors v-keys, v-values, v-slots, v-freqs, v-versions, v-default_rows, the layout of
  the slots, v-slot_names, v-slot_dims, v-slot_initials, and what a filter has counted and not admitted, v-keys_filtered,
  v-freqs_filtered, v-versions_filtered. The default rows are saved too: after a restore, an id that was never trained reads
  what it read before. Rows that the eviction option gives up leave the variable first.
  """

  optional_restore = False

  @property
  def specs(self):
    name = self._handle_name.rsplit(":", 1)[0]
    content = self._content_to_save()
    return [
        saveable_object.SaveSpec(tensor, "", f"{name}-{suffix}", dtype=dtype, device=self.device)
        for (suffix, dtype), tensor in zip(table.CONTENT.values(), content)
    ]

  def restore(self, restored_tensors, restored_shapes):
    del restored_shapes
    with ops.device(self.device):
      source = self._option.ckpt
      if source is not None and source.always_load_from_specific_ckpt:
        restored_tensors = table.content_of_checkpoint(source, self._table_spec.name)
      return table.restore_content(self._table_spec, self.handle, restored_tensors)

  def _content_to_save(self):
    """The content of this variable; in a graph one op, whichever Savers ask."""
    if context.executing_eagerly():
      return table.content_to_save(self._table_spec, self.handle)
    graph, content = getattr(self, "_cached_export", (None, None))
    if graph is not ops.get_default_graph():
      with ops.device(self.device), ops.control_dependencies(None):
        content = table.content_to_save(self._table_spec, self.handle)
      self._cached_export = (ops.get_default_graph(), content)
    return content
