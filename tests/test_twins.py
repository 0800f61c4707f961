"""Rows that are nearly the same and have different labels: found in all kinds of rows, seldom by chance, first in the report."""

import json

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay.engines import twins
from datassay.reporting import summarize, to_html


def by_definition(X, codes):
    """A pair at a time, from all distances."""
    n = len(X)
    d = np.sqrt(((X[:, None] - X[None]) ** 2).sum(2))
    np.fill_diagonal(d, np.inf)
    near = np.sort(d, axis=1)
    dimension = np.log(2) / -np.log(np.median(near[:, 0] / near[:, 1]))
    bar = min(twins.HALF, (twins.CHANCE / n) ** (1 / dimension))

    def of(i):
        order = np.argsort(d[i])[: twins.K + 1]
        last = max((j + 1 for j in range(twins.K) if d[i, order[j]] / d[i, order[j + 1]] < bar), default=0)
        return set(order[:last].tolist())

    sets = [of(i) for i in range(n)]
    return {(i, j) for i in range(n) for j in sets[i] if i < j and i in sets[j] and codes[i] != codes[j]}


@pytest.mark.parametrize("d", [2, 6, 30])
def test_they_are_those_of_the_definition(d):
    rng = np.random.default_rng(d)
    X = rng.normal(size=(120, d))
    X[1::10] = X[::10] + rng.normal(size=(12, d)) * np.geomspace(1e-6, 1, 12)[:, None]
    codes = np.arange(120) % 2
    found = twins.twins(X, codes)
    pairs = by_definition(X, codes)
    assert {tuple(group.tolist()) for group in found.groups} == pairs
    assert 2 < len(pairs) < 12
    assert found.gap == sorted(found.gap)


def test_three_of_a_kind_are_one_group_and_same_labels_none():
    X = np.random.default_rng(0).normal(size=(100, 5))
    X[[10, 20]], X[50], X[60] = X[0] + [[1e-4], [2e-4]], X[40], X[30] + 1e-4
    codes = np.arange(100) % 2
    codes[[0, 10, 20, 30, 40, 50, 60]] = [0, 0, 1, 1, 0, 1, 1]
    found = twins.twins(X, codes)
    assert [group.tolist() for group in found.groups] == [[40, 50], [0, 10, 20]]
    assert found.gap[0] == 0 < found.gap[1]


@pytest.mark.parametrize("d", [1, 2, 5, 20, 100])
def test_chance_makes_fewer_than_are_said(d):
    found = sum(
        len(twins.twins(np.random.default_rng(s).normal(size=(300, d)), np.arange(300) % 2).groups) for s in range(20)
    )
    assert found == 0  # .1 of any labels in each draw are expected where the bar is not HALF


def test_where_equal_rows_are_usual_they_say_nothing():
    rng = np.random.default_rng(0)
    found = twins.twins(rng.integers(0, 3, (200, 2)).astype(float), rng.integers(0, 2, 200))
    assert found.groups == []


def test_of_many_rows_the_first_of_the_order_are_looked_at(monkeypatch):
    X = np.random.default_rng(0).normal(size=(100, 5))
    X[1], X[61] = X[0] + 1e-4, X[60] + 1e-4
    codes = np.arange(100) % 2
    monkeypatch.setattr(twins, "EFFORT", 10 * (X.size + 100 * twins.EACH))
    found = twins.twins(X, codes, np.roll(np.arange(100), 40))  # 60, 61, ...
    assert ([group.tolist() for group in found.groups], found.looked) == ([[60, 61]], 10)


def texts():
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(300)]
    said = [" ".join(rng.choice(words, 12)) for _ in range(80)]
    said[1] = said[0].upper().replace(" ", ",  ") + "!"
    return da.Dataset(pd.DataFrame({"text": said}), np.array(["a", "b"] * 40))


def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=80), "y": rng.normal(size=80), "town": rng.choice(["Ulm", "Bonn"], 80)})
    frame.loc[1] = frame.loc[0]
    frame.loc[1, "x"] += 1e-5
    return da.Dataset(frame, ["a", "b"] * 40)


def images():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (80, 8, 8)).astype(np.uint8)
    pictures[1] = pictures[0] // 8 * 8
    return da.Dataset(pictures, ["a", "b"] * 40)


def sparse():
    from scipy.sparse import random as drawn

    X = drawn(80, 40, density=0.3, random_state=0, format="lil")
    X[1] = X[0]
    return da.Dataset(X.tocsr(), ["a", "b"] * 40)


@pytest.mark.parametrize("make", [texts, table, images, sparse])
def test_the_report_lists_them_first(make):
    data = make()
    values = da.value(data, "random")
    summary = summarize(values, data, top=5)
    (group,) = summary["twins"]["groups"]
    assert {row["id"] for row in group["rows"]} == {0, 1}
    assert {row["label"] for row in group["rows"]} == {"a", "b"}
    assert group["equal"] == (make in (texts, sparse))
    page = to_html(json.loads(json.dumps(summary, allow_nan=False)))
    assert 0 < page.index("Nearly the same, with different labels") < page.index("<h2>Scores</h2>") < page.index('id="list"')


def test_regression_and_rows_without_twins_have_no_such_list():
    rng = np.random.default_rng(0)
    for y in (rng.normal(size=60), np.arange(60) % 2):
        data = da.Dataset(rng.normal(size=(60, 3)), y)
        summary = summarize(da.value(data, "random"), data)
        assert summary["twins"] is None
        assert "Nearly the same" not in to_html(summary)
