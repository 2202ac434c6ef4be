"""One driver for each engine; it loads the engine when it opens a model."""
