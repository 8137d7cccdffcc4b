"""A Keras layer over an embedding variable: for Keras 3, and for tf.keras of TensorFlow 2.15.

The layer's table is trained by the model's optimizer; see ev_tf.optimizers.rules for those that can. It is saved with the
model: in .weights.h5 and .keras files, in tf.train.Checkpoint and by Model.export.
"""

import keras
import numpy as np
import tensorflow as tf

from ev_tf import creation, table, variable
from ev_tf import options as option_lib

__all__ = ["Embedding"]

_KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

if _KERAS_3:

  class TableVariable(variable.CheckpointNode, keras.Variable):
    """What Keras 3 sees of a table: a trainable variable whose value is the EmbeddingVariable."""

    def __init__(self, embedding_variable):
      self.embedding_variable = embedding_variable
      shape = tuple(embedding_variable.shape.as_list())
      super().__init__(lambda shape, dtype=None: None, shape=shape, dtype="float32", autocast=False,
                       trainable=embedding_variable.trainable, name=embedding_variable.name.split(":")[0].replace("/", "_"))

    def _initialize_with_initializer(self, initializer):
      del initializer
      self._value = self.embedding_variable

    def _checkpoint_children(self):
      return self.embedding_variable._checkpoint_children()

    def assign(self, value):
      raise NotImplementedError(f"table {self.name!r} has no dense value to assign; train it, or load the layer's weights.")

    def numpy(self):
      raise NotImplementedError(f"table {self.name!r} has no dense value; use embedding_variable.export().")

    def __repr__(self):
      return f"<TableVariable {self.name!r} of {self.embedding_variable!r}>"


class Embedding(keras.layers.Layer):
  """Rows of ids, like keras.layers.Embedding without input_dim: the table grows with the ids that are trained.

  Args:
    output_dim: int, 1 to 65536, floats of a row.
    initializer: as in get_embedding_variable, or a Keras initializer's name; None means truncated normal.
    key_dtype: "int64" or "int32", type of the ids.
    ev_option: EmbeddingVariableOption. It is not part of get_config(): a layer made from its configuration has the
      default options.
    **kwargs: of keras.layers.Layer, e.g. name, trainable.

  Returns of a call: float32, ids.shape + [output_dim].

  Example:
    >>> layer = Embedding(4)
    >>> tuple(layer(tf.constant([[1, -5]], tf.int64)).shape)
    (1, 2, 4)
  """

  def __init__(self, output_dim, initializer=None, key_dtype="int64", ev_option=None, **kwargs):
    super().__init__(**kwargs)
    self.supports_jit = False
    self.output_dim = output_dim
    self.initializer = keras.initializers.get(initializer) if isinstance(initializer, (str, dict)) else initializer
    self.key_dtype = tf.as_dtype(key_dtype).name
    self.ev_option = ev_option if ev_option is not None else option_lib.EmbeddingVariableOption()

  def build(self, input_shape=None):
    made = creation.get_embedding_variable(f"{self.name}/table", self.output_dim, key_dtype=tf.as_dtype(self.key_dtype),
                                           initializer=self.initializer, trainable=self.trainable, ev_option=self.ev_option)
    self._table = TableVariable(made) if _KERAS_3 else made  # Keras 2 tracks a tf.Variable as it is
    self.built = True

  @property
  def embedding_variable(self):
    """The EmbeddingVariable, once the layer is built."""
    return self._table.embedding_variable if _KERAS_3 else self._table

  def call(self, ids):
    return tf.nn.embedding_lookup(self.embedding_variable, tf.cast(ids, self.key_dtype))

  def compute_output_shape(self, input_shape):
    return (*input_shape, self.output_dim)

  def get_config(self):
    initializer = self.initializer
    if isinstance(initializer, keras.initializers.Initializer):
      initializer = keras.initializers.serialize(initializer)
    elif initializer is not None:
      initializer = None  # a function has no configuration; the initial rows come with the weights
    return {**super().get_config(), "output_dim": self.output_dim, "initializer": initializer, "key_dtype": self.key_dtype}

  def save_own_variables(self, store):
    content = table.content_to_save(self.embedding_variable._table_spec, self.embedding_variable.handle)
    for (name, (_, dtype)), tensor in zip(table.CONTENT.items(), content):
      values = tensor.numpy()
      store[name] = _as_bytes(values) if dtype == tf.string else values

  def load_own_variables(self, store):
    tensors = [
        tf.constant(_from_bytes(store[name]) if dtype == tf.string else np.asarray(store[name]), dtype)
        for name, (_, dtype) in table.CONTENT.items()
    ]
    table.restore_content(self.embedding_variable._table_spec, self.embedding_variable.handle, tensors)


def _as_bytes(strings):
  """uint8 array of strings that hold no newline, each ended by one: HDF5 files hold numbers."""
  return np.frombuffer(b"".join(s + b"\n" for s in strings), np.uint8)


def _from_bytes(array):
  return np.array(np.asarray(array, np.uint8).tobytes().split(b"\n")[:-1], dtype=object)
