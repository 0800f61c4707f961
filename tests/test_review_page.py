"""The page of a review in a real browser: keyboard and mouse, a reload, two windows, and a file that is full of scripts."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import datassay as da
from datassay.decisions.records import read_decisions, settled
from datassay.evaluation.planting import plant_wrong_labels
from datassay.review.groups import Groups
from datassay.review.record import Record
from datassay.review.server import application, listen
from datassay.review.session import Session
from test_review import hostile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
SHOTS = os.environ.get("DATASSAY_SCREENSHOTS")  # a folder for pictures, to look at


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


class Served:
    """A review on a port of its own, in a thread."""

    def __init__(self, values, data, path, by=None):
        import uvicorn

        self.path, self.data = path, data
        self.session = Session(values, data, Record(path, data))
        self.session.wait()
        bound = listen(0)
        app = application(self.session, bound.getsockname()[1], title="rows.csv", groups=by and Groups(self.session, *by))
        self.address = f"http://127.0.0.1:{bound.getsockname()[1]}/?token={app.state.token}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [bound]}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.should_exit = True
        self.thread.join(10)

    def decided(self):
        return read_decisions(self.path) if self.path.exists() else []


class Window:
    """A page, and all that went wrong in it."""

    def __init__(self, browser, served, who="", width=1280, height=900):
        self.context = browser.new_context(viewport={"width": width, "height": height}, locale="en")
        self.page = self.context.new_page()
        self.errors, self.requests = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_default_timeout(20_000)
        self.page.goto(served.address + (f"&who={who}" if who else ""))
        self.page.wait_for_selector("#card:not([hidden])")

    def row(self):
        return self.page.locator("#heading bdi").inner_text()

    def after(self, act):
        """Do it, and wait for the next row."""
        before = self.page.locator("#heading").inner_text()
        act()
        self.page.wait_for_function("before => document.getElementById('heading').innerText !== before", arg=before)

    def press(self, key):
        self.after(lambda: self.page.keyboard.press(key))

    def click(self, name):
        self.after(lambda: self.page.click(f"[data-do={name}]"))

    def wide(self):
        """Pixels by which something sticks out at the side."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def shot(self, name):
        if SHOTS:
            self.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


@pytest.fixture(scope="module")
def digits():
    found = load_digits()
    data, wrong = plant_wrong_labels(da.Dataset(found.images[:900], found.target[:900]), 0.06, seed=1)
    return da.value(data, method="cg-score", progress=False), data, wrong, found.target[:900]


@pytest.fixture
def review(digits, tmp_path):
    served = Served(digits[0], digits[1], tmp_path / "decisions.csv")
    yield served
    served.close()


def test_thirty_rows_by_keyboard_and_mouse(browser, review, digits):
    _, data, wrong, true = digits
    window = Window(browser, review, who="ann")
    page = window.page
    window.shot("digits-1280")
    assert page.locator("#who").input_value() == "ann"
    expected = {}
    for k in range(30):
        row = int(window.row())
        given, right = str(data.y[row]), str(true[row])
        if k == 12:  # a reload goes on with this row
            page.reload()
            page.wait_for_selector("#card:not([hidden])")
            assert int(window.row()) == row
        take = page.locator("[data-do=take]")
        offered = page.locator("#taketext bdi").inner_text() if take.is_enabled() else None
        mouse = k % 2 == 1
        if given == right:
            window.click("keep") if mouse else window.press("k")
            expected[row] = ("keep", "")
        elif k % 7 == 3:
            window.click("drop") if mouse else window.press("d")
            expected[row] = ("drop", "")
        elif offered == right and k % 5:
            window.click("take") if mouse else window.press("t")
            expected[row] = ("relabel", right)
        else:  # another class, found by typing
            page.click("[data-do=another]") if mouse else page.keyboard.press("c")
            page.wait_for_selector("#pick[open]")
            if mouse:
                page.fill("#find", right)
                window.after(lambda: page.locator("#choices [role=option]").first.click())
            else:
                page.keyboard.type(right)
                window.press("Enter")
            expected[row] = ("relabel", right)
    lines = review.decided()
    assert {int(i): (a, n) for i, a, n in zip(lines["id"], lines["action"], lines["new_label"], strict=True)} == expected
    assert set(lines["who"]) == {"ann"}
    assert (lines["seconds"].astype(float) > 0).any()  # of some, less than a twentieth
    assert page.locator("#looked").inner_text().startswith("30")
    assert page.locator("#found").inner_text() == str(sum(action != "keep" for action, _ in expected.values()))
    assert sum(wrong[row] for row in expected) >= 20  # and the first suspects are the wrong ones
    better = da.apply(data, review.path)
    assert (better.y == true[np.isin(data.ids, better.ids)]).mean() > (data.y == true).mean()
    window.shot("digits-1280-30")
    assert not window.errors
    assert all(url.startswith(review.address.split("?")[0]) or url.startswith("data:") for url in window.requests)


def test_undo_unsure_a_note_and_the_keyboard_alone(browser, review):
    window = Window(browser, review, who="ann")
    page, first = window.page, window.row()
    page.keyboard.press("n")
    page.keyboard.type("kd: no decision, a note")
    page.keyboard.press("Enter")
    assert len(review.decided()) == 0
    window.press("u")
    assert review.decided()["note"].tolist() == ["kd: no decision, a note"]
    window.press("z")
    assert window.row() == first
    assert page.evaluate("document.activeElement.id") == "heading"
    assert "open again" in page.locator("#status").inner_text()
    page.keyboard.press("c")
    page.wait_for_selector("#pick[open]")
    page.keyboard.press("ArrowDown")
    marked = page.locator("#choices [aria-selected=true]")
    assert page.locator("#find").get_attribute("aria-activedescendant") == marked.get_attribute("id")
    window.shot("pick-1280")
    page.keyboard.press("Escape")
    page.wait_for_selector("#pick:not([open])", state="attached")
    assert window.row() == first
    page.uncheck("#keys")
    page.keyboard.press("k")
    page.wait_for_timeout(300)
    assert window.row() == first
    assert review.decided()["note"].tolist()[1:] == ["undone"]
    assert not window.errors


