"""A table of 2 x dim floats a row to a checkpoint and back through TensorFlow, ours and the peers': seconds and memory.

Implementations:
  ev      our table, dim floats and an Adagrad slot of dim; the stock tf.compat.v1.train.Saver
  static  tf.Variable [rows, 2 x dim]; the same Saver. It has no keys: the least that there is to save
  tfra    TFRA's dynamic embedding of 2 x dim floats, told the number of rows, with its FileSystemSaver

Each save is synced (the Saver of TensorFlow and TFRA leave that to whoever cares; ours has done it), each file has left the page
cache before it is read, and in between the same bytes are written and read in pieces of 1 MiB past the page cache. A restore is into
a session of its own, where the table has been initialized.
"""

import functools
import glob
import mmap
import os
import pathlib
import statistics
import tempfile
import threading
import time

from benchmarks import workload

PIECE = 1 << 20
NAMES = ["ev", "static", "tfra"]


def parse_arguments():
  parser = workload.parser(NAMES)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--path", type=pathlib.Path, default=pathlib.Path("."), help="a directory on the device")
  return parser.parse_args()


class OurTable:
  """Rows come by training, as ids do."""

  def __init__(self, options):
    import ev_tf
    self._rows = options.rows
    ids = tf1.placeholder(tf.int64, [None])
    variable = ev_tf.get_embedding_variable("table", embedding_dim=options.dim, key_dtype=tf.int64)
    loss = tf.nn.l2_loss(tf.nn.embedding_lookup(variable, ids))
    self._step = (tf1.train.AdagradOptimizer(0.1).minimize(loss), ids)
    self._saver = tf1.train.Saver()

  def fill(self, session):
    train, ids = self._step
    for batch in workload.Ids(self._rows, as_keys=True).all_rows():
      session.run(train, {ids: batch})

  def save(self, session, prefix):
    return self._saver.save(session, prefix, write_meta_graph=False)

  def restore(self, session, prefix):
    self._saver.restore(session, prefix)


class StaticTable(OurTable):
  """A plain variable."""

  def __init__(self, options):  # pylint: disable=super-init-not-called
    tf1.get_variable("table", [options.rows, 2 * options.dim], initializer=tf1.constant_initializer(0.5), use_resource=True)
    self._saver = tf1.train.Saver()

  def fill(self, session):
    pass  # its rows are there


class TfraTable:
  """The ops that FileSystemSaver has a Saver run."""

  def __init__(self, options):
    from tensorflow_recommenders_addons import dynamic_embedding
    self._rows = options.rows
    self._table = dynamic_embedding.get_variable(
        "table", key_dtype=tf.int64, value_dtype=tf.float32, dim=2 * options.dim, devices=["/CPU:0"], init_size=options.rows,
        kv_creator=dynamic_embedding.CuckooHashTableCreator(saver=dynamic_embedding.FileSystemSaver()))
    ids = tf1.placeholder(tf.int64, [None])
    self._put = (self._table.upsert(ids, tf.fill([tf.size(ids), 2 * options.dim], 0.5)), ids)
    self._size = self._table.size()
    self._place = tf1.placeholder(tf.string, [])
    self._save = self._table.save_to_file_system(self._place)
    self._load = self._table.load_from_file_system(self._place)

  def fill(self, session):
    put, ids = self._put
    for batch in workload.Ids(self._rows, as_keys=True).all_rows():
      session.run(put, {ids: batch})

  def save(self, session, prefix):
    session.run(self._save, {self._place: prefix})
    return prefix

  def restore(self, session, prefix):
    session.run(self._load, {self._place: prefix})
    if session.run(self._size) != self._rows:
      raise RuntimeError(f"expected {self._rows} rows, found {session.run(self._size)}")


def files_of(prefix):
  return [name for name in glob.glob(f"{glob.escape(prefix)}*", recursive=True) + glob.glob(f"{glob.escape(prefix)}/**")
          if os.path.isfile(name)]


def sync(names):
  for name in names:
    handle = os.open(name, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def raw_write(name, size):
  piece = mmap.mmap(-1, PIECE)
  piece.write(b"x" * PIECE)
  handle = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_DIRECT)
  for _ in range(0, size, PIECE):
    os.write(handle, piece)
  os.fsync(handle)
  os.close(handle)


def raw_read(name):
  piece = mmap.mmap(-1, PIECE)
  handle = os.open(name, os.O_RDONLY | os.O_DIRECT)
  while os.readv(handle, [piece]):
    pass
  os.close(handle)


class Peak:
  """Most resident bytes beyond those at its start: `with Peak() as peak: ...; peak.bytes`."""

  bytes = 0

  def __enter__(self):
    self._before = workload.resident_bytes()
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch)
    self._thread.start()
    return self

  def _watch(self):
    page = os.sysconf("SC_PAGESIZE")
    with open("/proc/self/statm") as file:
      while not self._done.wait(0.005):
        file.seek(0)
        self.bytes = max(self.bytes, int(file.read().split()[1]) * page - self._before)

  def __exit__(self, *unused):
    self._done.set()
    self._thread.join()


def seconds(work):
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def measure(options, directory):
  prefix, raw = os.path.join(directory, "model"), os.path.join(directory, "raw")
  times = {name: [] for name in ("save_s", "restore_s", "raw_write_s", "raw_read_s")}
  graph = tf.Graph()
  with graph.as_default():
    table = {"ev": OurTable, "static": StaticTable, "tfra": TfraTable}[options.impl](options)
    initialize = tf1.global_variables_initializer()
  with workload.graph_session(tf, graph, options.threads) as session, workload.Contention() as contention:
    session.run(initialize)
    table.fill(session)
    for _ in range(options.rounds):
      for name in files_of(prefix):  # a save over another one leaves files of both for a while
        os.remove(name)
      with Peak() as saving:
        def save():
          table.save(session, prefix)
          sync(files_of(prefix))
        times["save_s"].append(seconds(save))
      size = sum(os.path.getsize(name) for name in files_of(prefix))
      times["raw_write_s"].append(seconds(functools.partial(raw_write, raw, size)))
  for _ in range(options.rounds):
    with workload.graph_session(tf, graph, options.threads) as session:
      session.run(initialize)
      sync(files_of(prefix))
      times["restore_s"].append(seconds(functools.partial(table.restore, session, prefix)))
    times["raw_read_s"].append(seconds(lambda: raw_read(raw)))
  middle = {name: statistics.median(values) for name, values in times.items()}
  workload.emit(bench="saves", impl=options.impl, rows=options.rows, dim=options.dim, threads=options.threads, bytes=size,
                save_extra_bytes=saving.bytes, of_raw_write=middle["raw_write_s"] / middle["save_s"],
                of_raw_read=middle["raw_read_s"] / middle["restore_s"], other_cpu=contention.other_cpu, **middle,
                versions={"tensorflow": tf.__version__})


if __name__ == "__main__":
  args = parse_arguments()
  if args.impl == "tfra":
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
  tf = workload.start_tensorflow(args.threads)
  tf1 = tf.compat.v1
  with tempfile.TemporaryDirectory(prefix="ev_bench_", dir=args.path) as place:
    measure(args, place)
