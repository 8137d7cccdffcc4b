"""Rows of sparse ids, combined entry by entry: what all sparse lookups are made of.

Plain variables are looked up and combined by one op, EvGroupLookup, however many they are; the rows of anything else are
read first and combined by EvCombine.
"""

import collections
import contextlib

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import resource_variable_ops

from ev_tf import variable as variable_lib
from ev_tf._native import raw_ops

COMBINERS = ("mean", "sqrtn", "sum", "tile")

SparseBatch = collections.namedtuple("SparseBatch", ["values", "indices", "dense_shape", "weights"])
SparseBatch.__doc__ = """The ids of one lookup.

values: ids [n]. indices: int64 [n, rank] or [n], the entry of each id first, in row-major order. dense_shape: int64
[rank], entries first. weights: float32 [n] or None."""


def check_combiner(combiner):
  """`combiner`, or "mean" for None.

  Raises:
    ValueError: it is none of COMBINERS.
  """
  combiner = "mean" if combiner is None else combiner
  if combiner not in COMBINERS:
    raise ValueError(f"combiner: expected one of {', '.join(COMBINERS)}, got {combiner!r}.")
  return combiner


def check_max_norm(max_norm):
  """`max_norm` as the ops take it: 0.0 for None.

  Raises:
    ValueError: it is not > 0.
  """
  if max_norm is None:
    return 0.0
  if not 0.0 < float(max_norm) < float("inf"):
    raise ValueError(f"max_norm: expected a finite number > 0, or None, got {max_norm!r}.")
  return float(max_norm)


def sparse_batch(sp_ids, sp_weights, combiner, what="sp_ids"):
  """SparseBatch of SparseTensors, or RaggedTensors.

  Raises:
    TypeError: sp_ids, or sp_weights, is neither, or the two are not of one kind.
  """
  kinds = (tf.SparseTensor, tf.RaggedTensor)
  if isinstance(sp_ids, tf.compat.v1.SparseTensorValue):
    sp_ids = tf.SparseTensor.from_value(sp_ids)
  if not isinstance(sp_ids, kinds):
    raise TypeError(f"{what}: expected a SparseTensor or a RaggedTensor, got {sp_ids!r}. Look up a dense tensor of ids with "
                    "embedding_lookup, or make it sparse with tf.sparse.from_dense.")
  if sp_weights is not None and isinstance(sp_ids, tf.RaggedTensor) != isinstance(sp_weights, tf.RaggedTensor):
    raise TypeError(f"weights: expected them to be of the kind of {what}, {type(sp_ids).__name__}, or None, got "
                    f"{sp_weights!r}.")
  if sp_weights is not None and not isinstance(sp_weights, kinds):
    raise TypeError(f"weights: expected a {type(sp_ids).__name__} or None, got {sp_weights!r}.")
  if isinstance(sp_ids, tf.RaggedTensor) and (combiner == "tile" or sp_ids.ragged_rank > 1
                                              or sp_ids.flat_values.shape.rank != 1):
    sp_ids = sp_ids.to_sparse()
    sp_weights = None if sp_weights is None else sp_weights.to_sparse()
  if isinstance(sp_ids, tf.RaggedTensor):
    rows = tf.cast(tf.reshape(sp_ids.nrows(), [1]), tf.int64)
    weights = None if sp_weights is None else tf.cast(sp_weights.values, tf.float32)
    return SparseBatch(sp_ids.values, tf.cast(sp_ids.value_rowids(), tf.int64), rows, weights)
  weights = None if sp_weights is None else tf.cast(sp_weights.values, tf.float32)
  return SparseBatch(sp_ids.values, sp_ids.indices, sp_ids.dense_shape, weights)


def combine(rows, batches, combiners, max_norms, trim=False):
  """Combined rows of each batch.

  Args:
    rows: list of float32 [n, dim], the rows of each batch's ids.
    batches: list of SparseBatch.
    combiners: list of str, of COMBINERS.
    max_norms: list of float, 0 for any.
    trim: bool; leave out empty entries at the end, as tf.nn.embedding_lookup_sparse does.

  Returns:
    List of float32 [entries, dim]; with "tile" [entries, width * dim].
  """
  return raw_ops.ev_combine(rows, *_columns(batches), **_attributes(batches, combiners, max_norms, trim))


