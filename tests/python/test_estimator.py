"""Estimators over embedding variables: TensorFlow 2.15, the last that has them."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import feature_column, table_file

if not hasattr(tf, "estimator"):
  pytest.skip(f"TensorFlow {tf.__version__} has no Estimators; 2.15 is the last with them", allow_module_level=True)

v1, fc = tf.compat.v1, tf.feature_column
BASE = 1 << 40  # no vocabulary has these ids


def examples():
  rng = np.random.default_rng(0)
  ids = rng.integers(0, 50, [256, 1])
  return {"id": ids + BASE, "x": rng.random([256, 1]).astype(np.float32)}, (ids % 2).astype(np.int32)


def input_fn():
  return tf.data.Dataset.from_tensor_slices(examples()).repeat().batch(64)


def eval_fn():
  return tf.data.Dataset.from_tensor_slices(examples()).batch(64)


def serving():
  inputs = {"id": v1.placeholder(tf.int64, [None, 1], "id"), "x": v1.placeholder(tf.float32, [None, 1], "x")}
  return tf.estimator.export.ServingInputReceiver(inputs, inputs)


def sparse(partition_num=None):
  return feature_column.categorical_column_with_embedding("id", tf.int64, partition_num)


def dense(partition_num=None):
  return [fc.embedding_column(sparse(partition_num), 4), fc.numeric_column("x")]


def custom_model_fn(features, labels, mode):
  net = v1.feature_column.input_layer(features, dense())
  logits = v1.layers.dense(net, 1, kernel_initializer=v1.ones_initializer())
  predictions = {"logits": logits}
  if mode == tf.estimator.ModeKeys.PREDICT:
    outputs = {"serving_default": tf.estimator.export.PredictOutput(predictions)}
    return tf.estimator.EstimatorSpec(mode, predictions, export_outputs=outputs)
  loss = v1.losses.sigmoid_cross_entropy(labels, logits)
  accuracy = v1.metrics.accuracy(labels, tf.cast(logits > 0, tf.int32))
  update = v1.train.AdagradOptimizer(0.5).minimize(loss, v1.train.get_global_step())
  return tf.estimator.EstimatorSpec(mode, predictions, loss, update, eval_metric_ops={"accuracy": accuracy})


def custom(model_dir):
  return tf.estimator.Estimator(custom_model_fn, str(model_dir))


def dnn(model_dir):
  return tf.estimator.DNNClassifier([16], dense(), str(model_dir), optimizer=lambda: tf.keras.optimizers.legacy.Adagrad(0.5))


def dnn_v1(model_dir):
  return v1.estimator.DNNClassifier([16], dense(2), str(model_dir), optimizer=lambda: v1.train.AdagradOptimizer(0.5))


def linear(model_dir):
  return tf.estimator.LinearClassifier([sparse(), fc.numeric_column("x")], str(model_dir))


def linear_v1(model_dir):
  return v1.estimator.LinearClassifier([sparse(2), fc.numeric_column("x")], str(model_dir))


def combined(model_dir):
  return tf.estimator.DNNLinearCombinedClassifier(
      str(model_dir), [sparse()], dnn_feature_columns=dense(), dnn_hidden_units=[16],
      dnn_optimizer=lambda: tf.keras.optimizers.legacy.Adagrad(0.5))


def combined_v1(model_dir):
  return v1.estimator.DNNLinearCombinedClassifier(
      str(model_dir), [sparse()], dnn_feature_columns=dense(), dnn_hidden_units=[16],
      dnn_optimizer=lambda: v1.train.AdagradOptimizer(0.5))


def slowly(make):
  return pytest.param(make, marks=pytest.mark.slow, id=make.__name__)


def contents(model_dir):
  """{variable: {id: row}} of the newest checkpoint."""
  path = tf.train.latest_checkpoint(str(model_dir))
  dims = {"linear": 1, "linear_model": 1}
  tables = {}
  for name in {file.tensor.removesuffix("-table").split("/part_")[0] for file in table_file.table_files(path)}:
    option = ev_tf.EmbeddingVariableOption(ckpt=ev_tf.CheckpointOption(path, name))
    rows = ev_tf.get_embedding_variable("probe", dims.get(name.split("/")[0], 4), ev_option=option).export()
    tables[name] = dict(zip(rows.keys.numpy(), rows.values.numpy()))
  return tables


def content(model_dir):
  """{id: row} of the one table in the newest checkpoint."""
  (rows,) = contents(model_dir).values()
  return rows


@pytest.mark.parametrize("make", [custom, dnn, linear_v1, combined, slowly(dnn_v1), slowly(linear), slowly(combined_v1)],
                         ids=lambda make: make.__name__)
def test_trains_evaluates_continues_and_exports(make, tmp_path):
  make(tmp_path).train(input_fn, steps=40)
  tables = contents(tmp_path)
  assert tables, "no table in the checkpoint"
  for rows in tables.values():
    assert set(rows) <= set(range(BASE, BASE + 50)) and len(rows) > 40
  estimator = make(tmp_path)  # as a new process: from the checkpoint
  before = estimator.evaluate(eval_fn)
  estimator.train(input_fn, steps=40)
  after = estimator.evaluate(eval_fn)
  assert (before["global_step"], after["global_step"]) == (40, 80)
  assert after["accuracy"] > 0.95 and after["loss"] < before["loss"]
  ids, labels = examples()
  logits = {}
  for kind in (contextlib.nullcontext, ev_tf.serving.frozen):
    with kind():
      exported = estimator.export_saved_model(str(tmp_path / kind.__name__), serving).decode()
    with tf.Graph().as_default(), v1.Session() as session:
      signatures = v1.saved_model.load(session, ["serve"], exported).signature_def
      signature = signatures.get("predict") or signatures["serving_default"]
      logits[kind] = session.run(signature.outputs["logits"].name, {signature.inputs[name].name: ids[name] for name in ids})
  assert np.mean((logits[contextlib.nullcontext] > 0) == labels) == pytest.approx(after["accuracy"], abs=1e-6)
  np.testing.assert_array_equal(logits[ev_tf.serving.frozen], logits[contextlib.nullcontext])




def test_a_restart_trains_on_as_if_it_had_not_stopped(tmp_path):
  def start(name):
    config = tf.estimator.RunConfig(tf_random_seed=1)
    return tf.estimator.Estimator(custom_model_fn, str(tmp_path / name), config=config)

  start("whole").train(input_fn, steps=16)
  start("parts").train(input_fn, steps=8)  # two passes of four batches
  start("parts").train(input_fn, steps=8)
  whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
  assert whole.keys() == parts.keys()
  for key, row in whole.items():
    np.testing.assert_allclose(parts[key], row, rtol=1e-5, atol=1e-6)


def test_train_and_evaluate(tmp_path):
  estimator = dnn_v1(tmp_path)
  result, _ = tf.estimator.train_and_evaluate(
      estimator, tf.estimator.TrainSpec(input_fn, max_steps=60),
      tf.estimator.EvalSpec(eval_fn, steps=None, throttle_secs=0, start_delay_secs=0))
  assert result["global_step"] == 60 and result["accuracy"] > 0.9


def test_evaluation_inserts_no_row(tmp_path):
  custom(tmp_path).train(input_fn, steps=5)
  strangers = lambda: tf.data.Dataset.from_tensors(({"id": [[3], [4]], "x": [[0.0], [0.0]]}, [[0], [1]]))
  custom(tmp_path).evaluate(strangers)
  list(custom(tmp_path).predict(strangers))
  custom(tmp_path).train(input_fn, steps=1)
  assert min(content(tmp_path)) >= BASE


def test_a_warm_start(tmp_path):
  custom(tmp_path / "old").train(input_fn, steps=60)
  results = []
  for name, settings in (("cold", None), ("warm", tf.estimator.WarmStartSettings(str(tmp_path / "old")))):
    estimator = tf.estimator.Estimator(custom_model_fn, str(tmp_path / name), warm_start_from=settings)
    estimator.train(input_fn, steps=1)
    results.append(estimator.evaluate(eval_fn)["loss"])
  assert results[1] < 0.5 * results[0]
