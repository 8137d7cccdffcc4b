"""An embedding variable in several parts, e.g. one on each parameter server, that reads like one."""

from tensorflow.python.framework import dtypes, ops
from tensorflow.python.ops import array_ops, control_flow_ops, data_flow_ops, math_ops, resource_variable_ops, variables
from tensorflow.python.trackable import base as trackable

from ev_tf import saver, table
from ev_tf import variable as variable_lib
from ev_tf.table import BUCKETS


def route(ids, parts):
  """int32 tensor, shape of ids: the part of each id, floormod(floormod(id, 1000), parts).

  Args:
    ids: int64 or int32 tensor; negative ids are routed like any other.
    parts: int >= 1.

  Example:
    >>> route(tf.constant([0, 7, -1, 1002], tf.int64), 2).numpy().tolist()
    [0, 1, 1, 0]
  """
  bucket = math_ops.floormod(ids, ops.convert_to_tensor(BUCKETS, ids.dtype))
  return math_ops.cast(math_ops.floormod(bucket, ops.convert_to_tensor(parts, ids.dtype)), dtypes.int32)


class PartitionedEmbeddingVariable(variable_lib.CheckpointNode, variable_lib.NoDenseValue,
                                   resource_variable_ops.ResourceVariable, saver.SavedByName):
  """The front of a partitioned variable: what get_embedding_variable gives when a partitioner is set.

  Lookups take it like one variable. The parts, EmbeddingVariables in `list(variable)`, are what collections, Savers and
  optimizers see: pass those to compute_gradients(var_list=...) and tape.gradient.

  Example:
    >>> front = get_embedding_variable("doc/parted", 4, partitioner=tf.compat.v1.fixed_size_partitioner(2))
    >>> len(front), tf.nn.embedding_lookup(front, tf.constant([1, 2, -3], tf.int64)).shape
    (2, TensorShape([3, 4]))
  """

  @classmethod
  def _variable_call(cls, *args, **kwargs):
    return None

  def __init__(self, name, parts):
    """Args:
      name: str, the name of which the parts are name/part_0, name/part_1 ...
      parts: list of EmbeddingVariable, at least one, in order.
    """
    first = parts[0]
    self._parts = tuple(parts)
    self._table = table.TableContent([(part._table_spec, part.handle) for part in parts])  # pylint: disable=protected-access
    self._shared_name_value = name
    resource_variable_ops.BaseResourceVariable.__init__(
        self, trainable=first.trainable, shape=first.shape, dtype=first.dtype, handle=first.handle, name=name,
        handle_name=name, unique_id=f"{name}_{ops.uid()}", in_graph_mode=first._in_graph_mode,  # pylint: disable=protected-access
        graph_element=first._graph_element,  # pylint: disable=protected-access
        synchronization=variables.VariableSynchronization.AUTO, aggregation=variables.VariableAggregation.NONE)

  def __iter__(self):
    return iter(self._parts)

  def __len__(self):
    # In code that AutoGraph converts, len(front) is the first dimension of `shape`: len(front._parts) is meant here.
    return len(self._parts)

  def __getitem__(self, index):
    return self._parts[index]

  def __bool__(self):
    return True

  def __repr__(self):
    return f"<PartitionedEmbeddingVariable {self.name!r} parts={len(self)} dim={self.dim}>"

  @property
  def _type_spec(self):
    return variable_lib.EmbeddingVariableSpec(self.shape, self.dtype, self.trainable, None)

  @property
  def _shared_name(self):
    return self._shared_name_value

  def get_shape(self):
    return self.shape

  def _checkpoint_children(self):
    return {"table": self._table}  # as a variable without parts, so that each restores what the other saved

  def _trackable_children(self, save_type=trackable.SaveType.CHECKPOINT, **kwargs):
    if save_type == trackable.SaveType.SAVEDMODEL:
      return {f"part_{i}": part for i, part in enumerate(self._parts)}
    return super()._trackable_children(save_type, **kwargs)

  def saveables(self, name):
    # A Saver finds the parts in the collections; one that is given the front saves them under the same names.
    return [saveable for i, part in enumerate(self._parts) for saveable in part.saveables(f"{name}/part_{i}")]

  @property
  def dim(self):
    """int, floats of one row."""
    return self._parts[0].dim

  @property
  def key_dtype(self):
    """tf.int64 or tf.int32, the type of the ids."""
    return self._parts[0].key_dtype

  @property
  def option(self):
    """The EmbeddingVariableOption of the parts."""
    return self._parts[0].option

  @property
  def storage_type(self):
    """See EmbeddingVariable.storage_type."""
    return self._parts[0].storage_type

  @property
  def steps_to_live(self):
    """See EmbeddingVariable.steps_to_live."""
    return self._parts[0].steps_to_live

  @property
  def block_num(self):
    """See EmbeddingVariable.block_num."""
    return self._parts[0].block_num

  @property
  def invalid_key(self):
    """See EmbeddingVariable.invalid_key."""
    return self._parts[0].invalid_key

  def need_counts(self):
    """See EmbeddingVariable.need_counts."""
    return self._parts[0].need_counts()

  def is_initialized(self, name=None):
    """Scalar bool tensor: whether the tables of all parts exist."""
    return math_ops.reduce_all(ops.convert_to_tensor([part.is_initialized() for part in self._parts]), name=name)

  def sparse_read(self, indices, name=None, ev_init_value=None, counts=None):
    """The rows of ids, float32, indices.shape + [dim]; see EmbeddingVariable.sparse_read."""
    with ops.name_scope(name or "PartitionedGather"), ops.colocate_with(None, ignore_existing=True):
      beside = {}
      if ev_init_value is not None:
        beside["ev_init_value"] = array_ops.reshape(ev_init_value, [-1, self.dim])
      if counts is not None:
        beside["counts"] = array_ops.reshape(counts, [-1])
      return self._per_part(indices, lambda part, ids, **given: part.sparse_read(ids, **given), [self.dim], beside)

  def get_frequency(self, ids, name=None):
    """See EmbeddingVariable.get_frequency."""
    with ops.name_scope(name or "PartitionedFrequency"):
      return self._per_part(ids, lambda part, keys: part.get_frequency(keys), [])

  def get_version(self, ids, name=None):
    """See EmbeddingVariable.get_version."""
    with ops.name_scope(name or "PartitionedVersion"):
      return self._per_part(ids, lambda part, keys: part.get_version(keys), [])

  def _per_part(self, indices, read, inner_shape, beside=None):
    """Splits ids over the parts, calls read(part, ids of the part), and puts the answers in the ids' order.

    `beside` are tensors by name that have one entry an id; each part gets its entries as arguments of that name.
    """
    ids = self._parts[0]._keys(indices)  # pylint: disable=protected-access
    flat = array_ops.reshape(ids, [-1])
    homes = route(flat, len(self._parts))
    ids_of_part = data_flow_ops.dynamic_partition(flat, homes, len(self._parts))
    places_of_part = data_flow_ops.dynamic_partition(math_ops.range(array_ops.size(flat)), homes, len(self._parts))
    beside_of_part = {name: data_flow_ops.dynamic_partition(entries, homes, len(self._parts))
                      for name, entries in (beside or {}).items()}
    answers = []
    for i, (part, part_ids) in enumerate(zip(self._parts, ids_of_part)):
      with ops.colocate_with(part.handle, ignore_existing=True):
        answers.append(read(part, part_ids, **{name: entries[i] for name, entries in beside_of_part.items()}))
    joined = data_flow_ops.parallel_dynamic_stitch(places_of_part, answers)
    result = array_ops.reshape(joined, array_ops.concat([array_ops.shape(ids), inner_shape], 0))
    result.set_shape(ids.shape.concatenate(inner_shape))
    return result

  def size(self, name=None):
    """Scalar int64 tensor: how many ids have a row, in all parts."""
    return math_ops.add_n([part.size() for part in self._parts], name=name)

  def get_dynamic_shape(self, name=None):
    """int32 tensor [2]: [how many ids have a row, dim]."""
    return ops.convert_to_tensor([math_ops.cast(self.size(), dtypes.int32), self.dim], name=name)

  def total_count(self, name=None):
    """DeepRec's older name of get_dynamic_shape()."""
    return self.get_dynamic_shape(name)

  def export(self):
    """Every row of every part; see EmbeddingVariable.export."""
    exports = [part.export() for part in self._parts]
    return variable_lib.ExportedRows(*(array_ops.concat(columns, 0) for columns in zip(*exports)))

  def export_slot(self, slot_name):
    """The slot's rows of every part; see EmbeddingVariable.export_slot."""
    return tuple(array_ops.concat(columns, 0) for columns in zip(*(part.export_slot(slot_name) for part in self._parts)))

  def remove(self, ids, name=None):
    """Drops the rows of ids in whatever part; gives how many were dropped."""
    return math_ops.add_n([part.remove(ids) for part in self._parts], name=name)

  def shrink(self, global_step=None, name=None):
    """See EmbeddingVariable.shrink; gives how many rows were dropped in all parts."""
    return math_ops.add_n([part.shrink(global_step) for part in self._parts], name=name)

  def metrics(self):
    """The sums of the parts' metrics; row_bytes is that of one row, amplifications are of all, latencies the longest."""
    return variable_lib.summed([part.metrics() for part in self._parts])

  def flush_evictions(self, name=None):
    """See EmbeddingVariable.flush_evictions."""
    return control_flow_ops.group(*(part.flush_evictions() for part in self._parts), name=name)

  def prefetch(self, ids, name=None):
    """See EmbeddingVariable.prefetch."""
    with ops.name_scope(name or "PartitionedPrefetch"):
      flat = array_ops.reshape(self._parts[0]._keys(ids), [-1])  # pylint: disable=protected-access
      ids_of_part = data_flow_ops.dynamic_partition(flat, route(flat, len(self._parts)), len(self._parts))
      done = []
      for part, part_ids in zip(self._parts, ids_of_part):
        with ops.colocate_with(part.handle, ignore_existing=True):
          done.append(part.prefetch(part_ids))
      return control_flow_ops.group(*done)

  def lookup_tier(self, ids, name=None):
    """See EmbeddingVariable.lookup_tier."""
    with ops.name_scope(name or "PartitionedLookupTier"):
      return self._per_part(ids, lambda part, keys: part.lookup_tier(keys), [])
