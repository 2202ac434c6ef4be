"""Step servers: a driver in any language as a program, over standard input and output.

`messages` is the form of a message, `serving` the server of this package, `process` a server that
was started as a command, and `runner` that one as a StepRunner. docs/contract.md is the
specification.
"""
