"""tf.compat.v1.train optimizers on embedding variables, unmodified, in graphs and in eager mode."""

import contextlib
import threading

import tensorflow as tf
from tensorflow.python.trackable import base as trackable
from tensorflow.python.training import optimizer as stock

from ev_tf import partitioned, variable
from ev_tf.optimizers import rules

_v1 = tf.compat.v1.train
_context = threading.local()  # .global_step: what the running apply_gradients was given


def _sgd(optimizer, update):
  return update.sgd(optimizer._learning_rate_tensor)


def _momentum(optimizer, update):
  return update.momentum(optimizer._learning_rate_tensor, optimizer._momentum_tensor, optimizer._use_nesterov)


def _adagrad(optimizer, update):
  return update.adagrad(optimizer._learning_rate_tensor, optimizer._initial_accumulator_value)


def _adam(optimizer, update):
  beta1_power, beta2_power = optimizer._get_beta_accumulators()
  return update.adam(optimizer._lr_t, optimizer._beta1_t, optimizer._beta2_t, optimizer._epsilon_t, beta1_power,
                     beta2_power)


def _ftrl(optimizer, update):
  return update.ftrl(optimizer._learning_rate_tensor, optimizer._l1_regularization_strength_tensor,
                     optimizer._adjusted_l2_regularization_strength_tensor,
                     optimizer._l2_shrinkage_regularization_strength_tensor, optimizer._learning_rate_power_tensor,
                     optimizer._initial_accumulator_value, getattr(optimizer, "_group_l1", False))


def _rms_prop(optimizer, update):
  with_momentum = not (isinstance(optimizer._momentum, (int, float)) and optimizer._momentum == 0)
  return update.rms_prop(optimizer._learning_rate_tensor, optimizer._decay_tensor, optimizer._momentum_tensor,
                         optimizer._epsilon_tensor, rules.rms_prop_slots(1.0, optimizer._centered, with_momentum),
                         optimizer._centered, with_momentum)


_RULES = {
    _v1.GradientDescentOptimizer: _sgd,
    _v1.MomentumOptimizer: _momentum,
    _v1.AdagradOptimizer: _adagrad,
    _v1.AdamOptimizer: _adam,
    _v1.FtrlOptimizer: _ftrl,
    _v1.RMSPropOptimizer: _rms_prop,
}
# Methods that say what an update does. A subclass with one of its own is another optimizer than its base class.
_ARITHMETIC = ("_apply_dense", "_resource_apply_dense", "_apply_sparse", "_resource_apply_sparse",
               "_apply_sparse_duplicate_indices", "_resource_apply_sparse_duplicate_indices")


def register(optimizer_class, rule):
  """Lets `optimizer_class` train embedding variables.

  Args:
    optimizer_class: subclass of tf.compat.v1.train.Optimizer.
    rule: function (optimizer, rules.RowUpdate) that calls one method of the update and returns what that returns.
  """
  _RULES[optimizer_class] = rule


def _find_rule(optimizer):
  kind = type(optimizer)
  for base in kind.__mro__:
    if base in _RULES:
      if any(getattr(kind, name) is not getattr(base, name) for name in _ARITHMETIC):
        break
      return _RULES[base]
  raise rules.refuse(optimizer)


class SlotView(trackable.Trackable):
  """What Optimizer.get_slot gives for an embedding variable: the slot lies in the variable's rows, not in a variable.

  Args:
    embedding_variable: EmbeddingVariable.
    slot_name: str, name of the slot in the rows, e.g. "Adagrad/accumulator".
  """

  # Optimizer.variables() lists the slots of the current graph; this one is saved with its variable.
  _in_graph_mode = False
  _graph_key = None

  def __init__(self, embedding_variable, slot_name):
    self.variable = embedding_variable
    self.slot_name = slot_name

  @property
  def name(self):
    """str, e.g. "table/Adagrad/accumulator"."""
    return f"{self.variable.name.split(':')[0]}/{self.slot_name}"

  def export(self):
    """(keys [n], rows float32 [n, dim]) of the slot; in a graph, tensors."""
    return self.variable.export_slot(self.slot_name)

  def __repr__(self):
    return f"<SlotView {self.name!r}>"


class _Processor(stock._OptimizableVariable):
  """What stock code asks how to update one EmbeddingVariable."""

  def __init__(self, embedding_variable):
    self._variable = embedding_variable

  def target(self):
    return self._variable if tf.executing_eagerly() else self._variable.handle

  def update_op(self, optimizer, g):
    rule = _find_rule(optimizer)
    step = _current_step(self._variable)
    return rule(optimizer, rules.RowUpdate(self._variable, g, optimizer, optimizer.get_name(), step))


def _current_step(embedding_variable):
  """The step that becomes the rows' version: apply_gradients' global_step, else the graph's, else -1."""
  if not embedding_variable._table_spec.record_version:
    return -1
  step = getattr(_context, "global_step", None)
  if step is None:
    step = _v1.get_global_step()
  return -1 if step is None else tf.convert_to_tensor(step)


@contextlib.contextmanager
def _step_in_use(global_step):
  outer = getattr(_context, "global_step", None)
  _context.global_step = global_step if global_step is not None else outer
  try:
    yield
  finally:
    _context.global_step = outer


def wrap_get_processor(original):
  def get_processor(v):
    if isinstance(v, variable.EmbeddingVariable):
      return _Processor(v)
    if isinstance(v, partitioned.PartitionedEmbeddingVariable):
      raise NotImplementedError(f"{v!r} is the front of {len(v)} parts, and it is the parts that are trained: pass "
                                "var_list=list(variable), or leave var_list out.")
    return original(v)
  return get_processor


def wrap_apply_gradients(original):
  def apply_gradients(self, grads_and_vars, global_step=None, *args, **kwargs):
    with _step_in_use(global_step):
      return original(self, grads_and_vars, global_step, *args, **kwargs)
  return apply_gradients


def _slot_view(optimizer, var, slot_name):
  slots = optimizer._slot_dict(slot_name)
  key = stock._var_key(var)
  if key not in slots:
    scope = var._slot_scope(optimizer, optimizer.get_name())
    slots[key] = SlotView(var, f"{scope}/{_NAME_IN_ROW.get(slot_name, slot_name)}")
  return slots[key]


# Where TensorFlow's name of a slot is not the one in rules.py.
_NAME_IN_ROW = {"accum": "accumulator"}


def wrap_get_or_make_slot(original):
  def _get_or_make_slot(self, var, val, slot_name, op_name):
    if isinstance(var, variable.EmbeddingVariable):
      return _slot_view(self, var, slot_name)
    return original(self, var, val, slot_name, op_name)
  return _get_or_make_slot


def wrap_get_or_make_slot_with_initializer(original):
  def _get_or_make_slot_with_initializer(self, var, initializer, shape, dtype, slot_name, op_name):
    if isinstance(var, variable.EmbeddingVariable):
      return _slot_view(self, var, slot_name)
    return original(self, var, initializer, shape, dtype, slot_name, op_name)
  return _get_or_make_slot_with_initializer


def wrap_zeros_slot(original):
  def _zeros_slot(self, var, slot_name, op_name):
    if isinstance(var, variable.EmbeddingVariable):
      return _slot_view(self, var, slot_name)
    return original(self, var, slot_name, op_name)
  return _zeros_slot
