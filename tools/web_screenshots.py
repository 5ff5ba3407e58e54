"""Draws docs/web-*.png anew: ``python tools/web_screenshots.py http://127.0.0.1:8765``.

The address is that of a `pipeline web` on the demonstration; Debian's Chromium looks at it.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
# None that shows a path of the machine where it is drawn.
PAGES = {"search": "/?q=a+slice+of+pizza&modality=image", "map": "/map"}
WIDTH, HEIGHT = 1280, 720


def draw(browser: Browser, url: str, folder: Path = DOCS) -> list[Path]:
    """A picture of each page, in 256 colours, so that each is small."""
    drawn = []
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    for name, path in PAGES.items():
        page.goto(f"{url}{path}", wait_until="networkidle")
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        file = folder / f"web-{name}.png"
        image.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        drawn.append(file)
    page.close()
    return drawn


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for picture in draw(chromium, sys.argv[1].rstrip("/")):
            print(picture.name, picture.stat().st_size)
        chromium.close()
