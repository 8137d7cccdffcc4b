"""Where a table is: on a parameter server, as tf.compat.v1.train.replica_device_setter places variables."""


def with_tables(ps_ops):
  """The types of ops that go to parameter servers, and the one that makes a table."""
  return (*ps_ops, "EvHandleOp")
