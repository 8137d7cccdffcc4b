"""Functions on embedding variables under DeepRec's names, as its module tensorflow.python.ops.kv_variable_ops has them.

Each says the same as a method of EmbeddingVariable, and takes a variable in parts as well.
"""

from ev_tf import lookup
from ev_tf.dynamic_dimension import DynamicDimensionEmbeddingVariable as DynamicEmbeddingVariable
from ev_tf.multihash import MultiHashVariable
from ev_tf.partitioned import PartitionedEmbeddingVariable
from ev_tf.variable import EmbeddingVariable

__all__ = ["DynamicEmbeddingVariable", "EmbeddingVariable", "MultiHashVariable", "get_frequency", "get_version",
           "lookup_resource", "lookup_tier"]


def _table(var):
  table = lookup.table_of(var)
  if not isinstance(table, (EmbeddingVariable, PartitionedEmbeddingVariable)):
    raise TypeError(f"var: expected an EmbeddingVariable, or one in parts, got {var!r}.")
  return table


def lookup_tier(var, ids):
  """Which tier each id's row is in; see EmbeddingVariable.lookup_tier.

  Args:
    var: EmbeddingVariable, PartitionedEmbeddingVariable, or the list of its parts.
    ids: int64 or int32, any shape.

  Returns:
    int32, shape of ids.

  Raises:
    TypeError: var is none of these.

  Example:
    >>> ev_tf.kv_variable_ops.lookup_tier(get_embedding_variable("doc/tiers", 2), [4, -4]).numpy().tolist()
    [-1, -1]
  """
  return _table(var).lookup_tier(ids)


def get_frequency(var, ids):
  """How often updates named each id; see EmbeddingVariable.get_frequency. `var` as in lookup_tier."""
  return _table(var).get_frequency(ids)


def get_version(var, ids):
  """The global step of each id's last update; see EmbeddingVariable.get_version. `var` as in lookup_tier."""
  return _table(var).get_version(ids)


def lookup_resource(var):
  """The resource handle of a variable; of one in parts the list of the parts' handles.

  DeepRec gives the address of the table in memory, for its own saving ops. Here a table is named by its handle, which
  keeps it alive, and no op takes an address.

  Args:
    var: as in lookup_tier.

  Returns:
    Scalar resource tensor, or list of them.

  Raises:
    TypeError: var is none of these.
  """
  table = _table(var)
  if isinstance(table, PartitionedEmbeddingVariable):
    return [part.handle for part in table]
  return table.handle
