"""The dictionary model of an embedding variable: slow, obvious, and what the real one is compared with.

Needs no TensorFlow.
"""

import numpy as np


def _sgd(row, slots, grad, h):
  row -= h["lr"] * grad


def _momentum(row, slots, grad, h):
  m = slots["momentum"]
  m[:] = h["momentum"] * m + grad
  row -= h["lr"] * (grad + h["momentum"] * m if h.get("use_nesterov") else m)


def _adagrad(row, slots, grad, h):
  slots["accumulator"] += grad**2
  row -= h["lr"] * grad / np.sqrt(slots["accumulator"] + h.get("epsilon", 0.0))


def _adagrad_decay(row, slots, grad, h):
  if h["step"] // h["decay_step"] > slots["accumulator_decay_power"][0]:
    slots["accumulator"] = np.maximum(slots["accumulator"] * h["decay_rate"], h["baseline"])
    slots["accumulator_decay_power"] += 1
  _adagrad(row, slots, grad, h)


def _row_wise_adagrad(row, slots, grad, h):
  slots["accumulator"] += np.mean(grad**2)
  row -= h["lr"] * grad / (np.sqrt(slots["accumulator"]) + h["epsilon"])


def _rms_prop(row, slots, grad, h):
  slots["rms"] += (grad**2 - slots["rms"]) * (1 - h["decay"])
  variance = slots["rms"]
  if h.get("centered"):
    slots["mg"] += (grad - slots["mg"]) * (1 - h["decay"])
    variance = variance - slots["mg"]**2
  slots["momentum"] = h.get("momentum", 0.0) * slots["momentum"] + h["lr"] * grad / np.sqrt(variance + h["epsilon"])
  row -= slots["momentum"]


def _adam(row, slots, grad, h):
  row -= h.get("weight_decay", 0.0) * row
  alpha = h["lr"] * np.sqrt(1 - h["beta2"] ** h["step"]) / (1 - h["beta1"] ** h["step"])
  slots["m"] += (grad - slots["m"]) * (1 - h["beta1"])
  slots["v"] += (grad**2 - slots["v"]) * (1 - h["beta2"])
  row -= alpha * slots["m"] / (np.sqrt(slots["v"]) + h["epsilon"])


def _ftrl(row, slots, grad, h):
  old = slots["accumulator"]
  new = old + grad**2
  power = -h.get("lr_power", -0.5)
  slots["linear"] += grad + 2 * h.get("l2_shrinkage", 0.0) * row - (new**power - old**power) / h["lr"] * row
  linear = slots["linear"]
  quadratic = new**power / h["lr"] + 2 * h["l2"]
  size = np.linalg.norm(linear) if h.get("group_l1") else np.abs(linear)
  row[:] = np.where(size > h["l1"], (h["l1"] / np.where(size > 0, size, 1.0) - 1) * linear / quadratic, 0.0)
  slots["accumulator"] = new


# name -> (slots with their initial values, rule). A rule changes `row` and `slots` in place. The initial value of a slot that
# is as wide as the row is a number, that of a slot of one number a row is a list of one.
RULES = {
    "sgd": ({}, _sgd),
    "momentum": ({"momentum": 0.0}, _momentum),
    "adagrad": ({"accumulator": 0.1}, _adagrad),
    "adagrad_decay": ({"accumulator": 0.1, "accumulator_decay_power": [0.0]}, _adagrad_decay),
    "row_wise_adagrad": ({"accumulator": [0.1]}, _row_wise_adagrad),
    "rms_prop": ({"rms": 1.0, "mg": 0.0, "momentum": 0.0}, _rms_prop),
    "adam": ({"m": 0.0, "v": 0.0}, _adam),
    "adamw": ({"m": 0.0, "v": 0.0}, _adam),
    "ftrl": ({"accumulator": 0.1, "linear": 0.0}, _ftrl),
}


class TableModel:
  """A table from int64 ids to float64 rows.

  Args:
    default_rows: float [default_value_dim, dim], the rows that ids read before they are trained.

  Example:
    >>> model = TableModel(np.ones([4, 2]))
    >>> model.train("sgd", [7, 7], np.ones([2, 2]), lr=0.25)
    >>> model.lookup([7, -1]).tolist()
    [[0.5, 0.5], [1.0, 1.0]]
  """

  def __init__(self, default_rows):
    self.default_rows = np.asarray(default_rows, np.float64)
    self.rows = {}
    self.slots = {}  # id -> {slot: row}

  def _initial(self, key):
    return self.default_rows[int(key) % len(self.default_rows)]

  def lookup(self, keys):
    """float64 [n, dim]; inserts nothing."""
    empty = np.zeros([0, self.default_rows.shape[1]])
    return np.stack([self.rows.get(int(k), self._initial(k)) for k in keys]) if len(keys) else empty

  def train(self, rule, keys, grads, initial_values=None, **hyper):
    """One step of a rule of RULES: sums the gradients of equal ids, inserts new ids, updates each id once.

    Args:
      rule: str, a name in RULES.
      keys: n ids.
      grads: float [n, dim].
      initial_values: dict of slot to first value, for those that are not the ones in RULES.
      **hyper: the rule's hyperparameters; "step", from 1, for Adam and AdagradDecay.
    """
    slot_initials, update = RULES[rule]
    slot_initials = {**slot_initials, **(initial_values or {})}
    total = {}
    for key, grad in zip(keys, np.asarray(grads, np.float64)):
      total[int(key)] = total.get(int(key), 0.0) + grad
    for key, grad in total.items():
      row = self.rows.setdefault(key, self._initial(key).copy())
      slots = self.slots.setdefault(key, {})
      for name, value in slot_initials.items():
        slots.setdefault(name, np.array(value, np.float64) if np.ndim(value) else np.full_like(row, value))
      update(row, slots, grad, hyper)

  def remove(self, keys):
    """Drops rows with their slots; gives how many there were."""
    present = {int(k) for k in keys} & self.rows.keys()
    for key in present:
      del self.rows[key], self.slots[key]
    return len(present)

  def size(self):
    """How many ids have a row."""
    return len(self.rows)
