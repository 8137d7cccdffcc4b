"""Programs that were written for DeepRec run unedited, and docs/deeprec.md says what became of every name."""

import importlib.util
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile

import pytest

pytest.importorskip("tensorflow", reason="programs over TensorFlow")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}

# name: (script and its arguments, which of them decide the losses). {path} is a directory for files.
EV = ("--ev", "true")
ZOO = {
    "wide_and_deep": ["wide_and_deep.py"],
    "wide_and_deep ev": ["wide_and_deep.py", *EV, "--group_embedding", "--incremental_ckpt", "60", "--checkpoint", "{path}"],
    "wide_and_deep parts": ["wide_and_deep.py", *EV, "--input_layer_partitioner", "2", "--optimizer", "adam",
                            "--learning_rate", "0.02"],
    "wide_and_deep bf16": ["wide_and_deep.py", *EV, "--bf16", "--optimizer", "adamasync", "--learning_rate", "0.02"],
    "wide_and_deep adaptive": ["wide_and_deep.py", "--adaptive_emb", "true"],
    "wide_and_deep multihash": ["wide_and_deep.py", "--multihash", "true"],
    "wide_and_deep counter": ["wide_and_deep.py", *EV, "--ev_filter", "counter", "--ev_elimination", "gstep",
                              "--optimizer", "adagraddecay"],
    "wide_and_deep cbf": ["wide_and_deep.py", *EV, "--ev_filter", "cbf", "--ev_elimination", "l2"],
    "dlrm": ["dlrm.py", "--optimizer", "adam", "--learning_rate", "0.02"],
    "dlrm ev": ["dlrm.py", *EV, "--optimizer", "adam", "--learning_rate", "0.02", "--ev_storage", "dram_ssdhash",
                "--ev_storage_path", "{path}"],
    "dlrm group": ["dlrm.py", *EV, "--group_embedding", "--optimizer", "adamw", "--learning_rate", "0.02"],
    "dlrm parts": ["dlrm.py", *EV, "--input_layer_partitioner", "2", "--dense_layer_partitioner", "2", "--optimizer", "adam",
                   "--learning_rate", "0.02"],
    "din": ["din.py", "--steps", "40", "--optimizer", "adam", "--learning_rate", "0.02"],
    "din ev": ["din.py", *EV, "--steps", "40", "--optimizer", "adagraddecayv2"],
    "sequences": ["contrib_sequences.py", "{path}"],
    "multi_task": ["multi_task.py", "{path}"],
    "deepfm": ["deepfm.py", "--data_location={path}"],
    "deepfm parts": ["deepfm.py", "--data_location={path}", "--parts=2", "--nogroup_embedding"],
    "din parts": ["din.py", *EV, "--steps", "40", "--input_layer_partitioner", "2"],
}
# The options that these go through are tested one by one elsewhere too.
SLOW = {"wide_and_deep", "wide_and_deep bf16", "wide_and_deep adaptive", "wide_and_deep multihash", "wide_and_deep counter",
        "wide_and_deep cbf", "dlrm", "dlrm parts", "din", "din parts"}
HAS_ESTIMATORS = importlib.util.find_spec("tensorflow_estimator") is not None
OTHERS = {
    **({"estimator": ["estimator.py", "{path}"]} if HAS_ESTIMATORS else {}),
    "example variable": ["multi_tier_variable.py"],
    "example column": ["multi_tier_feature_column.py"],
    "contrib": ["contrib_columns.py"],
    "micro batch": ["wide_and_deep.py", "--micro_batch", "4"],
}


class Programs:
  """What each program printed, and its error if it had one. A program runs when it is first asked for; all in one process."""

  def __init__(self, new_directory):
    self._new_directory = new_directory
    self._errors = tempfile.TemporaryFile("w+")
    self._process = subprocess.Popen([sys.executable, str(HERE / "run_scripts.py")], env=ENVIRONMENT, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=self._errors, text=True)
    self.names = self._answer()
    self._results = {}

  def __getitem__(self, name):
    if name not in self._results:
      path = self._new_directory(name.replace(" ", "_"))
      program = [part.format(path=path) for part in {**ZOO, **OTHERS}[name]]
      self._process.stdin.write(json.dumps(program) + "\n")
      self._process.stdin.flush()
      self._results[name] = self._answer()
    return self._results[name]

  def close(self):
    self._process.stdin.close()
    self._process.wait(timeout=60)
    self._process.stdout.close()
    self._errors.close()

  def _answer(self):
    line = self._process.stdout.readline()
    if not line:
      self._errors.seek(0)
      raise AssertionError(f"the process of the programs ended: {self._errors.read()[-4000:]}")
    return json.loads(line)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
  programs = Programs(tmp_path_factory.mktemp)
  yield programs
  programs.close()


