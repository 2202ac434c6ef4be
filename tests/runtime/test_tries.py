"""Asking again: the tries, their guises and noise, when they end, and which answer is chosen."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import (
    SEQ,
    VOCAB,
    FakeRunner,
    expected_answers,
    make_contract,
    make_puzzles,
)
from tests.runtime.test_loop_graph import FakeLoop, loop_contract
from trm_runtime import HaltRule, StepContract, StepEvent, Symmetries, UsageError, solve, write
from trm_runtime.answers import Stream
from trm_runtime.guises import Guises, draw_guises
from trm_runtime.randomness import noise, stream, words
from trm_runtime.tries import plan_tries, tally

Array = np.ndarray[Any, Any]

SYMMETRIES = Symmetries(((1, 2, 3, 0), (1, 0, 2, 3)), ((2, 3, 4, 5),))  # all orders of four cells
FEW = Symmetries(((1, 0, 3, 2),))  # one more guise


def contract_with(symmetries: Symmetries | None = SYMMETRIES, **fields: Any) -> StepContract:
    """The toy contract with symmetries."""
    return make_contract(symmetries=symmetries, **fields)


# --- nothing changes without tries ---------------------------------------------------------------


def recorded(batch: int | None = None, most: int = 99, **options: Any) -> str:
    """A digest of all events, the solution and what is written of it."""
    events: list[bytes] = []
    halt = HaltRule("q_halt_minus_q_continue", -1.0)

    def look(event: StepEvent) -> bool:
        tensors = [event.outputs, event.carry]
        arrays = [
            event.rows, event.slots, event.steps, event.answers, event.q_halt, event.q_continue,
            event.finished, *(named[key] for named in tensors for key in sorted(named)),
        ]  # fmt: skip
        parts = [str((a.dtype, a.shape)).encode() + a.tobytes() for a in arrays]
        events.append(b"".join(parts) + repr(event.stop_reasons).encode())
        assert event.tries is None
        assert event.solved is None
        return len(events) < most

    runner = FakeRunner(make_contract(batch=batch, halt=halt), poison={5: ("z_H", 2)})
    solution = solve(runner, make_puzzles(23), on_step=look, **options)
    assert solution.tries is solution.total_steps is solution.chosen is None
    text = io.StringIO()
    write(solution, text)
    write(solution, text, as_json=True)
    texts = solution.to_json() + text.getvalue() + solution.stops
    return hashlib.sha256(b"".join(events) + texts.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "960e239c266301d6"),
        ({"batch_size": 4}, "a92ce21fdc625e30"),
        ({"batch": 5}, "735b7bc62612eba4"),
        ({"batch_size": 3, "halt": 0.75, "max_steps": 4}, "05ef5024904ca7fc"),
        ({"batch_size": 6, "halt": "max_steps", "most": 9}, "62765c034b9785b6"),
        ({"batch": 40}, "cae33238869febd2"),
    ],
)
def test_without_tries_no_byte_has_changed(options: dict[str, Any], digest: str) -> None:
    """The digests were recorded before there were tries."""
    assert recorded(**options) == digest


# --- the numbers of the specification ------------------------------------------------------------


def mixed(x: int) -> int:
    """The mixing function in whole numbers, as docs/contract.md has it."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return x ^ (x >> 16)


def test_words_are_those_of_the_formula() -> None:
    for start, first in ((0, 0), (1, 5), (0xFFFFFFFF, 1 << 20)):
        wanted = [
            mixed((start + (n + 1) * 0x9E3779B9) & 0xFFFFFFFF) for n in range(first, first + 9)
        ]
        assert words(start, first, 9).tolist() == wanted
    one = mixed((7 + 0x9E3779B9) & 0xFFFFFFFF)
    assert stream(7, 3) == mixed(((one ^ 3) + 0x9E3779B9) & 0xFFFFFFFF)


def test_noise_is_nearly_normal() -> None:
    values = noise(stream(0, 1, 1), 0, 200_000, 0.2)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.002
    assert values.std() == pytest.approx(0.2, rel=0.01)
    assert np.abs(values).max() <= 0.2 * 3.46
    inside = (np.abs(values) < 0.2).mean()
    assert inside == pytest.approx(0.683, abs=0.02)
    np.testing.assert_array_equal(values[1000:1010], noise(stream(0, 1, 1), 1000, 10, 0.2))


# --- guises --------------------------------------------------------------------------------------


