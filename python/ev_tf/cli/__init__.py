"""The `ev-tf` command: one module a subcommand, with a click command named `command`."""

import importlib
import pkgutil

import click


class _Subcommands(click.Group):
  """Finds the subcommands in this folder, and imports the one that is called. import_.py is the command `import`, a_b.py `a-b`."""

  def list_commands(self, ctx):
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.rstrip("_").replace("_", "-") for name in names if not name.startswith("_"))

  def get_command(self, ctx, name):
    if name not in self.list_commands(ctx):
      return None
    module = f"{name}_" if name == "import" else name.replace("-", "_")
    return importlib.import_module(f"ev_tf.cli.{module}").command


@click.group(cls=_Subcommands)
@click.version_option(package_name="ev_tf")
def main():
  """Embedding variables for TensorFlow."""
