"""Whether ids are distinct, in bounded memory: they are sorted in groups, which wait in files until all are known."""

import contextlib
import os
import tempfile

import numpy as np

from ev_tf.cli._support import Failure

_GROUPS = 64  # a billion ids make groups of some 120 MB


class DistinctIds:
  """Takes ids, and says at the end whether one came twice. A context manager.

  Args:
    directory: str, where the files go; they are gone at the end.
    what: str, where the ids come from, for messages.
  """

  def __init__(self, directory, what):
    self._what = what
    self._files = []
    with contextlib.ExitStack() as opened:
      for _ in range(_GROUPS):
        self._files.append(opened.enter_context(tempfile.TemporaryFile(dir=directory, buffering=0)))
      self._opened = opened.pop_all()

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._opened.close()

  def add(self, ids):
    """ids: int64 [n]."""
    groups = (ids.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(58)).astype(np.uint8)
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups, minlength=_GROUPS))
    ids = ids[order]
    for group, (start, end) in enumerate(zip([0, *ends[:-1]], ends)):
      if end > start:
        self._files[group].write(ids[start:end].tobytes())

  def check(self):
    """Raises:
      Failure: an id came twice.
    """
    found, count = [], 0
    for file in self._files:
      size = os.fstat(file.fileno()).st_size
      if not size:
        continue
      file.seek(0)
      ids = np.fromfile(file, np.int64, size // 8)
      ids.sort()
      twice = np.unique(ids[1:][ids[1:] == ids[:-1]])
      count += twice.size
      found += twice[: 5 - len(found)].tolist()
    if count:
      shown = ", ".join(map(str, found))
      raise Failure(f"{self._what}: expected distinct ids, found {count:,} that stand more than once, such as {shown}")
