"""Adaptive embedding: ids that are worth a row of their own have it in a table, the others share rows of a hashed matrix."""

import tensorflow as tf

from ev_tf import combine, lookup


def adaptive_embedding_lookup_sparse(hash_params, ev_params, sp_ids, hash_ev_ids, sp_weights, partition_strategy="mod",
                                     name=None, combiner=None, max_norm=None, bucket_size=None, adaptive_mask_tensor=None,
                                     blocknums=None):
  """Combined rows of sparse ids, each out of a table or out of a hashed matrix.

  Args:
    hash_params: dense variable [buckets, dim], or what tf.nn.embedding_lookup takes.
    ev_params: EmbeddingVariable or PartitionedEmbeddingVariable of the same dim.
    sp_ids: SparseTensor [d0, ...] of int64 or int32 in row-major order, or RaggedTensor [d0, (d1)].
    hash_ev_ids: int64 or int32 [m], the bucket of each id that is in the table, in their order: an id that is new there
      starts from the row of its bucket. None: from the table's own initial rows.
    sp_weights: float of the structure of sp_ids, or None for ones.
    partition_strategy: "mod" or "div", of a dense variable in parts.
    name: str or None.
    combiner: "mean" (None means it), "sqrtn", "sum" or "tile".
    max_norm: float > 0 or None; rows are scaled to at most this L2 norm before they are combined.
    bucket_size: int or None; an id that is not in the table reads the bucket of the id modulo this. None: the id is the
      bucket.
    adaptive_mask_tensor: bool or integer [n], one for each id: whether it is in the table.
    blocknums: None.

  Returns:
    float32 [entries, dim], as embedding_lookup_sparse gives.

  Raises:
    ValueError: adaptive_mask_tensor is None, or blocknums are not; unknown combiner; max_norm is not > 0.
    TypeError: sp_ids are neither, or weights are of another kind.

  Source: DeepRec's function, which gives the rows of an entry's ids without combining them, and takes no weights.

  Example:
    >>> cold = tf.Variable(tf.zeros([10, 2]))
    >>> hot = get_embedding_variable("doc/hot", 2, initializer=tf.compat.v1.ones_initializer())
    >>> ids = tf.SparseTensor([[0, 0], [1, 0]], tf.constant([123, 45], tf.int64), [2, 1])
    >>> ev_tf.adaptive_embedding_lookup_sparse(cold, hot, ids, None, None, bucket_size=10, adaptive_mask_tensor=[1, 0],
    ...                                        combiner="sum").numpy().tolist()
    [[1.0, 1.0], [0.0, 0.0]]
  """
  combiner = combine.check_combiner(combiner)
  with tf.name_scope(name or "adaptive_embedding_lookup_sparse"):
    batch = combine.sparse_batch(sp_ids, sp_weights, combiner)
    in_table = _mask(adaptive_mask_tensor, blocknums)
    rows = _rows(hash_params, ev_params, batch.values, in_table, hash_ev_ids, bucket_size, partition_strategy)
    return combine.combine([rows], [batch], [combiner], [combine.check_max_norm(max_norm)], trim=True)[0]


def safe_adaptive_embedding_lookup_sparse(hash_embedding_weights, ev_embedding_weights, sparse_ids, hash_ev_ids,
                                          sparse_weights=None, combiner=None, default_id=None, name=None,
                                          partition_strategy="div", max_norm=None, bucket_size=None,
                                          adaptive_mask_tensor=None, blocknums=None):
  """adaptive_embedding_lookup_sparse for entries without ids.

  Args:
    hash_embedding_weights, ev_embedding_weights, sparse_ids, hash_ev_ids, sparse_weights, combiner, name,
      partition_strategy, max_norm, bucket_size, adaptive_mask_tensor, blocknums: see there; sparse_ids [d0, d1].
    default_id: int or None; the bucket that an entry without ids reads. None gives zeros.

  Returns:
    float32 [d0, dim].

  Raises:
    ValueError, TypeError: see there.

  Source: DeepRec's function; see there.
  """
  combiner = combine.check_combiner(combiner)
  with tf.name_scope(name or "safe_adaptive_embedding_lookup_sparse"):
    if isinstance(sparse_ids, tf.RaggedTensor):
      sparse_ids = sparse_ids.to_sparse()
      sparse_weights = sparse_weights.to_sparse() if isinstance(sparse_weights, tf.RaggedTensor) else sparse_weights
    batch = combine.sparse_batch(sparse_ids, sparse_weights, combiner, "sparse_ids")
    in_table = _mask(adaptive_mask_tensor, blocknums)
    if default_id is not None:
      fill = lambda values, value: tf.sparse.fill_empty_rows(
          tf.SparseTensor(batch.indices, values, batch.dense_shape), value)[0]
      ids = fill(batch.values, tf.cast(default_id, batch.values.dtype))
      weights = None if batch.weights is None else fill(batch.weights, 1.0).values
      in_table = fill(in_table, 0).values
      batch = batch._replace(values=ids.values, indices=ids.indices, weights=weights)
    rows = _rows(hash_embedding_weights, ev_embedding_weights, batch.values, in_table, hash_ev_ids, bucket_size,
                 partition_strategy)
    return combine.combine([rows], [batch], [combiner], [combine.check_max_norm(max_norm)])[0]


def _mask(adaptive_mask_tensor, blocknums):
  if adaptive_mask_tensor is None:
    raise ValueError("adaptive_mask_tensor: expected a bool or an integer for each id, whether it is in the table; got None.")
  if blocknums is not None:
    raise ValueError("blocknums: expected None, as an adaptive table has rows of one dimension.")
  return tf.cast(tf.cast(adaptive_mask_tensor, tf.bool), tf.int32)


def _rows(hash_params, ev_params, ids, in_table, hash_ev_ids, bucket_size, partition_strategy):
  """The row of each id, [n, dim]."""
  places = tf.dynamic_partition(tf.range(tf.size(ids)), in_table, 2)
  cold_ids, hot_ids = tf.dynamic_partition(ids, in_table, 2)
  if bucket_size is not None:
    cold_ids = tf.math.floormod(cold_ids, tf.constant(bucket_size, cold_ids.dtype))
  read_buckets = lambda buckets: lookup.read_rows(hash_params, buckets, partition_strategy)
  start = None if hash_ev_ids is None else read_buckets(hash_ev_ids)
  hot_rows = lookup.read_rows(lookup.table_of(ev_params), hot_ids, ev_init_value=start)
  return tf.dynamic_stitch(places, [read_buckets(cold_ids), hot_rows])
