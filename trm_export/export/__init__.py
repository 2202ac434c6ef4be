"""Exporters: one file a format, all built on the step graph and the contract of `signature`."""
