"""The flags of DeepRec's model zoo that concern embedding variables, and what they make."""

import argparse

import tensorflow as tf
from tensorflow.core.framework.embedding import config_pb2
from tensorflow.python.ops import partitioned_variables


def boolean(text):
  return text.lower() == "true"


def parser():
  flags = argparse.ArgumentParser()
  flags.add_argument("--steps", type=int, default=20)
  flags.add_argument("--batch_size", type=int, default=32)
  flags.add_argument("--checkpoint", default="")
  flags.add_argument("--optimizer", default="adagrad",
                     choices=["adam", "adamasync", "adagraddecay", "adagraddecayv2", "adamw", "adagrad", "ftrl", "gradientdescent"])
  flags.add_argument("--learning_rate", type=float, default=0.1)
  flags.add_argument("--ev", type=boolean, default=False)
  flags.add_argument("--ev_elimination", choices=["l2", "gstep"])
  flags.add_argument("--ev_filter", choices=["counter", "cbf"])
  flags.add_argument("--ev_storage", default="dram")
  flags.add_argument("--ev_storage_path")
  flags.add_argument("--ev_storage_size", type=int, nargs="*", default=[1024, 1024])
  flags.add_argument("--adaptive_emb", type=boolean, default=False)
  flags.add_argument("--multihash", type=boolean, default=False)
  flags.add_argument("--emb_fusion", type=boolean, default=True)
  flags.add_argument("--group_embedding", action="store_true")
  flags.add_argument("--smartstaged", type=boolean, default=True)
  flags.add_argument("--op_fusion", type=boolean, default=True)
  flags.add_argument("--micro_batch", type=int, default=0)
  flags.add_argument("--incremental_ckpt", type=int, default=0)
  flags.add_argument("--input_layer_partitioner", type=int, default=0)
  flags.add_argument("--dense_layer_partitioner", type=int, default=0)
  flags.add_argument("--bf16", action="store_true")
  return flags


def ev_option(args):
  evict = None
  if args.ev_elimination == "gstep":
    evict = tf.GlobalStepEvict(steps_to_live=4000)
  elif args.ev_elimination == "l2":
    evict = tf.L2WeightEvict(l2_weight_threshold=1.0)
  admit = None
  if args.ev_filter == "cbf":
    admit = tf.CBFFilter(filter_freq=3, max_element_size=2**16, false_positive_probability=0.01, counter_type=tf.int64)
  elif args.ev_filter == "counter":
    admit = tf.CounterFilter(filter_freq=3)
  kinds = {"dram": config_pb2.StorageType.DRAM, "dram_ssdhash": config_pb2.StorageType.DRAM_SSDHASH,
           "pmem_libpmem": config_pb2.StorageType.PMEM_LIBPMEM, "dram_leveldb": config_pb2.StorageType.DRAM_LEVELDB}
  path = args.ev_storage_path if args.ev_storage != "dram" else None
  storage = tf.StorageOption(storage_type=kinds[args.ev_storage], storage_path=path, storage_size=args.ev_storage_size)
  return tf.EmbeddingVariableOption(evict_option=evict, filter_option=admit, storage_option=storage)


def optimizer(args, global_step):
  rate = args.learning_rate
  if args.optimizer == "adam":
    return tf.train.AdamOptimizer(rate, beta1=0.9, beta2=0.999, epsilon=1e-8)
  if args.optimizer == "adamasync":
    return tf.train.AdamAsyncOptimizer(rate, beta1=0.9, beta2=0.999, epsilon=1e-8)
  if args.optimizer == "adagraddecay":
    return tf.train.AdagradDecayOptimizer(rate, global_step=global_step)
  if args.optimizer == "adagraddecayv2":
    return tf.train.AdagradDecayOptimizerV2(rate, global_step=global_step)
  if args.optimizer == "adamw":
    return tf.train.AdamWOptimizer(weight_decay=0.001, learning_rate=rate)
  if args.optimizer == "ftrl":
    return tf.train.FtrlOptimizer(rate, l1_regularization_strength=0.0, l2_regularization_strength=0.0)
  if args.optimizer == "gradientdescent":
    return tf.train.GradientDescentOptimizer(rate)
  return tf.train.AdagradOptimizer(rate, initial_accumulator_value=0.1, use_locking=False)


def input_partitioner(args):
  return partitioner(args.input_layer_partitioner)


def partitioner(parts):
  return partitioned_variables.min_max_variable_partitioner(max_partitions=parts, min_slice_size=1) if parts else None


def session_config(args, hooks):
  config = tf.ConfigProto(allow_soft_placement=True)
  assert isinstance(config, tf.ConfigProto) and tf.ConfigProto.FromString(config.SerializeToString()) == config
  config.inter_op_parallelism_threads = 2
  config.intra_op_parallelism_threads = 2
  if args.smartstaged:
    config.graph_options.optimizer_options.do_smart_stage = True
    hooks.append(tf.make_prefetch_hook())
  if args.op_fusion:
    config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.OFF
    config.graph_options.optimizer_options.do_op_fusion = True
  if args.micro_batch:
    config.graph_options.optimizer_options.micro_batch_num = args.micro_batch
  return config


def train(args, loss, train_op, global_step, hooks):
  """Trains for args.steps steps, prints the first and last losses."""
  losses = []
  config = session_config(args, hooks)
  scaffold = tf.train.Scaffold(local_init_op=tf.group(tf.local_variables_initializer(), tf.tables_initializer()),
                               saver=tf.train.Saver(max_to_keep=1))
  extra = {"save_incremental_checkpoint_secs": args.incremental_ckpt} if args.incremental_ckpt else {}
  hooks += [tf.train.StopAtStepHook(last_step=args.steps),
            tf.train.LoggingTensorHook({"steps": global_step, "loss": loss}, every_n_iter=10)]
  with tf.train.MonitoredTrainingSession(master="", is_chief=True, hooks=hooks, scaffold=scaffold, config=config,
                                         checkpoint_dir=args.checkpoint or None, save_checkpoint_steps=args.steps,
                                         summary_dir=args.checkpoint or None, save_summaries_steps=args.steps,
                                         **extra) as sess:
    while not sess.should_stop():
      losses.append(float(sess.run([loss, train_op])[0]))
  if losses:
    print("first loss %.6f last loss %.6f" % (sum(losses[:3]) / 3, sum(losses[-3:]) / 3))
