"""The feature columns that read embedding variables: what they are, not how stock code is made to take them."""

import collections
import contextlib
import threading

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1
from tensorflow.python.feature_column import feature_column_v2 as fc_v2
from tensorflow.python.feature_column import serialization

from ev_tf import options as option_lib

MAX_HASH = (1 << 63) - 1  # string ids are hashed to [0, MAX_HASH)


class TableColumn(fc_v2.CategoricalColumn, fc_v1._CategoricalColumn):
  """What the columns over ids without a vocabulary share. A subclass is a namedtuple with `key` and `dtype`."""

  _is_v2_column = True

  @property
  def name(self):
    """str, the key."""
    return self.key

  @property
  def parse_example_spec(self):
    """{key: VarLenFeature}."""
    return {self.key: tf.io.VarLenFeature(self.dtype)}

  _parse_example_spec = parse_example_spec

  def _to_ids(self, tensor):
    sparse = fc_v2._to_sparse_input_and_drop_ignore_values(tensor)
    values = sparse.values
    if values.dtype == tf.string:
      if self.dtype != tf.string:
        raise ValueError(f"feature {self.key!r}: expected {self.dtype.name} as in the column's dtype, got strings.")
      values = tf.strings.to_hash_bucket_fast(values, MAX_HASH)
    elif not values.dtype.is_integer:
      raise ValueError(f"feature {self.key!r}: expected strings or integers, got {values.dtype.name}.")
    elif self.dtype == tf.string:
      raise ValueError(f"feature {self.key!r}: expected strings as in the column's dtype, got {values.dtype.name}. Give the "
                       f"column dtype=tf.{values.dtype.name}.")
    return tf.SparseTensor(sparse.indices, tf.cast(values, tf.int64), sparse.dense_shape)

  def transform_feature(self, transformation_cache, state_manager):
    return self._to_ids(transformation_cache.get(self.key, state_manager))

  def _transform_feature(self, inputs):
    return self._to_ids(inputs.get(self.key))

  def get_sparse_tensors(self, transformation_cache, state_manager):
    return fc_v2.CategoricalColumn.IdWeightPair(transformation_cache.get(self, state_manager), None)

  def _get_sparse_tensors(self, inputs, weight_collections=None, trainable=None):
    del weight_collections, trainable
    return fc_v2.CategoricalColumn.IdWeightPair(inputs.get(self), None)

  @property
  def num_buckets(self):
    """int, rows of the matrix of initial rows: what stock code takes for the number of ids."""
    return self.ev_option.init_option.default_value_dim

  @property
  def _num_buckets(self):
    return self.num_buckets

  @property
  def parents(self):
    return [self.key]

  def get_config(self):
    return {**self._asdict(), "dtype": self.dtype.name}

  @classmethod
  def from_config(cls, config, custom_objects=None, columns_by_name=None):
    del custom_objects, columns_by_name
    return cls(**{**config, "dtype": tf.as_dtype(config["dtype"])})


@serialization.register_feature_column
class EmbeddingCategoricalColumn(TableColumn, collections.namedtuple(
    "EmbeddingCategoricalColumn", ["key", "dtype", "partition_num", "ev_option"])):
  """See categorical_column_with_embedding."""


@serialization.register_feature_column
class AdaptiveEmbeddingCategoricalColumn(TableColumn, collections.namedtuple(
    "AdaptiveEmbeddingCategoricalColumn", ["key", "hash_bucket_size", "dtype", "partition_num", "ev_option"])):
  """See categorical_column_with_adaptive_embedding."""

  def hash_ids(self, ids):
    """The rows of the shared matrix for ids: int64 [n] -> int64 [n] below hash_bucket_size."""
    return tf.strings.to_hash_bucket_fast(tf.strings.as_string(ids), self.hash_bucket_size)


@serialization.register_feature_column
class MultiHashCategoricalColumn(TableColumn, collections.namedtuple(
    "MultiHashCategoricalColumn",
    ["key", "dims", "complementary_strategy", "operation", "dtype", "partition_num"])):
  """See categorical_column_with_multihash."""

  @property
  def num_buckets(self):
    """int, the ids that have rows of their own: quotients times remainders."""
    return self.dims[0][0] * self.dims[1][0]

  def _to_ids(self, tensor):
    ids = super()._to_ids(tensor)
    if self.dtype != tf.string:
      return ids  # one that is out of range is an error of the lookup
    return tf.SparseTensor(ids.indices, tf.math.floormod(ids.values, self.num_buckets), ids.dense_shape)


