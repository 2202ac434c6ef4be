"""One driver an engine; each loads its engine only when it opens a model."""
