"""Knowledge runs one way, python -> ops -> ev_tf; tests are not forgotten; files stay readable in one sitting.

These tests read the #include and import lines of the sources. A forward declaration of an upper class counts as knowing
it too, but only a reader can see that.
"""

import ast
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Rooms of the engine; a room may include itself and the rooms before it.
ROOMS = ("base", "env", "cuda", "row", "alloc", "index", "batch", "admission", "cache", "init", "optim", "tier", "store",
         "eviction", "checkpoint", "variable")
# What stands on top of the facade, beside the layers.
ENGINE_TOOLS = ("tools",)
# The engine's public part: what ops/ and the Python module may include.
PUBLIC = ("ev_tf/variable/", "ev_tf/base/", "ev_tf/row/row_layout.h", "ev_tf/optim/")
# TensorFlow, and what its headers bring; Abseil has symbols that clash with TensorFlow's own.
FOREIGN = ("tensorflow/", "tsl/", "xla/", "absl/", "google/protobuf/", "Eigen/", "unsupported/Eigen/", "third_party/",
           "Python.h", "pybind11/")
# Modules of the package that need no TensorFlow: a machine without it imports them.
NO_TENSORFLOW = ("ev_tf/options.py",)
MAX_LINES = 600
CPP = (".h", ".cc", ".inc", ".cu", ".cuh")


def tracked_files():
  """The files git knows or would add; all files where there is no git, as in an unpacked archive."""
  try:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split("\0")
  except (OSError, subprocess.CalledProcessError):
    hidden = re.compile(r"^(\.|build)")
    listed = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
              if not hidden.match(path.relative_to(ROOT).parts[0])]
  return sorted(ROOT / name for name in listed if name and (ROOT / name).is_file())


FILES = tracked_files()


def sources(folder, suffixes=CPP):
  return [path for path in FILES if path.is_relative_to(ROOT / folder) and path.suffix in suffixes]



def includes(path):
  """The file names in the #include lines of a source: (name, line)."""
  for number, line in enumerate(path.read_text().splitlines(), 1):
    match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
    if match:
      yield match.group(1), number


def resolved(path, name):
  """An include relative to its own file, as the name from the root; any other name as it is."""
  neighbour = path.parent / name
  return str(neighbour.resolve().relative_to(ROOT)) if "/" not in name and neighbour.exists() else name


def imports(path):
  """The modules that a Python file imports, at its top or in a function: (module, line)."""
  package = path.relative_to(ROOT / "python").with_suffix("").parts if path.is_relative_to(ROOT / "python") else ()
  for node in ast.walk(ast.parse(path.read_text(), str(path))):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name, node.lineno
    elif isinstance(node, ast.ImportFrom):
      base = ".".join(package[: len(package) - node.level]) if node.level else ""
      module = ".".join(part for part in (base, node.module) if part)
      for alias in node.names:
        yield f"{module}.{alias.name}", node.lineno


def where(path, line):
  return f"{path.relative_to(ROOT)}:{line}"


def room_of(name):
  """The engine room of ev_tf/<room>/..., None for anything else."""
  parts = pathlib.PurePosixPath(name).parts
  return parts[1] if len(parts) > 2 and parts[0] == "ev_tf" else None


def test_the_sources_are_there():
  assert sources("ev_tf"), "no engine sources found: the other tests here would pass for nothing"


def test_each_engine_room_is_in_the_order():
  rooms = {room_of(str(path.relative_to(ROOT))) for path in sources("ev_tf")}
  assert rooms <= {*ROOMS, *ENGINE_TOOLS}, f"rooms that the order does not name: {rooms - {*ROOMS, *ENGINE_TOOLS}}"


def test_engine_rooms_include_only_rooms_before_them():
  wrong = []
  for path in sources("ev_tf"):
    own = room_of(str(path.relative_to(ROOT)))
    if own not in ROOMS:
      continue
    for name, line in includes(path):
      room = room_of(resolved(path, name))
      if room is not None and (room not in ROOMS or ROOMS.index(room) > ROOMS.index(own)):
        wrong.append(f"{where(path, line)}: {own}/ includes {name}")
  assert not wrong, "\n".join(wrong)


def test_the_engine_includes_neither_tensorflow_nor_an_upper_layer():
  wrong = [f"{where(path, line)}: {name}" for path in sources("ev_tf") for name, line in includes(path)
           if name.startswith((*FOREIGN, "ops/", "python/", "tests/", "benchmarks/"))]
  assert not wrong, "\n".join(wrong)