def test_guises_differ_and_are_undone() -> None:
    guises = draw_guises(contract_with(), 40, 0)
    assert len(guises) == 40
    keys = {(c.tobytes(), t.tobytes()) for c, t in zip(guises.cells, guises.tokens, strict=True)}
    assert len(keys) == 40
    puzzles, tries = np.tile(make_puzzles(5), (8, 1)), np.arange(40)
    asked = guises.ask(puzzles, tries)
    assert (asked[0] == puzzles[0]).all()
    assert not (asked == puzzles).all()
    np.testing.assert_array_equal(guises.undo(asked, tries), puzzles)
    assert {*guises.tokens[:, 0].tolist(), *guises.tokens[:, 1].tolist()} == {0, 1}


def test_a_guise_moves_cells_and_renames_tokens_as_its_tables_say() -> None:
    guises = Guises(np.array([[2, 0, 1, 3]]), np.array([[0, 1, 3, 4, 2, 5]], np.int32))
    asked = guises.ask(np.array([[2, 3, 4, 5]]), np.array([0]))
    assert asked.tolist() == [[2, 3, 4, 5]]
    assert guises.ask(np.array([[5, 2, 1, 1]]), np.array([0])).tolist() == [[1, 5, 3, 1]]


def test_all_guises_of_a_small_group_are_found_and_no_more() -> None:
    assert len(draw_guises(contract_with(FEW), 9, 0)) == 2
    square = Symmetries(((1, 2, 3, 0), (1, 0, 2, 3)))
    assert len(draw_guises(contract_with(square), 99, 3)) == 24


def test_another_seed_gives_other_guises_and_more_tries_the_same_first_ones() -> None:
    few, many, other = (
        draw_guises(contract_with(), n, seed) for n, seed in ((4, 0), (9, 0), (9, 1))
    )
    np.testing.assert_array_equal(few.cells, many.cells[:4])
    assert (many.cells != other.cells).any()


# --- the loop ------------------------------------------------------------------------------------


def by_hand(puzzles: Array, tries: int, max_steps: int, choose: str = "score") -> list[Any]:
    """(answer, steps, chosen, tries, steps in all) of puzzles that are asked one by one."""
    guises = draw_guises(contract_with(), tries, 0)
    found = []
    for puzzle in puzzles:
        best: Any = None
        total = 0
        for number in range(tries):
            asked = guises.ask(puzzle[None], np.array([number]))
            steps = int(np.clip(asked[0, 0], 1, max_steps))
            score = steps - int(asked[0, 0]) + 0.5
            answer = guises.undo(expected_answers(asked, [steps]), np.array([number]))[0].tolist()
            total += steps
            if best is None or (score > best[0] and (choose == "score" or score > 0)):
                best = (score, answer, steps, number)
            if score > 0:
                break
        found.append((*best[1:], number + 1, total))
    return found


@pytest.mark.parametrize("choose", ["score", "first"])
@pytest.mark.parametrize("batch", [None, 1])
def test_tries_one_after_the_other(choose: str, batch: int | None) -> None:
    puzzles = make_puzzles(25)
    runner = FakeRunner(contract_with(batch=batch))
    got = solve(runner, puzzles, tries=4, max_steps=2, choose=choose, batch_size=1)
    rows = zip(
        got.answers.tolist(),
        got.steps.tolist(),
        got.chosen,
        got.tries,
        got.total_steps,
        strict=True,
    )
    assert list(rows) == by_hand(puzzles, 4, 2, choose)
    assert set(got.stop_reasons) == {"halted", "max_steps"}
    first = solve(runner, puzzles, max_steps=2)
    confident = np.array(first.stop_reasons) == "halted"
    assert (got.tries[confident] == 1).all()
    assert (got.tries[~confident] > 1).all()
    np.testing.assert_array_equal(got.answers[confident], first.answers[confident])


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"batch_size": 40}, {"batch": 1},
                                     {"batch": 7}, {"batch": 60}])  # fmt: skip
def test_tries_side_by_side(options: dict[str, Any]) -> None:
    """Which confident try wins may differ, but not whether there is one."""
    puzzles = make_puzzles(25)
    batch = options.pop("batch", None)
    runner = FakeRunner(contract_with(batch=batch))
    events: list[StepEvent] = []
    got = solve(runner, puzzles, tries=6, max_steps=3, on_step=events.append, **options)
    alone = solve(FakeRunner(contract_with()), puzzles, tries=6, max_steps=3, batch_size=1)
    assert got.stop_reasons == alone.stop_reasons
    guises = draw_guises(contract_with(), 6, 0)
    asked = guises.ask(puzzles, got.chosen)
    np.testing.assert_array_equal(got.steps, np.clip(asked[:, 0], 1, 3))
    answers = guises.undo(expected_answers(asked, got.steps), got.chosen)
    np.testing.assert_array_equal(got.answers, answers)
    assert sum(len(event.rows) for event in events) == got.total_steps.sum()
    finished = np.concatenate([event.rows[event.finished] for event in events])
    assert sorted(finished.tolist()) == list(range(25))
    limit = batch or options["batch_size"]
    assert max(runner.batches) <= limit


