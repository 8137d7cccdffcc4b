"""safe_embedding_lookup_sparse for embedding variables, through TensorFlow's own dispatch of its public functions.

The stock function means "safe" for a matrix: it drops negative ids, and looks up id 0 for an empty row to throw the
result away. In a table without a vocabulary every int64 is a good id, and a row that nobody asked for must not be
trained into being. tf.nn.embedding_lookup, embedding_lookup_sparse and tf.gather need nothing here.
"""

import typing

import tensorflow as tf
from tensorflow.python.ops import clip_ops

from ev_tf import partitioned, variable

_COMBINERS = ("mean", "sqrtn", "sum")


def safe_embedding_lookup_sparse(embedding_weights, sparse_ids, sparse_weights=None, combiner="mean", default_id=None,
                                 max_norm=None, name=None):
  """Combined rows of each entry of sparse ids: the stock function's result, for a table.

  Args:
    embedding_weights: EmbeddingVariable or PartitionedEmbeddingVariable.
    sparse_ids: SparseTensor [d0, ..., dn] or RaggedTensor [d0, (d1)] of int64 or int32. Negative ids are ids.
    sparse_weights: float of the same structure, or None for ones. As in the stock function, ids with a weight <= 0 are
      left out unless the combiner is "sum".
    combiner: "mean", "sqrtn" or "sum".
    default_id: int or None; the id that an empty entry reads. None gives zeros, looks up nothing and creates no row.
    max_norm: float or None; rows are scaled to at most this L2 norm before they are combined.
    name: str or None.

  Returns:
    float32 [d0, ..., dn-1, dim].

  Raises:
    ValueError: unknown combiner.

  Example:
    >>> table = get_embedding_variable("doc/tags", 2, initializer=tf.compat.v1.ones_initializer())
    >>> tags = tf.SparseTensor([[0, 0], [0, 1]], tf.constant([-4, 9], tf.int64), [2, 2])
    >>> tf.nn.safe_embedding_lookup_sparse(table, tags, combiner="sum").numpy().tolist()
    [[2.0, 2.0], [0.0, 0.0]]
  """
  if combiner not in _COMBINERS:
    raise ValueError(f"combiner: expected one of {', '.join(_COMBINERS)}, got {combiner!r}.")
  with tf.name_scope(name or "safe_embedding_lookup_sparse"):
    ids, weights, outer_shape, static_outer = _as_matrix(sparse_ids, sparse_weights)
    if weights is not None and combiner != "sum":
      keep = weights.values > 0
      ids, weights = tf.sparse.retain(ids, keep), tf.sparse.retain(weights, keep)
    if default_id is not None:
      ids, empty = tf.sparse.fill_empty_rows(ids, tf.cast(default_id, ids.dtype))
      del empty
      if weights is not None:
        weights, _ = tf.sparse.fill_empty_rows(weights, 1.0)
    rows = tf.gather(embedding_weights, ids.values)
    if max_norm is not None:
      rows = clip_ops.clip_by_norm(rows, max_norm, axes=[1])
    combined = _combine(rows, None if weights is None else weights.values, ids.indices[:, 0],
                        tf.shape(ids, tf.int64)[0], combiner)
    dim = embedding_weights.dim
    result = tf.reshape(combined, tf.concat([outer_shape, tf.constant([dim], tf.int64)], 0))
    result.set_shape(static_outer.concatenate([dim]))
    return result


def _as_matrix(sparse_ids, sparse_weights):
  """(ids, weights) as SparseTensors [entries, width], and the shape of the entries, dynamic int64 and static."""
  if isinstance(sparse_ids, tf.RaggedTensor):
    sparse_ids = sparse_ids.to_sparse()
  if isinstance(sparse_weights, tf.RaggedTensor):
    sparse_weights = sparse_weights.to_sparse()
  shape = tf.cast(sparse_ids.dense_shape, tf.int64)
  outer_shape, static_outer = shape[:-1], sparse_ids.shape[:-1]
  ids = tf.sparse.reshape(sparse_ids, tf.stack([tf.reduce_prod(outer_shape), shape[-1]]))
  weights = None
  if sparse_weights is not None:
    weights = tf.SparseTensor(ids.indices, tf.cast(sparse_weights.values, tf.float32), ids.dense_shape)
  return ids, weights, outer_shape, static_outer


def _combine(rows, weights, entry_of_row, entries, combiner):
  """[entries, dim] from rows [n, dim], weights [n] or None, entry_of_row int64 [n]; an entry without rows is zeros."""
  if weights is None:
    reduce = {"sum": tf.math.unsorted_segment_sum, "mean": tf.math.unsorted_segment_mean,
              "sqrtn": tf.math.unsorted_segment_sqrt_n}[combiner]
    return reduce(rows, entry_of_row, entries)
  weights = weights[:, tf.newaxis]
  total = tf.math.unsorted_segment_sum(rows * weights, entry_of_row, entries)
  if combiner == "sum":
    return total
  if combiner == "mean":
    norm = tf.math.unsorted_segment_sum(weights, entry_of_row, entries)
  else:
    norm = tf.sqrt(tf.math.unsorted_segment_sum(weights * weights, entry_of_row, entries))
  return tf.math.divide_no_nan(total, norm)


def _only(weights):
  """The variable in a list of one, as stock code hands variables on."""
  if not isinstance(weights, (list, tuple)):
    return weights
  if len(weights) != 1:
    raise ValueError(f"embedding_weights: expected one embedding variable, got a list of {len(weights)}; a partitioned one "
                     "comes from get_embedding_variable(partitioner=...).")
  return weights[0]


def _dispatch(kind):
  """Makes both stock functions take a `kind` of weights."""

  @tf.experimental.dispatch_for_api(tf.nn.safe_embedding_lookup_sparse, {"embedding_weights": kind})
  def _v2(embedding_weights, sparse_ids, sparse_weights=None, combiner="mean", default_id=None, max_norm=None, name=None,
          allow_fast_lookup=False):
    del allow_fast_lookup
    return safe_embedding_lookup_sparse(_only(embedding_weights), sparse_ids, sparse_weights, combiner, default_id,
                                        max_norm, name)

  @tf.experimental.dispatch_for_api(tf.compat.v1.nn.safe_embedding_lookup_sparse, {"embedding_weights": kind})
  def _v1(embedding_weights, sparse_ids, sparse_weights=None, combiner="mean", default_id=None, name=None,
          partition_strategy="div", max_norm=None, allow_fast_lookup=False):
    del partition_strategy, allow_fast_lookup
    return safe_embedding_lookup_sparse(_only(embedding_weights), sparse_ids, sparse_weights, combiner, default_id,
                                        max_norm, name)


for _kind in (variable.EmbeddingVariable, partitioned.PartitionedEmbeddingVariable):
  _dispatch(_kind)
  _dispatch(typing.List[_kind])
