"""Signatures and digests: what a user demands of a file before an engine opens it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trm_export as te
from tests.modes import modes_count
from tests.runtime.fakes import make_contract
from tests.runtime.graphs import build, write
from tests.runtime.tf_graphs import write_saved_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import RejectedInputError, UsageError
from trm_export.own_folders import SOURCE_BUILT
from trm_runtime.__main__ import main
from trm_runtime.digest import tree_digest

pytest.importorskip("model_signing", reason="the extra trm-export[sign] is not installed")
openssl = shutil.which("openssl")
pytestmark = pytest.mark.skipif(openssl is None, reason="openssl makes the keys, and is missing")

Keys = tuple[Path, Path]


def key_pair(folder: Path, name: str, curve: str = "prime256v1") -> Keys:
    """As SECURITY.md makes them."""
    private, public = folder / f"{name}-private.pem", folder / f"{name}-public.pem"
    make = ["openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", str(private)]
    subprocess.run(make, check=True, capture_output=True)
    make = ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(make, check=True, capture_output=True)
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return key_pair(tmp_path_factory.mktemp("keys"), "own")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return key_pair(tmp_path_factory.mktemp("keys"), "other")


@pytest.fixture(params=["file", "folder"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "file":
        return write(tmp_path / "toy.onnx", build())
    return write_saved_model(tmp_path / "toy_saved")


def refused(*words: Any) -> str:
    """The message of `trm-export verify`, which must end with 4 and one sentence."""
    with pytest.raises(RejectedInputError) as caught:
        te.verify(*words)
    assert caught.value.exit_code == 4
    return str(caught.value)


def a_file(model: Path) -> Path:
    return model if model.is_file() else model / "saved_model.pb"


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
def test_what_is_signed_is_verified_here_and_by_the_reference(tmp_path: Path, curve: str) -> None:
    from model_signing.verifying import Config

    private, public = key_pair(tmp_path, "key", curve)
    for model in (write(tmp_path / "toy.onnx", build()), write_saved_model(tmp_path / "saved")):
        signature = te.sign(model, private)
        assert signature == model.with_name(f"{model.name}.sig")
        te.verify(model, public)
        Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)


def test_a_signature_by_the_reference_is_verified_here(model: Path, keys: Keys) -> None:
    signature = model.with_name("theirs.sig")
    command = ["-m", "model_signing", "sign", "key", str(model), "--signature", str(signature)]
    subprocess.run(
        [sys.executable, *command, "--private_key", str(keys[0])], check=True, capture_output=True
    )
    te.verify(model, keys[1], signature=signature)


def test_another_content_is_refused(model: Path, keys: Keys) -> None:
    te.sign(model, keys[0])
    path = a_file(model)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    message = refused(model, keys[1])
    assert "changed since it was signed" in message
    assert f"{path.name}: another content than the signed one" in message


def test_a_new_export_says_that_its_signature_is_of_the_old_one(
    tmp_path: Path, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    model, file = str(shipped_checkpoint("sudoku4")), tmp_path / "m.onnx"
    assert run(["onnx", model, "-o", str(file)]) == 0
    signature = te.sign(file, keys[0]).read_bytes()
    assert run(["onnx", model, "-o", str(file)]) == 0  # to the same bytes
    assert "signature" not in capsys.readouterr().err
    te.verify(file, keys[1])
    assert run(["onnx", model, "--batch", "2", "-o", str(file)]) == 0
    said = f"{file}.sig is a signature of what {file} was before; sign it again with"
    assert said in " ".join(capsys.readouterr().err.split())
    assert file.with_name("m.onnx.sig").read_bytes() == signature
    assert "if you exported or tuned it since, sign it again" in refused(file, keys[1])


def test_what_no_reader_knows_is_not_signed(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    for other in ("notes.txt", "folder"):
        with pytest.raises(RejectedInputError, match="so no reader of it verifies a signature"):
            te.sign(tmp_path / other, keys[0])
    contract = tmp_path / "contract.json"
    contract.write_text(make_contract().to_json())
    te.sign(contract, keys[0])
    te.verify(contract, keys[1])


def test_what_make_built_in_a_folder_of_code_is_refused(tmp_path: Path, keys: Keys) -> None:
    from model_signing.verifying import Config

    folder = te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m_c").path
    signature = te.sign(folder, keys[0])
    for name in SOURCE_BUILT:
        (folder / name).write_bytes(b"of somebody else")
        assert f"{name}: not signed; delete it" in refused(folder, keys[1])
        with pytest.raises(RejectedInputError, match=f"not part of the model: {name}; delete"):
            te.sign(folder, keys[0])
        (folder / name).unlink()
    te.verify(folder, keys[1])
    Config().use_elliptic_key_verifier(public_key=keys[1]).verify(folder, signature)
    (folder / "model.c").write_text("other")
    assert "model.c: another content" in refused(folder, keys[1])


@pytest.mark.parametrize("name", [".git/config", ".gitattributes", ".github/x.yml", ".gitignore"])
def test_what_the_reference_ignores_is_refused(tmp_path: Path, keys: Keys, name: str) -> None:
    folder = write_saved_model(tmp_path / "saved")
    te.sign(folder, keys[0])
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("of somebody else")
    assert f"{name}: not signed; delete it" in refused(folder, keys[1])
    with pytest.raises(RejectedInputError, match=f"not part of the model: {name.split('/')[0]};"):
        te.sign(folder, keys[0])


def test_a_link_to_the_signature_is_refused(tmp_path: Path, keys: Keys) -> None:
    """A signature may be a program, too: what is not signed in it may be anything."""
    folder = te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m_c").path
    (folder / "serve").symlink_to(te.sign(folder, keys[0]))
    assert "serve: not signed; delete it" in refused(folder, keys[1])


def test_a_loop_of_links_is_not_signed(tmp_path: Path, keys: Keys) -> None:
    loop = tmp_path / "loop.onnx"
    loop.symlink_to(loop)
    for model, key in ((loop, keys[0]), (write(tmp_path / "toy.onnx", build()), loop)):
        with pytest.raises(RejectedInputError, match=r"loop\.onnx"):
            te.sign(model, key)


def test_what_a_signature_ignores_is_refused_but_for_itself(tmp_path: Path, keys: Keys) -> None:
    from model_signing import hashing, signing

    folder = write_saved_model(tmp_path / "saved")
    (folder / "serve").write_text("ignored")
    signature = folder / "model.sig"
    hashed = hashing.Config().set_ignored_paths(paths=["serve", signature.name])
    config = signing.Config().set_hashing_config(hashed)
    config.use_elliptic_key_signer(private_key=keys[0]).sign(folder, signature)
    with pytest.raises(RejectedInputError) as caught:
        te.verify(folder, keys[1], signature=signature)
    assert caught.value.problems == ("serve: not signed; delete it",)
    (folder / "serve").unlink()
    te.verify(folder, keys[1], signature=signature)


def test_more_and_fewer_files_are_refused(tmp_path: Path, keys: Keys) -> None:
    folder = write_saved_model(tmp_path / "saved")
    te.sign(folder, keys[0])
    extra = folder / "assets.extra" / ".more"
    extra.write_text("more")
    assert "assets.extra/.more: not signed" in refused(folder, keys[1])
    extra.unlink()
    te.verify(folder, keys[1])
    weights = folder / "variables" / "variables.index"
    weights.rename(tmp_path / "elsewhere")
    assert "variables/variables.index: missing" in refused(folder, keys[1])
    weights.symlink_to(tmp_path / "elsewhere")
    assert "variables/variables.index: a link" in refused(folder, keys[1])


def test_a_link_to_what_is_signed(
    model: Path, keys: Keys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link, puzzles = tmp_path / "links" / f"link{model.suffix}", tmp_path / "puzzles.txt"
    link.parent.mkdir()
    link.symlink_to(model)
    puzzles.write_text("....\n")
    assert f"{link}: has no signature ({link}.sig); " in refused(link, keys[1])
    assert te.sign(link, keys[0]) == model.with_name(f"{model.name}.sig")
    te.verify(model, keys[1])
    te.verify(link, keys[1])
    assert main([str(link), str(puzzles), "--verify-key", str(keys[1])]) == 0
    beside = link.with_name(f"{link.name}.sig")
    beside.write_text("damaged")
    assert refused(link, keys[1]).startswith(f"{beside}: not a signature")


@pytest.mark.parametrize("target", ["saved_model.pb", "variables", "nowhere"])
def test_a_folder_with_a_link_is_not_signed(tmp_path: Path, keys: Keys, target: str) -> None:
    folder = write_saved_model(tmp_path / "saved")
    (folder / "variables" / "link").symlink_to(folder / target)
    with pytest.raises(RejectedInputError) as caught:
        te.sign(folder, keys[0])
    said = f"{folder / 'variables' / 'link'}: a symbolic link, which a signature does not cover; "
    assert str(caught.value).startswith(said)


def test_what_cannot_be_read_is_not_signed(
    model: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_file(model).chmod(0)
    with modes_count(monkeypatch), pytest.raises(RejectedInputError) as caught:
        te.sign(model, keys[0])
    assert str(caught.value) == f"{a_file(model)}: cannot be read: Permission denied."
    if model.is_dir():
        a_file(model).chmod(0o600)
        os.mkfifo(model / "fifo")
        with pytest.raises(RejectedInputError, match="fifo: expected a regular file, got a FIFO"):
            te.sign(model, keys[0])


def test_another_key_and_no_signature(model: Path, keys: Keys, others: Keys) -> None:
    missing = f"{model}: has no signature ({model}.sig); "
    assert missing in refused(model, keys[1])
    te.sign(model, keys[0])
    assert f"{model}.sig: not signed with the key of {others[1]}" in refused(model, others[1])
    for bad in (keys[0], model.with_name("none.pem")):
        assert refused(model, bad).startswith(f"{bad}: ")


def test_the_signature_of_another_key_is_not_replaced(
    model: Path, keys: Keys, others: Keys
) -> None:
    signature = te.sign(model, keys[0])
    before = signature.read_bytes()
    with pytest.raises(te.errors.OverwriteError, match="is a signature with another key; choose"):
        te.sign(model, others[0])
    assert signature.read_bytes() == before
    te.sign(model, others[0], force=True)
    te.verify(model, others[1])


def test_what_is_missing_is_not_called_unsigned(tmp_path: Path, keys: Keys) -> None:
    missing = tmp_path / "nope.onnx"
    assert refused(missing, keys[1]) == f"{missing}: there is no such file or folder."


def edited(change: Callable[[Any], None]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        value = json.loads(text)
        change(value["dsseEnvelope"])
        return json.dumps(value)

    return edit


def other_digest(envelope: Any) -> None:
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["resources"][0]["digest"] = "0" * 64
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: text.replace("dsseEnvelope", "envelope"),
        edited(other_digest),
        edited(lambda envelope: envelope.update(payloadType="text/plain")),
        edited(lambda envelope: envelope.update(signatures=[])),
        edited(lambda envelope: envelope["signatures"][0].update(sig="AAAA")),
        edited(lambda envelope: envelope["signatures"][0].update(sig="no base64 !")),
        edited(lambda envelope: envelope.update(payload=None)),
        edited(lambda envelope: envelope.update(payloadType="\ud800")),
    ],
)
def test_a_damaged_signature_is_refused(
    tmp_path: Path, keys: Keys, change: Callable[[str], str]
) -> None:
    model = write(tmp_path / "toy.onnx", build())
    signature = te.sign(model, keys[0])
    signature.write_text(change(signature.read_text()))
    message = refused(model, keys[1])
    assert message.startswith(f"{signature}: not ")
    assert message.count("\n") == 0


def test_a_file_that_was_tuned_needs_a_new_signature(tmp_path: Path, keys: Keys) -> None:
    model = write(tmp_path / "toy.onnx", build())
    signature = te.sign(model, keys[0])
    write(model, build(None))
    model.write_bytes(model.read_bytes() + b"\0")
    refused(model, keys[1])
    te.sign(model, keys[0])
    te.verify(model, keys[1])
    bundle = {"payload": base64.b64encode(b"{}").decode(), "payloadType": "", "signatures": [{}]}
    for other in ("", "text", "{}", json.dumps({"dsseEnvelope": bundle})):
        signature.write_text(other)
        with pytest.raises(te.errors.OverwriteError, match="add --force"):
            te.sign(model, keys[0])
        assert signature.read_text() == other
    te.sign(model, keys[0], force=True)
    te.verify(model, keys[1])


BAD_KEYS = {
    "a private key with a password": "ec -in KEY -aes256 -passout pass:x",
    "a key of the kind RSA": "genpkey -algorithm RSA",
    "a key of the kind Ed25519": "genpkey -algorithm ED25519",
    "a key of the kind X25519": "genpkey -algorithm X25519",
    "a key on the curve secp256k1": "ecparam -name secp256k1 -genkey -noout",
    "a private key that is damaged, or of": "ecparam -name sect233k1 -genkey -noout",
    "a public key": "ec -in KEY -pubout",
    "an empty file": "",
    "no key in PEM format": "no key",
}
"""What a message says that a file is, and how openssl makes it, or its text."""


def bad_key(path: Path, made: str, keys: Keys) -> Path:
    """A file that `openssl` makes, or with this text."""
    if made in ("", "no key"):
        path.write_text(made)
        return path
    words = [str(keys[0]) if word == "KEY" else word for word in made.split()]
    subprocess.run(["openssl", *words, "-out", str(path)], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("found", BAD_KEYS)
def test_keys_that_cannot_sign(tmp_path: Path, keys: Keys, found: str) -> None:
    model = write(tmp_path / "toy.onnx", build())
    bad = bad_key(tmp_path / "bad.pem", BAD_KEYS[found], keys)
    with pytest.raises(RejectedInputError) as caught:
        te.sign(model, bad)
    assert str(caught.value).startswith(f"{bad}: expected a private key on the curve P-256, ")
    assert f", got {found}" in str(caught.value)
    assert str(caught.value).endswith(
        "make one: `openssl ecparam -name prime256v1 -genkey -noout -out private.pem`."
    )
    assert not model.with_name("toy.onnx.sig").exists()


@pytest.mark.parametrize(
    ("found", "made"),
    [
        ("a private key; never give that away", "ecparam -name prime256v1 -genkey -noout"),
        ("a private key; never give that away", BAD_KEYS["a private key with a password"]),
        ("a key of the kind RSA", "rsa -in OTHER -pubout"),
        ("a key of the kind Ed25519", "pkey -in OTHER -pubout"),
        ("a key on the curve secp256k1", "ec -in OTHER -pubout"),
        ("a damaged public key", "cut"),
        ("an empty file", ""),
        ("no key in PEM format", "no key"),
    ],
)
def test_keys_that_cannot_verify(tmp_path: Path, keys: Keys, found: str, made: str) -> None:
    model, bad = write(tmp_path / "toy.onnx", build()), tmp_path / "bad.pem"
    te.sign(model, keys[0])
    if made == "cut":
        bad.write_bytes(keys[1].read_bytes()[:60])
    else:
        if "OTHER" in made:
            bad_key(tmp_path / "other.pem", BAD_KEYS[found], keys)
            made = made.replace("OTHER", str(tmp_path / "other.pem"))
        bad_key(bad, made, keys)
    message = refused(model, bad)
    assert message.startswith(f"{bad}: expected a public key on the curve P-256, ")
    assert f", got {found}; " in message
    assert message.endswith("make one: `openssl ec -in private.pem -pubout -out public.pem`.")


@pytest.mark.parametrize("name", [".", "..", "../saved"])
def test_the_folder_that_one_is_in(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, puzzles = write_saved_model(tmp_path / "saved"), tmp_path / "puzzles.txt"
    puzzles.write_text("....\n")
    monkeypatch.chdir(folder / "variables" if name == ".." else folder)
    assert run(["sign", name, "--key", str(keys[0])]) == 0
    assert (tmp_path / "saved.sig").is_file()
    assert run(["verify", name, "--key", str(keys[1])]) == 0
    assert run(["inspect", name, "--verify-key", str(keys[1])]) == 0
    assert main([name, str(puzzles), "--verify-key", str(keys[1])]) == 0
    te.verify(folder, keys[1])


def test_a_signature_replaces_no_input(
    model: Path, keys: Keys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Path(shutil.copy(keys[0], tmp_path / "key.sig"))
    (tmp_path / "hard.sig").hardlink_to(a_file(model))
    (tmp_path / "link.sig").symlink_to(model)
    before = {file: file.read_bytes() for file in (a_file(model), key)}
    inside = [model / "model.sig", model / "variables" / "model.sig"]
    others = [model, key, tmp_path / "link.sig", tmp_path / "new.onnx", tmp_path]
    for output in (*others, *(inside if model.is_dir() else [tmp_path / "hard.sig"])):
        assert run(["sign", str(model), "--key", str(key), "-o", str(output), "--force"]) == 2
        assert "another name" in (said := capsys.readouterr().err) or "elsewhere" in said
    assert {file: file.read_bytes() for file in before} == before
    assert not any(file.exists() for file in inside if model.is_dir())


def test_the_commands(
    model: Path, keys: Keys, others: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(model), "--key", str(keys[1])]) == 4
    assert run(["sign", str(model), "--key", str(keys[0])]) == 0
    assert capsys.readouterr().out == f"{model}.sig\n"
    assert run(["verify", str(model), "--key", str(keys[1])]) == 0
    assert "unchanged since" in capsys.readouterr().out
    assert run(["verify", str(model), "--key", str(others[1]), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 4
    assert run(["inspect", str(model), "--verify-key", str(keys[1])]) == 0
    for command in ("inspect", "reference"):
        assert run([command, str(model), "--verify-key", str(others[1])]) == 4


@pytest.mark.parametrize("isolated", [False, True])
def test_a_device_verifies_before_an_engine_opens_the_file(
    tmp_path: Path, keys: Keys, others: Keys, isolated: bool
) -> None:
    model, puzzles = write(tmp_path / "toy.onnx", build()), tmp_path / "puzzles.txt"
    puzzles.write_text("....\n")
    words = [str(model), str(puzzles), *["--isolate"] * isolated]
    assert main([*words, "--verify-key", str(keys[1])]) == 4  # no signature
    te.sign(model, keys[0])
    assert main([*words, "--verify-key", str(keys[1])]) == 0
    assert main([*words, "--verify-key", str(others[1])]) == 4


# --- digests --------------------------------------------------------------------------------------


def test_a_digest_is_what_the_shell_makes(model: Path) -> None:
    (model.parent / ".hidden").write_text("x")
    if model.is_dir():
        shutil.copy(model.parent / ".hidden", model / ".hidden")
    recipe = (tree_digest.__doc__ or "").split("In the folder:")[1].strip().splitlines()[0]
    command = recipe if model.is_dir() else f"sha256sum {model.name}"
    where = model if model.is_dir() else model.parent
    done = subprocess.run(["sh", "-c", command], cwd=where, capture_output=True, text=True)
    assert done.stdout.split()[0] == tree_digest(model)
    assert te.inspect(model).to_json()["sha256"] == tree_digest(model)


def test_the_expected_digest(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = tree_digest(model), "0" * 64
    te.require(model, sha256=right.upper())
    te.require(model, sha256=[wrong, right])
    with pytest.raises(RejectedInputError, match=f"expected the SHA-256 {wrong}, got {right};"):
        te.require(model, sha256=wrong)
    with pytest.raises(UsageError, match="expected 64 hexadecimal digits"):
        te.require(model, sha256="abc")
    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("....\n")
    for words, command in (
        (["inspect", str(model)], run),
        (["evaluate", str(model)], run),
        (["tune", str(model)], run),
        (["profile", str(model)], run),
        (["reference", str(model)], run),
        (["bench", "paper-sudoku-mlp", str(model)], run),
        (["parity", "none.keras", str(model)], run),
        ([str(model), str(puzzles)], main),
        (["check", str(model), "none.npz"], main),
    ):
        capsys.readouterr()
        assert command([*words, "--expect-sha256", wrong]) == 4
        assert "expected the SHA-256" in " ".join(capsys.readouterr().err.split())
    assert main([str(model), str(puzzles), "--expect-sha256", right]) == 0
    a_file(model).write_bytes(b"changed")
    with pytest.raises(RejectedInputError, match="expected the SHA-256"):
        te.require(model, sha256=right)


def test_links_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("a")
    before = tree_digest(tmp_path / "model")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "b").write_text("b")
    (tmp_path / "model" / "linked").symlink_to(tmp_path / "beside")
    assert tree_digest(tmp_path / "model") != before  # an engine would read it
    (tmp_path / "beside" / "loop").symlink_to(tmp_path / "model")
    with pytest.raises(RejectedInputError, match="a link to a folder that is here already"):
        tree_digest(tmp_path / "model")
