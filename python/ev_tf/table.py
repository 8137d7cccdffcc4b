"""The resource behind an embedding variable, and how its content goes to tensors and back."""

import collections
import os

from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import constant_op, cpp_shape_inference_pb2, dtypes, ops, tensor_shape
from tensorflow.python.ops import array_ops_stack, control_flow_ops, gen_resource_variable_ops, math_ops
from tensorflow.python.trackable import base as trackable_base
from tensorflow.python.trackable import resource as trackable_resource
from tensorflow.python.training import training_util

from ev_tf import deeprec_tensors, serving, table_file
from ev_tf import options as option_lib
from ev_tf._native import raw_ops

# Ids are grouped by floormod(id, BUCKETS) before they are spread over the parts, as DeepRec does: a checkpoint's rows
# can be spread over any number of parts again.
BUCKETS = 1000

# A table as tensors, in the order of the ops' outputs: what export() gives, and SavedModels and Keras's files hold. In a
# SavedModel a tensor's name is <table>-<suffix>.
CONTENT = collections.OrderedDict(
    keys=("keys", dtypes.int64),
    values=("values", dtypes.float32),
    slots=("slots", dtypes.float32),
    slot_names=("slot_names", dtypes.string),
    slot_dims=("slot_dims", dtypes.int64),
    slot_initials=("slot_initials", dtypes.float32),
    frequencies=("freqs", dtypes.int64),
    versions=("versions", dtypes.int64),
    default_rows=("default_rows", dtypes.float32),
    filtered_keys=("keys_filtered", dtypes.int64),
    filtered_frequencies=("freqs_filtered", dtypes.int64),
    filtered_versions=("versions_filtered", dtypes.int64),
)

StorageAttrs = collections.namedtuple(
    "StorageAttrs", ["storage_type", "storage_path", "dram_bytes", "middle_bytes", "cache_strategy"],
    defaults=[1, "", 1 << 30, 1 << 30, 1])
StorageAttrs.__doc__ = """Where the rows of a table are kept, as attributes of the ops that make one; the default is DRAM.

storage_type: int, of a StorageType. storage_path: str. dram_bytes, middle_bytes: int. cache_strategy: int, of a
CacheStrategy."""

FeatureAttrs = collections.namedtuple(
    "FeatureAttrs", ["filter_freq", "max_element_size", "false_positive_probability", "counter_bytes",
                     "default_value_no_permission", "steps_to_live", "l2_weight_threshold"],
    defaults=[0, 0, 0.0, 8, 0.0, 0, -1.0])
FeatureAttrs.__doc__ = """Which ids have a row and for how long, as attributes of the ops that make a table; the default is all, for ever.

filter_freq: int, 0 for no filter. max_element_size, false_positive_probability, counter_bytes: of a counting Bloom filter; 0
and 0.0 for exact counts. default_value_no_permission: float. steps_to_live: int, 0 for ever. l2_weight_threshold: float."""

TableSpec = collections.namedtuple(
    "TableSpec", ["name", "dim", "default_value_dim", "key_dtype", "record_frequency", "record_version", "storage",
                  "features", "partition", "partitions"],
    defaults=[StorageAttrs(), FeatureAttrs(), 0, 1])
TableSpec.__doc__ = """What a table is made from.

name: str, the variable's name, for messages. dim: int, floats of a row. default_value_dim: int, rows of the default
matrix. key_dtype: tf.int32 or tf.int64, of the ids that Python gives. record_frequency, record_version: bool. storage:
StorageAttrs. features: FeatureAttrs. partition, partitions: int, which part of how many of a partitioned variable."""


def storage_attrs(option):
  """The StorageAttrs of a StorageOption."""
  path = "" if option.storage_path is None else os.fspath(option.storage_path)
  return StorageAttrs(int(option.effective_type), path, *option.storage_size[:2], int(option.cache_strategy))


