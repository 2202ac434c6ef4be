"""The C++ driver: builds, the ladder over both engines, sanitizers, the lines of the command."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.devices.contracts import CONTRACTS, accepted
from tests.devices.contracts import changed as changed_texts
from tests.devices.mazes import CONTRACT as MAZE_CONTRACT
from tests.devices.mazes import MAZES, drawings
from tests.devices.mazes import wanted as read_by_python
from tests.devices.shipped import ROOT, Made, exporting, recording
from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.reader import Reader
from tests.fuzz.readers import contracts, onnx_files, step_servers, tensorflow_files
from tests.runtime.fakes import FakeRunner, make_contract
from tests.runtime.graphs import build, write
from trm_runtime.file_kinds import TINY

CPP = ROOT / "runtimes" / "cpp"
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

EXPORTS: Mapping[str, Mapping[str, Any]] = {
    "sudoku4.onnx": {},
    "sudoku4-int8.onnx": {"precision": "int8"},
    "sudoku4-batch2.onnx": {"batch": 2},
    "sudoku4-block.onnx": {"granularity": "block"},
    "sudoku4-loop.onnx": {"granularity": "loop"},
    "sudoku4.tflite": {},
    "sudoku4-batch2.tflite": {"batch": 2},
    "sudoku4-ports.tflite": {"ports": "int32"},
    "sudoku4-loop.tflite": {"granularity": "loop"},
    "sudoku9.onnx": {},
    "sudoku9-int8.onnx": {"precision": "int8"},
    "sudoku9.tflite": {},
    "sudoku9-int8.tflite": {"precision": "int8"},
}
"""The files of the tests, and what they are exported with."""

PUZZLES = "341221.3.3.1123.\n.2..1..3413..3.1\n..3. 4..1 .1.. ..2.\n1.............4.\n"

Run = subprocess.CompletedProcess[str]


def needs(*tools: str) -> None:
    """Skips without these programs."""
    lacking = [tool for tool in tools if shutil.which(tool) is None]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}; make test-devices installs them")


def compiled(target: Path, *words: str, source: str = "trm.cpp") -> Path:
    """A program that is built by one command; every warning is an error."""
    needs(words[0])
    command = [*words, *FLAGS, f"-I{CPP / 'include'}", CPP / source, "-o", target, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def library(package: str, pattern: str) -> str:
    """The library of an engine inside an installed wheel."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return str(next(Path(spec.origin).parent.glob(pattern)))


@functools.cache
def environment() -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtimes")]),
        "TRM_ONNXRUNTIME": library("onnxruntime", "capi/libonnxruntime.so.*"),
        "TRM_LITERT": library("ai_edge_litert", "libLiteRt.so"),
    }


def run(*words: str | Path, given: str = "", **more: str) -> Run:
    return subprocess.run(
        list(map(str, words)), input=given, capture_output=True, text=True,
        env={**environment(), **more},
    )  # fmt: skip


def python(*words: str | Path, given: str = "") -> Run:
    """`python -m trm_runtime` with these words."""
    return run(sys.executable, "-m", "trm_runtime", *words, given=given)


