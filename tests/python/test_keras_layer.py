"""ev_tf.keras.Embedding in models: fit, and every way to save."""

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

keras = pytest.importorskip("keras")
KERAS_3 = int(keras.__version__.split(".")[0]) >= 3
X = np.arange(64, dtype=np.int64).reshape(-1, 1) * 1009 - 30_000
Y = (np.arange(64).reshape(-1, 1) % 3).astype(np.float32)


def make_model():
  ids = keras.Input((1,), dtype="int64")
  x = keras.layers.Flatten()(ev_tf.keras.Embedding(8)(ids))
  model = keras.Model(ids, keras.layers.Dense(1)(x))
  model.compile(keras.optimizers.Adam(0.05), loss="mse")
  return model


def fit(model, epochs=1):
  return model.fit(X, Y, epochs=epochs, verbose=0, shuffle=False).history["loss"]


def predict(model, ids=X):
  return np.asarray(model(tf.constant(ids)))


def test_fit_trains_the_table():
  model = make_model()
  losses = fit(model, 20)
  assert losses[-1] < 0.2 * losses[0]
  layer = model.layers[1]
  assert int(layer.embedding_variable.size()) == len(X)
  assert len(model.trainable_weights) == 3
  assert all(tuple(v.shape) != (4096, 8) for v in (model.optimizer.variables if KERAS_3 else model.optimizer.variables()))


@pytest.mark.parametrize("how", ["weights.h5", "keras", "checkpoint"])
def test_saving_and_going_on(tmp_path, how):
  pytest.importorskip("h5py")
  model = make_model()
  fit(model, 3)
  if how == "weights.h5":
    if not KERAS_3:
      pytest.skip("Keras 2 writes variables, not layers, into HDF5 files")
    model.save_weights(str(tmp_path / "w.weights.h5"))
    again = make_model()
    again.optimizer.build(again.trainable_variables)  # else Keras does not restore the optimizer
    again.load_weights(str(tmp_path / "w.weights.h5"))
  elif how == "keras":
    model.save(str(tmp_path / "m.keras"))
    again = keras.models.load_model(str(tmp_path / "m.keras"), custom_objects={"Embedding": ev_tf.keras.Embedding})
  else:
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ck"))
    again = make_model()
    again(X[:1])
    again.optimizer.build(again.trainable_variables)
    tf.train.Checkpoint(model=again).restore(path)
  probe = np.concatenate([X, X + 1])
  np.testing.assert_array_equal(predict(again, probe), predict(model, probe))
  np.testing.assert_allclose(fit(again), fit(model), rtol=1e-6)


@pytest.mark.skipif(not KERAS_3, reason="Model.export is Keras 3's")
def test_export(tmp_path):
  model = make_model()
  fit(model, 2)
  model.export(str(tmp_path / "e"), verbose=False)
  loaded = tf.saved_model.load(str(tmp_path / "e"))
  np.testing.assert_allclose(np.asarray(loaded.serve(X[:5])), predict(model, X[:5]), rtol=1e-6)


def test_configuration():
  layer = ev_tf.keras.Embedding(4, initializer="ones", key_dtype="int32", name="tags")
  again = ev_tf.keras.Embedding.from_config(layer.get_config())
  assert (again.name, again.output_dim, again.key_dtype) == ("tags", 4, "int32")
  np.testing.assert_array_equal(np.asarray(again(tf.constant([[3]]))), np.ones([1, 1, 4]))
