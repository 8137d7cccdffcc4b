"""The part of tf.contrib.layers that DeepRec programs use: its feature columns, and what small networks are made of.

The columns are tf.feature_column's under contrib's names and arguments.
"""

import dataclasses

import tensorflow as tf

from ev_tf import feature_column as ours
from ev_tf import lookup, options
from ev_tf.deeprec import arguments, layers

_v1 = tf.compat.v1
_fc = tf.feature_column

bucketized_column = _fc.bucketized_column
one_hot_column = _fc.indicator_column
create_feature_spec_for_parsing = _v1.feature_column.make_parse_example_spec
embedding_lookup_unique = lookup.embedding_lookup
safe_embedding_lookup_sparse = lookup.safe_embedding_lookup_sparse
xavier_initializer = _v1.glorot_uniform_initializer
batch_norm = layers.batch_normalization
dropout = layers.dropout
flatten = layers.flatten


def sparse_column_with_embedding(column_name, dtype=tf.string, partition_num=None, steps_to_live=None,
                                 init_data_source=None, ht_partition_num=1000,
                                 ev_option=options.EmbeddingVariableOption()):
  """A column whose ids need no vocabulary; see ev_tf.feature_column.categorical_column_with_embedding.

  steps_to_live and init_data_source are older spellings of GlobalStepEvict and CheckpointOption.
  """
  changes = {}
  if steps_to_live is not None:
    changes["evict_option"] = options.GlobalStepEvict(steps_to_live)
  if init_data_source is not None:
    changes["ckpt"] = options.CheckpointOption(init_data_source=init_data_source)
  if ht_partition_num != 1000:
    changes["ht_partition_num"] = ht_partition_num
  option = dataclasses.replace(ev_option, **changes) if changes else ev_option
  return ours.categorical_column_with_embedding(column_name, dtype, partition_num, option)


def sparse_column_with_hash_bucket(column_name, hash_bucket_size, combiner="sum", dtype=tf.string, hash_keys=None):
  """tf.feature_column.categorical_column_with_hash_bucket."""
  del combiner, hash_keys
  return _fc.categorical_column_with_hash_bucket(column_name, hash_bucket_size, dtype)


def sparse_column_with_integerized_feature(column_name, bucket_size, combiner="sum", dtype=tf.int64):
  """tf.feature_column.categorical_column_with_identity."""
  del combiner, dtype
  return _fc.categorical_column_with_identity(column_name, bucket_size)


def sparse_column_with_keys(column_name, keys, default_value=-1, combiner="sum", dtype=tf.string):
  """tf.feature_column.categorical_column_with_vocabulary_list."""
  del combiner
  return _fc.categorical_column_with_vocabulary_list(column_name, keys, dtype, default_value)


def weighted_sparse_column(sparse_id_column, weight_column_name, dtype=tf.float32):
  """tf.feature_column.weighted_categorical_column."""
  return _fc.weighted_categorical_column(sparse_id_column, weight_column_name, dtype)


def crossed_column(columns, hash_bucket_size, combiner="sum"):
  """tf.feature_column.crossed_column."""
  del combiner
  return _fc.crossed_column([getattr(column, "key", column) for column in columns], hash_bucket_size)


def real_valued_column(column_name, dimension=1, default_value=None, dtype=tf.float32, normalizer=None):
  """tf.feature_column.numeric_column."""
  return _fc.numeric_column(column_name, (dimension,), default_value, dtype, normalizer)


def embedding_column(sparse_id_column, dimension, combiner="mean", initializer=None, ckpt_to_load_from=None,
                     tensor_name_in_ckpt=None, max_norm=None, trainable=True, **kwargs):
  """tf.feature_column.embedding_column."""
  return arguments.embedding_column(sparse_id_column, dimension, combiner, initializer, ckpt_to_load_from,
                                    tensor_name_in_ckpt, max_norm, trainable, **kwargs)


def shared_embedding_columns(sparse_id_columns, dimension, combiner="mean", shared_embedding_name=None, initializer=None,
                             **kwargs):
  """tf.feature_column.shared_embedding_columns."""
  return arguments.shared_embedding_columns(sparse_id_columns, dimension, combiner, initializer, shared_embedding_name,
                                            **kwargs)


def input_from_feature_columns(columns_to_tensors, feature_columns, weight_collections=None, trainable=True, scope=None,
                               cols_to_outs=None):
  """The columns' dense tensors side by side; tf.feature_column.input_layer."""
  with _v1.variable_scope(scope, default_name="input_from_feature_columns"):
    return ours.input_layer(columns_to_tensors, feature_columns, weight_collections, trainable,
                            cols_to_output_tensors=cols_to_outs)


def weighted_sum_from_feature_columns(columns_to_tensors, feature_columns, num_outputs, weight_collections=None,
                                      trainable=True, scope=None):
  """(logits [batch, num_outputs], dict from column to its variables, bias); tf.feature_column.linear_model."""
  variables = {}
  with _v1.variable_scope(scope, default_name="weighted_sum_from_feature_columns"):
    logits = _v1.feature_column.linear_model(columns_to_tensors, feature_columns, num_outputs,
                                             weight_collections=weight_collections, trainable=trainable,
                                             cols_to_vars=variables)
  return logits, {column: found for column, found in variables.items() if column != "bias"}, variables["bias"]


def fully_connected(inputs, num_outputs, activation_fn=tf.nn.relu, normalizer_fn=None, normalizer_params=None,
                    weights_initializer=None, weights_regularizer=None, biases_initializer=layers.ZEROS,
                    biases_regularizer=None, reuse=None, variables_collections=None, outputs_collections=None,
                    trainable=True, scope=None):
  """A dense layer, with contrib's defaults: a ReLU, and Glorot's initial weights."""
  del variables_collections, outputs_collections
  with _v1.variable_scope(scope, default_name="fully_connected", reuse=reuse) as opened:
    outputs = layers.dense(
        inputs, num_outputs, use_bias=normalizer_fn is None and biases_initializer is not None,
        kernel_initializer=weights_initializer or xavier_initializer(), bias_initializer=biases_initializer,
        kernel_regularizer=weights_regularizer, bias_regularizer=biases_regularizer, trainable=trainable, name=opened)
    if normalizer_fn is not None:
      outputs = normalizer_fn(outputs, **(normalizer_params or {}))
    return outputs if activation_fn is None else activation_fn(outputs)


def l1_regularizer(scale, scope=None):
  """function: scale * sum |w|."""
  del scope
  return lambda weights: scale * tf.reduce_sum(tf.abs(weights))


def l2_regularizer(scale, scope=None):
  """function: scale * sum w^2 / 2."""
  del scope
  return lambda weights: scale * tf.nn.l2_loss(weights)


def variance_scaling_initializer(factor=2.0, mode="FAN_IN", uniform=False, seed=None, dtype=tf.float32):
  """tf.variance_scaling_initializer with contrib's arguments."""
  kind = "uniform" if uniform else "truncated_normal"
  return _v1.variance_scaling_initializer(factor, mode.lower(), kind, seed, dtype)
