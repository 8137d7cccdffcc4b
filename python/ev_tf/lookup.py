"""Lookups: embedding_lookup, embedding_lookup_sparse and safe_embedding_lookup_sparse, of ev_tf and of stock TensorFlow.

The stock functions reach ours through TensorFlow's own dispatch of its public functions. Two of them mean a matrix where
they say "sparse": embedding_lookup_sparse makes ids unique with ops of its own, which takes longer than reading them twice,
and safe_embedding_lookup_sparse drops negative ids and looks up id 0 for an empty row. In a table without a vocabulary
every int64 is a good id, and a row that nobody asked for must not be trained into being.
"""

import typing

import tensorflow as tf
from tensorflow.python.ops import clip_ops

from ev_tf import combine as combine_lib
from ev_tf import dynamic_dimension, multihash, partitioned, variable

# What rows are read from by their own sparse_read.
_KINDS = (variable.EmbeddingVariable, partitioned.PartitionedEmbeddingVariable, multihash.MultiHashVariable,
          dynamic_dimension.DynamicDimensionEmbeddingVariable)


def embedding_lookup(params, ids, partition_strategy="mod", name=None, validate_indices=True, max_norm=None,
                     blocknums=None, ev_init_value=None, counts=None):
  """Rows of ids, like tf.compat.v1.nn.embedding_lookup, with DeepRec's arguments.

  Args:
    params: EmbeddingVariable, PartitionedEmbeddingVariable, the parts of one in a list, MultiHashVariable,
      DynamicDimensionEmbeddingVariable; or what the stock function takes.
    ids: int64 or int32, any shape; a RaggedTensor gives ragged rows.
    partition_strategy: "mod" or "div", of a dense variable in parts. A table in parts has its own, see
      `partitioned.route`.
    name: str or None.
    validate_indices: bool, of the stock function; no effect.
    max_norm: float > 0 or None; rows are scaled to at most this L2 norm.
    blocknums: int32, shape of ids, for a DynamicDimensionEmbeddingVariable and nothing else.
    ev_init_value: float32 ids.shape + [dim] or None; see EmbeddingVariable.sparse_read.
    counts: int32 or None; see EmbeddingVariable.sparse_read.

  Returns:
    float32 ids.shape + [dim].

  Raises:
    ValueError: blocknums are missing, or of no use; max_norm is not > 0.
    TypeError: ids are no integers.

  Source: DeepRec's tf.nn.embedding_lookup.

  Example:
    >>> table = get_embedding_variable("doc/rows", 4, initializer=tf.compat.v1.ones_initializer())
    >>> ev_tf.embedding_lookup(table, tf.constant([[3], [-3]], tf.int64), max_norm=1.0).numpy().tolist()
    [[[0.5, 0.5, 0.5, 0.5]], [[0.5, 0.5, 0.5, 0.5]]]
  """
  max_norm = combine_lib.check_max_norm(max_norm) or None
  if isinstance(ids, tf.RaggedTensor):
    options = dict(partition_strategy=partition_strategy, name=name, max_norm=max_norm, ev_init_value=ev_init_value,
                   counts=counts)
    if isinstance(blocknums, tf.RaggedTensor):
      blocknums = blocknums.flat_values
    return ids.with_flat_values(embedding_lookup(params, ids.flat_values, blocknums=blocknums, **options))
  table = table_of(params)
  with tf.name_scope(name or "embedding_lookup"):
    rows = read_rows(table, ids, partition_strategy, blocknums, ev_init_value, counts)
    if max_norm is None:
      return rows
    return clip_ops.clip_by_norm(rows, max_norm, axes=[-1])


