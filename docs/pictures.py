"""The pictures of the review on docs/from-suspects-to-better-data.md, taken in Chromium in the course of a whole review.

    python docs/pictures.py          # needs Chromium, playwright and pillow; a minute

The digits are those of the page's first example. The script decides as somebody who sees what each digit is: it keeps a label that is
right, takes the suggestion where that is, names another class else, and ends when the page says that one may stop. It prints what was
decided and what that brought, and writes docs/_static/review*.png. The time to go in the pictures is at the script's pace.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "from-suspects-to-better-data.md"
WIDE, NARROW = (1220, 880), (390, 844)
AFTER = 60  #: decisions, before the first pictures
MOST = 400  #: a review that was not told to stop by then is a fault


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("needs Chromium: apt install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        os.chdir(folder)
        right = [str(label) for label in example()["right"]]
        say("value", "digits.npz", "-m", "cg-score", "-o", "values.parquet")
        call = ["review", "values.parquet", "--data", "digits.npz", "--no-browser", "--who", "ann"]
        served = subprocess.Popen(command(*call), stdout=subprocess.PIPE, text=True)
        assert served.stdout is not None
        address = served.stdout.readline().strip()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = window(browser, address, WIDE)
            for done in range(MOST):
                if done == AFTER:
                    picture(page, "review")
                    picture(window(browser, address, NARROW), "review-390")
                if page.locator("#advice").inner_text().startswith("You may stop"):
                    break
                decide(page, right)
            else:
                sys.exit(f"not told to stop after {MOST} rows")
            picture(page, "review-stop", 232)
        finally:
            browser.close()
            served.send_signal(signal.SIGINT)
            served.wait(30)
        lines = pd.read_csv("decisions.csv", dtype=str)
        wrong = sum(one != right[int(row)] for row, one in zip(lines["id"], lines["given_label"], strict=True))
        print(f"{len(lines)} rows looked at, {wrong} of them wrong: {lines['action'].value_counts().to_dict()}")
        say("apply", "decisions.csv", "--data", "digits.npz", "-o", "clean.npz")
        say("gain", "--before", "digits.npz", "--after", "clean.npz", "--val", "checked.npz")


def example() -> dict[str, Any]:
    """Run the page's first example, which writes the files; its names."""
    block = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    for line in doctest.DocTestParser().get_examples(block[1]):
        exec(compile(line.source, PAGE.name, "single"), names)
    return names


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "datassay", *words]


def say(*words: str) -> None:
    print(f"$ datassay {' '.join(words)}")
    subprocess.run(command(*words), check=True)


def window(browser: Any, address: str, size: tuple[int, int]) -> Page:
    page: Page = browser.new_page(viewport={"width": size[0], "height": size[1]}, locale="en")
    page.goto(address)
    page.wait_for_selector("#card:not([hidden])")
    return page


def decide(page: Page, right: list[str]) -> None:
    """About the row in sight, by the keyboard; returns when the next one is there."""
    heading = page.locator("#heading").inner_text()
    true = right[int(page.locator("#heading bdi").inner_text())]
    take = page.locator("[data-do=take]")
    if page.locator("[data-do=keep] bdi").inner_text() == true:
        page.keyboard.press("k")
    elif take.is_enabled() and take.locator("bdi").inner_text() == true:
        page.keyboard.press("t")
    else:
        page.keyboard.press("c")
        page.wait_for_selector("#pick[open]")
        page.keyboard.type(true)
        page.keyboard.press("Enter")
    page.wait_for_function("was => document.getElementById('heading').innerText !== was", arg=heading)


def picture(page: Page, name: str, height: int | None = None) -> None:
    """Of what is in sight, or of its upper part, in few colours."""
    size = page.viewport_size
    assert size is not None
    part = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
    image = Image.open(BytesIO(page.screenshot(clip=part))).convert("RGB")
    image = image.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    path = DOCS / "_static" / f"{name}.png"
    image.save(path, optimize=True)
    print(f"{path.relative_to(DOCS.parent)}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