def losses(result):
  assert result["error"] is None, result["error"]
  first, last = re.search(r"first loss (\S+) last loss (\S+)", result["output"]).groups()
  return float(first), float(last)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ZOO])
def test_program_in_the_manner_of_the_model_zoo_learns(results, name):
  first, last = losses(results[name])
  assert last < first - 0.02


@pytest.mark.parametrize("name, expected", [("example variable", [36.0, 32.444, 29.914]),
                                            ("example column", [30.0, 27.037, 24.929])])
def test_examples_of_multi_tier_storage(results, name, expected):
  assert results[name]["error"] is None
  found = [float(text) for text in re.findall(r"None, (?:np\.float32\()?([\d.]+)", results[name]["output"])]
  assert found == pytest.approx(expected, abs=1e-3)


def test_a_group_of_columns_is_one_lookup_and_the_checkpoint_is_evaluated(results):
  for name, lookups in (("deepfm", 1), ("deepfm parts", 0)):
    found, step, auc = re.search(r"lookups (\d+)\n(?:.*\n)*step (\d+) auc (\S+)", results[name]["output"]).groups()
    assert (int(found), int(step)) == (lookups, 60) and float(auc) > 0.95


@pytest.mark.skipif(not HAS_ESTIMATORS, reason="TensorFlow 2.15 is the last with Estimators")
def test_estimators(results):
  first, last = losses(results["estimator"])
  assert last < first - 0.02


def test_contrib_columns(results):
  assert results["contrib"]["error"] is None and "contrib columns" in results["contrib"]["output"]


def test_what_cannot_be_had_is_said_once(results):
  said = results["wide_and_deep ev"]["warnings"]
  for name in ("tf.staged", "do_smart_stage", "make_prefetch_hook", "do_op_fusion", "do_fusion", "enable_distributed_strategy",
               "save_incremental_checkpoint_secs"):
    assert len([warning for warning in said if f" {name}" in warning or f".{name}" in warning]) == 1, (name, said)


def test_what_would_change_training_is_an_error(results):
  assert "NotImplementedError: ConfigProto's micro_batch_num" in results["micro batch"]["error"]


def test_ev_tf_run(tmp_path):
  """The command itself: sys.argv, the script's folder on sys.path, its name, its exit status."""
  (tmp_path / "beside.py").write_text("VALUE = 3\n")
  script = tmp_path / "program.py"
  script.write_text("import sys\nimport tensorflow as tf\nfrom tensorflow.python.ops import variable_scope\nimport beside\n"
                    "import os\nfrom tensorflow.core.framework.embedding import config_pb2\n"
                    "assert __name__ == '__main__' and tf.__version__.startswith('1.15') and not tf.executing_eagerly()\n"
                    "assert variable_scope.get_embedding_variable is tf.get_embedding_variable\n"
                    "assert tf.StorageOption(config_pb2.StorageType.LEVELDB, '/tmp/x', [8]).storage_type == 5\n"
                    "print(os.path.basename(sys.argv[0]), sys.argv[1:], beside.VALUE)\nsys.exit(7)\n")
  ran = subprocess.run([sys.executable, "-m", "ev_tf.cli", "run", str(script), "--flag", "run", "-x=1"], env=ENVIRONMENT,
                       capture_output=True, text=True, timeout=120)
  assert (ran.returncode, ran.stdout) == (7, "program.py ['--flag', 'run', '-x=1'] 3\n"), ran.stderr[-3000:]


def test_nothing_is_patched_unless_asked():
  program = ("import ev_tf, tensorflow as tf, sys\n"
             "ev_tf.get_embedding_variable('x', 2)\n"
             "assert tf.executing_eagerly() and not hasattr(tf, 'get_embedding_variable')\n"
             "assert 'tensorflow.contrib' not in sys.modules and 'ev_tf.deeprec' not in sys.modules\n"
             "assert not hasattr(tf.compat.v1.GraphKeys, 'EV_INIT_VAR_OPS')\n"
             "from tensorflow.python.feature_column import feature_column_v2 as fc\n"
             "assert not hasattr(fc.EmbeddingColumn.create_state, '__wrapped__')\n")
  ran = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
  assert ran.returncode == 0, ran.stderr[-3000:]


def test_the_guide_names_every_name(results):
  guide = (ROOT / "docs" / "deeprec.md").read_text()
  missing = [name for name in results.names if f"{name}`" not in guide and f"{name}(" not in guide]
  assert len(results.names) > 60 and not missing
