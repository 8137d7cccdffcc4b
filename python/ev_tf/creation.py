"""get_embedding_variable: an embedding variable by name, riding on tf.compat.v1.get_variable."""

import numbers

import tensorflow as tf
from tensorflow.python.framework import dtypes, ops, tensor_shape
from tensorflow.python.ops import variable_scope, variables

from ev_tf import options as option_lib
from ev_tf import partitioned, patches, table
from ev_tf import variable as variable_lib

MAX_DIM = 65536  # the engine's


def get_embedding_variable(name, embedding_dim, key_dtype=tf.int64, value_dtype=None, initializer=None, regularizer=None,
                           trainable=True, collections=None, caching_device=None, partitioner=None, validate_shape=True,
                           custom_getter=None, constraint=None, steps_to_live=None, init_data_source=None,
                           ev_option=option_lib.EmbeddingVariableOption()):
  """Gets an embedding variable by name, or creates it: a table from any int64 id to a row of floats.

  Follows tf.compat.v1.get_variable in all that concerns names: variable scopes, reuse, custom getters, partitioners and
  collections. In eager mode each call makes a new variable.

  Args:
    name: str.
    embedding_dim: int, 1 to 65536, floats of one row.
    key_dtype: tf.int64 or tf.int32, type of the ids. An int64 variable takes int32 ids too.
    value_dtype: tf.float32, or None for it. The engine keeps values of tf.half and tf.bfloat16 too; lookups do not yet.
    initializer: callable as initializer(shape, dtype=...), e.g. tf.compat.v1.ones_initializer(). Called once for a matrix
      of [default_value_dim, embedding_dim] from which new rows are copied; see InitializerOption. None means the
      variable scope's initializer, and where there is none tf.compat.v1.truncated_normal_initializer().
    regularizer: None, or tf.compat.v1.no_regularizer: a table has no dense value to be regularized.
    trainable: bool, add it to TRAINABLE_VARIABLES.
    collections: list of str, None means GLOBAL_VARIABLES.
    caching_device: None.
    partitioner: callable as for get_variable, e.g. tf.compat.v1.fixed_size_partitioner(2), that partitions the first
      axis; None means the variable scope's.
    validate_shape: bool. Has no effect: a table has no first dimension that could be wrong.
    custom_getter: as for get_variable.
    constraint: None.
    steps_to_live: int or None; DeepRec's older spelling of evict_option=GlobalStepEvict(steps_to_live), which warns.
    init_data_source: str or None; DeepRec's older spelling of CheckpointOption(init_data_source=...): CSV or Parquet files
      with the first rows.
    ev_option: EmbeddingVariableOption.

  Returns:
    EmbeddingVariable; or PartitionedEmbeddingVariable, if a partitioner made more than one part.

  Raises:
    ValueError: embedding_dim is out of range, a type is not supported, the name belongs to another variable, or options
      contradict one another.
    TypeError: the initializer is not callable, or an argument is of a wrong type.
    NotImplementedError: an option whose feature this version does not have; the message names it.
    tf.errors.InvalidArgumentError: in eager mode; storage_path cannot be written, or an environment variable of the
      storage has no meaning. In a graph the initializer raises it.

  Source: DeepRec's tf.get_embedding_variable, its signature and defaults.

  Example:
    >>> with tf.Graph().as_default():
    ...   clicks = get_embedding_variable("clicks", embedding_dim=16)
    ...   rows = tf.nn.embedding_lookup(clicks, tf.constant([1, -5], tf.int64))
    ...   with tf.compat.v1.Session() as session:
    ...     session.run(tf.compat.v1.global_variables_initializer())
    ...     session.run(rows).shape
    (2, 16)
  """
  del validate_shape
  _check_types(name, embedding_dim, key_dtype, value_dtype, collections, ev_option)
  _check_unsupported(regularizer, caching_device, constraint)
  ev_option = option_lib.with_older_spellings(ev_option, steps_to_live, init_data_source)
  option_lib.check_available(ev_option)
  patches.apply()
  scope = variable_scope.get_variable_scope()
  initializer = _choose_initializer(initializer, ev_option.init_option, scope)
  spec = table.TableSpec(name, int(embedding_dim), ev_option.init_option.default_value_dim, dtypes.as_dtype(key_dtype),
                         option_lib.records_frequency(ev_option), option_lib.records_version(ev_option),
                         table.storage_attrs(ev_option.storage_option), table.feature_attrs(ev_option))
  draw = _DefaultRows(initializer, spec)
  arguments = dict(initializer=draw, regularizer=regularizer, trainable=trainable, collections=collections,
                   custom_getter=custom_getter)
  partitioner = scope.partitioner if partitioner is None else partitioner
  parts = 1 if partitioner is None else _count_parts(partitioner, spec)
  if tf.executing_eagerly() and parts > 1:
    members = [_get(f"{name}/part_{i}", spec._replace(partition=i, partitions=parts), ev_option, 1, arguments)
               for i in range(parts)]
    return partitioned.PartitionedEmbeddingVariable(name, members)
  found = _get(name, spec, ev_option, parts, arguments)
  if isinstance(found, variables.PartitionedVariable):
    return _front(found, spec, name)
  _check_found(found, spec, name)
  return found


