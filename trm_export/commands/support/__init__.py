"""Modules that the commands share: application, options, tables, console and exit codes."""
