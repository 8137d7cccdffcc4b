"""EmbeddingVariable: a trainable table from any int64 id to a row of floats, as a TensorFlow variable."""

import collections
import functools
import weakref

from tensorflow.python.distribute import distribute_lib
from tensorflow.python.eager import context
from tensorflow.python.framework import dtypes, ops, tensor_shape
from tensorflow.python.ops import (
  array_ops,
  array_ops_stack,
  control_flow_assert,
  gen_resource_variable_ops,
  math_ops,
  resource_variable_ops,
  variables,
)
from tensorflow.python.trackable import base as trackable

from ev_tf import (
  data_source,
  gradients,  # noqa: F401  pylint: disable=unused-import  (registers the gradient of a lookup)
  saver,
  table,
  table_file,
)
from ev_tf import options as option_lib
from ev_tf._native import raw_ops

ExportedRows = collections.namedtuple("ExportedRows", ["keys", "values", "versions", "frequencies"])
ExportedRows.__doc__ = """What EmbeddingVariable.export gives.

keys: [n], the variable's key_dtype, in no order. values: float32 [n, dim]. versions, frequencies: int64 [n], or [0] where
not recorded."""

# The names of EmbeddingVariable.metrics(), in the order of the op.
METRICS = ("rows", "row_bytes", "row_pool_bytes", "index_bytes", "meta_bytes", "lookup_keys", "lookup_misses",
           "update_keys", "update_rows", "inserts", "removes", "hot_rows", "hot_capacity", "lower_rows", "lower_bytes",
           "promotions", "demotions", "clean_demotions", "cold_reads", "late_reads", "filtered_keys", "filter_bytes")
# Those of one tier, "tier<number>/<name>", in the order of the op; the last six are no counts.
TIER_METRICS = ("rows", "capacity", "copies", "bytes", "index_bytes", "hits", "misses", "promotions", "demotions",
                "clean_demotions", "reads", "late_reads", "writes", "device_reads", "written_bytes", "compaction_bytes",
                "write_amplification", "space_amplification", "read_p50_us", "read_p99_us", "write_p50_us", "write_p99_us")
_MEASURES = TIER_METRICS[-6:]
_MOST_TIERS = 3


def _named(values, tiers, count, as_int, as_float):
  """The dict of EmbeddingVariable.metrics(), from what the ops give; `count` is the number of tiers."""
  named = {name: as_int(values[i]) for i, name in enumerate(METRICS)}
  for tier in range(count):
    for i, name in enumerate(TIER_METRICS):
      convert = as_float if name in _MEASURES else as_int
      named[f"tier{tier}/{name}"] = convert(tiers[tier, i])
  return named


def summed(of_parts):
  """What metrics() of several tables say together: sums, amplifications of all, and the longest of the latencies."""
  total = {}
  for name in of_parts[0]:
    values, short = [part[name] for part in of_parts], name.rpartition("/")[2]
    if name == "row_bytes":
      total[name] = values[0]
    elif short.endswith("_us"):
      total[name] = functools.reduce(_larger, values)
    elif short not in _MEASURES:
      total[name] = sum(values)
    else:  # bytes that there are over bytes of rows, which each part says by its ratio
      bytes_name = name.replace(short, "written_bytes" if short == "write_amplification" else "bytes")
      there = [_as_float(part[bytes_name]) for part in of_parts]
      total[name] = _ratio(sum(there), sum(_ratio(n, value) for n, value in zip(there, values)))
  return total


def _larger(a, b):
  return max(a, b) if isinstance(a, float) else math_ops.maximum(a, b)


def _as_float(value):
  return float(value) if isinstance(value, int) else math_ops.cast(value, dtypes.float64)


def _ratio(a, b):
  """a / b, 0 where b is."""
  if isinstance(b, float):
    return a / b if b else 0.0
  return math_ops.div_no_nan(a, b)

# Functions that are called with each new variable of a graph or of eager mode. ev_tf.deeprec fills DeepRec's collections.
on_creation = []


class EmbeddingVariableSpec(resource_variable_ops.VariableSpec):
  """The TypeSpec that makes an EmbeddingVariable a composite tensor, so that it can be an argument of a tf.function and
  embedding_lookup_sparse does not read the table as a matrix."""

  value_type = property(lambda self: EmbeddingVariable)

  def _from_components(self, components):
    super()._from_components(components)  # checks them
    return EmbeddingVariable._view(components[0], self)


