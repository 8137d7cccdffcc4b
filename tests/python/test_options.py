import dataclasses

import numpy as np
import pytest

import ev_tf
from ev_tf import options


def test_enum_numbers_are_deeprecs():
  expected = dict(DEFAULT=0, DRAM=1, PMEM_MEMKIND=2, PMEM_LIBPMEM=3, SSDHASH=4, LEVELDB=5, HBM=6, DRAM_PMEM=11,
                  DRAM_SSDHASH=12, HBM_DRAM=13, DRAM_LEVELDB=14, DRAM_PMEM_SSDHASH=101, HBM_DRAM_SSDHASH=102)
  assert {name: int(ev_tf.StorageType[name]) for name in expected} == expected
  assert len({member.value for member in ev_tf.StorageType}) == 18
  assert (ev_tf.CacheStrategy.LRU, ev_tf.CacheStrategy.LFU) == (0, 1)


def test_defaults_are_deeprecs():
  option = ev_tf.EmbeddingVariableOption()
  assert (option.ht_type, option.ht_partition_num, option.evict_option, option.ckpt, option.filter_option) == (
      "", 1000, None, None, None)
  assert option.storage_option.storage_size == (1 << 30,) * 4
  assert option.storage_option.cache_strategy == ev_tf.CacheStrategy.LFU
  assert option.init_option == ev_tf.InitializerOption(None, 4096, 0.0)
  assert ev_tf.L2WeightEvict().l2_weight_threshold == -1.0
  assert ev_tf.CBFFilter() == ev_tf.CBFFilter(0, 0, -1.0, None)


def test_options_are_frozen_and_padded():
  storage = ev_tf.StorageOption(12, "/tmp/x", [512])
  assert storage.storage_type is ev_tf.StorageType.DRAM_SSDHASH
  assert storage.storage_size == (512, 1 << 30, 1 << 30, 1 << 30)
  assert ev_tf.StorageOption(storage_size=[512, np.int64(7)]).storage_size[:2] == (512, 7)
  with pytest.raises(dataclasses.FrozenInstanceError):
    storage.storage_path = "/elsewhere"