def embedding_lookup_sparse(params, sp_ids, sp_weights, partition_strategy="mod", name=None, combiner=None, max_norm=None,
                            blocknums=None):
  """Combined rows of each row of sparse ids, like tf.compat.v1.nn.embedding_lookup_sparse, and "tile" as a combiner.

  Args:
    params: see embedding_lookup.
    sp_ids: SparseTensor [d0, ...] of int64 or int32 in row-major order, or RaggedTensor [d0, (d1)]. Any value is an id.
    sp_weights: float of the same structure, or None for ones.
    partition_strategy: see embedding_lookup.
    name: str or None.
    combiner: "mean" (None means it), "sqrtn", "sum"; or "tile", which puts the rows of an entry side by side.
    max_norm: float > 0 or None; rows are scaled to at most this L2 norm before they are combined.
    blocknums: int32 [n], one for each id, for a DynamicDimensionEmbeddingVariable.

  Returns:
    float32 [entries, dim]: as in the stock function, entries end with the last one that has an id, and an entry without
    ids is zeros. With "tile" [d0, d1 * dim].

  Raises:
    ValueError: unknown combiner; max_norm is not > 0.
    TypeError: sp_ids are neither, or weights are of another kind.
    tf.errors.InvalidArgumentError: ids are not in row-major order.

  Source: TensorFlow's function; "tile" as in DeepRec.

  Example:
    >>> table = get_embedding_variable("doc/bags", 2, initializer=tf.compat.v1.ones_initializer())
    >>> bags = tf.SparseTensor([[0, 0], [0, 2], [1, 1]], tf.constant([-4, 9, 9], tf.int64), [3, 3])
    >>> ev_tf.embedding_lookup_sparse(table, bags, None, combiner="sum").numpy().tolist()
    [[2.0, 2.0], [1.0, 1.0]]
    >>> ev_tf.embedding_lookup_sparse(table, bags, None, combiner="tile").numpy().tolist()[0]
    [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
  """
  combiner = combine_lib.check_combiner(combiner)
  with tf.name_scope(name or "embedding_lookup_sparse"):
    batch, table = combine_lib.sparse_batch(sp_ids, sp_weights, combiner), table_of(params)
    if isinstance(table, variable.EmbeddingVariable) and blocknums is not None:
      raise _no_use_for_blocknums(table)
    read = lambda _: read_rows(table, batch.values, partition_strategy, blocknums)
    norm = combine_lib.check_max_norm(max_norm)
    return combine_lib.lookup_combined([table], read, [batch], [combiner], [norm], trim=True)[0]


def safe_embedding_lookup_sparse(embedding_weights, sparse_ids, sparse_weights=None, combiner="mean", default_id=None,
                                 max_norm=None, name=None, *, partition_strategy="div", prune=True):
  """Combined rows of each entry of sparse ids: the stock function's result, for a table.

  Args:
    embedding_weights: see embedding_lookup.
    sparse_ids: SparseTensor [d0, ..., dn] in row-major order, or RaggedTensor [d0, (d1)], of int64 or int32. Negative ids
      are ids.
    sparse_weights: float of the same structure, or None for ones. As in the stock function, ids with a weight <= 0 are
      left out unless the combiner is "sum".
    combiner: "mean", "sqrtn", "sum" or "tile".
    default_id: int or None; the id that an empty entry reads. None gives zeros, looks up nothing and creates no row.
    max_norm: float > 0 or None; rows are scaled to at most this L2 norm before they are combined.
    name: str or None.
    partition_strategy: see embedding_lookup.
    prune: bool; False keeps ids whatever their weight.

  Returns:
    float32 [d0, ..., dn-1, dim]; with "tile" [d0, ..., dn-1, dn * dim].

  Raises:
    ValueError: unknown combiner; max_norm is not > 0.
    TypeError: sparse_ids are neither, or weights are of another kind.
    tf.errors.InvalidArgumentError: ids are not in row-major order.

  Example:
    >>> table = get_embedding_variable("doc/tags", 2, initializer=tf.compat.v1.ones_initializer())
    >>> tags = tf.SparseTensor([[0, 0], [0, 1]], tf.constant([-4, 9], tf.int64), [2, 2])
    >>> tf.nn.safe_embedding_lookup_sparse(table, tags, combiner="sum").numpy().tolist()
    [[2.0, 2.0], [0.0, 0.0]]
  """
  with tf.name_scope(name or "safe_embedding_lookup_sparse"):
    return safe_lookups([embedding_weights], [sparse_ids], [sparse_weights], [combiner], [max_norm], default_id,
                        partition_strategy, prune)[0]


