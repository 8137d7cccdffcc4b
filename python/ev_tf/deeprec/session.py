"""DeepRec's options of sessions, servers, savers and graphs on stock ones."""

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.ops import variable_scope

from ev_tf import train
from ev_tf.deeprec import notices

_v1 = tf.compat.v1

# Fields that DeepRec added to ConfigProto and its parts, and what is true without them.
IGNORED_FIELDS = {
    "do_smart_stage": "batches are prepared by tf.data alone",
    "do_smart_stage_gpu": "batches are prepared by tf.data alone",
    "do_op_fusion": "ops run as the graph has them",
    "do_async_embedding": "lookups run in the step that needs them, so that no row is read late",
    "async_embedding_options": "lookups run in the step that needs them, so that no row is read late",
    "stage_subgraph_on_cpu": "batches are prepared by tf.data alone",
    "smart_stage_options": "batches are prepared by tf.data alone",
    "executor_policy": "the stock executor runs the graph",
    "enable_mem_opt": "the stock allocator is used",
    "gpu_memory_optimization": "the stock allocator is used",
    "run_cost_model_executor": "the stock executor runs the graph",
    "per_session_devices": "sessions share devices",
    "tensor_buffer_size": "the stock allocator is used",
    "session_group_size": "there is one session",
    "use_per_session_stream": "the stock streams are used",
}
# Fields whose meaning changes what is trained.
REFUSED_FIELDS = {"micro_batch_num": "give the batch size that the gradient is to be taken over"}


class Message:
  """A protocol buffer that also takes the fields that DeepRec added to it.

  Everything else goes to the stock message, as which it also shows itself to isinstance.

  Args:
    message: the stock message.
  """

  def __init__(self, message):
    object.__setattr__(self, "_message", message)

  @property
  def __class__(self):
    return type(self._message)

  def __getattr__(self, name):
    if name in IGNORED_FIELDS:
      notices.ignored(name, IGNORED_FIELDS[name])
      return Sink()
    value = getattr(self._message, name)
    field = type(self._message).DESCRIPTOR.fields_by_name.get(name)
    return Message(value) if field is not None and hasattr(value, "DESCRIPTOR") else value

  def __setattr__(self, name, value):
    if _is_stock(name, value):
      setattr(self._message, name, value)

  def __eq__(self, other):
    return self._message == stock(other)

  def __deepcopy__(self, memo):
    copy = type(self._message)()
    copy.CopyFrom(self._message)
    return Message(copy)

  def __repr__(self):
    return repr(self._message)

  __str__ = __repr__


class Sink:
  """What stands for a part of a message that DeepRec added: takes every field, and keeps none."""

  def __getattr__(self, name):
    if name.startswith("__"):
      raise AttributeError(name)
    return Sink()

  def __setattr__(self, name, value):
    pass

  def __call__(self, *args, **kwargs):
    return Sink()


def stock(message):
  """The stock message in a Message; anything else as it is."""
  return message._message if type(message) is Message else message  # pylint: disable=unidiomatic-typecheck


def _is_stock(name, value):
  """Whether ConfigProto's field `name` is TensorFlow's. One that is DeepRec's is ignored, or refused if it would count."""
  if name in IGNORED_FIELDS:
    notices.ignored(name, IGNORED_FIELDS[name])
    return False
  if name in REFUSED_FIELDS:
    if value not in (0, 1):
      raise notices.missing(f"ConfigProto's {name}", REFUSED_FIELDS[name])
    return False
  return True


def _stock_arguments(kwargs):
  kept = {}
  for name, value in kwargs.items():
    if _is_stock(name, value):
      kept[name] = stock(value)
  return kept


class _Made(type):
  """The type of classes whose objects are Messages of a stock class, and whose other names, enums above all, are its own."""

  def __call__(cls, **kwargs):
    return Message(cls._stock(**_stock_arguments(kwargs)))

  def __getattr__(cls, name):
    return getattr(cls._stock, name)

  def __instancecheck__(cls, instance):
    return isinstance(instance, cls._stock)


class ConfigProto(metaclass=_Made):
  """tf.ConfigProto."""

  _stock = config_pb2.ConfigProto


class GraphOptions(metaclass=_Made):
  """tf.GraphOptions."""

  _stock = config_pb2.GraphOptions


class OptimizerOptions(metaclass=_Made):
  """tf.OptimizerOptions."""

  _stock = config_pb2.OptimizerOptions


