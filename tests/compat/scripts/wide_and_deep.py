"""Wide & Deep in the manner of the model zoo: feature columns, two optimizers, a monitored session."""

import tensorflow as tf
from tensorflow.python.client import timeline  # noqa: F401

import data
import options

tf.logging.set_verbosity(tf.logging.ERROR)
print("Using TensorFlow version %s" % (tf.__version__))


class WideAndDeep:

  def __init__(self, args, features, label, wide, deep):
    self.args = args
    partitioner = options.input_partitioner(args)
    with tf.variable_scope("dnn"):
      with tf.variable_scope("input_from_feature_columns", partitioner=partitioner, reuse=tf.AUTO_REUSE):
        if args.adaptive_emb:
          masks = {name: tf.cast(tf.range(args.batch_size) % 2, tf.int32) for name in data.CATEGORIES}
          net = tf.feature_column.input_layer(features=features, feature_columns=deep, adaptive_mask_tensors=masks)
        else:
          net = tf.feature_column.input_layer(features=features, feature_columns=deep)
        self.summary(net, "input_from_feature_columns")
      scope = tf.variable_scope("dnn_layers", reuse=tf.AUTO_REUSE)
      with scope.keep_weights(dtype=tf.float32) if args.bf16 else scope:
        if args.bf16:
          net = tf.cast(net, dtype=tf.bfloat16)
        for i, units in enumerate([16, 8]):
          with tf.variable_scope("hiddenlayer_%d" % i, reuse=tf.AUTO_REUSE) as layer:
            net = tf.layers.dense(net, units=units, activation=tf.nn.relu,
                                  kernel_initializer=tf.glorot_uniform_initializer(), name=layer)
        if args.bf16:
          net = tf.cast(net, dtype=tf.float32)
        with tf.variable_scope("logits") as logits_scope:
          deep_logits = tf.layers.dense(net, units=1, activation=None, name=logits_scope)
    with tf.variable_scope("linear"):
      linear_logits = tf.feature_column.linear_model(units=1, features=features, feature_columns=wide,
                                                     sparse_combiner="sum", weight_collections=None, trainable=True)
    logits = tf.squeeze(tf.add_n([deep_logits, linear_logits]))
    self.probability = tf.math.sigmoid(logits)
    self.loss = tf.losses.sigmoid_cross_entropy(label, logits, scope="loss",
                                                reduction=tf.losses.Reduction.SUM_OVER_BATCH_SIZE)
    tf.summary.scalar("loss", self.loss)
    self.auc, self.auc_op = tf.metrics.auc(labels=label, predictions=self.probability, num_thresholds=100)

  def summary(self, value, tag):
    tf.summary.scalar("%s/fraction_of_zero_values" % tag, tf.nn.zero_fraction(value))
    tf.summary.histogram("%s/activation" % tag, value)

  def train_op(self, global_step):
    deep = options.optimizer(self.args, global_step)
    wide = tf.train.FtrlOptimizer(learning_rate=0.2, l1_regularization_strength=0.0, l2_regularization_strength=0.0)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
      return tf.group(
          deep.minimize(self.loss, var_list=tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, scope="dnn"),
                        global_step=global_step),
          wide.minimize(self.loss, var_list=tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, scope="linear")))


def columns(args):
  wide, deep = [], []
  option = options.ev_option(args)

  def add():
    for name in data.CATEGORIES:
      column = tf.feature_column.categorical_column_with_hash_bucket(name, hash_bucket_size=1000, dtype=tf.string)
      wide.append(column)
      if args.ev:
        column = tf.feature_column.categorical_column_with_embedding(name, dtype=tf.string, ev_option=option)
      elif args.adaptive_emb:
        column = tf.feature_column.categorical_column_with_adaptive_embedding(name, hash_bucket_size=100, dtype=tf.string,
                                                                              ev_option=option)
      elif args.multihash:
        column = tf.feature_column.categorical_column_with_multihash(name, dims=[[100, 4], [100, 4]], dtype=tf.string,
                                                                     complementary_strategy="Q-R", operation="concat")
      fusion = {"do_fusion": True} if args.emb_fusion else {}
      deep.append(tf.feature_column.embedding_column(column, dimension=8, combiner="mean", **fusion))
    for name in data.NUMBERS:
      column = tf.feature_column.numeric_column(name, normalizer_fn=lambda x: (x - 0.5) / 0.3, shape=(1,))
      wide.append(column)
      deep.append(column)

  if args.group_embedding:
    tf.config.experimental.enable_distributed_strategy(strategy="localized")
    with tf.feature_column.group_embedding_column_scope(name="categorical"):
      add()
  else:
    add()
  return wide, deep


def main():
  args = options.parser().parse_args()
  tf.set_random_seed(2021)
  features, label = data.next_batch(args.batch_size)
  hooks = []
  if args.smartstaged:
    features, label = tf.staged((features, label), num_threads=4, capacity=40)
  wide, deep = columns(args)
  model = WideAndDeep(args, features, label, wide, deep)
  global_step = tf.train.get_or_create_global_step()
  options.train(args, model.loss, model.train_op(global_step), global_step, hooks)


if __name__ == "__main__":
  main()
