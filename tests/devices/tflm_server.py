"""A step server over the interpreter of tflite-micro: `python tflm_server.py FILE [ARENA]`.

For `python -m trm_runtime check --command`. ARENA is in bytes; without it, it is large enough.
Needs the packages tflite-micro and trm-runtime.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, final

import numpy as np
from tflite_micro import runtime

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.drivers.tflite_file import read_contract
from trm_runtime.runner import Arrays, StepOutput, step_output
from trm_runtime.servers.serving import StepServer, own_output

LARGE = 1 << 28  # bytes of an arena


@final
class MicroRunner:
    """A StepRunner over tflite-micro; finds inputs and outputs by their names in the signature."""

    def __init__(self, path: Path, arena: int) -> None:
        self.contract = StepContract.from_json(read_contract(path), str(path))
        data = path.read_bytes()
        model = runtime.convert_bytearray_to_object(data)
        graph, signature = model.subgraphs[0], model.signatureDefs[0]
        self._inputs = _places(signature.inputs, graph.inputs)
        self._outputs = _places(signature.outputs, graph.outputs)
        self._interpreter = runtime.Interpreter.from_bytes(data, arena_size=arena)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; see StepRunner.step."""
        feeds = {**check_step_call(self.contract, inputs, carry), **carry}
        for name, place in self._inputs.items():
            self._interpreter.set_input(np.ascontiguousarray(feeds[name]), place)
        self._interpreter.invoke()
        tensors = {
            name: np.array(self._interpreter.get_output(place))
            for name, place in self._outputs.items()
        }
        return step_output(self.contract, tensors)


def _places(entries: Any, tensors: Any) -> dict[str, int]:
    """Name in the signature -> place in the list of the graph's tensors."""
    order = [int(number) for number in tensors]
    return {entry.name.decode(): order.index(entry.tensorIndex) for entry in entries}


if __name__ == "__main__":
    model, size = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else LARGE
    with own_output() as output:
        StepServer(MicroRunner(model, size), "tflite-micro", output).serve(sys.stdin.buffer)
