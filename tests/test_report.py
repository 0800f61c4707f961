"""The report: the dict exactly, the page as a browser would read it, and nothing half-written."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import re
import struct
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import datassay as da
from datassay.reporting import summarize, to_html
from datassay.reporting.nearest import nearest, similarities
from datassay.reporting.typical import Typical

EVIL = """</script><script>alert(1)</script>"><img src=x onerror="alert(2)">'{{ 7*7 }}&amp;"""


def values_of(data: da.Dataset, scores, flagged=None, suggested=None, columns=None, **stats) -> da.Values:
    n = len(data)
    return da.Values(
        ids=data.ids,
        scores=np.asarray(scores, dtype=np.float64),
        flagged=np.zeros(n, bool) if flagged is None else np.asarray(flagged),
        columns=columns or {},
        method="cg-score",
        options={"ridge": 0.5, "seed": 0},
        stats={"seconds": 1.5, "flag_rule": "score below 0", **stats},
        given_label=data.y,
        suggested_label=None if suggested is None else objects(suggested),
        data_hash=data.hash,
        versions={"datassay": "0"},
    )


def objects(values) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


class Page(HTMLParser):
    """Tags, attributes and text as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self._in = "", [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag) -> None:
        self._in = ""

    def handle_data(self, data) -> None:
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def pixels(uri: str) -> np.ndarray:
    """A PNG written with filter 1, read again without the code under test."""
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, body = 8, b""
    while at < len(raw):
        (size,), kind = struct.unpack(">I", raw[at : at + 4]), raw[at + 4 : at + 8]
        content = raw[at + 8 : at + 8 + size]
        assert struct.unpack(">I", raw[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + content)
        if kind == b"IHDR":
            width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", content)
        body += content if kind == b"IDAT" else b""
        at += 12 + size
    channels = {0: 1, 2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * channels)
    assert depth == 8
    assert (lines[:, 0] == 1).all()
    return np.cumsum(lines[:, 1:].reshape(height, width, channels), axis=1, dtype=np.uint8)


def small() -> tuple[da.Dataset, da.Values]:
    X = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 2.0], [3.0, 0.0]])
    data = da.Dataset(X, ["a", "a", "b", "b", "b"], ids=["p", "q", "r", "s", "t"])
    columns = {"cg_score": np.array([0.5, np.nan, np.inf, 0.25, 4.0])}
    flagged = [False, False, False, False, True]
    values = values_of(
        data, [-0.5, -0.2, -0.1, 0.0, -4.0], flagged, list("aabba"), columns, sizes=[1, 2], stderr=np.arange(5.0)
    )
    return data, values


def test_summary_exactly() -> None:
    data, values = small()
    found = summarize(values, data, top=2, evidence=2)
    scores = found.pop("scores")
    assert found == {
        "finding": "1 of 5 rows is flagged; start with it",
        "wrong_labels": None,
        "false_finds": None,
        "method": "cg-score",
        "flag_rule": "score below 0",
        "flagged": 1,
        "flagged_shown": 1,
        "seconds": 1.5,
        "options": [{"name": "ridge", "value": 0.5}, {"name": "seed", "value": 0}],
        "stats": [{"name": "sizes", "value": "1, 2"}],
        "versions": {"datassay": "0"},
        "data": {
            "rows": 5,
            "columns": 2,
            "task": "classification",
            "kind": "table",
            "hash": data.hash,
            "dropped": 0,
            "validation_rows": 0,
            "classes": [{"label": "a", "rows": 2, "flagged": 0}, {"label": "b", "rows": 3, "flagged": 1}],
            "targets": [],
        },
        "confusions": {"pairs": [{"given": "b", "suggested": "a", "rows": 1}], "other_pairs": 0, "without": 0},
        "columns": ["cg_score"],
        "twins": None,
        "suspects": [
            {
                "rank": 1,
                "id": "t",
                "score": -4.0,
                "stderr": 4.0,
                "flagged": True,
                "given_label": "b",
                "suggested_label": "a",
                "columns": {"cg_score": 4.0},
                "cells": [
                    {"column": "x0", "value": 3.0, "unusual": False},
                    {"column": "x1", "value": 0.0, "unusual": False},
                ],
                "hidden": 0,
                "evidence": [
                    {
                        "kind": "given",
                        "label": "b",
                        "rows": [
                            near("s", "b", 0.0499, (0.1, True), (2.0, True)),
                            near("r", "b", 0.0, (0.0, True), (1.0, True)),
                        ],
                    },
                    {
                        "kind": "suggested",
                        "label": "a",
                        "rows": [
                            near("p", "a", 1.0, (1.0, True), (0.0, False)),
                            near("q", "a", 0.9988, (2.0, True), (0.1, False)),
                        ],
                    },
                ],
            },
            {
                "rank": 2,
                "id": "p",
                "score": -0.5,
                "stderr": 0.0,
                "flagged": False,
                "given_label": "a",
                "suggested_label": "a",
                "columns": {"cg_score": 0.5},
                "cells": [
                    {"column": "x0", "value": 1.0, "unusual": False},
                    {"column": "x1", "value": 0.0, "unusual": False},
                ],
                "hidden": 0,
                "evidence": [
                    {"kind": "given", "label": "a", "rows": [near("q", "a", 0.9988, (2.0, True), (0.1, False))]},
                    {
                        "kind": "other",
                        "label": None,
                        "rows": [
                            near("t", "b", 1.0, (3.0, True), (0.0, False)),
                            near("s", "b", 0.0499, (0.1, False), (2.0, True)),
                        ],
                    },
                ],
            },
        ],
    }
    assert scores["below"] == scores["above"] == scores["not_finite"] == 0
    np.testing.assert_allclose(scores["edges"], np.linspace(-4, 0, 41), atol=1e-12)
    assert [(h["label"], h["rows"], h["flagged"], sum(h["counts"])) for h in scores["classes"]] == [
        ("a", 2, 0, 2),
        ("b", 3, 1, 3),
    ]
    assert (scores["all"]["counts"][0], scores["all"]["flagged_counts"][0], sum(scores["all"]["flagged_counts"])) == (
        1,
        1,
        1,
    )


def near(name, label, similarity, *cells) -> dict:
    marked = [{"column": f"x{j}", "value": value, "differs": differs} for j, (value, differs) in enumerate(cells)]
    return {"id": name, "label": label, "similarity": similarity, "cells": marked}


def test_summary_is_the_same_twice_and_is_json() -> None:
    data, values = small()
    one, two = (json.dumps(summarize(values, data), allow_nan=False) for _ in range(2))
    assert one == two
    assert [s["columns"]["cg_score"] for s in json.loads(one)["suspects"]] == [4.0, 0.5, "nan", "inf", 0.25]


# -- what is unusual, what differs, what is nearest


def people() -> da.Dataset:
    ages = [*range(30, 50), 99]
    frame = pd.DataFrame(
        {
            "age": ages + [20] * 9,
            "work": ["office"] * 20 + ["field"] + ["field"] * 9,
            "gain": [0] * 20 + [5000] + [1] * 9,
        }
    )
    return da.Dataset(frame, ["old"] * 21 + ["young"] * 9)


def test_unusual_cells_and_why() -> None:
    data = people()
    cells = summarize(values_of(data, np.where(np.arange(30) == 20, -1, 0)), data, top=1)["suspects"][0]["cells"]
    assert cells == [
        {"column": "age", "value": 99, "unusual": True, "reason": "typical for old: 35 to 45"},
        {
            "column": "work",
            "value": "field",
            "unusual": True,
            "reason": "4.8% of old have this; commonest: office (95%)",
        },
        {"column": "gain", "value": 5000, "unusual": True, "reason": "typical for old: 0"},
    ]
    ordinary = summarize(values_of(data, np.where(np.arange(30) == 5, -1, 0)), data, top=1)["suspects"][0]["cells"]
    assert [c["unusual"] for c in ordinary] == [False, False, False]


def test_a_column_in_which_every_text_is_rare_marks_none() -> None:
    names = pd.DataFrame({"name": [f"n{i // 2}" for i in range(80)], "x": np.arange(80.0)})
    data = da.Dataset(names, np.arange(80) % 2)
    typical = Typical(data)
    counts = typical.usual(0).texts[0][1:]
    assert counts[counts > 0].max() < 0.05 * 40  # each is under 5 %
    assert max(typical.severity(row)[0] for row in range(80)) == 0


def test_what_each_row_has_of_its_own_is_never_marked_and_dates_are_marked_as_numbers_are() -> None:
    days = pd.Timestamp("2024-03-01") + pd.to_timedelta([*range(39), 4000], unit="D")
    frame = pd.DataFrame({
        "who": [f"T-{i}" for i in range(40)],
        "said": [f"one says {i} and thinks {i + 1}" for i in range(40)],
        "day": days,
        "abroad": days.tz_localize("Asia/Tokyo"),
        "plan": ["free", "paid"] * 20,
    })  # fmt: skip
    data = da.Dataset(frame, np.arange(40) // 2 % 2)
    typical = Typical(data)
    assert typical.differs(10, [2, 11, 25, 39]).tolist() == [
        [False, False, False, False, False],  # eight days: under half of the middle half
        [False, False, False, False, True],
        [False, False, True, True, True],
        [False, False, True, True, True],
    ]
    assert (typical.severity(39) > 1).tolist() == [False, False, True, True, False]
    assert typical.reason(39, 2) == "typical for 1: 2024-03-11 to 2024-03-31"


def test_the_numbers_of_an_embedding_are_not_cells_where_there_are_others() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"seats": rng.integers(1, 50, 40), "place": list(rng.normal(size=(40, 2)))})
    wide = frame.assign(embedding=list(rng.normal(size=(40, 30))))
    y = np.arange(40) % 2
    for given, columns, hidden in (
        (frame, ["seats", "place[0]", "place[1]"], 0),
        (wide, ["seats", "place[0]", "place[1]"], 30),
    ):
        data = da.Dataset(given, y)
        suspect = summarize(values_of(data, np.arange(40.0)), data, top=1)["suspects"][0]
        assert [c["column"] for c in suspect["cells"]] == columns
        assert suspect["hidden"] == hidden
    assert not any(c["column"].startswith("embedding") for c in suspect["cells"])
    far = wide.copy()
    far.at[0, "embedding"] = np.r_[np.zeros(29), 1e6]  # one number far out is shown all the same
    data = da.Dataset(far, y)
    suspect = summarize(values_of(data, np.arange(40.0)), data, top=1)["suspects"][0]
    assert [c["column"] for c in suspect["cells"] if c["unusual"]] == ["embedding[29]"]
    alone = da.Dataset(wide[["embedding"]], y)
    assert len(summarize(values_of(alone, np.arange(40.0)), alone, top=1)["suspects"][0]["cells"]) == 12


def test_a_small_class_says_nothing_about_what_is_usual() -> None:
    X = np.c_[[*range(6), 1e6, *range(10)]]
    few, many = (Typical(da.Dataset(X, np.arange(17) >= size)) for size in (7, 12))
    assert many.severity(6)[0] > 1
    assert few.severity(6)[0] == 0


def test_missing_cells_are_shown_as_missing() -> None:
    frame = pd.DataFrame({"n": [np.nan, *map(float, range(39))], "t": [None, *["a", "b", "c"] * 13]})
    data = da.Dataset(frame, np.arange(40) % 2, missing="mean")
    suspect = summarize(values_of(data, np.arange(40.0)), data, top=1, evidence=1)["suspects"][0]
    assert [(c["value"], c["unusual"]) for c in suspect["cells"]] == [(None, False), (None, False)]  # 1 of 20 is 5 %
    assert [c["differs"] for c in suspect["evidence"][0]["rows"][0]["cells"]] == [True, True]
    bigger = da.Dataset(pd.concat([frame, frame[1:]], ignore_index=True), np.arange(79) % 2, missing="mean")
    cells = summarize(values_of(bigger, np.arange(79.0)), bigger, top=1)["suspects"][0]["cells"]
    assert cells[0]["reason"] == "missing in 2.5% of 0"
    assert cells[1]["reason"].startswith("2.5% of 0 have this; commonest: ")


def test_wide_rows_show_the_unusual_and_the_differing_cells() -> None:
    X = np.random.default_rng(0).normal(size=(60, 40))
    X[0, [3, 31]] = 50
    data = da.Dataset(X, np.arange(60) % 2)
    suspect = summarize(values_of(data, np.arange(60.0)), data, top=1)["suspects"][0]
    shown = [c["column"] for c in suspect["cells"]]
    assert (len(shown), suspect["hidden"]) == (12, 28)
    assert {"x3", "x31"} <= set(shown)
    assert shown == sorted(shown, key=lambda name: int(name[1:]))
    assert [c["column"] for c in suspect["evidence"][0]["rows"][0]["cells"]] == shown


@pytest.mark.parametrize("sparse", [False, True])
def test_similarities_are_the_definition(sparse: bool) -> None:
    X = np.random.default_rng(1).normal(size=(30, 5)) * (np.random.default_rng(2).random((30, 5)) < 0.6)
    X[4] = 0
    rows = np.array([4, 7, 0])
    found = np.array(list(similarities(sp.csr_array(X) if sparse else X, rows)))
    for k, i in enumerate(rows):
        for j in range(30):
            size = np.linalg.norm(X[i]) * np.linalg.norm(X[j])
            expected = -np.inf if i == j else X[i] @ X[j] / size if size else 0
            assert found[k, j] == pytest.approx(expected, abs=1e-12)


def test_similarities_do_not_depend_on_the_blocks(monkeypatch) -> None:
    X = np.random.default_rng(1).normal(size=(30, 5))
    whole = np.array(list(similarities(X, np.arange(30))))
    monkeypatch.setattr(sys.modules["datassay.reporting.nearest"], "_ENTRIES", 90)  # three rows a block
    np.testing.assert_allclose(np.array(list(similarities(X, np.arange(30)))), whole, rtol=1e-12)


def test_nearest_is_a_sorted_list() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        similarity = np.round(rng.random(20), 1)  # many equal ones
        among = rng.random(20) < 0.7
        expected = sorted(np.flatnonzero(among), key=lambda i: (-similarity[i], i))
        for k in (0, 1, 5, 30):
            assert nearest(similarity, among, k).tolist() == expected[:k]


# -- distributions and confusions


def test_far_tails_count_in_the_outermost_bars() -> None:
    data = da.Dataset(np.random.default_rng(0).normal(size=(1000, 2)), np.arange(1000) % 2)
    scores = np.linspace(0, 1, 1000)
    scores[:3] = -1e9
    found = summarize(values_of(data, scores, scores < 0), data, top=1)["scores"]
    assert (found["below"], found["above"]) == (3, 0)
    assert -2 < found["edges"][0] < -1  # 3 interquartile ranges below the lower quartile
    assert sum(found["all"]["counts"]) == 1000
    assert found["all"]["flagged_counts"][0] == 3
    scores[:15] = -np.arange(15, 0, -1) * 1e6  # more than one in a hundred is no stray tail
    found = summarize(values_of(data, scores), data, top=1)["scores"]
    assert (found["below"], found["edges"][0]) == (9, -6e6)


@pytest.mark.parametrize(
    "scores", [np.zeros(20), np.r_[np.zeros(19), 1], np.r_[np.nan, np.inf, -np.inf, np.zeros(17)], np.full(20, np.nan)]
)
def test_odd_scores_have_a_page(scores) -> None:
    data = da.Dataset(np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2)
    found = summarize(values_of(data, scores), data)
    assert found["scores"]["not_finite"] == np.sum(~np.isfinite(scores))
    if found["scores"]["all"]:
        assert sum(found["scores"]["all"]["counts"]) == np.sum(np.isfinite(scores))
        assert np.all(np.diff(found["scores"]["edges"]) > 0)
    assert "No row of 20 is flagged" in Page(to_html(found)).text
    json.dumps(found, allow_nan=False)


def test_many_classes_are_summed_up() -> None:
    y = np.repeat(np.arange(30), 3)
    data = da.Dataset(np.random.default_rng(0).normal(size=(90, 2)), y)
    found = summarize(values_of(data, np.arange(90.0), y == 29), data, top=1)["scores"]["classes"]
    assert [h["label"] for h in found] == [*range(10), 29, None]
    assert (found[-1]["others"], found[-1]["rows"], found[-1]["flagged"]) == (19, 57, 0)


def test_confusions_count_flagged_rows_with_another_label() -> None:
    y = np.repeat(np.arange(20), 5)
    data = da.Dataset(np.random.default_rng(0).normal(size=(100, 2)), y)
    suggested = [int(v) for v in (y + 1) % 20]
    suggested[0], suggested[1], suggested[50] = 0, None, 3
    found = summarize(values_of(data, np.arange(100.0), y < 18, suggested), data, top=1)["confusions"]
    assert found["pairs"][0] == {"given": 1, "suggested": 2, "rows": 5}
    assert len(found["pairs"]) == 15
    assert found["without"] == 2
    assert sum(p["rows"] for p in found["pairs"]) + found["other_pairs"] == 90 - 2
    assert (found["pairs"][-1]["rows"], found["other_pairs"]) == (
        5,
        13,
    )  # 16 whole pairs, 4 of 10->11, 3 of 0->1, 1 of 10->3


# -- kinds of data


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.arange(6 * 12, dtype=np.uint8).reshape(6, 3, 4), np.arange(12).reshape(3, 4, 1)),
        (np.linspace(-1, 1, 6 * 4).reshape(6, 2, 2), np.round(np.arange(4) / 23 * 255).reshape(2, 2, 1)),
        (np.arange(6 * 12, dtype=np.uint8).reshape(6, 2, 2, 3), np.arange(12).reshape(2, 2, 3)),
        (np.arange(6 * 16, dtype=np.uint8).reshape(6, 2, 2, 4), np.arange(16).reshape(2, 2, 4)),
        (np.arange(6 * 4).reshape(6, 2, 2) % 2 == 0, [[[255], [0]], [[255], [0]]]),
        (np.zeros((6, 2, 2)) + np.eye(2), [[[255], [0]], [[0], [255]]]),
    ],
    ids=["grey", "floats", "rgb", "rgba", "bool", "binary"],
)
def test_pictures_hold_their_pixels(images, expected) -> None:
    data = da.Dataset(images, [0, 1] * 3)
    suspect = summarize(values_of(data, np.arange(6.0)), data, top=1)["suspects"][0]
    np.testing.assert_array_equal(pixels(suspect["picture"]), expected)
    rows = [r for group in suspect["evidence"] for r in group["rows"]]
    assert len(rows) == 5
    assert all(pixels(r["picture"]).shape == np.shape(expected) for r in rows)


def test_large_pictures_are_shrunk_by_means() -> None:
    images = np.zeros((4, 200, 100), np.uint8)
    images[:, :3, :3] = 90
    images[:, 198:, 99:] = 200  # the last box is narrower
    data = da.Dataset(images, [0, 1, 0, 1])
    picture = pixels(summarize(values_of(data, np.arange(4.0)), data, top=1)["suspects"][0]["picture"])
    assert picture.shape == (67, 34, 1)
    assert (picture[0, 0, 0], picture[-1, -1, 0], picture.sum()) == (90, 200, 290)


def test_sparse_rows_show_their_largest_entries() -> None:
    X = np.zeros((6, 50))
    X[np.arange(6), np.arange(6)] = 1
    X[0, 10:30] = np.arange(1, 21)
    X[2, 45] = 40
    data = da.Dataset(X, [0, 1] * 3)
    data.X = data.shown = sp.csr_array(X)
    suspect = summarize(values_of(data, np.arange(6.0)), data, top=1, evidence=1)["suspects"][0]
    assert [c["column"] for c in suspect["cells"][:3]] == ["x29", "x45", "x28"]  # weight 20, mean of 40 and 0, 19
    assert (len(suspect["cells"]), suspect["hidden"]) == (12, 21 - 11)
    assert suspect["evidence"][0]["rows"][0]["cells"][1] == {"column": "x45", "value": 40.0, "differs": True}
    assert "10 more columns" in Page(to_html(summarize(values_of(data, np.arange(6.0)), data, top=1, evidence=1))).text


def test_regression_has_targets_and_no_classes() -> None:
    X = np.random.default_rng(0).normal(size=(12, 3))
    data = da.Dataset(X, np.arange(12) + 0.5)
    values = values_of(data, np.arange(12.0), np.arange(12) < 2, list(np.arange(12) + 2.25))
    found = summarize(values, data, top=3)
    assert found["finding"] == "2 of 12 rows are flagged; start with these"
    assert (found["data"]["classes"], found["data"]["targets"], found["scores"]["classes"]) == (
        [],
        [0.5, 6.0, 11.5],
        [],
    )
    assert (found["suspects"][0]["given_label"], found["suspects"][0]["suggested_label"]) == (0.5, 2.25)
    assert [(g["kind"], len(g["rows"])) for g in found["suspects"][0]["evidence"]] == [("any", 3)]
    assert "target 0.5, predicted 2.25" in Page(to_html(found)).text


@pytest.mark.parametrize("labels", [[3, 8], ["cat", "dog"], [("a", 1), ("b", 2)], [True, False], [1, "one"]], ids=str)
@pytest.mark.parametrize("suggest", [True, False])
def test_every_kind_of_label(labels, suggest) -> None:
    data = da.Dataset(np.random.default_rng(0).normal(size=(8, 2)), objects(labels * 4))
    suggested = list(objects(labels[::-1] * 4)) if suggest else None
    found = summarize(values_of(data, np.arange(8.0), np.arange(8) < 1, suggested), data, top=1)
    given, other = (label if not isinstance(label, tuple) else str(label) for label in labels)
    suspect = found["suspects"][0]
    assert (suspect["given_label"], suspect["suggested_label"]) == (given, other if suggest else None)
    assert [g["kind"] for g in suspect["evidence"]] == ["given", "suggested" if suggest else "other"]
    assert {row["label"] for row in suspect["evidence"][1]["rows"]} == {other}
    assert len(found["confusions"]["pairs"]) == suggest
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    to_html(found)


@pytest.mark.parametrize("suggested", [None, float("nan"), "unheard of"])
def test_a_suggestion_that_names_no_class(suggested) -> None:
    data = da.Dataset(np.random.default_rng(0).normal(size=(8, 2)), ["a", "b"] * 4)
    found = summarize(values_of(data, np.arange(8.0), suggested=[suggested] * 8), data, top=1)["suspects"][0]
    assert found["suggested_label"] == (suggested if isinstance(suggested, str) else None)
    assert [g["kind"] for g in found["evidence"]] == ["given", "other"]


def test_top_and_evidence_of_any_size() -> None:
    data, values = small()
    assert len(summarize(values, data, top=99)["suspects"]) == 5
    assert summarize(values, data, top=1, evidence=0)["suspects"][0]["evidence"] == []
    to_html(summarize(values, data, evidence=0))
    with pytest.raises(da.DataError, match="top >= 1"):
        summarize(values, data, top=0)


# -- the page


def hostile(kind: str) -> da.Dataset:
    names = np.array([f"{i}{EVIL}" for i in range(12)], dtype=object)
    labels = np.array([f"a{EVIL}", f"b{EVIL}"] * 6, dtype=object)
    if kind == "images":
        return da.Dataset(np.random.default_rng(0).random((12, 4, 4)), labels, ids=names)
    cells = [f"u{EVIL}"] * 11 + [f"v{EVIL}"]
    return da.Dataset(pd.DataFrame({f"c{EVIL}": cells, "x": [1.0] * 11 + [50.0]}), labels, ids=names)


@pytest.mark.parametrize("kind", ["images", "table"])
def test_text_from_the_data_is_never_code(kind) -> None:
    data = hostile(kind)
    values = values_of(
        data, np.arange(12.0), np.arange(12) < 3, list(data.y[::-1]), {f"k{EVIL}": np.arange(12.0)}, flag=EVIL
    )
    html = to_html(summarize(values, data))
    page, plain = Page(html), Page(to_html(summarize(*small()[::-1])))
    assert page.scripts == plain.scripts
    assert len(page.scripts) == 1
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | {"img", "h4", "br", "input"}
    allowed = {a for _, attrs in plain.tags for a in attrs} | {"src", "alt", "loading", "type"}
    assert {a for _, attrs in page.tags for a in attrs} <= allowed  # no onerror, nothing broke out of its quotes
    assert all(str(img["src"]).startswith("data:image/png;base64,") for img in page.named("img"))
    assert page.text.count(f"row 0{EVIL}") == 1  # and a reader sees it letter for letter
    assert f"labelled a{EVIL}, suggested b{EVIL}" in page.text
    cards = page.named("article")
    assert [c["data-given"] for c in cards[:2]] == [f"a{EVIL}", f"b{EVIL}"]
    assert {o["value"] for o in page.named("option")} >= {f"=a{EVIL}", f"=b{EVIL}"}


def test_the_page_needs_nothing_from_outside() -> None:
    html = to_html(summarize(*small()[::-1]))
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "base"}
    policy = next(m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert not any("style" in attrs for _, attrs in page.tags)  # the policy would drop it
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2


def test_the_policy_lets_the_pages_own_script_run() -> None:
    html = to_html(summarize(*small()[::-1]))
    script = re.search(r"<script>(.*?)</script>", html, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = Page(html).named("meta")[1]["content"]
    assert f"script-src 'sha256-{digest}'" in str(policy)


def test_the_page_says_what_the_summary_holds() -> None:
    data, values = small()
    page = Page(to_html(summarize(values, data, evidence=2)))
    text = re.sub(r"\s+", " ", page.text)
    for words in (
        "1 of 5 rows is flagged; start with it",
        "higher = more worth keeping",
        "A row is flagged by this rule: score below 0.",
        "1. row t labelled b, suggested a flagged score −4 ± 4 · cg_score 4",
        "3. row q labelled a, no other label suggested score −0.2 ± 1 · cg_score nan",
        "nearest rows labelled bnearest rows labelled a",
        "nearest rows of other labels",
        "option ridge0.5",
    ):
        assert words in text
    cards = page.named("article")
    assert [c["data-by-rank"] for c in cards] == list("12345")
    assert [c["data-by-0"] for c in cards] == ["4.0", "0.5", "", "inf", "0.25"]
    assert ["flagged" in str(c["class"]).split() for c in cards] == [True, False, False, False, False]


def test_flagged_rows_beyond_the_list_are_mentioned() -> None:
    data, values = small()
    many = values_of(data, values.scores, [True] * 5)
    assert "3 flagged rows are not among the 2 shown here" in Page(to_html(summarize(many, data, top=2))).text
    assert "not among" not in Page(to_html(summarize(many, data))).text


# -- files


def test_report_writes_the_page_and_the_same_as_json(tmp_path) -> None:
    data, values = small()
    path = da.report(values, data, tmp_path / "out.html", top=2)
    assert path == tmp_path / "out.html"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "out.json"]
    summary = summarize(values, data, top=2)
    assert json.loads((tmp_path / "out.json").read_text()) == {"generator": "datassay"} | summary
    assert path.read_text(encoding="utf-8") == to_html(summary)


def test_text_that_utf8_cannot_hold(tmp_path) -> None:
    data = da.Dataset(np.random.default_rng(0).normal(size=(4, 2)), ["a\ud800", "b\x00"] * 2)
    da.report(values_of(data, np.arange(4.0)), data, tmp_path / "out.html")
    assert "a\\ud800" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_values_of_other_data_are_refused(tmp_path) -> None:
    data, values = small()
    other = data.with_labels(["a", "a", "b", "b", "a"])
    with pytest.raises(da.DataError, match="computed on other data"):
        da.report(values, other, tmp_path / "out.html")
    by_hand = da.Values(ids=data.ids[::-1], scores=values.scores, flagged=values.flagged, columns={}, method="random")
    with pytest.raises(da.DataError, match="computed on other data"):
        summarize(by_hand, data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"), [("no/out.html", "does not exist"), ("out.json", "ends in .html"), ("folder.html", "is a folder")]
)
def test_a_path_that_cannot_be_written(tmp_path, name, says) -> None:
    (tmp_path / "folder.html").mkdir()
    data, values = small()
    with pytest.raises(da.DataError, match=says):
        da.report(values, data, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.html"]


@pytest.mark.parametrize("breaks", ["to_html", "json.dumps", "os.replace"])
def test_nothing_half_written(tmp_path: Path, monkeypatch, breaks) -> None:
    data, values = small()
    yesterday = '<meta name="generator" content="datassay">the page of yesterday'
    (tmp_path / "out.html").write_text(yesterday)

    def fail(*args, **kwargs) -> None:
        raise RuntimeError("no")

    module = importlib.import_module("datassay.reporting")
    owner = {"to_html": module, "json.dumps": json, "os.replace": os}[breaks]
    monkeypatch.setattr(owner, breaks.split(".")[-1], fail)
    with pytest.raises(RuntimeError, match="no"):
        da.report(values, data, tmp_path / "out.html")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]
    assert (tmp_path / "out.html").read_text() == yesterday


def test_texts_that_turn_the_line_around_or_begin_alike_and_numbers_beyond_all_measure(tmp_path):
    """Marks of direction are shown, right-to-left text is isolated, long labels have a digest, no tick is longer than the page."""
    from datassay.reporting.html import isolated, mark, number
    from datassay.reporting.plain import plain

    assert isolated("abc\u202e\u2069x") == "abc[U+202E][U+2069]x"
    assert isolated("\u05d0\u05d1") == "\u2068\u05d0\u05d1\u2069"
    assert plain("a" * 299 + "b" * 9) != plain("a" * 299 + "c" * 9)
    for edges in ([1e16, 1e16 + 100], [-1e300, 1e300], [-1e308, 1e308], [5e16, 5e16], [-1e-300, 1e-300]):
        assert all(len(mark(edge, edges)) <= 12 for edge in edges)
    assert len(number(10**400)) <= 12
    labels = np.array(["a" * 299 + tail for tail in ("\u202ex", "y")] * 20, dtype=object)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["\u202eevil", "\u05d0"]).assign(
        text=["\u202eabc", "d\u2069e"] * 20
    )
    data = da.Dataset(frame, labels)
    page = da.report(da.value(data, "cg-score"), data, tmp_path / "r.html").read_text()
    assert not set(page) & set("\u202a\u202b\u202c\u202d\u202e")
    assert page.count("\u2068") == page.count("\u2069") > 0
    assert "[U+202E]evil" in page
    assert "d[U+2069]e" in page


def test_the_words_that_speak_for_the_suggested_label() -> None:
    texts = [
        "free prize call now",
        "win a prize now today",
        "free win of the week",
        "prize call this week",
        "the prize is free here",
    ]
    others = [
        "see you at home",
        "the meeting is at ten",
        "home late today you",
        "ten at the meeting room",
        "free prize at home",
    ]
    data = da.Dataset(pd.DataFrame({"message": texts + others}), ["spam"] * 5 + ["ham"] * 5)
    suggested = ["spam"] * 5 + ["ham"] * 4 + ["spam"]
    values = values_of(data, [0.0] * 9 + [-1.0], [False] * 9 + [True], suggested, {})
    summary = summarize(values, data, top=2)
    first, second = summary["suspects"]
    # in 4 and 3 of 5 texts of spam, and in none of the other four of ham; "at" and "home" are theirs
    assert first["words"] == [{"column": "message", "words": ["prize", "free"]}]
    assert second["words"] == []
    assert "speaks in message: prize, free." in to_html(summary)