def zipped(data: bytes) -> bytes:
    """An archive with one file."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("puzzles.txt", data)
    return whole.getvalue()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cpp")


@pytest.fixture(scope="session")
def trm(folder: Path) -> Path:
    """The command, built by CMake and g++."""
    needs("cmake", "g++")
    build = folder / "build"
    flags = f"-DCMAKE_CXX_FLAGS={shlex.join(FLAGS[1:])}"
    for command in (
        ["cmake", "-S", CPP, "-B", build, "-DCMAKE_CXX_COMPILER=g++", flags],
        ["cmake", "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "trm"


@pytest.fixture(scope="session")
def sanitizing(folder: Path) -> Sequence[str]:
    """A bare clang++ with sanitizers, whose library Debian keeps in a package of its own."""
    needs("clang++")
    source, words = folder / "empty.cpp", ["clang++", *SANITIZERS]
    source.write_text("int main() {}\n")
    done = subprocess.run([*words, source, "-o", folder / "empty"], capture_output=True, text=True)
    if done.returncode:
        assert "libclang_rt" in done.stderr
        pytest.skip("not installed: sanitizers of clang++; make test-devices installs them")
    return words


@pytest.fixture(scope="session")
def sanitized(folder: Path, sanitizing: Sequence[str]) -> Path:
    """The command, built with sanitizers."""
    return compiled(folder / "trm-sanitized", *sanitizing)


@pytest.fixture(scope="session")
def exported(folder: Path) -> Made:
    return exporting(folder, EXPORTS)


@pytest.fixture(scope="session")
def golden(folder: Path) -> Made:
    return recording(folder, 16)


@pytest.fixture(scope="session")
def vectors(folder: Path) -> Path:
    import trm_export as te

    te.write_vectors(ROOT / "artifacts" / "sudoku4.keras", folder / "vectors")
    return folder / "vectors"


@pytest.fixture(scope="session")
def puzzles(folder: Path) -> Path:
    path = folder / "puzzles.txt"
    path.write_text(PUZZLES)
    return path


def test_the_products_that_are_tried_are_those_of_python() -> None:
    header = (ROOT / "runtimes/cpp/include/trm/onnxruntime.hpp").read_text(encoding="utf-8")
    numbers = header.partition("PRODUCTS[] = {")[2].partition("}")[0]
    assert bytes(map(int, numbers.split(","))) == (TINY / "products.onnx").read_bytes()


@pytest.mark.parametrize("name", EXPORTS)
def test_a_file_passes_the_ladder(name: str, trm: Path, exported: Made, golden: Made) -> None:
    command = shlex.join([str(trm), "--serve", str(exported(name)), "--threads", "1"])
    reference = golden(name.partition(".")[0].partition("-")[0])
    done = python("check", "--command", command, reference, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, found
    assert found["verdict"].startswith("PASSED on 16 puzzles.")
    rungs = {rung["name"]: rung["status"] for rung in found["rungs"]}
    assert rungs["driver's loop"] == rungs["refusals"] == "ok"
    loop = next(rung["summary"] for rung in found["rungs"] if rung["name"] == "driver's loop")
    assert loop.startswith(f"of {48 if 'loop' in name else 112} puzzles")  # with those of the tries
    assert rungs["forced values"] == ("not judged" if "loop" in name else "ok")


@pytest.mark.parametrize("name", [name for name in EXPORTS if name.startswith("sudoku4")])
def test_the_vectors_are_computed_and_refused(
    name: str, trm: Path, vectors: Path, exported: Made
) -> None:
    done = run(trm, "--vectors", vectors, exported(name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("PASSED: ")


def test_a_wrong_vector_is_found(trm: Path, vectors: Path, exported: Made, tmp_path: Path) -> None:
    shutil.copytree(vectors, tmp_path, dirs_exist_ok=True)
    index = json.loads((vectors / "vectors.json").read_text())
    first, second = index["cases"][0], index["cases"][2]
    first["steps"] = second["steps"]  # those of another rule
    (tmp_path / "vectors.json").write_text(json.dumps(index))
    done = run(trm, "--vectors", tmp_path, exported("sudoku4.onnx"))
    assert (done.returncode, done.stdout.split("\n")[0]) == (
        5,
        f"FAILED {first['name']}: steps differ",
    )


@pytest.mark.parametrize("name", ["", "sudoku4.onnx", "sudoku4.tflite"])
def test_sanitizers_find_nothing_in_the_vectors(
    name: str, sanitized: Path, vectors: Path, exported: Made
) -> None:
    files = [exported(name)] if name else []
    done = run(sanitized, "--vectors", vectors, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def changed(reader: Reader, ending: str, folder: Path, count: int) -> Sequence[Path]:
    """The good inputs of a reader, and changes of them."""
    rng, seeds = Random(ending), reader.seeds()
    inputs = [*seeds, *(reader.mutate(rng, rng.choice(seeds)) for _ in range(count))]
    files = []
    for index, (data,) in enumerate(files.values() for files in inputs):
        files.append(folder / f"{index}{ending}")
        files[-1].write_bytes(data)
    return files


@pytest.fixture(scope="session")
def read(folder: Path, sanitizing: Sequence[str]) -> Path:
    """A program that reads files, built with sanitizers."""
    return compiled(folder / "read", *sanitizing, source="test/read.cpp")


FUZZED: Mapping[str, Reader] = {
    ".onnx": onnx_files.READERS[0],
    ".tflite": tensorflow_files.READERS[0],
    ".json": contracts.READERS[0],
    ".request": step_servers.READERS[0],
}
"""The end of a name, by which `read` knows its reader, and what changes such a file."""


@pytest.mark.parametrize("ending", FUZZED)
def test_sanitizers_find_nothing_in_changed_files(ending: str, read: Path, tmp_path: Path) -> None:
    contract, reader = tmp_path / "contract", FUZZED[ending]
    contract.write_text(FakeRunner().contract.to_json())
    files = changed(reader, ending, tmp_path, 600)
    done = run(read, contract, *files)
    assert done.returncode == 0, done.stderr
    answers = [line.split()[0] for line in done.stdout.splitlines() if str(tmp_path) in line]
    good = len(reader.seeds())
    assert len(answers) == len(files)
    assert answers[:good] == ["read"] * good
    assert answers.count("refused") > 100


@pytest.mark.parametrize("name", CONTRACTS)
def test_no_contract_is_read_that_python_refuses(name: str, read: Path, tmp_path: Path) -> None:
    contract = CONTRACTS[name]
    texts = [text for text in changed_texts(contract) if not accepted(text)]
    files = [tmp_path / f"{index}.json" for index in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    (tmp_path / "contract").write_text(contract.to_json())
    done = run(read, tmp_path / "contract", *files)
    assert done.returncode == 0, done.stderr
    answers = [line for line in done.stdout.splitlines() if line.startswith(("read ", "refused "))]
    assert len(answers) == len(texts) > 1000
    assert [texts[i] for i, line in enumerate(answers) if line.startswith("read ")] == []


def test_a_line_of_a_request_has_at_most_65536_bytes(read: Path, tmp_path: Path) -> None:
    (tmp_path / "contract").write_text(FakeRunner().contract.to_json())
    files = []
    for length in (1 << 16, (1 << 16) + 1):
        line = b'{"bytes": 0, "pad": "' + b"x" * (length - 24) + b'"}\n'
        assert len(line) == length
        files.append(tmp_path / f"{length}.request")
        files[-1].write_bytes(line)
    done = run(read, tmp_path / "contract", *files)
    assert done.stdout.splitlines() == [
        f"read {files[0]}",
        f"refused {files[1]}: A line is longer than 65536 bytes.",
    ]


def test_sanitizers_find_nothing_in_changed_puzzles(
    read: Path, vectors: Path, tmp_path: Path
) -> None:
    rng, files = Random(0), [tmp_path / f"{index}.txt" for index in range(400)]
    for index, file in enumerate(files):
        text = PUZZLES.encode()
        file.write_bytes(damaged(rng, text) if index else text)
    done = run(read, vectors / "contract.json", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("read ")
    assert done.stdout.count("\nrefused ") > 50


def test_a_64_bit_arm_program_reads_the_vectors(folder: Path, vectors: Path) -> None:
    needs("qemu-aarch64")
    program = compiled(folder / "trm-arm", "aarch64-linux-gnu-g++", "-O1")
    arm = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(program)]
    assert run(*arm, "--help").stdout.startswith("usage: trm MODEL PUZZLES")
    done = run(*arm, "--vectors", vectors)
    assert done.returncode == 0
    assert "without an engine" in done.stdout


def quiet(text: str) -> str:
    """A summary without its time."""
    return " ".join("S" if "." in word and word[0].isdigit() else word for word in text.split())


@pytest.mark.parametrize("name", [name for name in EXPORTS if name.startswith("sudoku4")])
def test_the_lines_are_those_of_python(
    name: str, trm: Path, exported: Made, tmp_path: Path
) -> None:
    boards = tmp_path / "boards.txt"
    boards.write_text("# a comment\n341221.3.3.1123.\n.2..1..3413..3.1\n1.............4.\n")
    same = "" if "loop" in name else "--halt 20 --max-steps 3"
    several = "--tries 4 --seed 4000000000"
    ways = ["", same, f"{several} {same}", f"{several} {same} --choose vote"]
    if same:
        ways += [
            f"{several} {same} --vary {way} --sigma 3 --choose first" for way in ("noise", "both")
        ]
    for options in ways:
        own = run(trm, exported(name), boards, *options.split())
        expected = python(exported(name), boards, *options.split())
        assert own.returncode == expected.returncode, own.stderr
        for line, wanted in zip(own.stdout.splitlines(), expected.stdout.splitlines(), strict=True):
            assert line.split("\t")[:3] == wanted.split("\t")[:3]
            assert line.split("\t")[4:] == wanted.split("\t")[4:]
            assert abs(float(line.split("\t")[3]) - float(wanted.split("\t")[3])) < 2e-3
        assert quiet(own.stderr) == quiet(expected.stderr)


def test_the_json_is_that_of_python(trm: Path, exported: Made, tmp_path: Path) -> None:
    boards = tmp_path / "boards.txt"
    boards.write_text("341221.3.3.1123.\n1.............4.\n")
    for several in ([], ["--tries", "3", "--halt", "20"]):
        words = [exported("sudoku4.onnx"), boards, "--json", *several]
        own, expected = (json.loads(done.stdout) for done in (run(trm, *words), python(*words)))
        for one in (own, expected):
            for puzzle in one["puzzles"]:
                puzzle["q_halt"] = round(puzzle["q_halt"], 2)
        assert own == expected
        assert ("total_steps" in own["puzzles"][0]) == bool(several)


def test_sanitizers_find_nothing_in_tries(sanitized: Path, exported: Made, puzzles: Path) -> None:
    options = ["--tries", "5", "--max-steps", "2", "--halt", "20", "--vary", "both"]
    for name in ("sudoku4.onnx", "sudoku4-batch2.onnx"):
        for choose in ("score", "vote"):
            done = run(sanitized, exported(name), puzzles, *options, "--choose", choose)
            assert done.returncode in (0, 7), done.stderr  # 7: an answer changes a given cell
            assert "in 5.00 tries on average" in done.stderr


@pytest.mark.parametrize("choose", ["score", "vote"])
def test_memory_is_of_the_tries_that_were_begun(
    choose: str, trm: Path, exported: Made, tmp_path: Path
) -> None:
    needs("prlimit")
    boards = tmp_path / "boards.txt"
    boards.write_text("................\n" * 2000)
    done = run(
        "prlimit", "--as=1000000000", trm, exported("sudoku4.onnx"), boards, "--tries", "65536",
        "--vary", "noise", "--choose", choose, "--deadline", "0", "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert "the deadline ended 2000 puzzles" in done.stderr


def test_the_engine_reports_nothing(trm: Path, exported: Made, tmp_path: Path) -> None:
    """ONNX Runtime 1.29 and later would, and keep an identifier in the home folder for that."""
    own = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]}
    own["TRM_ONNXRUNTIME"] = environment()["TRM_ONNXRUNTIME"]
    puzzle = PUZZLES.partition("\n")[0].encode()
    subprocess.run([trm, exported("sudoku4.onnx"), "-"], input=puzzle, env=own, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_grid_over_several_lines_and_standard_input(trm: Path, exported: Made) -> None:
    grid = "3 4 | 1 2\n2 1 | . 3\n----+----\n. 3 | . 1\n1 2 | 3 .\n"
    done = run(trm, exported("sudoku4.onnx"), "-", given=grid)
    assert done.stdout.startswith("3412214343211234\t")


@pytest.mark.parametrize("size", [[], ["--batch-size", "1"]])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_goes_away_is_no_error(
    size: list[str], more: list[str], trm: Path, exported: Made, tmp_path: Path
) -> None:
    many = tmp_path / "many.txt"
    many.write_text(PUZZLES * 100)
    given = [exported("sudoku4.onnx"), many, *size, *more]
    for command in ([trm], [sys.executable, "-m", "trm_runtime"]):
        read, written = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                [*command, *given], stdout=written, stderr=subprocess.PIPE, env=environment()
            )
        finally:
            os.close(written)
        assert (done.returncode, done.stderr) == (0, b"")
    with Path(os.devnull).open("rb") as unwritable:
        full = subprocess.run([trm, *given], stdout=unwritable, env=environment())
    assert full.returncode == 1


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_of_the_first_line_is_no_error(
    more: list[str], trm: Path, exported: Made, tmp_path: Path
) -> None:
    many = tmp_path / "many.txt"
    many.write_text(PUZZLES * 1000)  # whose answers are more than a pipe holds
    given = [trm, exported("sudoku4.onnx"), many, *more]
    pipe = subprocess.PIPE
    with subprocess.Popen(given, stdout=pipe, stderr=pipe, env=environment()) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (0, b"")


@pytest.mark.parametrize("pack", [gzip.compress, zipped])
def test_a_packed_file_is_named_as_one(
    pack: Callable[[bytes], bytes], trm: Path, exported: Made, tmp_path: Path
) -> None:
    packed = tmp_path / "packed.txt"
    packed.write_bytes(pack(PUZZLES.encode()))
    for name in (str(packed), "-"):
        with packed.open("rb") as file:
            done = subprocess.run(
                [trm, exported("sudoku4.onnx"), name], stdin=file, capture_output=True, text=True,
                env=environment(),
            )  # fmt: skip
        assert done.returncode == 4
        assert done.stderr == f"Error: {name}: packed as ZIP or gzip; unpack it first.\n"


def test_a_deadline_ends_with_the_code_and_the_line_of_the_python_command(
    trm: Path, exported: Made, puzzles: Path
) -> None:
    words = (exported("sudoku4.onnx"), puzzles, "--deadline", "0")
    own, expected = run(trm, *words), python(*words)
    assert own.returncode == expected.returncode == 8
    assert own.stderr.splitlines()[1:] == expected.stderr.splitlines()[1:]
    assert "the deadline ended" in own.stderr


def test_a_dynamic_batch_is_refused_for_litert(trm: Path, puzzles: Path, tmp_path: Path) -> None:
    import trm_export as te

    te.export(ROOT / "artifacts" / "sudoku4.keras", tmp_path / "free.tflite", batch="free")
    done = run(trm, tmp_path / "free.tflite", puzzles)
    assert done.returncode == 4
    assert "export the model with --batch 1." in done.stderr


@pytest.mark.parametrize("seconds", ["inf", "Infinity", "+inf", "1e400"])
def test_a_deadline_may_be_infinite(seconds: str, trm: Path, exported: Made, puzzles: Path) -> None:
    words = (exported("sudoku4.onnx"), puzzles, "--deadline", seconds)
    own, expected = run(trm, *words), python(*words)
    assert (own.returncode, own.stdout.count("halted")) == (expected.returncode, 4), own.stderr


KEYS = [
    ("deadline", -1, "deadline: expected seconds"),
    ("deadline", "5", "deadline: expected seconds"),
    ("halt", None, "halt: expected learned, max_steps or a finite number"),
    ("halt", "1e400", "halt: expected learned, max_steps or a finite number"),
    ("max_steps", "1.0", "max_steps: expected a whole number"),
    ("max_steps", None, "max_steps: expected a whole number"),
    ("slots", None, "slots: expected a whole number"),
    ("tries", None, "tries: expected a whole number"),
    ("vary", None, "vary: expected a text"),
    ("choose", 1, "choose: expected a text"),
    ("seed", None, "seed: expected a whole number"),
    ("sigma", None, "sigma: expected a number"),
]


def test_a_request_with_wrong_options_is_refused_as_by_python(
    trm: Path, exported: Made, tmp_path: Path
) -> None:
    ways = {"slots": 1, "halt": "learned", "max_steps": 8, "deadline": None}
    request = {"request": "solve", "rows": 1, **ways, "bytes": 64}
    heads = [json.dumps({**request, key: value}) for key, value, _ in KEYS]
    heads = [head.replace('"1e400"', "1e400").replace('"1.0"', "1.0") for head in heads]
    (tmp_path / "requests").write_bytes(
        b"".join(head.encode() + b"\n" + b"\1\0\0\0" * 16 for head in heads)
    )
    model = exported("sudoku4.onnx")
    own, expected = (
        replies([*map(str, command)], tmp_path / "requests")
        for command in (
            [trm, "--serve", model],
            [sys.executable, "-m", "trm_runtime", "serve", model],
        )
    )
    assert [reply["exit_code"] for reply in own] == [2] * len(KEYS)
    assert [reply["exit_code"] for reply in expected] == [2] * len(KEYS)
    for reply, (_, _, words) in zip(own, KEYS, strict=True):
        assert reply["error"].startswith(words)


def replies(command: Sequence[str], requests: Path) -> Sequence[Mapping[str, Any]]:
    """The errors that a step server answers."""
    done = subprocess.run(
        command, input=requests.read_bytes(), capture_output=True, env=environment(), check=True
    )
    hello, _, rest = done.stdout.partition(b"\n")
    return [json.loads(line) for line in rest[json.loads(hello)["bytes"] :].splitlines()]


@pytest.fixture(scope="session")
def identified(folder: Path) -> Path:
    """A model of the puzzle identifiers 0 to 2."""
    return write(folder / "identified.onnx", build(make_contract(num_puzzle_identifiers=3)))


IDENTIFIERS = [
    (b"1\n2\n", 7, ""),  # an answer of this model changes its puzzle
    (b"\xef\xbb\xbf 1\r\n\n02\t\r\n", 7, ""),
    (b"1\n3\n", 4, "row 1: id 3 is not in 0..2"),
    (b"1\n-1\n", 4, "row 1: id -1 is not in 0..2"),
    (b"1\n", 4, "expected 2 identifiers, one for each puzzle, got 1"),
    (b"1\n2\n0", 4, "expected 2 identifiers, one for each puzzle, got 3"),
    (b"1\n2\n-", 4, 'line 3: expected one integer, got "-"'),
    (b"1\n2\nx", 4, 'line 3: expected one integer, got "x"'),
    (b"1\n\n99999999999", 4, 'line 3: expected one integer, got "99999999999"'),
    (b"1 2\n", 4, 'line 1: expected one integer, got "1 2"'),
    (b"+1\n2\n", 4, 'line 1: expected one integer, got "+1"'),
    (b"1\n2.0\n", 4, 'line 2: expected one integer, got "2.0"'),
]


@pytest.mark.parametrize(("text", "code", "message"), IDENTIFIERS)
def test_identifiers_are_read_as_by_python(
    text: bytes, code: int, message: str, trm: Path, identified: Path, tmp_path: Path
) -> None:
    (tmp_path / "puzzles").write_text("1234\n2.13\n")
    (tmp_path / "ids").write_bytes(text)
    words = [identified, tmp_path / "puzzles", "--identifiers", tmp_path / "ids"]
    own, expected = run(trm, *words), python(*words)
    assert own.returncode == expected.returncode == code, own.stderr
    assert own.stdout == expected.stdout
    assert message in own.stderr


def test_identifiers_are_refused_where_they_cannot_be(
    trm: Path, identified: Path, exported: Made, puzzles: Path, tmp_path: Path
) -> None:
    (tmp_path / "ids").write_text("1\n1\n1\n1\n")
    for words, code in (
        ([exported("sudoku4.onnx"), puzzles, "--identifiers", tmp_path / "ids"], 4),
        ([identified, "-", "--identifiers", "-"], 2),
    ):
        own, expected = run(trm, *words, given=PUZZLES), python(*words, given=PUZZLES)
        assert own.returncode == expected.returncode == code, own.stderr


@pytest.mark.parametrize("name", MAZES)
def test_mazes_are_read_as_by_python(name: str, trm: Path, mazes: Path, tmp_path: Path) -> None:
    (tmp_path / "mazes").write_bytes(MAZES[name].encode())
    own, expected = run(trm, mazes, tmp_path / "mazes"), python(mazes, tmp_path / "mazes")
    assert (own.returncode, own.stdout) == (expected.returncode, expected.stdout), own.stderr


def test_no_drawing_is_read_that_python_refuses(read: Path, tmp_path: Path) -> None:
    (tmp_path / "contract").write_text(MAZE_CONTRACT.to_json())
    texts = list(drawings(1000, 2))
    files = [tmp_path / f"{index}.txt" for index in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode())
    done = run(read, tmp_path / "contract", *files)
    read_too = [line.startswith("read ") for line in done.stdout.splitlines()]
    refused = [read_by_python(text, tmp_path) is None for text in texts]
    assert len(read_too) == len(texts), done.stderr
    assert [text for text, a, b in zip(texts, read_too, refused, strict=True) if a and b] == []
    assert refused.count(True) > 200 < read_too.count(True)


@pytest.fixture(scope="session")
def mazes(folder: Path) -> Path:
    """A model of mazes of 3 x 3 cells."""
    return write(folder / "mazes.onnx", build(MAZE_CONTRACT))


BAD = [
    ("", 2, "Expected MODEL and PUZZLES"),
    ("MODEL PUZZLES --unknown", 2, "Unrecognized arguments: --unknown"),
    ("MODEL PUZZLES --max-steps 99", 2, "max_steps: expected at most 8"),
    ("MODEL PUZZLES --max-steps 0", 2, "max_steps: expected 1 or more"),
    ("MODEL PUZZLES --batch-size 0", 2, "batch_size: expected 1 or more"),
    ("MODEL PUZZLES --threads 0", 2, "threads: expected 1 to 256"),
    ("MODEL PUZZLES --deadline -1", 2, "deadline: expected seconds"),
    ("MODEL PUZZLES --tries 0", 2, "tries: expected 1 or more"),
    ("MODEL PUZZLES --tries 70000", 2, "tries: expected at most 65536"),
    ("MODEL PUZZLES --tries 2 --vary all", 2, "vary: expected one of symmetry, noise, both"),
    ("MODEL PUZZLES --tries 2 --choose best", 2, "choose: expected one of score, first, vote"),
    ("MODEL PUZZLES --tries 2 --seed -1", 2, "seed: expected an integer of 0 to 4294967295"),
    ("MODEL PUZZLES --tries 2 --seed 4294967296", 2, "seed: expected an integer of 0 to 4294967"),
    ("MODEL PUZZLES --tries 2 --vary both --sigma 0", 2, "sigma: expected a number above 0"),
    ("MODEL PUZZLES --tries 2 --vary both --sigma inf", 2, "sigma: expected a number above 0"),
    ("MODEL PUZZLES --sigma 0.2", 2, "--sigma: without effect while a puzzle has one try"),
    ("MODEL PUZZLES --vary noise", 2, "--vary: without effect while a puzzle has one try; give"),
    ("MODEL PUZZLES --seed 1 --tries 1", 2, "--seed: without effect while a puzzle has one try"),
    ("MODEL PUZZLES --seed 1 --choose vote", 2, "--choose and --seed: without effect"),
    ("MODEL PUZZLES --tries 2 --sigma 0.3", 2, "--sigma: without effect while tries differ by sym"),
    ("missing.onnx PUZZLES --choose vote", 2, "--choose: without effect"),
    ("MODEL PUZZLES --max-steps 1e0", 2, '--max-steps: expected a whole number, got "1e0"'),
    ("MODEL PUZZLES --max-steps 2.0", 2, '--max-steps: expected a whole number, got "2.0"'),
    ("MODEL PUZZLES --tries 2 --seed 1e3", 2, '--seed: expected a whole number, got "1e3"'),
    ("MODEL PUZZLES --tries 2 --seed 99999999999999999999", 2, "--seed: expected a whole number"),
    ("MODEL PUZZLES --threads 1e0", 2, '--threads: expected a whole number, got "1e0"'),
    ("MODEL PUZZLES --deadline nan", 2, "--deadline: expected seconds"),
    ("MODEL PUZZLES --halt high", 2, "expected learned, max_steps or a number"),
    ("MODEL PUZZLES --halt inf", 2, "expected learned, max_steps or a number"),
    ("MODEL PUZZLES --halt 1e400", 2, "expected learned, max_steps or a number"),
    ("MODEL PUZZLES --engine missing.so", 3, "name the library with --engine or TRM_ONNXRUNTIME"),
    ("missing.onnx PUZZLES", 4, "missing.onnx: cannot be read: No such file or directory"),
    ("PUZZLES PUZZLES", 4, "has no checksum"),
    ("CHANGED PUZZLES", 4, "does not match its checksum"),
    ("MODEL missing.txt", 4, "missing.txt: cannot be read: No such file or directory"),
    ("MODEL SHORT", 4, "line 2: expected 16 cells, or 4 of a row, got 2"),
    ("MODEL UNKNOWN", 4, 'line 1: "x" is not one of'),
    ("MODEL EMPTY", 4, "there are no puzzles"),
    ("--vectors PUZZLES MODEL --tries 2", 2, "--tries: without effect with --vectors; drop it"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "message"), BAD)
def test_what_is_wrong_has_its_code_and_a_sentence(
    words: str, code: int, message: str, trm: Path, exported: Made, tmp_path: Path
) -> None:
    texts = {"PUZZLES": PUZZLES, "SHORT": "341221.3.3.1123.\n12\n", "EMPTY": "\n"}
    texts["UNKNOWN"] = "341221.3.3.1123x\n"
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    data = bytearray(exported("sudoku4.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "CHANGED").write_bytes(data)
    paths = {"MODEL": exported("sudoku4.onnx"), **{p.name: p for p in tmp_path.iterdir()}}
    given = [paths.get(word, word) for word in words.split()]
    done = run(trm, *given)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    as_json = run(trm, *given, "--json")
    assert as_json.returncode == json.loads(as_json.stdout)["error"]["exit_code"] == code
    if "--engine" not in words:
        assert python(*given).returncode == code
