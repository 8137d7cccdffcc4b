"""A TensorFlow checkpoint (tensor bundle) without TensorFlow: names, dtypes, shapes, and tensors mapped from the files.

`<prefix>.index` is a sorted string table in LevelDB's format, uncompressed: tensor name -> BundleEntryProto. The bytes of a
tensor stand in `<prefix>.data-<shard>-of-<shards>`, little-endian; strings as varint lengths, a checksum, and the characters.
Source: tensorflow/core/protobuf/tensor_bundle.proto and tensorflow/core/lib/io/table_format.txt.
"""

import os
from typing import NamedTuple

import numpy as np

from ev_tf import engine

MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
STRING = 7
# The numbers of tensorflow/core/framework/types.proto.
_DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64, 10: np.bool_,
           17: np.uint16, 19: np.float16, 22: np.uint32, 23: np.uint64}
_BYTES_AT_ONCE = 8 << 20


class Entry(NamedTuple):
  """Where a tensor is."""

  dtype: int
  shape: tuple
  shard: int
  offset: int
  size: int
  crc: int


class Damaged(RuntimeError):
  """The checkpoint is not what its format says."""


def masked(crc):
  """A checksum as these files have it."""
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def exists(prefix):
  return os.path.isfile(f"{prefix}.index")


def _varint(data, at):
  value = shift = 0
  while True:
    byte = data[at]
    at += 1
    value |= (byte & 127) << shift
    if byte < 128:
      return value, at
    shift += 7


def _fields(data):
  """The fields of a protobuf message: (number, int or bytes)."""
  at = 0
  while at < len(data):
    tag, at = _varint(data, at)
    kind = tag & 7
    if kind == 0:
      value, at = _varint(data, at)
    elif kind == 2:
      size, at = _varint(data, at)
      value, at = data[at : at + size], at + size
    elif kind in (1, 5):
      size = 8 if kind == 1 else 4
      value, at = int.from_bytes(data[at : at + size], "little"), at + size
    else:
      raise ValueError(f"wire type {kind}")
    yield tag >> 3, value


def _handle(data, at):
  """(offset, size) of the block whose handle is at `at`."""
  offset, at = _varint(data, at)
  size, _ = _varint(data, at)
  return offset, size


def _pairs(data, offset, size):
  """The (key, value) pairs of a block, which ends with a byte of its kind and a checksum of both."""
  stored = int.from_bytes(data[offset + size + 1 : offset + size + 5], "little")
  found = masked(engine.crc32c(data[offset : offset + size + 1]))
  if found != stored:
    raise ValueError(f"@ {offset}: crc of a block: expected {stored:#010x}, found {found:#010x}")
  if data[offset + size] != 0:
    raise ValueError("a compressed block")
  block = data[offset : offset + size]
  end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
  key, at = b"", 0
  while at < end:
    shared, at = _varint(block, at)
    rest, at = _varint(block, at)
    length, at = _varint(block, at)
    key = key[:shared] + block[at : at + rest]
    at += rest
    yield key, block[at : at + length]
    at += length


def _entry(value):
  fields = dict(_fields(value))
  dims = [dict(_fields(dim)).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2]
  return Entry(fields.get(1, 0), tuple(dims), fields.get(3, 0), fields.get(4, 0), fields.get(5, 0),
               fields.get(6, 0))


class Bundle:
  """The tensors of a checkpoint.

  Args:
    prefix: str, the checkpoint's, e.g. "run/model.ckpt-7".

  Raises:
    OSError: a file is not there.
    Damaged: the index does not parse.
  """

  def __init__(self, prefix):
    self.prefix = prefix
    path = f"{prefix}.index"
    with open(path, "rb") as file:
      data = file.read()
    if len(data) < _FOOTER_BYTES or int.from_bytes(data[-8:], "little") != MAGIC:
      raise Damaged(f"{path}: expected the index of a TensorFlow checkpoint, found something else")
    try:
      self._read_index(data)
    except (IndexError, ValueError) as error:
      raise Damaged(f"{path}: the index of the checkpoint does not parse ({error})") from error

  def _read_index(self, data):
    footer = len(data) - _FOOTER_BYTES
    list(_pairs(data, *_handle(data, footer)))  # for its checksum: the block of metadata is empty
    _, at = _varint(data, footer)
    _, at = _varint(data, at)
    self.shards = 1
    self.entries, self.raw = {}, {}  # raw: name -> BundleEntryProto, both bytes
    for _, handle in _pairs(data, *_handle(data, at)):
      for key, value in _pairs(data, *_handle(handle, 0)):
        if key == b"":
          self.shards = dict(_fields(value)).get(1, 1)
        else:
          self.entries[key.decode()] = _entry(value)
          self.raw[key] = value

  def file(self, shard):
    return f"{self.prefix}.data-{shard:05d}-of-{self.shards:05d}"

  def _bytes(self, name):
    entry = self.entries[name]
    path = self.file(entry.shard)
    size = os.path.getsize(path)
    if entry.offset + entry.size > size:
      raise Damaged(f"{path} @ {entry.offset}: tensor {name}: expected {entry.size} bytes, found {size - entry.offset}: is "
                    "the file cut short?")
    if entry.size == 0:
      return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, "r", entry.offset, entry.size)

  def tensor(self, name):
    """A tensor as an array that is read from the file as it is used.

    Raises:
      Damaged: the file is shorter than the index says, or it is not numbers.
    """
    entry = self.entries[name]
    dtype = _DTYPES.get(entry.dtype)
    if dtype is None:
      raise Damaged(f"{self.prefix}: tensor {name}: expected numbers, found dtype {entry.dtype}")
    data = self._bytes(name)
    expected = int(np.prod(entry.shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if expected != entry.size:
      raise Damaged(f"{self.prefix}: tensor {name}: expected {expected} bytes for shape {entry.shape}, found {entry.size}")
    return data.view(dtype).reshape(entry.shape)

  def check(self, name):
    """Reads a tensor of numbers and compares its checksum.

    Raises:
      Damaged: it is another one.
    """
    entry, data, crc = self.entries[name], self._bytes(name), 0
    for start in range(0, len(data), _BYTES_AT_ONCE):
      crc = engine.crc32c(data[start : start + _BYTES_AT_ONCE], crc)
    if masked(crc) != entry.crc:
      raise Damaged(f"{self.file(entry.shard)} @ {entry.offset}: tensor {name}: crc: expected {entry.crc:#010x}, found "
                    f"{masked(crc):#010x}")

  def is_text(self, name):
    return self.entries[name].dtype == STRING

  def is_numbers(self, name):
    return self.entries[name].dtype in _DTYPES

  def texts(self, name):
    """The elements of a string tensor: list of bytes."""
    entry = self.entries[name]
    data = self._bytes(name).tobytes()
    count = int(np.prod(entry.shape, dtype=np.int64))
    try:
      at, lengths = 0, []
      for _ in range(count):
        length, at = _varint(data, at)
        lengths.append(length)
    except IndexError as error:
      raise Damaged(f"{self.prefix}: tensor {name}: expected {count} texts, found fewer") from error
    at += 4  # the checksum of the lengths
    texts = []
    for length in lengths:
      texts.append(data[at : at + length])
      at += length
    return texts
