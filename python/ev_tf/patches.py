"""Every place where ev_tf changes TensorFlow or Keras, in one list.

Stock optimizers update a variable by reading it, or by calling an op on slot variables of its shape; neither can be done
to a table. So the few methods through which they do that look first whether the variable is an EmbeddingVariable. For any
other variable the original is called with what it was given.

A patch waits until the program itself has imported the module, and is made once. Those of feature columns wait for
ev_tf.feature_column, too.
"""

import dataclasses
import functools
import importlib
import sys
import threading


@dataclasses.dataclass(frozen=True)
class Patch:
  """One attribute that is replaced.

  Args:
    module: str, the module that has it.
    owner: str, the class in the module, or "" for the module itself.
    attribute: str, name of the function, or of a constant.
    wrapper: "module:function"; the function takes the original and gives its replacement.
    reason: str, what stock code does to a table without it.
    major: str, the first number of the version of the module's package that has the attribute; "" for any.
  """

  module: str
  owner: str
  attribute: str
  wrapper: str
  reason: str
  major: str = ""

  def __str__(self):
    return ".".join(part for part in (self.module, self.owner, self.attribute) if part)


_V1 = "tensorflow.python.training.optimizer"
_SAVER = "tensorflow.python.training.saver"
_FUNCTIONAL_SAVER = "tensorflow.python.checkpoint.functional_saver"
_KERAS3 = "keras.src.backend.tensorflow.optimizer"


def _keras2(package):
  new, old = f"{package}.src.optimizers.optimizer", f"{package}.src.optimizers.legacy.optimizer_v2"
  rules = "ev_tf.optimizers.tf_keras"
  return (
      Patch(new, "_BaseOptimizer", "_update_step", f"{rules}:wrap_update_step", "updates by assign", "2"),
      Patch(new, "_BaseOptimizer", "_update_step_xla", f"{rules}:wrap_update_step", "updates by assign, compiled", "2"),
      Patch(new, "_BaseOptimizer", "_apply_weight_decay", f"{rules}:wrap_weight_decay", "multiplies the whole table", "2"),
      Patch(new, "Optimizer", "_apply_weight_decay", f"{rules}:wrap_weight_decay", "multiplies the whole table", "2"),
      Patch(new, "Optimizer", "add_variable_from_reference", f"{rules}:wrap_add_variable", "makes dense slots", "2"),
      Patch(old, "OptimizerV2", "add_slot", f"{rules}:wrap_add_slot", "makes dense slots", "2"),
      Patch(old, "OptimizerV2", "_resource_apply_sparse_duplicate_indices", f"{rules}:wrap_apply_sparse",
            "updates dense slots", "2"),
      Patch(f"{package}.src.optimizers.legacy.gradient_descent", "SGD", "_resource_apply_sparse_duplicate_indices",
            f"{rules}:wrap_apply_sparse", "has a scatter of its own", "2"),
  )


def _feature_columns():
  new, old = "tensorflow.python.feature_column.feature_column_v2", "tensorflow.python.feature_column.feature_column"
  hooks, groups = "ev_tf.feature_column.hooks", "ev_tf.feature_column.groups"
  return (
      Patch(new, "EmbeddingColumn", "__new__", f"{groups}:wrap_new_column", "does not know the scope that it was made in"),
      Patch(old, "", "_internal_input_layer", f"{groups}:wrap_input_layer", "looks columns of a group up one by one"),
      Patch(new, "EmbeddingColumn", "create_state", f"{hooks}:wrap_create_state", "makes a dense variable"),
      Patch(new, "EmbeddingColumn", "_old_get_dense_tensor_internal", f"{hooks}:wrap_get_dense_tensor",
            "makes a dense variable"),
      Patch(new, "SharedEmbeddingColumn", "_get_dense_tensor_internal", f"{hooks}:wrap_get_shared_tensor",
            "makes a dense variable"),
      Patch(old, "_SharedEmbeddingColumn", "_get_dense_tensor_internal", f"{hooks}:wrap_get_shared_tensor",
            "makes a dense variable"),
      Patch(new, "_StateManagerImpl", "create_variable", f"{hooks}:wrap_create_variable", "makes dense weights"),
      Patch(old, "_FCLinearWrapper", "build", f"{hooks}:wrap_build_linear", "makes dense weights"),
      Patch(old, "", "_create_categorical_column_weighted_sum", f"{hooks}:wrap_weighted_sum", "makes dense weights"),
      Patch("tensorflow_estimator.python.estimator.canned.linear", "", "_compute_fraction_of_zero",
            f"{hooks}:wrap_fraction_of_zero", "reads whole variables for a summary"),
  )


