"""Flags whose share of false finds is held, and bounds that hold wherever one cuts."""

from __future__ import annotations

import numpy as np
import pytest

import datassay as da
from datassay.checks import DataError
from datassay.engines import conformal


def test_p_values_are_the_definition():
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 15).astype(float)
    expected = [(1 + sum(r <= s for r in right)) / 16 for s in scores]
    assert conformal.p_values(scores, right).tolist() == expected


@pytest.mark.parametrize("q", [0.02, 0.1, 0.5])
def test_step_up_is_the_definition(q: float):
    rng = np.random.default_rng(1)
    for _ in range(30):
        p = np.round(rng.random(25) ** 3, 2)
        k = max([k for k in range(1, 26) if sorted(p)[k - 1] <= q * k / 25], default=0)
        expected = [k > 0 and one <= sorted(p)[k - 1] for one in p]
        assert conformal.step_up(p, q).tolist() == expected


def test_bounds_are_those_of_the_game_with_uniform_points():
    """P(A_j <= B_j for all j), by points that were really drawn: 95 % within the error of 1,000 draws, and not far above it."""
    n, m, rng = 300, 40, np.random.default_rng(2)
    j, most = conformal.most_right(n, m)
    held = 0
    for _ in range(1000):
        right, others = np.sort(rng.random(m)), rng.random(n)
        reaches = np.searchsorted(right, others, side="right")
        held += all((reaches <= one).sum() <= bound for one, bound in zip(j, most, strict=True))
    assert 0.93 <= held / 1000 <= 0.98


def test_thinned_bounds_are_those_of_all_points():
    n, m = 500, 900
    j, most = conformal.most_right(n, m)
    assert len(j) <= conformal.POINTS
    assert j[0] == 0
    assert j[-1] == m
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        reaches = np.searchsorted(np.sort(rng.random(m)), rng.random(n), side="right")
        held += all((reaches <= one).sum() <= bound for one, bound in zip(j, most, strict=True))
    assert held / 400 >= 0.92


def test_the_least_number_of_wrong_rows_holds_at_all_cut_offs():
    rng, n, m, w = np.random.default_rng(4), 400, 150, 60
    wrong, low, all_cuts = np.arange(n) < w, 0, 0
    for seed in range(40):
        scores = np.r_[rng.normal(-2, 1, w), rng.normal(size=n - w)]
        right = rng.normal(size=m)
        least = conformal.wrong_at_least(scores, right, seed=seed)
        all_cuts += bool((least <= np.cumsum(wrong[np.argsort(scores)])).all())
        low += least[-1] <= w
    assert all_cuts >= 36
    assert low >= 36
    assert conformal.wrong_at_least(scores, right)[-1] > 5  # and says something


def clouds(seed: int, n: int = 240, m: int = 160) -> tuple[da.Dataset, np.ndarray]:
    """Three classes that overlap a little, a tenth of the training labels wrong; validation rows are right."""
    rng = np.random.default_rng(seed)
    centres = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    true = rng.integers(0, 3, n + m)
    X = centres[true] + rng.normal(0, 1.2, (n + m, 3))
    wrong = rng.random(n) < 0.1
    given = np.where(wrong, (true[:n] + rng.integers(1, 3, n)) % 3, true[:n])
    return da.Dataset(X[:n], given, X[n:], true[n:]), wrong


def test_share_of_false_finds_is_held():
    """25 draws here, 200 by benchmarks/false_finds.py."""
    shares, holds, found, inside = [], 0, 0, 0
    for seed in range(25):
        data, wrong = clouds(seed)
        values = da.value(data, method="cg-score", ridge=0.1, bias=True, flag="fdr", q=0.2, progress=False)
        hits = int((values.flagged & wrong).sum())
        shares.append(1 - hits / max(1, int(values.flagged.sum())) if values.flagged.any() else 0.0)
        found += hits
        order = np.argsort(values.scores, kind="stable")
        right_share = 1 - np.cumsum(wrong[order]) / np.arange(1, len(data) + 1)
        holds += bool((right_share <= values.columns["false_share_most"][order] + 1e-12).all())
        said = values.stats["wrong_labels"]
        assert said["likely"] == values.flagged.sum()
        inside += said["low"] <= wrong.sum() <= said["high"]
    assert np.mean(shares) <= 0.2 + 2 * np.std(shares) / 5
    assert holds >= 23
    assert inside >= 23
    assert found > 100  # of about 600


@pytest.mark.parametrize(
    ("method", "options"),
    [("cg-score", {}), ("self-confidence", {}), ("data-oob", {"n_models": 60}), ("c-score", {"n_models": 90})],
)
def test_every_method_with_flags(method: str, options: dict):
    data, wrong = clouds(1, 120, 90)
    values = da.value(data, method=method, flag="fdr", q=0.4, progress=False, **options)
    assert len(values) == 120
    assert values.ids.tolist() == data.ids.tolist()
    assert values.data_hash == data.hash
    assert values.options["flag"] == "fdr"
    assert wrong[values.flagged].mean() > 0.4
    assert all(len(column) == 120 for column in values.columns.values())
    assert "90 validation rows" in values.stats["flag_rule"]


def test_regression_too():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=300)
    y[:12] += 8.0
    order = rng.permutation(150)
    data = da.Dataset(X[:150][order], y[:150][order], X[150:], y[150:])
    values = da.value(data, method="cg-score", flag="fdr", progress=False)
    assert values.flagged[order < 12].mean() > 0.8
    assert values.flagged[order >= 12].mean() < 0.05


def test_without_validation_rows_or_with_too_few():
    data, _ = clouds(0)
    with pytest.raises(DataError, match="flag='fdr' needs validation rows"):
        da.value(data.without_validation(), method="cg-score", flag="fdr", progress=False)
    with pytest.raises(DataError, match=r"compares with them, and leaves none"):
        da.value(data, method="self-confidence", judge="validation", flag="fdr", progress=False)
    with pytest.raises(DataError, match=r"compares with them, and leaves none"):
        da.value(data, method="cg-score", trusted=True, flag="fdr", progress=False)
    few = data.take_validation([int(np.flatnonzero(data.codes_val == c)[0]) for c in range(3)])
    values = da.value(few, method="cg-score", flag="fdr", progress=False)
    assert not values.flagged.any()
    assert "no fewer than 600 rows can be flagged" in values.stats["warning"]


def test_joined_rows_are_those_of_one_data_set():
    data, _ = clouds(0, 30, 12)
    both = data.joined()
    again = da.Dataset(np.concatenate([data.X, data.X_val]), np.concatenate([data.y, data.y_val]))
    assert np.array_equal(both.X, again.X)
    assert both.codes.tolist() == again.codes.tolist()
    assert both.X_val is None
    assert both.ids[30] == ("validation", 0)
    assert len(both) == 42


def test_the_report_draws_the_bound_and_says_it(tmp_path):
    data, _ = clouds(2, 200, 300)
    values = da.value(data, method="cg-score", flag="fdr", q=0.2, progress=False)
    page = tmp_path / "report.html"
    da.report(values, data, page)
    text = " ".join(page.read_text().split())
    assert "How far down the list is worth it" in text
    least = np.round((1 - values.columns["false_share_most"]) * values.ranks()).astype(int)
    first_20 = int(least[values.ranks() == 20][0])
    assert f"Of the first 20 at least {first_20} " in text
    plain = da.value(data, method="cg-score", progress=False)
    da.report(plain, data, page)
    assert "How far down" not in page.read_text()
