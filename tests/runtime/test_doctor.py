from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trm_runtime
from tests.runtime.fakes import make_contract
from trm_runtime import doctor
from trm_runtime.__main__ import main
from trm_runtime.doctor import Report, examine, report_text, try_out
from trm_runtime.drivers import litert
from trm_runtime.errors import MissingExtraError
from trm_runtime.extras import install_line
from trm_runtime.file_kinds import KINDS, TINY

RASPBERRY = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid asimdrdm asimddp
CPU implementer\t: 0x41

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse4_1 fma avx avx2 avx512f avx512_vnni amx_int8
"""


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trm_runtime", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def examined(monkeypatch: pytest.MonkeyPatch, **versions: str) -> Report:
    """The report of a device with these distributions (`_` for `-`)."""
    installed = {name.replace("_", "-"): version for name, version in versions.items()}
    installed["trm-runtime"] = trm_runtime.__version__

    def version(distribution: str) -> str:
        if distribution not in installed:
            raise PackageNotFoundError(distribution)
        return installed[distribution]

    monkeypatch.setattr("importlib.metadata.version", version)
    return examine()


def test_it_says_what_opens_what(monkeypatch: pytest.MonkeyPatch) -> None:
    report = examined(monkeypatch, numpy="1.26.4", tflite_runtime="2.14.0", onnxruntime="1.20.1")
    found = [(e.name, e.version, e.opens) for e in report.engines if e.version]
    assert found == [("onnxruntime", "1.20.1", ".onnx"), ("tflite-runtime", "2.14.0", ".tflite")]
    assert report.missing == ('SavedModel folder: pip install "trm-runtime[tensorflow]"',)
    assert (report.numpy, report.trm_runtime) == ("1.26.4", trm_runtime.__version__)
    text = report_text(report)
    assert "tflite-runtime   2.14.0, opens .tflite\n" in text
    assert text.endswith('\n  SavedModel folder: pip install "trm-runtime[tensorflow]"')


def test_a_bare_device_learns_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    report = examined(monkeypatch)
    assert report.missing == (
        '.onnx: pip install "trm-runtime[onnx]"',
        '.tflite: pip install "trm-runtime[litert]"',
        'SavedModel folder: pip install "trm-runtime[tensorflow]"',
    )
    assert "numpy            not installed\n" in report_text(report)


def test_what_is_not_installed_is_installed_from_its_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(distribution: str) -> str:
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr("importlib.metadata.version", version)
    root = Path(trm_runtime.__file__).parents[2]
    monkeypatch.chdir(root)
    assert install_line("onnx") == 'pip install "./runtimes[onnx]"'
    assert install_line("sign", "trm-export") == 'pip install ".[sign]"', Path.cwd()
    monkeypatch.chdir(tmp_path)
    assert install_line("onnx") == f'pip install "{root / "runtimes"}[onnx]"'
    assert install_line("extra", "numpy") == 'pip install "numpy[extra]"'


def test_nothing_is_missing_where_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    report = examined(monkeypatch, onnxruntime_gpu="1", ai_edge_litert="2", tensorflow_cpu="2.21")
    assert report.missing == ()
    assert "To open" not in report_text(report)


@pytest.mark.parametrize(
    ("cpuinfo", "model", "features"),
    [
        (RASPBERRY, "Raspberry Pi 5 Model B Rev 1.0", ("asimd", "asimddp")),
        (
            XEON,
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            ("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8"),
        ),
    ],
)
def test_the_processor_of_a_linux_machine(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str, model: str, features: tuple[str, ...]
) -> None:
    monkeypatch.setattr(doctor, "_cpuinfo", lambda: cpuinfo)
    report = examine()
    assert (report.cpu, report.cpu_features) == (model, features)


def test_the_processor_of_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "machdep.cpu.brand_string": "Apple M2",
        "hw.optional.neon": "1",
        "hw.optional.arm.FEAT_DotProd": "1",
    }
    monkeypatch.setattr(doctor, "_text", lambda _: "")
    monkeypatch.setattr(doctor, "_sysctl", said.__getitem__)
    report = examine()
    assert (report.cpu, report.cpu_features) == ("Apple M2", ("neon", "asimddp"))


def test_a_machine_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_text", lambda _: "")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    report = examine()
    assert (report.cpu, report.cpu_features, report.cores) == ("unknown", (), 1)
    assert "features         unknown" in report_text(report)


# --- engines that are tried ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_opens_and_runs_its_tiny_file(kind: str) -> None:
    for index, engine in enumerate(KINDS[kind].engines):
        if not engine.is_installed:
            pytest.skip(f"{engine.name} is not installed")
        assert try_out(kind, index) is None


def test_an_engine_that_does_not_work_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "try_out", lambda kind, _: f"no {kind}" if kind[0] == "t" else None)
    versions = {"onnxruntime": "1.20", "tflite-runtime": "2.14.0"}
    monkeypatch.setattr(doctor, "installed_version", versions.get)
    report = examine(tried=True)
    assert report.broken
    assert '.tflite: pip install "trm-runtime[litert]"' in report.missing
    text = report_text(report)
    assert "onnxruntime      1.20, opens .onnx\n" in text
    assert "tflite-runtime   2.14.0, does not open .tflite: no tflite\n" in text
    assert main(["doctor"]) == 3
    assert capsys.readouterr().out == text + "\n"
    versions["ai-edge-litert"] = "2.3"
    text = report_text(examine(tried=True))
    assert "tflite-runtime   2.14.0, not used, because ai-edge-litert is installed\n" in text


def test_a_crash_and_a_long_silence_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TRIAL", "import os; os.kill(os.getpid(), 11)")
    assert try_out("onnx", 0) == "its process ended with -11"
    monkeypatch.setattr(doctor, "_TRIAL", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "_SECONDS", 0.5)
    assert try_out("onnx", 0) == "opens nothing within 0.5 s"


def test_tflite_runtime_beside_numpy_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(litert, "first_installed", lambda _: "tflite_runtime")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    needed = (
        'tflite-runtime needs numpy below 2, got 2.1.0; install it with `pip install "numpy<2"`'
    )
    with pytest.raises(MissingExtraError) as caught:
        litert.try_engine(TINY)
    assert needed in str(caught.value)
    monkeypatch.setattr("trm_runtime.open.runner_contract", lambda *_: make_contract())
    (tmp_path / "m.tflite").write_bytes(b"")
    (tmp_path / "p.txt").write_text(".123\n")
    assert main([str(tmp_path / "m.tflite"), str(tmp_path / "p.txt")]) == 3
    assert needed in capsys.readouterr().err


# --- the command ---------------------------------------------------------------------------------


def test_the_command_prints_text_or_json() -> None:
    done = run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == report_text(examine()) + "\n"
    value = json.loads(run("doctor", "--json").stdout)
    assert set(value) == set(Report.__dataclass_fields__)
    assert value["cores"] >= 1


def test_it_works_where_no_engine_can_be_imported(tmp_path: Path) -> None:
    """Not even numpy: a device that lacks everything is the one that needs it most."""
    names = "ai_edge_litert", "numpy", "onnxruntime", "tensorflow", "tflite_runtime"
    block = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in names)
    (tmp_path / "sitecustomize.py").write_text(block)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run("doctor", env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith(f"trm-runtime      {trm_runtime.__version__}\n")
    assert " opens ." not in done.stdout
    assert "does not open .onnx: import of numpy halted" in done.stdout


def test_wrong_options_are_usage() -> None:
    done = run("doctor", "--colour")
    assert done.returncode == 2
    help_of = "python -m trm_runtime doctor --help"
    assert done.stderr == f"Error: Unrecognized arguments: --colour (see `{help_of}`).\n"


def test_a_file_of_that_name_can_still_be_given(tmp_path: Path) -> None:
    done = run("./doctor", "puzzles.txt", cwd=tmp_path)
    assert done.returncode == 4
    assert "doctor: there is no such file or folder" in done.stderr


def test_help_mentions_it() -> None:
    assert "`doctor`" in run("--help").stdout