PATCHES = (
    Patch("tensorflow.python.training.device_setter", "", "STANDARD_PS_OPS", "ev_tf.placement:with_tables",
          "leaves a table on the worker, so that each worker trains one of its own"),
    Patch(_V1, "", "_get_processor", "ev_tf.optimizers.v1:wrap_get_processor", "knows VarHandleOp only"),
    Patch(_V1, "Optimizer", "apply_gradients", "ev_tf.optimizers.v1:wrap_apply_gradients",
          "does not hand global_step on, which becomes the rows' version"),
    Patch(_V1, "Optimizer", "_get_or_make_slot", "ev_tf.optimizers.v1:wrap_get_or_make_slot", "makes dense slots"),
    Patch(_V1, "Optimizer", "_get_or_make_slot_with_initializer",
          "ev_tf.optimizers.v1:wrap_get_or_make_slot_with_initializer", "makes dense slots"),
    Patch(_V1, "Optimizer", "_zeros_slot", "ev_tf.optimizers.v1:wrap_zeros_slot", "makes dense slots"),
    Patch(_KERAS3, "TFOptimizer", "add_variable_from_reference", "ev_tf.optimizers.keras3:wrap_add_variable",
          "makes dense slots", "3"),
    Patch(_KERAS3, "TFOptimizer", "_backend_update_step", "ev_tf.optimizers.keras3:wrap_update_step",
          "updates by assign", "3"),
    Patch(_KERAS3, "TFOptimizer", "_apply_weight_decay", "ev_tf.optimizers.keras3:wrap_weight_decay",
          "multiplies the whole table", "3"),
    Patch(_KERAS3, "TFOptimizer", "_backend_apply_gradients", "ev_tf.optimizers.keras3:wrap_apply_gradients",
          "does not tell _clip_gradients whose gradients they are", "3"),
    Patch(_KERAS3, "TFOptimizer", "_clip_gradients", "ev_tf.optimizers.keras3:wrap_clip_gradients",
          "makes the gradient dense", "3"),
    Patch("tensorflow.python.training.saving.saveable_object_util", "", "saveable_objects_for_op",
          "ev_tf.saver:wrap_saveable_objects_for_op", "does not tell a variable the name that the Saver was given for it"),
    Patch(_SAVER, "BaseSaverBuilder", "save_op", "ev_tf.saver:wrap_save_op", "does not say where to"),
    Patch(_SAVER, "BaseSaverBuilder", "_AddShardedSaveOpsForV2", "ev_tf.saver:wrap_sharded_save",
          "names its temporary files only"),
    Patch(_SAVER, "BaseSaverBuilder", "_AddRestoreOps", "ev_tf.saver:wrap_add_restore_ops", "does not say where from"),
    Patch(_SAVER, "BulkSaverBuilder", "bulk_restore", "ev_tf.saver:wrap_bulk_restore",
          "wants as many parts as were saved"),
    Patch(_FUNCTIONAL_SAVER, "MultiDeviceSaver", "save", "ev_tf.saver:wrap_multi_device", "does not say where to"),
    Patch(_FUNCTIONAL_SAVER, "MultiDeviceSaver", "restore", "ev_tf.saver:wrap_multi_device", "does not say where from"),
    Patch("tensorflow.python.training.checkpoint_utils", "", "_init_from_checkpoint",
          "ev_tf.warm_start:wrap_init_from_checkpoint", "looks for a dense tensor"),
    Patch("tensorflow.python.training.warm_starting_util", "", "_infer_var_name", "ev_tf.warm_start:wrap_infer_var_name",
          "takes a part for a variable, and an output's name for its name"),
    Patch("tensorflow.python.saved_model.save", "", "save_and_return_nodes", "ev_tf.saver:wrap_saved_model",
          "traces functions that restore, which cannot know a file's name"),
    *_keras2("keras"),
    *_keras2("tf_keras"),
)

FEATURE_COLUMN_PATCHES = _feature_columns()  # made once ev_tf.feature_column is imported

_lock = threading.Lock()
_waiting = list(PATCHES)


def add(patches):
  """Makes these patches too: a list of this file that was not asked for until now."""
  with _lock:
    _waiting.extend(patches)
  apply()


def apply():
  """Makes the patches of all modules that the program has imported by now.

  Raises:
    ImportError: a module does not have what is to be patched, so that this version of it is not known to ev_tf.
  """
  if not any(patch.module in sys.modules for patch in _waiting):
    return
  with _lock:
    for patch in [patch for patch in _waiting if patch.module in sys.modules]:
      if _is_meant(patch):
        _make(patch)
      _waiting.remove(patch)


def _is_meant(patch):
  """Whether the imported package has the version that the patch is for: Keras 2 and Keras 3 share module names."""
  if not patch.major:
    return True
  package = sys.modules.get(patch.module.split(".")[0])
  return getattr(package, "__version__", patch.major).split(".")[0] == patch.major


def _make(patch):
  module = sys.modules[patch.module]
  owner = getattr(module, patch.owner, None) if patch.owner else module
  original = getattr(owner, patch.attribute, None)
  if original is None:
    raise ImportError(f"ev_tf cannot make {patch.module.split('.')[0]} take an EmbeddingVariable: {patch} does "
                      "not exist in the version that is installed. See ev_tf's README for the versions it supports.")
  wrapper_module, function = patch.wrapper.split(":")
  replacement = getattr(importlib.import_module(wrapper_module), function)(original)
  if callable(original):
    functools.update_wrapper(replacement, original)
  setattr(owner, patch.attribute, replacement)
