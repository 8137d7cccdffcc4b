"""For tests: what an embedding variable must do, as a dictionary and a few lines of NumPy."""

from ev_tf.testing.model import RULES, TableModel

__all__ = ["RULES", "TableModel"]
