"""Which TensorFlow the tests run on: older ones fuse other operators, so last bits differ."""

from __future__ import annotations

import tensorflow as tf

VERSION = tuple(map(int, tf.__version__.split(".")[:2]))
NEW = VERSION >= (2, 21)
