"""First rows out of files: which files, which rows, in graphs, in parts, below a filter; and what is wrong with a file."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf
from ev_tf import data_source

v1 = tf.compat.v1
ROWS = {7: [1.0, 2.0, 3.0], -5: [4.0, 5.0, 6.5], 1 << 40: [0.0, -1e-3, 2.0]}
IDS = np.array([7, -5, 1 << 40, 9])


def write_csv(path, rows=ROWS, between=",", header=""):
  path.write_text(header + "".join(f"{key},{between.join(map(str, row))}\n" for key, row in rows.items()))
  return str(path)


def option_of(source, **kwargs):
  return ev_tf.EmbeddingVariableOption(ckpt=ev_tf.CheckpointOption(init_data_source=source), **kwargs)


def expect(rows, initial=1.0):
  np.testing.assert_array_equal(rows, np.array([*ROWS.values(), [initial] * 3], np.float32))


def as_dict(found):
  return {int(key): row.tolist() for key, row in zip(*found)}


def parquet_of(path, **columns):
  pyarrow = pytest.importorskip("pyarrow")
  from pyarrow import parquet

  parquet.write_table(pyarrow.table(columns), str(path))
  return str(path)


@pytest.mark.parametrize("between, header", [(",", ""), (",", "id,a,b,c\n"), (" ", ""), ("; ", "id,embedding\n"), ("|", "")])
def test_csv(between, header, tmp_path):
  expected = {key: np.array(row, np.float32).tolist() for key, row in ROWS.items()}
  assert as_dict(data_source.read(write_csv(tmp_path / "a.csv", between=between, header=header), 3)) == expected


def test_parquet(tmp_path):
  keys, rows = list(ROWS), list(ROWS.values())
  files = [parquet_of(tmp_path / "lists.parquet", id=keys, row=rows),
           parquet_of(tmp_path / "columns.parquet", id=keys, **{f"x{i}": [row[i] for row in rows] for i in range(3)}),
           parquet_of(tmp_path / "text.parquet", id=keys, row=[" ".join(map(str, row)) for row in rows])]
  for file in files:
    assert as_dict(data_source.read(file, 3)) == {k: np.array(r, np.float32).tolist() for k, r in ROWS.items()}


def test_several_files(tmp_path):
  (tmp_path / "rows").mkdir()
  for i in range(3):
    write_csv(tmp_path / "rows" / f"{i}.csv", {i: [i, i, i]})
  (tmp_path / "rows" / "_SUCCESS").write_text("")
  for source in (tmp_path / "rows", tmp_path / "rows" / "*.csv"):
    assert sorted(as_dict(data_source.read(source, 3))) == [0, 1, 2]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_a_table_starts_with_them(mode, parts, tmp_path, new_graph, make_ev):
  source = write_csv(tmp_path / "rows.csv")
  how = dict(initializer=v1.ones_initializer(), partitioner=v1.fixed_size_partitioner(parts))
  if mode == "eager":
    ev = make_ev(3, ev_option=option_of(source), **how)
    expect(tf.nn.embedding_lookup(ev, IDS))
    assert int(ev.size()) == 3
    return
  with new_graph() as graph:
    with pytest.warns(DeprecationWarning, match="init_data_source is DeepRec's older spelling"):
      ev = ev_tf.get_embedding_variable("e", 3, init_data_source=source, **how)
    rows, size = tf.nn.embedding_lookup(ev, IDS), ev.size()
    update = v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows))
    saver = v1.train.Saver()
    graph.initialize()
    expect(graph.run(rows))
    assert graph.run(size) == 3
    graph.run(update)
    trained = graph.run(rows)
    assert graph.run(size) == 4 and (trained < [*ROWS.values(), [1.0] * 3]).all()
    saver.restore(graph.session, saver.save(graph.session, str(tmp_path / "m.ckpt")))
    np.testing.assert_array_equal(graph.run(rows), trained)


def test_a_filter_has_admitted_them(tmp_path, make_ev):
  init = ev_tf.InitializerOption(default_value_no_permission=-3.5)
  storage = ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, str(tmp_path / "ssd"), [16])
  ev = make_ev(3, ev_option=option_of(write_csv(tmp_path / "rows.csv"), filter_option=ev_tf.CounterFilter(5), init_option=init,
                                      storage_option=storage))
  expect(tf.nn.embedding_lookup(ev, IDS), -3.5)
  assert ev.get_frequency(IDS).numpy().tolist() == [5, 5, 5, 0]


def test_int32_keys(tmp_path, make_ev):
  ev = make_ev(2, key_dtype=tf.int32, ev_option=option_of(write_csv(tmp_path / "a.csv", {-4: [1, 2]})))
  np.testing.assert_array_equal(tf.nn.embedding_lookup(ev, tf.constant([-4])), [[1, 2]])
  with pytest.raises(ValueError, match="expected ids of int32, found 1099511627776"):
    make_ev(3, key_dtype=tf.int32, ev_option=option_of(write_csv(tmp_path / "b.csv")))


@pytest.mark.parametrize("text, message", [
    ("1,2,3,4\nx,2,3,4\n", "a.csv:2: expected an integer as the id, found 'x'"),
    ("1,2,3\n", "a.csv:1: expected 3 numbers after the id, found 2"),
    ("1\n", "a.csv:1: expected 3 numbers after the id, found 0"),
    ("1,2,3,z\n", "a.csv:1: could not convert string to float: 'z'"),
    ("1,2,3,4\n1,2,3,5\n", "expected each id once, found 1 more often"),
    ("9223372036854775808,2,3,4\n", "expected ids of int64, found 9223372036854775808"),
])
def test_what_is_wrong_with_a_file_is_said(text, message, tmp_path, graph):
  (tmp_path / "a.csv").write_text(text)
  ev_tf.get_embedding_variable("e", 3, ev_option=option_of(str(tmp_path / "a.csv")))
  with pytest.raises(tf.errors.InvalidArgumentError, match=message):
    graph.initialize()


def test_parquet_of_another_kind(tmp_path):
  wrong = parquet_of(tmp_path / "a.parquet", id=["x"], row=[[1.0]])
  with pytest.raises(ValueError, match=r"expected a column of integer ids and then the rows, found \['id', 'row'\]"):
    data_source.read(wrong, 1)
  with pytest.raises(ValueError, match="row 1: expected 2 numbers after the id, found 1"):
    data_source.read(parquet_of(tmp_path / "b.parquet", id=[1, 2], row=[[1.0, 2.0], [3.0]]), 2)
  with pytest.raises(ValueError, match="expected no nulls"):
    data_source.read(parquet_of(tmp_path / "c.parquet", id=[1, None], row=[[1.0], [3.0]]), 1)


def test_no_such_file_and_another_system(tmp_path, make_ev):
  with pytest.raises(ValueError, match="expected .csv or .parquet files, found none at"):
    make_ev(3, ev_option=option_of(str(tmp_path / "none")))
  with pytest.raises(NotImplementedError, match="odps://rows.* names a table of another system"):
    make_ev(3, ev_option=option_of("odps://rows"))
