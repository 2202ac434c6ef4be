"""Bringing up Keras: quiet, on the right backend, loud when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trm_export.api import frameworks
from trm_export.errors import BackendError

LOAD = "from trm_export.api.frameworks import load_keras; load_keras({options});"
DRIVER = "from trm_runtime.drivers.saved_model import load_engine; load_engine();"
OWN = "from trm_runtime.lean_import import own_process; own_process();"
SHOW = "import keras; keras.ops.zeros(3); print(keras.backend.backend())"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("KERAS_BACKEND", "TRM_EXPORT_DEBUG")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **environment})


def test_tensorflow_says_nothing() -> None:
    done = run(LOAD.format(options="") + SHOW)
    assert (done.stdout, done.stderr) == ("tensorflow\n", "")


@pytest.mark.parametrize(
    ("package", "code"),
    [("jax", DRIVER), ("keras", DRIVER), ("matplotlib", LOAD.format(options=""))],
)
def test_a_command_does_not_load_what_it_does_not_need(package: str, code: str) -> None:
    pytest.importorskip(package)
    shown = f"import gc, sys; print({package!r} in sys.modules, gc.isenabled());"
    done = run(OWN + code + shown + f"import {package}; print('there')")
    assert (done.stdout, done.stderr) == ("False True\nthere\n", "")


@pytest.mark.parametrize(
    "code",
    [
        LOAD.format(options="any_backend=True"),
        DRIVER,
        OWN + DRIVER,
    ],
)
def test_tensorflow_says_nothing_on_another_backend(code: str) -> None:
    pytest.importorskip("torch")
    later = "import tensorflow; print(tensorflow.constant(1).numpy(), tensorflow.__loader__)"
    done = run(code + later, KERAS_BACKEND="torch")
    if code == DRIVER and done.returncode == -signal.SIGABRT:
        alone = run("import tensorflow", KERAS_BACKEND="torch")
        if alone.returncode == done.returncode:  # two copies of LLVM: TensorFlow's and Triton's
            pytest.skip("TensorFlow ends a process in which its Keras loads PyTorch")
    assert (done.stdout[:2], done.stderr) == ("1 ", "")
    assert "SourceFileLoader" in done.stdout


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with pytest.raises(
        BackendError, match="needs the TensorFlow backend, but KERAS_BACKEND is 'jax'"
    ):
        frameworks.load_keras()


def test_another_backend_where_any_will_do() -> None:
    pytest.importorskip("jax")
    done = run(LOAD.format(options="any_backend=True") + SHOW, KERAS_BACKEND="jax")
    assert done.stdout == "jax\n"


def test_an_unknown_backend_is_a_sentence() -> None:
    done = run(LOAD.format(options="any_backend=True"), KERAS_BACKEND="theano")
    assert done.returncode == 1
    assert "KERAS_BACKEND is 'theano'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("closed", ["", "os.close(1); os.close(2);", "sys.stderr.close();"])
def test_a_service_without_standard_streams(tmp_path: Path, closed: str) -> None:
    """Python under Windows has none either where there is no console."""
    file = tmp_path / "loaded"
    without = "import os, sys;" + (closed or "sys.stdout = sys.stderr = None;")
    run(without + LOAD.format(options="") + f"os.mkdir({str(file)!r})")
    assert file.exists()


@pytest.mark.parametrize("settings", ['{"floatx": "float8"}', "[]"])
def test_settings_that_keras_refuses_are_named(tmp_path: Path, settings: str) -> None:
    file = tmp_path / "keras.json"
    file.write_text(settings)
    done = run(LOAD.format(options=""), KERAS_HOME=str(tmp_path))
    message = done.stderr.splitlines()[-1]
    assert "BackendError: Keras cannot be imported: " in message
    assert message.endswith(f"; its settings are in {file}.")


def test_a_broken_library_is_not_blamed_on_the_settings(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ValueError('numpy.dtype size changed')")
    done = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r});" + LOAD.format(options=""))
    message = done.stderr.splitlines()[-1]
    assert message.endswith(
        "MissingExtraError: Keras with the backend 'tensorflow' cannot be imported: "
        "numpy.dtype size changed."
    )


def test_a_library_that_cannot_be_loaded_is_no_fault_of_ours() -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9));"
    done = run(limit + LOAD.format(options=""))
    message = done.stderr.splitlines()[-1]
    assert "MissingExtraError: Keras with the backend 'tensorflow' cannot be imported" in message


def test_a_backend_that_is_not_installed() -> None:
    hide = "import sys; sys.modules['jax'] = None;"
    done = run(hide + LOAD.format(options="any_backend=True"), KERAS_BACKEND="jax")
    assert "needs jax, which is not installed; install it with `pip install jax`." in done.stderr


def test_what_was_held_back_is_shown_when_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with frameworks._stderr_held_back():
            os.write(2, b"the reason\n")
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err == "the reason\n"
