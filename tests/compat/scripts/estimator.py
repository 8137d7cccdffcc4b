"""An Estimator with a model function of its own, and a canned one, over embedding variables: train, evaluate, export, go on."""

import os
import sys

import numpy as np
import tensorflow as tf

import data

tf.logging.set_verbosity(tf.logging.ERROR)
FOLDER, BATCH = sys.argv[1], 64


def input_fn(epochs=None):
  features, label = data.clicks(640)
  return tf.data.Dataset.from_tensor_slices((features, label.astype(np.float32))).repeat(epochs).batch(BATCH)


def columns():
  option = tf.EmbeddingVariableOption(filter_option=tf.CBFFilter(filter_freq=2, max_element_size=2**14,
                                                                 false_positive_probability=0.01, counter_type=tf.int64))
  with tf.feature_column.group_embedding_column_scope(name="categorical"):
    found = [tf.feature_column.embedding_column(
        tf.feature_column.categorical_column_with_embedding(name, ev_option=option), 8) for name in data.CATEGORIES]
  return found + [tf.feature_column.numeric_column(name) for name in data.NUMBERS]


def model_fn(features, labels, mode, params):
  with tf.variable_scope("input", partitioner=tf.fixed_size_partitioner(params["parts"])):
    net = tf.feature_column.input_layer(features, params["columns"])
  net = tf.layers.dense(net, 16, activation=tf.nn.relu)
  logits = tf.squeeze(tf.layers.dense(net, 1), 1)
  predictions = {"probability": tf.sigmoid(logits)}
  if mode == tf.estimator.ModeKeys.PREDICT:
    outputs = {"serving_default": tf.estimator.export.PredictOutput(predictions)}
    return tf.estimator.EstimatorSpec(mode, predictions=predictions, export_outputs=outputs)
  loss = tf.losses.sigmoid_cross_entropy(labels, logits)
  metrics = {"auc": tf.metrics.auc(labels, predictions["probability"])}
  if mode == tf.estimator.ModeKeys.EVAL:
    return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
  step = tf.train.get_global_step()
  optimizer = tf.train.AdagradDecayOptimizer(0.2, global_step=step)
  return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=optimizer.minimize(loss, global_step=step))


def serving():
  features = {name: tf.placeholder(tf.float32, [None], name) for name in data.NUMBERS}
  features.update({name: tf.placeholder(tf.string, [None], name) for name in data.CATEGORIES})
  return tf.estimator.export.ServingInputReceiver(features, features)


config = tf.estimator.RunConfig(save_checkpoints_steps=40, keep_checkpoint_max=2, tf_random_seed=1,
                                session_config=tf.ConfigProto(allow_soft_placement=True))
make = lambda: tf.estimator.Estimator(model_fn, os.path.join(FOLDER, "own"), config, {"columns": columns(), "parts": 2})
first = make().train(input_fn, steps=5).evaluate(lambda: input_fn(1))
tf.estimator.train_and_evaluate(make(), tf.estimator.TrainSpec(input_fn, max_steps=80),
                                tf.estimator.EvalSpec(lambda: input_fn(1), steps=None, throttle_secs=0, start_delay_secs=0))
last = make().evaluate(lambda: input_fn(1))
assert last["global_step"] == 80 and last["auc"] > 0.95, last
exported = make().export_saved_model(os.path.join(FOLDER, "exported"), serving)
predicted = [row["probability"] for row, _ in zip(make().predict(lambda: input_fn(1)), range(8))]
full = data.clicks(640)[0]
with tf.Session(graph=tf.Graph()) as sess:
  loaded = tf.saved_model.loader.load(sess, [tf.saved_model.tag_constants.SERVING], exported)
  signature = loaded.signature_def["serving_default"]
  served = sess.run(signature.outputs["probability"].name, {signature.inputs[name].name: full[name][:8] for name in full})
np.testing.assert_allclose(served, predicted, rtol=1e-5)

canned = tf.estimator.DNNClassifier([16], columns(), os.path.join(FOLDER, "canned"), config=config,
                                    optimizer=lambda: tf.train.AdagradDecayOptimizer(0.2, tf.train.get_global_step()))
canned.train(input_fn, steps=60)
assert canned.evaluate(lambda: input_fn(1))["auc"] > 0.9
print("first loss %.6f last loss %.6f" % (first["loss"], last["loss"]))
