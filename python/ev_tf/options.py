"""What an embedding variable can be asked to be: storage, filters, eviction, first values.

Every option is a frozen dataclass that checks itself when it is made. The names, defaults and enum numbers are
DeepRec's. An option whose feature this version does not have is accepted here, so that programs can be written, and
refused with NotImplementedError by get_embedding_variable: nothing is ignored in silence.

Needs no TensorFlow.
"""

import dataclasses
import enum
import math
import numbers
import os
from typing import Any, Optional, Sequence, Union
import warnings

GIB = 1 << 30
DATA_SOURCES = (".csv", ".parquet")  # endings of the files that init_data_source reads
_TIERS = 4  # storage_size has one entry a tier
_MOST = (1 << 63) - 1  # of a count, which is an int64 in the end


class StorageType(enum.IntEnum):
  """Where rows live: one kind of memory, or a stack of them with the fast one first."""

  DEFAULT = 0
  DRAM = 1
  PMEM_MEMKIND = 2
  PMEM_LIBPMEM = 3
  SSDHASH = 4
  LEVELDB = 5
  HBM = 6
  DRAM_PMEM = 11
  DRAM_SSDHASH = 12
  HBM_DRAM = 13
  DRAM_LEVELDB = 14
  DRAM_PMEM_SSDHASH = 101
  HBM_DRAM_SSDHASH = 102
  DRAM_PMEM_LEVELDB = 103
  HBM_DRAM_PMEM = 104
  HBM_DRAM_LEVELDB = 105
  HBM_DRAM_PMEM_LEVELDB = 106
  HBM_DRAM_PMEM_SSDHASH = 107

  @property
  def needs_path(self):
    """Whether a tier of this type keeps files."""
    return any(tier in self.name for tier in ("SSDHASH", "LEVELDB", "LIBPMEM", "DRAM_PMEM"))

  @property
  def tiers(self):
    """int, the tiers of a variable of this type: one that is named alone lies below DRAM."""
    stack = self.name.replace("PMEM_MEMKIND", "PMEM").replace("PMEM_LIBPMEM", "PMEM").split("_")
    return max(2 if self.spills else 1, len(stack))

  @property
  def spills(self):
    """Whether rows that DRAM has no room for go to a tier below it."""
    return self not in (StorageType.DEFAULT, StorageType.DRAM, StorageType.HBM)


class CacheStrategy(enum.IntEnum):
  """Which rows leave a full tier first."""

  LRU = 0
  LFU = 1


# The types whose rows this version can store.
AVAILABLE_STORAGE = tuple(kind for kind in StorageType if "HBM" not in kind.name)


def _check_type(owner, name, value, types, expected):
  if not isinstance(value, types) or (isinstance(value, bool) and bool not in _as_tuple(types)):
    raise ValueError(f"{owner}.{name}: expected {expected}, got {value!r}.")


def _as_tuple(types):
  return types if isinstance(types, tuple) else (types,)


def _check_count(owner, name, value, minimum=0, maximum=_MOST):
  _check_type(owner, name, value, numbers.Integral, "an int")
  if not minimum <= value <= maximum:
    limits = f"at least {minimum}" if value < minimum and maximum == _MOST else f"{minimum} to {maximum}"
    raise ValueError(f"{owner}.{name}: expected {limits}, got {value}.")


def _check_number(owner, name, value):
  _check_type(owner, name, value, numbers.Real, "a number")
  if not math.isfinite(value):
    raise ValueError(f"{owner}.{name}: expected a finite number, got {value}.")


