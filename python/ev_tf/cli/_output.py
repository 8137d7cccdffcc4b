"""What commands write: a directory with a TensorFlow checkpoint that has nothing but tables, or what another one has as well.

A variable takes its table from it by tf.compat.v1.train.Saver, tf.compat.v1.train.init_from_checkpoint or CheckpointOption.
"""

import contextlib
import os

import numpy as np

from ev_tf import engine
from ev_tf.cli import _bundle_writer, _support

NAME = "model.ckpt-0"
BUCKETS = 1000  # as in FORMAT.md: part p of P has the ids with id mod 1000 mod P == p
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _suffix(number):
  """Of the name of the file number `number`: what stock savers delete together with their checkpoint."""
  digits = ""
  while number or len(digits) < 5:
    number, digit = divmod(number, 36)
    digits = _DIGITS[digit] + digits
  return f".data-etool-of-{digits}"


class Output:
  """Table files and, at the end, the checkpoint that names them. A context manager; nothing is left if its body raises.

  Args:
    directory: str, that is made; it may be there if it is empty.
    base: _bundle.Bundle or None, a checkpoint of which the new one has all tensors but the tables' names.
    name: str, of the checkpoint.
  """

  def __init__(self, directory, base=None, name=NAME):
    self._base, self._name = base, name
    self._files = []  # (tensor, part, parts, suffix)
    self._stack = contextlib.ExitStack()
    self._wanted = directory

  def __enter__(self):
    self._directory = self._stack.enter_context(_support.whole_directory(self._wanted))
    self._tables = self._stack.enter_context(contextlib.ExitStack())
    return self

  def __exit__(self, *error):
    if error[0] is None:
      try:
        self._finish()
      except BaseException as failed:
        if not self._stack.__exit__(type(failed), failed, failed.__traceback__):
          raise
        return None
    return self._stack.__exit__(*error)

  @property
  def directory(self):
    """str, where the files are until all are whole."""
    return self._directory

  def table(self, name, dim, part=0, parts=1, tensor=None, **description):
    """A new engine.TableWriter for a table, or for one of its parts; committed at the end.

    Args:
      name: str, the variable's, with part_0 ... if it is a part.
      dim: int.
      part, parts: int.
      tensor: str, under which the checkpoint names the file; what a Saver would take by default.
      description: default_rows, slots, has_frequency, has_version, as for engine.TableWriter.
    """
    path = self.file(name, part, parts, tensor)
    return self._tables.enter_context(engine.TableWriter(path, dim, name, **description))

  def file(self, name, part=0, parts=1, tensor=None):
    """The path of a new table file, for the caller to write; arguments as of table()."""
    suffix = _suffix(len(self._files))
    self._files.append((tensor or f"{name}-table", part, parts, suffix))
    return self._path(suffix)

  def parts(self, name, dim, count, **description):
    """The writers of a table in `count` parts, for write_parts()."""
    if count == 1:
      return [self.table(name, dim, **description)]
    return [self.table(f"{name}/part_{part}", dim, part, count, **description) for part in range(count)]

  def _path(self, suffix):
    return os.path.join(self._directory, self._name + suffix)

  def _finish(self):
    self._tables.close()  # commits
    texts = {}
    for tensor, part, parts, suffix in self._files:
      reader = engine.TableReader(self._path(suffix))
      texts.setdefault(tensor, []).append(
          f"ev_tf table 1 {suffix} part={part}/{parts} rows={reader.rows} bytes={reader.file_bytes} "
          f"checksum={reader.checksum:08x}".encode())
    _bundle_writer.write(os.path.join(self._directory, self._name), texts, self._base)
    with open(os.path.join(self._directory, "checkpoint"), "w", encoding="utf-8") as file:
      file.write(f'model_checkpoint_path: "{self._name}"\nall_model_checkpoint_paths: "{self._name}"\n')


def initial_rows(rows, dim, stddev, seed):
  """What ids without a row read, and new ids start from: float32 [rows, dim], normal, cut off at two deviations."""
  if stddev is None:
    stddev = dim**-0.5
  random = np.random.default_rng(seed)
  drawn = random.standard_normal((rows, dim))
  while (outside := np.abs(drawn) > 2).any():
    drawn[outside] = random.standard_normal(int(outside.sum()))
  return (drawn * stddev).astype(np.float32)


def write_parts(writers, keys, **columns):
  """Writes rows to the file of their part; columns as of engine.TableWriter.write."""
  if len(writers) == 1:
    writers[0].write(keys, **columns)
    return
  parts = keys % BUCKETS % len(writers)
  for part, writer in enumerate(writers):
    chosen = np.flatnonzero(parts == part)
    if chosen.size:
      writer.write(keys[chosen], **{name: None if column is None else column[chosen] for name, column in columns.items()})
