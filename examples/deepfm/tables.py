"""The 26 tables of the model: what turns ids into rows.

`EvTables` are embedding variables: any int64 id has a row, and nothing is known about the ids in advance.
static_vocab.py holds the same tables as static tf.Variables over a vocabulary.  Both have the interface of `Tables`.
"""

import abc
import dataclasses

import tensorflow as tf

from features import CATEGORICAL

DEFAULT_ROWS = 4096  # an id's initial row is row `id mod 4096` of a matrix that is drawn once per table


class InitialRows:
  """Initializer: truncated normal numbers that follow from (seed, feature) alone, so that two tables can be made equal.

  Args:
    dim: int. Columns of a whole row.
    columns: slice. Those of them that this table holds.
    seed, feature: ints.
  """

  def __init__(self, dim, columns, seed, feature):
    self.dim, self.columns, self.key = dim, columns, [seed, feature]

  def __call__(self, shape, dtype=tf.float32, **unused):
    rows = tf.random.stateless_truncated_normal([shape[0], self.dim], self.key, stddev=0.001, dtype=dtype)
    return rows[:, self.columns]


class Tables(tf.Module, abc.ABC):
  """The embedding and the bias of every id of every feature.

  A row is [embedding | bias], embedding_dim + 1 floats.  In layout "fused" one table holds it whole: one probe and one
  update per id.  In layout "split" the embedding and the bias have tables of their own, 52 in all.  The optimizers work
  element by element, so the two layouts train to the same numbers.
  """

  def __init__(self, embedding_dim, layout, seed):
    super().__init__(name="tables")
    dim = embedding_dim + 1
    parts = {"fused": {"": slice(0, dim)}, "split": {"_emb": slice(0, embedding_dim), "_bias": slice(embedding_dim, dim)}}
    self.tables = [[self.make_table(f, name + suffix, columns.stop - columns.start, InitialRows(dim, columns, seed, f))
                    for suffix, columns in parts[layout].items()]
                   for f, name in enumerate(CATEGORICAL)]

  @abc.abstractmethod
  def make_table(self, feature, name, dim, initializer):
    """A new variable that tf.nn.embedding_lookup takes."""

  @abc.abstractmethod
  def positions(self, feature, ids):
    """What to look the ids of one feature up by: int64 [n] -> int64 [n]."""

  @abc.abstractmethod
  def count_rows(self):
    """Rows in all tables that hold trained values, int. One id of one feature is one row."""

  @property
  def all(self):
    """The variables as one list."""
    return [table for parts in self.tables for table in parts]

  def rows(self, ids, sizes):
    """The row of every id of a batch: int64 [m], int32 [26] -> float32 [m, embedding_dim + 1]."""
    by_feature = []
    for f, own in enumerate(tf.split(ids, sizes, num=len(CATEGORICAL))):
      at = self.positions(f, own)
      by_feature.append(tf.concat([tf.nn.embedding_lookup(table, at) for table in self.tables[f]], axis=1))
    return tf.concat(by_feature, axis=0)


@dataclasses.dataclass(frozen=True)
class Storage:
  """Where the rows of all tables are kept. It changes how long training takes, and no result."""

  type: str = "DRAM"  # a name of ev_tf.StorageType
  dram_mb: float = 1024.0  # of rows in DRAM, shared evenly by the tables
  path: str = ""  # directory of the tier below DRAM

  def option(self, tables):
    """The ev_tf.StorageOption of one of so many tables."""
    import ev_tf

    return ev_tf.StorageOption(storage_type=ev_tf.StorageType[self.type], storage_path=self.path,
                               storage_size=[max(1, int(self.dram_mb * 2**20 / tables))])


IN_DRAM = Storage()


class EvTables(Tables):
  """One or two ev_tf embedding variables per feature."""

  def __init__(self, embedding_dim, layout, seed, storage=IN_DRAM):
    self.storage = storage
    super().__init__(embedding_dim, layout, seed)

  def make_table(self, feature, name, dim, initializer):
    import ev_tf  # here: a run on static tables needs no native library

    tables = len(CATEGORICAL) * (1 if name in CATEGORICAL else 2)
    return ev_tf.get_embedding_variable(name, embedding_dim=dim, initializer=initializer, ev_option=(
        ev_tf.EmbeddingVariableOption(storage_option=self.storage.option(tables))))

  def count_spilled(self):
    """Rows that have been moved below DRAM until now, int."""
    return sum(int(table.metrics()["demotions"]) for table in self.all)

  def positions(self, feature, ids):
    return ids

  def count_rows(self):
    return sum(int(parts[0].size()) for parts in self.tables)


def sum_lists(rows, cells, batch_rows):
  """Sums the rows of each list; an empty list sums to zeros.

  Args:
    rows: float32 [m, dim].
    cells: int32 [m], as in orc_data.batch_signature.
    batch_rows: int n.

  Returns:
    float32 [n, 26, dim].
  """
  features = len(CATEGORICAL)
  summed = tf.math.unsorted_segment_sum(rows, cells, batch_rows * features)
  return tf.reshape(summed, [-1, features, rows.shape[1]])