@dataclasses.dataclass(frozen=True)
class StorageOption:
  """Where the rows of a variable live.

  With tiers below DRAM, training gives the same rows, to the bit, as with all rows in DRAM. SSDHASH stands for
  DRAM_SSDHASH, LEVELDB for DRAM_LEVELDB and PMEM_LIBPMEM for DRAM_PMEM; PMEM_MEMKIND is DRAM over memory that memkind gives.
  docs/tuning.md says which type is right when.

  Args:
    storage_type: StorageType or None, None means DEFAULT: DRAM on a CPU.
    storage_path: str or None. Directory for the files of an SSDHASH, LEVELDB or PMEM tier, which need one; PMEM_MEMKIND has
      its rows in a file there, or without a path in KMEM DAX memory. It is made when the variable is initialized. Each
      variable keeps its files in a folder of its own in it, and takes them away when it is destroyed: what is to last is
      saved in a checkpoint.
    storage_size: list of int, bytes of each tier from the fastest, 1 GiB where not given. Bounds a tier that can spill to
      one below it: DRAM, and PMEM between DRAM and the last tier; the last one is not bounded. A tier holds its storage_size
      // row bytes rows, at least one, where embedding and optimizer slots are padded to 16 bytes each. Each part of a
      partitioned variable has these sizes for itself.
    cache_strategy: CacheStrategy, default LFU. Which rows leave a full tier first.
    layout: None. DeepRec's internal choice of a row layout; there is one here.

  Raises:
    ValueError: a value of the wrong type or range, a path without a type, a type with files without a path.

  Source: DeepRec's StorageOption; every type with files needs a path here, in DeepRec HBM_DRAM_SSDHASH and DRAM_PMEM do
  not.

  Example:
    >>> StorageOption(StorageType.DRAM).storage_size
    (1073741824, 1073741824, 1073741824, 1073741824)
  """

  storage_type: Optional[StorageType] = None
  storage_path: Optional[str] = None
  storage_size: Sequence[int] = (GIB,)
  cache_strategy: CacheStrategy = CacheStrategy.LFU
  layout: Optional[str] = None

  def __post_init__(self):
    if not isinstance(self.storage_size, (list, tuple)):
      raise ValueError(f"StorageOption.storage_size: expected a list of bytes for each tier, got {self.storage_size!r}.")
    if len(self.storage_size) > _TIERS:
      raise ValueError(f"StorageOption.storage_size: expected at most {_TIERS} tiers, got {len(self.storage_size)}.")
    for size in self.storage_size:
      _check_count("StorageOption", "storage_size", size, minimum=1)
    padded = tuple(map(int, self.storage_size)) + (GIB,) * (_TIERS - len(self.storage_size))
    object.__setattr__(self, "storage_size", padded)
    object.__setattr__(self, "cache_strategy", _enum_value("StorageOption.cache_strategy", CacheStrategy, self.cache_strategy))
    if self.storage_path is not None:
      _check_type("StorageOption", "storage_path", self.storage_path, (str, os.PathLike), "a path")
      if "://" in os.fspath(self.storage_path) or "\0" in os.fspath(self.storage_path):
        raise ValueError("StorageOption.storage_path: expected a directory of a mounted file system, got "
                         f"{self.storage_path!r}.")
    if self.storage_type is None:
      if self.storage_path is not None:
        raise ValueError("StorageOption.storage_type: expected a StorageType beside storage_path="
                         f"{self.storage_path!r}, got None.")
      return
    object.__setattr__(self, "storage_type", _enum_value("StorageOption.storage_type", StorageType, self.storage_type))
    if self.storage_type.needs_path and not self.storage_path:
      raise ValueError(f"StorageOption.storage_path: expected a directory, as {self.storage_type.name} keeps files, got "
                       f"{self.storage_path!r}.")

  @property
  def effective_type(self):
    """StorageType that None and DEFAULT stand for: DRAM."""
    return StorageType.DRAM if self.storage_type in (None, StorageType.DEFAULT) else self.storage_type


def _enum_value(what, kind, value):
  try:
    return kind(value)
  except ValueError:
    names = ", ".join(f"{m.name} ({m.value})" for m in kind)
    raise ValueError(f"{what}: expected one of {names}; got {value!r}.") from None


