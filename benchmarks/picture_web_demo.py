"""Pictures of the demo page with a solved puzzle: a Sudoku on a wide page, a maze on a phone.

    python -m benchmarks.picture_web_demo build/web-demo docs/images

Needs `pip install playwright pillow` and Chromium, which --browser names.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Route

from benchmarks.pictures import pictured, save

PICTURES = {  # pixels across, their scale in the picture, colours
    "Sudoku 9x9": (1280, 1.5, "light"),
    "Maze 11x11": (390, 2.0, "dark"),
}
COLOURS = 64
FLASH = 1500  # ms until changed cells have lost their colour


def main() -> None:
    with pictured(__doc__) as (browser, page, folder):

        def answer(route: Route) -> None:
            route.fulfill(path=page / (urlsplit(route.request.url).path[1:] or "index.html"))

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
            save(tab.screenshot(full_page=True), folder / f"web-demo-{width}.png", COLOURS)


if __name__ == "__main__":
    main()