def feature_attrs(option):
  """The FeatureAttrs of an EmbeddingVariableOption."""
  chosen = dict(default_value_no_permission=float(option.init_option.default_value_no_permission))
  kept = option.filter_option
  if kept is not None:
    chosen["filter_freq"] = kept.filter_freq
  if isinstance(kept, option_lib.CBFFilter) and kept.max_element_size > 0:
    chosen.update(max_element_size=kept.max_element_size, false_positive_probability=kept.false_positive_probability,
                  counter_bytes=kept.counter_bytes)
  if isinstance(option.evict_option, option_lib.GlobalStepEvict):
    chosen["steps_to_live"] = option.evict_option.steps_to_live or 0
  if isinstance(option.evict_option, option_lib.L2WeightEvict):
    chosen["l2_weight_threshold"] = float(option.evict_option.l2_weight_threshold)
  return FeatureAttrs(**chosen)


def make_handle(spec, shared_name, name=None):
  """Scalar resource tensor: the handle of a table that `initialize` or `restore` brings into being.

  Args:
    spec: TableSpec.
    shared_name: str, the resource's name; two handles of one name on one device are one table.
    name: str or None, name of the op.
  """
  shape = tensor_shape.TensorShape([spec.default_value_dim, spec.dim])
  handle = raw_ops.ev_handle_op(dim=spec.dim, shape=shape, dtype=dtypes.float32, key_dtype=spec.key_dtype,
                                shared_name=shared_name, name=name)
  if isinstance(handle, ops.EagerTensor):
    handle._handle_data = _handle_data(spec.dim)  # pylint: disable=protected-access
  return handle


def _handle_data(dim):
  """What the shape function of EvHandleOp says of a handle in a graph: see there."""
  shape = tensor_shape.TensorShape([0, dim])
  data = cpp_shape_inference_pb2.CppShapeInferenceResult.HandleData()
  data.is_set = True
  data.shape_and_type.append(cpp_shape_inference_pb2.CppShapeInferenceResult.HandleShapeAndType(
      shape=shape.as_proto(), dtype=types_pb2.DT_FLOAT))
  return data


def initialize(spec, handle, default_rows):
  """Op that creates the table unless it exists. default_rows: float32 [default_value_dim, dim]."""
  return raw_ops.ev_initialize(handle, default_rows, variable_name=spec.name, record_frequency=spec.record_frequency,
                               record_version=spec.record_version, **spec.storage._asdict(),
                               **spec.features._asdict())


def export_content(spec, handle, empty_if_uninitialized=False):
  """The tensors of CONTENT, in its order."""
  return raw_ops.ev_export(handle, dim=spec.dim, empty_if_uninitialized=empty_if_uninitialized)


def restore_content(spec, handle, tensors):
  """Op that puts `tensors`, as export_content gives them, in the place of the table's content."""
  return raw_ops.ev_import(handle, *tensors, dim=spec.dim, variable_name=spec.name,
                           record_frequency=spec.record_frequency, record_version=spec.record_version,
                           **spec.storage._asdict(), **spec.features._asdict())


def shrink(handle, global_step=None, skip_uninitialized=False, name=None):
  """Scalar int64: how many rows the table's eviction option has dropped.

  Args:
    handle: of the table.
    global_step: int, scalar integer tensor, or None for that of tf.compat.v1.train.get_global_step(); where there is none,
      the largest step that an update has brought.
    skip_uninitialized: bool, drop nothing where there is no table, instead of an error.
    name: str or None.
  """
  step = training_util.get_global_step() if global_step is None else global_step
  step = ops.convert_to_tensor(-1 if step is None else step)
  if not step.dtype.is_integer:
    raise TypeError(f"shrink: global_step: expected an int or an integer tensor, got {step.dtype.name}.")
  return raw_ops.ev_shrink(handle, math_ops.cast(step, dtypes.int64), skip_uninitialized=skip_uninitialized, name=name)


def shrink_before_save(spec, handle):
  """list of ops to run before a table is saved: one that drops the rows that its eviction option gives up, if there is one."""
  if spec.features.steps_to_live <= 0 and spec.features.l2_weight_threshold <= 0:
    return []
  return [shrink(handle, skip_uninitialized=True)]


