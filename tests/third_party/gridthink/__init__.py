"""A package written like a third party's: its own class tree, norms, attention and carry."""

from tests.third_party.gridthink.model import GridThinker

__all__ = ["GridThinker"]
