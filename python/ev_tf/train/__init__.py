"""What tf.compat.v1.train lacks: optimizers, for embedding variables and dense ones alike, and a Saver that saves increments, and what DeepRec reads.

docs/optimizers.md lists all optimizers that train an embedding variable, with their formulas; docs/checkpoints.md tells of
increments.
"""

from ev_tf.train.adagrad_decay import AdagradDecayOptimizer, AdagradDecayOptimizerV2
from ev_tf.train.adam_async import AdamAsyncOptimizer
from ev_tf.train.adamw import AdamWOptimizer
from ev_tf.train.ftrl import FtrlOptimizer
from ev_tf.train.incremental_saver import IncrementalSaver, IncrementalSaverHook, MonitoredTrainingSession
from ev_tf.train.row_wise_adagrad import RowWiseAdagradOptimizer
from ev_tf.train.saver import Saver

__all__ = ["AdagradDecayOptimizer", "AdagradDecayOptimizerV2", "AdamAsyncOptimizer", "AdamWOptimizer", "FtrlOptimizer",
           "IncrementalSaver", "IncrementalSaverHook", "MonitoredTrainingSession", "RowWiseAdagradOptimizer", "Saver"]
