"""The resource behind an embedding variable, and how its content goes to tensors and back."""

import collections
import os
import re

from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import constant_op, cpp_shape_inference_pb2, dtypes, ops, tensor_shape
from tensorflow.python.ops import gen_resource_variable_ops, io_ops, math_ops
from tensorflow.python.trackable import base as trackable_base
from tensorflow.python.trackable import resource as trackable_resource
from tensorflow.python.training import training_util

from ev_tf import options as option_lib
from ev_tf._native import raw_ops

# Tensors of a checkpoint, in the order of the ops' outputs. Name of a tensor: <variable>-<suffix>.
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
                  "features"],
    defaults=[StorageAttrs(), FeatureAttrs()])
TableSpec.__doc__ = """What a table is made from.

name: str, the variable's name, for messages. dim: int, floats of a row. default_value_dim: int, rows of the default
matrix. key_dtype: tf.int32 or tf.int64, of the ids that Python gives. record_frequency, record_version: bool. storage:
StorageAttrs. features: FeatureAttrs."""


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


def content_to_save(spec, handle, empty_if_uninitialized=False):
  """What export_content gives, once the rows that the table's eviction option gives up have left it."""
  if spec.features.steps_to_live <= 0 and spec.features.l2_weight_threshold <= 0:
    return export_content(spec, handle, empty_if_uninitialized)
  with ops.control_dependencies([shrink(handle, skip_uninitialized=True)]):
    return export_content(spec, handle, empty_if_uninitialized)


def content_of_checkpoint(option, name):
  """The tensors of CONTENT that a CheckpointOption names, read when they are run.

  Args:
    option: CheckpointOption with a ckpt_to_load_from.
    name: str, of the variable; that of a part ends in "/part_<i>".
  """
  if option.tensor_name_in_ckpt is not None:
    part = re.search(r"/part_\d+$", name)
    name = option.tensor_name_in_ckpt + (part.group() if part else "")
  return io_ops.restore_v2(os.fspath(option.ckpt_to_load_from), [f"{name}-{suffix}" for suffix, _ in CONTENT.values()],
                           [""] * len(CONTENT), [dtype for _, dtype in CONTENT.values()])


class TableContent(trackable_base.Trackable):
  """The table of a graph's variable, as object-based checkpoints see it.

  Args:
    spec: TableSpec.
    handle: the variable's handle.
  """

  def __init__(self, spec, handle):
    self._spec = spec
    self._handle = handle

  def _serialize_to_tensors(self):
    return _by_suffix(content_to_save(self._spec, self._handle))

  def _restore_from_tensors(self, restored_tensors):
    return restore_content(self._spec, self._handle, [restored_tensors[f"-{suffix}"] for suffix, _ in CONTENT.values()])


def _by_suffix(content):
  return {f"-{suffix}": tensor for (suffix, _), tensor in zip(CONTENT.values(), content)}


class EmbeddingTable(trackable_resource.CapturableResource):
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

  def _initialize(self):
    default_rows = self.default_rows
    if not isinstance(self.resource_handle, ops.EagerTensor):  # inside the initializer of a SavedModel
      default_rows = constant_op.constant(default_rows.numpy())
    return initialize(self._spec, self.resource_handle, default_rows)

  def _destroy_resource(self):
    gen_resource_variable_ops.destroy_resource_op(self.resource_handle, ignore_lookup_error=True)

  def _serialize_to_tensors(self):
    # A SavedModel loader asks for the tensors before anything is initialized.
    return _by_suffix(content_to_save(self._spec, self.resource_handle, empty_if_uninitialized=True))

  def _restore_from_tensors(self, restored_tensors):
    tensors = [restored_tensors[f"-{suffix}"] for suffix, _ in CONTENT.values()]
    return restore_content(self._spec, self.resource_handle, tensors)
