"""Lookups of many tables in one op: what each costs to start is paid once, and threads share all tables of a step.

The gradient is one op too, and gives each table its slices. Results are those of the lookups one by one, to the bit.
"""

import sys

import tensorflow as tf

from ev_tf import combine, lookup, variable


def group_embedding_lookup(params, ids, partition_strategy="mod", name=None, *, params_num_per_group=sys.maxsize):
  """Rows of ids of many tables, at once.

  Args:
    params: list of tables: EmbeddingVariables, of any dims, which are read by one op; or what embedding_lookup takes.
    ids: list of int64 or int32 tensors of any shape, or RaggedTensors, one for each table.
    partition_strategy: "mod" or "div", of dense variables in parts.
    name: str or None.
    params_num_per_group: int >= 1, how many tables one op reads at most.

  Returns:
    List of float32 ids.shape + [dim], one for each table.

  Raises:
    ValueError: the lists are of different lengths, or empty.
    TypeError: ids are no integers.

  Source: DeepRec's tf.nn.group_embedding_lookup.

  Example:
    >>> tables = [get_embedding_variable(f"doc/group_{dim}", dim) for dim in (2, 3)]
    >>> [rows.shape for rows in ev_tf.group_embedding_lookup(tables, [tf.constant([1]), tf.constant([[5], [-5]])])]
    [TensorShape([1, 2]), TensorShape([2, 1, 3])]
  """
  tables = _tables(params, ids=ids)
  _check_group_size(params_num_per_group)
  with tf.name_scope(name or "group_embedding_lookup"):
    flat = [i.flat_values if isinstance(i, tf.RaggedTensor) else i for i in ids]
    rows = combine.gather_group(tables, flat, params_num_per_group)
    for i, table in enumerate(tables):
      if rows[i] is None:
        rows[i] = lookup.read_rows(table, flat[i], partition_strategy)
    return [i.with_flat_values(row) if isinstance(i, tf.RaggedTensor) else row for i, row in zip(ids, rows)]


def group_embedding_lookup_sparse(params, sp_ids, combiners, sp_weights=None, partition_strategy="mod", is_sequence=False,
                                  params_num_per_group=sys.maxsize, name=None, *, max_norms=None):
  """Combined rows of sparse ids of many tables, at once.

  A group is trained as one: where any output of it has a gradient, tables whose outputs have none get a gradient of zeros.

  Args:
    params: list of tables: EmbeddingVariables, of any dims, which are read and combined by one op on each device; or what
      embedding_lookup takes, which are combined by one op.
    sp_ids: list of SparseTensor [d0, d1], ids in row-major order, or RaggedTensor [d0, (d1)], one for each table. Any
      value is an id.
    combiners: list of "mean", "sqrtn", "sum" or "tile", one for each table; or one str for all.
    sp_weights: list of the structure of sp_ids, with None for tables without; or None.
    partition_strategy: "mod" or "div", of dense variables in parts.
    is_sequence: bool; if True nothing is combined, and outputs are [d0, d1, dim], zeros where there is no id. Combiners
      are not used then.
    params_num_per_group: int >= 1, how many tables one op reads at most.
    name: str or None.
    max_norms: list of float > 0 or None, one for each table; or one for all.

  Returns:
    List of float32 [d0, dim], one for each table, zeros for an entry without ids; [d0, d1 * dim] with "tile".

  Raises:
    ValueError: the lists are of different lengths, or empty; a combiner is unknown; a norm is not > 0.
    TypeError: ids or weights are of another kind.
    tf.errors.InvalidArgumentError: ids are not in row-major order.

  Source: DeepRec's tf.nn.group_embedding_lookup_sparse, which has "mean" and "sum", and one combiner for all tables of a
    dim.

  Example:
    >>> ones = tf.compat.v1.ones_initializer()
    >>> tables = [get_embedding_variable(f"doc/sparse_{dim}", dim, initializer=ones) for dim in (1, 2)]
    >>> ids = [tf.ragged.constant([[4, -4], []], dtype=tf.int64), tf.ragged.constant([[9], [9, 9]], dtype=tf.int64)]
    >>> [rows.numpy().tolist() for rows in ev_tf.group_embedding_lookup_sparse(tables, ids, ["sum", "mean"])]
    [[[2.0], [0.0]], [[1.0, 1.0], [1.0, 1.0]]]
  """
  count = len(list(params))
  every = lambda value: list(value) if isinstance(value, (list, tuple)) else [value] * count
  combiners, sp_weights, max_norms = every(combiners), every(sp_weights), every(max_norms)
  tables = _tables(params, sp_ids=sp_ids, combiners=combiners, sp_weights=sp_weights, max_norms=max_norms)
  _check_group_size(params_num_per_group)
  combiners = ["tile" if is_sequence else combine.check_combiner(combiner) for combiner in combiners]
  max_norms = [combine.check_max_norm(max_norm) for max_norm in max_norms]
  with tf.name_scope(name or "group_embedding_lookup_sparse"):
    batches = [combine.sparse_batch(ids, weights, combiner, f"sp_ids[{i}]")
               for i, (ids, weights, combiner) in enumerate(zip(sp_ids, sp_weights, combiners))]
    read = lambda i: lookup.read_rows(tables[i], batches[i].values, partition_strategy)
    outputs = combine.lookup_combined(tables, read, batches, combiners, max_norms, most=params_num_per_group)
    if is_sequence:
      outputs = [_sequence(output, batch, table) for output, batch, table in zip(outputs, batches, tables)]
    return outputs


def _sequence(tiled, batch, table):
  """[d0, d1, dim] of [d0, d1 * dim]."""
  dim = table.dim if isinstance(table, variable.EmbeddingVariable) or hasattr(table, "dim") else int(table.shape[-1])
  return tf.reshape(tiled, tf.concat([batch.dense_shape[:2], tf.constant([dim], tf.int64)], 0))


def _tables(params, **lists):
  """What rows are read from, one for each of `params`.

  Raises:
    ValueError: there are none, or one of `lists` has another length.
  """
  if not isinstance(params, (list, tuple)) or not params:
    raise ValueError(f"params: expected a list of tables, got {params!r}.")
  for name, values in lists.items():
    if not isinstance(values, (list, tuple)) or len(values) != len(params):
      found = len(values) if isinstance(values, (list, tuple)) else repr(values)
      raise ValueError(f"{name}: expected a list of {len(params)}, one for each of params, got {found}.")
  return [lookup.table_of(param) for param in params]


def _check_group_size(size):
  if size < 1:
    raise ValueError(f"params_num_per_group: expected an integer >= 1, got {size!r}.")
