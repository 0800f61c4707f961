"""Many classes: the default model is chosen and trained in about the time that scikit-learn takes, and as well."""

import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

import datassay as da
from datassay.engines import linear
from datassay.subsets import default_model


def many(classes, each=12, d=20, apart=1.0):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(classes), each)
    return rng.normal(size=(classes, d))[y] * apart + rng.normal(size=(len(y), d)), y


def likelihood(p, y):
    return np.log(np.maximum(p[np.arange(len(y)), y], 1e-4)).mean()


@pytest.mark.parametrize("apart", [0.7, 2.0])
def test_a_hundred_classes_cost_little_and_are_told_apart_as_well_as_by_scikit_learn(apart):
    X, y = many(100, apart=apart)
    data = da.Dataset(X, y)
    start = time.process_time()
    found = da.value(data, "self-confidence", progress=False)
    took = time.process_time() - start
    Z = StandardScaler().fit_transform(X)
    best = -np.inf
    for C in (0.1, 1.0, 10.0):
        p = cross_val_predict(LogisticRegression(C=C, max_iter=1000), Z, y, cv=5, method="predict_proba")
        best = max(best, likelihood(p, y))
    assert took < 15  # it was 51
    assert np.log(np.maximum(found.scores, 1e-4)).mean() > best - 0.1


def test_few_trainings_are_enough_to_choose_among_many_classes(monkeypatch):
    asked = []
    inner = linear.Logistic.__call__

    def counted(self, weights, **options):
        asked.append(len(weights))
        return inner(self, weights, **options)

    monkeypatch.setattr(linear.Logistic, "__call__", counted)
    X, y = many(40)
    default_model._choose(da.Dataset(X, y))
    assert sum(asked) <= 16


def test_many_classes_have_the_same_minimum_in_parts_and_at_once(monkeypatch):
    X, y = many(40)
    weights = (np.arange(len(y)) % 3 != np.arange(3)[:, None]).astype(np.uint8)
    weights[2, y < 3] = 0
    found = linear.logistic(X, y, weights, 40, C=3.0, tol=1e-7)
    monkeypatch.setattr(linear, "MANY", 100)
    whole = linear.logistic(X, y, weights, 40, C=3.0, tol=1e-7)
    there = np.isfinite(whole)
    assert np.array_equal(there, np.isfinite(found))
    assert np.allclose(found[there], whole[there], atol=1e-3)


def test_many_classes_have_the_same_bits_in_any_company():
    X, y = many(40)
    weights = (np.arange(len(y)) % 5 != np.arange(5)[:, None]).astype(np.uint8)
    model = linear.Logistic(X, y, 40)
    assert np.array_equal(model(weights, tol=1e-6)[3:4], linear.Logistic(X, y, 40)(weights[3:4], tol=1e-6))


def test_a_class_that_looks_certain_on_its_own_rows_does_not_make_folds_slow(monkeypatch):
    X, y = many(100, d=200, apart=0.32)
    X = StandardScaler().fit_transform(X)
    fold = np.random.default_rng(1).permutation(len(y)) % 5
    model = linear.Logistic(X, y, 100, C=31.6)
    model(np.ones((1, len(y)), np.uint8))
    steps = []
    inner = linear._Side.evaluate
    monkeypatch.setattr(linear._Side, "evaluate", lambda *args: (steps.append(1), inner(*args))[1])
    model((fold != 0).astype(np.uint8)[None], tol=1e-6)
    assert len(steps) < 60  # 125 where P is made of the probabilities as they are


def test_single_precision_beside_double_gives_the_minimum(monkeypatch):
    X, y = many(40)
    weights = (np.arange(len(y)) % 5 != np.arange(5)[:, None]).astype(np.uint8)
    found = linear.Logistic(X, y, 40, C=3.0)(weights, tol=1e-6)
    monkeypatch.setattr(linear, "MIXED", 1.0)
    exact = linear.Logistic(X, y, 40, C=3.0)(weights, tol=1e-10)
    said, right = linear.log_probabilities(X, found), linear.log_probabilities(X, exact)
    assert abs(said - right).max() < 2e-2
    assert np.sqrt(np.mean((said - right) ** 2)) < 2e-3


def test_probabilities_of_many_classes_are_those_by_definition():
    X, y = many(40)
    W = linear.logistic(X, y, np.ones((2, len(y)), np.uint8), 40)
    Z = X @ W[0, :-1] + W[0, -1]
    right = Z - Z.max(1, keepdims=True)
    right -= np.log(np.exp(right).sum(1, keepdims=True))
    assert abs(linear.log_probabilities(X, W)[0] - right).max() < 1e-5