def test_two_windows_share_the_rows_and_disagree(browser, review):
    ann, bob = Window(browser, review, who="ann"), Window(browser, review, who="bob")
    first = ann.row()
    assert bob.row() != first
    ann.press("k")
    bob.page.wait_for_selector(f"#recent [data-row='{first}']", timeout=15_000)  # of itself
    bob.after(lambda: bob.page.click(f"#recent [data-row='{first}']"))
    assert bob.row() == first
    assert "ann kept" in bob.page.locator("#opinions").inner_text()
    bob.press("d")
    ann.page.wait_for_selector(f"#disputed [data-row='{first}']", timeout=15_000)
    bob.shot("disputed-1280")
    assert settled(review.decided(), review.data).disputed == [int(first)]
    assert ann.row() != bob.row()
    assert not ann.errors + bob.errors


def test_a_narrow_window_and_a_reader_of_screens(browser, review):
    window = Window(browser, review, width=390, height=844)
    page = window.page
    assert window.wide() <= 0
    window.shot("digits-390")
    for name in ("keep", "take", "drop", "unsure", "another"):  # in sight without scrolling, and large enough for a thumb
        box = page.locator(f"[data-do={name}]").bounding_box()
        assert 0 <= box["y"] <= 844 - box["height"]
        assert box["height"] >= 40
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    window.shot("digits-390-end")
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, input, [role=group], [role=listbox], dialog")].filter((e) => !(e.textContent.trim()
        || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("[role=status][aria-live=polite]").count() == 1
    assert page.locator("h1:visible").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
    page.evaluate("window.scrollTo(0, 0)")
    window.click("keep")
    assert "Next: row" in page.locator("#status").inner_text()
    assert page.evaluate("document.activeElement.id") == "heading"
    assert not window.errors


@pytest.mark.parametrize("width", [1280, 390])
def test_a_file_full_of_scripts_is_only_text(browser, tmp_path, width):
    _, data, values = hostile(tmp_path)
    served = Served(values, data, tmp_path / "decisions.csv")
    window = Window(browser, served, who="<b>ann</b>", width=width)
    page = window.page
    window.shot(f"hostile-{width}")
    for key in "ktkduk":
        if key == "t" and page.locator("[data-do=take]").is_disabled():
            key = "k"
        page.keyboard.press("n")
        page.keyboard.insert_text("<img src=x onerror=\"document.title='ran'\">")
        page.keyboard.press("Enter")
        window.press(key)
    page.keyboard.press("c")
    page.wait_for_selector("#pick[open]")
    page.wait_for_timeout(200)
    assert page.title() == "datassay review"
    assert page.locator("img, #card b b, iframe").count() == 0
    assert page.locator("script").count() == 1
    assert window.wide() <= 0
    assert not window.errors
    assert len(served.decided()) == 6
    served.close()


def test_a_confusion_is_decided_at_once(browser, digits, tmp_path):
    values, data, _, _ = digits
    given, suggested = data.codes, values.suggested_label
    pairs = {}
    for row in np.flatnonzero(values.flagged):
        if given[row] != suggested[row]:
            pairs.setdefault((given[row], suggested[row]), []).append(int(row))
    rows = max(pairs.values(), key=len)
    served = Served(values, data, tmp_path / "decisions.csv", by=("annotator", ["ann", "bob", "<i>cy</i>"] * 300))
    for width in (390, 1280):
        window = Window(browser, served, who="ann", width=width)
        page = window.page
        page.wait_for_selector("#groups button")
        assert page.locator("#rates li").count() == 3
        assert page.locator("#rates i").count() == 0
        page.locator("#groups button").first.click()
        page.wait_for_selector("#group:not([hidden])")
        assert page.evaluate("document.activeElement.id") == "grouptitle"
        assert window.wide() <= 0
        window.shot(f"group-{width}")
        page.keyboard.press("d")  # no key decides about many
        if width == 390:
            page.click("[data-all=back]")
            page.wait_for_selector("#card:not([hidden])")
            assert page.locator("#group").is_hidden()
    assert len(served.decided()) == 0
    boxes = page.locator("#grouprows input")
    assert boxes.count() == len(rows)
    left = int(boxes.nth(0).get_attribute("data-row"))
    boxes.nth(0).uncheck()
    page.click("[data-all=take]")
    page.wait_for_function("() => document.querySelectorAll('#grouprows input').length === 1")
    lines = served.decided()
    assert sorted(map(int, lines["id"])) == sorted(set(rows) - {left})
    assert set(lines["action"]) == {"relabel"}
    page.click("[data-all=keep]")
    page.wait_for_selector("#group", state="hidden")
    page.wait_for_selector("#card:not([hidden])")
    assert served.decided()["action"].tolist()[-1] == "keep"
    assert not window.errors
    served.close()


def test_what_went_wrong_is_said_and_the_row_stays(browser, review):
    window = Window(browser, review)
    row = window.row()
    review.close()
    window.page.keyboard.press("k")
    window.page.wait_for_function("() => document.getElementById('trouble').textContent.includes('does not answer')")
    assert window.row() == row
    time.sleep(0.1)
    assert len(review.decided()) == 0
