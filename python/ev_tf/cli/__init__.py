"""The `ev-tf` command: one module a subcommand, with a click command named `command`."""

import importlib
import pkgutil

import click


class _Subcommands(click.Group):
  """Finds the subcommands in this folder, and imports the one that is called."""

  def list_commands(self, ctx):
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))

  def get_command(self, ctx, name):
    if name not in self.list_commands(ctx):
      return None
    return importlib.import_module(f"ev_tf.cli.{name}").command


@click.group(cls=_Subcommands)
@click.version_option(package_name="ev_tf")
def main():
  """Embedding variables for TensorFlow."""
