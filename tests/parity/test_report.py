"""The report as a page, as Markdown and as JSON: what it says, and what it never does."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity import reports
from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import FakeRunner, make_contract
from trm_export.commands.support.app import run
from trm_export.errors import OverwriteError, RejectedInputError, UsageError
from trm_export.parity.document import JudgedFile, verdict
from trm_export.report import report_files, rewrite_report, write_report
from trm_export.report.document_reader import read_report
from trm_export.report.lost_boards import Cell, stories, text_board
from trm_export.report.numbers import step_tables
from trm_export.report.tables import gates
from trm_export.tasks import get_task
from trm_runtime.parity import Gates, check, record

_VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that tags nest, and gathers what can be seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found[name] or "" for name in ("href", "src", "xlink:href") if name in found]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return reports.document(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def report(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "r.html"
    write_report(document, path)
    return path


def rendered(document: dict[str, Any], folder: Path) -> tuple[Page, str]:
    path = folder / "again.html"
    write_report(document, path)
    assert read_report(path.with_suffix(".json")) == document
    return Page(path.read_text(encoding="utf-8")), path.with_suffix(".md").read_text("utf-8")


def test_the_page_needs_nothing_else(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    page = Page(text)
    assert "://" not in text
    assert "@import" not in text
    assert [found for tag, found in page.tags if tag == "script"] == [{}]
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    drawn = [found for tag, found in page.tags if tag == "svg"]
    assert len(drawn) > 10
    described = [found for _, found in page.tags if found.get("role") == "img"]
    assert all(found["aria-label"] for found in described)
    assert len(described) == len(drawn) - 1  # the grid that boards share shows nothing itself


def test_the_verdict_comes_first(report: Path, document: dict[str, Any]) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    assert document["passed"] is False
    text = page.text
    assert text.index("FAILED") < text.index(document["verdict"]) < text.index("Files")
    markdown = report.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert markdown[2].startswith("# ✗ FAILED: 1 of 2 files does not match its model on")


def test_a_headline_says_what_could_not_be_judged() -> None:
    golden = record(FakeRunner(), toy_puzzles(4, unsettled=(0, 1, 2, 3)))

    def headline(gates: Gates | None) -> str:
        result = check(golden, FakeRunner(), gates=gates)
        contract = golden.contract
        return verdict(golden, [JudgedFile(Path("m.onnx"), contract, "toy", result)])

    assert headline(None) == (
        "m.onnx matches its model on 4 puzzles, within the gates of its precision. The model "
        "settles none of these puzzles, so only single steps were judged."
    )
    assert "on 4 puzzles, within your own gates. The model" in headline(Gates(cosine=0.5))
    assert headline(Gates(answers=1)) == (
        "The model settles none of 4 puzzles, so neither single steps nor answers of m.onnx could "
        "be judged."
    )
    assert headline(Gates()) == "There is no gate for m.onnx, measured on 4 puzzles."


def test_a_headline_tells_of_every_file() -> None:
    golden = record(FakeRunner(), toy_puzzles(4, unsettled=(0, 1, 2, 3)))

    def headline(**limits: Gates | None) -> str:
        found = {name: check(golden, FakeRunner(), gates=gates) for name, gates in limits.items()}
        files = [
            JudgedFile(Path(name), golden.contract, "toy", result) for name, result in found.items()
        ]
        return verdict(golden, files)

    none = Gates(answers=1)
    assert headline(a=None, b=none, c=Gates(), d=none) == (
        "1 of 4 files matches its model on 4 puzzles, within your own gates: a. The model settles "
        "none of these puzzles, so only single steps were judged. Neither single steps nor "
        "answers of b, d could be judged. There is no gate for c, measured on 4 puzzles."
    )
    assert headline(a=None, b=None, c=none).startswith("2 of 3 files match their model on 4 puz")
    assert headline(a=Gates(carry_clipping=0.1)) == (
        "The model settles none of 4 puzzles, so neither single steps nor answers of a could be "
        "judged."
    )
    golden = record(FakeRunner(), toy_puzzles(4))
    assert headline(a=Gates(carry_clipping=0.1)) == (
        "None of the gates applies to a, measured on 4 puzzles."
    )


def test_all_three_say_the_same(report: Path, document: dict[str, Any]) -> None:
    assert json.loads(report.with_suffix(".json").read_text()) == document
    page = Page(report.read_text(encoding="utf-8")).text
    markdown = report.with_suffix(".md").read_text(encoding="utf-8").replace("\\", "")
    bad = document["files"][1]["result"]
    count = len(bad["accuracy"]["lost"])
    lost = f"Lost: {count} puzzle{'s' * (count > 1)} (number "
    for words in (
        lost,
        bad["verdict"],
        f"answers equal, of {bad['decisions']['settled']}",
        "1.23 MB",
        "12.5",
        "the same weights in float64",
        reports.COMMAND,
        "Equal at every step: steps",
        "At most 0.2 % of dense/0, at step 2",
        "onnxruntime 1.0",
        "float32",
    ):
        assert words in page, words
        assert words in markdown, words


def test_the_markdown_reads_without_the_figures(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8")).text
    markdown = report.with_suffix(".md").read_text(encoding="utf-8").replace("\\", "")
    for file in ("good.onnx", "bad.tflite"):
        assert f"**Against the model**\n\n| {file} | found |\n|---|---|\n| drift of " in markdown
    assert "| drift of z_H | A step multiplies the free drift by " in markdown
    assert "12 of 12 puzzles halt at the same step, 0 later than the model, 0 earlier." in markdown
    assert "7 of 12 puzzles halt at the same step, 5 later than the model, 0 earlier." in page
    assert "at step 2; 2 tensors calibrated. |" in markdown
    for of_a_drawing in ("Blue", "Darker", "Top:", "diagonal", "have a name"):
        assert of_a_drawing not in markdown, of_a_drawing
        assert of_a_drawing in page, of_a_drawing
    assert "\n\n\n" not in markdown


def test_the_same_document_gives_the_same_bytes(report: Path, tmp_path: Path) -> None:
    again = tmp_path / "other.html"
    command = ["report", str(report.with_suffix(".json")), "-o", str(again)]
    assert run(command) == run(command) == 0  # the second replaces its own
    for one, other in zip(report_files(report), report_files(again), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_only_our_own_files_are_replaced(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    write_report(document, path)
    for taken in report_files(path):
        kept = taken.read_bytes()
        taken.write_text("somebody else's\n")
        with pytest.raises(OverwriteError, match=taken.name):
            write_report(document, path)
        taken.write_bytes(kept)
    assert {file.suffix for file in tmp_path.iterdir()} == {".html", ".md", ".json"}


HOSTILE = [
    "<script>alert(1)</script>.onnx",
    "\"><img src=x onerror='a'>&amp;.onnx",
    "$x^2$ | `a` *b* [c](d) \u202e\x1b[31m\n# head.onnx",
    "模型-" + "very-long-" * 12 + ".tflite",
    "{{ 7 * 7 }}{% raw %}.onnx",
]


def test_a_hostile_name_stays_a_name(document: dict[str, Any], tmp_path: Path) -> None:
    hostile = copy.deepcopy(document)
    for file, name in zip(hostile["files"], HOSTILE[:2], strict=True):
        file["file"] = name
    hostile["verdict"], hostile["command"] = HOSTILE[2], f"trm-export {HOSTILE[2]}"
    hostile["reference"]["provenance"]["model"] = HOSTILE[4]
    hostile["files"][1]["clipping"] = {name: [0.1] * 8 for name in HOSTILE}
    hostile["files"][0]["result"]["rungs"][0]["problems"] = HOSTILE
    page, markdown = rendered(hostile, tmp_path)
    text = (tmp_path / "again.html").read_text(encoding="utf-8")
    assert text.count("<script") == 1
    assert "<img" not in text
    assert not {"\x1b", "\u202e"} & set(text + markdown)
    for name in HOSTILE:
        shown = name.replace("\u202e", r"\u202e").replace("\x1b", r"\x1b").replace("\n", r"\n")
        assert " ".join(shown.split()) in page.text
    outside = re.sub(r"^```+\n.*?\n```+$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in re.sub(r"\\.", "", outside)
    assert "\n# head" not in markdown


def test_a_code_block_cannot_be_left(document: dict[str, Any], tmp_path: Path) -> None:
    sly = {**document, "command": "a\n```\n# b ````"}
    _, markdown = rendered(sly, tmp_path)
    assert markdown.endswith("`````\na\\n```\\n# b ````\n`````\n")


# --- what may be missing --------------------------------------------------------------------------


def test_puzzles_without_solutions(tmp_path: Path) -> None:
    found = reports.document(tmp_path, labels=False, control=False)
    assert found["files"][0]["result"]["accuracy"] is None
    page, markdown = rendered(found, tmp_path)
    assert "No noise floor was measured" in page.text
    assert "puzzles solved" not in page.text
    assert "the noise floor was not measured" in markdown


def test_a_floor_that_cannot_be_had_is_explained(tmp_path: Path) -> None:
    found = reports.document(tmp_path, control=False)
    reason = "M keeps a float32 weight: look/embeddings"
    found["reference"]["provenance"]["no_control"] = reason
    page, markdown = rendered(found, tmp_path)
    for text in (page.text, markdown):
        assert f"The noise floor was not measured: {reason}." in text
        assert f"none: {reason}" in text


def test_a_contract_that_differs(tmp_path: Path) -> None:
    recorded = reports.golden()
    other = reports.judged(
        tmp_path / "other.onnx", recorded, contract=make_contract(batch=2, vocab=7)
    )
    found = reports.written(recorded, [other])
    assert found["files"][0]["result"]["decisions"] is None
    page, markdown = rendered(found, tmp_path)
    for text in (page.text, markdown):
        assert "FAILED at " in text
        assert "Ship none of these files: none passes its gates." in text


def test_a_loop_shows_no_steps(document: dict[str, Any], tmp_path: Path) -> None:
    loop = copy.deepcopy(document)
    result = loop["files"][0]["result"]
    loop["files"][0]["granularity"] = "loop"
    result.update(forced=[], forced_steps=[], free=[], growth={}, above_floor={})
    page, _ = rendered(loop, tmp_path)
    assert "one loop a call" in page.text
    assert "no single steps" in page.text


def test_infinite_errors(document: dict[str, Any], tmp_path: Path) -> None:
    broken = copy.deepcopy(document)
    result = broken["files"][0]["result"]
    for step in (*result["free"], *result["forced_steps"]):
        for groups in step["tensors"].values():
            for size in groups.values():
                if size is not None:
                    size.update(relative_l2=None, cosine=None, max_abs=None)
    for error in result["forced"]:
        error.update(relative_l2=None, cosine=None)
    page, _ = rendered(broken, tmp_path)
    assert "✗ not finite" in page.text
    for table in step_tables(result):
        assert {row[3:] for row in table.rows} <= {
            ("∞", row[4], "∞", "-", "-") for row in table.rows
        }


# --- gates and boards -----------------------------------------------------------------------------


def test_gates_tell_by_how_much(document: dict[str, Any]) -> None:
    good, bad = ({g[0]: g[1:] for g in gates(f["result"])} for f in document["files"])
    limit, found, margin = good["forced relative L2"]
    assert (limit, float(found) < 1e-4, margin.endswith("times below")) == ("≤ 1.0e-4", True, True)
    assert good["equal answers"] == ("≥ 100.0 %", "100.0 %", "0.00 points")
    assert bad["equal answers"][2].startswith("✗")
    assert document["files"][1]["result"]["passed"] is False


def test_gates_of_ones_own_are_written_as_they_were_given(tmp_path: Path) -> None:
    gate = Gates(cosine=0.999999999, relative_l2=1.23456789e-9)
    file = reports.judged(tmp_path / "m.onnx", reports.golden(), reports.mistaken, gates=gate)
    (found,) = reports.written(reports.golden(), [file])["files"]
    limits = found["result"]["gates"]
    assert (limits["cosine"], limits["relative_l2"]) == (gate.cosine, gate.relative_l2)
    rows = {name: row for name, *row in gates(found["result"])}
    assert rows["forced cosine"][0] == "\N{GREATER-THAN OR EQUAL TO} 0.999999999"


@pytest.mark.parametrize("way", [1, -1])
def test_the_row_of_a_gate_agrees_with_the_verdict(tmp_path: Path, way: int) -> None:
    wrong = reports.mistaken
    plain = reports.judged(tmp_path / "m.onnx", reports.golden(), wrong).result.forced
    floats = [error for error in plain if error.dtype == "float32"]
    most = max(error.relative_l2 for error in floats) * (1 + way * 1e-9)
    gate = Gates(relative_l2=most, cosine=min(error.cosine for error in floats) - way * 1e-9)
    file = reports.judged(tmp_path / "m.onnx", reports.golden(), wrong, gates=gate)
    assert bool(file.result) == (way > 0)
    (found,) = reports.written(reports.golden(), [file])["files"]
    rows = {name: row for name, *row in gates(found["result"])}
    for name in ("forced relative L2", "forced cosine"):
        assert ("\N{BALLOT X}" in rows[name][2]) == (way < 0), rows[name]


def told(task_name: str) -> dict[str, Any]:
    task = get_task(task_name)
    puzzle = task.puzzles("test", count=1)
    inputs, labels = puzzle.inputs, puzzle.solutions
    wrong = labels.copy()
    cell = int(np.flatnonzero(labels[0] != inputs[0])[0])
    wrong[0, cell] = inputs[0, cell]
    steps = np.stack([inputs, wrong, wrong, 0 * labels])
    story = {"rows": [5], "inputs": inputs, "labels": labels, "reference": [*steps[:2], labels]}
    return {"result": {"stories": {**story, "candidate": steps}}}


@pytest.mark.parametrize("name", ["sudoku9", "sudoku4", "maze11", "maze30"])
def test_boards_of_a_task(name: str) -> None:
    (story,) = stories({"reference": {"task": name}}, told(name))
    task = get_task(name)
    (_, model), (_, file) = story.sides
    assert (story.title, story.side) == ("puzzle 5", task.side)
    assert [board.title for board in model][-1] == "step 3: solved"
    assert [board.title for board in file] == [file[0].title, "step 2: 1 wrong", "step 3: 1 wrong"]
    assert all(len(board.cells) == task.seq_len for board in (*model, *file))
    assert [sum(cell.wrong for cell in board.cells) for board in file[1:]] == [1, 1]
    text = text_board(story, file[-1:])
    assert text.count("!") == 1
    assert len(text.splitlines()) == 1 + task.side


def test_boards_of_an_unknown_task(document: dict[str, Any]) -> None:
    (story, *_) = stories(document, document["files"][1])
    board = story.sides[1][1][0]
    assert isinstance(board.cells[0], Cell)
    assert any(cell.wrong for cell in board.cells)
    assert stories(document, document["files"][0]) == []


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"kind": "bench"}', '{"tool": "trm-export 0.1.0", "kind": "parity report"}'],
)
def test_what_is_no_report_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    assert run(["report", str(path)]) == RejectedInputError.exit_code
    assert [file.name for file in tmp_path.iterdir()] == ["other.json"]


def test_a_missing_document(tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match="cannot be read"):
        rewrite_report(tmp_path / "missing.json", tmp_path / "r.html")


def test_two_documents_of_one_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = ["--report", str(tmp_path / "r.html"), "-o", str(tmp_path / "r.json")]
    assert run(["parity", "model.keras", "file.onnx", *targets]) == UsageError.exit_code
    assert "leave out -o" in capsys.readouterr().err