@dataclasses.dataclass(frozen=True)
class InitializerOption:
  """What a row is before it is trained.

  The initializer is called once, for a matrix of [default_value_dim, embedding_dim]; an id that was never trained reads
  row `id mod default_value_dim` of it, and is inserted as a copy of that row.

  Args:
    initializer: callable like tf.compat.v1.truncated_normal_initializer(), or None for the variable's own `initializer`.
    default_value_dim: int >= 1, rows of that matrix, default 4096.
    default_value_no_permission: float, what an id reads in every element that a filter has not admitted, default 0.0. Without
      a filter there is no such id.

  Raises:
    ValueError: default_value_dim < 1, or no int; default_value_no_permission is no number.
    TypeError: the initializer is not callable.

  Source: DeepRec's InitializerOption, where a default_value_dim <= 0 is only warned about.

  Example:
    >>> InitializerOption(default_value_dim=1024).default_value_dim
    1024
  """

  initializer: Any = None
  default_value_dim: int = 4096
  default_value_no_permission: float = 0.0

  def __post_init__(self):
    _check_count("InitializerOption", "default_value_dim", self.default_value_dim, minimum=1)
    _check_number("InitializerOption", "default_value_no_permission", self.default_value_no_permission)
    if self.initializer is not None:
      check_initializer("InitializerOption.initializer", self.initializer)


def check_initializer(what, initializer):
  """Raises TypeError unless `initializer` can be called with a shape; `what` names it in the message."""
  if not callable(initializer):
    raise TypeError(f"{what}: expected a callable such as tf.compat.v1.truncated_normal_initializer() or "
                    f"tf.constant_initializer(value), got {initializer!r}.")


@dataclasses.dataclass(frozen=True)
class GlobalStepEvict:
  """Drops rows that no step has updated for `steps_to_live` steps: those with global_step - version > steps_to_live.

  Rows leave when the variable is saved, and when EmbeddingVariable.shrink is called, from every tier; counts of a filter age
  with them. Versions are recorded, so optimizers should be given a global_step, or there should be one in the graph: a row
  that no step has given a version gets the step of the first look.

  Args:
    steps_to_live: int >= 1, or None to drop none.

  Raises:
    ValueError: steps_to_live < 1.

  Source: DeepRec's GlobalStepEvict, which reaches rows in DRAM only, and only when it saves.

  Example:
    >>> GlobalStepEvict(steps_to_live=100_000).steps_to_live
    100000
  """

  steps_to_live: Optional[int] = None

  def __post_init__(self):
    if self.steps_to_live is not None:
      _check_count("GlobalStepEvict", "steps_to_live", self.steps_to_live, minimum=1)


@dataclasses.dataclass(frozen=True)
class L2WeightEvict:
  """Drops rows of which half the sum of squares is below a threshold.

  Rows leave when the variable is saved, and when EmbeddingVariable.shrink is called, from every tier.

  Args:
    l2_weight_threshold: float, compared with sum(row ** 2) / 2, which is tf.nn.l2_loss(row). One that is not above 0, like
      the default -1.0, drops none.

  Raises:
    ValueError: not a number.

  Source: DeepRec's L2WeightEvict, which reaches rows in DRAM only, and only when it saves.

  Example:
    >>> L2WeightEvict(0.01).l2_weight_threshold
    0.01
  """

  l2_weight_threshold: float = -1.0

  def __post_init__(self):
    _check_number("L2WeightEvict", "l2_weight_threshold", self.l2_weight_threshold)


@dataclasses.dataclass(frozen=True)
class CounterFilter:
  """Gives an id a row once it has come `filter_freq` times, by an exact count.

  Updates count, lookups do not; an id that stands three times in a batch has come three times. The update that reaches
  filter_freq makes the row, from its initial values, and trains it, and the count becomes its frequency. Until then the id
  reads InitializerOption.default_value_no_permission, and its gradients are dropped. A count takes 21 to 31 bytes, and no row.

  Args:
    filter_freq: int, 0 to 65535; 0 is no filter.

  Raises:
    ValueError: out of range.

  Source: DeepRec's CounterFilter, which does not go with storage below DRAM.

  Example:
    >>> CounterFilter(filter_freq=3).filter_freq
    3
  """

  filter_freq: int = 0

  def __post_init__(self):
    _check_count("CounterFilter", "filter_freq", self.filter_freq, 0, (1 << 16) - 1)


