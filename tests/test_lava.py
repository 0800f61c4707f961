"""LAVA: invariants of its values, the distances between classes, finite differences, and what it finds."""

import builtins

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.metrics import roc_auc_score

import datassay as da
from datassay.checks import DataError
from datassay.engines import transport
from datassay.evaluation import plant_wrong_labels
from datassay.methods import lava as module
from datassay.methods.lava import calibrated, class_distances, lava


def blobs(n=40, m=30, d=3, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = rng.normal(size=(n + m, d)) + 2 * np.eye(classes, d)[y]
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def table(data, class_weight=1.0):
    """Costs, written out."""
    W = np.zeros((3, 3))
    for j in range(3):
        for k in range(3):
            x, y = data.X[data.codes == j], data.X_val[data.codes_val == k]
            W[j, k] = ot.emd2([], [], ot.dist(x, y) / 2)
    return ot.dist(data.X, data.X_val) / 2 + class_weight * W[data.codes][:, data.codes_val], W


@pytest.mark.parametrize("class_weight", [0.0, 1.0, 2.5])
def test_values_are_the_derivative_of_the_distance(class_weight):
    data, eps, h = blobs(), 0.2, 1e-5
    values = lava(data, class_weight=class_weight, eps=eps, unbalanced=None, tolerance=1e-10)
    C, W = table(data, class_weight)
    n, m = C.shape
    if class_weight:
        np.testing.assert_allclose(values.stats["class_distances"], W, rtol=1e-9)
    b = np.full(m, 1 / m)

    def distance(a):
        f, g, *_ = transport.solve(C, a, b, eps, tol=1e-11)
        return a @ f + b @ g

    assert values.stats["distance"] == pytest.approx(distance(np.full(n, 1 / n)), rel=1e-8)
    for i in (0, 7, 39):
        step = np.full(n, -h / (n - 1))  # mass to the row, from all others alike
        step[i] = h
        slope = (distance(1 / n + step) - distance(1 / n - step)) / (2 * h)
        assert values.columns["calibrated_gradient"][i] == pytest.approx(slope, rel=1e-5, abs=1e-6)
    np.testing.assert_array_equal(values.scores, -values.columns["calibrated_gradient"])


@pytest.mark.parametrize("debias", [False, True])
def test_unbalanced_values_are_the_derivative_of_the_unbalanced_distance(debias):
    data, eps, u, h = blobs(), 0.2, 0.5, 1e-5
    values = lava(data, class_weight=0, eps=eps, unbalanced=u, debias=debias, tolerance=1e-10)
    n, m = len(data), len(data.X_val)
    reach = np.sqrt(u * np.median(transport.half_squared_distances(data.X, data.X_val)))

    def distance(a):
        b = np.full(m, 1 / m)
        return transport.divergence(data.X, data.X_val, a, b, eps, reach=reach, debias=debias, tol=1e-11).value

    assert values.stats["distance"] == pytest.approx(distance(np.full(n, 1 / n)), rel=1e-8)
    for i in (0, 7, 39):
        step = np.full(n, -h / (n - 1))
        step[i] = h
        slope = (distance(1 / n + step) - distance(1 / n - step)) / (2 * h)
        assert values.columns["calibrated_gradient"][i] == pytest.approx(slope, rel=1e-4, abs=1e-6)
    assert abs(values.scores.sum()) < 1e-9


def test_mass_that_costs_much_to_lose_is_moved_as_if_it_could_not_be():
    balanced, nearly, loose = (lava(blobs(), eps=0.2, unbalanced=u, tolerance=1e-9).scores for u in (None, 1e6, 0.5))
    np.testing.assert_allclose(nearly, balanced, atol=1e-4)
    assert abs(loose - balanced).max() > 0.1


@pytest.mark.parametrize("u", [20.0, 100.0])
def test_mass_that_costs_much_to_lose_takes_no_more_steps(u):
    values = lava(blobs(80, 40), unbalanced=u)
    assert values.stats["steps"] < 1000
    assert "warning" not in values.stats


def test_unbalanced_transport_finds_more_wrong_digits():
    X, y = load_digits(return_X_y=True)
    data, wrong = plant_wrong_labels(da.Dataset(X[:600], y[:600], X[600:900], y[600:900]), 0.2)
    balanced, loose = (roc_auc_score(~wrong, lava(data, unbalanced=u).scores) for u in (None, 0.5))
    assert loose > balanced + 0.02


def test_calibrated_values_add_up_to_nothing_and_know_no_constant():
    f = np.random.default_rng(0).normal(size=50)
    assert abs(calibrated(f).sum()) < 1e-12
    np.testing.assert_allclose(calibrated(f + 100), calibrated(f), atol=1e-11)
    expected = [f[i] - np.delete(f, i).mean() for i in range(50)]
    np.testing.assert_allclose(calibrated(f), expected, atol=1e-12)
    assert abs(lava(blobs()).scores.sum()) < 1e-9


def test_equal_training_and_validation_rows_are_all_worth_the_same():
    data = blobs()
    same = da.Dataset(data.X, data.y, data.X, data.y)
    values, biased = (lava(same, eps=1.0, debias=debias, tolerance=1e-9) for debias in (True, False))
    assert abs(values.scores).max() < 1e-5
    assert abs(biased.scores).max() > 0.01
    X = np.random.default_rng(0).normal(
        size=(200, 4)
    )  # as it comes: rows that lie alone hold on to their potential for long
    alone = da.Dataset(X, np.arange(200) % 2, X, np.arange(200) % 2)
    assert abs(lava(alone, debias=True).scores).max() < 1e-3


def test_a_class_without_rows_is_as_far_as_the_farthest():
    W = class_distances([np.zeros((2, 1)), np.ones((1, 1))], [np.array([[3.0]]), np.zeros((0, 1))])
    np.testing.assert_allclose(W, [[4.5, 4.5], [2.0, 4.5]])
    data = blobs()
    some = data.codes_val != 2
    values = lava(da.Dataset(data.X, data.y, data.X_val[some], np.arange(30)[some] % 3 + 0))
    assert np.isfinite(values.scores).all()


def test_large_classes_are_drawn_from(monkeypatch):
    data, sizes = blobs(400, 300), []
    exact = ot.emd2
    monkeypatch.setattr(ot, "emd2", lambda a, b, C, **more: sizes.append(C.shape) or exact(a, b, C, **more))
    few, again, other = (lava(data, class_rows=20, seed=seed) for seed in (0, 0, 1))
    assert set(sizes) == {(20, 20)}
    np.testing.assert_array_equal(few.scores, again.scores)
    assert (few.scores != other.scores).any()


@pytest.mark.parametrize(("load", "n", "m"), [(load_digits, 600, 300), (load_breast_cancer, 300, 200)])
def test_wrong_labels_are_found(load, n, m):
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = (X[order] - X.mean(0)) / np.maximum(X.std(0), 1e-9), y[order]
    data, wrong = plant_wrong_labels(da.Dataset(X[:n], y[:n], X[n : n + m], y[n : n + m]), 0.2)
    values = lava(data, progress=False)
    assert roc_auc_score(wrong, -values.scores) > 0.65
    assert (values.suggested_label[wrong] == y[:n][wrong]).mean() > 0.8
    assert roc_auc_score(wrong, -lava(data, class_weight=0.0).scores) < 0.6  # features alone can't tell


def test_noise_in_the_features_is_found():
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    noisy = np.zeros(600, bool)
    noisy[rng.permutation(600)[:120]] = True
    X[:600][noisy] += 5 * rng.normal(size=(120, 64))
    values = lava(da.Dataset(X[:600], y[:600], X[600:900], y[600:900]))
    assert roc_auc_score(noisy, -values.scores) > 0.9


def test_blocks_sparse_rows_and_float32_say_the_same(monkeypatch):
    data = blobs(120, 60)
    whole = lava(data, tolerance=1e-8)
    of_sparse = lava(
        da.Dataset(sp.csr_array(data.X), data.y, sp.csr_array(data.X_val), np.arange(120, 180) % 3), tolerance=1e-8
    )
    np.testing.assert_allclose(of_sparse.scores, whole.scores, atol=1e-8)
    single = lava(da.Dataset(data.X.astype(np.float32), data.y, data.X_val.astype(np.float32), np.arange(120, 180) % 3))
    np.testing.assert_allclose(single.scores, whole.scores, atol=0.02)
    monkeypatch.setattr(transport, "HELD", 100)
    monkeypatch.setattr(transport, "BLOCK", 500)
    np.testing.assert_allclose(lava(data, tolerance=1e-8).scores, whole.scores, atol=1e-8)


def test_a_common_offset_costs_no_digits():
    data = blobs(120, 60)
    X, X_val = (np.round(z * 16) / 16 for z in (data.X, data.X_val))  # so that float32 holds them beside the offset
    near = lava(da.Dataset(X, data.y, X_val, data.y_val)).scores
    assert np.ptp(near) > 1
    for offset, dtype, atol in ((1e9, np.float64, 1e-6), (2.0**15, np.float32, 0.02)):
        far = lava(da.Dataset((X + offset).astype(dtype), data.y, (X_val + offset).astype(dtype), data.y_val))
        np.testing.assert_allclose(far.scores, near, atol=atol)


def test_a_transport_that_did_not_end_says_so(monkeypatch):
    data, exact = blobs(), transport.solve
    assert "warning" not in lava(data).stats
    monkeypatch.setattr(transport, "solve", lambda *given, **more: exact(*given, **(more | {"steps": 3})))
    assert "of the mass in the wrong place" in lava(data, eps=0.01, unbalanced=None).stats["warning"]


def test_flags():
    data = blobs()
    assert 0 < lava(data).flagged.sum() < 40
    values = lava(data, flag=0.1)
    assert values.flagged.sum() == 4
    assert values.scores[values.flagged].max() <= values.scores[~values.flagged].min()


def test_without_pot_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **more):
        if name == "ot":
            raise ImportError("no POT")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'datassay\[ot\]'"):
        module.lava(blobs())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eps": 0}, "eps must be None or a number above 0, got 0"),
        ({"eps": float("nan")}, "eps must be None or a number above 0, got nan"),
        ({"unbalanced": 0.0}, "unbalanced must be None or a number above 0 and below 1e\\+09, got 0.0"),
        ({"class_weight": -1}, "class_weight must be a number from 0 on, got -1"),
        ({"tolerance": 1.0}, "tolerance must be a number above 0 and below 1, got 1.0"),
        ({"flag": 1.5}, "flag must be None or a number above 0 and below 1, got 1.5"),
        ({"class_rows": 0}, "class_rows must be a whole number from 1 on, got 0"),
        ({"debias": 1}, "debias must be True or False, got 1"),
        ({"seed": -1}, "seed must be a whole number from 0 on, got -1"),
    ],
)
def test_what_cannot_be(options, says):
    with pytest.raises(DataError, match=says):
        lava(blobs(), **options)


def test_what_data_cannot_be():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(DataError, match="lava is about classes, and this is regression"):
        lava(da.Dataset(X, y, X, y, task="regression"))
    data = blobs()
    with pytest.raises(DataError, match="lava needs validation rows"):
        lava(da.Dataset(data.X, data.y))
    X = data.X.copy()
    X[3] = 1e200
    with pytest.raises(DataError, match="the square of the length of row 3 is beyond float64"):
        lava(da.Dataset(X, data.y, data.X_val, data.y_val))
