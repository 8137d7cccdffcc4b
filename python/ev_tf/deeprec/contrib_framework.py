"""The part of tf.contrib.framework that DeepRec programs use."""

import tensorflow as tf

_v1 = tf.compat.v1

get_global_step = _v1.train.get_global_step
get_or_create_global_step = _v1.train.get_or_create_global_step
create_global_step = _v1.train.create_global_step
nest = tf.nest


def get_variables(scope=None, suffix=None, collection=_v1.GraphKeys.GLOBAL_VARIABLES):
  """Variables of a collection, by scope and suffix."""
  name = getattr(scope, "name", scope)
  found = _v1.get_collection(collection, name)
  return [v for v in found if suffix is None or v.op.name.endswith(suffix)]
