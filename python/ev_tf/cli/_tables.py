"""The tables of a checkpoint, wherever their files lie.

A command takes a table file, a directory of them, or the prefix of a TensorFlow checkpoint that has tables beside it.
"""

import itertools
import os
import re
from typing import NamedTuple

from ev_tf import engine
from ev_tf.cli import _bundle
from ev_tf.cli._support import Failure, in_order

_MAGIC = b"EVTABLE1"
# The files of tables beside a checkpoint.
_BESIDE = re.compile(r"\.data-e\w{4}-of-\w{5}$")
_MANIFEST = re.compile(rb"ev_tf table \d+ (?P<suffix>\S+) .*\bbytes=(?P<bytes>\d+) checksum=(?P<checksum>[0-9a-f]{8})"
                       rb"(?: of=(?P<of>[^/]+))?$")


class Named(NamedTuple):
  """A table file as a TensorFlow checkpoint names it: the tensor that does, the path, and what the file had when it was saved."""

  tensor: str
  path: str
  bytes: int
  checksum: int


class Unreadable(NamedTuple):
  """A file of a table that cannot be opened, and why."""

  path: str
  error: Exception


class Table:
  """One table, in one file or in several parts.

  Args:
    name: str, the variable's, without part_0, part_1 ...
    parts: list of engine.TableReader, at least one.

  Raises:
    Failure: the parts are not of one table, or one of them is there twice.
  """

  def __init__(self, name, parts):
    self.name = name
    self.parts = parts
    paths = {}
    for part in parts:
      if part.name in paths:
        raise Failure(f"{part.path}: expected one file of {part.name}, found another in {paths[part.name]}: if these are of two "
                      "saves, name one of them by its prefix")
      paths[part.name] = part.path
    for part in parts[1:]:
      for field in ("dim", "has_frequency", "has_version"):
        if getattr(part, field) != getattr(self, field):
          raise Failure(f"{part.path}: {field}: expected {getattr(self, field)} as {parts[0].path} has, found "
                        f"{getattr(part, field)}")
      if [(s.name, s.dim) for s in part.slots] != [(s.name, s.dim) for s in self.slots]:
        raise Failure(f"{part.path}: expected the slots of {parts[0].path}, found {part.slots}")

  dim = property(lambda self: self.parts[0].dim)
  slots = property(lambda self: self.parts[0].slots)
  has_frequency = property(lambda self: self.parts[0].has_frequency)
  has_version = property(lambda self: self.parts[0].has_version)
  rows = property(lambda self: sum(part.rows for part in self.parts))
  file_bytes = property(lambda self: sum(part.file_bytes for part in self.parts))

  @property
  def slot_columns(self):
    """Where each slot stands among the columns of `slots` of a block: {name: slice}."""
    ends = itertools.accumulate(slot.dim for slot in self.slots)
    return {slot.name: slice(end - slot.dim, end) for slot, end in zip(self.slots, ends)}

  def blocks(self, threads=1, partition=0, partitions=1):
    """Each block of rows, an engine.TableBlock."""
    places = [(part, i) for part in self.parts for i in part.row_blocks(partition, partitions)]
    return in_order(lambda place: place[0].read(place[1], partition, partitions), places, threads)

  def filtered_blocks(self, partition=0, partitions=1):
    """Each block of keys that a filter counts."""
    for part in self.parts:
      for i in part.filtered_blocks(partition, partitions):
        yield part.read(i, partition, partitions)

  def default_rows(self):
    return self.parts[0].default_rows()


def write_block(writer, block, chosen=None):
  """Writes the rows of `block`, or those that a mask or indices choose."""
  columns = {name: getattr(block, name) for name in ("slots", "frequencies", "versions")}
  take = (lambda column: column) if chosen is None else (lambda column: None if column is None else column[chosen])
  writer.write(take(block.keys), take(block.values), **{name: take(column) for name, column in columns.items()})