@dataclasses.dataclass(frozen=True)
class CBFFilter:
  """Gives an id a row once it has come `filter_freq` times, by a counting Bloom filter.

  As CounterFilter, but counts share a fixed number of counters, so some ids are admitted too early, none too late. The
  filter keeps no ids: it cannot forget one, so an id whose row was dropped or removed is admitted by its next update, with a
  new row; and a checkpoint does not hold its counts. With a GlobalStepEvict what was counted is forgotten all together, one
  to two times steps_to_live after it was counted, and the filter takes twice the memory.

  Args:
    filter_freq: int >= 0 that a counter can reach; 0 is no filter.
    max_element_size: int, ids the filter is laid out for; given together with false_positive_probability. Without both,
      counts are exact, as CounterFilter's are.
    false_positive_probability: float in (0, 1), or -1.0 for none. The share of ids that are counted too high when
      max_element_size ids have come. The filter has about 1.44 log2(1 / probability) counters an id.
    counter_type: dtype of a counter: tf.uint8, uint16, uint32 or uint64; None means uint64. Counters of uint64 take four
      bytes, as a frequency has no more.

  Raises:
    ValueError: out of range, or only one of size and probability is given.

  Source: DeepRec's CBFFilter, which does not go with storage below DRAM, nor with GlobalStepEvict.

  Example:
    >>> CBFFilter(filter_freq=2, max_element_size=1 << 20, false_positive_probability=0.01).filter_freq
    2
  """

  filter_freq: int = 0
  max_element_size: int = 0
  false_positive_probability: float = -1.0
  counter_type: Any = None

  def __post_init__(self):
    _check_count("CBFFilter", "filter_freq", self.filter_freq)
    _check_count("CBFFilter", "max_element_size", self.max_element_size)
    _check_number("CBFFilter", "false_positive_probability", self.false_positive_probability)
    if (self.max_element_size > 0) != (self.false_positive_probability > 0):
      raise ValueError("CBFFilter: expected max_element_size and false_positive_probability together, got "
                       f"{self.max_element_size} and {self.false_positive_probability}.")
    if self.false_positive_probability >= 1:
      raise ValueError("CBFFilter.false_positive_probability: expected a number below 1, got "
                       f"{self.false_positive_probability}.")
    if self.counter_type is not None and getattr(self.counter_type, "name", self.counter_type) not in (
        "uint8", "uint16", "uint32", "uint64"):
      raise ValueError(f"CBFFilter.counter_type: expected uint8, uint16, uint32 or uint64, got {self.counter_type!r}.")
    most = (1 << 8 * min(self.counter_bytes, 4)) - 1 if self.max_element_size > 0 else (1 << 16) - 1
    if self.filter_freq > most:
      kind = f"counters of {self.counter_bytes} bytes" if self.max_element_size > 0 else "exact counts"
      raise ValueError(f"CBFFilter.filter_freq: expected at most {most}, which is what {kind} can reach, got "
                       f"{self.filter_freq}.")

  @property
  def counter_bytes(self):
    """int, bytes of counter_type."""
    return int(getattr(self.counter_type, "name", self.counter_type or "uint64")[4:]) // 8


