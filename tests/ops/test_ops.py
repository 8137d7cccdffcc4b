"""The ops by themselves: shapes that are inferred, and inputs that are refused before they are believed."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the ops need TensorFlow")
pytest.importorskip("ev_tf")

from ev_tf._native import raw_ops  # noqa: E402

InvalidArgument = tf.errors.InvalidArgumentError
DIM = 3
_names = iter(range(10**9))


def make(dim=DIM, rows=4, initialize=True, **attrs):
  handle = raw_ops.ev_handle_op(dim=dim, shape=[rows, dim], shared_name=f"ops_test_{next(_names)}")
  if initialize:
    raw_ops.ev_initialize(handle, tf.ones([rows, dim]), variable_name="table", **attrs)
  return handle


def sgd(handle, lr=0.5, grad=None, keys=(1, 2), step=-1, dim=DIM):
  keys = tf.constant(keys, tf.int64)
  grad = tf.ones(keys.shape + [dim]) if grad is None else grad
  return raw_ops.ev_apply_sgd(handle, lr, grad, keys, step, dim=dim)


def gather(handle, keys, dim=DIM):
  return raw_ops.ev_gather(handle, tf.constant(keys, tf.int64), dim=dim).numpy()


CONTENT_DTYPES = [tf.int64, tf.float32, tf.float32, tf.string, tf.int64, tf.float32, tf.int64, tf.int64, tf.float32,
                  tf.int64, tf.int64, tf.int64]


def content(**changes):
  """Inputs of EvImport: keys 5 and -5, one slot, no frequencies or versions."""
  tensors = dict(keys=[5, -5], values=np.full([2, DIM], 2.0), slots=np.full([2, DIM], 0.5), slot_names=["s"],
                 slot_dims=[DIM], slot_initials=[0.1], frequencies=[], versions=[], default_rows=np.ones([4, DIM]),
                 filtered_keys=[], filtered_frequencies=[], filtered_versions=[])
  tensors.update(changes)
  return [tf.constant(value, dtype) for value, dtype in zip(tensors.values(), CONTENT_DTYPES)]


def test_initialize_keeps_a_table_that_exists():
  handle = make()
  sgd(handle)
  raw_ops.ev_initialize(handle, tf.zeros([4, DIM]))
  assert int(raw_ops.ev_size(handle)) == 2
  np.testing.assert_array_equal(gather(handle, [1, 3])[:, 0], [0.5, 1.0])


def test_destroy_and_make_again():
  handle = make()
  sgd(handle)
  assert bool(raw_ops.ev_is_initialized(handle))
  tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=False)
  assert not bool(raw_ops.ev_is_initialized(handle))
  with pytest.raises(tf.errors.FailedPreconditionError, match="not initialized"):
    raw_ops.ev_size(handle)
  raw_ops.ev_initialize(handle, tf.ones([4, DIM]))
  assert int(raw_ops.ev_size(handle)) == 0


def test_a_handle_of_something_else_is_refused():
  with pytest.raises(InvalidArgument, match="wrong type"):
    raw_ops.ev_size(tf.Variable(1.0).handle)


@pytest.mark.parametrize("default_rows, message", [
    (np.ones([3]), r"expected shape \[any,any\], found \[3\]|rank"), (np.ones([0, DIM]), "default_rows"),
    (np.ones([2, 0]), "dim"), (np.ones([2, 2, 2]), r"found \[2,2,2\]|rank")])
def test_bad_default_rows(default_rows, message):
  with pytest.raises((InvalidArgument, ValueError), match=message):
    raw_ops.ev_initialize(make(initialize=False), tf.constant(default_rows, tf.float32))


@pytest.mark.parametrize("call", [
    lambda h: raw_ops.ev_gather(h, tf.constant([1], tf.int64), dim=DIM + 1), lambda h: sgd(h, dim=DIM + 1),
    lambda h: raw_ops.ev_export(h, dim=DIM + 1)])
def test_another_dim_than_the_variables(call):
  with pytest.raises(InvalidArgument, match=r"'table': dim: expected 4 by this op, found 3 in the variable"):
    call(make())


@pytest.mark.parametrize("arguments, message", [
    (dict(lr=tf.constant([0.1, 0.2])), r"learning rate: expected a scalar, found shape \[2\]"),
    (dict(lr=tf.constant([], tf.float32)), "learning rate: expected a scalar"),
    (dict(step=tf.constant([1, 2], tf.int64)), "global_step: expected a scalar"),
    (dict(grad=tf.ones([2, DIM + 1])), r"grad: expected the shape of keys, \[2\], and then 3; found \[2,4\]"),
    (dict(grad=tf.ones([3, DIM])), "grad: expected the shape of keys"),
    (dict(grad=tf.ones([])), "grad: expected the shape of keys"),
    (dict(lr=float("nan")), "learning rate: expected a finite number >= 0, found nan; no row was changed"),
    (dict(lr=float("inf")), "found inf"), (dict(lr=-1.0), "found -1")])
def test_bad_inputs_of_an_update(arguments, message):
  handle = make()
  with pytest.raises(InvalidArgument, match=message):
    sgd(handle, **arguments)
  assert int(raw_ops.ev_size(handle)) == 0


HYPER = {  # op -> good hyperparameters, and for each what is out of its range
    "ev_apply_momentum": ([0.1, 0.9], 1, [("learning rate", np.nan), ("momentum", -0.1)]),
    "ev_apply_adagrad": ([0.1, 0.0], 1, [("learning rate", -1), ("epsilon", -1)]),
    "ev_apply_row_wise_adagrad": ([0.1, 0.0], 1, [("learning rate", np.inf), ("epsilon", np.nan)]),
    "ev_apply_rms_prop": ([0.1, 0.9, 0.5, 1e-3], 1,
                          [("learning rate", -1), ("decay", 1.5), ("momentum", np.nan), ("epsilon", np.inf)]),
    "ev_apply_adam": ([0.1, 0.9, 0.99, 1e-8, 0.9, 0.99], 2,
                      [("learning rate", np.inf), ("beta1", 1.0), ("beta2", -0.1), ("epsilon", np.nan),
                       ("beta1_power", 1.0), ("beta2_power", 1.0)]),
    "ev_apply_adam_w": ([0.1, 0.9, 0.99, 1e-8, 0.9, 0.99, 0.1], 2,
                        [("learning rate", -1), ("beta1", 1.0), ("beta2", 1.5), ("epsilon", -1), ("beta1_power", 2.0),
                         ("beta2_power", np.nan), ("weight_decay", -0.1)]),
    "ev_apply_ftrl": ([0.1, 0.0, 0.0, 0.0, -0.5], 2,
                      [("learning rate", 0.0), ("l1", -1), ("l2", np.nan), ("l2_shrinkage", -1), ("lr_power", 0.5)]),
}


def apply_op(op, handle, hyper, slots, slot_names=None, initial_values=None, keys=(1,)):
  keys = tf.constant(keys, tf.int64)
  return getattr(raw_ops, op)(handle, *[tf.constant(h, tf.float32) for h in hyper], tf.ones([len(keys), DIM]), keys, -1,
                              dim=DIM, slot_names=slot_names or [f"slot{i}" for i in range(slots)],
                              slot_initial_values=initial_values or [0.0] * slots)


@pytest.mark.parametrize("op, index", [(op, i) for op, (good, _, _) in HYPER.items() for i in range(len(good))])
def test_each_hyperparameter_is_checked(op, index):
  good, slots, bad = HYPER[op]
  handle = make()
  name, value = bad[index]
  with pytest.raises(InvalidArgument, match=f"{name}: expected .*, found .*; no row was changed"):
    apply_op(op, handle, good[:index] + [value] + good[index + 1:], slots)
  with pytest.raises(InvalidArgument, match=f"{name}: expected a scalar"):
    apply_op(op, handle, good[:index] + [[0.1, 0.1]] + good[index + 1:], slots)
  assert int(raw_ops.ev_size(handle)) == 0
  apply_op(op, handle, good, slots)
  assert int(raw_ops.ev_size(handle)) == 1


def adagrad_decay(handle, lr=0.1, decay_rate=0.5, baseline=0.1, step=7, decay_step=2):
  raw_ops.ev_apply_adagrad_decay(handle, lr, decay_rate, baseline, step, decay_step, tf.ones([1, DIM]),
                                 tf.constant([1], tf.int64), -1, dim=DIM, slot_names=["a", "p"],
                                 slot_initial_values=[0.1, 0.0])


@pytest.mark.parametrize("argument, value, message", [
    ("lr", np.nan, "learning rate"), ("decay_rate", 1.0, "accumulator_decay_rate"),
    ("baseline", 0.0, "initial_accumulator_value"), ("step", -1, "global_step"), ("decay_step", 0, "accumulator_decay_step"),
    ("decay_step", -3, "accumulator_decay_step"), ("decay_step", [1, 2], "accumulator_decay_step: expected a scalar")])
def test_each_hyperparameter_of_adagrad_decay_is_checked(argument, value, message):
  handle = make()
  with pytest.raises(InvalidArgument, match=message):
    adagrad_decay(handle, **{argument: value})
  assert int(raw_ops.ev_size(handle)) == 0
  adagrad_decay(handle)
  assert int(raw_ops.ev_size(handle)) == 1


@pytest.mark.parametrize("given", [1, 2, 3])
@pytest.mark.parametrize("centered, with_momentum", [(False, False), (False, True), (True, False), (True, True)])
def test_the_number_of_slots_follows_the_attributes_of_rms_prop(centered, with_momentum, given):
  needed = 1 + centered + with_momentum

  def apply():
    hyper = [tf.constant(h, tf.float32) for h in (0.1, 0.9, 0.5, 1e-3)]
    raw_ops.ev_apply_rms_prop(make(), *hyper, tf.ones([1, DIM]), tf.constant([1], tf.int64), -1, dim=DIM,
                              slot_names=["a", "b", "c"][:given], slot_initial_values=[1.0, 0.0, 0.0][:given],
                              centered=centered, with_momentum=with_momentum)

  if given == needed:
    apply()
  else:
    with pytest.raises(InvalidArgument, match=f"expected {needed} of each, found {given}"):
      apply()


@pytest.mark.parametrize("names, values, message", [
    (["a", "b"], [0.0], "expected 1 of each, found 2 and 1"), (["a"], [float("nan")], "finite")])
def test_bad_slots(names, values, message):
  with pytest.raises(InvalidArgument, match=message):
    apply_op("ev_apply_adagrad", make(), [0.1, 0.0], 1, names, values)


@pytest.mark.parametrize("key_dtype", [tf.int32, tf.int64])
def test_empty_batches(key_dtype):
  handle = make(record_frequency=True, record_version=True)
  keys = tf.zeros([0], key_dtype)
  assert raw_ops.ev_gather(handle, keys, dim=DIM).shape == [0, DIM]
  raw_ops.ev_apply_sgd(handle, 0.1, tf.zeros([0, DIM]), keys, 5, dim=DIM)
  assert raw_ops.ev_frequency(handle, keys).shape == raw_ops.ev_version(handle, keys).shape == [0]
  assert int(raw_ops.ev_remove(handle, keys)) == int(raw_ops.ev_size(handle)) == 0


def test_frequencies_and_versions_that_are_not_recorded():
  for op in (raw_ops.ev_frequency, raw_ops.ev_version):
    with pytest.raises(tf.errors.FailedPreconditionError, match="are not recorded; create it with"):
      op(make(), tf.constant([1], tf.int64))


def test_export_gives_what_import_took():
  handle = make(initialize=False)
  raw_ops.ev_import(handle, *content(frequencies=[7, 8], versions=[-1, 9]), dim=DIM, record_frequency=True,
                    record_version=True)
  export = raw_ops.ev_export(handle, dim=DIM)
  order = np.argsort(export.keys.numpy())
  np.testing.assert_array_equal(export.keys.numpy()[order], [-5, 5])
  np.testing.assert_array_equal(export.frequencies.numpy()[order], [8, 7])
  np.testing.assert_array_equal(export.versions.numpy()[order], [9, -1])
  np.testing.assert_array_equal(export.slots, np.full([2, DIM], 0.5))
  np.testing.assert_array_equal(export.default_rows, np.ones([4, DIM]))
  assert (export.slot_names.numpy().tolist(), export.slot_dims.numpy().tolist()) == ([b"s"], [DIM])
  np.testing.assert_array_equal(gather(handle, [5, -5, 6])[:, 0], [2, 2, 1])


@pytest.mark.parametrize("changes, message", [
    (dict(values=np.ones([2, 8]), default_rows=np.ones([4, 8])), "embedding dim: expected 3, found 8"),
    (dict(values=np.ones([2, 8])), "embedding dim: expected 3, found 8"),
    (dict(default_rows=np.ones([4, 8])), "embedding dim: expected 3, found 8"),
    (dict(values=np.ones([3, DIM])), r"values: expected shape \[2,any\], found \[3,3\]"),
    (dict(keys=[[5, -5]]), "keys: expected shape|rank"),
    (dict(keys=[5, 5]), "expected distinct keys, found 2 of which 1 are distinct"),
    (dict(slots=np.ones([2, DIM + 1])), r"slots: expected shape \[2,3\], found \[2,4\]"),
    (dict(slots=np.ones([1, DIM])), r"slots: expected shape"),
    (dict(slot_dims=[DIM + 1]), "slot 's': dim: expected 1 to 3, found 4"),
    (dict(slot_dims=[0]), "found 0"),
    (dict(slot_dims=[-(2**62)]), "found -4611686018427387904"),
    (dict(slot_dims=[1, 1]), r"slot dims: expected shape \[1\], found \[2\]"),
    (dict(slot_initials=[]), r"slot initial values: expected shape \[1\], found \[0\]"),
    (dict(frequencies=[1]), r"frequencies: expected shape \[2\], found \[1\]"),
    (dict(versions=[1, 2, 3]), r"versions: expected shape \[2\], found \[3\]"),
    (dict(default_rows=np.ones([0, DIM])), "default_rows"),
    (dict(filtered_keys=[7]), r"filtered frequencies: expected shape \[1\], found \[0\]"),
    (dict(filtered_keys=[7], filtered_frequencies=[1]), r"filtered versions: expected shape \[1\], found \[0\]"),
    (dict(filtered_keys=[7], filtered_frequencies=[0], filtered_versions=[1]), "at least 1 .* found 0 and 1"),
    (dict(filtered_keys=[7], filtered_frequencies=[1], filtered_versions=[-2]), "found 1 and -2"),
])
def test_an_import_that_cannot_be_changes_nothing(changes, message):
  handle = make()
  sgd(handle)
  with pytest.raises((InvalidArgument, ValueError), match=message):
    raw_ops.ev_import(handle, *content(**changes), dim=DIM)
  assert int(raw_ops.ev_size(handle)) == 2
  np.testing.assert_array_equal(gather(handle, [1, 3])[:, 0], [0.5, 1.0])


def test_export_of_an_uninitialized_table():
  handle = make(initialize=False)
  with pytest.raises(tf.errors.FailedPreconditionError):
    raw_ops.ev_export(handle, dim=DIM)
  export = raw_ops.ev_export(handle, dim=DIM, empty_if_uninitialized=True)
  assert [tuple(t.shape) for t in export] == [(0,), (0, DIM), (0, 0), (0,), (0,), (0,), (0,), (0,), (0, DIM),
                                               (0,), (0,), (0,)]


def test_a_removed_row_starts_again_from_its_default_row():
  handle = make()
  sgd(handle, keys=[1, 2, 3])
  assert int(raw_ops.ev_remove(handle, tf.constant([[2], [2], [9]], tf.int32))) == 1
  np.testing.assert_array_equal(gather(handle, [1, 2, 3])[:, 0], [0.5, 1.0, 0.5])
  sgd(handle, keys=[2, 2])
  assert gather(handle, [2])[0, 0] == 0.0


def placeholder(dtype, shape):
  return tf.compat.v1.placeholder(dtype, shape)


def test_shapes_that_are_inferred():
  with tf.Graph().as_default():
    handle = raw_ops.ev_handle_op(dim=DIM, shape=[4, DIM])
    assert handle.shape == []
    for shape in ([], [None], [2, None], None):
      keys = placeholder(tf.int64, shape)
      rows = raw_ops.ev_gather(handle, keys, dim=DIM)
      assert rows.shape.as_list() == shape + [DIM] if shape is not None else rows.shape.rank is None
      assert raw_ops.ev_frequency(handle, keys).shape.rank == raw_ops.ev_version(handle, keys).shape.rank == keys.shape.rank
      assert raw_ops.ev_remove(handle, keys).shape == []
    assert raw_ops.ev_size(handle).shape == raw_ops.ev_is_initialized(handle).shape == []
    export = raw_ops.ev_export(handle, dim=DIM)
    assert [t.shape.as_list() for t in export] == [[None], [None, DIM], [None, None], [None], [None], [None], [None], [None],
                                                   [None, DIM], [None], [None], [None]]
    assert [t.shape.rank for t in raw_ops.ev_metrics(handle)] == [1, 1]


@pytest.mark.parametrize("build", [
    lambda h: raw_ops.ev_gather(placeholder(tf.resource, [2]), [1], dim=DIM),
    lambda h: raw_ops.ev_initialize(h, placeholder(tf.float32, [3])),
    lambda h: raw_ops.ev_apply_sgd(h, placeholder(tf.float32, [2]), tf.ones([1, DIM]), [1], -1, dim=DIM),
    lambda h: raw_ops.ev_apply_sgd(h, 0.1, tf.ones([1, DIM + 1]), [1], -1, dim=DIM),
    lambda h: raw_ops.ev_apply_sgd(h, 0.1, tf.ones([2, DIM]), [1], -1, dim=DIM),
    lambda h: raw_ops.ev_apply_sgd(h, 0.1, tf.ones([1, DIM]), [1], [0], dim=DIM),
    lambda h: raw_ops.ev_import(h, *content(keys=[[5]]), dim=DIM),
    lambda h: raw_ops.ev_handle_op(dim=DIM, shape=[4, DIM + 1]),
    lambda h: raw_ops.ev_handle_op(dim=0, shape=[4, 0]),
    lambda h: raw_ops.ev_gather(h, [1], dim=0)])
def test_wrong_shapes_are_refused_when_the_graph_is_built(build):
  with tf.Graph().as_default():
    handle = raw_ops.ev_handle_op(dim=DIM, shape=[4, DIM])
    with pytest.raises(ValueError):
      build(handle)


def test_a_scalar_that_turns_out_to_be_none_does_not_abort():
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    handle = raw_ops.ev_handle_op(dim=DIM, shape=[4, DIM], shared_name="late")
    lr, step = placeholder(tf.float32, None), placeholder(tf.int64, None)
    update = raw_ops.ev_apply_sgd(handle, lr, tf.ones([1, DIM]), [1], step, dim=DIM)
    session.run(raw_ops.ev_initialize(handle, tf.ones([4, DIM])))
    for feed in ({lr: [0.1, 0.2], step: 1}, {lr: [], step: 1}, {lr: 0.1, step: [[1]]}, {lr: 0.1, step: []}):
      with pytest.raises(InvalidArgument, match="expected a scalar"):
        session.run(update, feed)
    session.run(update, {lr: 0.1, step: 1})


def test_lookups_of_a_function_may_run_side_by_side():
  handle = make()

  @tf.function
  def two():
    return raw_ops.ev_gather(handle, [1], dim=DIM), raw_ops.ev_gather(handle, [2], dim=DIM)

  gathers = [op for op in two.get_concrete_function().graph.get_operations() if op.type == "EvGather"]
  assert len(gathers) == 2 and all(not op.control_inputs for op in gathers)


@pytest.mark.parametrize("key_dtype", [tf.int32, tf.int64])
def test_a_table_with_one_tier_answers_for_its_tiers(key_dtype):
  handle = make()
  sgd(handle)
  keys = tf.constant([[2, 5]], key_dtype)
  tiers = raw_ops.ev_lookup_tier(handle, keys)
  assert tiers.dtype == tf.int32 and tiers.numpy().tolist() == [[0, -1]]
  raw_ops.ev_prefetch(handle, keys)
  raw_ops.ev_flush_evictions(handle)
  assert int(raw_ops.ev_size(handle)) == 2
  assert raw_ops.ev_lookup_tier(handle, tf.zeros([0, 2], key_dtype)).shape == [0, 2]
  with pytest.raises(tf.errors.FailedPreconditionError, match="not initialized"):
    raw_ops.ev_lookup_tier(make(initialize=False), keys)


@pytest.mark.parametrize("attrs, error, message", [
    (dict(storage_type=12), InvalidArgument, "storage_path: expected a directory, found none"),
    (dict(storage_type=12, storage_path="/tmp", dram_bytes=0), InvalidArgument, "storage_size: expected bytes > 0 .* found 0"),
    (dict(cache_strategy=2), InvalidArgument, r"cache_strategy: expected 0 \(LRU\) or 1 \(LFU\), found 2"),
    (dict(storage_type=6, storage_path="/tmp"), tf.errors.UnimplementedError, "storage_type 6"),
    (dict(storage_type=1 << 40, storage_path="/tmp"), InvalidArgument, "storage_type: expected the number")])
def test_storage_that_cannot_be(attrs, error, message):
  handle = make(initialize=False)
  with pytest.raises(error, match=message):
    raw_ops.ev_initialize(handle, tf.ones([4, DIM]), **attrs)
  with pytest.raises(error, match=message):
    raw_ops.ev_import(handle, *content(), dim=DIM, **attrs)
  assert not bool(raw_ops.ev_is_initialized(handle))


def test_shapes_of_the_ops_for_tiers():
  with tf.Graph().as_default():
    handle = raw_ops.ev_handle_op(dim=DIM, shape=[4, DIM])
    assert raw_ops.ev_lookup_tier(handle, placeholder(tf.int64, [2, None])).shape.as_list() == [2, None]
    bad = placeholder(tf.resource, [2])
    for build in (lambda: raw_ops.ev_lookup_tier(bad, [1]), lambda: raw_ops.ev_prefetch(bad, [1]),
                  lambda: raw_ops.ev_flush_evictions(bad)):
      with pytest.raises(ValueError):
        build()
