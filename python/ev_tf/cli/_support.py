"""What the commands over table files share: errors as one sentence, progress, work on all cores, whole outputs."""

import collections
import concurrent.futures
import contextlib
import functools
import importlib
import math
import os
import shutil
import sys
import tempfile

import click

THREADS = click.option("--threads", type=click.IntRange(1, 1024), default=min(os.cpu_count() or 1, 16), show_default="CPUs",
                       help="Threads that read, compute and write.")


class Positive(click.FloatRange):
  """A number from 0 on that is one: click takes NaN for any range, and no comparison with it is ever true."""

  def __init__(self):
    super().__init__(min=0)

  def convert(self, value, param, ctx):
    number = super().convert(value, param, ctx)
    if not math.isfinite(number):
      self.fail(f"{value} is not a finite number.", param, ctx)
    return number


def first_rows(function):
  """Options of a command that makes tables: initial, initial_stddev and seed of the rows of ids that are not in them."""
  for option in (
      click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="For the first rows."),
      click.option("--initial-stddev", type=Positive(),
                   help="Their standard deviation, a truncated normal; default 1/sqrt(dim)."),
      click.option("--initial-rows", "initial", type=click.IntRange(1, 1 << 20), default=4096, show_default=True,
                   help="Different first rows for ids that are not in the table.")):
    function = option(function)
  return function


class Failure(click.ClickException):
  """What could not be done, in one sentence; the process ends with 1."""


def one_sentence(function):
  """Turns the errors of files and of the engine in a command into a Failure. Others are bugs, and keep their traceback."""

  @functools.wraps(function)
  def wrapped(*args, **kwargs):
    try:
      return function(*args, **kwargs)
    except KeyError as error:  # the engine's NotFound
      raise Failure(str(error.args[0])) from error
    except (OSError, RuntimeError, MemoryError, ValueError) as error:
      raise Failure(_sentence(error)) from error

  return wrapped


def _sentence(error):
  if isinstance(error, OSError) and error.strerror and error.filename:
    return f"{error.filename}: {error.strerror}"
  return " ".join(str(error).split()) or type(error).__name__


def require(module):
  """The module, which the extra `cli` of the package brings."""
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise Failure(f"this needs {module.split('.')[0]}: pip install 'ev_tf[cli]'") from error


@contextlib.contextmanager
def progress(title, total):
  """A bar on the terminal; gives advance(n). Nothing is shown where standard error is no terminal."""
  from rich import console
  from rich import progress as bars

  terminal = console.Console(stderr=True)
  columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TaskProgressColumn(),
             bars.TextColumn("{task.completed:,} of {task.total:,}" if total else "{task.completed:,}"),
             bars.TimeRemainingColumn())
  with bars.Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as shown:
    task = shown.add_task(title, total=total)
    yield lambda n: shown.update(task, advance=n)


def in_order(function, items, threads):
  """function(item) for each item, in the order of the items, by `threads` threads that are at most two results each ahead."""
  if threads == 1:
    yield from map(function, items)
    return
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    waiting = collections.deque()
    try:
      for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > 2 * threads:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()


def is_stream(path):
  """Whether `path` is a pipe, a terminal or another device, that can be written to and not be replaced."""
  return os.path.exists(path) and (not os.path.isfile(path) or path.startswith(("/dev/", "/proc/")))


@contextlib.contextmanager
def whole_file(path):
  """Gives a temporary name, the content of which is in `path` at the end, all or none of it; nothing is left if the body raises.

  A file is replaced, and one that a link names is replaced where it is. What is_stream() gets the bytes at the end.

  Raises:
    Failure: `path` is a directory, or there is none to hold it.
    OSError: with the path, where the disk refuses.
  """
  if os.path.isdir(path):
    raise Failure(f"{path}: expected the name of a file, found a directory")
  with contextlib.ExitStack() as left:
    if is_stream(path):
      temporary = os.path.join(left.enter_context(tempfile.TemporaryDirectory()), "whole")
    else:
      target = _in_a_directory(os.path.realpath(path))
      temporary = f"{target}.tmp{os.getpid()}"
      left.callback(_unlink, temporary)
    try:
      yield temporary
      if is_stream(path):
        _pour(temporary, path)
      else:
        _sync(temporary)
        os.replace(temporary, target)
        _sync(os.path.dirname(target))
    except OSError as error:
      if error.errno is None or error.filename is not None:
        raise
      raise OSError(error.errno, os.strerror(error.errno), path) from error  # Arrow's and a full disk's name no file


def _unlink(path):
  with contextlib.suppress(OSError):
    os.unlink(path)


def _pour(source, stream):
  with open(source, "rb") as read, open(os.open(stream, os.O_WRONLY | os.O_APPEND), "wb") as written:
    shutil.copyfileobj(read, written)


@contextlib.contextmanager
def whole_directory(path):
  """Gives a temporary directory beside `path`, which becomes `path` at the end; nothing is left if the body raises.

  Raises:
    Failure: `path` is there and not an empty directory.
  """
  path = _in_a_directory(path)
  if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
    raise Failure(f"{path}: expected no such directory, or an empty one; found one that is in use")
  temporary = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
  try:
    os.chmod(temporary, 0o777 & ~_umask())
    yield temporary
    _sync(temporary)
    os.rename(temporary, path)
    _sync(os.path.dirname(path))
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _in_a_directory(path):
  """The absolute path, of which all but the last part is there."""
  path = os.path.abspath(path)
  if not os.path.isdir(os.path.dirname(path)):
    raise Failure(f"{path}: expected {os.path.dirname(path)} to be a directory, found none")
  return path


def _umask():
  mask = os.umask(0)
  os.umask(mask)
  return mask


def _sync(path):
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def show(*lines):
  for line in lines:
    sys.stdout.write(f"{line}\n")


def table_text(head, rows):
  """Columns under a head as text, numbers to the right."""
  cells = [list(map(str, row)) for row in (head, *rows)]
  widths = [max(map(len, column)) for column in zip(*cells)]
  right = [all(_is_number(row[i]) for row in cells[1:]) for i in range(len(head))]
  return ["  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right)).rstrip()
          for row in cells]


def _is_number(text):
  return text.replace(",", "").replace(".", "").replace("-", "").replace("%", "").isdigit()