@pytest.mark.parametrize("make, message", [
    (lambda: ev_tf.StorageOption(storage_size=512), "storage_size: expected a list"),
    (lambda: ev_tf.StorageOption(storage_size=[0]), "storage_size: expected at least 1, got 0"),
    (lambda: ev_tf.StorageOption(storage_size=[1.5]), "expected an int"),
    (lambda: ev_tf.StorageOption(storage_size=[1 << 80]), "storage_size: expected 1 to 9223372036854775807, got"),
    (lambda: ev_tf.GlobalStepEvict(1 << 63), "steps_to_live: expected 1 to 9223372036854775807, got"),
    (lambda: ev_tf.L2WeightEvict(float("nan")), "l2_weight_threshold: expected a finite number, got nan"),
    (lambda: ev_tf.CBFFilter(2, 10, float("nan")), "false_positive_probability: expected a finite number, got nan"),
    (lambda: ev_tf.InitializerOption(default_value_no_permission=float("inf")), "expected a finite number, got inf"),
    (lambda: ev_tf.StorageOption(storage_path="/tmp/x"), "expected a StorageType"),
    (lambda: ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH), "expected a directory"),
    (lambda: ev_tf.StorageOption(ev_tf.StorageType.HBM_DRAM_SSDHASH), "expected a directory"),
    (lambda: ev_tf.StorageOption(ev_tf.StorageType.DRAM_LEVELDB, ""), "expected a directory, as DRAM_LEVELDB keeps files"),
    (lambda: ev_tf.StorageOption(ev_tf.StorageType.DRAM_PMEM), "expected a directory"),
    (lambda: ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, "gs://bucket/x"), "expected a directory of a mounted file"),
    (lambda: ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, "/tmp/a\0b"), "expected a directory of a mounted file"),
    (lambda: ev_tf.StorageOption(99), "expected one of"),
    (lambda: ev_tf.StorageOption(cache_strategy=7), "cache_strategy"),
    (lambda: ev_tf.InitializerOption(default_value_dim=0), "expected at least 1, got 0"),
    (lambda: ev_tf.InitializerOption(default_value_dim=-4), "expected at least 1, got -4"),
    (lambda: ev_tf.GlobalStepEvict(0), "expected at least 1"),
    (lambda: ev_tf.CounterFilter(1 << 16), "expected 0 to 65535"),
    (lambda: ev_tf.CBFFilter(2, 10), "together"),
    (lambda: ev_tf.CBFFilter(2, 10, 1.5), "below 1"),
    (lambda: ev_tf.CBFFilter(2, counter_type="int8"), "counter_type"),
    (lambda: ev_tf.CBFFilter(256, 10, 0.1, "uint8"), "filter_freq: expected at most 255, .*counters of 1 bytes can reach, got 256"),
    (lambda: ev_tf.CBFFilter(1 << 32, 10, 0.1), "filter_freq: expected at most 4294967295"),
    (lambda: ev_tf.CBFFilter(1 << 16), "filter_freq: expected at most 65535, which is what exact counts"),
    (lambda: ev_tf.CheckpointOption(tensor_name_in_ckpt="e"), "ckpt_to_load_from"),
    (lambda: ev_tf.CheckpointOption(always_load_from_specific_ckpt=True), "ckpt_to_load_from"),
    (lambda: ev_tf.CheckpointOption("/c", init_data_source="/d"), "init_data_source: expected one source"),
    (lambda: ev_tf.CheckpointOption(init_data_source=3), "init_data_source: expected a str or None, got 3"),
    (lambda: ev_tf.CheckpointOption(["/c"]), "ckpt_to_load_from: expected a str or None"),
    (lambda: ev_tf.EmbeddingVariableOption(evict_option=ev_tf.GlobalStepEvict(9), record_version=False), "record_version"),
    (lambda: ev_tf.EmbeddingVariableOption(storage_option=None), "expected StorageOption"),
    (lambda: ev_tf.EmbeddingVariableOption(evict_option=3), "expected GlobalStepEvict or L2WeightEvict or None"),
    (lambda: ev_tf.EmbeddingVariableOption(ht_partition_num=0), "expected at least 1"),
    (lambda: ev_tf.EmbeddingVariableOption(record_version="yes"), "expected bool or None"),
])
def test_bad_values_are_refused_at_construction(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_an_initializer_must_be_callable():
  with pytest.raises(TypeError, match="expected a callable"):
    ev_tf.InitializerOption(initializer=1.0)


UNAVAILABLE = [
    (dict(storage_option=ev_tf.StorageOption(kind, "/tmp/x")), kind.name)
    for kind in ev_tf.StorageType if kind not in options.AVAILABLE_STORAGE
] + [
    (dict(ckpt=ev_tf.CheckpointOption(init_data_source="odps://table")), "init_data_source='odps://table'"),
    (dict(storage_option=ev_tf.StorageOption(layout="compact")), "layout"),
]


@pytest.mark.parametrize("arguments, feature", UNAVAILABLE, ids=[name for _, name in UNAVAILABLE])
def test_a_feature_that_is_not_there_is_named(arguments, feature):
  option = ev_tf.EmbeddingVariableOption(**arguments)
  with pytest.raises(NotImplementedError, match=feature):
    ev_tf.get_embedding_variable("refused", 4, ev_option=option)


@pytest.mark.parametrize("kind, reason", [
    ("HBM", "build without a GPU"), ("HBM_DRAM", "build without a GPU"), ("HBM_DRAM_PMEM_SSDHASH", "build without a GPU"),
])
def test_a_storage_type_that_is_not_there_says_why(kind, reason):
  option = ev_tf.EmbeddingVariableOption(storage_option=ev_tf.StorageOption(ev_tf.StorageType[kind], "/tmp/x"))
  with pytest.raises(NotImplementedError, match=f"StorageType.{kind} is not in this version of ev_tf: .*{reason}"):
    options.check_available(option)


@pytest.mark.parametrize("arguments", [
    {}, dict(evict_option=ev_tf.L2WeightEvict()), dict(evict_option=ev_tf.GlobalStepEvict()),
    dict(filter_option=ev_tf.CounterFilter(0)), dict(ckpt=ev_tf.CheckpointOption()),
    dict(storage_option=ev_tf.StorageOption(ev_tf.StorageType.DEFAULT)),
    dict(storage_option=ev_tf.StorageOption(ev_tf.StorageType.DRAM, storage_size=[128])),
    dict(storage_option=ev_tf.StorageOption(ev_tf.StorageType.DRAM_SSDHASH, "/tmp/x", [128])),
])
def test_what_asks_for_nothing_new_is_available(arguments):
  options.check_available(ev_tf.EmbeddingVariableOption(**arguments))


def test_recording_follows_the_option_and_then_the_environment(monkeypatch):
  assert not options.records_version(ev_tf.EmbeddingVariableOption())
  monkeypatch.setenv("TF_RECORD_VERSION", "1")
  monkeypatch.setenv("TF_RECORD_FREQ", "1")
  assert options.records_version(ev_tf.EmbeddingVariableOption())
  assert options.records_frequency(ev_tf.EmbeddingVariableOption())
  assert not options.records_version(ev_tf.EmbeddingVariableOption(record_version=False))
  for nonsense in ("yes", "", "2"):
    monkeypatch.setenv("TF_RECORD_FREQ", nonsense)
    with pytest.raises(ValueError, match=f"TF_RECORD_FREQ: expected 0 or 1 in the environment, got '{nonsense}'"):
      options.records_frequency(ev_tf.EmbeddingVariableOption())


def test_filters_record_frequencies_and_ages_need_versions():
  filtered = ev_tf.EmbeddingVariableOption(filter_option=ev_tf.CBFFilter(2))
  assert options.records_frequency(filtered) and not options.records_version(filtered)
  ages = ev_tf.EmbeddingVariableOption(evict_option=ev_tf.GlobalStepEvict(5))
  assert options.records_version(ages) and not options.records_frequency(ages)
  for nothing in (dict(filter_option=ev_tf.CounterFilter(0)), dict(evict_option=ev_tf.GlobalStepEvict())):
    option = ev_tf.EmbeddingVariableOption(**nothing)
    assert not options.records_frequency(option) and not options.records_version(option)


def test_older_spellings():
  option = ev_tf.EmbeddingVariableOption()
  with pytest.warns(DeprecationWarning, match="evict_option=GlobalStepEvict"):
    assert options.with_older_spellings(option, 7, None).evict_option == ev_tf.GlobalStepEvict(7)
  with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="expected no other eviction"):
    options.with_older_spellings(ev_tf.EmbeddingVariableOption(evict_option=ev_tf.L2WeightEvict(1.0)), 7, None)
  with pytest.warns(DeprecationWarning, match="CheckpointOption"):
    assert options.with_older_spellings(option, None, "x").ckpt.init_data_source == "x"
  assert options.with_older_spellings(option, None, None) is option
