"""Pictures of a parity report, wide and as a phone shows it, light and dark.

    python benchmarks/picture_report.py build/report.html docs/images

Needs `pip install playwright pillow` and Chromium, which --browser names.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SIZES = {1280: 1660, 390: 1900}  # pixels across and down
COLOURS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        for width, height in SIZES.items():
            for scheme in ("light", "dark"):
                size = {"width": width, "height": height}
                tab = browser.new_page(viewport=size, color_scheme=scheme)
                tab.goto(given.page.resolve().as_uri())
                picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
                target = given.folder / f"report-{width}-{scheme}.png"
                picture.quantize(COLOURS).save(target, optimize=True)
                print(f"{target}: {target.stat().st_size} bytes")
        browser.close()


if __name__ == "__main__":
    main()
