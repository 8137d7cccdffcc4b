"""ev-tf saved-model ...: TensorFlow's saved_model_cli, for SavedModels with tables."""

import sys

import click


@click.command("saved-model", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
               add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments):
  """Run TensorFlow's saved_model_cli with ARGUMENTS, e.g. `show --dir DIR --all` or `run --dir DIR ...`.

  The stock one does not know the ops of a table. See docs/serving.md.
  """
  from tensorflow.python.tools import saved_model_cli

  import ev_tf._native  # noqa: F401  (registers the ops, which `ev-tf` leaves to its commands)

  sys.argv = ["saved_model_cli", *arguments]
  saved_model_cli.main()
