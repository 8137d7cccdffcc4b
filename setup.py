"""Drives CMake; everything else about the package stands in pyproject.toml.

The op library is built against the TensorFlow that is installed for this interpreter, found by its files and never
imported, so that building in pip's isolated environment works too. Without TensorFlow only `ev_tf.engine` is built.

Environment:
  EV_TF_DIR: build against this folder (<site-packages>/tensorflow) instead; empty: without TensorFlow.
  EV_CMAKE_ARGS: more arguments for CMake's configure step, e.g. -DEV_WERROR=ON.
  CMAKE_BUILD_PARALLEL_LEVEL: compiler processes at once; the number of CPUs if it is not set.
"""

import os
import pathlib
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
from typing import NamedTuple, Optional

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parent
FRAMEWORK = "libtensorflow_framework.so.2"
DISTRIBUTIONS = ("tensorflow", "tensorflow_cpu")


class TensorFlow(NamedTuple):
  directory: pathlib.Path  # <site-packages>/tensorflow
  version: str  # "2.21.0"

  @property
  def minor(self):
    return ".".join(self.version.split(".")[:2])


def installed_version(site_packages):
  """The version of the TensorFlow in this folder by its .dist-info, None if there is none."""
  for info in sorted(site_packages.glob("tensorflow*.dist-info")):
    name, _, version = info.name[: -len(".dist-info")].partition("-")
    if name.lower() in DISTRIBUTIONS:
      return version
  return None


def find_tensorflow() -> Optional[TensorFlow]:
  """The TensorFlow to build against, None if there is none.

  sysconfig names the folders of the environment that pip installs into even when pip hides them from sys.path.
  """
  chosen = os.environ.get("EV_TF_DIR")
  if chosen == "":
    return None
  if chosen:
    candidates = [pathlib.Path(chosen)]
  else:
    folders = [sysconfig.get_path("platlib"), sysconfig.get_path("purelib"), *site.getsitepackages(), *sys.path]
    candidates = [pathlib.Path(folder) / "tensorflow" for folder in dict.fromkeys(folders) if folder]
  for directory in candidates:
    version = installed_version(directory.parent)
    if version and (directory / FRAMEWORK).exists():
      return TensorFlow(directory.resolve(), version)
  if chosen:
    raise SystemExit(f"EV_TF_DIR={chosen}: expected the folder of an installed TensorFlow, with {FRAMEWORK} in it and "
                     "its .dist-info beside it.")
  return None


def build_directory(tensorflow):
  """Kept between builds, one for each pair of TensorFlow and Python: a second build compiles only what changed."""
  flavour = f"tf{tensorflow.minor}" if tensorflow else "no-tensorflow"
  return ROOT / "build" / f"{flavour}-{sys.implementation.cache_tag}"


def configure_command(tensorflow, build_dir, out_dir):
  import pybind11

  command = [
      "cmake", "-S", str(ROOT), "-B", str(build_dir), "-DEV_PYTHON=ON",
      f"-DEV_TF_DIR={tensorflow.directory if tensorflow else ''}",
      f"-DEV_OUTPUT_DIR={out_dir}",
      f"-DPython_EXECUTABLE={sys.executable}",
      # Named on every run: an isolated build leaves paths in the cache that no longer exist.
      f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
  ]
  ninja = shutil.which("ninja")
  if ninja:
    command += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
  return command + shlex.split(os.environ.get("EV_CMAKE_ARGS", ""))


def build_info(tensorflow):
  version = tensorflow.version if tensorflow else None
  minor = tensorflow.minor if tensorflow else None
  return ('"""Written by the build: the TensorFlow that _ev_ops.so belongs to; None if it was built without."""\n\n'
          f"TF_VERSION = {version!r}\nTF_MINOR = {minor!r}\n")


def copy_if_new(source, target):
  """Keeps the file, and whoever has it mapped, when nothing changed."""
  if target.exists() and target.read_bytes() == source.read_bytes():
    return
  target.parent.mkdir(parents=True, exist_ok=True)
  target.unlink(missing_ok=True)  # a new inode: a running process keeps the old library whole
  shutil.copy2(source, target)


class CMakeBuild(build_ext):
  """Builds the module and the op library, and puts both, with _build_info.py, into the package."""

  def build_extension(self, ext):
    tensorflow = find_tensorflow()
    if tensorflow:
      print(f"ev_tf: building against TensorFlow {tensorflow.version} in {tensorflow.directory}", flush=True)
    else:
      print("ev_tf: no TensorFlow found for this interpreter: building ev_tf.engine only. For the TensorFlow ops, "
            "pip install tensorflow-cpu (or tensorflow) first.", flush=True)
    build_dir = build_directory(tensorflow)
    out_dir = build_dir / "ev_tf"
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    subprocess.run(configure_command(tensorflow, build_dir, out_dir), check=True)
    subprocess.run(["cmake", "--build", str(build_dir), "--parallel", jobs], check=True)
    (out_dir / "_build_info.py").write_text(build_info(tensorflow))
    self.native_files = [out_dir / "_build_info.py", out_dir / os.path.basename(self.get_ext_filename(ext.name))]
    if tensorflow:
      self.native_files.append(out_dir / "_ev_ops.so")
    self.install_into(pathlib.Path(self.get_ext_fullpath(ext.name)).parent)

  def copy_extensions_to_source(self):
    """For an editable install."""
    self.install_into(ROOT / "python" / "ev_tf")

  def install_into(self, package):
    for file in self.native_files:
      copy_if_new(file, package / file.name)
    if package.joinpath("_ev_ops.so").exists() and "_ev_ops.so" not in {file.name for file in self.native_files}:
      package.joinpath("_ev_ops.so").unlink()  # of an earlier build, with TensorFlow


class FreshBuildPy(build_py):
  """Starts from an empty folder: a module deleted from python/ must not come back from an earlier build."""

  def run(self):
    if not getattr(self, "editable_mode", False):
      shutil.rmtree(os.path.join(self.build_lib, "ev_tf"), ignore_errors=True)
    super().run()


setup(ext_modules=[Extension("ev_tf.engine", sources=[])],
      cmdclass={"build_ext": CMakeBuild, "build_py": FreshBuildPy})
