"""DeepRec's functions that differ from ours or from TensorFlow's in arguments alone."""

import tensorflow as tf

from ev_tf import dynamic_dimension, lookup, multihash, options, partitioned, variable
from ev_tf.deeprec import notices

_v1 = tf.compat.v1
_TABLES = (variable.EmbeddingVariable, partitioned.PartitionedEmbeddingVariable, multihash.MultiHashVariable,
           dynamic_dimension.DynamicDimensionEmbeddingVariable)


def CBFFilter(filter_freq=0, max_element_size=0, false_positive_probability=-1.0, counter_type=tf.uint64):  # pylint: disable=invalid-name
  """tf.CBFFilter: ours, which also takes the signed types that programs give for a counter."""
  counter_type = tf.as_dtype(counter_type)
  unsigned = {tf.int8: tf.uint8, tf.int16: tf.uint16, tf.int32: tf.uint32, tf.int64: tf.uint64}
  return options.CBFFilter(filter_freq, max_element_size, false_positive_probability,
                           unsigned.get(counter_type, counter_type))


def _without_fusion(kwargs):
  for name in ("do_fusion", "coalesced_scope"):
    if kwargs.pop(name, None):
      notices.ignored(name, "a lookup of an embedding variable is one op already")
  return kwargs


def embedding_column(*args, **kwargs):
  """tf.feature_column.embedding_column, with do_fusion."""
  return tf.feature_column.embedding_column(*args, **_without_fusion(kwargs))


def shared_embedding_columns(*args, **kwargs):
  """tf.feature_column.shared_embedding_columns, with do_fusion."""
  return _v1.feature_column.shared_embedding_columns(*args, **_without_fusion(kwargs))


def safe_embedding_lookup_sparse(embedding_weights, sparse_ids, sparse_weights=None, combiner="mean", default_id=None,
                                 name=None, partition_strategy="div", max_norm=None, prune=True, blocknums=None):
  """tf.nn.safe_embedding_lookup_sparse, in TensorFlow 1's order of arguments, with prune."""
  if blocknums is not None:
    raise notices.missing("safe_embedding_lookup_sparse(blocknums=...)", "use tf.nn.embedding_lookup_sparse, which takes them")
  first = embedding_weights[0] if isinstance(embedding_weights, (list, tuple)) else embedding_weights
  if not isinstance(first, _TABLES):
    return _v1.nn.safe_embedding_lookup_sparse(embedding_weights, sparse_ids, sparse_weights, combiner, default_id, name,
                                               partition_strategy, max_norm)
  return lookup.safe_embedding_lookup_sparse(embedding_weights, sparse_ids, sparse_weights, combiner, default_id, max_norm,
                                             name, partition_strategy=partition_strategy, prune=prune)


def fused_safe_embedding_lookup_sparse(*args, fusion_version=None, **kwargs):
  """tf.nn.safe_embedding_lookup_sparse, which is one op as it is."""
  del fusion_version
  return safe_embedding_lookup_sparse(*args, **kwargs)


def fused_embedding_lookup_sparse(params, sp_ids, sparse_weights=None, partition_strategy=None, name=None, combiner=None,
                                  max_norm=None, default_id=None, prune_invalid_ids=False, fill_empty_row=True, blocknums=None):
  """tf.nn.safe_embedding_lookup_sparse, or embedding_lookup_sparse without fill_empty_row; each is one op as it is."""
  strategy = partition_strategy or "div"
  if fill_empty_row and blocknums is None:
    return safe_embedding_lookup_sparse(params, sp_ids, sparse_weights, combiner or "mean", default_id, name, strategy, max_norm,
                                        prune_invalid_ids)
  return lookup.embedding_lookup_sparse(params, sp_ids, sparse_weights, strategy, name, combiner, max_norm, blocknums)
