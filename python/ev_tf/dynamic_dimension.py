"""Tables whose rows have as many floats as their ids are worth: frequent ids more, rare ids few."""

import tensorflow as tf

from ev_tf import combine, creation, options, partitioned, variable


class DynamicDimensionEmbeddingVariable:
  """A table of rows in blocks; a lookup says how many blocks each id has. Made by get_dynamic_dimension_embedding_variable.

  Each block is an embedding variable: an id has a row in the first block, in the first two, ... What a lookup reads of the
  blocks beyond an id's is zeros, and gets no row and no gradient. Optimizers, Savers and collections see the blocks.

  Args:
    name: str.
    blocks: list of EmbeddingVariable or PartitionedEmbeddingVariable, of one dim.

  Attributes:
    blocks: list of the variables.
    dim: int, floats of a row with all blocks.
  """

  def __init__(self, name, blocks):
    self.name = name
    self.blocks = list(blocks)
    self.dim = sum(block.dim for block in self.blocks)

  def mainev(self):
    """The first block."""
    return self.blocks[0]

  def blocknum(self):
    """How many blocks there are."""
    return len(self.blocks)

  @property
  def variables(self):
    """List of the EmbeddingVariables of all blocks: what is trained."""
    return [part for block in self.blocks for part in
            (block if isinstance(block, partitioned.PartitionedEmbeddingVariable) else [block])]

  def sparse_read(self, indices, blocknums, name=None):
    """The rows of ids.

    Args:
      indices: int64 or int32, any shape.
      blocknums: int32 or int64, shape of indices: of how many blocks, from the first, each id is made; at most blocknum()
        count.
      name: str or None.

    Returns:
      float32, indices.shape + [dim]; zeros beyond an id's blocks.

    Raises:
      tf.errors.InvalidArgumentError: blocknums have another shape.
    """
    with tf.name_scope(name or "DynamicDimensionRead"):
      ids = indices if tf.is_tensor(indices) else tf.convert_to_tensor(indices, dtype_hint=tf.int64)
      blocknums = tf.convert_to_tensor(blocknums)
      flat, counts = tf.reshape(ids, [-1]), tf.reshape(blocknums, [-1])
      with tf.control_dependencies([tf.debugging.assert_equal(
          tf.shape(ids), tf.shape(blocknums), message="blocknums: expected the shape of ids")]):
        count = tf.size(flat)
      places = [tf.where(counts > i) for i in range(len(self.blocks))]
      keys = [tf.gather_nd(flat, place) for place in places]
      rows = [tf.scatter_nd(place, row, tf.cast(tf.stack([count, block.dim]), place.dtype))
              for place, row, block in zip(places, self._read(keys), self.blocks)]
      result = tf.reshape(tf.concat(rows, 1), tf.concat([tf.shape(ids), [self.dim]], 0))
      result.set_shape(ids.shape.concatenate([self.dim]))
      return result

  def _read(self, keys):
    if all(isinstance(block, variable.EmbeddingVariable) for block in self.blocks):
      return combine.gather_group(self.blocks, keys)
    return [block.sparse_read(key) for block, key in zip(self.blocks, keys)]

  def __repr__(self):
    return f"<DynamicDimensionEmbeddingVariable {self.name!r} blocks={len(self.blocks)} dim={self.dim}>"


def get_dynamic_dimension_embedding_variable(name, embedding_block_dimension, embedding_block_num, key_dtype=tf.int64,
                                             value_dtype=None, initializer=None, regularizer=None, trainable=True,
                                             collections=None, caching_device=None, partitioner=None, validate_shape=True,
                                             custom_getter=None, constraint=None, steps_to_live=None, init_data_source=None,
                                             ht_partition_num=1000, storage_type=None, *, ev_option=None):
  """Gets a table of rows in blocks by name, or creates it.

  Args:
    name: str. The blocks are the variables name/block_0, name/block_1, ...
    embedding_block_dimension: int, floats of one block.
    embedding_block_num: int >= 1, blocks of a row that has all.
    key_dtype, value_dtype, initializer, regularizer, trainable, collections, caching_device, partitioner, validate_shape,
      custom_getter, constraint, steps_to_live, init_data_source: as for get_embedding_variable, for each block.
    ht_partition_num: int. No effect: a table has no partitions of a hash table.
    storage_type: StorageType or None, as in EmbeddingVariableOption(storage_option=StorageOption(storage_type)).
    ev_option: EmbeddingVariableOption or None, for each block.

  Returns:
    DynamicDimensionEmbeddingVariable.

  Raises:
    ValueError: embedding_block_num < 1; storage_type and ev_option are both given; or as in get_embedding_variable.

  Source: DeepRec's function. DeepRec takes the largest of an id's block numbers in a batch; here each place of an id reads
    its own number of blocks.

  Example:
    >>> table = ev_tf.get_dynamic_dimension_embedding_variable("doc/blocks", 2, 3,
    ...                                                        initializer=tf.compat.v1.ones_initializer())
    >>> ev_tf.embedding_lookup(table, tf.constant([7, 8], tf.int64), blocknums=[3, 1]).numpy().tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]]
  """
  del ht_partition_num
  if embedding_block_num < 1:
    raise ValueError(f"embedding_block_num: expected an integer >= 1, got {embedding_block_num!r}.")
  if storage_type is not None and ev_option is not None:
    raise ValueError("storage_type, ev_option: expected one of them; an EmbeddingVariableOption has a storage_option.")
  if ev_option is None:
    ev_option = options.EmbeddingVariableOption(
        **{} if storage_type is None else dict(storage_option=options.StorageOption(storage_type)))
  blocks = [creation.get_embedding_variable(
      f"{name}/block_{i}", embedding_block_dimension, key_dtype, value_dtype, initializer, regularizer, trainable,
      collections, caching_device, partitioner, validate_shape, custom_getter, constraint, steps_to_live, init_data_source,
      ev_option) for i in range(embedding_block_num)]
  return DynamicDimensionEmbeddingVariable(name, blocks)
