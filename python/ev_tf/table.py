"""The resource behind an embedding variable, and how its content goes to tensors and back."""

import collections
import os

from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import constant_op, cpp_shape_inference_pb2, dtypes, ops, tensor_shape
from tensorflow.python.ops import gen_resource_variable_ops
from tensorflow.python.trackable import base as trackable_base
from tensorflow.python.trackable import resource as trackable_resource

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
)

StorageAttrs = collections.namedtuple(
    "StorageAttrs", ["storage_type", "storage_path", "dram_bytes", "middle_bytes", "cache_strategy"],
    defaults=[1, "", 1 << 30, 1 << 30, 1])
StorageAttrs.__doc__ = """Where the rows of a table are kept, as attributes of the ops that make one; the default is DRAM.

storage_type: int, of a StorageType. storage_path: str. dram_bytes, middle_bytes: int. cache_strategy: int, of a
CacheStrategy."""

TableSpec = collections.namedtuple(
    "TableSpec", ["name", "dim", "default_value_dim", "key_dtype", "record_frequency", "record_version", "storage"],
    defaults=[StorageAttrs()])
TableSpec.__doc__ = """What a table is made from.

name: str, the variable's name, for messages. dim: int, floats of a row. default_value_dim: int, rows of the default
matrix. key_dtype: tf.int32 or tf.int64, of the ids that Python gives. record_frequency, record_version: bool. storage:
StorageAttrs."""


def storage_attrs(option):
  """The StorageAttrs of a StorageOption."""
  path = "" if option.storage_path is None else os.fspath(option.storage_path)
  return StorageAttrs(int(option.effective_type), path, *option.storage_size[:2], int(option.cache_strategy))


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
                               record_version=spec.record_version, **spec.storage._asdict())


def export_content(spec, handle, empty_if_uninitialized=False):
  """The tensors of CONTENT, in its order."""
  return raw_ops.ev_export(handle, dim=spec.dim, empty_if_uninitialized=empty_if_uninitialized)


def restore_content(spec, handle, tensors):
  """Op that puts `tensors`, as export_content gives them, in the place of the table's content."""
  return raw_ops.ev_import(handle, *tensors, dim=spec.dim, variable_name=spec.name,
                           record_frequency=spec.record_frequency, record_version=spec.record_version,
                           **spec.storage._asdict())


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
    return _by_suffix(export_content(self._spec, self._handle))

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
    self._default_rows = default_rows

  def _create_resource(self):
    return make_handle(self._spec, self._shared_name)

  def _initialize(self):
    default_rows = self._default_rows
    if not isinstance(self.resource_handle, ops.EagerTensor):  # inside the initializer of a SavedModel
      default_rows = constant_op.constant(default_rows.numpy())
    return initialize(self._spec, self.resource_handle, default_rows)

  def _destroy_resource(self):
    gen_resource_variable_ops.destroy_resource_op(self.resource_handle, ignore_lookup_error=True)

  def _serialize_to_tensors(self):
    # A SavedModel loader asks for the tensors before anything is initialized.
    return _by_suffix(export_content(self._spec, self.resource_handle, empty_if_uninitialized=True))

  def _restore_from_tensors(self, restored_tensors):
    tensors = [restored_tensors[f"-{suffix}"] for suffix, _ in CONTENT.values()]
    return restore_content(self._spec, self.resource_handle, tensors)
