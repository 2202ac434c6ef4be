"""What the scripts that picture a page share: arguments, Chromium, and files of few colours."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright


@contextmanager
def pictured(script: str) -> Iterator[tuple[Browser, Path, Path]]:
    """A browser, the page and the folder of the pictures; `script` is the script's docstring."""
    parser = argparse.ArgumentParser(description=script.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        yield browser, given.page, given.folder
        browser.close()


def save(screenshot: bytes, target: Path, colours: int) -> None:
    """Writes a screenshot as PNG, and prints its name and size."""
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    picture.quantize(colours).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size} bytes")
