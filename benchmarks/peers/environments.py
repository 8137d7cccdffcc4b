"""A Python environment for each peer that cannot live in ours, made on first use under .venv-peers/.

An environment variable names one that is there already: EV_BENCH_TFRA_PYTHON, EV_BENCH_DEEPRAY_PYTHON=/path/to/python.
"""

import glob
import os
import pathlib
import shutil
import subprocess
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-peers"


class Missing(Exception):
  """This machine cannot have the peer; the message says why."""


class Environment(NamedTuple):
  name: str
  variable: str  # environment variable that overrides it
  pythons: tuple  # minor versions of Python 3 it has wheels for, best first
  requirements: tuple
  probe: str  # a program that fails unless the peer works


ENVIRONMENTS = {
    "tfra": Environment(
        "tfra", "EV_BENCH_TFRA_PYTHON", (11, 10),
        ("setuptools<80", "tensorflow-cpu==2.16.2", "tf_keras==2.16.0", "tensorflow-recommenders-addons==0.8.1"),
        "from tensorflow_recommenders_addons import dynamic_embedding"),
    "deepray": Environment(
        "deepray", "EV_BENCH_DEEPRAY_PYTHON", (10,), ("setuptools<80", "tensorflow-cpu==2.15.1", "deepray==0.21.97"),
        "from deepray.custom_ops.embedding_variable import variables"),
}


def python_of(name):
  """The interpreter that runs a peer, making its environment if there is none.

  Raises:
    Missing: there is no Python of the right version, or the installation failed.
  """
  environment = ENVIRONMENTS[name]
  given = os.environ.get(environment.variable)
  if given:
    return _probed(environment, given)
  folder = HOME / name
  python = folder / "bin" / "python"
  if not (folder / "complete").exists():
    _make(environment, folder, python)
  return _probed(environment, str(python))


def _make(environment, folder, python):
  base = _find_python(environment.pythons)
  if base is None:
    wanted = " or ".join(f"3.{minor}" for minor in environment.pythons)
    raise Missing(f"needs Python {wanted}, and this machine has none")
  print(f"Installing {', '.join(environment.requirements)} into {folder}: some 500 MB", flush=True)
  shutil.rmtree(folder, ignore_errors=True)
  steps = [[base, "-m", "venv", str(folder)],
           [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *environment.requirements]]
  for step in steps:
    done = subprocess.run(step, capture_output=True, text=True)
    if done.returncode != 0:
      raise Missing(f"{' '.join(step[1:4])} failed: {_last_line(done.stderr)}")
  (folder / "complete").touch()


def _probed(environment, python):
  quiet = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
  try:
    done = subprocess.run([python, "-c", environment.probe], capture_output=True, text=True, env=quiet)
  except OSError as error:
    raise Missing(f"{python} does not run: {error}") from error
  if done.returncode != 0:
    raise Missing(f"does not import in {python}: {_last_line(done.stderr)}")
  return python


def _last_line(text):
  return (text.strip().splitlines() or ["no message"])[-1]


def _find_python(minors):
  """Path of a Python 3 of one of these minor versions, None if there is none. A shim that does not run is passed over."""
  home = pathlib.Path.home()
  for minor in minors:
    places = [shutil.which(f"python3.{minor}")]
    for pattern in (f"{os.environ.get('PYENV_ROOT', home / '.pyenv')}/versions/3.{minor}.*/bin/python3.{minor}",
                    f"{home}/.local/share/uv/python/cpython-3.{minor}*/bin/python3.{minor}",
                    f"/opt/python*/bin/python3.{minor}"):
      places += sorted(glob.glob(pattern))
    for place in places:
      if place and _runs(place, minor):
        return place
  return None


def _runs(python, minor):
  check = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, {minor}))"
  try:
    return subprocess.run([python, "-c", check], capture_output=True).returncode == 0
  except OSError:
    return False
