"""The examples in docstrings run."""

import doctest
import importlib
import tempfile

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

MODULES = ("ev_tf", "ev_tf.adaptive", "ev_tf.creation", "ev_tf.data", "ev_tf.deeprec_tensors", "ev_tf.dynamic_dimension",
           "ev_tf.feature_column.columns", "ev_tf.feature_column.groups",
           "ev_tf.group_lookup",
           "ev_tf.keras", "ev_tf.kv_variable_ops", "ev_tf.lookup", "ev_tf.multihash", "ev_tf.options", "ev_tf.partitioned",
           "ev_tf.serving", "ev_tf.summary", "ev_tf.testing.model", "ev_tf.train.adagrad_decay", "ev_tf.train.adam_async", "ev_tf.train.adamw",
           "ev_tf.train.ftrl", "ev_tf.train.row_wise_adagrad", "ev_tf.train.saver", "ev_tf.variable")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
  names = dict(tf=tf, np=np, tempfile=tempfile, ev_tf=ev_tf, get_embedding_variable=ev_tf.get_embedding_variable)
  result = doctest.testmod(importlib.import_module(name), extraglobs=names)
  assert result.attempted and not result.failed