def content_to_save(spec, handle, empty_if_uninitialized=False):
  """What export_content gives, once the rows that the table's eviction option gives up have left it."""
  with ops.control_dependencies(shrink_before_save(spec, handle)):
    return export_content(spec, handle, empty_if_uninitialized)


def save(spec, handle, prefix, tensor_name, frozen="no"):
  """String tensor: the manifest of a file beside a checkpoint, which holds the table once this is run; of a link of a chain, the
  manifests of its files.

  Rows that the table's eviction option gives up leave it first.

  Args:
    spec: TableSpec.
    handle: of the table.
    prefix: scalar string tensor, the checkpoint's.
    tensor_name: str, of the tensor in the checkpoint that will hold the manifest.
    frozen: "no", or for serving "memory" or "files"; see serving.frozen. Not for a link of a chain.
  """
  with ops.control_dependencies(shrink_before_save(spec, handle)):
    where = {"tensor_name": tensor_name, "partition": spec.partition, "partitions": spec.partitions}
    previous = table_file.previous_link()
    if previous is not None and frozen != "no":
      raise ValueError(f"EmbeddingVariable {spec.name!r}: expected a Saver of whole checkpoints while ev_tf.serving.frozen is "
                       "open, got one that saves increments.")
    if previous is not None:
      return raw_ops.ev_save_link(handle, prefix, previous, **where)
    return raw_ops.ev_save(handle, prefix, frozen=frozen, **where)


def restore(spec, handle, prefix, manifests, default_rows=None, known_slots=None, warm_start=False):
  """Op that puts what a checkpoint holds of a table, or the part of it that `spec` says, in the place of the table's content.

  Args:
    spec: TableSpec.
    handle: of the table.
    prefix: scalar string tensor, the checkpoint's.
    manifests: string tensor, of the table or of all its parts.
    default_rows: float32 [default_value_dim, dim] or None, where the table does not exist yet; see EvRestore.
    known_slots: EmbeddingVariable.known_slots, or None for none.
    warm_start: bool, slots start from their initial values and versions from 0.
  """
  slots = deeprec_tensors.slots_to_restore(known_slots or {})
  return raw_ops.ev_restore(handle, prefix, manifests, [] if default_rows is None else [default_rows],
                            slot_tensors=[slot.tensor for slot in slots], slot_names=[slot.name for slot in slots],
                            slot_dims=[slot.dim for slot in slots],
                            slot_initial_values=[slot.initial for slot in slots], partition=spec.partition,
                            partitions=spec.partitions, dim=spec.dim, warm_start=warm_start, variable_name=spec.name,
                            key_dtype=spec.key_dtype, record_frequency=spec.record_frequency,
                            record_version=spec.record_version, **spec.storage._asdict(), **spec.features._asdict())


def restore_by_name(spec, handle, prefix, name, **kwargs):
  """restore() of what a Saver saved under `name`; that of part i of this variable may end in "/part_<i>"."""
  if spec.partitions > 1:
    name = name.removesuffix(f"/part_{spec.partition}")
  return restore(spec, handle, prefix, table_file.find(prefix, name), **kwargs)


def restore_from_option(spec, handle, option, default_rows, known_slots=None):
  """restore() of what a CheckpointOption with a ckpt_to_load_from names."""
  name = spec.name if option.tensor_name_in_ckpt is None else option.tensor_name_in_ckpt
  return restore_by_name(spec, handle, os.fspath(option.ckpt_to_load_from), name, default_rows=default_rows,
                         known_slots=known_slots)


