"""tf.train optimizers that DeepRec changes: with the arithmetic that its embedding variables have."""

from ev_tf import train


class FtrlOptimizer(train.FtrlOptimizer):
  """tf.train.FtrlOptimizer, whose l1 penalty is on whole rows of embedding variables."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, group_l1=True, **kwargs)


class AdamWOptimizer(train.AdamWOptimizer):
  """tf.train.AdamWOptimizer, whose decay of embedding variables is scaled with Adam's step."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, scaled_decay=True, **kwargs)
