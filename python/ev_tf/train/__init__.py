"""Optimizers that tf.compat.v1.train lacks, for embedding variables and dense ones alike.

docs/optimizers.md lists all optimizers that train an embedding variable, with their formulas.
"""

from ev_tf.train.adagrad_decay import AdagradDecayOptimizer, AdagradDecayOptimizerV2
from ev_tf.train.adam_async import AdamAsyncOptimizer
from ev_tf.train.adamw import AdamWOptimizer
from ev_tf.train.ftrl import FtrlOptimizer
from ev_tf.train.row_wise_adagrad import RowWiseAdagradOptimizer

__all__ = ["AdagradDecayOptimizer", "AdagradDecayOptimizerV2", "AdamAsyncOptimizer", "AdamWOptimizer", "FtrlOptimizer",
           "RowWiseAdagradOptimizer"]