def table_files(path):
  """The files of tables that `path` stands for, in order.

  Raises:
    Failure: there are none.
  """
  if os.path.isfile(path):
    return [path]
  if _bundle.exists(path):
    found = [named.path for named in tables_in(_bundle.Bundle(path))]
    if not found:
      raise Failure(f"{path}: expected a checkpoint with tables of ev_tf, found none in it; `ev-tf convert` takes DeepRec's")
    return found
  if not os.path.isdir(path):
    raise Failure(f"{path}: expected a table file, a directory of table files or the prefix of a checkpoint, found nothing")
  latest = _latest(path)
  if latest is not None and _bundle.exists(latest):
    found = [named.path for named in tables_in(_bundle.Bundle(latest))]
    if found:
      return found
  names = sorted(name for name in os.listdir(path) if _is_table(os.path.join(path, name)))
  if not names:
    raise Failure(f"{path}: expected table files in the directory, found none")
  return [os.path.join(path, name) for name in names]


def tables_in(bundle):
  """What the manifests in a TensorFlow checkpoint name: list of Named. An increment names all that it builds on, too."""
  named = []
  for name in sorted(bundle.entries):
    if not bundle.is_text(name):
      continue
    for text in bundle.texts(name):
      manifest = _MANIFEST.match(text)
      if manifest:
        prefix = bundle.prefix
        if manifest["of"]:  # of another checkpoint in the directory
          prefix = os.path.join(os.path.dirname(prefix), manifest["of"].decode())
        path = prefix + manifest["suffix"].decode()
        named.append(Named(name, path, int(manifest["bytes"]), int(manifest["checksum"], 16)))
  return named


def base_of(path):
  """The TensorFlow checkpoint that `path` stands for, or None, and what it names: {path: Named}."""
  prefix = path if _bundle.exists(path) else _latest(path)
  if os.path.isfile(path) or prefix is None or not _bundle.exists(prefix):
    return None, {}
  bundle = _bundle.Bundle(prefix)
  return bundle, {named.path: named for named in tables_in(bundle)}


def _latest(directory):
  """The prefix of the newest checkpoint by TensorFlow's file `checkpoint`, None without one."""
  try:
    with open(os.path.join(directory, "checkpoint"), encoding="utf-8") as file:
      found = re.search(r'^model_checkpoint_path: "([^"]*)"', file.read(), re.MULTILINE)
  except (OSError, UnicodeDecodeError):
    return None
  return found and os.path.join(directory, found.group(1))


def _is_table(path):
  if _BESIDE.search(path):
    return True
  if not os.path.isfile(path) or path.endswith(".tmp"):
    return False
  with open(path, "rb") as file:
    return file.read(len(_MAGIC)) == _MAGIC


def open_files(path):
  """A reader, or an Unreadable, of each table file that `path` stands for."""
  opened = []
  for file in table_files(path):
    try:
      opened.append(engine.TableReader(file))
    except (KeyError, OSError, RuntimeError, ValueError) as error:
      opened.append(Unreadable(file, error))
  return opened


def find_tables(path):
  """The tables that `path` stands for, by name: list of Table.

  Raises:
    Failure: `path` is an increment, or what open_files and Table raise.
  """
  bundle, named = base_of(path)
  if any(not file.startswith(f"{bundle.prefix}.") for file in named):
    raise Failure(f"{bundle.prefix}: expected a whole checkpoint, found an increment; `ev-tf merge {bundle.prefix} --out DIR` makes "
                  "one of it and what it builds on")
  parts = {}
  for opened in open_files(path):
    if isinstance(opened, Unreadable):
      raise opened.error
    parts.setdefault(re.sub(r"/part_\d+$", "", opened.name), []).append(opened)
  return [Table(name, sorted(readers, key=lambda r: (len(r.name), r.name))) for name, readers in sorted(parts.items())]


def find_table(path, name=None):
  """The table of that name, or the only one.

  Raises:
    Failure: there is none, or there are several and no name.
  """
  tables = find_tables(path)
  names = ", ".join(table.name for table in tables)
  if name is None:
    if len(tables) > 1:
      raise Failure(f"{path}: expected --table, as there are several: {names}")
    return tables[0]
  for table in tables:
    if table.name == name:
      return table
  raise Failure(f"{path}: expected table {name!r}, found: {names}")