def test_the_engine_build_has_no_tensorflow():
  for path in FILES:
    if path.name == "CMakeLists.txt" and path.is_relative_to(ROOT / "ev_tf"):
      commands = re.sub(r"#[^\n]*", "", path.read_text())
      assert not re.search(r"tensorflow|EV_TF_DIR|absl", commands, re.IGNORECASE), path


@pytest.mark.parametrize("layer", ["ops", "python/engine_module"])
def test_layers_above_see_only_the_public_part_of_the_engine(layer):
  wrong = [f"{where(path, line)}: {name}" for path in sources(layer) for name, line in includes(path)
           if name.startswith("ev_tf/") and not name.startswith(PUBLIC)]
  assert not wrong, "\n".join(wrong)


def test_ops_and_the_python_module_do_not_know_each_other():
  wrong = [f"{where(path, line)}: {name}" for path in sources("ops") for name, line in includes(path)
           if name.startswith(("python/", "pybind11/", "tests/"))]
  wrong += [f"{where(path, line)}: {name}" for path in sources("python/engine_module") for name, line in includes(path)
            if name.startswith(("ops/", "tensorflow/", "tests/"))]
  assert not wrong, "\n".join(wrong)


def test_the_op_library_is_loaded_in_one_place():
  """Nobody but ev_tf._native loads an op library or reads _build_info: it holds the check of TensorFlow's version."""
  wrong = [str(path.relative_to(ROOT)) for path in sources("python", (".py",))
           if path.name != "_native.py" and re.search(r"load_op_library", path.read_text())]
  wrong += [where(path, line) for folder in ("python", "tests", "examples", "benchmarks")
            for path in sources(folder, (".py",)) for module, line in imports(path)
            if module.startswith("ev_tf._build_info") and path.name != "_native.py"]
  assert not wrong, "\n".join(wrong)


def test_examples_use_only_public_modules():
  """An example shows what a user may write: no ev_tf._something."""
  wrong = [f"{where(path, line)}: {module}" for path in sources("examples", (".py",))
           for module, line in imports(path) if re.match(r"ev_tf\b.*\._(?!_)", module)]
  assert not wrong, "\n".join(wrong)


def test_modules_without_tensorflow_do_not_import_it():
  for name in NO_TENSORFLOW:
    path = ROOT / "python" / name
    wrong = [where(path, line) for module, line in imports(path) if module.split(".")[0] in ("tensorflow", "keras")]
    assert not wrong, f"{name} is imported on machines without TensorFlow: {wrong}"


def test_the_package_does_not_import_tests_or_examples():
  wrong = [f"{where(path, line)}: {module}" for path in sources("python", (".py",)) for module, line in imports(path)
           if module.split(".")[0] in ("tests", "examples", "benchmarks")]
  assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", ["ev_tf", "ops", "python", "tests", "benchmarks"])
def test_each_source_is_in_a_build_list(folder):
  """A .cc that no CMakeLists.txt names is neither built nor run."""
  named = set()
  for path in FILES:
    if path.name == "CMakeLists.txt":
      commands = re.sub(r"#[^\n]*", "", path.read_text())
      for name in re.findall(r"[\w./+-]+\.(?:cc|cu)\b", commands):
        named.add((path.parent / name).resolve())
  forgotten = [str(path.relative_to(ROOT)) for path in sources(folder, (".cc", ".cu")) if path not in named]
  assert not forgotten, f"in no CMakeLists.txt: {forgotten}"


def test_each_python_test_is_found_by_pytest():
  """A file with tests under a name that pytest does not collect never runs."""
  forgotten = [str(path.relative_to(ROOT)) for path in sources("tests", (".py",))
               if not (path.name.startswith("test_") or path.name.endswith("_test.py"))
               and re.search(r"^(?:def test_|class Test)", path.read_text(), re.MULTILINE)]
  assert not forgotten, forgotten


def test_no_source_is_too_long():
  """A file that does not fit a reader's head hides a room that wants a name of its own."""
  long = {}
  for path in FILES:
    if path.suffix in (*CPP, ".py"):
      lines = len(path.read_text().splitlines())
      if lines > MAX_LINES:
        long[str(path.relative_to(ROOT))] = lines
  assert not long, f"over {MAX_LINES} lines: {long}"
