"""The Python of README.md and docs/*.md runs as it is printed: the blocks of a document one after another."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import ev_tf

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a document takes for granted.
GIVEN = {
    "lookups.md": """
import tensorflow as tf
import ev_tf
dim, keys = 4, ["items", "users"]
table, items, users = (ev_tf.get_embedding_variable(name, dim) for name in ("table", "items", "users"))
item_ids = user_ids = tf.SparseTensor([[0, 0], [1, 0]], tf.constant([7, -3], tf.int64), [2, 1])
""",
}
OF_ITS_OWN = ("deeprec.md",)  # turns eager mode off for the whole process


def _blocks(document):
  return BLOCK.findall(document.read_text())


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if _blocks(document)], ids=lambda path: path.name)
def test_blocks_run(document, tmp_path):
  blocks = [block.replace("/mnt/nvme", str(tmp_path)) for block in [GIVEN.get(document.name, ""), *_blocks(document)]]
  if document.name in OF_ITS_OWN:
    ran = subprocess.run([sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return
  names = {"tf": tf, "np": np, "ev_tf": ev_tf}
  for block in blocks:
    exec(compile(block, f"{document.name}: {block[:60]!r}", "exec"), names)  # pylint: disable=exec-used


def test_every_document_is_looked_at():
  assert len(DOCUMENTS) > 10 and sum(len(_blocks(document)) for document in DOCUMENTS) >= 9
