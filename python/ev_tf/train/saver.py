"""tf.compat.v1.train.Saver with a choice of what tables become in the checkpoint, and of how much of them is saved."""

import glob
import inspect
import os

import tensorflow as tf
from tensorflow.python.checkpoint import checkpoint_management

from ev_tf import table_file

_v1 = tf.compat.v1

__all__ = ["Saver"]

FORMATS = ("table", "deeprec")
INCREMENT = "incremental_"  # begins the name of a checkpoint that builds on others


class Saver(_v1.train.Saver):
  """tf.compat.v1.train.Saver whose checkpoints DeepRec can read, or that saves only what has changed, if asked.

  Restoring needs no choice: every Saver knows all of them.

  With incremental_save_restore, `save` writes a checkpoint as always, and from then on tables note which of their rows change,
  11 to 16 bytes each. `incremental_save` writes a small one: the dense variables, and of each table the rows that have changed
  and the ids that are gone. It names the files that it builds on, so to restore it gives the whole state, and
  `tf.train.latest_checkpoint` finds it. When `max_to_keep` deletes a full checkpoint, those that build on it go, too.

  Args:
    var_list, *args, **kwargs: as for tf.compat.v1.train.Saver.
    checkpoint_format: "table", a file for each table beside the checkpoint, as of a stock Saver; or "deeprec", the tensors
      <variable>-keys, -values and so on, with each optimizer slot a variable of its own. The optimizers must have made their
      updates before: their slots are what is saved. It takes the table's size in memory twice more.
    incremental_save_restore: bool, default False. Whether tables note their changes.
    incremental_include_normal_var: bool, default True. Dense variables are in every checkpoint; the argument is there for DeepRec's
      programs.

  Raises:
    ValueError: checkpoint_format is another one; incremental_save_restore with "deeprec", with a saver_def, or outside of a graph.

  Source: DeepRec's checkpoints, Embedding-Variable-Export-Format of its documents, and its Saver(incremental_save_restore=True). There
    an increment has no removed ids, and is restored by its own call.

  Example:
    >>> with tempfile.TemporaryDirectory() as directory, tf.Graph().as_default():
    ...   items = ev_tf.get_embedding_variable("items", 4)
    ...   saver = Saver(checkpoint_format="deeprec")
    ...   with tf.compat.v1.Session() as session:
    ...     session.run(tf.compat.v1.global_variables_initializer())
    ...     path = saver.save(session, directory + "/model.ckpt")
    ...   tf.train.list_variables(path)[:2]
    [('items-freqs', [0]), ('items-freqs_filtered', [0])]
    >>> with tempfile.TemporaryDirectory() as directory, tf.Graph().as_default(), tf.compat.v1.Session() as session:
    ...   items = ev_tf.get_embedding_variable("items", 4)
    ...   train = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(tf.nn.embedding_lookup(items, [1, 2]))
    ...   saver = Saver(incremental_save_restore=True)
    ...   session.run(tf.compat.v1.global_variables_initializer())
    ...   path = saver.save(session, directory + "/model", global_step=0)
    ...   _ = session.run(train)
    ...   os.path.basename(saver.incremental_save(session, directory + "/model", global_step=1))
    'incremental_model-1'
  """

  def __init__(self, var_list=None, *args, checkpoint_format="table", incremental_save_restore=False,
               incremental_include_normal_var=True, **kwargs):
    del incremental_include_normal_var
    if checkpoint_format not in FORMATS:
      raise ValueError(f"checkpoint_format: expected one of {FORMATS}, got {checkpoint_format!r}.")
    self._checkpoint_format = checkpoint_format
    self._incremental = incremental_save_restore
    self._previous = None  # placeholder: the checkpoint on which the next one builds
    self._links = []  # the full checkpoint and those that build on it; empty: the next one is full
    if incremental_save_restore:
      bound = inspect.signature(_v1.train.Saver.__init__).bind(self, var_list, *args, **kwargs).arguments
      if bound.get("saver_def") is not None:
        raise ValueError("incremental_save_restore: expected no saver_def, as the graph must be built for it, found one")
      if checkpoint_format != "table":
        raise ValueError(f'incremental_save_restore: expected checkpoint_format "table", found {checkpoint_format!r}')
    super().__init__(var_list, *args, **kwargs)

  def _build(self, checkpoint_path, build_save, build_restore):
    with table_file.as_deeprec(self._checkpoint_format == "deeprec"):
      if not self._incremental or not build_save:
        return super()._build(checkpoint_path, build_save, build_restore)
      if tf.executing_eagerly():
        raise ValueError("incremental_save_restore: expected a graph, found eager execution")
      self._previous = _v1.placeholder_with_default("", [], name="save_previous")
      with table_file.links_to(self._previous):
        return super()._build(checkpoint_path, build_save, build_restore)

  def save(self, sess, save_path, *args, **kwargs):
    """As tf.compat.v1.train.Saver.save."""
    self._links = []
    path = super().save(sess, save_path, *args, **kwargs)
    if self._incremental and path is not None:
      self._links = [os.fspath(path)]
      _delete_orphans(os.fspath(save_path))
    return path

  def restore(self, sess, save_path):
    """As tf.compat.v1.train.Saver.restore. The next save is a full one."""
    self._links = []
    super().restore(sess, save_path)

  def incremental_save(self, sess, save_path, global_step=None, latest_filename=None):
    """Saves what has changed since the last `save` or `incremental_save`.

    The first save of a Saver, and the first after a restore or after one that failed, is a full one under the name that `save`
    gives it.

    Args:
      sess: tf.compat.v1.Session.
      save_path: str, as of `save`, in the same directory.
      global_step: int, or a tensor, or None: put behind the name.
      latest_filename: str, of the file that says which checkpoint is the latest; default "checkpoint".

    Returns:
      str, the prefix of the checkpoint: incremental_<name>-<global_step>.

    Raises:
      ValueError: the Saver was made without incremental_save_restore, the directory is another one, or a checkpoint of that name
        is one that this one builds on.
    """
    if not self._incremental:
      raise ValueError("incremental_save: expected a Saver with incremental_save_restore=True, found one without")
    if not self._links:
      return self.save(sess, save_path, global_step=global_step, latest_filename=latest_filename)
    if global_step is not None and not isinstance(global_step, int):
      global_step = _v1.train.global_step(sess, global_step) if tf.is_tensor(global_step) else int(global_step)
    directory, name = os.path.split(os.fspath(save_path))
    prefix = os.path.join(directory, INCREMENT + name + ("" if global_step is None else f"-{global_step}"))
    if directory != os.path.dirname(self._links[0]):
      raise ValueError(f"save_path: expected the directory of {self._links[0]}, found {save_path}")
    if prefix in self._links:
      raise ValueError(f"global_step: expected one that was not saved yet, found {global_step}: {prefix} is there, and this "
                       "checkpoint builds on it")
    links, self._links = self._links, []  # after an error the next one is a full one
    sess.run(self.saver_def.save_tensor_name, {self.saver_def.filename_tensor_name: prefix, self._previous: links[-1]})
    checkpoint_management.update_checkpoint_state_internal(
        directory, prefix, self.last_checkpoints, latest_filename=latest_filename,
        save_relative_paths=self._save_relative_paths)
    self._links = [*links, prefix]
    return prefix

  def recover_last_checkpoints(self, checkpoint_paths):
    """As tf.compat.v1.train.Saver.recover_last_checkpoints; max_to_keep counts full checkpoints."""
    super().recover_last_checkpoints(
        [path for path in checkpoint_paths if not (self._incremental and os.path.basename(path).startswith(INCREMENT))])


def _delete_orphans(save_path):
  """Deletes the increments of a Saver that build on checkpoints that were deleted."""
  directory, name = os.path.split(save_path)
  for index in glob.glob(os.path.join(glob.escape(directory), f"{INCREMENT}{glob.escape(name)}*.index")):
    prefix = index[:-len(".index")]
    if not all(os.path.exists(file.path) for file in table_file.table_files(prefix)):
      checkpoint_management.remove_checkpoint(prefix)
