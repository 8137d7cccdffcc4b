"""tf.compat.v1.train optimizers on embedding variables, unmodified, in graphs and in eager mode.

The tables of one apply_gradients are updated by one op, where the optimizer does the same to all of them.
"""

import collections
import contextlib
import threading

import tensorflow as tf
from tensorflow.python.distribute import mirrored_strategy
from tensorflow.python.trackable import base as trackable
from tensorflow.python.training import optimizer as stock

from ev_tf import partitioned, variable
from ev_tf.optimizers import rules

_v1 = tf.compat.v1.train
# Of the running apply_gradients: .global_step, what it was given; .groups, id of a gradient -> _Group.
_context = threading.local()


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


_GROUPS = {}  # optimizer class -> `group` of register


def register(optimizer_class, rule, group=None):
  """Lets `optimizer_class` train embedding variables.

  Args:
    optimizer_class: subclass of tf.compat.v1.train.Optimizer.
    rule: function (optimizer, rules.RowUpdate) that calls one method of the update and returns what that returns.
    group: function (optimizer, EmbeddingVariable); variables for which it gives the same are updated by one op, and the rule
      is asked about them at once. Default: all are.
  """
  _RULES[optimizer_class] = rule
  if group is not None:
    _GROUPS[optimizer_class] = group


def _find_rule(optimizer):
  """The class whose arithmetic an optimizer has, and its rule."""
  kind = type(optimizer)
  for base in kind.__mro__:
    if base in _RULES:
      if any(getattr(kind, name) is not getattr(base, name) for name in _ARITHMETIC):
        break
      return base, _RULES[base]
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

  def _copy_trackable_to_cpu(self, object_map):
    """An asynchronous checkpoint has nothing to copy here."""

  def __repr__(self):
    return f"<SlotView {self.name!r}>"


class _Processor(stock._OptimizableVariable):
  """What stock code asks how to update one EmbeddingVariable."""

  def __init__(self, embedding_variable):
    self._variable = embedding_variable

  def target(self):
    return self._variable if tf.executing_eagerly() else self._variable.handle

  def update_op(self, optimizer, g):
    group = getattr(_context, "groups", {}).get(id(g), _Group([(g, self._variable)]))
    return group.update_op(optimizer)


class _Group:
  """Tables of one apply_gradients that are updated together: when the first of them is to be.

  Args:
    gradients_and_variables: list of (IndexedSlices, EmbeddingVariable).
  """

  def __init__(self, gradients_and_variables):
    self._pairs = gradients_and_variables
    self._done = []

  def update_op(self, optimizer):
    if not self._done:
      _, rule = _find_rule(optimizer)
      step = _current_step(v for _, v in self._pairs)
      self._done.append(rule(optimizer, rules.RowUpdate(self._pairs, optimizer, optimizer.get_name(), step)))
    return self._done[0]


def _find_groups(optimizer, grads_and_vars):
  """id of a gradient -> its _Group: of one device, and alike to the optimizer."""
  pairs = [(g, v) for g, v in grads_and_vars
           if isinstance(v, variable.EmbeddingVariable) and isinstance(g, tf.IndexedSlices)]
  distinct = len({id(v) for _, v in pairs}) == len(pairs)
  if len(pairs) < 2 or not distinct or tf.distribute.has_strategy():
    return {}
  alike = _GROUPS.get(_find_rule(optimizer)[0], lambda optimizer, v: None)
  kinds = collections.defaultdict(list)
  for g, v in pairs:
    kinds[v.handle.device, alike(optimizer, v)].append((g, v))
  return {id(g): group for members in kinds.values() for group in [_Group(members)] for g, _ in members}


def _current_step(embedding_variables):
  """The step that becomes the rows' version: apply_gradients' global_step, else the graph's, else -1."""
  if not any(v._table_spec.record_version for v in embedding_variables):
    return -1
  step = getattr(_context, "global_step", None)
  if step is None:
    step = _v1.get_global_step()
  return -1 if step is None else tf.convert_to_tensor(step)


@contextlib.contextmanager
def _applying(global_step, groups):
  outer = getattr(_context, "global_step", None), getattr(_context, "groups", {})
  _context.global_step = global_step if global_step is not None else outer[0]
  _context.groups = groups
  try:
    yield
  finally:
    _context.global_step, _context.groups = outer


def _check_strategy(grads_and_vars):
  """Raises NotImplementedError under a strategy whose variables only can be updated, or with several replicas in step."""
  tables = [v for _, v in grads_and_vars if isinstance(v, variable.EmbeddingVariable)]
  if tables:
    mirrored = isinstance(tf.distribute.get_strategy().extended, mirrored_strategy.MirroredExtended)
    rules.check_replicas(tables[0], most=0 if mirrored else 1)


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
    grads_and_vars = tuple(grads_and_vars)
    _check_strategy(grads_and_vars)
    with _applying(global_step, _find_groups(self, grads_and_vars)):
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
