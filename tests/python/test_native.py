"""Importing: with the right TensorFlow, with another one, and without."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

import ev_tf
from ev_tf import _native, patches


def run_python(code, **environment):
  return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment})


def test_another_minor_is_refused_in_one_sentence():
  _native.check_version("2.21.0", "2.21.4")
  with pytest.raises(ImportError) as refused:
    _native.check_version("2.15.1", "2.21.0")
  message = str(refused.value)
  assert "built for TensorFlow 2.15, but TensorFlow 2.21.0 is installed" in message
  assert "'tensorflow==2.15.*'" in message and "\n" not in message


def test_all_public_names_are_there():
  for name in set(ev_tf.__all__) - {"engine"}:
    assert getattr(ev_tf, name) is not None
    assert name in dir(ev_tf)
  with pytest.raises(AttributeError, match="has no attribute 'get_embeding_variable'"):
    _ = ev_tf.get_embeding_variable


WITHOUT_TENSORFLOW = """
import sys
class Absent:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] == "tensorflow":
      raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import importlib.util
original = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "tensorflow" else original(name, package)
import ev_tf
"""


def test_options_need_no_tensorflow():
  code = WITHOUT_TENSORFLOW + """
print(ev_tf.StorageOption(ev_tf.StorageType.DRAM).effective_type.name)
try:
  ev_tf.get_embedding_variable
except ImportError as error:
  print(error)
"""
  done = run_python(code)
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert lines[0] == "DRAM" and "ev_tf.get_embedding_variable needs TensorFlow" in lines[1]


def test_engine_only_imports_no_tensorflow():
  done = run_python("import sys, ev_tf; ev_tf.StorageType; print('tensorflow' in sys.modules)", EV_TF_ENGINE_ONLY="1")
  assert done.stdout.strip() == "False", done.stderr


def test_importing_registers_the_ops():
  done = run_python("import ev_tf\nfrom tensorflow.python.framework import op_def_registry\n"
                    "print(op_def_registry.get('EvGather').name)")
  assert done.stdout.strip() == "EvGather", done.stderr


def test_every_patch_is_made_once_and_says_why():
  ev_tf.get_embedding_variable("patched", 2)
  assert all(patch.reason for patch in patches.PATCHES)
  assert len({str(patch) for patch in patches.PATCHES}) == len(patches.PATCHES)
  made = [patch for patch in patches.PATCHES if patch.module.startswith("tensorflow.")]
  assert made and not [patch for patch in made if patch in patches._waiting]
  before = tf.compat.v1.train.Optimizer.apply_gradients
  patches.apply()
  assert tf.compat.v1.train.Optimizer.apply_gradients is before


def test_a_patch_of_what_is_not_there_is_an_error():
  with pytest.raises(ImportError, match="tensorflow.python.training.optimizer.Optimizer._gone does not exist"):
    patches._make(patches.Patch("tensorflow.python.training.optimizer", "Optimizer", "_gone", "", "a test"))
