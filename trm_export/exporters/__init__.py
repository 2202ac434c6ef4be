"""Exporters: one file a format, all built on the graph and the contract of `signature`."""
