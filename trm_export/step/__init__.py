"""One ACT step of any recursive Keras model: its protocol, its contract, its weights, its runner.

`initial_carry(batch)` makes a carry, `call(carry, batch, training)` returns the next one and the
outputs; a row that enters with `halted` starts a new puzzle. `step_model.adapt` wraps every model
in the same interface, `signature` makes the contract and the function that is exported. See
docs/third-party-models.md.
"""
