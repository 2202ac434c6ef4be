"""A Hierarchical Reasoning Model (arXiv 2506.21734) in Keras, as another package would hold it."""

from tests.third_party.hierarchy.model import HRM

__all__ = ["HRM"]
