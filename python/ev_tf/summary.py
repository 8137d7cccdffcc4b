"""The metrics of embedding variables as TensorBoard scalars."""

import tensorflow as tf
from tensorflow.core.framework import summary_pb2

__all__ = ["scalars"]

_SCALAR = summary_pb2.SummaryMetadata(
    plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class=summary_pb2.DATA_CLASS_SCALAR)


def scalars(variable, *, step=None, metrics=None):
  """Writes the metrics of a variable as scalars named "<variable>/<metric>".

  In eager mode and in a tf.function they go to the default writer of tf.summary. In a graph the op is to be run: its value
  is what tf.compat.v1.summary.FileWriter.add_summary takes.

  Args:
    variable: EmbeddingVariable or PartitionedEmbeddingVariable.
    step: int or scalar int64 tensor, as for tf.summary.scalar; None means tf.summary.experimental.get_step(). A graph
      gives the step to its writer.
    metrics: list of str, names in variable.metrics(); None means all.

  Returns:
    None; in a graph a string tensor, a serialized Summary.

  Raises:
    ValueError: a name that variable.metrics() does not have.

  Example:
    >>> table = ev_tf.get_embedding_variable("doc/watched", 4)
    >>> with tf.summary.create_noop_writer().as_default():
    ...   scalars(table, step=1, metrics=["hot_rows", "cold_reads"])
  """
  values = variable.metrics()
  chosen = list(values) if metrics is None else list(metrics)
  unknown = [name for name in chosen if name not in values]
  if unknown:
    raise ValueError(f"scalars: metrics: expected names of {', '.join(values)}; got {', '.join(map(repr, unknown))}.")
  name = variable.name.split(":")[0]
  if not tf.executing_eagerly() and not tf.inside_function():
    return tf.compat.v1.summary.merge([
        tf.compat.v1.summary.scalar(f"{name}/{metric}", values[metric], collections=[]) for metric in chosen])
  for metric in chosen:  # as tf.summary.scalar writes it, which needs TensorBoard to be installed
    tf.summary.write(f"{name}/{metric}", tf.cast(values[metric], tf.float32), step=step, metadata=_SCALAR)
  return None
