"""C source of a model: portable C99 that needs no interpreter, no heap and no files."""
