"""The LevelDB tier is an ordinary LevelDB database: Python reads it by ev_tf/tier/leveldb/FORMAT.md alone.

Needs plyvel, and the program leveldb_tier_sample of a C++ build: EV_LEVELDB_TIER_SAMPLE, or the newest one under build/.
"""

import os
import pathlib
import struct
import subprocess

import pytest

plyvel = pytest.importorskip("plyvel", reason="plyvel is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[3]
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def sample_program():
  named = os.environ.get("EV_LEVELDB_TIER_SAMPLE")
  if named:
    return named
  built = sorted(ROOT.glob("build/*/tests/engine/tier/leveldb_tier_sample"), key=lambda path: path.stat().st_mtime)
  if not built:
    pytest.skip("no leveldb_tier_sample: build the C++ tests first (make native), or set EV_LEVELDB_TIER_SAMPLE")
  return str(built[-1])


@pytest.fixture(scope="module")
def database(tmp_path_factory):
  directory = tmp_path_factory.mktemp("leveldb") / "table"
  subprocess.run([sample_program(), str(directory)], check=True)
  db = plyvel.DB(str(directory), create_if_missing=False)
  yield db
  db.close()


def decode_key(row_key):
  key, position = struct.unpack(">QI", row_key)
  return key - 2**63, position


def encode_key(key, position):
  return struct.pack(">QI", key + 2**63, position)


def test_the_format_key_says_what_it_is(database):
  magic, version, row_bytes = struct.unpack("<8sII", database.get(b"\0"))
  assert (magic, version, row_bytes) == (b"ev_ldbt\0", 1, 16)


def test_rows_come_in_the_order_of_the_keys(database):
  row_keys = [key for key, _ in database if key != b"\0"]
  assert [decode_key(row_key)[0] for row_key in row_keys] == [INT64_MIN, -3, -2, -1, 0, 1, 2, 2, INT64_MAX]
  positions = [decode_key(row_key)[1] for row_key in row_keys]
  assert len(set(positions)) == len(positions)


def test_a_value_is_the_bytes_of_the_row(database):
  rows = [(decode_key(key)[0], struct.unpack("<4f", row)) for key, row in database if key != b"\0"]
  versions = {}
  for key, row in rows:
    assert row == (float(key), row[1], 0.5, -1.0)
    versions.setdefault(key, set()).add(row[1])
  assert versions.pop(2) == {1.0, 2.0}
  assert set(map(frozenset, versions.values())) == {frozenset({1.0})}


def test_a_range_of_keys_is_a_range_of_the_database(database):
  found = [decode_key(key)[0] for key in database.iterator(start=encode_key(-2, 0), stop=encode_key(2, 0),
                                                           include_value=False)]
  assert found == [-2, -1, 0, 1]