@dataclasses.dataclass(frozen=True)
class CheckpointOption:
  """Where a variable takes its first content from.

  Initializing the variable reads the checkpoint: rows, slots, initial rows, and what a filter has counted. A
  tf.compat.v1.train.Saver must have written it, with any number of parts of the variable.

  Args:
    ckpt_to_load_from: str or None, a checkpoint's prefix, as tf.compat.v1.train.Saver.save gives it.
    tensor_name_in_ckpt: str or None, the variable's name in it; None means the same name.
    always_load_from_specific_ckpt: bool, load from it also when a tf.compat.v1.train.Saver restores another.
    init_data_source: str or None, files to take the first rows from instead: a .csv or .parquet file, a directory of them,
      or a pattern such as "/data/rows-*.csv". Their first column is the id; the row stands in the columns after it, or in the
      second as a list, or as text with blanks, commas, semicolons or bars between the numbers. A first line of a .csv
      that begins with no integer names the columns. Ids that are in no file start from their initial rows, as ever; those that
      are count as admitted by a filter. In a graph the initializer reads the files, in the process that made the graph.

  Raises:
    ValueError: tensor_name_in_ckpt or always_load_from_specific_ckpt without ckpt_to_load_from; init_data_source beside it.

  Source: DeepRec's CheckpointOption, whose init_data_source is the name of a table on the platform that it runs on.

  Example:
    >>> CheckpointOption(ckpt_to_load_from="/data/model.ckpt-100").always_load_from_specific_ckpt
    False
  """

  ckpt_to_load_from: Optional[str] = None
  tensor_name_in_ckpt: Optional[str] = None
  always_load_from_specific_ckpt: bool = False
  init_data_source: Optional[str] = None

  def __post_init__(self):
    if self.ckpt_to_load_from is None and (self.tensor_name_in_ckpt is not None or self.always_load_from_specific_ckpt):
      raise ValueError("CheckpointOption.ckpt_to_load_from: expected a checkpoint's prefix beside tensor_name_in_ckpt and "
                       "always_load_from_specific_ckpt, got None.")
    for name in ("ckpt_to_load_from", "tensor_name_in_ckpt", "init_data_source"):
      if getattr(self, name) is not None:
        _check_type("CheckpointOption", name, getattr(self, name), (str, os.PathLike), "a str or None")
    _check_type("CheckpointOption", "always_load_from_specific_ckpt", self.always_load_from_specific_ckpt, bool, "a bool")
    if self.init_data_source is not None and self.ckpt_to_load_from is not None:
      raise ValueError("CheckpointOption.init_data_source: expected one source of the first content, got "
                       f"ckpt_to_load_from={self.ckpt_to_load_from!r} beside it.")


@dataclasses.dataclass(frozen=True)
class EmbeddingVariableOption:
  """All that get_embedding_variable can be asked for beyond name, dim, types and initializer.

  Args:
    ht_type: str, "" or "normal". DeepRec's choice of a hash table; there is one here.
    ht_partition_num: int >= 1, default 1000. DeepRec's parts of a hash table; has no effect here, where a table splits
      itself as it grows.
    evict_option: GlobalStepEvict, L2WeightEvict or None.
    ckpt: CheckpointOption or None.
    filter_option: CounterFilter, CBFFilter or None.
    storage_option: StorageOption.
    init_option: InitializerOption.
    record_frequency: bool or None, keep how often updates named each id. None means yes with a filter, and else asks the
      environment's TF_RECORD_FREQ ("1" means yes). Costs 8 bytes a row, for frequency and version together.
    record_version: bool or None, keep the global step of each row's last update. None means yes with a GlobalStepEvict, and
      else asks TF_RECORD_VERSION.

  Raises:
    ValueError: an option of the wrong class; a GlobalStepEvict with record_version=False.

  Source: DeepRec's EmbeddingVariableOption; the two record_* are ours.

  Example:
    >>> EmbeddingVariableOption(init_option=InitializerOption(default_value_dim=8)).storage_option.effective_type.name
    'DRAM'
  """

  ht_type: str = ""
  ht_partition_num: int = 1000
  evict_option: Union[GlobalStepEvict, L2WeightEvict, None] = None
  ckpt: Optional[CheckpointOption] = None
  filter_option: Union[CounterFilter, CBFFilter, None] = None
  storage_option: StorageOption = StorageOption()
  init_option: InitializerOption = InitializerOption()
  record_frequency: Optional[bool] = None
  record_version: Optional[bool] = None

  def __post_init__(self):
    if self.ht_type not in ("", "normal"):
      raise ValueError(f'EmbeddingVariableOption.ht_type: expected "" or "normal", got {self.ht_type!r}.')
    _check_count("EmbeddingVariableOption", "ht_partition_num", self.ht_partition_num, minimum=1)
    for name, kinds, required in (("evict_option", (GlobalStepEvict, L2WeightEvict), False),
                                  ("ckpt", (CheckpointOption,), False),
                                  ("filter_option", (CounterFilter, CBFFilter), False),
                                  ("storage_option", (StorageOption,), True),
                                  ("init_option", (InitializerOption,), True),
                                  ("record_frequency", (bool,), False),
                                  ("record_version", (bool,), False)):
      value = getattr(self, name)
      if not isinstance(value, kinds) and (required or value is not None):
        expected = " or ".join(kind.__name__ for kind in kinds) + ("" if required else " or None")
        raise ValueError(f"EmbeddingVariableOption.{name}: expected {expected}, got {value!r}.")
    if self.record_version is False and _ages(self):
      raise ValueError("EmbeddingVariableOption.record_version: expected True or None beside a GlobalStepEvict, which needs "
                       "versions, got False.")