def test_a_free_slot_gets_the_lowest_try_and_a_dynamic_batch_grows_again() -> None:
    puzzles = np.array([[5, 2, 2, 2], [1, 3, 3, 3]], np.int32)
    runner = FakeRunner(contract_with())
    seen: list[Any] = []

    def look(event: StepEvent) -> None:
        assert event.tries is not None
        seen.append([*zip(event.rows.tolist(), event.tries.tolist(), strict=True)])

    solve(runner, puzzles, tries=4, max_steps=2, batch_size=3, on_step=look)
    assert seen[0] == [(0, 0), (1, 0)]
    assert seen[1] == [(0, 0)]
    assert seen[2] == [(0, 1), (0, 2), (0, 3)]


def test_a_confident_try_ends_the_others_of_its_puzzle() -> None:
    puzzles = make_puzzles(25)[4::5]  # their first try takes five steps
    guises = draw_guises(contract_with(), 8, 0)
    got = solve(FakeRunner(contract_with()), puzzles, tries=8, max_steps=4)
    for row, puzzle in enumerate(puzzles):
        halts = guises.ask(np.tile(puzzle, (8, 1)), np.arange(8))[:, 0]
        least = halts[1:].min()
        assert least <= 4
        assert got.steps[row] == least
        assert got.total_steps[row] == 4 + 7 * least
        assert got.chosen[row] == 1 + halts[1:].argmin()


def test_all_steps_are_run_and_a_sure_answer_is_not_asked_again() -> None:
    puzzles = make_puzzles(10)
    got = solve(FakeRunner(contract_with()), puzzles, tries=4, halt="max_steps", max_steps=3)
    assert set(got.stop_reasons) == {"max_steps"}
    assert ((got.tries == 1) == (puzzles[:, 0] <= 3)).all()


def test_votes_need_all_tries_and_the_most_frequent_answer_wins() -> None:
    contract = contract_with(Symmetries(((1, 2, 3, 0), (1, 0, 2, 3))))
    puzzles = np.array([[1, 3, 3, 3], [2, 2, 2, 2]], np.int32)
    got = solve(FakeRunner(contract), puzzles, tries=6, choose="vote", batch_size=4)
    assert got.tries.tolist() == [6, 6]
    guises = draw_guises(contract, 6, 0)
    for row, puzzle in enumerate(puzzles):
        asked = guises.ask(np.tile(puzzle, (6, 1)), np.arange(6))
        answers = guises.undo(expected_answers(asked, asked[:, 0]), np.arange(6))
        best = tally(zip(answers, np.full(6, 0.5), strict=True))[0]
        assert best.votes > 1
        assert got.answers[row].tolist() == best.answer.tolist()
        assert got.chosen[row] == (answers == best.answer).all(axis=1).argmax()


def test_tally_counts_votes_first_and_sureness_second() -> None:
    one, two = np.array([[1, 2]]), np.array([[1], [2]])
    found = tally([(one, -3.0), (two, 9.0), (one, 0.0), (None, 50.0)])
    assert [(c.answer.shape, c.votes) for c in found] == [((1, 2), 2), ((2, 1), 1)]
    assert found[0].sureness == pytest.approx((0.5 + 1 / (1 + np.exp(3))) / 2)
    assert tally([(one, -3.0), (two, 9.0)])[0].answer is two
    assert tally([(None, 1.0)]) == ()


def test_a_try_that_ends_in_nan_is_not_chosen() -> None:
    puzzles = np.array([[1, 2, 3, 4]], np.int32)
    runner = FakeRunner(contract_with(), poison={4: ("z_L", 1)})
    assert solve(runner, puzzles).stop_reasons == ("nonfinite",)
    got = solve(runner, puzzles, tries=6)
    assert got.stop_reasons == ("halted",)
    assert got.chosen[0] > 0
    alone = solve(FakeRunner(contract_with(), poison=dict.fromkeys(range(6), ("z_L", 1))), puzzles,
                  tries=3)  # fmt: skip
    assert alone.stop_reasons == ("nonfinite",)
    assert alone.tries.tolist() == [3]


