"""What a program asks for and does not get: said once where training stays the same, an error where it does not."""

import warnings

_said = set()


class IgnoredWarning(UserWarning):
  """A DeepRec feature that has no effect here, and that changes how a program runs, not what it trains."""


def ignored(what, why):
  """Warns, the first time that `what` comes.

  Args:
    what: str, the feature as the program spells it.
    why: str, what happens instead.
  """
  if what not in _said:
    _said.add(what)
    warnings.warn(f"ev_tf.deeprec: {what} is ignored: {why}.", IgnoredWarning, stacklevel=3)


def missing(what, instead):
  """NotImplementedError for a feature without which the program would train something else.

  Args:
    what: str, the feature as the program spells it.
    instead: str, what to do.
  """
  return NotImplementedError(f"{what} is not in ev_tf.deeprec, and without it the program would train another model: "
                             f"{instead}.")