def lookup_combined(tables, read_rows, batches, combiners, max_norms, trim=False, most=None):
  """Combined rows of many tables: plain variables in one op for each device, of at most `most` tables.

  Args:
    tables: list of what rows are read from.
    read_rows: callable as read_rows(i) -> float32 [n, dim], for the tables that are no EmbeddingVariable.
    batches, combiners, max_norms, trim: see `combine`.
    most: int or None.

  Returns:
    List of float32, one for each table; see `combine`.
  """
  outputs = [None] * len(tables)
  others = [i for i, table in enumerate(tables) if not isinstance(table, variable_lib.EmbeddingVariable)]
  for group in groups_of(tables, most):
    members, keys = _members(group, tables, batches)
    some = lambda values, group=group: [values[i] for i in group]
    columns = _columns(some(batches))
    with beside(members[0]):
      out = raw_ops.ev_group_lookup([member.handle for member in members], keys, *columns,
                                    dims=[member.dim for member in members],
                                    **_attributes(some(batches), some(combiners), some(max_norms), trim))
    for i, combined in zip(group, out.combined):
      outputs[i] = combined
  if others:
    some = lambda values: [values[i] for i in others]
    for i, combined in zip(others, combine([read_rows(i) for i in others], some(batches), some(combiners), some(max_norms),
                                           trim)):
      outputs[i] = combined
  return outputs


def gather_group(tables, ids, most=None):
  """Rows of ids of many EmbeddingVariables: one op for each device.

  Args:
    tables: list of EmbeddingVariable.
    ids: list of int64 or int32 tensors of any shape.
    most: int or None, tables of one op.

  Returns:
    List of float32 ids.shape + [dim].
  """
  outputs = [None] * len(tables)
  for group in groups_of(tables, most):
    members, keys = _members(group, tables, [SparseBatch(i, None, None, None) for i in ids])
    with beside(members[0]):
      rows = raw_ops.ev_group_gather([member.handle for member in members], keys, dims=[member.dim for member in members])
    for i, row in zip(group, rows):
      outputs[i] = row
  return outputs


def groups_of(tables, most=None):
  """Lists of the places of EmbeddingVariables in `tables` that one op can read: those of one device, at most `most`."""
  devices = collections.defaultdict(list)
  for i, table in enumerate(tables):
    if isinstance(table, variable_lib.EmbeddingVariable):
      devices[table.handle.device].append(i)
  for group in devices.values():
    size = min(most or len(group), len(group))
    yield from (group[first:first + size] for first in range(0, len(group), size))


def _members(group, tables, batches):
  """The variables of a group, and their keys, all of one type."""
  members = [tables[i] for i in group]
  keys = [member._keys(batches[i].values) for member, i in zip(members, group)]  # pylint: disable=protected-access
  if any(key.dtype != keys[0].dtype for key in keys):
    keys = [tf.cast(key, tf.int64) for key in keys]
  for member in members:
    resource_variable_ops.variable_accessed(member)
  return members, keys


def beside(member):
  """Where an op that reads the variable is placed: on its device, e.g. a parameter server, whatever the scope says."""
  if tf.executing_eagerly():
    return contextlib.nullcontext()  # an eager op follows its handles by itself
  return ops.colocate_with(member.handle, ignore_existing=True)


def _columns(batches):
  """The inputs of the ops: indices, dense shapes, weights."""
  return ([batch.indices for batch in batches], [batch.dense_shape for batch in batches],
          [batch.weights for batch in batches if batch.weights is not None])


def _attributes(batches, combiners, max_norms, trim):
  return dict(combiners=combiners, max_norms=max_norms, weighted=[batch.weights is not None for batch in batches],
              trim=trim)
