"""Multi-hash variables: a row for each id out of two small dense tables."""

import tensorflow as tf
from tensorflow.python.util import dispatch

_OPERATIONS = ("add", "concat", "mul")


@dispatch.register_dispatchable_type
class MultiHashVariable:
  """Two dense variables that give each id a row of its own: of the quotient of the id, and of its remainder.

  With m rows of remainders, id i reads row i // m of the first variable and row i % m of the second, combined by
  `operation`: n * m ids have n + m rows. Lookups take it like a variable; optimizers and Savers see the two variables.

  Args:
    name: str.
    quotients, remainders: dense variables [rows, dim].
    operation: "add", "mul" or "concat".

  Attributes:
    val_list: [quotients, remainders].
    operation: str.
    dim: int, floats of one row.
  """

  def __init__(self, name, quotients, remainders, operation):
    self.name = name
    self.val_list = [quotients, remainders]
    self.operation = operation
    dims = [int(part.shape[1]) for part in self.val_list]
    self.dim = sum(dims) if operation == "concat" else dims[0]
    self._remainders = int(remainders.shape[0])
    self._ids = int(quotients.shape[0]) * self._remainders

  @property
  def shape(self):
    """TensorShape [ids, dim]: of how many ids, from 0, there are rows."""
    return tf.TensorShape([self._ids, self.dim])

  def get_shape(self):
    return self.shape

  def sparse_read(self, indices, name=None):
    """The rows of ids.

    Args:
      indices: int64 or int32, any shape, 0 to shape[0] - 1.
      name: str or None.

    Returns:
      float, indices.shape + [dim].

    Raises:
      tf.errors.InvalidArgumentError: an id is out of range.
    """
    with tf.name_scope(name or "MultiHashRead"):
      ids = indices if tf.is_tensor(indices) else tf.convert_to_tensor(indices, dtype_hint=tf.int64)
      count = tf.constant(self._remainders, ids.dtype)
      first, second = (tf.nn.embedding_lookup(part, places) for part, places in
                       zip(self.val_list, (tf.math.floordiv(ids, count), tf.math.floormod(ids, count))))
      if self.operation == "concat":
        return tf.concat([first, second], -1)
      return first + second if self.operation == "add" else first * second

  def __repr__(self):
    return f"<MultiHashVariable {self.name!r} ids={self._ids} dim={self.dim} operation={self.operation!r}>"


def get_multihash_variable(name, dims, complementary_strategy="Q-R", operation="add", dtype=float, initializer=None,
                           regularizer=None, trainable=None, collections=None, caching_device=None, partitioner=None,
                           validate_shape=True, use_resource=None, custom_getter=None, constraint=None,
                           synchronization=tf.VariableSynchronization.AUTO, aggregation=tf.VariableAggregation.NONE):
  """Gets a multi-hash variable by name, or creates it.

  For ids in a known range that are too many for a row each, where rows may share parts: the quotient-remainder trick.

  Args:
    name: str. The variables are name/multhash_Q and name/multhash_R, as DeepRec spells them.
    dims: [[quotients, dim], [remainders, dim]], rows and floats a row of each; ids are 0 to quotients * remainders - 1.
    complementary_strategy: "Q-R".
    operation: "add" or "mul", for which both have one dim, or "concat".
    dtype: float type of the rows; `float` means tf.float32.
    initializer, regularizer, trainable, collections, caching_device, validate_shape, custom_getter, constraint,
      synchronization, aggregation: as for tf.compat.v1.get_variable, for both.
    use_resource: None or True.
    partitioner: as for tf.compat.v1.get_variable, of the first axis.

  Returns:
    MultiHashVariable.

  Raises:
    ValueError: dims, complementary_strategy or operation are none of these.

  Source: Shi et al., KDD 2020, "Compositional Embeddings Using Complementary Partitions"; DeepRec's function. DeepRec
    divides by the number of quotients, which gives the same rows where there are as many remainders, and not a row of
    its own to each id where there are fewer.

  Example:
    >>> table = ev_tf.get_multihash_variable("doc/qr", [[10, 2], [7, 2]], initializer=tf.compat.v1.ones_initializer())
    >>> rows = tf.nn.embedding_lookup(table, tf.constant([0, 69], tf.int64))
    >>> table.shape, rows.numpy().tolist()
    (TensorShape([70, 2]), [[2.0, 2.0], [2.0, 2.0]])
  """
  if complementary_strategy != "Q-R":
    raise ValueError(f"complementary_strategy: expected 'Q-R', got {complementary_strategy!r}.")
  if operation not in _OPERATIONS:
    raise ValueError(f"operation: expected one of {', '.join(_OPERATIONS)}, got {operation!r}.")
  sizes = _check_dims(dims, operation)
  if use_resource not in (None, True):
    raise ValueError(f"use_resource: expected None or True, got {use_resource!r}.")
  dtype = tf.float32 if dtype is float else tf.as_dtype(dtype)
  if not dtype.is_floating:
    raise ValueError(f"dtype: expected a float type, got {dtype.name}.")
  with tf.compat.v1.variable_scope(name):
    parts = [
        tf.compat.v1.get_variable(
            f"multhash_{letter}", size, dtype, initializer, regularizer, trainable, collections, caching_device, partitioner,
            validate_shape, True, custom_getter, constraint, synchronization, aggregation)
        for letter, size in zip("QR", sizes)]
  return MultiHashVariable(name, *parts, operation)


def _check_dims(dims, operation):
  try:
    sizes = [[int(rows), int(dim)] for rows, dim in dims]
  except (TypeError, ValueError):
    sizes = []
  if len(sizes) != 2 or min(min(size) for size in sizes) < 1:
    raise ValueError(f"dims: expected [[quotients, dim], [remainders, dim]], integers >= 1, got {dims!r}.")
  if operation != "concat" and sizes[0][1] != sizes[1][1]:
    raise ValueError(f"dims: expected one dim for both with operation={operation!r}, got {dims!r}.")
  return sizes
