"""Loss and AUC over many batches, in constant memory."""

import numpy as np

BINS = 1 << 16
LOGIT_LIMIT = 16.0  # a sigmoid of +-16 is 1e-7 from its end


class BinaryMetrics:
  """Mean loss and AUC of all batches added so far.

  The AUC is that of the scores rounded to 65,536 steps of logit 0.0005: equal scores count one half, as usual.

  Example:
    >>> metrics = BinaryMetrics()
    >>> metrics.add(logits=np.array([-1.0, 0.5, 2.0]), labels=np.array([0.0, 0.0, 1.0]), loss=0.3)
    >>> metrics.auc, metrics.loss
    (1.0, 0.3)
  """

  def __init__(self):
    self.counts = np.zeros((2, BINS))  # [label, score]
    self.loss_sum = 0.0

  @property
  def rows(self):
    return int(self.counts.sum())

  @property
  def loss(self):
    return self.loss_sum / max(self.rows, 1)

  @property
  def auc(self):
    """Probability that a positive scores above a negative; nan while either is missing."""
    negative, positive = self.counts
    pairs = negative.sum() * positive.sum()
    if not pairs:
      return float("nan")
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / pairs)

  def add(self, logits, labels, loss):
    """Adds one batch.

    Args:
      logits: float [n].
      labels: float [n], 0 or 1.
      loss: float. Mean loss of the batch.
    """
    scaled = (np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT) + LOGIT_LIMIT) * ((BINS - 1) / (2 * LOGIT_LIMIT))
    flat = np.rint(scaled).astype(np.int64) + BINS * (labels > 0.5)
    np.add.at(self.counts.reshape(-1), flat, 1)
    self.loss_sum += float(loss) * len(labels)
