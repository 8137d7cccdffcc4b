"""What the device gives, by fio, as records of a run."""

import json
import pathlib
import shutil
import subprocess

from benchmarks import plan


def read_at_random(runner, path):
  """Random reads a second, of the size and at the depth that rows are read with."""
  job = _fio(runner, path, "--rw=randread", f"--bs={plan.DEVICE_READ_BYTES}", f"--iodepth={plan.DEVICE_DEPTH}", "--size=2g",
             "--runtime=6", "--time_based")
  if job:
    runner.records.append({"bench": "device", "reads_per_s": job["read"]["iops"]})


def run_in_order(runner, path, size):
  """Bytes a second of one run of writes, synced at its end, and of one of reads."""
  speed = {}
  for way in ("write", "read"):
    job = _fio(runner, path, f"--rw={way}", "--bs=1m", "--iodepth=8", f"--size={size}", "--end_fsync=1", keep=way == "write")
    if job:
      speed[f"{way}_bytes_per_s"] = job[way]["io_bytes"] / (job["job_runtime"] / 1e3)
  if speed:
    runner.records.append({"bench": "device_in_order", "bytes": size, **speed})


def _fio(runner, path, *options, keep=False):
  """fio's report of one job past the page cache in the directory `path`; None if there is no fio, or it failed."""
  if shutil.which("fio") is None:
    runner.missing["fio"] = "not installed; the device is measured by the raw reads and writes of the benchmarks alone"
    return None
  done = subprocess.run(["fio", "--name=job", "--ioengine=io_uring", "--direct=1", "--output-format=json", f"--directory={path}",
                         *options], capture_output=True, text=True)
  if not keep or done.returncode != 0:
    for file in pathlib.Path(path).glob("job.*"):
      file.unlink()
  if done.returncode != 0:
    runner.missing["fio"] = (done.stderr.strip().splitlines() or ["failed"])[-1]
    return None
  return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
