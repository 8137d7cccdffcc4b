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


def rows_of(database):
  """[(position, key, row)] in the order of the database."""
  rows = []
  for row_key, value in database:
    if row_key == b"\0":
      continue
    (position,) = struct.unpack(">I", row_key)
    rows.append((position, *struct.unpack("<q", value[:8]), struct.unpack("<4f", value[8:])))
  return rows


def test_the_format_key_says_what_it_is(database):
  magic, version, row_bytes = struct.unpack("<8sII", database.get(b"\0"))
  assert (magic, version, row_bytes) == (b"ev_ldbt\0", 2, 16)


def test_rows_come_in_the_order_of_their_positions(database):
  positions = [position for position, _, _ in rows_of(database)]
  assert positions == sorted(set(positions))
  assert sorted(key for _, key, _ in rows_of(database)) == [INT64_MIN, -3, -2, -1, 0, 1, 2, 2, INT64_MAX]


def test_a_value_is_the_key_and_the_bytes_of_the_row(database):
  versions = {}
  for _, key, row in rows_of(database):
    assert row == (float(key), row[1], 0.5, -1.0)
    versions.setdefault(key, set()).add(row[1])
  assert versions.pop(2) == {1.0, 2.0}
  assert set(map(frozenset, versions.values())) == {frozenset({1.0})}


def test_a_position_is_found_without_a_scan(database):
  position, key, _ = rows_of(database)[-1]
  assert struct.unpack("<q", database.get(struct.pack(">I", position))[:8]) == (key,)
