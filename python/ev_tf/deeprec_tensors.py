"""Tables as the tensors of a DeepRec checkpoint: their names, and what a Saver saves under them.

A variable v is v-keys, v-values, v-freqs, v-versions, v-partition_offset, and the first four and the last of ids that a filter has
counted. Each optimizer slot is a variable of its own, which DeepRec calls v/Adam, v/Adam_1 ... in the order of making. In the
rows it is "Adam/m", "Adam/v".
"""

import collections

from tensorflow.python.framework import constant_op, dtypes, ops
from tensorflow.python.ops import math_ops
from tensorflow.python.training.saving import saveable_object

from ev_tf._native import raw_ops

Slot = collections.namedtuple("Slot", ["tensor", "name", "dim", "initial"])
Slot.__doc__ = """A slot by both names. tensor: str, "Adam_1". name: str, "Adam/v". dim: int, floats of a row, 0 for as many as the
variable has. initial: float, what a new row has."""

# The order in which TensorFlow's optimizers make their slots.
_ORDER = ("rms", "mg", "accumulator", "m", "momentum", "linear", "v", "accumulator_decay_power")
_ONE_PER_ROW = ("accumulator_decay_power",)
# Slots of an optimizer that this program does not have, with its default arguments.
_STANDARD = {"Adagrad": {"accumulator": 0.1}, "AdagradDecay": {"accumulator": 0.1, "accumulator_decay_power": 0.0},
             "Adam": {"m": 0.0, "v": 0.0}, "AdamAsync": {"m": 0.0, "v": 0.0}, "AdamW": {"m": 0.0, "v": 0.0},
             "Ftrl": {"accumulator": 0.1, "linear": 0.0}, "Momentum": {"momentum": 0.0}}


def known_slots(known):
  """list of Slot: those of a variable's optimizers.

  Args:
    known: EmbeddingVariable.known_slots.

  Example:
    >>> [(slot.tensor, slot.name) for slot in known_slots({"Adam": ("Adam", {"v": 0.0, "m": 0.0})})]
    [('Adam', 'Adam/m'), ('Adam_1', 'Adam/v')]
  """
  slots, counts = [], collections.Counter()
  for scope, (base, initial_values) in known.items():
    for name in sorted(initial_values, key=_ORDER.index):
      tensor = f"{base}_{counts[base]}" if counts[base] else base
      counts[base] += 1
      slots.append(Slot(tensor, f"{scope}/{name}", int(name in _ONE_PER_ROW), initial_values[name]))
  return slots


def slots_to_restore(known):
  """list of Slot: known_slots(known), and those of DeepRec's optimizers that are not among them."""
  bases = {base for base, _ in known.values()}
  return known_slots({**known, **{base: (base, slots) for base, slots in _STANDARD.items() if base not in bases}})


def save_specs(spec, handle, name, known, shrunk, device):
  """list of SaveSpec: what a Saver saves of a variable for DeepRec.

  Args:
    spec: table.TableSpec.
    handle: of the table.
    name: str, in the checkpoint.
    known: EmbeddingVariable.known_slots.
    shrunk: callable, gives the list of ops to run before the table is read.
    device: str.
  """
  slots, made = known_slots(known), []

  def content():
    if not made:
      with ops.device(device), ops.control_dependencies(shrunk()):
        made.append(raw_ops.ev_export_deep_rec(
            handle, num_slots=len(slots), dim=spec.dim, slot_names=[slot.name for slot in slots],
            slot_initial_values=[slot.initial for slot in slots]))
    return made[0]

  def as_keys(keys):
    return math_ops.cast(keys, spec.key_dtype)

  def none(dtype, size=0):
    with ops.device(device):
      return constant_op.constant([0] * size, dtype, [size])

  tensors = {
      f"{name}-keys": (spec.key_dtype, lambda: as_keys(content().keys)),
      f"{name}-values": (dtypes.float32, lambda: content().values),
      f"{name}-freqs": (dtypes.int64, lambda: content().frequencies),
      f"{name}-versions": (dtypes.int64, lambda: content().versions),
      f"{name}-partition_offset": (dtypes.int32, lambda: content().partition_offset),
      f"{name}-keys_filtered": (spec.key_dtype, lambda: as_keys(content().filtered_keys)),
      f"{name}-freqs_filtered": (dtypes.int64, lambda: content().filtered_frequencies),
      f"{name}-versions_filtered": (dtypes.int64, lambda: content().filtered_versions),
      f"{name}-partition_filter_offset": (dtypes.int32, lambda: content().partition_filter_offset),
  }
  for i, slot in enumerate(slots):
    own = f"{name}/{slot.tensor}"
    for suffix in ("keys", "freqs", "versions", "partition_offset"):
      tensors[f"{own}-{suffix}"] = tensors[f"{name}-{suffix}"]
    tensors[f"{own}-values"] = (dtypes.float32, lambda i=i: content().slots[i])
    tensors[f"{own}-keys_filtered"] = (spec.key_dtype, lambda: none(spec.key_dtype))
    for suffix in ("freqs", "versions"):
      tensors[f"{own}-{suffix}_filtered"] = (dtypes.int64, lambda: none(dtypes.int64))
    tensors[f"{own}-partition_filter_offset"] = (dtypes.int32, lambda: none(dtypes.int32, 1001))
  return [saveable_object.SaveSpec(tensor, "", key, dtype=dtype, device=device) for key, (dtype, tensor) in tensors.items()]
