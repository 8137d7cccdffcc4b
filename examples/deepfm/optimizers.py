"""AdamW for variables of stock TensorFlow: dense ones, and sparse lazy ones as the static tables need it.

Embedding variables use ev_tf.train.AdamWOptimizer, the same arithmetic fused into one pass over the table.
"""

import tensorflow as tf

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class AdamW(tf.Module):
  """AdamW (Loshchilov, Hutter, ICLR 2019) in the epsilon-hat form of Adam.

    value -= lr * weight_decay * value
    m += (1 - beta1) * (grad - m);   v += (1 - beta2) * (grad^2 - v)
    value -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)

  A gradient that is an IndexedSlices moves the rows it names and no other; gradients of one row are summed first.

  Args:
    variables: list of tf.Variable, float32.
    lr: float, > 0, per step.
    weight_decay: float, >= 0; a step shrinks a weight by lr * weight_decay of itself.
  """

  def __init__(self, variables, lr, weight_decay):
    super().__init__(name="adamw")
    self.lr, self.decay = lr, lr * weight_decay
    self.variables_ = list(variables)
    self.m = [tf.Variable(tf.zeros_like(v)) for v in self.variables_]
    self.v = [tf.Variable(tf.zeros_like(v)) for v in self.variables_]
    self.power1, self.power2 = tf.Variable(BETA1), tf.Variable(BETA2)

  def apply(self, grads):
    """One step; grads are in the order of the variables."""
    for value, m, v, grad in zip(self.variables_, self.m, self.v, grads):
      if isinstance(grad, tf.IndexedSlices):
        self._apply_rows(value, m, v, grad)
      else:
        value.assign_sub(self.decay * value)
        tf.raw_ops.ResourceApplyAdam(
            var=value.handle, m=m.handle, v=v.handle, beta1_power=self.power1, beta2_power=self.power2, lr=self.lr,
            beta1=BETA1, beta2=BETA2, epsilon=EPSILON, grad=grad)
    self.power1.assign(self.power1 * BETA1)
    self.power2.assign(self.power2 * BETA2)

  def _apply_rows(self, value, m, v, grad):
    rows, where = tf.unique(grad.indices)
    total = tf.math.unsorted_segment_sum(grad.values, where, tf.size(rows))
    old_m, old_v, old = tf.gather(m, rows), tf.gather(v, rows), tf.gather(value, rows)
    new_m = old_m + (total - old_m) * (1 - BETA1)
    new_v = old_v + (total**2 - old_v) * (1 - BETA2)
    alpha = self.lr * tf.sqrt(1 - self.power2) / (1 - self.power1)
    new = old - self.decay * old - alpha * new_m / (tf.sqrt(new_v) + EPSILON)
    for variable, update in ((m, new_m), (v, new_v), (value, new)):
      variable.scatter_update(tf.IndexedSlices(update, rows))
