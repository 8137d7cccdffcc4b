"""What was measured, and on what: goes with every result."""

import datetime
from importlib import metadata
import os
import platform
import re
import subprocess


def _lines(path):
  try:
    with open(path) as file:
      return file.read().splitlines()
  except OSError:
    return []


def _field(path, name):
  for line in _lines(path):
    key, _, value = line.partition(":")
    if key.strip() == name:
      return value.strip()
  return "unknown"


def _first(path):
  return (_lines(path) or ["unknown"])[0].strip()


def _git(*arguments):
  try:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return "unknown"


def _version(*names):
  for name in names:
    try:
      return metadata.version(name)
    except metadata.PackageNotFoundError:
      pass
  return "none"


def describe():
  """dict: CPU, memory, kernel, versions, commit."""
  flags = _field("/proc/cpuinfo", "flags").split()
  memory_kib = int(re.sub(r"\D", "", _field("/proc/meminfo", "MemTotal")) or 0)
  return {
      "cpu": _field("/proc/cpuinfo", "model name"),
      "cpu_family_model": f"{_field('/proc/cpuinfo', 'cpu family')}/{_field('/proc/cpuinfo', 'model')}",
      "cpus": os.cpu_count(),
      "instruction_sets": [flag for flag in ("avx2", "avx512f") if flag in flags],
      "virtual": "hypervisor" in flags,
      "memory_gib": round(memory_kib / 2**20, 1),
      "huge_pages": _first("/sys/kernel/mm/transparent_hugepage/enabled"),
      "kernel": platform.release(),
      "python": platform.python_version(),
      "tensorflow": _version("tensorflow", "tensorflow-cpu"),
      "ev_tf": _version("ev_tf"),
      "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain", "-uno") else ""),
      "date": datetime.date.today().isoformat(),
  }


def host_class(machine):
  """A name of machines like this one, for file names: 2cpu-amd-epyc-24gb."""
  cpu = re.sub(r"\(r\)|\(tm\)|cpu|processor|@.*|\d+-core.*", "", machine["cpu"].lower())
  name = "-".join(re.findall(r"[a-z0-9]+", cpu)[:3])
  return f"{machine['cpus']}cpu-{name or 'unknown'}-{round(machine['memory_gib'])}gb"
