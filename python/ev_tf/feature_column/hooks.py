"""Where stock feature columns and linear models make their variables: over ids without a vocabulary, tables.

ev_tf.patches lists what these functions replace. In graphs stock code calls tf.compat.v1.get_variable, and gets a table from
it while `_tables` is open. Layers keep variables in a state manager, which is given the table instead.
"""

import contextlib

import tensorflow as tf
from tensorflow.python.feature_column import feature_column_v2 as fc_v2
from tensorflow.python.framework import ops
from tensorflow.python.ops import variable_scope
from tensorflow.python.trackable import base as trackable

from ev_tf import adaptive, creation, lookup, multihash, partitioned, variable
from ev_tf.feature_column import columns, groups


def _table_column(column):
  """The column over ids without a vocabulary that `column` is, or is over; None if there is none."""
  while column is not None and not isinstance(column, columns.TableColumn):
    column = getattr(column, "categorical_column", None)
  return column


def _plain(column):
  """`column` if it has one table and nothing else.

  Raises:
    NotImplementedError: it is an adaptive or a multihash column.
  """
  if not isinstance(column, columns.EmbeddingCategoricalColumn):
    raise NotImplementedError(f"{type(column).__name__} {column.key!r} works in an embedding_column of "
                              "ev_tf.feature_column.input_layer, and nowhere else.")
  return column


def _refuse_checkpoint(column):
  if column.ckpt_to_load_from is not None:
    raise NotImplementedError(f"embedding_column {column.name!r}: ckpt_to_load_from fills a dense variable. For a table give "
                              "the categorical column ev_option=EmbeddingVariableOption(ckpt=CheckpointOption(...)).")


def _get_table(column, name, dim, initializer, trainable, collections=None):
  parts = column.partition_num
  return creation.get_embedding_variable(
      name, int(dim), initializer=initializer, trainable=trainable, collections=collections, ev_option=column.ev_option,
      partitioner=None if parts is None else tf.compat.v1.fixed_size_partitioner(parts))


@contextlib.contextmanager
def _tables(column):
  """Inside, tf.compat.v1.get_variable of a matrix gives the embedding variable that `column` asks for."""
  making = []

  def get(getter, name, *args, **kwargs):
    if making:
      return getter(name, *args, **kwargs)  # get_embedding_variable itself
    scope = variable_scope.get_variable_scope().name
    making.append(name)
    try:
      return _get_table(column, name[len(scope) + 1:] if scope else name, kwargs["shape"][-1], kwargs["initializer"],
                        kwargs["trainable"] is not False, kwargs["collections"])
    finally:
      making.pop()

  with variable_scope.variable_scope(variable_scope.get_variable_scope(), custom_getter=get, auxiliary_name_scope=False):
    yield


def wrap_get_dense_tensor(original):
  def _old_get_dense_tensor_internal(self, sparse_tensors, weight_collections, trainable):
    column = _table_column(self.categorical_column)
    if column is None:
      return original(self, sparse_tensors, weight_collections, trainable)
    _refuse_checkpoint(self)
    if isinstance(column, columns.AdaptiveEmbeddingCategoricalColumn):
      return _adaptive_rows(self, column, sparse_tensors, weight_collections, trainable)
    if isinstance(column, columns.MultiHashCategoricalColumn):
      return _multihash_rows(self, column, sparse_tensors, weight_collections, trainable)
    if groups.waits(self):
      table = _get_table(column, "embedding_weights", self.dimension, self.initializer, self.trainable and trainable,
                         weight_collections)
      return groups.Waiting(table, sparse_tensors.id_tensor, sparse_tensors.weight_tensor, self.combiner, self.max_norm)
    with _tables(_plain(column)):
      return original(self, sparse_tensors, weight_collections, trainable)
  return _old_get_dense_tensor_internal


def _adaptive_rows(embedding_column, column, sparse_tensors, weight_collections, trainable):
  """The combined rows of an embedding_column over an adaptive column, from the table and from the shared matrix."""
  ids = sparse_tensors.id_tensor
  in_table = tf.gather(tf.cast(columns.adaptive_mask(column.key), tf.bool), ids.indices[:, 0])
  buckets = column.hash_ids(ids.values)
  how = dict(initializer=embedding_column.initializer, trainable=embedding_column.trainable and trainable,
             collections=weight_collections)
  shared = tf.compat.v1.get_variable("hash_weights", [column.hash_bucket_size, embedding_column.dimension], tf.float32,
                                     use_resource=True, **how)
  table = _get_table(column, "embedding_weights", embedding_column.dimension, **how)
  places = tf.SparseTensor(ids.indices, tf.where(in_table, ids.values, buckets), ids.dense_shape)
  return adaptive.safe_adaptive_embedding_lookup_sparse(
      shared, table, places, tf.boolean_mask(buckets, in_table), sparse_tensors.weight_tensor, embedding_column.combiner,
      name=f"{embedding_column.name}_weights", max_norm=embedding_column.max_norm, adaptive_mask_tensor=in_table)


