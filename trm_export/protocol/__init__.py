"""The protocol of a recursive Keras model, and the one adapter through which all of them go.

`initial_carry(batch)` makes a carry, `call(carry, batch, training)` returns the next one and the
outputs; a row that enters with `halted` starts a new puzzle. See docs/strangers.md.
"""

from trm_export.protocol.adapt import AnyModel, StepModel, adapt, select
from trm_export.protocol.facts import Asked, Facts, facts_of
from trm_export.protocol.form import gist

__all__ = ["AnyModel", "Asked", "Facts", "StepModel", "adapt", "facts_of", "gist", "select"]