def categorical_column_with_embedding(key, dtype=tf.string, partition_num=None,
                                      ev_option=option_lib.EmbeddingVariableOption()):
  """A categorical feature whose ids need no vocabulary: an embedding_column over it has an embedding variable.

  Works wherever a stock categorical column does: embedding_column, shared_embedding_columns, weighted_categorical_column,
  linear_model, input_layer, DenseFeatures, SequenceFeatures, Estimators. In a linear model its weights are an embedding
  variable of `units` floats a row.

  Args:
    key: str, name of the feature.
    dtype: tf.string, or an integer type. Strings are hashed to an int64 of [0, 2^63 - 1). Of a dense tensor "" and -1 mean
      that there is no id, as in stock columns; a SparseTensor's ids are all taken.
    partition_num: int >= 1, parts of the variable; None asks the variable scope's partitioner.
    ev_option: EmbeddingVariableOption.

  Returns:
    EmbeddingCategoricalColumn.

  Raises:
    ValueError: key is no str, dtype neither string nor integer, or partition_num < 1.
    TypeError: ev_option is no EmbeddingVariableOption.

  Source: DeepRec's tf.feature_column.categorical_column_with_embedding.

  Example:
    >>> column = categorical_column_with_embedding("user", dtype=tf.int64)
    >>> embedded = tf.feature_column.embedding_column(column, dimension=4)
    >>> with tf.Graph().as_default():
    ...   users = {"user": tf.constant([[7], [1 << 40]], tf.int64)}
    ...   print(tf.compat.v1.feature_column.input_layer(users, [embedded]).shape)
    (2, 4)
  """
  _check_key(key)
  return EmbeddingCategoricalColumn(key, _id_type(dtype), _check_partitions(partition_num), _check_option(ev_option))


def sequence_categorical_column_with_embedding(key, dtype=tf.string, partition_num=None,
                                               ev_option=option_lib.EmbeddingVariableOption()):
  """categorical_column_with_embedding for a feature that is a sequence of ids, for SequenceFeatures and
  sequence_input_layer.

  Args: as in categorical_column_with_embedding.

  Returns:
    SequenceCategoricalColumn.

  Source: DeepRec's tf.feature_column.sequence_categorical_column_with_embedding.

  Example:
    >>> clicks = sequence_categorical_column_with_embedding("clicks", dtype=tf.int64)
    >>> tf.feature_column.embedding_column(clicks, dimension=4).name
    'clicks_embedding'
  """
  return fc_v2.SequenceCategoricalColumn(categorical_column_with_embedding(key, dtype, partition_num, ev_option))


def categorical_column_with_adaptive_embedding(key, hash_bucket_size, dtype=tf.string, partition_num=None,
                                               ev_option=option_lib.EmbeddingVariableOption()):
  """Ids of which some have a row of their own in an embedding variable, and the others share the rows of a matrix.

  Which is which is said for each batch by `adaptive_mask_tensors` of ev_tf.feature_column.input_layer. An id that moves to
  the embedding variable starts from the row it shared.

  Args:
    key, dtype, partition_num, ev_option: as in categorical_column_with_embedding.
    hash_bucket_size: int > 1, rows of the matrix.

  Returns:
    AdaptiveEmbeddingCategoricalColumn.

  Raises:
    ValueError: as in categorical_column_with_embedding, or hash_bucket_size < 2.

  Source: DeepRec's tf.feature_column.categorical_column_with_adaptive_embedding.

  Example:
    >>> categorical_column_with_adaptive_embedding("user", hash_bucket_size=100, dtype=tf.int64).hash_bucket_size
    100
  """
  _check_key(key)
  if not isinstance(hash_bucket_size, int) or hash_bucket_size < 2:
    raise ValueError(f"hash_bucket_size: expected an int of at least 2, got {hash_bucket_size!r}.")
  return AdaptiveEmbeddingCategoricalColumn(key, hash_bucket_size, _id_type(dtype), _check_partitions(partition_num),
                                            _check_option(ev_option))


