"""The module tensorflow.core.framework.embedding.config_pb2: DeepRec's enums, as far as programs name them.

Members are also names of the module, as in a compiled protocol buffer: config_pb2.DRAM_SSDHASH.
"""

import enum

from ev_tf.options import CacheStrategy, StorageType


class EmbeddingVariableType(enum.IntEnum):
  """Whether training changes a variable. All are mutable here; not trainable ones are made with trainable=False."""

  IMMUTABLE = 0
  MUTABLE = 1


class SlotType(enum.IntEnum):
  """What an optimizer's slot is. Slots lie in the rows here, so that nothing asks."""

  EMBEDDING_VARIABLE = 0
  VARIABLE = 1


globals().update({member.name: member for kind in (StorageType, CacheStrategy, EmbeddingVariableType, SlotType)
                  for member in kind})
__all__ = ["CacheStrategy", "EmbeddingVariableType", "SlotType", "StorageType"]
