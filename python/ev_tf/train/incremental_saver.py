"""Sessions that save, between checkpoints, what has changed since the last."""

import inspect
import os

import tensorflow as tf
from tensorflow.python.framework import ops

from ev_tf.train.saver import Saver

_v1 = tf.compat.v1


class IncrementalSaver(Saver):
  """Saver with incremental_save_restore=True; other arguments are as there."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **{"incremental_save_restore": True, **kwargs})


class IncrementalSaverHook(_v1.train.SessionRunHook):
  """Calls `incremental_save` every so often, between the checkpoints of a CheckpointSaverHook that has the same Saver.

  Args:
    checkpoint_dir: str, that of the other hook.
    saver: Saver with incremental_save_restore=True.
    save_secs, save_steps: int, how often; one of them is None.
    checkpoint_basename: str, default "model.ckpt".
  """

  def __init__(self, checkpoint_dir, saver, save_secs=None, save_steps=None, checkpoint_basename="model.ckpt"):
    self._save_path = os.path.join(checkpoint_dir, checkpoint_basename)
    self._saver = saver
    self._timer = _v1.train.SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)
    self._global_step = None

  def begin(self):
    self._global_step = _v1.train.get_or_create_global_step()

  def after_create_session(self, session, coord):
    del coord
    self._timer.update_last_triggered_step(int(session.run(self._global_step)))

  def before_run(self, run_context):
    del run_context
    return _v1.train.SessionRunArgs(self._global_step)

  def after_run(self, run_context, run_values):
    if not self._timer.should_trigger_for_step(int(run_values.results) + 1):
      return
    step = int(run_context.session.run(self._global_step))
    if self._timer.should_trigger_for_step(step):
      self._timer.update_last_triggered_step(step)
      self._saver.incremental_save(run_context.session, self._save_path, global_step=step)


def MonitoredTrainingSession(*args, save_incremental_checkpoint_secs=None, save_incremental_checkpoint_steps=None,  # pylint: disable=invalid-name
                             **kwargs):
  """tf.compat.v1.train.MonitoredTrainingSession that also saves increments.

  Args:
    *args, **kwargs: as of tf.compat.v1.train.MonitoredTrainingSession. A Saver in the scaffold, or in the collection
      tf.compat.v1.GraphKeys.SAVERS, is an ev_tf.train.Saver with incremental_save_restore=True; without one there, it is made.
    save_incremental_checkpoint_secs, save_incremental_checkpoint_steps: int or None, how often; both None: no increments.

  Returns:
    A tf.compat.v1.train.MonitoredSession.

  Raises:
    ValueError: there is a Saver that saves no increments, or no checkpoint_dir.

  Source: DeepRec's MonitoredTrainingSession(save_incremental_checkpoint_secs=).
  """
  stock = _v1.train.MonitoredTrainingSession
  arguments = inspect.signature(stock).bind(*args, **kwargs).arguments
  if not save_incremental_checkpoint_secs and not save_incremental_checkpoint_steps:
    return stock(**arguments)
  if not arguments.get("checkpoint_dir"):
    raise ValueError("save_incremental_checkpoint_secs: expected a checkpoint_dir, found none")
  if not arguments.get("is_chief", True):
    return stock(**arguments)
  saver = _saver_of(arguments.get("scaffold"))
  hook = IncrementalSaverHook(arguments["checkpoint_dir"], saver, save_incremental_checkpoint_secs or None,
                              None if save_incremental_checkpoint_secs else save_incremental_checkpoint_steps)
  arguments["chief_only_hooks"] = [*(arguments.get("chief_only_hooks") or ()), hook]
  return stock(**arguments)


def _saver_of(scaffold):
  """The Saver that the session will use; made where there is none."""
  collected = ops.get_collection(_v1.GraphKeys.SAVERS)
  saver = (scaffold.saver if scaffold is not None else None) or (collected[0] if collected else None)
  if saver is None:
    saver = IncrementalSaver(sharded=True, allow_empty=True, defer_build=True)
    ops.add_to_collection(_v1.GraphKeys.SAVERS, saver)
  if not getattr(saver, "_incremental", False):
    raise ValueError(f"saver: expected an ev_tf.train.Saver with incremental_save_restore=True, found {saver!r}")
  return saver
