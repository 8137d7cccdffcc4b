"""Where DeepRec programs read from: its queue of files, and its datasets of Parquet files, over tf.data and pyarrow."""

import json
import os

import tensorflow as tf

from ev_tf.deeprec import notices

_v1 = tf.compat.v1


class WorkQueue:
  """tensorflow.python.ops.work_queue.WorkQueue: works, mostly names of files, to be taken one after the other.

  In a cluster DeepRec's workers share one queue, which is not here.
  """

  def __init__(self, works, num_epochs=1, shuffle=True, seed=None, prefix=None, num_slices=None, name="work_queue", **unused):
    del unused
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    if len(cluster.get("worker", [])) + len(cluster.get("chief", [])) > 1:
      raise notices.missing("WorkQueue of several workers",
                            "give each worker its own files, or dataset.shard(workers, index) of all")
    if num_slices is not None:
      raise notices.missing("WorkQueue(num_slices=...)", "leave it out")
    self._works = [f"{prefix or ''}{work}" for work in works]
    self._epochs, self._shuffle, self._seed, self._name = num_epochs, shuffle, seed, name

  def input_dataset(self):
    """tf.data.Dataset of the works, num_epochs times, each time in another order if shuffled."""
    dataset = _v1.data.Dataset.from_tensor_slices(self._works)
    if self._shuffle and len(self._works) > 1:
      dataset = dataset.shuffle(len(self._works), self._seed)
    return dataset.repeat(self._epochs)

  def take(self):
    """Scalar string tensor: the next work; OutOfRangeError after the last."""
    iterator = _v1.data.make_initializable_iterator(self.input_dataset())
    _v1.add_to_collection(_v1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    return iterator.get_next(self._name)


def ParquetDataset(filenames, batch_size=1, fields=None, partition_count=1, partition_index=0, drop_remainder=False, **unused):  # pylint: disable=invalid-name
  """parquet_dataset_ops.ParquetDataset: a tf.data.Dataset of batches, dicts from column to [batch], of lists a RaggedTensor.

  Args:
    filenames: str, or list of str.
    batch_size: int.
    fields: list of str, the columns to read; None means all.
    partition_count, partition_index: int; of the row groups of each file, those at index modulo count.
    drop_remainder: bool, leave out a last batch that is not full.
    unused: how many threads read, and how far ahead.
  """
  del unused
  from pyarrow import parquet

  filenames = [filenames] if isinstance(filenames, str) else list(filenames)
  fields = None if fields is None else [getattr(field, "name", field) for field in fields]
  schema = parquet.read_schema(filenames[0])
  signature = {field.name: _spec(field) for field in schema if fields is None or field.name in fields}

  def batches():
    for name in filenames:
      file = parquet.ParquetFile(name)
      groups = range(partition_index, file.num_row_groups, partition_count)
      for batch in file.iter_batches(batch_size, row_groups=list(groups), columns=list(signature)):
        if len(batch) == batch_size or not drop_remainder:
          yield {column: _values(batch.column(column), spec) for column, spec in signature.items()}

  return _v1.data.Dataset.from_generator(batches, output_signature=signature)


_NUMPY_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}  # where Arrow's name is another


def _spec(field):
  from pyarrow import types

  kind, ragged = field.type, types.is_list(field.type) or types.is_large_list(field.type)
  kind = kind.value_type if ragged else kind
  text = types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind)
  dtype = tf.string if text else tf.as_dtype(_NUMPY_NAMES.get(str(kind), str(kind)))
  return tf.RaggedTensorSpec([None, None], dtype, 1) if ragged else tf.TensorSpec([None], dtype)


def _values(column, spec):
  if isinstance(spec, tf.RaggedTensorSpec):
    return tf.ragged.constant(column.to_pylist(), spec.dtype, ragged_rank=1)
  return column.to_numpy(zero_copy_only=False).astype(spec.dtype.as_numpy_dtype)
