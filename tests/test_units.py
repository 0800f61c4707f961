"""What another unit of the features changes, and what it doesn't; numbers that can't be are never returned without a word."""

import warnings

import numpy as np
import pytest

import datassay as da
from datassay.checks import DataError


def rows(factor=1.0, m=20):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    X = (rng.normal(size=(80, 4)) + 2 * y[:, None]) * factor
    return da.Dataset(X[m:], y[m:], X[:m], y[:m])


@pytest.mark.parametrize(
    ("method", "options"), [("craig", {}), ("lava", {}), ("knn-shapley", {}), ("lossval", {"epochs": 3})]
)
def test_features_times_a_thousand_leave_the_order(method, options):
    one, other = (da.value(rows(factor), method, progress=False, **options).scores for factor in (1.0, 1000.0))
    first, second = (np.argsort(np.argsort(scores)) for scores in (one, other))
    assert np.corrcoef(first, second)[0, 1] > 0.999


def test_the_cg_score_of_an_array_depends_on_the_scale_where_a_bias_is_chosen():
    plain = {"bias": True, "progress": False}
    one, other = (da.value(rows(factor), "cg-score", **plain).scores for factor in (1.0, 1000.0))
    assert not np.allclose(one / one.std(), other / other.std(), rtol=1e-3)
    X = [rows(factor) for factor in (1.0, 1000.0)]
    one, other = (da.value(da.Dataset(d.X, d.y, standardise=True), "cg-score", **plain).scores for d in X)
    assert np.allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("eps", [1e-6, 1e-9, 1e-300])
def test_lava_with_tiny_regularisation_warns_or_fails_or_is_right(eps):
    usual = da.value(rows(), "lava", progress=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = da.value(rows(), "lava", eps=eps, progress=False)
        except (DataError, ValueError, FloatingPointError):
            return
    assert np.isfinite(found.scores).all()
    assert told or found.scores.std() > 0.1 * usual.scores.std()
