"""Embedding columns that are looked up together: one op for all tables of an input layer, where stock code has one each.

A column is of a group if it was made inside group_embedding_column_scope. An input layer over two such columns or more asks
each for its table and its ids first, and looks them all up then.
"""

import collections
import contextlib
import threading

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1

from ev_tf import lookup

_MARK = "_ev_tf_group"
_context = threading.local()  # .group: of the columns that are being made; .collecting: whether lookups wait

Waiting = collections.namedtuple("Waiting", ["table", "ids", "weights", "combiner", "max_norm"])
Waiting.__doc__ = """A lookup that an input layer has put off; what lookup.safe_embedding_lookup_sparse takes."""


@contextlib.contextmanager
def group_embedding_column_scope(name=None):
  """Embedding columns made inside are looked up by one op, with the same rows.

  tf.compat.v1.feature_column.input_layer, and ev_tf.feature_column.input_layer, do it for embedding_columns over
  categorical_column_with_embedding, of any dimensions and combiners. Other columns, and other layers, look theirs up one by
  one, as without the scope. A group is trained as one; see ev_tf.group_embedding_lookup_sparse.

  Args:
    name: str or None, of the group's ops. Columns of several scopes in one layer are looked up together all the same.

  Returns:
    A context manager.

  Raises:
    ValueError: inside another such scope.

  Source: DeepRec's tf.feature_column.group_embedding_column_scope.

  Example:
    >>> with ev_tf.feature_column.group_embedding_column_scope("ids"):
    ...   columns = [tf.feature_column.embedding_column(
    ...       ev_tf.feature_column.categorical_column_with_embedding(key, tf.int64), dim) for key, dim in (("a", 2), ("b", 3))]
    >>> with tf.Graph().as_default():
    ...   ids = {key: tf.constant([[7], [-7]], tf.int64) for key in "ab"}
    ...   rows = tf.compat.v1.feature_column.input_layer(ids, columns)
    ...   print(rows.shape, sum(op.type == "EvGroupLookup" for op in rows.graph.get_operations()))
    (2, 5) 1
  """
  if getattr(_context, "group", None) is not None:
    raise ValueError(f"group_embedding_column_scope: expected no scope inside another, got {name!r} inside "
                     f"{_context.group!r}.")
  _context.group = name or "group_embedding"
  try:
    yield
  finally:
    _context.group = None


def wrap_new_column(original):
  def __new__(cls, *args, **kwargs):
    column = original(cls, *args, **kwargs)
    group = getattr(_context, "group", None)
    if group is not None:
      setattr(column, _MARK, group)
    return column
  return __new__


def waits(column):
  """Whether the lookup of `column`, an embedding_column over a table, is to be put off."""
  return getattr(_context, "collecting", False) and _is_grouped(column)


def _is_grouped(column):
  return hasattr(column, _MARK) and column.use_safe_embedding_lookup


@contextlib.contextmanager
def _collecting():
  _context.collecting = True
  try:
    yield
  finally:
    _context.collecting = False


def wrap_input_layer(original):
  def _internal_input_layer(features, feature_columns, weight_collections=None, trainable=True, cols_to_vars=None, scope=None,
                            cols_to_output_tensors=None, from_template=False):
    chosen = fc_v1._normalize_feature_columns(feature_columns)
    if sum(_is_grouped(column) for column in chosen) < 2:
      return original(features, chosen, weight_collections, trainable, cols_to_vars, scope, cols_to_output_tensors,
                      from_template)
    collections_ = list(weight_collections or [])
    for name in (tf.compat.v1.GraphKeys.GLOBAL_VARIABLES, tf.compat.v1.GraphKeys.MODEL_VARIABLES):
      if name not in collections_:
        collections_.append(name)
    ordered = sorted(chosen, key=lambda column: column.name)
    opened = contextlib.nullcontext() if from_template else tf.compat.v1.variable_scope(
        scope, default_name="input_layer", values=features.values())
    with opened:
      outputs = _outputs(features, ordered, collections_, trainable, {} if cols_to_vars is None else cols_to_vars)
    if cols_to_output_tensors is not None:
      cols_to_output_tensors.update(zip(ordered, outputs))
    return tf.concat(outputs, 1)
  return _internal_input_layer


def _outputs(features, ordered, weight_collections, trainable, cols_to_vars):
  """[batch, elements] of each column: as the stock layer has them, but with all that wait looked up at the end."""
  builder, dense = fc_v1._LazyBuilder(features), []
  for column in ordered:
    with tf.compat.v1.variable_scope(None, default_name=column._var_scope_name) as scope, _collecting():
      dense.append(column._get_dense_tensor(builder, weight_collections=weight_collections, trainable=trainable))
      cols_to_vars[column] = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES, scope.name)
  waiting = [i for i, tensor in enumerate(dense) if isinstance(tensor, Waiting)]
  if waiting:
    with tf.name_scope(getattr(ordered[waiting[0]], _MARK)):
      rows = lookup.safe_lookups(*zip(*(dense[i] for i in waiting)))
    for i, tensor in zip(waiting, rows):
      dense[i] = tensor
  return [tf.reshape(tensor, [tf.shape(tensor)[0], column._variable_shape.num_elements()])
          for column, tensor in zip(ordered, dense)]
