"""Linear models on many weightings, against scikit-learn's fitted on the rows with weight, and against their definition."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from datassay.engines import linear


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):
        yield


def digits(n):
    X, y = load_digits(return_X_y=True)
    X = X[:n] - X[:n].mean(0)
    return X / np.sqrt(np.mean(X * X)), y[:n].astype(np.int64)


def subsets(n, b, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.permutation(n) < n * share for share in rng.uniform(0.2, 0.8, b)]).astype(np.uint8)


def by_sklearn(X, y, w, Q, classes, **options):
    """Log-probabilities (q, classes) of the model fitted on the rows with weight, and their error; it knows the classes they have."""
    rows, said = w > 0, np.full((len(Q), classes), -np.inf)
    present = np.unique(y[rows])
    if len(present) == 0:
        return np.full((len(Q), classes), -np.log(classes)), 0
    if len(present) == 1:
        said[:, present] = 0
        return said, 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(tol=1e-10, max_iter=100_000, **options).fit(X[rows], y[rows], sample_weight=w[rows])
    Z = model.decision_function(Q)
    Z = np.stack([np.zeros(len(Q)), Z], 1) if len(present) == 2 else Z
    said[:, present] = Z - np.logaddexp.reduce(Z, axis=1)[:, None]  # its own have no digits left below 1e-16
    return said, 1e-4 if told or not options.get("solver") else 1e-6


def gradient_length(X, y, w, V, C):
    """By the definition: of the mean loss of a unit of weight, for rows centred and of mean square 1."""
    Z = (X - X.mean(0)) / np.sqrt(np.mean((X - X.mean(0)) ** 2))
    unit = np.sqrt(np.mean((X - X.mean(0)) ** 2))
    present = np.isfinite(V[-1])
    C = C / 2 if present.sum() == 2 else C
    residual = np.exp(linear.log_probabilities(X, V[None])[0]) - np.eye(V.shape[1])[y]
    slopes = Z.T @ (w[:, None] * residual) + V[:-1] * unit / (C * unit**2)
    return np.sqrt((slopes[:, present] ** 2).sum() + ((w @ residual)[present] ** 2).sum()) / w.sum()


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, n, d = draw(st.integers(2, 5)), draw(st.integers(1, 40)), draw(st.integers(1, 60))
    X = rng.normal(size=(n, d)) * draw(st.sampled_from([0.1, 1.0, 5.0])) + draw(st.sampled_from([0.0, 3.0]))
    y = rng.integers(0, draw(st.integers(1, classes)), n)
    if draw(st.booleans()):
        X[:, 0] += 10 * y  # a plane parts the classes
    counts = rng.multinomial(n, np.full(n, 1 / n))
    weights = np.array([rng.integers(0, 2, n), counts, rng.uniform(0, 2, n) * (rng.random(n) < 0.7), np.ones(n)])
    return X, y, weights, classes, draw(st.sampled_from([0.1, 1.0, 10.0]))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_logistic_is_scikit_learns(problem):
    X, y, weights, classes, C = problem
    W = linear.logistic(X, y, weights, classes, C=C, tol=1e-12)
    Q = np.vstack([X, np.random.default_rng(0).normal(size=(5, X.shape[1]))])
    for w, said in zip(weights, linear.log_probabilities(Q, W), strict=True):
        expected, error = by_sklearn(X, y, w, Q, classes, C=C, solver="newton-cholesky")
        assert_allclose(said, expected, atol=error, rtol=1e-7)


@pytest.mark.parametrize("classes", [2, 10])
def test_logistic_is_scikit_learns_default(classes):
    X, y = digits(300)
    X, y = X[y < classes], y[y < classes]
    weights = subsets(len(X), 3)
    said = linear.log_probabilities(X, linear.logistic(X, y, weights, classes, tol=1e-9))
    for w, ours in zip(weights, said, strict=True):
        expected, error = by_sklearn(X, y, w, X, classes)
        assert_allclose(ours, expected, atol=error)


def test_coefficients_are_scikit_learns():
    X, y = load_iris(return_X_y=True)
    W = linear.logistic(X, y, np.ones((1, 150)), 3, tol=1e-9)[0]
    theirs = LogisticRegression(tol=1e-10, solver="newton-cholesky").fit(X, y)
    assert_allclose(W[:-1].T, theirs.coef_, atol=1e-6)
    assert_allclose(W[-1], theirs.intercept_, atol=1e-6)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9, 1e-13])
@pytest.mark.parametrize("metric", ["whole", "blocks", "diagonal"])
def test_the_gradient_is_below_tol(tol, metric, monkeypatch):
    if metric != "whole":
        monkeypatch.setattr(linear, "DENSE", 0)
    if metric == "diagonal":
        monkeypatch.setattr(linear, "BLOCK", 0)
    X, y = digits(200)
    X = 30 * X[:, 20:40] + 100
    weights = np.vstack([subsets(200, 4), 1 - np.eye(200)[:2], (y < 2)[None]])
    W = linear.logistic(X, y, weights, 10, tol=tol, C=0.01)
    for w, V in zip(weights, W, strict=True):
        assert gradient_length(X, y, w, V, 0.01) <= 1.05 * tol


@pytest.mark.parametrize("n", [12, 150, 600])
def test_a_model_has_the_same_bits_in_any_company(n):
    X, y = digits(n)
    rng = np.random.default_rng(1)
    weights = np.vstack([subsets(n, 10), rng.multinomial(n, np.full(n, 1 / n), 4), rng.multinomial(9, np.full(n, 1 / n), 6)])
    weights = np.vstack([weights, 1 - np.eye(n, dtype=int)[:3], y < 2, y < 1, 0 * y])
    model = linear.Logistic(X, y, 10)
    W = model(weights)
    order = rng.permutation(len(weights))
    assert_array_equal(model(weights[order]), W[order])
    alone = linear.Logistic(X, y, 10)
    for i in order:
        assert_array_equal(alone(weights[i : i + 1])[0], W[i])
    assert_array_equal(linear.logistic(X, y, weights[5:12], 10), W[5:12])
    said = linear.log_probabilities(X, W)
    for i in range(len(W)):
        assert_array_equal(linear.log_probabilities(X, W[i : i + 1])[0], said[i])


def test_a_model_has_the_same_bits_beside_one_that_needs_shorter_steps():
    X, y = digits(100)
    start = np.random.default_rng(0).normal(size=(65, 10))
    weights = subsets(100, 8)
    model = linear.Logistic(X, y, 10)
    W = model(weights, start=start)
    for w, V in zip(weights, W, strict=True):
        assert_array_equal(model(w[None], start=start)[0], V)
    assert_allclose(linear.log_probabilities(X, W), linear.log_probabilities(X, model(weights, tol=1e-8)), atol=0.2)


def test_what_has_no_weight():
    X, y = np.arange(4.0)[:, None], np.array([0, 0, 1, 3])
    W = linear.logistic(X, y, np.array([[0, 0, 0, 0], [0, 5, 0, 0], [1, 0, 0, 2], [1, 1, 1, 0]]), 4)
    p = np.exp(linear.log_probabilities(X, W))
    assert_array_equal(p[0], np.full((4, 4), 0.25))
    assert_array_equal(p[1], np.eye(4)[[0] * 4])
    assert_array_equal(W[1], np.array([[0, 0, 0, 0], [0, -np.inf, -np.inf, -np.inf]]))
    assert_array_equal(p[2, :, 1:3], np.zeros((4, 2)))
    assert (p[2, :, [0, 3]] > 0).all()
    assert_array_equal(p[3, :, 2:], np.zeros((4, 2)))
    assert_allclose(p.sum(2), np.ones((4, 4)))
    assert linear.logistic(X, y, np.ones((0, 4)), 4).shape == (0, 2, 4)


def test_log_probabilities_of_far_rows():
    W = np.array([[[1e4, -1e4], [0.0, 0.0]]])
    assert_array_equal(linear.log_probabilities(np.array([[1.0], [-1.0]]), W), [[[0, -2e4], [-2e4, 0]]])


def test_where_it_starts_makes_no_difference():
    X, y = digits(200)
    weights = subsets(200, 3)
    near = linear.logistic(X, y, weights, 10, tol=1e-9)
    far = linear.logistic(X, y, weights, 10, tol=1e-9, start=np.random.default_rng(0).normal(size=(65, 10)))
    assert_allclose(near, far, atol=1e-6)


def test_double_precision_goes_on_where_single_is_too_slow(monkeypatch):
    X, y = digits(100)
    weights = subsets(100, 5)
    monkeypatch.setattr(linear, "LONG", 2)
    for w, V in zip(weights, linear.logistic(X, y, weights, 10, tol=1e-3), strict=True):
        assert gradient_length(X, y, w, V, 1.0) <= 1e-3


def test_few_steps_are_told():
    X, y = digits(100)
    with pytest.warns(RuntimeWarning, match="2 of 2 logistic regressions have a gradient above tol=1e-09"):
        linear.logistic(X, y, subsets(100, 2), 10, tol=1e-9, max_iter=2)


@pytest.mark.parametrize("metric", ["whole", "blocks"])
def test_classes_without_rows_disturb_nothing(metric, monkeypatch):
    """What all intercepts have in common changes no probability, and the Hessian does not hold it."""
    if metric == "blocks":
        monkeypatch.setattr(linear, "DENSE", 0)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X, y, weights = rng.normal(size=(24, 35)), rng.integers(0, 2, 24), rng.uniform(0, 2, (4, 24))
        X[:, 0] += 10 * y
        W = linear.logistic(X, y + 1, weights, 5, tol=1e-12)
        assert_allclose(W[:, :, 1:3], linear.logistic(X, y, weights, 2, tol=1e-12), atol=1e-9)
        assert_array_equal(W[:, -1, [0, 3, 4]], -np.inf)


@pytest.mark.parametrize("C", [1e-6, 1e6])
def test_columns_of_different_size(C):
    """Where scikit-learn's default would say that it has not converged."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6))
    y = (X @ rng.normal(size=(6, 3)) + rng.gumbel(size=(300, 3))).argmax(1)
    X *= 10.0 ** np.arange(-3, 3)
    X[:, 5] = X[:, 4] + 1e-3 * X[:, 0]
    weights = subsets(300, 3)
    said = linear.log_probabilities(X, linear.logistic(X, y, weights, 3, C=C, tol=1e-11))
    for w, ours in zip(weights, said, strict=True):
        expected, _ = by_sklearn(X, y, w, X, 3, C=C, solver="newton-cholesky")
        assert_allclose(ours, expected, atol=1e-4)