def _get(name, spec, option, parts, arguments):
  """tf.compat.v1.get_variable with EmbeddingVariables for variables."""

  def create(next_creator, **kwargs):
    del next_creator
    own_name, own_spec = kwargs.get("name") or name, spec
    if parts > 1:
      own_spec = spec._replace(partition=int(own_name.rpartition("_")[2]), partitions=parts)
    return variable_lib.EmbeddingVariable(own_name, own_spec, kwargs["initial_value"], option=option,
                                          trainable=kwargs.get("trainable") is not False,
                                          collections=kwargs.get("collections"))

  def split(shape, dtype):
    del dtype
    return [parts] + [1] * (shape.rank - 1)

  with tf.variable_creator_scope(create), _PlainScope():
    return tf.compat.v1.get_variable(
        name, shape=[spec.default_value_dim * parts, spec.dim], dtype=tf.float32, use_resource=True,
        partitioner=split if parts > 1 else None, **arguments)


class _PlainScope:
  """The current variable scope without its partitioner, which was asked already, and without its caching device, which
  copies dense values and means nothing to a table."""

  def __enter__(self):
    self._scope = variable_scope.get_variable_scope()
    self._partitioner, self._device = self._scope.partitioner, self._scope.caching_device
    if self._partitioner is not None:
      self._scope.set_partitioner(None)
    if self._device is not None:
      self._scope.set_caching_device(None)

  def __exit__(self, *unused):
    if self._partitioner is not None:
      self._scope.set_partitioner(self._partitioner)
    if self._device is not None:
      self._scope.set_caching_device(self._device)


class _DefaultRows:
  """The initializer that get_variable is given: draws the matrix of initial rows once and gives it to every part.

  So what an id reads before it is trained does not depend on the number of parts.
  """

  def __init__(self, initializer, spec):
    self._initializer = initializer
    self._spec = spec
    self._drawn = {}  # graph -> matrix

  def __call__(self, shape, dtype=dtypes.float32, **unused):
    graph = None if tf.executing_eagerly() else ops.get_default_graph()
    if graph not in self._drawn:
      self._drawn[graph] = self._draw(dtype)
    return self._drawn[graph]

  def _draw(self, dtype):
    shape = [self._spec.default_value_dim, self._spec.dim]
    matrix = ops.convert_to_tensor(self._initializer(shape, dtype=dtype))
    if matrix.dtype.base_dtype != dtype or not matrix.shape.is_compatible_with(shape):
      raise ValueError(f"initializer of EmbeddingVariable {self._spec.name!r}: expected {dtype.name} {shape}, got "
                       f"{matrix.dtype.name} {matrix.shape}.")
    return matrix


def _choose_initializer(initializer, init_option, scope):
  initializer = init_option.initializer if init_option.initializer is not None else initializer
  if initializer is None:
    initializer = scope.initializer
  if initializer is None:
    return tf.compat.v1.truncated_normal_initializer()
  option_lib.check_initializer("initializer", initializer)
  return initializer() if isinstance(initializer, type) else initializer


