"""Writes a TensorFlow checkpoint (tensor bundle) that holds texts, beside what another checkpoint holds. _bundle.py reads them.

Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc and tensorflow/core/lib/io/table_format.txt.
"""

import os
import shutil

from ev_tf import engine
from ev_tf.cli import _bundle

_HEADER_VERSION = b"\x1a\x02\x08\x01"  # field 3, VersionDef {producer: 1}


def _checksum(data):
  return _bundle.masked(engine.crc32c(data))


def _varint(value):
  out = bytearray()
  while value > 127:
    out.append(value & 127 | 128)
    value >>= 7
  out.append(value)
  return bytes(out)


def _field(number, value):
  """A field of a protobuf message; an int of 0 is left out, as protobuf does."""
  if isinstance(value, bytes):
    return _varint(number << 3 | 2) + _varint(len(value)) + value
  return _varint(number << 3) + _varint(value) if value else b""


def _texts(texts):
  """The bytes of a string tensor, and its checksum."""
  lengths = b"".join(_varint(len(text)) for text in texts)
  summed = b"".join(len(text).to_bytes(4, "little") for text in texts)
  check = _checksum(summed).to_bytes(4, "little")
  body = b"".join(texts)
  return lengths + check + body, _checksum(summed + check + body)


def _entry(shard, offset, texts, size, crc):
  shape = _field(2, _field(1, len(texts)))
  return (_field(1, _bundle.STRING) + _field(2, shape) + _field(3, shard) + _field(4, offset) + _field(5, size)
          + _varint(6 << 3 | 5) + crc.to_bytes(4, "little"))


def _block(pairs):
  """A block of a string table without shared prefixes."""
  out, restarts = bytearray(), []
  for key, value in pairs:
    restarts.append(len(out))
    out += _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value
  for place in restarts or [0]:
    out += place.to_bytes(4, "little")
  return bytes(out) + len(restarts or [0]).to_bytes(4, "little")


def _table(pairs):
  """A string table of sorted pairs."""
  out = bytearray()

  def add(block):
    handle = _varint(len(out)) + _varint(len(block))
    out.extend(block + b"\0" + _checksum(block + b"\0").to_bytes(4, "little"))
    return handle

  data = add(_block(pairs))
  meta = add(_block([]))
  index = add(_block([(pairs[-1][0] + b"\0", data)]))
  footer = (meta + index).ljust(40, b"\0") + _bundle.MAGIC.to_bytes(8, "little")
  return bytes(out) + footer


def write(prefix, texts, base=None):
  """Writes the files of a checkpoint.

  Args:
    prefix: str, of the new checkpoint.
    texts: dict, name of a tensor -> list of bytes.
    base: _bundle.Bundle or None: a checkpoint whose other tensors the new one has too. Its files are linked, or copied.
  """
  old = base.shards if base else 0
  shards = old + 1
  entries = dict(base.raw) if base else {}
  data = bytearray()
  for name, elements in texts.items():
    body, crc = _texts(elements)
    entries[name.encode()] = _entry(old, len(data), elements, len(body), crc)
    data += body
  entries[b""] = _field(1, shards) + _HEADER_VERSION
  for shard in range(old):
    _link(base.file(shard), f"{prefix}.data-{shard:05d}-of-{shards:05d}")
  for path, content in ((f"{prefix}.data-{old:05d}-of-{shards:05d}", data), (f"{prefix}.index", _table(sorted(entries.items())))):
    with open(path, "wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())


def _link(source, target):
  try:
    os.link(source, target)
  except OSError:  # another file system
    shutil.copyfile(source, target)