def _multihash_rows(embedding_column, column, sparse_tensors, weight_collections, trainable):
  """The combined rows of an embedding_column over a multihash column."""
  parts = column.partition_num
  made = multihash.get_multihash_variable(
      "embedding_weights", [list(pair) for pair in column.dims], column.complementary_strategy, column.operation,
      initializer=embedding_column.initializer, trainable=embedding_column.trainable and trainable,
      collections=weight_collections, partitioner=None if parts is None else tf.compat.v1.fixed_size_partitioner(parts))
  if made.dim != embedding_column.dimension:
    raise ValueError(f"embedding_column {embedding_column.name!r}: expected dimension={made.dim}, which {column.operation!r} "
                     f"of {column.dims} gives, got {embedding_column.dimension}.")
  return lookup.safe_embedding_lookup_sparse(
      made, sparse_tensors.id_tensor, sparse_tensors.weight_tensor, embedding_column.combiner,
      max_norm=embedding_column.max_norm, name=f"{embedding_column.name}_weights")


def wrap_get_shared_tensor(original):
  def _get_dense_tensor_internal(self, *args, **kwargs):
    column = _table_column(self.categorical_column)
    if column is None:
      return original(self, *args, **kwargs)
    with _tables(_plain(column)):
      return original(self, *args, **kwargs)
  return _get_dense_tensor_internal


def wrap_build_linear(original):
  def build(self, input_shape):
    if _table_column(self._feature_column) is None:
      return original(self, input_shape)
    self._weight_var = None  # _create_categorical_column_weighted_sum makes it
    self.built = True
    return None
  return build


def wrap_weighted_sum(original):
  def _create_categorical_column_weighted_sum(column, builder, units, sparse_combiner, weight_collections, trainable,
                                              weight_var=None):
    arguments = (column, builder, units, sparse_combiner, weight_collections, trainable, weight_var)
    table_column = _table_column(column)
    if table_column is None:
      return original(*arguments)
    with _tables(_plain(table_column)):
      return original(*arguments)
  return _create_categorical_column_weighted_sum


def wrap_create_state(original):
  def create_state(self, state_manager):
    column = _table_column(self.categorical_column)
    if column is None:
      return original(self, state_manager)
    _refuse_checkpoint(self)
    return _create_in_layer(_plain(column), state_manager, self, "embedding_weights", self.dimension, self.initializer,
                            self.trainable)
  return create_state


def wrap_create_variable(original):
  def create_variable(self, feature_column, name, shape, dtype=None, trainable=True, use_resource=True, initializer=None):
    column = _table_column(feature_column)
    if column is None or not isinstance(feature_column, fc_v2.CategoricalColumn):
      return original(self, feature_column, name, shape, dtype, trainable, use_resource, initializer)
    return _create_in_layer(_plain(column), self, feature_column, name, shape[-1], initializer, trainable)
  return create_variable


def _create_in_layer(column, state_manager, owner, name, dim, initializer, trainable):
  """Makes a table for `owner`, a feature column, and hands it to the layer that the state manager belongs to."""
  layer = state_manager._layer
  if name in state_manager._cols_to_vars_map[owner]:
    raise ValueError(f"feature column {owner.name!r}: the layer has its {name!r} already.")
  with _scope_of_names(state_manager, name) as name_in_scope:
    made = _get_table(column, name_in_scope, dim, initializer, bool(state_manager._trainable and trainable))
  parts = list(made) if isinstance(made, partitioned.PartitionedEmbeddingVariable) else [made]
  for i, part in enumerate(parts):
    part_name = name if made is part else f"{name}/part_{i}"
    with trackable.no_manual_dependency_tracking_scope(layer):
      layer.add_weight(name=part_name, shape=part.shape, dtype=tf.float32, trainable=part.trainable, initializer="zeros",
                       use_resource=True, experimental_autocast=False, getter=lambda part=part, **unused: part)
    layer._track_trackable(part, f"{owner.name}/{part_name}")
  state_manager._cols_to_vars_map[owner][name] = made
  return made


@contextlib.contextmanager
def _scope_of_names(state_manager, name):
  """Gives the name to create a variable under, so that it is called as stock code would call it.

  Layers with TensorFlow 1's state manager open variable scopes; the newer ones open name scopes only, which
  get_variable does not look at in a graph.
  """
  scoped = type(state_manager).create_variable is fc_v2._StateManagerImpl.create_variable
  if scoped or tf.executing_eagerly():
    yield name
    return
  prefix = ops.get_name_scope()
  root = tf.compat.v1.VariableScope(reuse=False, name="")
  with tf.compat.v1.variable_scope(root, auxiliary_name_scope=False):
    yield f"{prefix}/{name}" if prefix else name


def wrap_fraction_of_zero(original):
  def _compute_fraction_of_zero(variables):
    dense = [v for v in tf.nest.flatten(variables) if not isinstance(v, variable.EmbeddingVariable)]
    return original(dense) if dense else tf.constant(float("nan"), name="zero_fraction_or_nan")
  return _compute_fraction_of_zero