def test_deadline_and_cancel_end_the_tries() -> None:
    puzzles = make_puzzles(10)
    runner = FakeRunner(contract_with())
    none = solve(runner, puzzles, tries=4, deadline=0.0)
    assert set(none.stop_reasons) == {"deadline"}
    assert not none.tries.any()
    calls: list[StepEvent] = []

    def cancel(event: StepEvent) -> bool:
        calls.append(event)
        return len(calls) < 3

    got = solve(runner, puzzles, tries=4, max_steps=2, on_step=cancel)
    assert sum(len(event.rows) for event in calls) == got.total_steps.sum()
    sure = puzzles[:, 0] <= 2
    assert [reason == "halted" for reason in got.stop_reasons[:2]] == [True, True]
    assert {got.stop_reasons[row] for row in np.flatnonzero(~sure)} <= {"halted", "cancelled"}
    assert "cancelled" in got.stop_reasons
    assert np.isfinite(got.q_halt).all()


def test_what_is_counted_at_the_end_is_what_was_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    isin = np.isin

    def counted(*words: Any, **options: Any) -> Any:
        compared.append(words)
        return isin(*words, **options)

    monkeypatch.setattr("trm_runtime.asking.np.isin", counted)
    puzzles = make_puzzles(3)
    options = {"vary": "noise", "halt": 1e9, "max_steps": 1, "batch_size": 3}
    few = solve(FakeRunner(contract_with()), puzzles, tries=4, **options)
    left = iter(range(3, -1, -1))  # rounds of calls, one for each try
    many = solve(
        FakeRunner(contract_with()), puzzles, tries=1 << 16, **options,
        on_step=lambda _: next(left) > 0,
    )  # fmt: skip
    np.testing.assert_array_equal(many.tries, few.tries)
    np.testing.assert_array_equal(many.agreement, few.agreement)
    assert len(compared) < 20


@pytest.mark.parametrize("choose", ["score", "vote"])
@pytest.mark.parametrize("calls", [0, 40])
def test_memory_is_of_the_tries_that_were_begun(choose: str, calls: int) -> None:
    """Those of a forged request are thousands of millions."""
    left = iter(range(calls, -1, -1))
    tracemalloc.start()
    got = solve(
        FakeRunner(contract_with()), make_puzzles(2000), vary="noise", halt=1e9, max_steps=1,
        tries=1 << 16, choose=choose, deadline=None if calls else 0.0, batch_size=2000,
        on_step=lambda _: next(left) > 0,
    )  # fmt: skip
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(got.tries, calls + 1 if calls else 0)
    assert peak < 60_000_000


