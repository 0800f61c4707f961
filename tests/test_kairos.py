"""KAIROS: leaving a row out of the kernel distance by computing it anew, labels expected by solving, and what it finds."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

import datassay as da
from datassay.checks import DataError
from datassay.engines import mmd
from datassay.methods.kairos import kairos


def rows(n=40, m=30, d=3, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = rng.normal(size=(n + m, d)) + 2 * np.eye(classes, d)[y]
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def squared_mmd(x, z, h):
    """By its definition, with scikit-learn's kernel."""
    gamma = 1 / (2 * h**2)
    return rbf_kernel(x, x, gamma).mean() - 2 * rbf_kernel(x, z, gamma).mean() + rbf_kernel(z, z, gamma).mean()


@pytest.mark.parametrize("h", [None, 0.7])
def test_influence_is_what_the_distance_loses_without_the_row(h):
    data = rows()
    values = kairos(data, bandwidth=h)
    h = values.stats["bandwidth"]
    whole = squared_mmd(data.X, data.X_val, h)
    assert values.stats["mmd"] == pytest.approx(whole, rel=1e-10)
    for i in range(len(data)):
        less = whole - squared_mmd(np.delete(data.X, i, 0), data.X_val, h)
        assert values.columns["mmd_influence"][i] == pytest.approx((len(data) - 1) / 2 * less, rel=1e-9, abs=1e-12)


def test_labels_are_expected_by_kernel_ridge_regression_of_least_error_without_each_row():
    data = rows()
    values = kairos(data)
    h = values.stats["bandwidth"]
    Y = np.eye(3)[data.codes_val]
    mean = Y.mean(0)
    K = rbf_kernel(data.X_val, data.X_val, 1 / (2 * h**2))

    def coefficients(keep, penalty):
        return np.linalg.solve(K[np.ix_(keep, keep)] + penalty * np.eye(len(keep)), (Y - mean)[keep])

    errors = []
    for penalty in mmd.PENALTIES:
        each = []
        for j in range(len(K)):
            keep = np.delete(np.arange(len(K)), j)
            each.append(Y[j] - mean - K[j, keep] @ coefficients(keep, penalty))
        errors.append(np.mean(np.square(each)))
    best = mmd.PENALTIES[int(np.argmin(errors))]
    assert values.stats["penalty"] == best
    expected = rbf_kernel(data.X, data.X_val, 1 / (2 * h**2)) @ coefficients(np.arange(len(K)), best) + mean
    distance = ((np.eye(3)[data.codes] - expected) ** 2).sum(1)
    np.testing.assert_allclose(values.columns["label_distance"], distance, rtol=1e-8)
    np.testing.assert_array_equal(values.suggested_label, np.array(data.classes)[expected.argmax(1)])
    found = mmd.expected(data.X_val, Y, h)(data.X)
    assert found.error == pytest.approx(min(errors), rel=1e-8)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_scores_weigh_both(weight):
    values = kairos(rows(), label_weight=weight)
    both = (1 - weight) * values.columns["mmd_influence"] + weight * values.columns["label_distance"]
    np.testing.assert_array_equal(values.scores, -both)


def test_without_labels_a_row_that_lies_apart_scores_lowest_when_others_do_too():
    data = rows(n=60)
    X = data.X.copy()
    X[:20] += 30.0
    moved = da.Dataset(X, data.y, data.X_val, data.y_val)
    values = kairos(moved, label_weight=0.0)
    assert values.scores[:20].max() < values.scores[20:].min()


def test_blocks_and_single_precision_change_nothing(monkeypatch):
    data = rows(n=50)
    usual = kairos(data)
    monkeypatch.setattr(mmd, "BLOCK", 100)
    np.testing.assert_allclose(kairos(data).scores, usual.scores, rtol=1e-10)
    single = da.Dataset(data.X.astype(np.float32), data.y, data.X_val.astype(np.float32), data.y_val)
    np.testing.assert_allclose(kairos(single).scores, usual.scores, rtol=1e-3, atol=1e-5)
    sparse = da.Dataset(sp.csr_array(data.X), data.y, sp.csr_array(data.X_val), data.y_val)
    np.testing.assert_allclose(kairos(sparse).scores, usual.scores, rtol=1e-10)


def test_units_of_the_features_do_not_matter():
    data = rows()
    large = da.Dataset(1e6 * data.X + 1e8, data.y, 1e6 * data.X_val + 1e8, data.y_val)
    np.testing.assert_allclose(kairos(large).scores, kairos(data).scores, rtol=1e-5)


def test_many_validation_rows_are_drawn_from(monkeypatch):
    data = rows(m=200)
    usual = kairos(data)
    monkeypatch.setattr(mmd, "MOST", 100)
    fewer = kairos(data)
    np.testing.assert_array_equal(fewer.columns["mmd_influence"], usual.columns["mmd_influence"])
    assert (fewer.columns["label_distance"] != usual.columns["label_distance"]).all()
    np.testing.assert_array_equal(kairos(data).scores, fewer.scores)
    assert (kairos(data, seed=1).scores != fewer.scores).all()


def test_wrong_digits_and_noisy_ones_are_found():
    X, y = load_digits(return_X_y=True)
    for kind, least in {"uniform": 0.98, "features": 0.9, "mixed": 0.92}.items():
        data, wrong = da.plant(da.Dataset(X[:600], y[:600], X[600:1000], y[600:1000]), kind, 0.2, seed=3)
        values = kairos(data)
        assert roc_auc_score(wrong, -values.scores) > least, kind
        if kind == "uniform":
            assert values.flagged[wrong].mean() > 0.85
            assert wrong[values.flagged].mean() > 0.85
            assert (values.suggested_label[wrong] == y[:600][wrong]).mean() > 0.85


def test_regression_finds_targets_that_are_off():
    X, y = load_diabetes(return_X_y=True)
    y = y.copy()
    wrong = np.zeros(300, bool)
    wrong[::15] = True
    y[:300][wrong] += 300
    values = kairos(da.Dataset(X[:300], y[:300], X[300:], y[300:], task="regression"))
    assert roc_auc_score(wrong, -values.scores) > 0.97
    assert values.suggested_label.dtype.kind == "f"
    twice = kairos(da.Dataset(X[:300], 1000 * y[:300], X[300:], 1000 * y[300:], task="regression"))
    np.testing.assert_allclose(twice.scores, values.scores, rtol=1e-8)


def test_rows_that_are_all_alike_have_equal_scores():
    data = da.Dataset(np.ones((6, 2)), [0, 0, 0, 1, 1, 1], np.ones((4, 2)), [0, 0, 1, 1])
    values = kairos(data)
    assert np.ptp(values.scores) < 1e-12


def test_numbers_beyond_precision_are_a_sentence():
    X = np.array([[0.0], [1e200], [0.0], [1.0]])
    with pytest.raises(DataError, match="kairos: the square of the length of row 1 is beyond float64"):
        kairos(da.Dataset(X, [0, 1, 0, 1], [[0.0], [1.0]], [0, 1]))
    with pytest.raises(DataError, match="kairos needs validation rows"):
        kairos(da.Dataset(X, [0, 1, 0, 1]))
    with pytest.raises(DataError, match="bandwidth 1e-200 is beyond"):
        kairos(rows(), bandwidth=1e-200)