def _recorded(choice, needed, environment_name):
  if choice is not None:
    return choice
  value = os.environ.get(environment_name, "0")
  if value not in ("0", "1"):
    raise ValueError(f"{environment_name}: expected 0 or 1 in the environment, got {value!r}.")
  return needed or value == "1"


def records_frequency(option):
  """Whether a variable with this EmbeddingVariableOption keeps frequencies."""
  filters = option.filter_option is not None and option.filter_option.filter_freq > 0
  return _recorded(option.record_frequency, filters, "TF_RECORD_FREQ")


def records_version(option):
  """Whether a variable with this EmbeddingVariableOption keeps versions."""
  return _recorded(option.record_version, _ages(option), "TF_RECORD_VERSION")


def _ages(option):
  return isinstance(option.evict_option, GlobalStepEvict) and option.evict_option.steps_to_live is not None


def with_older_spellings(option, steps_to_live, init_data_source):
  """The EmbeddingVariableOption that DeepRec's older arguments of get_embedding_variable mean.

  Args:
    option: EmbeddingVariableOption.
    steps_to_live: int or None, for GlobalStepEvict(steps_to_live).
    init_data_source: str or None, for CheckpointOption(init_data_source=...).

  Raises:
    ValueError: the option says something else.
  """
  if steps_to_live is not None:
    warnings.warn("steps_to_live is DeepRec's older spelling: use ev_option=EmbeddingVariableOption(evict_option="
                  "GlobalStepEvict(steps_to_live)).", DeprecationWarning, stacklevel=3)
    evict = GlobalStepEvict(steps_to_live)
    if option.evict_option not in (None, evict):
      raise ValueError(f"steps_to_live={steps_to_live}: expected no other eviction, got {option.evict_option!r}.")
    option = dataclasses.replace(option, evict_option=evict)
  if init_data_source is not None:
    warnings.warn("init_data_source is DeepRec's older spelling: use ev_option=EmbeddingVariableOption(ckpt="
                  "CheckpointOption(init_data_source=...)).", DeprecationWarning, stacklevel=3)
    ckpt = option.ckpt or CheckpointOption()
    option = dataclasses.replace(option, ckpt=dataclasses.replace(ckpt, init_data_source=init_data_source))
  return option


def _why_unavailable(storage_type):
  instead = ", ".join(kind.name for kind in AVAILABLE_STORAGE)
  return (f"StorageType.{storage_type.name} is not in this version of ev_tf: it keeps rows in GPU memory, and this is a build "
          f"without a GPU. Use one of {instead}.")


def check_available(option):
  """Raises NotImplementedError, naming the feature, if `option` asks for one that this version does not have.

  Args:
    option: EmbeddingVariableOption.

  Raises:
    NotImplementedError: the first such feature, and what to use until then.
  """
  storage = option.storage_option
  if storage.effective_type not in AVAILABLE_STORAGE:
    raise NotImplementedError(_why_unavailable(storage.effective_type))
  if storage.layout is not None:
    raise NotImplementedError(f"StorageOption(layout={storage.layout!r}) is not in ev_tf: leave it None.")
  source = None if option.ckpt is None else option.ckpt.init_data_source
  if source is not None and "://" in os.fspath(source):
    raise NotImplementedError(f"init_data_source={source!r} names a table of another system, which ev_tf does not read: write "
                              f"it to {' or '.join(DATA_SOURCES)} files, and give their path.")
