"""ev-tf merge: a full save and the deltas that build on it, as one checkpoint."""

import os
import re

import click

from ev_tf import engine
from ev_tf.cli import _output, _support, _tables


def chains(checkpoints):
  """The files of each variable, or part of one, by its name: {name: list of engine.inspect_table()}. A file that several name, as
  increments do what they build on, is there once."""
  found = {}
  files = [file for path in checkpoints for file in _tables.table_files(path)]
  for path in {os.path.realpath(file): file for file in files}.values():
    info = engine.inspect_table(path)
    found.setdefault(info["name"], []).append(info)
  return found


def newest(checkpoints, found):
  """(the TensorFlow checkpoint that names all files, with its other variables, or None; {path: tensor that names it})."""
  files = {os.path.realpath(info["path"]) for infos in found.values() for info in infos}
  for checkpoint in checkpoints:
    bundle, named = _tables.base_of(checkpoint)
    tensors = {os.path.realpath(path): one.tensor for path, one in named.items()}
    if bundle is not None and tensors.keys() >= files:
      return bundle, tensors
  return None, {}


def write_part(output, name, files, place, parts, tensor):
  """Merges the files of one variable or part; returns the rows."""
  target = output.file(name, place, parts, tensor)
  engine.merge_tables([info["path"] for info in files], target)
  return engine.TableReader(target).rows


@click.command("merge")
@click.argument("checkpoints", type=click.Path(), nargs=-1, required=True)
@click.option("--out", type=click.Path(), required=True, help="Directory to make; it may be there if it is empty.")
@_support.one_sentence
def command(checkpoints, out):
  """Make one checkpoint of CHECKPOINTS: a full save, and the deltas that were saved after it, in any order.

  Each is a table file, a directory of table files or the prefix of a TensorFlow checkpoint. Ids that a delta says are gone are gone.
  A missing link of the chain is an error. The prefix of an increment names its whole chain, and its other variables are
  taken over.
  """
  found = chains(checkpoints)
  base, tensors = newest(checkpoints, found)
  groups = {}
  for name in sorted(found, key=lambda name: (len(name), name)):
    groups.setdefault(re.sub(r"/part_\d+$", "", name), []).append(name)
  lines = []
  with _output.Output(out, base) as output, _support.progress("merge", len(found)) as advance:
    for table, names in sorted(groups.items()):
      rows = 0
      for place, name in enumerate(names):
        rows += write_part(output, name, found[name], place, len(names), tensors.get(os.path.realpath(found[name][0]["path"])))
        advance(1)
      deltas = sum(info["is_delta"] for name in names for info in found[name])
      lines.append(f"{table}: {rows:,} rows, of {sum(len(found[name]) for name in names)} files, {deltas} of them deltas")
  _support.show(*lines)