class CheckpointNode:
  """How object-based checkpoints and SavedModels see a variable: an object without tensors of its own, whose children
  carry the data. A subclass gives the children."""

  def _checkpoint_children(self):
    raise NotImplementedError

  def _serialize_to_tensors(self):
    return {}

  def _restore_from_tensors(self, restored_tensors):
    return {}

  def _gather_saveables_for_checkpoint(self):
    return {}

  def _copy_trackable_to_cpu(self, object_map):
    """An asynchronous checkpoint saves the children as they are."""

  def _trackable_children(self, save_type=trackable.SaveType.CHECKPOINT, **kwargs):
    del save_type, kwargs
    return self._checkpoint_children()

  def _lookup_dependency(self, name, cached_dependencies=None):
    return self._checkpoint_children().get(name)

  def _export_to_saved_model_graph(self, object_map=None, tensor_map=None, options=None, **kwargs):
    return []

  def _write_object_proto(self, proto, options):
    proto.user_object.identifier = "_generic_user_object"
    proto.user_object.version.producer = 1
    proto.user_object.version.min_consumer = 1


def _no_dense_value(name):
  return (f"EmbeddingVariable {name!r} is a table without a dense value: read rows with "
          "tf.nn.embedding_lookup(variable, ids), change them with an optimizer, and see all of them with export().")


class NoDenseValue:
  """What a variable without a dense value answers to those who ask for one."""

  def _refuse_dense(self, *args, **kwargs):
    raise NotImplementedError(_no_dense_value(self.name))

  value = read_value = read_value_no_copy = initialized_value = _refuse_dense
  _read_variable_op = _dense_var_to_tensor = _refuse_dense
  assign = assign_add = assign_sub = count_up_to = _refuse_dense
  scatter_add = scatter_sub = scatter_update = scatter_max = scatter_min = scatter_mul = scatter_div = _refuse_dense
  scatter_nd_add = scatter_nd_sub = scatter_nd_update = batch_scatter_update = gather_nd = _refuse_dense