def test_wrong_input_is_named():
    X, y, w = np.eye(2), np.array([0, 1]), np.ones((1, 2))
    with pytest.raises(ValueError, match="C has to be a number above 0"):
        linear.logistic(X, y, w, 2, C=0.0)
    with pytest.raises(ValueError, match="codes of 1 classes are 0 to 0; these go from 0 to 1"):
        linear.logistic(X, y, w, 1)
    with pytest.raises(ValueError, match="weights have to be from 0 on"):
        linear.logistic(X, y, -w, 2)
    with pytest.raises(ValueError, match="weights have to be from 0 on"):
        linear.ridge(X, y.astype(float), np.full((1, 2), np.nan), alpha=1.0)
    with pytest.raises(ValueError, match="alpha has to be a number from 0 on"):
        linear.ridge(X, y.astype(float), w, alpha=-1.0)


@settings(max_examples=80, deadline=None)
@given(problems(), st.sampled_from([0.01, 1.0, 100.0]))
def test_ridge_is_scikit_learns(problem, alpha):
    X, _, weights, _, _ = problem
    y = np.random.default_rng(len(X)).normal(size=len(X)) + 5
    W = linear.ridge(X, y, weights, alpha=alpha)
    for w, b, said in zip(weights, W, linear.predictions(X, W), strict=True):
        if not w.any():
            assert_array_equal(b, 0 * b)
            continue
        rows = w > 0
        model = Ridge(alpha=alpha, solver="svd").fit(X[rows], y[rows], sample_weight=w[rows])
        assert_allclose(b, np.append(model.coef_, model.intercept_), atol=1e-7)
        assert_allclose(said, model.predict(X), atol=1e-7)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (30, 31), (5, 40)])
