"""The bar of long work: one look, and only where somebody sees it."""

import re
import sys
from pathlib import Path

import pytest

import datassay
from datassay.engines.progress import progress_bar


class Terminal:
    """A standard error that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def terminal(monkeypatch, seen=True):
    """In the test itself: pytest sets its own standard error after the fixtures."""
    screen = Terminal()
    screen.isatty = lambda: seen
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, r"sums, 4 rows  50% \|█+ *\| 00:00, about 00:00 to go(, half)?"),
        ({"remaining": False}, r"sums, 4 rows  50% \|█+ *\| 00:00(, half)?"),
        ({"smoothing": 0}, r"sums, 4 rows  50% \|█+ *\| 00:00, about 00:00 to go(, half)?"),
    ],
)
def test_what_the_bar_says(monkeypatch, options, line):
    screen = terminal(monkeypatch)
    with progress_bar("sums, 4 rows", 4, progress=True, **options) as bar:
        bar.update(2)
        bar.refresh()
        bar.set_postfix_str("half")
        bar.refresh()
        drawn = [part.strip() for part in screen.text.split("\r") if "50%" in part]
    assert all(re.fullmatch(line, part) for part in drawn), drawn
    assert drawn[-1].endswith(", half")
    assert screen.text.split("\r")[-2].strip() == ""  # it goes away


def test_no_bar_where_it_is_not_wanted(monkeypatch):
    screen = terminal(monkeypatch)
    with progress_bar("sums", 4, progress=False) as bar:
        bar.update(4)
    assert screen.text == ""


def test_no_bar_where_nobody_sees_it(monkeypatch):
    screen = terminal(monkeypatch, seen=False)
    with progress_bar("sums", 4, progress=True) as bar:
        bar.update(4)
    assert screen.text == ""


def test_the_format_stands_once():
    source = Path(datassay.__file__).parent
    assert [p.name for p in source.rglob("*.py") if "bar_format" in p.read_text(encoding="utf-8")] == ["progress.py"]
