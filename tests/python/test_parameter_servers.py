"""Tables on parameter servers: where they are placed, and a training of two processes' worth of devices in one."""

import socket

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

v1 = tf.compat.v1
WORKER = "/job:worker/task:0"


@pytest.fixture(scope="module")
def cluster():
  """(cluster, target) of two parameter servers and a worker, all in this process."""
  def free():
    with socket.socket() as sock:
      sock.bind(("localhost", 0))
      return sock.getsockname()[1]

  spec = tf.train.ClusterSpec({"ps": [f"localhost:{free()}" for _ in range(2)], "worker": [f"localhost:{free()}"]})
  servers = [v1.train.Server(spec, job, task) for job, task in (("ps", 0), ("ps", 1), ("worker", 0))]
  return spec, servers[-1].target


def test_everything_a_table_does_works_from_a_worker(cluster, tmp_path):
  spec, target = cluster
  ids = [7, -3, 1 << 40]
  with tf.Graph().as_default(), v1.device(v1.train.replica_device_setter(cluster=spec, worker_device=WORKER)):
    option = ev_tf.EmbeddingVariableOption(record_frequency=True, record_version=True, evict_option=ev_tf.GlobalStepEvict(50))
    make = lambda name, **kwargs: ev_tf.get_embedding_variable(name, 4, initializer=v1.ones_initializer(), ev_option=option,
                                                               **kwargs)
    plain, other = make("plain"), make("other")
    parted = make("parted", partitioner=v1.fixed_size_partitioner(2))
    tables = [plain, other, *parted]
    assert [table.device for table in tables] == [f"/job:ps/task:{i % 2}" for i in range(4)]
    keys, step = tf.constant(ids, tf.int64), v1.train.get_or_create_global_step()
    sparse = tf.SparseTensor([[0, 0], [0, 1], [1, 0]], keys, [2, 2])
    rows = [tf.nn.embedding_lookup(table, keys) for table in (plain, parted)]
    bags = [tf.nn.safe_embedding_lookup_sparse(plain, sparse),
            *ev_tf.group_embedding_lookup_sparse([plain, other, parted], [sparse] * 3, "sum")]
    loss = tf.add_n([tf.reduce_sum(tensor) for tensor in rows + bags])
    update = v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
    looks = {table.name: [table.size(), table.total_count(), table.export(), table.get_frequency(keys), table.get_version(keys),
                          table.lookup_tier(keys), table.metrics(), table.is_initialized()] for table in (plain, other)}
    front = [parted.size(), parted.export(), parted.get_frequency(keys), parted.lookup_tier(keys), parted.metrics()]
    moves = [table.flush_evictions() for table in (plain, parted)] + [table.prefetch(keys) for table in (plain, parted)]
    removed, shrunk = [table.remove(keys[:1]) for table in (plain, parted)], [table.shrink() for table in (plain, parted)]
    saver = v1.train.Saver(sharded=True)
    with v1.Session(target) as session:
      session.run(v1.global_variables_initializer())
      first = session.run([loss, update])[0]
      assert session.run([loss, update])[0] < first
      for found in session.run(looks).values():
        assert found[0] == 3 and found[1].tolist() == [3, 4] and sorted(found[2].keys) == sorted(ids) and found[7]
        assert (found[3] > 0).all() and found[4].tolist() == [1, 1, 1] and found[5].tolist() == [0, 0, 0]
      assert session.run(front)[0] == 3
      session.run(moves)
      values = session.run(rows)
      path = saver.save(session, str(tmp_path / "m.ckpt"))
      assert session.run(removed) == [1, 1] and session.run(shrunk) == [0, 0]
      saver.restore(session, path)
      for found, expected in zip(session.run(rows), values):
        np.testing.assert_array_equal(found, expected)


def test_first_rows_are_read_by_the_program_not_by_the_server(cluster, tmp_path):
  spec, target = cluster
  (tmp_path / "rows.csv").write_text("7,1.5,2.5\n-3,4,5\n")
  with tf.Graph().as_default(), v1.device(v1.train.replica_device_setter(cluster=spec, worker_device=WORKER)):
    option = ev_tf.EmbeddingVariableOption(ckpt=ev_tf.CheckpointOption(init_data_source=str(tmp_path / "rows.csv")))
    table = ev_tf.get_embedding_variable("from_file", 2, ev_option=option)
    rows = tf.nn.embedding_lookup(table, tf.constant([-3, 7], tf.int64))
    with v1.Session(target) as session:
      session.run(v1.global_variables_initializer())
      np.testing.assert_array_equal(session.run(rows), [[4, 5], [1.5, 2.5]])


def test_a_device_setter_of_ones_own_list_is_obeyed():
  with tf.Graph().as_default(), v1.device(v1.train.replica_device_setter(ps_tasks=1, worker_device=WORKER, ps_ops=["VarHandleOp"])):
    assert ev_tf.get_embedding_variable("on_worker", 2).device == WORKER