def wrap_session_init(original):
  """BaseSession.__init__ that takes a Message."""

  def __init__(self, target="", graph=None, config=None):
    return original(self, target, graph, stock(config))

  return __init__


class Server(_v1.train.Server):
  """tf.train.Server; DeepRec's protocols become grpc."""

  def __init__(self, server_or_cluster_def, job_name=None, task_index=None, protocol=None, config=None, start=True):
    super().__init__(server_or_cluster_def, job_name, task_index, _protocol(protocol), stock(config), start)


def _protocol(name):
  if name in ("grpc++", "star_server", "star_server_lite", "seastar"):
    notices.ignored(f"protocol {name!r}", "servers talk gRPC")
    return "grpc"
  return name


def _known_increments(kwargs, known):
  """Takes arguments of incremental checkpoints that have no meaning here out of kwargs."""
  for name in [name for name in kwargs if name.startswith(("save_incremental_", "incremental_")) and name not in known]:
    if kwargs.pop(name):
      notices.ignored(name, "increments are saved as ev_tf.train.Saver does")
  return kwargs


class Saver(train.Saver):
  """tf.train.Saver, with ev_tf's incremental checkpoints."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **_known_increments(kwargs, ("incremental_save_restore", "incremental_include_normal_var")))


def MonitoredTrainingSession(*args, **kwargs):  # pylint: disable=invalid-name
  """tf.train.MonitoredTrainingSession, with ev_tf's incremental checkpoints."""
  kwargs = _known_increments(kwargs, ("save_incremental_checkpoint_secs",))
  scaffold = kwargs.get("scaffold")
  saver = scaffold.saver if scaffold is not None else None
  if kwargs.get("save_incremental_checkpoint_secs") and saver is not None and not getattr(saver, "_incremental", False):
    notices.ignored("save_incremental_checkpoint_secs", "the scaffold's Saver was made without incremental_save_restore=True; "
                    "every checkpoint is a whole one")
    del kwargs["save_incremental_checkpoint_secs"]
  return train.MonitoredTrainingSession(*args, **kwargs)


def staged(features, *args, **kwargs):
  """tf.staged: the features as they are."""
  del args, kwargs
  notices.ignored("tf.staged", "a batch is taken in the step that needs it; dataset.prefetch reads ahead")
  return features


def make_prefetch_hook(*args, **kwargs):
  """tf.make_prefetch_hook: a hook that does nothing."""
  del args, kwargs
  notices.ignored("tf.make_prefetch_hook", "tf.data runs its own threads")
  return _v1.train.SessionRunHook()


def enable_distributed_strategy(strategy="parameter_server", *args, **kwargs):
  """tf.config.experimental.enable_distributed_strategy."""
  del args, kwargs
  if strategy == "collective":
    raise notices.missing('enable_distributed_strategy("collective")',
                          "run one process, or a cluster of parameter servers with tf.train.Server")
  notices.ignored(f"enable_distributed_strategy({strategy!r})", "a table is where its device is, and its lookups are local")


def enable_group_embedding(fusion_type="collective"):
  """tf.config.experimental.enable_group_embedding: enable_distributed_strategy under its older name."""
  enable_distributed_strategy(fusion_type)


class variable_scope_1(variable_scope.variable_scope):  # pylint: disable=invalid-name
  """tf.variable_scope with DeepRec's keep_weights."""

  def keep_weights(self, dtype=tf.float32):
    """Variables of the scope are of this type whatever type is asked for; what is read is cast to that.

    Args:
      dtype: type of the variables, default tf.float32.
    """
    return _KeptWeights(self, tf.as_dtype(dtype))


class _KeptWeights:
  """The context manager of variable_scope.keep_weights."""

  def __init__(self, scope, dtype):
    self._scope = scope
    self._dtype = dtype

  def __enter__(self):
    entered = self._scope.__enter__()
    outer = entered.custom_getter

    def get(getter, name, *args, **kwargs):
      if outer is not None:
        inner, getter = getter, lambda *a, **k: outer(inner, *a, **k)
      wanted = tf.as_dtype(kwargs.get("dtype") or tf.float32)
      if not wanted.is_floating or wanted == self._dtype:
        return getter(name, *args, **kwargs)
      return tf.cast(getter(name, *args, **{**kwargs, "dtype": self._dtype}), wanted)

    entered.set_custom_getter(get)
    return entered

  def __exit__(self, *error):
    return self._scope.__exit__(*error)
