"""Pictures of the demo page with a solved puzzle: a Sudoku on a wide page, a maze on a phone.

    python benchmarks/picture_web_demo.py build/web-demo docs/images

Needs `pip install playwright pillow` and Chromium, which --browser names.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Route, sync_playwright

PICTURES = {  # pixels across, their scale in the picture, colours
    "Sudoku 9x9": (1280, 1.5, "light"),
    "Maze 11x11": (390, 2.0, "dark"),
}
COLOURS = 64
FLASH = 1500  # ms until changed cells have lost their colour


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    given = parser.parse_args()

    def answer(route: Route) -> None:
        route.fulfill(path=given.page / (urlsplit(route.request.url).path[1:] or "index.html"))

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        for task, (width, scale, scheme) in PICTURES.items():
            size = {"width": width, "height": 860}
            tab = browser.new_page(viewport=size, device_scale_factor=scale, color_scheme=scheme)
            tab.route("**", answer)
            tab.goto("http://localhost/")
            for name in (task, "LiteRT.js"):
                tab.get_by_role("radio", name=name).click()
            tab.get_by_role("button", name="Solve").click()
            tab.get_by_text(": solved.").wait_for()
            tab.wait_for_timeout(FLASH)
            picture = Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("RGB")
            target = given.folder / f"web-demo-{width}.png"
            picture.quantize(COLOURS).save(target, optimize=True)
            print(f"{target}: {target.stat().st_size} bytes")
        browser.close()


if __name__ == "__main__":
    main()
