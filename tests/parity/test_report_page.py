"""The page of a report for its reader: what to ship, and tables and figures that can be read."""

from __future__ import annotations

import copy
import functools
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.parity import reports
from tests.parity.test_report import Page, rendered
from tests.runtime.fakes import make_contract
from trm_export.files import distinct_names
from trm_export.report.board_svg import board_svg, shared_parts
from trm_export.report.cost_figures import CostPoint, front
from trm_export.report.decision_figures import Difference, differences, heatmap
from trm_export.report.lost_boards import Board, Cell, LostPuzzle
from trm_export.report.recommendation import recommendation
from trm_export.report.svg import CHARACTER, Scale
from trm_export.report.text import brief, power_of_ten, size_text
from trm_export.report.write import rewrite_report

SHIPPED = Path(__file__).parents[2] / "docs" / "sudoku9" / "parity.json"
TEXT = re.compile(r'<text x="([\d.]+)" y="([\d.]+)"([^>]*)>([^<]*)</text>')


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A file that passes and one that fails, with costs of both and of the model."""
    found = reports.document(tmp_path_factory.mktemp("files"))
    found["speed"] = {"machine": "a chip, 2 cores", "date": "2026-11-28"}
    found["reference"]["cost"] = {"bytes": 4_000_000, "step_ms": 20.0, "device": "cpu: a chip"}
    return found


@pytest.fixture
def passing(document: dict[str, Any]) -> dict[str, Any]:
    """Three files that pass, of other sizes and speeds."""
    found = copy.deepcopy(document)
    costs = (("large.onnx", 3_000_000, 5.0), ("a.onnx", 90_000, 9.0), ("b.onnx", 90_000, 8.0))
    found["files"] = [
        {**copy.deepcopy(found["files"][0]), "file": name, "bytes": size, "cost": {"step_ms": ms}}
        for name, size, ms in costs
    ]
    return found | {"passed": True, "verdict": "All 3 files match their model on 12 puzzles."}


# --- what to ship ---------------------------------------------------------------------------------


def test_the_page_begins_with_the_file_to_ship(passing: dict[str, Any], tmp_path: Path) -> None:
    page, markdown = rendered(passing, tmp_path)
    sentence = (
        "90.0 kB (44.4x smaller), 0.0 points (\N{MINUS SIGN}14.0 to +14.0), 2.75 steps, 8.00 ms "
        "a step on this machine, 2026-11-28."
    )
    head, doubt = "only after a check on more puzzles", recommendation(passing).doubt
    measure = recommendation(passing).measure
    told = f"{doubt} {measure}"
    assert f"✓ PASSED Ship b.onnx {head}: {sentence} {told} {passing['verdict']}" in page.text
    assert ("code", {}) in page.tags
    told = f"{doubt}\n\n```\n{measure}\n```"
    assert f"**Ship b.onnx {head}: {sentence}**\n\n{told}\n" in markdown.replace("\\", "")
    rule = "The rule: the smallest file that passes all its gates. Speed does not decide"
    fastest = "The fastest that passes is large.onnx: 5.00 ms a step, 3.00 MB."
    for words in (rule, fastest, "This machine: a chip, 2 cores."):
        assert words in page.text
        assert words in markdown.replace("\\", "")


def test_too_few_puzzles_are_named_with_the_command_for_enough(passing: dict[str, Any]) -> None:
    found = recommendation(passing)
    assert found.doubt == (
        "12 puzzles are too few: the difference from the model is known to "
        "\N{PLUS-MINUS SIGN}14.0 points, and a loss of 0.5 is to be excluded. That needs about 390 "
        "puzzles. Measure more:"
    )
    assert found.measure == (
        "trm-export parity toy.keras good.onnx bad.tflite --report r.html --count 390"
    )
    again = passing | {"command": "trm-export parity m.keras --count=16 b.onnx --force"}
    assert recommendation(again).measure == "trm-export parity m.keras b.onnx --count 390"
    own = passing | {"command": "trm-export parity m.keras b.onnx --puzzles own.csv"}
    assert recommendation(own).measure == ""
    assert "The puzzles that were given are no more" in recommendation(own).doubt
    some = passing | {"command": own["command"] + " --count 12"}
    assert recommendation(some).measure.endswith("--puzzles own.csv --count 390")
    golden = passing | {"command": "trm-export parity m.keras b.onnx --golden g.npz"}
    assert recommendation(golden).measure == "trm-export reference ... --count 390"
    assert recommendation(golden).doubt.endswith("Record a reference of more:")


@pytest.mark.parametrize(
    ("lost", "won", "n", "needed"),
    [(0, 0, 390, 0), (0, 0, 389, 390), (8, 8, 2000, 0), (2, 2, 200, 3200), (20, 0, 2000, 0)],
)
def test_how_many_puzzles_are_enough(
    lost: int, won: int, n: int, needed: int, passing: dict[str, Any]
) -> None:
    score = passing["files"][2]["result"]["accuracy"]
    score.update(lost=[*range(lost)], won=[*range(won)], n=n)
    doubt = recommendation(passing | {"files": passing["files"][2:]}).doubt
    assert doubt == "" if not needed else f"about {needed} puzzles" in doubt


def test_without_labels_settled_answers_are_counted(tmp_path: Path) -> None:
    found = reports.document(tmp_path, labels=False)
    settled = found["files"][0]["result"]["decisions"]["settled"]
    assert recommendation(found).doubt.startswith(f"{settled} puzzles are too few: ")


def test_only_a_file_that_passes_is_shipped(document: dict[str, Any], tmp_path: Path) -> None:
    page, _ = rendered(document, tmp_path)
    found = page.text
    assert document["files"][1]["result"]["passed"] is False
    assert found.index(document["verdict"]) < found.index("Of the files that pass, ship good.onnx")
    failing = copy.deepcopy(document)
    del failing["files"][0]
    assert recommendation(failing).facts == "Ship none of these files: none passes its gates."


def test_a_file_without_gates_is_not_shipped(document: dict[str, Any]) -> None:
    unjudged = copy.deepcopy(document)
    for rung in unjudged["files"][0]["result"]["rungs"][3:]:
        rung["status"] = "reported"
    del unjudged["files"][1]
    assert recommendation(unjudged).facts == ("Ship none of these files: no file could be judged.")


def test_a_pass_with_lost_puzzles_is_explained(passing: dict[str, Any], tmp_path: Path) -> None:
    page, _ = rendered(passing, tmp_path)
    assert "To pass is to be within the gates" not in page.text
    passing["files"][0]["result"]["accuracy"].update(lost=[1, 2], won=[3])
    page, markdown = rendered(passing, tmp_path)
    for text in (page.text, markdown.replace("\\", "")):
        assert (
            "To pass is to be within the gates, not to be equal: large.onnx loses 2 puzzles that "
            "the model solves and wins 1 that it does not, of 12. No file that passes loses more."
        ) in text


def test_no_puzzle_is_claimed_that_was_not_run(tmp_path: Path) -> None:
    recorded = reports.golden()
    other = make_contract(batch=2, vocab=7)
    refused = reports.judged(tmp_path / "other.onnx", recorded, contract=other)
    found = reports.written(recorded, [refused])
    assert found["verdict"] == (
        "other.onnx does not match its model. No puzzle was run on other.onnx."
    )
    assert " on 12 puzzles" not in refused.result.summary
    page, markdown = rendered(found, tmp_path)
    for text in (page.text, markdown):
        assert "on 12 puzzles" not in text
        assert "none: no file was run step by step" in text
    both = reports.written(recorded, [refused, reports.judged(tmp_path / "good.onnx", recorded)])
    assert both["verdict"] == (
        "1 of 2 files does not match its model: other.onnx. No puzzle was run on other.onnx."
    )


# --- tables ---------------------------------------------------------------------------------------


def test_the_model_comes_first_and_the_files_by_size(
    passing: dict[str, Any], tmp_path: Path
) -> None:
    page, markdown = rendered(passing, tmp_path)
    rows = [line.replace("\\", "") for line in markdown.split("## Files")[1].splitlines()[4:8]]
    assert [row.split(" | ")[0] for row in rows] == ["| toy.keras", *(
        f"| {name}" for name in ("a.onnx", "b.onnx", "large.onnx")
    )]  # fmt: skip
    assert "| the model | 4000.0 kB | 20.0 | 83.3 % |" in rows[0]
    assert "| 3000.0 kB |" in rows[3]  # one unit in a column
    assert "| ✓ passed | 90.0 kB | 9.00 | 83.3 % | 0.0 (\N{MINUS SIGN}14.0 to +14.0) |" in rows[1]
    names = ["a.onnx", "b.onnx", "large.onnx"]
    places = [page.text.index(f"✓ passed {name}") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("size", "text"),
    [(590_697, "0.59 MB"), (100_000, "0.10 MB"), (99_940, "99.9 kB"), (1234, "1.2 kB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_tables_have_heads_with_a_scope_and_names_on_a_phone(
    document: dict[str, Any], tmp_path: Path
) -> None:
    page, _ = rendered(document, tmp_path)
    assert all(found.get("scope") in ("col", "row") for tag, found in page.tags if tag == "th")
    cells = [found["data-head"] for tag, found in page.tags if "data-head" in found]
    assert cells[:4] == ["verdict", "size", "ms/step", "solved"]
    assert not [tag for tag, _ in page.tags if tag == "button"]  # only the script adds them
    (sortable,) = (found for tag, found in page.tags if found.get("class") == "sortable")
    roles = {found.get("role") for tag, found in page.tags if tag in ("table", "tr", "td", "th")}
    assert sortable["role"] == "table"  # which a row that is shown as a card is not by itself
    assert roles >= {"table", "row", "cell", "columnheader", "rowheader"}
    titles = [found["title"] for tag, found in page.tags if tag == "th" and "title" in found]
    assert "Puzzles that only the model solves" in titles


def test_the_contents_lead_to_every_section(document: dict[str, Any], tmp_path: Path) -> None:
    page, _ = rendered(document, tmp_path)
    assert [link for link in page.links if not link.startswith("#shared-")] == [
        "#files", "#file-1", "#file-2", "#provenance", "#reproduce",
    ]  # fmt: skip
    assert ("nav", {"aria-label": "Contents"}) in page.tags


def test_an_explanation_is_on_the_page(document: dict[str, Any], tmp_path: Path) -> None:
    told = copy.deepcopy(document)
    told["files"][1]["explanation"] = {
        "summary": "the cause is the file: <b>",
        "findings": ["First bad step: 1, tensor z_H."],
        "tables": [{"title": "Trials", "heads": ["trial", "passes"], "rows": [["fp32", "yes"]]}],
    }
    page, markdown = rendered(told, tmp_path)
    for text in (page.text, markdown.replace("\\", "")):
        assert "the cause is the file: <b>" in text
        assert "First bad step: 1, tensor z_H." in text
        assert "Trials" in text


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    recorded = reports.golden()
    paths = [tmp_path / folder / "m.onnx" for folder in ("x/new", "y/new", "y/old")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    names = ["x/new/m.onnx", "y/new/m.onnx", "old/m.onnx"]
    assert distinct_names([*paths, Path("n.onnx")]) == [*names, "n.onnx"]
    found = reports.written(recorded, [reports.judged(path, recorded) for path in paths])
    assert [file["file"] for file in found["files"]] == names


# --- figures --------------------------------------------------------------------------------------


def spots(count: int, exact: float = 0.9) -> list[CostPoint]:
    """Files of nearly equal costs, each better than the one before."""
    return [
        CostPoint(f"a-long-name-{i}.onnx", "int8", 1 + i / 50, exact + i / 1000, (0.88, 1.0))
        for i in range(count)
    ]


def test_names_in_a_figure_never_overlap() -> None:
    found = front(spots(12), None, "size", "MB")
    assert found is not None
    boxes = [
        (float(x), float(y), len(text) * CHARACTER)
        for x, y, kind, text in TEXT.findall(found.svg)
        if 'class="label"' in kind
    ]
    assert 2 <= len(boxes) <= 12
    for (x, y, wide), (other_x, other_y, other_wide) in combinations(boxes, 2):
        assert abs(x - other_x) >= (wide + other_wide) / 2 - 0.2 or abs(y - other_y) >= 12.8
    assert found.svg.count("<title>") == 12  # every file is named where a pointer rests on it


def test_an_axis_of_shares_ends_at_100() -> None:
    found = front(spots(3, exact=0.99), None, "size", "MB")
    assert found is not None
    ticks = [
        float(text)
        for _, _, kind, text in TEXT.findall(found.svg)
        if 'text-anchor="end"' in kind and 'class="tick"' in kind
    ]
    assert max(ticks) == 100


def test_a_figure_of_costs_has_a_legend() -> None:
    model = CostPoint("m.keras", "model", 4.0, 0.9, (0.88, 0.92))
    found = front([*spots(2), CostPoint("f", "fp32", 3.0, 0.9, (0.8, 1.0))], model, "size", "MB")
    assert found is not None
    assert [text for _, _, _, text in TEXT.findall(found.svg)][-3:] == ["fp32", "int8", "model"]


def test_differences_are_dots_with_intervals() -> None:
    files = [
        Difference("good.onnx", "fp32", 0.0, (-0.2, 0.2), -0.5),
        Difference("small.tflite", "int8", -2.0, (-3.5, -0.5), None),
    ]
    found = differences(files, 200)
    assert "<rect" not in found.svg
    svg, label = (text.replace("\N{MINUS SIGN}", "-") for text in (found.svg, found.label))
    assert "<title>small.tflite: -2.0 (-3.5 to -0.5) points</title>" in svg
    assert label.endswith("good.onnx 0.0 (-0.2 to +0.2); small.tflite -2.0 (-3.5 to -0.5).")
    assert "The short red line is the gate" in found.read
    assert "gate" not in differences(files[1:], 200).read


def test_counts_fit_their_cells() -> None:
    matrix = [[123_456 if abs(x - y) < 2 else 0 for x in range(16)] for y in range(16)]
    svg = heatmap({"matrix": matrix}).svg
    side = float(re.search(r'<rect [^>]*width="([\d.]+)"', svg)[1])  # type: ignore[index]
    texts = re.findall(r'font-size:([\d.]+)px">([^<]+)</text>', svg)
    assert len(texts) == 16 + 2 * 15
    assert all(float(size) * 0.6 * len(text) <= side for size, text in texts)
    assert "<title>model step 1, file step 2: 123456 puzzles</title>" in svg


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (9999, "9999"), (12_345, "12k"), (1_234_567, "1.2M")]
)
def test_brief_counts(count: int, text: str) -> None:
    assert brief(count) == text


def test_ticks_are_round() -> None:
    assert Scale(0, 1, 0, 100).ticks == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Scale(2e-4, 3e-1, 0, 1, log=True).ticks == pytest.approx([1e-3, 1e-2, 1e-1])
    assert [power_of_ten(v) for v in (1e-3, 3e-2, 1.0)] == ["10⁻³", "3·10⁻²", "10⁰"]


# --- the whole page -------------------------------------------------------------------------------


def test_a_file_takes_a_tenth_of_a_megabyte(tmp_path: Path) -> None:
    rewrite_report(SHIPPED, tmp_path / "all.html")
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 11 * 100_000
    page = Page(text)
    assert len([found for _, found in page.tags if found.get("class") == "file"]) == 11
    assert page.text.count("step by step") == 8  # the files that lose puzzles show their boards


def test_what_the_boards_of_a_puzzle_share_is_drawn_once_and_all_the_rest_on_each() -> None:
    given, free = (functools.partial(Cell, given=given) for given in (True, False))
    cells = [
        (given("1", wrong=False), given("2", wrong=False), free("4", wrong=True)),
        (given("1", wrong=False), given("3", wrong=True), free("5", wrong=False)),
    ]
    boards = [Board("a step", (*of_board, free("", wrong=False))) for of_board in cells]
    puzzle = LostPuzzle("puzzle 7", 2, 0, tuple(("a side", (board,)) for board in boards))
    shared = str(shared_parts([puzzle, puzzle]))
    found = re.search(r'<g id="(shared-cells-\w+)" class="board">(.*?)</g>', shared)
    assert found is not None
    assert re.findall(r'class="(.*?)"', found[2]) == ["ground", "is-given"]
    assert re.findall(r">(\d+)<", shared) == ["1"]
    drawn = [str(board_svg(puzzle, board)) for board in boards]
    assert [drawing.count(f'href="#{found[1]}"') for drawing in drawn] == [1, 1]
    text = re.compile(r'<text(?: class="([^"]*)")?[^>]*>(\d+)<')
    texts = [text.findall(drawing) for drawing in drawn]
    assert texts == [[("is-wrong", "4"), ("is-given", "2")], [("is-wrong", "3"), ("", "5")]]


def test_a_document_from_before_some_keys_is_read(tmp_path: Path) -> None:
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    for part in (document["reference"], *document["files"]):
        part["halt"].pop("settled", None)
    for rung in (rung for file in document["files"] for rung in file["result"]["rungs"]):
        rung.pop("needed", None)
    old = tmp_path / "old.json"
    old.write_text(json.dumps(document))
    rewrite_report(old, tmp_path / "old.html")
    assert (tmp_path / "old.html").stat().st_size > 100_000


def luminance(colour: str) -> float:
    """Of `#rrggbb`, by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_has_contrast_on_a_light_and_on_a_dark_page(
    document: dict[str, Any], tmp_path: Path
) -> None:
    rendered(document, tmp_path)
    css = (tmp_path / "again.html").read_text(encoding="utf-8")
    palettes = [dict(re.findall(r"--([\w-]+): (#\w{6})", root)) for root in css.split(":root")[1:]]
    assert len(palettes) == 3  # light, dark and print
    pairs = [(text, ground) for text in ("ink", "faint", "good", "bad", "blue", "red", "purple")
             for ground in ("paper", "panel")]  # fmt: skip
    pairs += [("good", "good-ground"), ("bad", "bad-ground"), ("on-wrong", "wrong")]
    for palette in palettes:
        for text, ground in pairs:
            low, high = sorted((luminance(palette[text]), luminance(palette[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)
