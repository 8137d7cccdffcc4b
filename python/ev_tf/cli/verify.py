"""ev-tf verify: reads every byte that has a checksum."""

import os

import click

from ev_tf import engine
from ev_tf.cli import _support, _tables


@click.command("verify")
@click.argument("checkpoint", type=click.Path())
@_support.THREADS
@_support.one_sentence
def command(checkpoint, threads):
  """Check every checksum of CHECKPOINT: a table file, a directory of them, or the prefix of a TensorFlow checkpoint.

  Of a TensorFlow checkpoint also that the files are those that it names, and the checksums of its other numbers.

  Says of each damaged place the file, the offset, what was expected and what was found, and ends with 1 if there is one.
  """
  opened = _tables.open_files(checkpoint)
  readers = [one for one in opened if not isinstance(one, _tables.Unreadable)]
  damages = {one.path: _damages_of_other(one.path) for one in opened if isinstance(one, _tables.Unreadable)}
  with _support.progress("verify", sum(reader.file_bytes for reader in readers)) as advance:
    for reader in readers:
      damages[reader.path] = _damages(reader, threads, advance)
  bundle, named = _tables.base_of(checkpoint)
  for one in opened:
    if one in readers or not damages[one.path]:
      damages[one.path] += _other_save(one.path, named.get(one.path))
  bad = [path for path, found in damages.items() if found]
  if bundle is not None:
    bad += _show_tensors(bundle)
  for one in opened:
    if not damages[one.path]:
      rows = f" {one.rows:,} rows," if one in readers else ""
      _support.show(f"ok       {one.path}:{rows} {os.path.getsize(one.path):,} bytes")
    for damage in damages[one.path]:
      _support.show(f"damaged  {damage}")
  if bad:
    raise _support.Failure(f"{len(bad)} of {len(opened) + (bundle is not None)} are damaged")


def _other_save(path, named):
  """Whether the file is not the one that the checkpoint names: a list of no or one str."""
  if named is None:
    return []
  info = engine.inspect_table(path)
  if (named.bytes, named.checksum) == (info["file_bytes"], info["checksum"]):
    return []
  return [f"{path}: expected {named.bytes} bytes with checksum {named.checksum:08x} as the checkpoint says, found "
          f"{info['file_bytes']} with {info['checksum']:08x}: the file is of another save"]


def _show_tensors(bundle):
  """Checks the numbers in a TensorFlow checkpoint and says what it found; the names of tensors that are damaged."""
  numbers = [name for name in sorted(bundle.entries) if bundle.is_numbers(name)]
  bad = []
  for name in numbers:
    try:
      bundle.check(name)
    except (OSError, RuntimeError) as error:
      bad.append(name)
      _support.show(f"damaged  {_text(error)}")
  if not bad:
    _support.show(f"ok       {bundle.prefix}: {len(numbers):,} tensors of numbers")
  return bad


def _damages(reader, threads, advance):
  """What is wrong in one file: list of str."""
  found = []
  try:
    reader.default_rows()
  except (OSError, RuntimeError) as error:
    found.append(_text(error))

  def check(block):
    try:
      reader.read(block)
    except (OSError, RuntimeError) as error:
      return _text(error)
    return None

  blocks = reader.row_blocks() + reader.filtered_blocks()
  for damage in _support.in_order(check, blocks, threads):
    advance(reader.file_bytes // len(blocks))
    if damage:
      found.append(damage)
  return found


def _damages_of_other(path):
  """The same of a file that is no whole table by itself, or none at all."""
  try:
    engine.verify_table(path)
  except (KeyError, OSError, RuntimeError) as error:
    return [_text(error)]
  return []


def _text(error):
  text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
  return text.removeprefix("Corruption: ")