def categorical_column_with_multihash(key, dims, complementary_strategy="Q-R", operation="concat", dtype=tf.int64,
                                      partition_num=None):
  """Ids whose row is made from two small matrices, one by the id's quotient, one by its remainder.

  An id is row id // dims[1][0] of the first matrix and row id % dims[1][0] of the second, so that the ids below
  dims[0][0] * dims[1][0] all have different pairs. The dimension of the embedding_column over it must be what
  `operation` gives.

  Args:
    key: str.
    dims: [[rows, dim], [rows, dim]] of the two matrices.
    complementary_strategy: "Q-R".
    operation: "add", "mul" or "concat".
    dtype: tf.int64 or another integer type, or tf.string.
    partition_num: int >= 1 or None, parts of the matrices.

  Returns:
    MultiHashCategoricalColumn.

  Raises:
    ValueError: another strategy or operation; dims are not two pairs of ints >= 1, or differ where they must not.

  Source: DeepRec's tf.feature_column.categorical_column_with_multihash; Shi et al., KDD 2020.

  Example:
    >>> categorical_column_with_multihash("user", [[100, 8], [10, 8]]).num_buckets
    1000
  """
  _check_key(key)
  if complementary_strategy != "Q-R":
    raise ValueError(f'complementary_strategy: expected "Q-R", got {complementary_strategy!r}.')
  if operation not in ("add", "mul", "concat"):
    raise ValueError(f'operation: expected "add", "mul" or "concat", got {operation!r}.')
  pairs = tuple(tuple(dim) if isinstance(dim, (list, tuple)) else dim for dim in dims)
  good = len(pairs) == 2 and all(isinstance(pair, tuple) and len(pair) == 2 and
                                 all(isinstance(n, int) and n >= 1 for n in pair) for pair in pairs)
  if not good:
    raise ValueError(f"dims: expected [[rows, dim], [rows, dim]], got {dims!r}.")
  if operation != "concat" and pairs[0][1] != pairs[1][1]:
    raise ValueError(f"dims: {operation!r} needs two matrices of one dim, got {dims!r}.")
  return MultiHashCategoricalColumn(key, pairs, complementary_strategy, operation, _id_type(dtype),
                                    _check_partitions(partition_num))


def _check_key(key):
  if not isinstance(key, str):
    raise ValueError(f"key: expected a str, got {key!r}.")


def _id_type(dtype):
  dtype = tf.as_dtype(dtype)
  if dtype != tf.string and not dtype.is_integer:
    raise ValueError(f"dtype: expected tf.string or an integer type, got {dtype.name}.")
  return dtype


def _check_partitions(partition_num):
  if partition_num is not None and (not isinstance(partition_num, int) or partition_num < 1):
    raise ValueError(f"partition_num: expected an int of at least 1, or None, got {partition_num!r}.")
  return partition_num


def _check_option(ev_option):
  if not isinstance(ev_option, option_lib.EmbeddingVariableOption):
    raise TypeError(f"ev_option: expected an EmbeddingVariableOption, got {ev_option!r}.")
  return ev_option


_masks = threading.local()


@contextlib.contextmanager
def _masks_in_use(tensors):
  outer = getattr(_masks, "tensors", None)
  _masks.tensors = tensors
  try:
    yield
  finally:
    _masks.tensors = outer


def adaptive_mask(key):
  """int32 [batch]: what the running input_layer was told of one adaptive column.

  Raises:
    ValueError: it was told nothing.
  """
  tensors = getattr(_masks, "tensors", None) or {}
  if key not in tensors:
    raise ValueError(f"adaptive column {key!r}: expected adaptive_mask_tensors={{{key!r}: int32 [batch]}} in "
                     "ev_tf.feature_column.input_layer, which says whose ids have rows of their own.")
  return tensors[key]


def input_layer(features, feature_columns, weight_collections=None, trainable=True, cols_to_vars=None,
                cols_to_output_tensors=None, adaptive_mask_tensors=None):
  """tf.compat.v1.feature_column.input_layer, which can also feed adaptive columns.

  Args:
    features, feature_columns, weight_collections, trainable, cols_to_vars, cols_to_output_tensors: as in TensorFlow.
    adaptive_mask_tensors: dict from the key of an adaptive column to int32 [batch]; an example's ids are read from the
      embedding variable where it is 1, from the shared matrix where it is 0. None where there is no such column.

  Returns:
    float32 [batch, sum of the columns' dimensions].

  Source: DeepRec's tf.feature_column.input_layer.

  Example:
    >>> with tf.Graph().as_default():
    ...   print(input_layer({"age": tf.constant([[3.0]])}, [tf.feature_column.numeric_column("age")]).shape)
    (1, 1)
  """
  with _masks_in_use(adaptive_mask_tensors):
    return fc_v1.input_layer(features, feature_columns, weight_collections, trainable, cols_to_vars, cols_to_output_tensors)
