"""Runs programs that were written for DeepRec one after the other in one process, as `ev-tf run` runs one.

Each line of standard input is the JSON of a program and its arguments, ["wide_and_deep.py", "--ev", "true"]. It is answered with
a line of JSON: {"output": what it printed, "error": null or the error's last line, "warnings": [...]}. The first line of
all is the list of every name that the layer gives a program.
"""

import contextlib
import io
import json
from pathlib import Path
import runpy
import sys
import traceback
import warnings

from absl import flags

import ev_tf.deeprec  # noqa: F401  isort: skip
import tensorflow as tf  # isort: skip

SCRIPTS = Path(__file__).parent / "scripts"


def run(script, *arguments):
  """One program, in a graph of its own."""
  from ev_tf.deeprec import notices

  notices._said.clear()
  tf.reset_default_graph()
  sys.argv = [script, *arguments]
  printed, error, flags_before = io.StringIO(), None, set(flags.FLAGS)
  with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always", ev_tf.deeprec.IgnoredWarning)
    try:
      runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    except SystemExit as end:  # tf.app.run ends so
      error = f"exit status {end.code}" if end.code else None
    except Exception as raised:  # pylint: disable=broad-except
      error = f"{type(raised).__name__}: {raised}"
      traceback.print_exc()
  for name in set(flags.FLAGS) - flags_before:
    delattr(flags.FLAGS, name)
  ours = [str(warning.message) for warning in said if issubclass(warning.category, ev_tf.deeprec.IgnoredWarning)]
  return {"output": printed.getvalue(), "error": error, "warnings": ours}


def all_names():
  from ev_tf.deeprec import names, session

  modules = [name for name, contents in names.NEW_MODULES.items() if contents]
  return sorted({*names.TOP, *names.NN, *names.FEATURE_COLUMN, *names.TRAIN, *names.EXPERIMENTAL_CONFIG, *names.GRAPH_KEYS,
                 *session.IGNORED_FIELDS, *session.REFUSED_FIELDS, *modules})


if __name__ == "__main__":
  sys.path.insert(0, str(SCRIPTS))
  answers = sys.stdout
  print(json.dumps(all_names()), file=answers, flush=True)
  for line in sys.stdin:
    print(json.dumps(run(*json.loads(line))), file=answers, flush=True)
