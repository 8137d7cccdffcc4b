"""Rows brought up from the tier below DRAM while the batches that need them wait in a tf.data pipeline."""

import tensorflow as tf

__all__ = ["prefetch_rows"]


def prefetch_rows(dataset, variable, ids_fn, *, batches=2):
  """Brings up the rows of each batch when it enters a queue of `batches` batches: the device is read beside the step.

  Put it last in a pipeline, after batching and shuffling. It saves time where rows are kept below DRAM and there is
  computation to hide the reads behind. DRAM should hold the rows of that many batches besides the hot ones; what left
  again before its turn is only read twice.

  Args:
    dataset: tf.data.Dataset of batches.
    variable: EmbeddingVariable or PartitionedEmbeddingVariable. In a graph the dataset is iterated with
      tf.compat.v1.data.make_initializable_iterator, initialized after the variable.
    ids_fn: callable. Gets what a function given to dataset.map would get, gives the ids that the step will look up: int64
      or int32, any shape.
    batches: int >= 1, default 2, how many batches ahead of the step.

  Returns:
    tf.data.Dataset with the elements of `dataset`, in its order.

  Raises:
    ValueError: batches < 1.

  Example:
    >>> table = ev_tf.get_embedding_variable("doc/ahead", 4)
    >>> ids = tf.data.Dataset.range(6).batch(2)
    >>> [batch.tolist() for batch in prefetch_rows(ids, table, lambda batch: batch).as_numpy_iterator()]
    [[0, 1], [2, 3], [4, 5]]
  """
  if not isinstance(batches, int) or batches < 1:
    raise ValueError(f"prefetch_rows: batches: expected an int of at least 1, got {batches!r}.")

  def bring_up(*element):
    done = variable.prefetch(ids_fn(*element))
    with tf.control_dependencies([] if done is None else [done]):
      element = tf.nest.map_structure(tf.identity, element, expand_composites=True)
    return element if len(element) > 1 else element[0]

  return dataset.map(bring_up).prefetch(batches)
