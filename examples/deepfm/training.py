"""Training, evaluation, saving and resuming of the model."""

import dataclasses
import json
import math
import time

import tensorflow as tf

from features import DataError
from metrics import BinaryMetrics
from network import DeepFM
from optimizers import AdamW
from orc_data import batch_signature
from static_vocab import StaticTables, build_vocabulary
from tables import IN_DRAM, EvTables, sum_lists

EVAL_BATCH = 4096


@dataclasses.dataclass(frozen=True)
class Settings:
  """What decides the result of a run, besides the data and the number of epochs. Saved with the model."""

  table: str = "ev"  # ev or static
  layout: str = "fused"  # fused or split
  embedding_dim: int = 16
  hidden: tuple = (128, 64)
  lr: float = 2e-3  # of the tables
  dense_lr: float = 1e-3
  weight_decay: float = 1e-2
  batch_size: int = 1000
  seed: int = 0


@dataclasses.dataclass
class Result:
  """One line of the table of results: a stretch of training, and the evaluation at its end."""

  table: str
  epoch: float  # passes over the training part until now
  loss: float  # of each batch before it was trained on, over the stretch; so is auc
  auc: float
  held_out_loss: float
  held_out_auc: float
  examples_per_second: float  # of training
  rows: int


class Run:
  """A model with its optimizers and its place in the training part.

  Args:
    settings: Settings.
    train, held_out: orc_data.Part.
    save: directory for checkpoints, or None to keep none.
    storage: tables.Storage of embedding variables. It may be another one when a run is resumed.
  """

  def __init__(self, settings, train, held_out, save=None, storage=IN_DRAM):
    self.settings, self.train_part, self.held_out_part = settings, train, held_out
    tf.random.set_seed(settings.seed)
    started = time.perf_counter()
    size = settings.embedding_dim, settings.layout, settings.seed
    self.tables = EvTables(*size, storage) if settings.table == "ev" else StaticTables(build_vocabulary(train), *size)
    self.setup_seconds = time.perf_counter() - started
    self.network = DeepFM(settings.embedding_dim, settings.hidden, settings.seed)
    self.dense_optimizer = AdamW(self.network.trainable_variables, settings.dense_lr, settings.weight_decay)
    self.table_optimizer = table_optimizer(self.tables, settings)
    self.epoch, self.batch, self.history, self.metrics = 0, 0, [], BinaryMetrics()
    self.train_step = tf.function(self._train_step, input_signature=batch_signature())
    self.eval_step = tf.function(self._eval_step, input_signature=batch_signature())
    self._state, self._counts = tf.Variable("", dtype=tf.string), tf.Variable(tf.cast(self.metrics.counts, tf.float64))
    self.checkpoint = tf.train.Checkpoint(
        network=self.network, tables=self.tables.all, dense_optimizer=self.dense_optimizer,
        table_optimizer=self.table_optimizer.trackable, state=self._state, counts=self._counts)
    self.manager = save and tf.train.CheckpointManager(self.checkpoint, str(save), max_to_keep=2)

  def _logits(self, ids, sizes, cells, numeric):
    rows = sum_lists(self.tables.rows(ids, sizes), cells, tf.shape(numeric)[0])
    return self.network(rows, numeric)

  def _train_step(self, ids, sizes, cells, numeric, labels):
    with tf.GradientTape() as tape:
      logits = self._logits(ids, sizes, cells, numeric)
      loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
    dense, sparse = tape.gradient(loss, (self.network.trainable_variables, self.tables.all))
    self.dense_optimizer.apply(dense)
    self.table_optimizer.apply(sparse)
    return loss, logits

  def _eval_step(self, ids, sizes, cells, numeric, labels):
    logits = self._logits(ids, sizes, cells, numeric)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)), logits

  def train(self, epochs, *, evaluations=1, save_every=0, progress=None):
    """Trains until `epochs` passes are done, in all; evaluates and saves on the way.

    Args:
      epochs: int. A resumed run counts the passes it has already made.
      evaluations: int, >= 1. Evaluations per pass, evenly spread, the last at its end.
      save_every: int. Also save after every so many batches; 0 = after evaluations only.
      progress: callable(run, loss, examples_per_second), called after each batch, or None.

    Yields:
      Result of each evaluation.
    """
    settings, total = self.settings, self.batches_per_epoch
    stops = {round(total * k / evaluations) for k in range(1, evaluations + 1)}
    while self.epoch < epochs:
      clock = Clock()
      for batch in self.train_part.dataset(settings.batch_size, seed=settings.seed, epoch=self.epoch, skip=self.batch):
        loss = self.train_batch(batch)
        clock.tick(len(batch[-1]))
        if progress:
          progress(self, loss, clock.rate)
        if self.batch in stops:
          yield self.finish_stretch(clock.rate)
          self.save()
          clock = Clock()
        elif save_every and self.batch % save_every == 0:
          self.save()
      self.epoch, self.batch = self.epoch + 1, 0
    if self.manager and not self.manager.checkpoints:
      self.save()

  @property
  def batches_per_epoch(self):
    return -(-self.train_part.rows // self.settings.batch_size)

  def train_batch(self, batch):
    """One step; returns its loss."""
    loss, logits = self.train_step(*batch)
    loss = float(loss)
    if not math.isfinite(loss):
      raise DataError(f"the loss became {loss} in epoch {self.epoch + 1}, batch {self.batch + 1}: lower --lr or --dense-lr.")
    self.metrics.add(logits.numpy(), batch[-1].numpy(), loss)
    self.batch += 1
    return loss

  def finish_stretch(self, examples_per_second):
    """Evaluates, and closes the stretch of training since the last evaluation as a Result."""
    held_out = self.evaluate()
    done = Result(self.settings.table, self.epoch + self.batch / self.batches_per_epoch, self.metrics.loss, self.metrics.auc,
                  held_out.loss, held_out.auc, examples_per_second, self.tables.count_rows())
    self.history.append(done)
    self.metrics = BinaryMetrics()
    return done

  def evaluate(self):
    """BinaryMetrics of the held-out part."""
    metrics = BinaryMetrics()
    for batch in self.held_out_part.dataset(EVAL_BATCH):
      loss, logits = self.eval_step(*batch)
      metrics.add(logits.numpy(), batch[-1].numpy(), float(loss))
    return metrics

  def save(self):
    """Writes a checkpoint, unless the run keeps none."""
    if not self.manager:
      return
    self._state.assign(json.dumps({
        "settings": dataclasses.asdict(self.settings), "epoch": self.epoch, "batch": self.batch,
        "loss_sum": self.metrics.loss_sum, "train_rows": self.train_part.rows,
        "history": [dataclasses.asdict(line) for line in self.history]}))
    self._counts.assign(self.metrics.counts)
    self.manager.save()

  def resume(self):
    """Continues where the newest checkpoint was written.

    Raises:
      DataError: there is none, or it is of other settings or of another training part.
    """
    path = self.manager.latest_checkpoint
    if path is None:
      raise DataError(f"{self.manager.directory}: no checkpoint to resume from.")
    state = saved_state(path)
    ours = {**dataclasses.asdict(self.settings), "hidden": list(self.settings.hidden), "training rows": self.train_part.rows}
    theirs = {**state["settings"], "training rows": state["train_rows"]}
    other = [f"{name} was {theirs.get(name)}, is {value}" for name, value in ours.items() if theirs.get(name) != value]
    if other:
      raise DataError(f"{path}: saved by a run with other settings: {'; '.join(other)}.")
    self.checkpoint.restore(path).assert_existing_objects_matched()
    self.epoch, self.batch = divmod(state["epoch"] * self.batches_per_epoch + state["batch"], self.batches_per_epoch)
    self.history = [Result(**line) for line in state["history"]]
    self.metrics.counts, self.metrics.loss_sum = self._counts.numpy(), state["loss_sum"]


def saved_state(path):
  """The JSON state inside a checkpoint, as a dict."""
  try:
    return json.loads(tf.train.load_checkpoint(path).get_tensor("state/.ATTRIBUTES/VARIABLE_VALUE"))
  except (tf.errors.OpError, ValueError) as error:
    raise DataError(f"{path}: not a checkpoint of this program: {error}") from error


class TableOptimizer:
  """The optimizer of the tables behind one method, `apply(grads)`; `trackable` is what a checkpoint saves of it."""

  def __init__(self, trackable, apply):
    self.trackable, self.apply = trackable, apply


def table_optimizer(tables, settings):
  """AdamW for the tables: ev_tf's for embedding variables, the stock-TensorFlow one for static tables."""
  if settings.table == "static":
    adamw = AdamW(tables.all, settings.lr, settings.weight_decay)
    return TableOptimizer(adamw, adamw.apply)
  import ev_tf

  adamw = ev_tf.train.AdamWOptimizer(learning_rate=settings.lr, weight_decay=settings.lr * settings.weight_decay)
  return TableOptimizer(adamw, lambda grads: adamw.apply_gradients(list(zip(grads, tables.all))))


class Clock:
  """Examples per second, not counting the first batch of a pass, which builds the graph."""

  def __init__(self):
    self.started, self.examples = None, 0

  def tick(self, examples):
    if self.started is None:
      self.started = time.perf_counter()
    else:
      self.examples += examples

  @property
  def rate(self):
    return self.examples / (time.perf_counter() - self.started) if self.examples else 0.0
