"""Check a candidate part by part, keeping each on disk as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trm_export.parity.parts import Parts
from trm_runtime.parity import Golden, ParityResult
from trm_runtime.parity.check import conclude, measure, part_numbers, refusal, work
from trm_runtime.parity.gates import Gates, gates_for
from trm_runtime.parity.measure import Part
from trm_runtime.parity.outcomes import Valid
from trm_runtime.runner import StepRunner

Progress = Callable[[float], object]  # the share of the work that is done


@dataclass(frozen=True)
class Check:
    """One candidate against one golden.

    Attributes:
        golden, candidate: what is compared.
        name: of its parts; other candidates of the same job have others.
        gates: what to demand; None for those of the candidate's precision.
        batch_size: rows a step.
        valid: tells which answers obey the rules of the task.
    """

    golden: Golden
    candidate: StepRunner
    name: str = "candidate"
    gates: Gates | None = None
    batch_size: int = 64
    valid: Valid | None = None

    def refused(self) -> ParityResult | None:
        """The result where the contracts already differ."""
        golden = self.golden
        return refusal(
            golden.contract, self.candidate.contract, self._gates, golden.puzzles, golden.about.kind
        )

    def numbers(self) -> list[int]:
        """The parts there are."""
        return part_numbers(self.golden, self.candidate.contract)

    def part(self, number: int, progress: Callable[[int], object]) -> Part:
        """Measures one of them; `progress` is told of units of work."""
        return measure(
            self.golden, number, self.candidate, self.batch_size, progress, self.valid
        )  # fmt: skip

    def part_name(self, number: int) -> str:
        """What a part is called on disk."""
        return f"{self.name}/part-{number + 1:05d}"

    def run(self, parts: Parts | None = None, progress: Progress | None = None) -> ParityResult:
        """Everything that is not known yet, one part after the other, and what it comes to."""
        refused = self.refused()
        if refused is not None:
            return refused
        done, total = 0, work(self.golden, self.candidate.contract)

        def tell(units: int) -> None:
            nonlocal done
            done += units
            if progress is not None:
                progress(min(done / total, 1.0))

        return self.conclude([self._known(number, parts, tell) for number in self.numbers()])

    def conclude(self, parts: list[Part]) -> ParityResult:
        """What all parts, in the order of `numbers`, come to."""
        return conclude(self.golden, self.candidate.contract, self._gates, parts)

    @property
    def _gates(self) -> Gates:
        return self.gates or gates_for(self.candidate.contract.precision)

    def _known(self, number: int, parts: Parts | None, tell: Callable[[int], object]) -> Part:
        known = None if parts is None else parts.load(self.part_name(number))
        if known is not None:
            return Part.from_arrays(self.golden.contract, known)
        part = self.part(number, tell)
        if parts is not None:
            parts.save(self.part_name(number), part.arrays())
        return part