class EmbeddingVariable(CheckpointNode, NoDenseValue, resource_variable_ops.ResourceVariable, saver.SavedByName):
  """A trainable table from any int64 id to a row of `dim` floats. Made by get_embedding_variable.

  A lookup never inserts: an id without a row reads its initial row, the same one each time. The first optimizer step
  that names an id gives it a row, with the optimizer's slots beside the values. Every int64 is a legal id, negative ones
  too. Stock lookups, optimizers, Savers, variable scopes and collections take it like a resource variable; it has no
  dense value, so value(), assign() and convert_to_tensor raise NotImplementedError.

  `shape` is [default_value_dim, dim], the shape of the matrix of initial rows: TensorFlow wants a static shape. The
  number of rows is size().

  Example:
    >>> table = get_embedding_variable("doc/users", embedding_dim=4, initializer=tf.compat.v1.ones_initializer())
    >>> optimizer = tf.compat.v1.train.AdagradOptimizer(0.1)
    >>> with tf.GradientTape() as tape:
    ...   loss = tf.reduce_sum(tf.nn.embedding_lookup(table, tf.constant([3, -8], tf.int64)))
    >>> _ = optimizer.apply_gradients([(tape.gradient(loss, table), table)])
    >>> int(table.size())
    2
  """

  @classmethod
  def _variable_call(cls, *args, **kwargs):
    """Keeps tf.Variable's metaclass from sending our arguments through variable creators: None means `construct me`."""
    return None

  def __init__(self, name, spec, draw_default_rows, *, option, trainable=True, collections=None):
    """Args:
      name: str, within the current name scope.
      spec: table.TableSpec; its name is replaced by the full one.
      draw_default_rows: callable without arguments, gives float32 [default_value_dim, dim].
      option: EmbeddingVariableOption.
      trainable: bool.
      collections: list of str, graph collections; None means GLOBAL_VARIABLES.
    """
    with ops.init_scope():
      in_graph = not context.executing_eagerly()
      with ops.name_scope(name, "EmbeddingVariable", skip_on_eager=False) as scope:
        full_name = ops.name_from_scope_name(scope)
        spec = spec._replace(name=full_name)
        make = self._make_in_graph if in_graph else self._make_eagerly
        parts = make(spec, scope, draw_default_rows, option)
      resource_variable_ops.BaseResourceVariable.__init__(
          self, trainable=trainable, shape=tensor_shape.TensorShape([spec.default_value_dim, spec.dim]),
          dtype=dtypes.float32, name=full_name, handle_name=full_name, in_graph_mode=in_graph,
          distribute_strategy=distribute_lib.get_strategy() if distribute_lib.has_strategy() else None,
          synchronization=variables.VariableSynchronization.AUTO,
          aggregation=variables.VariableAggregation.NONE, **parts)
    self._set_up(spec, option)
    if in_graph:
      self._add_to_collections(collections)
    for function in on_creation:
      function(self)

  @staticmethod
  def _make_content(spec, handle, default_rows, option):
    """Op that brings the table into being: empty, or with what a checkpoint or other files hold."""
    source = option.ckpt or option_lib.CheckpointOption()
    if source.ckpt_to_load_from is not None:
      return table.restore_from_option(spec, handle, source, default_rows)
    if source.init_data_source is not None:
      return table.restore_content(spec, handle, data_source.content(spec, source.init_data_source, default_rows))
    return table.initialize(spec, handle, default_rows)

  def _make_in_graph(self, spec, scope, draw_default_rows, option):
    """Handle, initializer and the nodes that a VariableDef names, as arguments of BaseResourceVariable."""
    self._shared_name_value = spec.name
    handle = table.make_handle(spec, spec.name, name=scope)
    self._table = table.TableContent([(spec, handle)])
    with ops.name_scope("Initializer"), ops.device(handle.device), ops.colocate_with(None, ignore_existing=True):
      default_rows = draw_default_rows()
    with ops.device(handle.device), ops.colocate_with(None, ignore_existing=True):
      initializer = self._make_content(spec, handle, default_rows, option)
      is_initialized = raw_ops.ev_is_initialized(handle, name="IsInitialized")
      # import_meta_graph finds the handle through it; a session that is asked for the variable is told what to ask for.
      refusal = control_flow_assert.Assert(False, [_no_dense_value(spec.name)], name="NoDenseValue")
      with ops.name_scope("Read"), ops.control_dependencies([refusal]):
        read = gen_resource_variable_ops.read_variable_op(handle, dtypes.float32)
    return dict(handle=handle, unique_id=spec.name, initial_value=default_rows, initializer_op=initializer,
                is_initialized_op=is_initialized, graph_element=read)

  def _make_eagerly(self, spec, scope, draw_default_rows, option):
    del scope
    self._shared_name_value = f"{spec.name}_{ops.uid()}"
    self._table = table.EmbeddingTable(spec, self._shared_name_value, draw_default_rows())
    self._make_content(spec, self._table.resource_handle, self._table.default_rows, option)
    return dict(handle=self._table.resource_handle, unique_id=self._shared_name_value)

  def _set_up(self, spec, option):
    self._table_spec = spec
    self._option = option
    self._slot_scopes = weakref.WeakKeyDictionary()  # optimizer -> prefix of its slots in the rows
    self._slot_scope_counts = collections.Counter()
    self.known_slots = {}  # prefix -> (optimizer's name, {slot: initial value}), of the updates that were made
    self.front = None  # the PartitionedEmbeddingVariable that this is a part of
    self._tiers = option.storage_option.effective_type.tiers

  def _add_to_collections(self, names):
    names = [ops.GraphKeys.GLOBAL_VARIABLES] if names is None else list(names)
    if self.trainable and ops.GraphKeys.TRAINABLE_VARIABLES not in names:
      names.append(ops.GraphKeys.TRAINABLE_VARIABLES)
    ops.add_to_collections(names, self)

  @classmethod
  def _view(cls, handle, spec):
    """The variable behind `handle`, which is an argument of a function that is being traced."""
    view = cls.__new__(cls)
    dim = int(spec.shape[-1])
    view._shared_name_value = f"embedding_variable_{ops.uid()}"
    view._table = None
    resource_variable_ops.BaseResourceVariable.__init__(
        view, trainable=spec.trainable, shape=spec.shape, dtype=spec.dtype, handle=handle, name="embedding_variable",
        handle_name="embedding_variable", unique_id=view._shared_name_value, in_graph_mode=False,
        synchronization=variables.VariableSynchronization.AUTO, aggregation=variables.VariableAggregation.NONE)
    view._set_up(table.TableSpec("embedding_variable", dim, int(spec.shape[0]), dtypes.int64, False, False),
                 option_lib.EmbeddingVariableOption())
    view._tiers = _MOST_TIERS  # nobody says which it has
    return view

  # What TensorFlow asks of a variable.

  @property
  def _type_spec(self):
    return EmbeddingVariableSpec(self.shape, self.dtype, self.trainable, None)

  @property
  def _shared_name(self):
    return self._shared_name_value

  def _ref(self):
    return self.handle

  def get_shape(self):
    return self.shape

  def _checkpoint_children(self):
    return {} if self._table is None else {"table": self._table}

  def saveables(self, name):
    kind = saver.DeepRecSaveable if table_file.saves_as_deeprec() else saver.TableSaveable
    return [kind(self, self._table_spec, name)]

  @property
  def own_default_rows(self):
    """float32 [default_value_dim, dim], the matrix that the initializer draws; None where nobody knows it."""
    return self._initial_value if self._table is None or self._in_graph_mode else self._table.default_rows

  def is_initialized(self, name=None):
    """Scalar bool tensor: whether the table exists."""
    return raw_ops.ev_is_initialized(self.handle, name=name)

  def sparse_read(self, indices, name=None, ev_init_value=None, counts=None):
    """The rows of ids; what tf.nn.embedding_lookup and tf.gather call.

    Args:
      indices: int64 or int32 tensor of any shape, or what converts to one. Every value is a legal id.
      name: str or None.
      ev_init_value: float32, indices.shape + [dim], or None. An id without a row gets this one, now and not with its first
        update; no gradient flows into it. For variables without a filter.
      counts: int64 or int32, shape of indices, or None. How often each id came, where they were made unique before: what
        frequencies and filters count when the step updates the ids, instead of once.

    Returns:
      float32, indices.shape + [dim].

    Raises:
      TypeError: indices are no integers, or int64 for a variable of int32 keys.
      NotImplementedError: ev_init_value for a variable with a filter.
      tf.errors.FailedPreconditionError: the variable is not initialized.
    """
    keys = self._keys(indices)
    counts = None if counts is None else ops.convert_to_tensor(counts)
    if counts is not None and not counts.dtype.is_integer:
      raise TypeError(f"EmbeddingVariable {self.name!r}: counts: expected integers, got {counts.dtype.name}.")
    resource_variable_ops.variable_accessed(self)
    if ev_init_value is None and counts is None:
      return raw_ops.ev_gather(self.handle, keys, dim=self.dim, name=name)
    if ev_init_value is not None and self._table_spec.features.filter_freq > 0:
      raise NotImplementedError(f"EmbeddingVariable {self.name!r}: ev_init_value makes rows, and whether an id has one its "
                                "filter says: leave one of them out.")
    initial_rows = [] if ev_init_value is None else ev_init_value
    return raw_ops.ev_gather_with(
        self.handle, keys, ops.convert_to_tensor(initial_rows, dtypes.float32),
        math_ops.cast([] if counts is None else counts, dtypes.int64), dim=self.dim,
        with_initial_rows=ev_init_value is not None, with_counts=counts is not None, name=name)

  def __repr__(self):
    return f"<EmbeddingVariable {self.name!r} dim={self.dim} key_dtype={self.key_dtype.name}>"

  # What is new.

  @property
  def dim(self):
    """int, floats of one row."""
    return self._table_spec.dim

  @property
  def key_dtype(self):
    """tf.int64 or tf.int32, the type of the ids."""
    return self._table_spec.key_dtype

  @property
  def option(self):
    """The EmbeddingVariableOption that it was made with."""
    return self._option

  @property
  def storage_type(self):
    """StorageType of its rows; DRAM where the option says DEFAULT or nothing."""
    return self._option.storage_option.effective_type

  @property
  def steps_to_live(self):
    """int of its GlobalStepEvict, None without one."""
    evict = self._option.evict_option
    return evict.steps_to_live if isinstance(evict, option_lib.GlobalStepEvict) else None

  @property
  def block_num(self):
    """1; DeepRec's number of blocks of a row, of which a DynamicDimensionEmbeddingVariable has more."""
    return 1

  @property
  def invalid_key(self):
    """int that DeepRec takes for no id: the largest int64, or -1 for int32. Here it is an id like any other."""
    return self.key_dtype.max if self.key_dtype == dtypes.int64 else -1

  def need_counts(self):
    """bool: whether how often each id came matters: to frequencies, a filter, or the rows' places in tiers."""
    return self._table_spec.record_frequency or self.storage_type.spills

  def size(self, name=None):
    """Scalar int64 tensor: how many ids have a row; those that a filter has not admitted are none."""
    return raw_ops.ev_size(self.handle, name=name)

  def get_dynamic_shape(self, name=None):
    """int32 tensor [2]: [how many ids have a row, dim]."""
    rows = math_ops.cast(self.size(), dtypes.int32)
    return array_ops_stack.stack([rows, self.dim], name=name)

  def total_count(self, name=None):
    """DeepRec's older name of get_dynamic_shape()."""
    return self.get_dynamic_shape(name)

  def export(self):
    """Every row, as ExportedRows(keys, values, versions, frequencies); see there for shapes."""
    content = table.export_content(self._table_spec, self.handle)
    keys = math_ops.cast(content.keys, self.key_dtype)
    return ExportedRows(keys, content.values, content.versions, content.frequencies)

  def export_slot(self, slot_name):
    """(keys [n], rows float32 [n, slot dim]) of one optimizer slot, by its name in the rows, e.g. "Adagrad/accumulator".

    In a graph the slot must exist when the tensors are run.

    Raises:
      tf.errors.InvalidArgumentError: the rows have no such slot.
    """
    content = table.export_content(self._table_spec, self.handle)
    matches = array_ops.reshape(array_ops.where_v2(math_ops.equal(content.slot_names, slot_name)), [-1])
    known = control_flow_assert.Assert(array_ops.size(matches) > 0, [
        f"EmbeddingVariable {self.name!r}: slot_name: expected one of", content.slot_names, "got", slot_name])
    with ops.control_dependencies(None if known is None else [known]):
      index = array_ops.identity(matches)[0]
    start = math_ops.reduce_sum(content.slot_dims[:index])
    return (math_ops.cast(content.keys, self.key_dtype), content.slots[:, start:start + content.slot_dims[index]])

  def get_frequency(self, ids, name=None):
    """How often updates named each id, duplicates counted; 0 for an id that none did.

    With a filter, of ids without a row too: what is counted goes into the row that an id gets. A CBFFilter's counts may be
    too high, never too low.

    Args:
      ids: int64 or int32, any shape.
      name: str or None.

    Returns:
      int64, shape of ids.

    Raises:
      ValueError: frequencies are not recorded; see EmbeddingVariableOption.
    """
    self._require_recorded("frequencies", self._table_spec.record_frequency, "record_frequency", "TF_RECORD_FREQ")
    return raw_ops.ev_frequency(self.handle, self._keys(ids), name=name)

  def get_version(self, ids, name=None):
    """The global step of each id's last update; -1 for an id that no step has updated, or that has no row.

    With a CounterFilter, of ids without a row too.

    Args:
      ids: int64 or int32, any shape.
      name: str or None.

    Returns:
      int64, shape of ids.

    Raises:
      ValueError: versions are not recorded; see EmbeddingVariableOption.
    """
    self._require_recorded("versions", self._table_spec.record_version, "record_version", "TF_RECORD_VERSION")
    return raw_ops.ev_version(self.handle, self._keys(ids), name=name)

  def _require_recorded(self, what, recorded, option_name, environment_name):
    if not recorded:
      raise ValueError(f"EmbeddingVariable {self.name!r} does not record {what}: create it with "
                       f"ev_option=EmbeddingVariableOption({option_name}=True), or set {environment_name}=1 before.")

  def remove(self, ids, name=None):
    """Drops the rows of ids, slots included.

    Args:
      ids: int64 or int32, any shape. Ids without a row and duplicates are no error.
      name: str or None.

    Returns:
      Scalar int64: how many rows were dropped.
    """
    return raw_ops.ev_remove(self.handle, self._keys(ids), name=name)

  def shrink(self, global_step=None, name=None):
    """Drops the rows that the variable's GlobalStepEvict or L2WeightEvict gives up, from every tier.

    Saving does it first, so a program that saves needs no call. A dropped id begins again as if it had never come. With a
    GlobalStepEvict, ids that a filter has counted and not admitted age like rows.

    Args:
      global_step: int or scalar integer tensor, the step that ages count to. None asks tf.compat.v1.train.get_global_step(),
        and where there is none takes the largest step that an update has brought.
      name: str or None.

    Returns:
      Scalar int64: how many rows were dropped.

    Raises:
      ValueError: the variable has no eviction option.

    Example:
      >>> option = ev_tf.EmbeddingVariableOption(evict_option=ev_tf.L2WeightEvict(0.5))
      >>> table = get_embedding_variable("doc/light", 4, initializer=tf.compat.v1.ones_initializer(), ev_option=option)
      >>> with tf.GradientTape() as tape:
      ...   loss = tf.reduce_sum(tf.nn.embedding_lookup(table, tf.constant([3, 3, -8], tf.int64)))
      >>> _ = tf.compat.v1.train.GradientDescentOptimizer(0.45).apply_gradients([(tape.gradient(loss, table), table)])
      >>> int(table.shrink()), table.export().keys.numpy().tolist()
      (1, [-8])
    """
    if self._table_spec.features.steps_to_live <= 0 and self._table_spec.features.l2_weight_threshold <= 0:
      raise ValueError(f"EmbeddingVariable {self.name!r} drops no rows: create it with ev_option=EmbeddingVariableOption("
                       "evict_option=GlobalStepEvict(steps) or L2WeightEvict(threshold)).")
    return table.shrink(self.handle, global_step, name=name)

  def metrics(self):
    """dict of names to numbers: of the variable, and of each tier by itself. docs/tuning.md says how to read them.

    The names of METRICS, over all tiers, bytes of memory held: hot_rows of at most about hot_capacity are in DRAM;
    lower_rows and lower_bytes are below, copies of rows further up counted; promotions came up, demotions went down,
    clean_demotions of these without a write, as their copy below was still good; cold_reads were read from below,
    late_reads of these one by one. "tier0/rows", "tier1/write_amplification", ... are those of TIER_METRICS for each tier,
    0 being DRAM. filtered_keys are ids that a CounterFilter counts and that have no row, filter_bytes what a filter's
    counts take.

    Returns:
      int in eager mode, scalar int64 tensors in a graph; amplifications and latencies, in microseconds, are float and
      float64. A variable that is an argument of a tf.function gives three tiers, zeros for those that it has not.
    """
    values = raw_ops.ev_metrics(self.handle).values
    tiers = raw_ops.ev_tier_metrics(self.handle, tiers=self._tiers).values
    if context.executing_eagerly():
      return _named(values.numpy(), tiers.numpy(), len(tiers), int, float)
    return _named(values, tiers, self._tiers, lambda value: math_ops.cast(value, dtypes.int64), lambda value: value)

  def flush_evictions(self, name=None):
    """Moves rows down until no tier holds more than its storage_size, and waits until they have arrived.

    Rows move in the background as it is; this makes the moment exact. With one tier nothing ever moves.

    Raises:
      tf.errors.InternalError, tf.errors.ResourceExhaustedError: a tier below cannot be written; nothing is lost.
    """
    return raw_ops.ev_flush_evictions(self.handle, name=name)

  def prefetch(self, ids, name=None):
    """Brings the rows of ids up to DRAM ahead of a lookup, and inserts nothing. With one tier they are there already.

    In a graph an op to run beside the step, for the batch after; ev_tf.data.prefetch_rows does it from a tf.data pipeline.

    Args:
      ids: int64 or int32, any shape.
      name: str or None.
    """
    return raw_ops.ev_prefetch(self.handle, self._keys(ids), name=name)

  def lookup_tier(self, ids, name=None):
    """Which tier each id's row is in: 0 DRAM, 1 and 2 the tiers below, -1 for an id without a row. Moves nothing.

    Args:
      ids: int64 or int32, any shape.
      name: str or None.

    Returns:
      int32, shape of ids.
    """
    return raw_ops.ev_lookup_tier(self.handle, self._keys(ids), name=name)

  def _keys(self, ids):
    """`ids` as an int32 or int64 tensor that this variable takes."""
    if hasattr(ids, "dtype"):
      keys = ops.convert_to_tensor(ids, name="ids")
    else:
      keys = ops.convert_to_tensor(ids, dtype_hint=self.key_dtype, name="ids")
    if keys.dtype == self.key_dtype or keys.dtype == dtypes.int32:
      return keys
    expected = "int64 or int32" if self.key_dtype == dtypes.int64 else "int32"
    raise TypeError(f"EmbeddingVariable {self.name!r}: ids: expected {expected} (its key_dtype is {self.key_dtype.name}), "
                    f"got {keys.dtype.name}. Cast them with tf.cast(ids, tf.{self.key_dtype.name}); hash strings first, "
                    "e.g. with tf.strings.to_hash_bucket_fast.")

  def _slot_scope(self, optimizer, base):
    """The prefix of `optimizer`'s slots in the rows: "Adagrad", or "Adagrad_1" for a second optimizer of that name.

    Depends on the order in which optimizers first update this variable, and on nothing else, so a program that is
    started again finds its slots in a checkpoint.
    """
    scope = self._slot_scopes.get(optimizer)
    if scope is None:
      count = self._slot_scope_counts[base]
      self._slot_scope_counts[base] += 1
      scope = base if count == 0 else f"{base}_{count}"
      self._slot_scopes[optimizer] = scope
    return scope