def safe_lookups(params, sparse_ids, sparse_weights, combiners, max_norms, default_id=None, partition_strategy="div",
                 prune=True):
  """safe_embedding_lookup_sparse of many tables, of which plain ones are looked up by one op.

  Args:
    params, sparse_ids, sparse_weights, combiners, max_norms: lists, of what safe_embedding_lookup_sparse takes.
    default_id, partition_strategy, prune: as there, for all.

  Returns:
    List of float32, one for each table.
  """
  combiners = [combine_lib.check_combiner(combiner) for combiner in combiners]
  entries = [_entries(*given, default_id, prune) for given in zip(sparse_ids, sparse_weights, combiners)]
  batches = [batch for batch, _, _ in entries]
  tables = [table_of(param) for param in params]
  read = lambda i: read_rows(tables[i], batches[i].values, partition_strategy)
  norms = [combine_lib.check_max_norm(max_norm) for max_norm in max_norms]
  combined = combine_lib.lookup_combined(tables, read, batches, combiners, norms)
  return [_in_shape(*given) for given in zip(combined, *list(zip(*entries))[1:])]


def _no_use_for_blocknums(table):
  return ValueError("blocknums: of no use but to a DynamicDimensionEmbeddingVariable, got them for "
                    f"{type(table).__name__}.")


def _entries(ids, weights, combiner, default_id, prune):
  """(SparseBatch of a matrix of entries, the shape of the entries, and what of it is known)."""
  if isinstance(ids, tf.RaggedTensor):
    ids = ids.to_sparse()
    if isinstance(weights, tf.RaggedTensor):
      weights = weights.to_sparse()
  batch = combine_lib.sparse_batch(ids, weights, combiner, "sparse_ids")
  outer_shape, static_outer = batch.dense_shape[:-1], ids.shape[:-1]
  if static_outer.rank != 1:
    batch = _as_matrix(batch)
  if batch.weights is not None and prune and combiner != "sum":
    batch = _without(batch, batch.weights > 0)
  if default_id is not None:
    batch = _with_default(batch, default_id)
  return batch, outer_shape, static_outer


def _in_shape(combined, outer_shape, static_outer):
  """[*outer_shape, width] of [entries, width]."""
  if static_outer.rank == 1:
    return combined
  result = tf.reshape(combined, tf.concat([outer_shape, tf.shape(combined, tf.int64)[1:]], 0))
  result.set_shape(static_outer.concatenate([combined.shape[-1]]))
  return result


def table_of(params):
  """What rows are read from: the one variable in a list of one, the front of the parts of a variable; else `params`."""
  if not isinstance(params, (list, tuple)) or not params or not isinstance(params[0], _KINDS):
    return params
  if len(params) == 1:
    return params[0]
  if not all(isinstance(param, variable.EmbeddingVariable) for param in params):
    raise ValueError(f"params: expected one table, or the EmbeddingVariables that are its parts, got {list(params)!r}.")
  if len({(param.dim, param.key_dtype) for param in params}) != 1:
    raise ValueError(f"params: expected the parts of one table, of one dim and key_dtype, got {list(params)!r}.")
  front = params[0].front
  if front is not None and list(map(id, front)) == list(map(id, params)):
    return front
  return partitioned.PartitionedEmbeddingVariable(params[0].name.split(":")[0], params)


def read_rows(table, ids, partition_strategy="mod", blocknums=None, ev_init_value=None, counts=None):
  """The rows of ids of whatever `table_of` gives, ids.shape + [dim]."""
  if isinstance(table, dynamic_dimension.DynamicDimensionEmbeddingVariable):
    if blocknums is None:
      raise ValueError(f"{table!r}: blocknums: expected how many blocks each id has, int32 of the shape of ids.")
    return table.sparse_read(ids, blocknums)
  if blocknums is not None:
    raise _no_use_for_blocknums(table)
  given = {name: value for name, value in (("ev_init_value", ev_init_value), ("counts", counts)) if value is not None}
  if isinstance(table, partitioned.PartitionedEmbeddingVariable):
    return table.sparse_read(ids, **given)
  if isinstance(table, variable.EmbeddingVariable):
    with combine_lib.beside(table):
      return table.sparse_read(ids, **given)
  if given:
    raise ValueError(f"ev_init_value, counts: of no use but to an EmbeddingVariable, got them for {type(table).__name__}.")
  if isinstance(table, multihash.MultiHashVariable):
    return table.sparse_read(ids)
  return tf.compat.v1.nn.embedding_lookup(table, ids, partition_strategy=partition_strategy)


