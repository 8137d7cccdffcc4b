"""Names of the Criteo columns: one label, 13 numeric features, 26 categorical features."""

LABEL = "label"
NUMERIC = tuple(f"i{k}" for k in range(1, 14))
CATEGORICAL = tuple(f"c{k}" for k in range(1, 27))
COLUMNS = (LABEL, *NUMERIC, *CATEGORICAL)


class DataError(Exception):
  """The data cannot be used; the message says which file, what was expected and what came."""
