"""Which names DeepRec adds to TensorFlow 1.15, and what each is here: "module:attribute", under ev_tf unless it says so.

docs/deeprec.md explains the same list; a test holds the two together.
"""

import importlib

_OPTIONS = ("CheckpointOption", "CounterFilter", "EmbeddingVariableOption", "GlobalStepEvict", "InitializerOption",
            "L2WeightEvict", "StorageOption")

# tf.<name>
TOP = {
    **{name: f"options:{name}" for name in _OPTIONS},
    "CBFFilter": "deeprec.arguments:CBFFilter",
    "ConfigProto": "deeprec.session:ConfigProto",
    "GraphOptions": "deeprec.session:GraphOptions",
    "OptimizerOptions": "deeprec.session:OptimizerOptions",
    "get_dynamic_dimension_embedding_variable": "dynamic_dimension:get_dynamic_dimension_embedding_variable",
    "get_embedding_variable": "creation:get_embedding_variable",
    "get_multihash_variable": "multihash:get_multihash_variable",
    "make_prefetch_hook": "deeprec.session:make_prefetch_hook",
    "staged": "deeprec.session:staged",
    "variable_scope": "deeprec.session:variable_scope_1",
}

NN = {name: f"{home}:{name}" for home, names in {
    "adaptive": ("adaptive_embedding_lookup_sparse", "safe_adaptive_embedding_lookup_sparse"),
    "group_lookup": ("group_embedding_lookup", "group_embedding_lookup_sparse"),
    "lookup": ("embedding_lookup", "embedding_lookup_sparse"),
    "deeprec.arguments": ("fused_embedding_lookup_sparse", "fused_safe_embedding_lookup_sparse",
                          "safe_embedding_lookup_sparse"),
}.items() for name in names}

FEATURE_COLUMN = {
    **{name: f"feature_column:{name}" for name in (
        "categorical_column_with_adaptive_embedding", "categorical_column_with_embedding",
        "categorical_column_with_multihash", "group_embedding_column_scope", "input_layer",
        "sequence_categorical_column_with_embedding")},
    "embedding_column": "deeprec.arguments:embedding_column",
    "shared_embedding_columns": "deeprec.arguments:shared_embedding_columns",
}

OPTIMIZERS = {
    "AdagradDecayOptimizer": "train:AdagradDecayOptimizer",
    "AdagradDecayOptimizerV2": "train:AdagradDecayOptimizerV2",
    "AdamAsyncOptimizer": "train:AdamAsyncOptimizer",
    "AdamWOptimizer": "deeprec.optimizers:AdamWOptimizer",
    "FtrlOptimizer": "deeprec.optimizers:FtrlOptimizer",
}

TRAIN = {
    **OPTIMIZERS,
    "IncrementalSaver": "train:IncrementalSaver",
    "MonitoredTrainingSession": "deeprec.session:MonitoredTrainingSession",
    "Saver": "deeprec.session:Saver",
    "Server": "deeprec.session:Server",
}

EXPERIMENTAL_CONFIG = {name: f"deeprec.session:{name}" for name in ("enable_distributed_strategy", "enable_group_embedding")}

_KV = {name: f"kv_variable_ops:{name}" for name in (
    "DynamicEmbeddingVariable", "EmbeddingVariable", "MultiHashVariable", "lookup_resource", "lookup_tier")}
_GETTERS = {name: TOP[name] for name in ("get_dynamic_dimension_embedding_variable", "get_embedding_variable",
                                         "get_multihash_variable")}
_NEW_COLUMNS = {name: home for name, home in FEATURE_COLUMN.items()
                if name not in ("embedding_column", "input_layer", "shared_embedding_columns")}
_VARIABLES = {name: TOP[name] for name in (*_OPTIONS, "CBFFilter")}

_CELLS = {name: f"deeprec.layers:{name}" for name in (
    "BasicLSTMCell", "BasicRNNCell", "DropoutWrapper", "GRUCell", "LSTMCell", "LSTMStateTuple", "MultiRNNCell", "RNNCell")}

# Modules that DeepRec has and TensorFlow has not: module -> its names.
NEW_MODULES = {
    "tensorflow.core.framework.embedding": {},
    "tensorflow.core.framework.embedding.config_pb2": "deeprec.enums",
    "tensorflow.python.ops.kv_variable_ops": _KV,
    "tensorflow.python.training.adagrad_decay": {"AdagradDecayOptimizer": OPTIMIZERS["AdagradDecayOptimizer"]},
    "tensorflow.python.training.adagrad_decay_v2": {"AdagradDecayOptimizerV2": OPTIMIZERS["AdagradDecayOptimizerV2"]},
    "tensorflow.python.training.adam_async": {"AdamAsyncOptimizer": OPTIMIZERS["AdamAsyncOptimizer"]},
    "tensorflow.python.training.weight_decay_optimizers": {"AdamWOptimizer": OPTIMIZERS["AdamWOptimizer"]},
    "tensorflow.python.ops.work_queue": {"WorkQueue": "deeprec.data:WorkQueue"},
    "tensorflow.python.data.experimental.ops.parquet_dataset_ops": {"ParquetDataset": "deeprec.data:ParquetDataset"},
    "tensorflow.contrib": {},
    "tensorflow.contrib.feature_column": "deeprec.contrib_feature_column",
    "tensorflow.contrib.framework": "deeprec.contrib_framework",
    "tensorflow.contrib.layers": "deeprec.contrib_layers",
    "tensorflow.contrib.layers.python": {},
    "tensorflow.contrib.layers.python.layers": "deeprec.contrib_layers",
    "tensorflow.contrib.layers.python.layers.embedding_ops": NN,
    "tensorflow.contrib.layers.python.layers.feature_column": "deeprec.contrib_layers",
    "tensorflow.contrib.layers.python.layers.feature_column_ops": "deeprec.contrib_layers",
    "tensorflow.contrib.rnn": _CELLS,
    "tensorflow.contrib.rnn.python": {},
    "tensorflow.contrib.rnn.python.ops": {},
    "tensorflow.contrib.rnn.python.ops.core_rnn_cell": {"_Linear": "deeprec.layers:Linear", **_CELLS},
}

# Modules that both have: names that DeepRec adds.
MORE_NAMES = {
    "tensorflow.python.ops.embedding_ops": {name: home for name, home in NN.items() if name.startswith(("adaptive", "fused", "group", "safe_adaptive"))},
    "tensorflow.python.ops.variable_scope": _GETTERS,
    "tensorflow.python.ops.variables": _VARIABLES,
    "tensorflow.python.feature_column.feature_column_v2": _NEW_COLUMNS,
    "tensorflow.python.feature_column.feature_column_lib": _NEW_COLUMNS,
}

# Collections that DeepRec adds to tf.GraphKeys.
GRAPH_KEYS = {
    "EMBEDDING_VARIABLES": "embedding_variables",
    "EMBEDDING_VARIABLE_RESTORE_DEPENDENCY": "embedding_variable_restore_dependency",
    "EV_INIT_SLOT_OPS": "embedding_variable_init_slot_ops",
    "EV_INIT_VAR_OPS": "embedding_variable_init_var_ops",
}


def resolve(home):
  """The object that "module:attribute" names."""
  module, attribute = home.split(":")
  return getattr(importlib.import_module(f"ev_tf.{module}"), attribute)


def resolve_all(names):
  """dict of names to objects, from a dict of names to homes, or from a module of ev_tf and its __all__."""
  if isinstance(names, str):
    module = importlib.import_module(f"ev_tf.{names}")
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}
  return {name: resolve(home) for name, home in names.items()}