def _count_parts(partitioner, spec):
  """How many parts the partitioner makes of a table."""
  if not callable(partitioner):
    raise TypeError(f"partitioner: expected a callable such as tf.compat.v1.fixed_size_partitioner(2), got {partitioner!r}.")
  split = partitioner(shape=tensor_shape.TensorShape([spec.default_value_dim, spec.dim]), dtype=dtypes.float32)
  if len(split) != 2 or split[1] != 1 or split[0] < 1:
    raise ValueError(f"partitioner: expected parts along the first axis only, e.g. [2, 1], got {list(split)}.")
  return int(split[0])


def _front(parts, spec, name):
  """The one PartitionedEmbeddingVariable of a graph's parts: reuse gives the same object."""
  members = list(parts)
  for member in members:
    _check_found(member, spec, name)
  if members[0].front is None:
    members[0].front = partitioned.PartitionedEmbeddingVariable(parts.name, members)
  return members[0].front


def _check_found(found, spec, name):
  """Raises ValueError unless the variable that get_variable gave is the one that was asked for."""
  if not isinstance(found, variable_lib.EmbeddingVariable):
    raise ValueError(f"get_embedding_variable: the name {name!r} belongs to {found!r}, which is no EmbeddingVariable. Choose "
                     "another name, or another variable scope.")
  wanted = (spec.dim, spec.key_dtype)
  if (found.dim, found.key_dtype) != wanted:
    raise ValueError(f"get_embedding_variable: {found!r} is reused with other types: expected dim={found.dim} and "
                     f"key_dtype={found.key_dtype.name}, got dim={spec.dim} and key_dtype={spec.key_dtype.name}.")


def _check_types(name, embedding_dim, key_dtype, value_dtype, collections, ev_option):
  if not isinstance(name, str) or not name:
    raise TypeError(f"name: expected a str that is not empty, got {name!r}.")
  if not isinstance(embedding_dim, numbers.Integral) or isinstance(embedding_dim, bool):
    raise TypeError(f"embedding_dim: expected an int, got {embedding_dim!r}.")
  if not 1 <= embedding_dim <= MAX_DIM:
    raise ValueError(f"embedding_dim: expected 1 to {MAX_DIM}, got {embedding_dim}.")
  if dtypes.as_dtype(key_dtype) not in (dtypes.int64, dtypes.int32):
    raise ValueError(f"key_dtype: expected tf.int64 or tf.int32, got {key_dtype!r}. Hash strings to ids first, e.g. with "
                     "tf.strings.to_hash_bucket_fast.")
  value_dtype = dtypes.float32 if value_dtype is None else dtypes.as_dtype(value_dtype)
  if value_dtype in (dtypes.half, dtypes.bfloat16):
    raise NotImplementedError(f"value_dtype=tf.{value_dtype.name}: lookups give float32 so far; use tf.float32, or "
                              f"ev_tf.engine.EmbeddingVariable(value_type={value_dtype.name!r}) without TensorFlow.")
  if value_dtype != dtypes.float32:
    raise ValueError(f"value_dtype: expected tf.float32 or None, got {value_dtype!r}.")
  if collections is not None and not isinstance(collections, (list, tuple, set)):
    raise TypeError(f"collections: expected a list of their names, got {collections!r}.")
  if not isinstance(ev_option, option_lib.EmbeddingVariableOption):
    raise TypeError(f"ev_option: expected an EmbeddingVariableOption, got {ev_option!r}.")


def _check_unsupported(regularizer, caching_device, constraint):
  scope = variable_scope.get_variable_scope()
  regularizer = scope.regularizer if regularizer is None else regularizer
  if regularizer is not None and regularizer is not tf.compat.v1.no_regularizer:
    raise NotImplementedError("regularizer: a table has no dense value to regularize. Add the penalty of the rows that were "
                              "looked up to the loss, and pass tf.compat.v1.no_regularizer if the variable scope has one.")
  if (scope.constraint if constraint is None else constraint) is not None:
    raise NotImplementedError("constraint: a table has no dense value to constrain.")
  if caching_device is not None:
    raise NotImplementedError("caching_device: a table has no dense value to cache; leave it None.")
