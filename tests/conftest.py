"""For every test."""


def pytest_collection_modifyitems(items):
  """Slow tests first: of several processes, none is left alone with one at the end."""
  items.sort(key=lambda item: item.get_closest_marker("slow") is None)