def clocked(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> FakeRunner:
    """The toy model; a step takes a second."""
    runner = FakeRunner(contract_with(**fields))
    monkeypatch.setattr("time.monotonic", lambda: 100.0 + len(runner.batches))
    return runner


@pytest.mark.parametrize("seconds", [1, 2, 3, 5, 99])
def test_a_puzzle_is_asked_again_while_its_time_is_not_over(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    puzzles = make_puzzles(20)
    runner = clocked(monkeypatch, batch=1)
    got = solve(runner, puzzles, tries=4, max_steps=2, deadline_each=seconds)
    free = solve(FakeRunner(contract_with(batch=1)), puzzles, tries=4, max_steps=2)
    np.testing.assert_array_equal(got.all_steps, np.minimum(free.all_steps, seconds))
    cut = free.all_steps > seconds
    assert cut.any() == (seconds < 8)
    assert [reason == "deadline" for reason in got.stop_reasons] == cut.tolist()
    np.testing.assert_array_equal(got.answers[~cut], free.answers[~cut])


@pytest.mark.parametrize("choose", ["score", "first", "vote"])
@pytest.mark.parametrize("batch", [None, 5])
def test_times_end_tries_side_by_side(
    monkeypatch: pytest.MonkeyPatch, batch: int | None, choose: str
) -> None:
    puzzles = make_puzzles(20)
    runner = clocked(monkeypatch, batch=batch)
    began: dict[int, int] = {}
    seen: list[int] = []

    def look(event: StepEvent) -> None:
        for row in event.rows.tolist():
            began.setdefault(row, len(runner.batches))
            assert len(runner.batches) - began[row] < 4
        seen.extend(event.rows[event.finished].tolist())

    options = {"tries": 6, "max_steps": 3, "choose": choose, "batch_size": 5}
    got = solve(runner, puzzles, deadline_each=4, on_step=look, **options)
    assert set(began) == set(range(20))
    assert len(set(seen)) == len(seen)
    late = {row for row, reason in enumerate(got.stop_reasons) if reason == "deadline"}
    assert late
    assert set(range(20)) - set(seen) <= late
    assert set(got.stop_reasons) <= {"halted", "max_steps", "deadline"}
    assert np.isfinite(got.q_halt).all()


def test_noise_is_on_the_states_of_all_tries_but_the_first() -> None:
    contract = contract_with(None)
    carries: list[tuple[Array, Any]] = []

    class Listening(FakeRunner):
        def step(self, inputs: Any, carry: Any) -> Any:
            output = super().step(inputs, carry)
            carries.append((carry["z_L"], output.carry["z_L"]))
            return output

    puzzle = np.array([[5, 2, 2, 2]], np.int32)
    got = solve(Listening(contract), puzzle, tries=2, vary="noise", max_steps=3, seed=9)
    assert got.tries.tolist() == [2]
    size = 2 * SEQ * 3
    for call in (1, 2, 4, 5):
        number, steps = divmod(call, 3)
        values = noise(stream(9, 1, 1), (steps - 1) * size, size, 0.2)[size // 2 :]
        wanted = carries[call - 1][1] + values.reshape(1, SEQ, 3) * np.float32(number)
        np.testing.assert_array_equal(carries[call][0], wanted)


def test_both_varies_the_guise_and_adds_noise() -> None:
    runner = FakeRunner(contract_with(FEW))
    puzzle = np.array([[5, 4, 2, 2]], np.int32)
    one = solve(runner, puzzle, tries=5, max_steps=3, choose="vote")
    both = solve(runner, puzzle, tries=5, max_steps=3, choose="vote", vary="both")
    assert (one.tries[0], both.tries[0]) == (2, 5)


@pytest.mark.parametrize("batch", [None, 4])
def test_a_loop_is_asked_again(batch: int | None) -> None:
    contract = loop_contract(batch, symmetries=SYMMETRIES)
    puzzles = make_puzzles(10)
    bad = puzzles[:, -1] == 4
    assert bad.any()
    assert not bad.all()
    got = solve(FakeLoop(contract, poison={4: "q_halt_logits"}), puzzles, tries=9)
    assert ((got.tries > 1) == bad).all()
    assert set(got.stop_reasons) == {"halted"}
    asked = draw_guises(contract, 9, 0).ask(puzzles, got.chosen)
    np.testing.assert_array_equal(got.steps, asked[:, 0])
    with pytest.raises(UsageError, match="no float32 states between its steps"):
        solve(FakeLoop(contract), puzzles, tries=4, vary="noise")


@pytest.mark.parametrize("as_json", [False, True])
def test_answers_are_written_as_soon_as_their_puzzle_is_done(as_json: bool) -> None:
    puzzles = make_puzzles(25)
    runner = FakeRunner(contract_with())
    target = io.StringIO()
    streamed = Stream(target, runner.contract, puzzles, as_json=as_json)
    got = solve(runner, puzzles, tries=3, max_steps=2, batch_size=5, on_step=streamed)
    before = target.getvalue()
    streamed.finish(got)
    streamed.end()
    whole = io.StringIO()
    write(got, whole, as_json=as_json)
    assert target.getvalue() == whole.getvalue()
    assert before.count("\n") == 25 + as_json
    line = before.splitlines()[int(as_json)]
    assert '"tries": 1' in line if as_json else line.split("\t")[4:] == ["1", "1", "0"]
    assert " tries on average" in got.stops


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {"vary": "symmetry"}, "lists no symmetries"),
        ({"symmetries": FEW, "num_puzzle_identifiers": 5}, {}, "follows another rule"),
        ({"symmetries": FEW}, {"vary": "all"}, "vary: expected one of symmetry, noise, both"),
        ({"symmetries": FEW}, {"choose": "best"}, "choose: expected one of score, first, vote"),
        ({"symmetries": FEW}, {"seed": -1}, "seed: expected an integer of 0 to 4294967295"),
        ({"symmetries": FEW}, {"sigma": 0}, "sigma: expected a number above 0"),
        ({"symmetries": FEW}, {"tries": 0}, "tries: expected 1 or more"),
        ({"symmetries": FEW}, {"tries": 1 << 20}, "tries: expected at most"),
    ],
)
def test_wrong_options_are_refused(
    fields: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    runner = FakeRunner(make_contract(**fields))
    with pytest.raises(UsageError, match=message):
        solve(runner, make_puzzles(2), **{"tries": 2, **options})


def test_one_identifier_is_no_rule_of_its_own() -> None:
    contract = make_contract(symmetries=FEW, num_puzzle_identifiers=1)
    assert plan_tries(contract, 2, "symmetry", "score", 0, 0.2).count == 2


def test_the_vocabulary_is_that_of_the_toy() -> None:
    assert draw_guises(contract_with(), 2, 0).tokens.shape == (2, VOCAB)
