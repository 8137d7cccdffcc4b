"""The DeepFM example: its data, its training on both kinds of table, saving and resuming, and its errors."""

from pathlib import Path
import sys

import numpy as np
import pyarrow as pa
from pyarrow import orc
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "deepfm"
sys.path.insert(0, str(EXAMPLE))

import compare  # noqa: E402
import features  # noqa: E402
import metrics  # noqa: E402
import optimizers  # noqa: E402
import orc_data  # noqa: E402
import synthetic  # noqa: E402
from tables import IN_DRAM, Storage  # noqa: E402
import train as program  # noqa: E402
import training  # noqa: E402

ROWS = 12_000
SMALL = {"embedding_dim": 4, "hidden": (16,), "batch_size": 200, "lr": 5e-3, "dense_lr": 5e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Directory of a small generated data set."""
  directory = tmp_path_factory.mktemp("generated")
  synthetic.generate(directory, ROWS, seed=3)
  return directory


@pytest.fixture
def make_run(data, tmp_path):
  """Makes a Run of the small model on the small data; keyword arguments as in Settings, save=True, and storage."""

  def make(table, *, save=False, storage=IN_DRAM, **settings):
    train, held_out = orc_data.find_parts(data, 0.2)
    return training.Run(training.Settings(table, **{**SMALL, **settings}), train, held_out, tmp_path / "save" if save else None,
                        storage)

  return make


def losses_of(run, epochs=1, **options):
  """Trains; returns the loss of every batch."""
  losses = []
  for _ in run.train(epochs, progress=lambda run, loss, rate: losses.append(loss), **options):
    pass
  return losses


# --- data ---------------------------------------------------------------------------------------------------------------


def test_generator_is_deterministic(data, tmp_path):
  about = synthetic.generate(tmp_path, ROWS, seed=3)
  tables = [orc.ORCFile(str(directory / "part-000.orc")).read() for directory in (data, tmp_path)]
  assert tables[0].equals(tables[1])
  assert not tables[0].equals(synthetic.to_table(synthetic.draw(ROWS, 4, 0), np.zeros(ROWS)))
  assert synthetic.best_auc(data) == about["best_auc"]


def test_generated_data_looks_like_criteo(data):
  about = synthetic.generate(data, ROWS, seed=3)
  assert 0.17 < about["label_rate"] < 0.23 and 0.80 < about["best_auc"] < 0.85
  train, held_out = orc_data.find_parts(data, 0.25)
  (window,) = train.windows()
  assert (train.rows, held_out.rows) == (9_000, 3_000)
  distinct = [len(np.unique(window.ids_of(f))) for f in range(26)]
  assert min(distinct) == 3 and max(distinct) > 3_000
  assert window.ids.min() < 0 < window.ids.max()
  missing = np.isnan(window.numeric).mean(axis=0)
  assert missing.min() == 0 and missing.max() > 0.6


def test_cache_generates_once(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  path = synthetic.cached(500, seed=1)
  monkeypatch.setattr(synthetic, "generate", lambda *args: pytest.fail("generated again"))
  assert synthetic.cached(500, seed=1) == path
  assert [entry.name for entry in (tmp_path / "ev_tf").iterdir()] == [path.name]  # no scratch directory is left


@pytest.fixture
def ragged_file(tmp_path):
  """An ORC file with what real files may hold: longer lists, null lists, nulls in lists, plain numbers; and its rows."""
  rows = [[1, 2, 3], [], None, [4, None, -5], [7], [2**62, -(2**63)], [0]]
  columns = {"label": pa.array([[0.0], [1.0]] * 3 + [[1.0]])}
  columns |= {name: pa.array([[1.5], [], None, [None], [2.0], [3.0], [-1.0]]) for name in features.NUMERIC}
  columns |= {name: pa.array(rows, pa.list_(pa.int64())) for name in features.CATEGORICAL}
  columns["i2"] = pa.array([1, 2, None, 4, 5, 6, 7])
  columns["c5"] = pa.array([1, 2, None, 4, 5, 6, 7])
  orc.write_table(pa.table(columns), str(tmp_path / "rows.orc"))
  clean = [[value for value in row or [] if value is not None] for row in rows]
  single = [[1], [2], [], [4], [5], [6], [7]]
  return tmp_path / "rows.orc", [single if name == "c5" else clean for name in features.CATEGORICAL]


def test_batch_keeps_ragged_lists_and_missing_values(ragged_file):
  path, lists = ragged_file
  part = orc_data.Part((path,), 0, 7)
  (window,) = part.windows()
  rows = np.array([5, 0, 2, 3, 6])
  ids, sizes, cells, numeric, labels = window.batch(rows)
  expected = [(cell * 26 + f, value) for f in range(26) for cell, row in enumerate(rows) for value in lists[f][row]]
  assert list(zip(cells.tolist(), ids.tolist())) == expected
  assert sizes.tolist() == [sum(len(lists[f][row]) for row in rows) for f in range(26)]
  np.testing.assert_array_equal(numeric[:, 0], np.float32([3.0, 1.5, np.nan, np.nan, -1.0]))
  np.testing.assert_array_equal(numeric[:, 1], np.float32([6, 1, np.nan, 4, 7]))
  assert labels.tolist() == [1, 0, 0, 1, 1]


def test_a_batch_without_any_id(ragged_file):
  (window,) = orc_data.Part((ragged_file[0],), 2, 3).windows()
  ids, sizes, cells, _, labels = window.batch(np.array([0]))
  assert len(ids) == len(cells) == sizes.sum() == 0 and len(labels) == 1


@pytest.mark.parametrize("skip", [0, 3, 20, 48, 1000])
def test_skipping_gives_the_rest_of_the_same_order(data, monkeypatch, skip):
  monkeypatch.setattr(orc_data, "WINDOW_ROWS", 1_500)
  train, _ = orc_data.find_parts(data, 0.2)
  whole = list(train.batches(200, seed=1, epoch=2))
  rest = list(train.batches(200, seed=1, epoch=2, skip=skip))
  assert [len(batch[-1]) for batch in whole] == [200] * 48
  assert len(rest) == max(48 - skip, 0)
  for ours, theirs in zip(rest, whole[skip:]):
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(ours, theirs))


def test_shuffling_keeps_every_row_and_changes_with_the_epoch(data):
  train, _ = orc_data.find_parts(data, 0.2)
  passes = [np.concatenate([batch[3][:, 1] for batch in train.batches(200, seed=1, epoch=epoch)]) for epoch in (0, 1)]
  assert not np.array_equal(*passes)
  np.testing.assert_array_equal(*map(np.sort, passes))


# --- metrics and optimizer ----------------------------------------------------------------------------------------------


def test_auc_equals_the_count_of_ordered_pairs():
  rng = np.random.default_rng(0)
  labels, logits = rng.integers(0, 2, 400), rng.normal(size=400).round(1)  # rounded, so that scores tie
  streamed = metrics.BinaryMetrics()
  for at in (slice(0, 150), slice(150, 400)):
    streamed.add(logits[at], labels[at], loss=1.0)
  difference = logits[labels == 1][:, None] - logits[labels == 0]
  assert streamed.auc == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean(), abs=1e-4)
  assert streamed.loss == 1.0 and streamed.rows == 400


def test_auc_of_one_class_is_nan():
  streamed = metrics.BinaryMetrics()
  streamed.add(np.array([0.3]), np.array([1.0]), loss=1.0)
  assert np.isnan(streamed.auc)


@pytest.mark.parametrize("sparse", [False, True])
def test_adamw_equals_numpy(sparse):
  import tensorflow as tf

  rng = np.random.default_rng(0)
  value = rng.normal(size=(5, 3))
  m, v = np.zeros_like(value), np.zeros_like(value)
  variable = tf.Variable(value, dtype=tf.float32)
  adamw = optimizers.AdamW([variable], lr=0.1, weight_decay=0.2)
  for t in range(1, 6):
    rows = rng.integers(0, 5, 7) if sparse else np.arange(5)
    grad = rng.normal(size=(len(rows), 3))
    indexed = tf.IndexedSlices(tf.constant(grad, tf.float32), tf.constant(rows))
    adamw.apply([indexed if sparse else tf.constant(grad, tf.float32)])
    total = np.zeros_like(value)
    np.add.at(total, rows, grad)
    hit = np.unique(rows)
    m[hit] = 0.9 * m[hit] + 0.1 * total[hit]
    v[hit] = 0.999 * v[hit] + 0.001 * total[hit] ** 2
    alpha = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    value[hit] -= 0.02 * value[hit] + alpha * m[hit] / (np.sqrt(v[hit]) + 1e-8)
  np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-5)


# --- training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["ev", "static"])
def test_learns(make_run, table):
  run = make_run(table)
  losses = losses_of(run, evaluations=2)
  assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.03
  first, last = run.history
  assert (first.epoch, last.epoch) == (0.5, 1.0)
  assert last.held_out_auc > 0.65 and last.held_out_loss < 0.5
  assert run.evaluate().auc == last.held_out_auc  # evaluation changes nothing


def test_ev_equals_static_tables(make_run):
  ev, static = make_run("ev"), make_run("static")
  np.testing.assert_allclose(losses_of(ev, 2), losses_of(static, 2), rtol=0, atol=2e-4)
  for ours, theirs in zip(ev.history, static.history):
    assert ours.rows == theirs.rows  # every id of the training part, and no id of the held-out part
    assert ours.held_out_auc == pytest.approx(theirs.held_out_auc, abs=2e-3)


@pytest.mark.parametrize("table", ["ev", pytest.param("static", marks=pytest.mark.slow)])
def test_bias_in_a_table_of_its_own_is_the_same_model(make_run, table):
  fused, split = make_run(table, layout="fused"), make_run(table, layout="split")
  assert len(fused.tables.all) == 26 and len(split.tables.all) == 52
  np.testing.assert_allclose(losses_of(fused), losses_of(split), rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", ["DRAM_SSDHASH", pytest.param("DRAM_LEVELDB", marks=pytest.mark.slow)])
def test_rows_below_dram_train_to_the_same_losses(make_run, tmp_path, kind):
  # 0.2 MB are 100 rows of each table: less than a batch asks of the large ones.
  spilled = make_run("ev", storage=Storage(kind, 0.2, str(tmp_path / "rows")))
  losses = losses_of(spilled)
  assert spilled.tables.count_spilled() > 1000
  dram = make_run("ev")
  np.testing.assert_array_equal(losses, losses_of(dram))
  assert spilled.history[-1].held_out_loss == dram.history[-1].held_out_loss
  assert dram.tables.count_spilled() == 0


@pytest.mark.parametrize("table", ["ev", pytest.param("static", marks=pytest.mark.slow)])
def test_resumed_run_has_the_losses_of_an_uninterrupted_one(make_run, table):
  whole = losses_of(make_run(table), 2)
  interrupted, losses = make_run(table, save=True), []

  def stop(run, loss, rate):
    losses.append(loss)
    if len(losses) == 75:  # in the second pass of 48, seven batches after a checkpoint
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    list(interrupted.train(2, progress=stop, save_every=10))
  resumed = make_run(table, save=True)
  resumed.resume()
  assert (resumed.epoch, resumed.batch) == (1, 20)
  assert resumed.tables.count_rows() > 0
  rest = losses_of(resumed, 2)
  assert len(rest) == 28
  np.testing.assert_allclose(losses, whole[:75], rtol=0, atol=1e-6)
  np.testing.assert_allclose(rest, whole[68:], rtol=0, atol=1e-6)


def test_resuming_refuses_another_model(make_run):
  first = make_run("static", save=True)
  first.save()
  with pytest.raises(features.DataError, match="embedding_dim was 4, is 8.*"):
    make_run("static", save=True, embedding_dim=8).resume()


def test_resuming_from_nothing_says_so(make_run):
  with pytest.raises(features.DataError, match="no checkpoint to resume from"):
    make_run("static", save=True).resume()


# --- the program --------------------------------------------------------------------------------------------------------


def orc_without_c3(tmp_path):
  table = synthetic.to_table(synthetic.draw(50, 0, 0), np.zeros(50))
  orc.write_table(table.drop_columns(["c3"]), str(tmp_path / "a.orc"))
  return tmp_path


def orc_of_strings(tmp_path):
  table = synthetic.to_table(synthetic.draw(50, 0, 0), np.zeros(50))
  at = table.schema.get_field_index("c3")
  orc.write_table(table.set_column(at, "c3", pa.array([["x"]] * 50)), str(tmp_path / "a.orc"))
  return tmp_path


def orc_of_wrong_labels(tmp_path):
  orc.write_table(synthetic.to_table(synthetic.draw(50, 0, 0), np.full(50, 2)), str(tmp_path / "a.orc"))
  return tmp_path


def text_file(tmp_path):
  (tmp_path / "a.orc").write_text("label,i1\n")
  return tmp_path


@pytest.mark.parametrize("make, message", [
    (lambda tmp_path: tmp_path / "nowhere", "no such file or directory"),
    (lambda tmp_path: tmp_path, "no *.orc file in this directory"),
    (text_file, "not a readable ORC file"),
    (orc_without_c3, "1 of the 40 expected columns are missing: c3."),
    (orc_of_strings, "column c3 has type list<item: string>, expected list<int64>"),
    (orc_of_wrong_labels, "column label must hold one number, 0 or 1"),
])
def test_unusable_data_gives_one_clear_line(tmp_path, capsys, make, message):
  assert program.main(["--data", str(make(tmp_path)), "--table", "static"]) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith("error: ") and message in error and str(tmp_path) in error


@pytest.mark.parametrize("options, message", [
    (["--resume"], "need --save"),
    (["--table", "both", "--save", "x"], "--save keeps one model"),
    (["--lr", "-1"], "--lr"),
    (["--lr", "nan"], "--lr"),
    (["--held-out", "1"], "--held-out"),
    (["--save", __file__], "not a directory"),
    (["--storage", "FLOPPY"], "expected one of DEFAULT, DRAM,"),
    (["--storage", "DRAM_SSDHASH"], "storage_path"),
    (["--storage", "DRAM_SSDHASH", "--storage-path", "/tmp", "--table", "both"], "--storage is about embedding variables"),
    (["--dram-mb", "0"], "--dram-mb"),
])
def test_options_that_make_no_sense_are_refused(capsys, options, message):
  with pytest.raises(SystemExit) as stopped:
    program.main(options)
  assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_storage_that_this_machine_lacks_is_one_clear_line(data, tmp_path, capsys):
  assert program.main(["--data", str(data), "--storage", "HBM"]) == 2
  assert "HBM" in capsys.readouterr().err.splitlines()[-1]
  blocked = tmp_path / "file"
  blocked.write_text("")
  assert program.main(["--data", str(data), "--storage", "DRAM_SSDHASH", "--storage-path", str(blocked)]) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith("error: ") and str(blocked) in error


def test_diverging_training_says_what_to_do(data, capsys):
  options = ["--lr", "1e30", "--dense-lr", "1e30", "--embedding-dim", "2", "--hidden", "4", "--batch-size", "500"]
  assert program.main(["--data", str(data), "--table", "static", *options]) == 2
  assert "lower --lr or --dense-lr" in capsys.readouterr().err


def test_program_trains_saves_resumes_and_evaluates(data, tmp_path, capsys):
  options = ["--data", str(data), "--embedding-dim", "4", "--hidden", "16", "--save", str(tmp_path / "model")]
  assert program.main([*options, "--evaluations", "1"]) == 0
  assert program.main([*options, "--evaluations", "1", "--resume", "--epochs", "2"]) == 0
  shown = capsys.readouterr().out
  assert "resumed after 1 epochs and 0 batches" in shown and "best possible AUC" in shown
  assert program.main([*options, "--eval-only"]) == 0
  evaluated = capsys.readouterr().out
  assert "held-out: 1,200 rows" in evaluated
  last = [line for line in shown.splitlines() if "ev: epoch 2.00" in line][0]
  assert last.split("held-out AUC ")[1][:6] == evaluated.split("rows, loss ")[1].split("AUC ")[1][:6]


@pytest.mark.slow
def test_compare_shows_equal_tables(data, capsys, monkeypatch):
  monkeypatch.setattr(sys, "argv", ["compare.py", "--data", str(data), "--seeds", "0", "1", "--", "--embedding-dim", "4"])
  assert compare.main() == 0
  cells = [line.split("|") for line in capsys.readouterr().out.splitlines()]
  assert [line[1].strip() for line in cells] == ["seed", "---:", "0", "1", "mean"]
  assert all(abs(float(line[4])) <= 0.002 for line in cells[2:])


@pytest.mark.slow
def test_quick_demo_reaches_the_auc_of_static_tables(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert program.main(["--quick", "--table", "both", "--json", str(tmp_path / "results.json")]) == 0
  results = training.json.loads((tmp_path / "results.json").read_text())
  ev, static = results[3], results[7]
  assert (ev["table"], static["table"], ev["epoch"]) == ("ev", "static", 1.0)
  assert ev["held_out_auc"] == pytest.approx(static["held_out_auc"], abs=2e-3) and ev["held_out_auc"] > 0.74


def test_estimator_reaches_the_auc_of_the_program(make_run, data, tmp_path):
  import tensorflow as tf

  if not hasattr(tf, "estimator"):
    pytest.skip(f"TensorFlow {tf.__version__} has no Estimators; 2.15 is the last with them")
  import estimator as estimator_program

  run = make_run("ev")
  losses_of(run)
  parts = orc_data.find_parts(data, 0.2)
  estimator, found = estimator_program.train(training.Settings("ev", **SMALL), *parts, tmp_path / "estimator")
  assert found.auc == pytest.approx(run.history[-1].held_out_auc, abs=2e-3)
  assert found.loss == pytest.approx(run.history[-1].held_out_loss, abs=2e-3)
  exported = estimator.export_saved_model(str(tmp_path / "exported"), estimator_program.serving_input)
  assert (Path(exported.decode()) / "saved_model.pb").exists()
