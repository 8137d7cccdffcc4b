"""Runs programs that were written for DeepRec one after the other in one process, as `ev-tf run` runs one.

    python run_scripts.py '[["wide_and_deep.py", "--ev", "true"], ...]'

Prints one line of JSON: {"programs": for each {"output": what it printed, "error": null or the error's last line,
"warnings": [...]}, "names": every name that the layer gives a program}.
"""

import contextlib
import io
import json
from pathlib import Path
import runpy
import sys
import traceback
import warnings

import ev_tf.deeprec  # noqa: F401  isort: skip
import tensorflow as tf  # isort: skip

SCRIPTS = Path(__file__).parent / "scripts"


def run(script, *arguments):
  """One program, in a graph of its own."""
  from ev_tf.deeprec import notices

  notices._said.clear()
  tf.reset_default_graph()
  sys.argv = [script, *arguments]
  printed, error = io.StringIO(), None
  with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always", ev_tf.deeprec.IgnoredWarning)
    try:
      runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    except Exception as raised:  # pylint: disable=broad-except
      error = f"{type(raised).__name__}: {raised}"
      traceback.print_exc()
  ours = [str(warning.message) for warning in said if issubclass(warning.category, ev_tf.deeprec.IgnoredWarning)]
  return {"output": printed.getvalue(), "error": error, "warnings": ours}


def all_names():
  from ev_tf.deeprec import names, session

  modules = [name for name in names.NEW_MODULES if not name.endswith(("contrib", "embedding", "python"))]
  return sorted({*names.TOP, *names.NN, *names.FEATURE_COLUMN, *names.TRAIN, *names.EXPERIMENTAL_CONFIG, *names.GRAPH_KEYS,
                 *session.IGNORED_FIELDS, *session.REFUSED_FIELDS, *modules})


if __name__ == "__main__":
  sys.path.insert(0, str(SCRIPTS))
  print("\n" + json.dumps({"programs": [run(*program) for program in json.loads(sys.argv[1])], "names": all_names()}))
