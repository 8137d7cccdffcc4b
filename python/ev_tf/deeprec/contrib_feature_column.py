"""The part of tf.contrib.feature_column that DeepRec programs use: columns of sequences, and their input layer."""

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1

_v1 = tf.compat.v1
_fc = tf.feature_column

sequence_categorical_column_with_hash_bucket = _fc.sequence_categorical_column_with_hash_bucket
sequence_categorical_column_with_identity = _fc.sequence_categorical_column_with_identity
sequence_categorical_column_with_vocabulary_file = _fc.sequence_categorical_column_with_vocabulary_file
sequence_categorical_column_with_vocabulary_list = _fc.sequence_categorical_column_with_vocabulary_list
sequence_numeric_column = _fc.sequence_numeric_column


def sequence_input_layer(features, feature_columns, weight_collections=None, trainable=True):
  """The columns' sequences side by side, in the order of their names: (float32 [batch, length, dims], int64 [batch] lengths).

  Columns whose sequences are of different lengths are an error when they are run.
  """
  collections = list(weight_collections or [])
  for name in (_v1.GraphKeys.GLOBAL_VARIABLES, _v1.GraphKeys.MODEL_VARIABLES):
    if name not in collections:
      collections.append(name)
  builder, outputs, lengths = fc_v1._LazyBuilder(features), [], []
  with _v1.variable_scope(None, default_name="sequence_input_layer", values=features.values()):
    for column in sorted(feature_columns, key=lambda column: column.name):
      with _v1.variable_scope(None, default_name=column._var_scope_name):
        dense, length = column._get_sequence_dense_tensor(builder, weight_collections=collections, trainable=trainable)
        outputs.append(tf.reshape(dense, [tf.shape(dense)[0], tf.shape(dense)[1], column._variable_shape.num_elements()]))
        lengths.append(length)
    message = f"sequence_input_layer: expected sequences of one length in {[column.name for column in feature_columns]}"
    checks = [tf.debugging.assert_equal(lengths[0], length, message) for length in lengths[1:]]
    with tf.control_dependencies([check for check in checks if check is not None]):
      return tf.concat(outputs, -1), tf.identity(lengths[0])
