"""Pictures of a parity report, wide and as a phone shows it, light and dark.

    python -m benchmarks.picture_report build/report.html docs/images

Needs `pip install playwright pillow` and Chromium, which --browser names.
"""

from __future__ import annotations

from benchmarks.pictures import pictured, save

SIZES = {1280: 1660, 390: 1900}  # pixels across and down
COLOURS = 256


def main() -> None:
    with pictured(__doc__) as (browser, page, folder):
        for width, height in SIZES.items():
            for scheme in ("light", "dark"):
                size = {"width": width, "height": height}
                tab = browser.new_page(viewport=size, color_scheme=scheme)
                tab.goto(page.resolve().as_uri())
                save(tab.screenshot(), folder / f"report-{width}-{scheme}.png", COLOURS)


if __name__ == "__main__":
    main()