def test_without_penalty_the_shortest_coefficients(n, d):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    X[:, 1] = X[:, 0]
    w = rng.integers(0, 3, n)
    W = linear.ridge(X, y, w[None], alpha=0.0)[0]
    share, root = w / w.sum(), np.sqrt(w)
    expected = np.linalg.pinv(root[:, None] * (X - share @ X)) @ (root * (y - share @ y))
    assert_allclose(W[:-1], expected, atol=1e-9)
    assert_allclose(W[-1], share @ y - share @ X @ expected, atol=1e-9)


def test_a_ridge_that_rounding_swallows():
    X = np.ones((6, 2)) * np.arange(6.0)[:, None] * 1e8
    b = linear.ridge(X, np.arange(6.0), np.ones((1, 6)), alpha=1e-9)[0]
    assert_allclose(b, [0.5e-8, 0.5e-8, 0], atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(50, 7), (20, 50)])
def test_a_ridge_has_the_same_bits_in_any_company(n, d):
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(n, d)), rng.normal(size=n), rng.integers(0, 3, (12, n))
    W = linear.ridge(X, y, weights, alpha=1.0)
    assert_array_equal(linear.ridge(X, y, weights[::-1], alpha=1.0), W[::-1])
    said = linear.predictions(X, W)
    for w, b, p in zip(weights, W, said, strict=True):
        assert_array_equal(linear.ridge(X, y, w[None], alpha=1.0)[0], b)
        assert_array_equal(linear.predictions(X, b[None])[0], p)
