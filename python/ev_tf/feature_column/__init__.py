"""Feature columns over embedding variables, for tf.feature_column and tf.compat.v1.feature_column.

Importing this lets stock columns and layers take them: embedding_column, shared_embedding_columns,
weighted_categorical_column, linear_model, input_layer, SequenceFeatures, DenseFeatures and the Estimators where the
installed TensorFlow has them. Keras 3 has neither DenseFeatures nor SequenceFeatures; there use input_layer in a graph, or
ev_tf.keras.Embedding.
"""

from ev_tf import patches
from ev_tf.feature_column.columns import (
  categorical_column_with_adaptive_embedding,
  categorical_column_with_embedding,
  categorical_column_with_multihash,
  input_layer,
  sequence_categorical_column_with_embedding,
)
from ev_tf.feature_column.groups import group_embedding_column_scope

__all__ = [
    "categorical_column_with_adaptive_embedding",
    "categorical_column_with_embedding",
    "categorical_column_with_multihash",
    "group_embedding_column_scope",
    "input_layer",
    "sequence_categorical_column_with_embedding",
]

patches.add(patches.FEATURE_COLUMN_PATCHES)
