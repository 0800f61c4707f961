"""Reliability: what standard errors say of a repeat, beside repeats."""

import numpy as np
import pytest

import datassay as da
from datassay.methods.definition import reliability


def rows():
    data = da.datasets.drawn("2dplanes", train=120, val=50, test=20).data
    return da.plant(data, "uniform", 0.1, seed=0)[0]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("banzhaf", {"n_models": 300, "estimator": "msr", "progress": False}),
        ("shapley", {"n_models": 300, "estimator": "msr-adjusted", "progress": False}),
        ("data-oob", {"n_models": 40, "progress": False}),
    ],
)
def test_it_is_the_correlation_with_a_repeat(method, options):
    each = [da.value(rows(), method, seed=seed, **options) for seed in range(5)]
    told = np.mean([values.stats["reliability"] for values in each])
    found = np.corrcoef([values.scores for values in each])[np.triu_indices(5, 1)].mean()
    assert told == pytest.approx(found, abs=0.1)


def test_of_regressions_it_is_a_lower_bound():
    each = [da.value(rows(), "banzhaf", n_models=300, seed=seed, progress=False) for seed in range(3)]
    found = np.corrcoef([values.scores for values in each])[np.triu_indices(3, 1)].mean()
    assert all(0 < values.stats["reliability"] < found + 0.05 for values in each)


def test_a_simulation():
    rng = np.random.default_rng(0)
    truth, error = rng.normal(size=4000), rng.uniform(0.2, 1.5, 4000)
    one, two = (truth + error * rng.normal(size=4000) for _ in range(2))
    assert reliability(one, error) == pytest.approx(np.corrcoef(one, two)[0, 1], abs=0.03)
    assert reliability(rng.normal(size=4000), np.full(4000, 3.0)) == 0


def test_where_there_are_no_errors_there_is_none():
    scores = np.arange(3.0)
    assert reliability(scores, None) is None
    assert reliability(scores, np.array([0.1, np.nan, 0.1])) is None
    assert reliability(np.ones(3), np.ones(3)) is None
    assert "reliability" not in da.value(rows(), "cg-score", progress=False).stats