class _InCheckpoints:
  """The part of an object that object-based checkpoints save and restore. A subclass gives _tables()."""

  def _tables(self):
    """list of (TableSpec, handle): a table, or all parts of one."""
    raise NotImplementedError

  def _copy_trackable_to_cpu(self, object_map):
    """An asynchronous checkpoint needs no copy: a table is saved while training goes on."""

  def _serialize_to_tensors(self):
    tables = self._tables()

    def write(prefix, tensor_name):
      manifests = []
      for spec, handle in tables:
        with ops.device(handle.device):
          manifests.append(save(spec, handle, prefix, tensor_name))
      return array_ops_stack.stack(manifests)

    spec, handle = tables[0]
    device = handle.device or "/device:CPU:0"
    return {table_file.ATTRIBUTE: table_file.TableSaveSpec(spec.name, write, table_file.ATTRIBUTE, device)}

  def _restore_from_tensors(self, restored_tensors):
    restored = []
    for spec, handle in self._tables():
      with ops.device(handle.device):
        prefix = table_file.current_prefix(spec.name)
        restored.append(restore(spec, handle, prefix, restored_tensors[table_file.ATTRIBUTE]))
    return control_flow_ops.group(*restored)


class TableContent(_InCheckpoints, trackable_base.Trackable):
  """A table of a graph, or all parts of a partitioned variable, as object-based checkpoints see them.

  Args:
    tables: list of (TableSpec, handle), at least one.
  """

  def __init__(self, tables):
    self._members = tables

  def _tables(self):
    return self._members


class EmbeddingTable(_InCheckpoints, trackable_resource.CapturableResource):
  """The table of an eager variable, as object-based checkpoints and SavedModels see it. Destroys it when collected.

  Args:
    spec: TableSpec.
    shared_name: str.
    default_rows: float32 eager tensor [default_value_dim, dim].
  """

  def __init__(self, spec, shared_name, default_rows):
    super().__init__(device="CPU")
    self._spec = spec
    self._shared_name = shared_name
    self.default_rows = default_rows

  def _create_resource(self):
    return make_handle(self._spec, self._shared_name)

  def _frozen_rows(self):
    """The Asset with this table, while a SavedModel is written for serving; else None."""
    export = serving.export()
    if export is None or export.directory is None:
      return None

    def write(path, served_from):
      handle = raw_ops.ev_handle_op(dim=self._spec.dim, shared_name=self._shared_name)
      with ops.control_dependencies(shrink_before_save(self._spec, handle)):
        raw_ops.ev_save_frozen(handle, path, served_from=served_from)

    return export.asset(self._spec, self._shared_name, write)

  def _trackable_children(self, save_type=trackable_base.SaveType.CHECKPOINT, **kwargs):
    children = super()._trackable_children(save_type, **kwargs)
    if save_type == trackable_base.SaveType.SAVEDMODEL and self._frozen_rows() is not None:
      children["frozen_rows"] = self._frozen_rows()
    return children

  def _initialize(self):
    rows = self._frozen_rows()
    if rows is not None:
      return raw_ops.ev_initialize_frozen(
          self.resource_handle, rows.asset_path, dim=self._spec.dim, variable_name=self._spec.name,
          dram_bytes=serving.export().dram_bytes(self._spec), cache_strategy=self._spec.storage.cache_strategy)
    default_rows = self.default_rows
    if not isinstance(self.resource_handle, ops.EagerTensor):  # inside the initializer of a SavedModel
      default_rows = constant_op.constant(default_rows.numpy())
    return initialize(self._spec, self.resource_handle, default_rows)

  def _destroy_resource(self):
    gen_resource_variable_ops.destroy_resource_op(self.resource_handle, ignore_lookup_error=True)

  def _tables(self):
    return [(self._spec, self.resource_handle)]

  def _serialize_to_tensors(self):
    if not table_file.in_saved_model():
      return super()._serialize_to_tensors()
    if self._frozen_rows() is not None:
      return {}
    # A loader asks for the tensors before anything is initialized.
    content = content_to_save(self._spec, self.resource_handle, empty_if_uninitialized=True)
    return {f"-{suffix}": tensor for (suffix, _), tensor in zip(CONTENT.values(), content)}

  def _restore_from_tensors(self, restored_tensors):
    if table_file.ATTRIBUTE in restored_tensors:
      return super()._restore_from_tensors(restored_tensors)
    if not restored_tensors:  # of a SavedModel for serving, which has them in a file
      return control_flow_ops.no_op()
    tensors = [restored_tensors[f"-{suffix}"] for suffix, _ in CONTENT.values()]
    return restore_content(self._spec, self.resource_handle, tensors)
