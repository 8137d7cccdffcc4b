"""Many threads, one table: no insert and no update is lost."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
THREADS, STEPS, BATCH, IDS = 8, 40, 64, 500


def run_threads(work):
  """work(thread number) in THREADS threads; raises what one of them raised."""
  errors = []

  def guarded(number):
    try:
      work(number)
    except BaseException as error:  # noqa: B902  handed to the main thread
      errors.append(error)

  threads = [threading.Thread(target=guarded, args=[n]) for n in range(THREADS)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  if errors:
    raise errors[0]


def batch(thread, step):
  return np.random.default_rng([thread, step]).integers(-IDS // 2, IDS // 2, BATCH)


def expected_counts():
  """How often each id comes in all batches."""
  return np.unique(np.concatenate([batch(n, s) for n in range(THREADS) for s in range(STEPS)]), return_counts=True)


@pytest.mark.parametrize("mode", ["session", "eager"])
def test_sgd_from_eight_threads_sums_exactly(mode, new_graph):
  keys, counts = expected_counts()
  option = ev_tf.EmbeddingVariableOption(record_frequency=True)
  make = lambda: ev_tf.get_embedding_variable("e", 3, initializer=v1.zeros_initializer(), ev_option=option)
  optimizer = v1.train.GradientDescentOptimizer(0.25)  # exact in float32, whatever the order
  if mode == "session":
    with new_graph() as graph:
      ev, ids = make(), v1.placeholder(tf.int64, [None])
      loss = tf.reduce_sum(tf.gather(ev, ids))
      train_op, size = optimizer.minimize(loss), ev.size()
      results = [tf.gather(ev, keys), size, ev.get_frequency(keys)]
      graph.initialize()

      def work(number):
        for s in range(STEPS):
          graph.run([train_op, loss, size], {ids: batch(number, s)})

      run_threads(work)
      rows, size, frequency = graph.run(results)
  else:
    ev = make()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(ids):
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(ev, ids))
      optimizer.apply_gradients([(tape.gradient(loss, ev), ev)])

    run_threads(lambda number: [step(tf.constant(batch(number, s))) for s in range(STEPS)])
    rows, size, frequency = tf.gather(ev, keys).numpy(), int(ev.size()), ev.get_frequency(keys).numpy()
  assert size == len(keys)
  np.testing.assert_array_equal(frequency, counts)
  np.testing.assert_array_equal(rows, np.repeat(-0.25 * counts[:, None], 3, 1).astype(np.float32))


def test_training_while_others_save_restore_remove_and_look(graph, tmp_path):
  ev = ev_tf.get_embedding_variable("e", 4)
  ids = v1.placeholder(tf.int64, [None])
  rows = tf.gather(ev, ids)
  optimizers = [v1.train.AdagradOptimizer(0.1), v1.train.AdamOptimizer(0.1)]  # the second brings its slots late
  train_ops = [o.minimize(tf.reduce_sum(tf.square(rows))) for o in optimizers]
  remove, export = ev.remove(ids), ev.export()
  saver = v1.train.Saver([ev])
  graph.initialize()
  path = saver.save(graph.session, str(tmp_path / "m"))

  def work(number):
    for s in range(STEPS // 2):
      feed = {ids: batch(number, s)}
      if number < 4:
        graph.run(train_ops[number % 2], feed)
      elif number == 4:
        graph.run(remove, feed)
      elif number == 5:
        keys, values = graph.run(export)[:2]
        assert len(keys) == len(values) == len(np.unique(keys)) and np.isfinite(values).all()
      elif number == 6:
        with graph.graph.as_default():  # a thread has a default graph of its own
          saver.restore(graph.session, path) if s % 5 == 4 else saver.save(graph.session, str(tmp_path / "n"))
      else:
        assert np.isfinite(graph.run(rows, feed)).all()

  run_threads(work)
  keys, _, _, _ = graph.run(export)
  assert graph.run(ev.size()) == len(keys)


def test_many_tables_in_one_step_share_the_pool(graph):
  """More parallel kernels than threads, each of which wants helpers from the pool that they all run on."""
  tables = [ev_tf.get_embedding_variable(f"t{i}", 16, initializer=v1.zeros_initializer()) for i in range(12)]
  ids = v1.placeholder(tf.int64, [None])
  loss = tf.add_n([tf.reduce_sum(tf.gather(t, ids)) for t in tables])
  train_op = v1.train.GradientDescentOptimizer(1.0).minimize(loss)
  graph.initialize()
  big = np.arange(20_000)
  run_threads(lambda number: [graph.run(train_op, {ids: big}) for _ in range(2)])
  assert graph.run([t.size() for t in tables]) == [len(big)] * len(tables)
  assert graph.run(loss, {ids: big[:1]}) == -THREADS * 2 * 16 * len(tables)