def _as_matrix(batch):
  """The batch of a matrix [entries, width] for one of any rank."""
  shape = batch.dense_shape
  matrix = tf.stack([tf.reduce_prod(shape[:-1]), shape[-1]])
  ids = tf.sparse.reshape(tf.SparseTensor(batch.indices, batch.values, shape), matrix)
  return batch._replace(values=ids.values, indices=ids.indices, dense_shape=ids.dense_shape)


def _without(batch, keep):
  select = lambda tensor: tf.boolean_mask(tensor, keep)
  return batch._replace(values=select(batch.values), indices=select(batch.indices), weights=select(batch.weights))


def _with_default(batch, default_id):
  """The batch with `default_id`, of weight 1, in empty entries."""
  fill = lambda values, value: tf.sparse.fill_empty_rows(
      tf.SparseTensor(batch.indices, values, batch.dense_shape), value)[0]
  ids = fill(batch.values, tf.cast(default_id, batch.values.dtype))
  weights = None if batch.weights is None else fill(batch.weights, 1.0).values
  return batch._replace(values=ids.values, indices=ids.indices, weights=weights)


def _dispatch(kind):
  """Makes the stock sparse lookups take a `kind` of weights."""
  nn, nn1 = tf.nn, tf.compat.v1.nn

  @tf.experimental.dispatch_for_api(nn.safe_embedding_lookup_sparse, {"embedding_weights": kind})
  def _safe_v2(embedding_weights, sparse_ids, sparse_weights=None, combiner="mean", default_id=None, max_norm=None,
               name=None, allow_fast_lookup=False):
    del allow_fast_lookup
    return safe_embedding_lookup_sparse(embedding_weights, sparse_ids, sparse_weights, combiner, default_id, max_norm, name)

  @tf.experimental.dispatch_for_api(nn1.safe_embedding_lookup_sparse, {"embedding_weights": kind})
  def _safe_v1(embedding_weights, sparse_ids, sparse_weights=None, combiner="mean", default_id=None, name=None,
               partition_strategy="div", max_norm=None, allow_fast_lookup=False):
    del partition_strategy, allow_fast_lookup
    return safe_embedding_lookup_sparse(embedding_weights, sparse_ids, sparse_weights, combiner, default_id, max_norm, name)

  @tf.experimental.dispatch_for_api(nn.embedding_lookup_sparse, {"params": kind})
  def _sparse_v2(params, sp_ids, sp_weights, combiner=None, max_norm=None, name=None, allow_fast_lookup=False):
    del allow_fast_lookup
    return embedding_lookup_sparse(params, sp_ids, sp_weights, name=name, combiner=combiner, max_norm=max_norm)

  @tf.experimental.dispatch_for_api(nn1.embedding_lookup_sparse, {"params": kind})
  def _sparse_v1(params, sp_ids, sp_weights, partition_strategy="mod", name=None, combiner=None, max_norm=None,
                 allow_fast_lookup=False):
    del partition_strategy, allow_fast_lookup
    return embedding_lookup_sparse(params, sp_ids, sp_weights, name=name, combiner=combiner, max_norm=max_norm)


def _dispatch_dense(kind):
  """Makes the stock tf.nn.embedding_lookup take a `kind` of params that it would take for matrices."""

  @tf.experimental.dispatch_for_api(tf.nn.embedding_lookup, {"params": kind})
  def _v2(params, ids, max_norm=None, name=None):
    return embedding_lookup(params, ids, name=name, max_norm=max_norm)

  @tf.experimental.dispatch_for_api(tf.compat.v1.nn.embedding_lookup, {"params": kind})
  def _v1(params, ids, partition_strategy="mod", name=None, validate_indices=True, max_norm=None):
    del partition_strategy, validate_indices
    return embedding_lookup(params, ids, name=name, max_norm=max_norm)


for _kind in (variable.EmbeddingVariable, partitioned.PartitionedEmbeddingVariable, multihash.MultiHashVariable):
  _dispatch(_kind)
  _dispatch(typing.List[_kind])
  _dispatch_dense(typing.List[_kind])
_dispatch_dense(multihash.MultiHashVariable)
