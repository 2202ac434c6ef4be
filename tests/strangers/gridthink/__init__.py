"""A package written like a stranger's: its own class tree, norms, attention and carry."""

from tests.strangers.gridthink.model import GridThinker

__all__ = ["GridThinker"]
