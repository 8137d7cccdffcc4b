"""ev-tf run script.py [args]: runs a program that was written for DeepRec."""

import os
import runpy
import sys

import click


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(script, arguments):
  """Run SCRIPT, written for DeepRec (TensorFlow 1.15), with ARGUMENTS.

  `import tensorflow as tf` in it gives TensorFlow 1's names and DeepRec's. See docs/deeprec.md.
  """
  import ev_tf.lookup  # noqa: F401, I001  (registers the ops, which `ev-tf` leaves to its commands)
  import ev_tf.deeprec  # noqa: F401  (installs the names)

  sys.argv = [script, *arguments]
  sys.path[0] = os.path.dirname(os.path.abspath(script))
  runpy.run_path(script, run_name="__main__")
