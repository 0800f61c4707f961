"""KNN-Shapley against the definition: utilities of all 2^n subsets, averaged over every order of rows that are equally far."""

import functools
import itertools
import math
import re
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_digits

import datassay as da
from datassay.checks import DataError
from datassay.engines import neighbours, noise_model
from datassay.evaluation import plant_wrong_labels
from datassay.methods.knn_shapley import knn_shapley

FORMS = ["hard", "soft", "threshold", "calibrated", "weighted", "weighted-soft"]

# ------------------------------------------------------------------------------------------------ the definition, slowly


def shapley(n, v):
    """Shapley values of the game v, a function of a frozenset of players, from all subsets."""
    value, v = np.zeros(n), functools.cache(v)
    for i in range(n):
        rest = [j for j in range(n) if j != i]
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for S in itertools.combinations(rest, size):
                value[i] += weight * (v(frozenset(S) | {i}) - v(frozenset(S)))
    return value


def orders(d):
    """Every order of the rows that goes from near to far: rows at one distance in every permutation."""
    groups = [np.flatnonzero(d == x) for x in np.unique(d)]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield [int(i) for part in parts for i in part]


def utility(form, S, order, d, y, t, k, classes, radius):
    """What the rows of S are worth to one validation row with label t: the papers' utilities, word for word."""
    near = [i for i in order if i in S][:k]
    if form == "hard":
        return sum(y[i] == t for i in near) / k
    if form == "soft":
        return np.mean([y[i] == t for i in near]) if near else 1 / classes
    if form == "threshold":
        inside = [i for i in S if math.sqrt(d[i]) <= radius]
        return np.mean([y[i] == t for i in inside]) if inside else 1 / classes
    if form == "calibrated":
        return sum(y[i] == t for i in order[: 2 * k] if i in near) / k
    if form.startswith("weighted"):
        kth = np.sort(d)[min(k, len(d)) - 1]
        weight = np.exp((d.min() - d) / (2 * kth)) if kth else (d == 0) * 1.0
        if form == "weighted-soft":
            return sum(weight[i] for i in near if y[i] == t) / k
        ahead = sum((1 if y[i] == t else -1) * np.rint(8 * weight[i]) for i in near)
        return (np.sign(ahead) + 1) / 2
    assert form == "regression"
    return -((sum(y[i] for i in near) / k - t) ** 2)


def by_definition(form, D, y, t, k, *, classes=2, radius=1.0, own=False):
    """Mean over validation rows (with ``own`` the rows themselves, each left out of its own neighbours)."""
    n = len(y)
    total = np.zeros(n)
    for q, d in enumerate(D):
        players = np.array([i for i in range(n) if not (own and i == q)])
        every = list(orders(d[players]))

        def v(S, q=q, d=d, players=players, every=every):
            return np.mean([utility(form, S, o, d[players], y[players], t[q], k, classes, radius) for o in every])

        total[players] += shapley(len(players), v)
    return total / len(D)


def distances(Q, X, metric="euclidean"):
    if metric == "cosine":
        return 1 - (Q / np.linalg.norm(Q, axis=1)[:, None]) @ (X / np.linalg.norm(X, axis=1)[:, None]).T
    return ((Q[:, None] - X[None]) ** 2).sum(axis=2)


def instance(seed, *, regression=False, classes=3):
    """A few rows on a small grid, so that equal distances are common, and copies of some of them."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2 * classes, 8))
    X = rng.integers(0, 3, (n, 2)).astype(float)
    X[-1] = X[0]
    y = rng.normal(5, 3, n) if regression else rng.permutation(np.arange(n) % classes)
    m = 3
    y_val = rng.normal(5, 3, m) if regression else rng.integers(0, classes, m)
    return da.Dataset(X, y, rng.integers(0, 3, (m, 2)).astype(float), y_val, task="regression" if regression else None)


def standardised(data):
    return ((c - data.codes.mean()) / data.codes.std() for c in (data.codes, data.codes_val))


# ------------------------------------------------------------------------------------------------- exact in every form


@pytest.mark.parametrize("k", [1, 2, 4, 20])  # 20: more neighbours than rows
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_classification_is_the_definition(form, k, seed):
    data = instance(seed)
    slow = by_definition(form, distances(data.X_val, data.X), data.codes, data.codes_val, k, classes=3, radius=1.0)
    fast = knn_shapley(data, k=k, form=form, radius=1.0 if form == "threshold" else None)
    np.testing.assert_allclose(fast.scores, slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 6, 20])
@pytest.mark.parametrize("seed", range(4))
def test_regression_is_the_definition(k, seed):
    data = instance(seed, regression=True)
    y, t = standardised(data)
    slow = by_definition("regression", distances(data.X_val, data.X), y, t, k)
    np.testing.assert_allclose(knn_shapley(data, k=k).scores, slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", [*FORMS, "regression"])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_rows_that_judge_one_another(form, k):
    data = instance(5, regression=form == "regression")
    y = next(standardised(data)) if form == "regression" else data.codes
    slow = by_definition(form, distances(data.X, data.X), y, y, k, classes=3, radius=1.0, own=True)
    chosen = {} if form == "regression" else {"form": form, "radius": 1.0 if form == "threshold" else None}
    for rows in (data, data.without_validation()):
        np.testing.assert_allclose(knn_shapley(rows, k=k, judge="rows", **chosen).scores, slow, rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 8), form=st.sampled_from([*FORMS[:2], *FORMS[3:], "regression"]))
def test_far_from_ties_too(seed, k, form):
    """Rows in general position, cosine distance."""
    rng = np.random.default_rng(seed)
    X, Q, y = rng.normal(size=(6, 3)), rng.normal(size=(2, 3)), rng.permutation(np.arange(6) % 2)
    if form == "regression":
        data = da.Dataset(X, rng.normal(size=6), Q, rng.normal(size=2), task="regression")
        y, t = standardised(data)
    else:
        data = da.Dataset(X, y, Q, rng.integers(0, 2, 2))
        t = data.codes_val
    slow = by_definition(form, distances(Q, X, "cosine"), y, t, k)
    fast = knn_shapley(data, k=k, metric="cosine", **({} if form == "regression" else {"form": form}))
    np.testing.assert_allclose(fast.scores, slow, rtol=0, atol=1e-12)


def test_the_published_base_term_is_wrong_for_more_neighbours_than_rows():
    """Theorem 1 has s_N = 1_N / N; all it takes is a K beyond N for the definition to differ."""
    d, y, t, n = np.arange(5.0), np.array([0, 1, 0, 0, 1]), 1, 5

    def published(k):
        match, s = (y == t).astype(float), np.zeros(n)
        s[-1] = match[-1] / n
        for i in range(n - 1, 0, -1):
            s[i - 1] = s[i] + (match[i - 1] - match[i]) / k * min(k, i) / i
        return s

    data = da.Dataset(np.arange(5.0)[:, None], y, [[-1.0]], [t])
    for k, agrees in ((3, True), (5, True), (9, False)):
        slow = by_definition("hard", d[None], y, [t], k)
        np.testing.assert_allclose(knn_shapley(data, k=k).scores, slow, rtol=0, atol=1e-12)
        assert np.allclose(published(k), slow) == agrees


# --------------------------------------------------------------------------------------------------------- invariants


@pytest.fixture(scope="module")
def digits():
    """400 rows with a tenth of the labels wrong, 100 right ones; whole numbers, so that many rows are equally far."""
    X, y = load_digits(return_X_y=True)
    return plant_wrong_labels(da.Dataset(X[:400], y[:400], X[400:500], y[400:500]), 0.1, seed=0)[0]


@pytest.fixture(scope="module")
def amounts():
    X, y = load_diabetes(return_X_y=True)
    return da.Dataset(X[:300], y[:300], X[300:], y[300:], task="regression")


def judged_by(data, judges):
    """Fewer of them, where a form takes its time."""
    return da.Dataset(data.X, data.y, data.X_val[judges], data.y_val[judges])


def k_nearest(data, k, soft=False):
    """v(all rows): what the classifier, or the regression, is worth on the validation rows."""
    D = np.round(distances(data.X_val, data.X), 9)
    assert all(len(np.unique(np.sort(d)[k - 1 : k + 1])) == 2 for d in D), "a tie at the k-th neighbour"
    near = np.argsort(D, axis=1, kind="stable")[:, :k]
    if data.task == "regression":
        y, t = standardised(data)
        return np.mean(-((y[near].mean(axis=1) - t) ** 2) + t**2)  # less v(no rows)
    return np.mean(data.codes[near] == data.codes_val[:, None]) - (1 / len(data.classes) if soft else 0)


@pytest.mark.parametrize("form", ["hard", "soft", "calibrated"])
def test_efficiency(digits, form):
    k = 5
    D = np.sort(distances(digits.X_val, digits.X), axis=1)
    clear = np.flatnonzero(D[:, k - 1] < D[:, k])
    assert len(clear) > 50
    data = judged_by(digits, clear)
    assert knn_shapley(data, k=k, form=form).scores.sum() == pytest.approx(k_nearest(data, k, form == "soft"), abs=1e-12)


def test_efficiency_of_weighted_votes(digits):
    """v(all rows) less v(no rows), from the votes of the k nearest alone."""
    k = 5
    D, order = np.sort(distances(digits.X_val, digits.X), axis=1), np.argsort(distances(digits.X_val, digits.X), axis=1)
    clear = np.flatnonzero(D[:, k - 1] < D[:, k])[:12]
    data = judged_by(digits, clear)
    D, match = D[clear, :k], (digits.codes[order] == digits.codes_val[:, None])[clear, :k]
    weight = np.exp((D[:, :1] - D) / (2 * D[:, -1:]))
    assert knn_shapley(data, k=k, form="weighted-soft").scores.sum() == pytest.approx(
        (weight * match).sum(1).mean() / k, abs=1e-12
    )
    for levels in (1, 8, 20):
        ahead = (np.rint(levels * weight) * np.where(match, 1, -1)).sum(1)
        values = knn_shapley(data, k=k, form="weighted", levels=levels)
        assert values.scores.sum() == pytest.approx(np.mean(np.sign(ahead)) / 2, abs=1e-11)


def test_efficiency_in_regression(amounts):
    assert knn_shapley(amounts, k=7).scores.sum() == pytest.approx(k_nearest(amounts, 7), abs=1e-12)


def test_efficiency_within_a_radius(digits):
    radius = 30.0
    inside = np.sqrt(distances(digits.X_val, digits.X)) <= radius
    match = digits.codes[None] == digits.codes_val[:, None]
    share = np.where(inside.any(axis=1), (inside & match).sum(axis=1) / np.maximum(inside.sum(axis=1), 1), 0.1) - 0.1
    values = knn_shapley(digits, form="threshold", radius=radius)
    assert values.scores.sum() == pytest.approx(share.mean(), abs=1e-12)
    assert values.stats["without_neighbours"] == np.sum(~inside.any(axis=1))


@pytest.mark.parametrize("option", [*({"form": form} for form in FORMS), {"judge": "rows"}, {"metric": "cosine"}])
def test_values_follow_their_rows(digits, option):
    """Also where rows are equally far: no row gains by standing earlier in the file."""
    digits = judged_by(digits, slice(12)) if option.get("form") == "weighted" else digits
    order = np.random.default_rng(0).permutation(400)
    here, there = knn_shapley(digits, **option), knn_shapley(digits.take(order), **option)
    np.testing.assert_allclose(there.scores, here.scores[order], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(there.flagged, here.flagged[order])


@pytest.mark.parametrize(
    "option", [*({"form": form} for form in FORMS), {"max_error": 0.05}, {"judge": "rows"}, {"dtype": "float32"}]
)
def test_any_number_of_threads_gives_the_same_bits(option):
    rng, n = np.random.default_rng(0), 900
    data = da.Dataset(rng.normal(size=(n, 7)), rng.integers(0, 3, n), rng.normal(size=(70, 7)), rng.integers(0, 3, 70))
    data = judged_by(data, slice(12)) if option.get("form") == "weighted" else data
    one = knn_shapley(data, n_jobs=1, **option)
    for n_jobs in (2, 3, -1):
        many = knn_shapley(data, n_jobs=n_jobs, **option)
        np.testing.assert_array_equal(many.scores, one.scores)
        np.testing.assert_array_equal(many.suggested_label, one.suggested_label)


def test_any_tile_and_block_gives_the_same_bits(digits, monkeypatch):
    one = knn_shapley(digits)
    monkeypatch.setattr(neighbours, "TILE", 7)
    monkeypatch.setattr(neighbours, "NUMBERS", 64)
    np.testing.assert_array_equal(knn_shapley(digits).scores, one.scores)


@pytest.mark.parametrize("option", [{}, {"form": "threshold"}, {"max_error": 0.05}, {"judge": "rows"}, {"metric": "cosine"}])
def test_kinds_of_input(digits, option, tmp_path):
    X, X_val = digits.X, digits.X_val
    want = knn_shapley(digits, **option).scores
    np.save(tmp_path / "rows.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    kinds = {
        "float32": (X.astype(np.float32), X_val.astype(np.float32)),
        "uint8": (X.astype(np.uint8), X_val.astype(np.uint8)),
        "memory map": (mapped, X_val.astype(np.float32)),
        "CSR": (sp.csr_array(X), sp.csr_array(X_val)),
    }
    for kind, (rows, rows_val) in kinds.items():
        data = da.Dataset(rows, digits.y, rows_val, digits.y_val)
        np.testing.assert_allclose(knn_shapley(data, **option).scores, want, rtol=0, atol=1e-12, err_msg=kind)


def test_float32_is_near(digits):
    single = knn_shapley(digits, dtype="float32").scores  # whole numbers: the same distances
    np.testing.assert_allclose(single, knn_shapley(digits).scores, rtol=0, atol=1e-15)


# --------------------------------------------------------------------------------------------------- labels, flags, ties


@pytest.mark.parametrize("option", [*({"form": form} for form in FORMS), {"max_error": 0.25, "k": 2}])
def test_the_suggested_label_is_the_best_counterfactual(option):
    """Give the row every label in turn and value again."""
    data = instance(3)
    option = option | {"radius": 1.0} if option.get("form") == "threshold" else option
    values = knn_shapley(data, **{"k": 2, **option})
    counts = np.bincount(data.codes)
    for i in range(len(data)):
        if counts[data.codes[i]] < 3:
            continue  # a class needs two rows
        trial = []
        for c in range(3):
            y = data.codes.copy()
            y[i] = c
            trial.append(knn_shapley(data.with_labels(y), **{"k": 2, **option}).scores[i])
        best_other = max(s for c, s in enumerate(trial) if c != data.codes[i])
        assert values.columns["label_margin"][i] == pytest.approx(trial[data.codes[i]] - best_other, abs=1e-12)
        better = max(trial) > trial[data.codes[i]] + 1e-12
        assert (values.suggested_label[i] != data.y[i]) == better
        assert trial[values.suggested_label[i]] == pytest.approx(max(trial), abs=1e-12)


def test_regression_suggests_a_mean_of_validation_labels(amounts):
    values = knn_shapley(amounts)
    assert values.suggested_label.min() >= amounts.y_val.min()
    assert values.suggested_label.max() <= amounts.y_val.max()
    assert np.corrcoef(values.suggested_label, amounts.y)[0, 1] > 0.3
    assert list(values.columns) == ["knn_shapley"]


def test_regression_values_have_no_unit(amounts):
    other = da.Dataset(amounts.X, 7 + 3 * amounts.y, amounts.X_val, 7 + 3 * amounts.y_val, task="regression")
    np.testing.assert_allclose(knn_shapley(other).scores, knn_shapley(amounts).scores, rtol=0, atol=1e-12)
    planted = amounts.y.copy()
    planted[:15] += 300
    found = knn_shapley(da.Dataset(amounts.X, planted, amounts.X_val, amounts.y_val, task="regression"))
    assert found.ranks()[:15].max() < 60
    assert found.flagged[:15].all()


def test_copies_are_worth_the_same():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)
    X, y = np.r_[X, X[:10], X[:10]], np.r_[y, y[:10], 1 - y[:10]]
    for form in ("hard", "soft", "calibrated", "weighted", "weighted-soft"):
        s = knn_shapley(da.Dataset(X, y, rng.normal(size=(30, 4)), rng.integers(0, 2, 30)), k=3, form=form).scores
        np.testing.assert_allclose(s[:10], s[50:60], rtol=0, atol=1e-15)


def test_the_radius_is_the_median_distance_of_the_kth_neighbour(digits):
    kth = np.sqrt(np.sort(distances(digits.X_val, digits.X), axis=1)[:, 9])
    values = knn_shapley(digits, form="threshold")
    assert values.stats["radius"] == pytest.approx(np.median(kth), rel=1e-12)
    assert knn_shapley(digits).stats["radius"] is None


# ---------------------------------------------------------------------------------------------------- the nearest only


@pytest.mark.parametrize(("k", "max_error"), [(5, 0.5), (5, 0.05), (1, 0.1), (5, 1e-9)])
@pytest.mark.parametrize("judge", ["validation", "rows"])
def test_the_error_is_below_the_tolerance(digits, k, max_error, judge):
    exact = knn_shapley(digits, k=k, judge=judge)
    near = knn_shapley(digits, k=k, judge=judge, max_error=max_error)
    error = abs(near.scores - exact.scores).max()
    others = 400 - (judge == "rows")
    assert near.stats["rows_per_judge"] == min(others, max(k, math.ceil(1 / max_error)))
    assert error <= max_error
    assert (error < 1e-15) == (near.stats["rows_per_judge"] == others)


def test_the_values_of_theorem_2():
    """s_i = 0 from rank K* on, the recursion before it."""
    rng = np.random.default_rng(0)
    X, y, k, stop = rng.normal(size=(40, 3)), rng.integers(0, 2, 40), 3, 8
    Q, t = rng.normal(size=(5, 3)), rng.integers(0, 2, 5)
    want = np.zeros(40)
    for q, d in enumerate(distances(Q, X)):
        order, s = np.argsort(d), 0.0
        for i in range(stop - 1, 0, -1):
            s += (float(y[order[i - 1]] == t[q]) - float(y[order[i]] == t[q])) / k * min(k, i) / i
            want[order[i - 1]] += s / 5
    values = knn_shapley(da.Dataset(X, y, Q, t), k=k, max_error=1 / stop)
    np.testing.assert_allclose(values.scores, want, rtol=0, atol=1e-14)


def test_faiss_finds_the_same_rows(digits):
    pytest.importorskip("faiss")
    for judge in ("validation", "rows"):
        for metric in ("euclidean", "cosine"):
            call = {"judge": judge, "metric": metric, "max_error": 0.02}
            rng = np.random.default_rng(0)  # no ties, which faiss may break in another way
            data = da.Dataset(digits.X + rng.normal(size=(400, 64)), digits.y, digits.X_val, digits.y_val)
            ours, theirs = knn_shapley(data, **call), knn_shapley(data, search="faiss", **call)
            np.testing.assert_allclose(theirs.scores, ours.scores, rtol=0, atol=1e-12)
            assert theirs.stats["search"] == "faiss"


def test_without_faiss_the_error_says_what_to_install(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'datassay[faiss]'")):
        knn_shapley(digits, max_error=0.1, search="faiss")


# ------------------------------------------------------------------------------------------------------------ the engine


@pytest.mark.parametrize("digitsof", [0, 2, 52])
def test_ranked_is_a_stable_sort(digitsof):
    """Distances that agree in their first bits, in all, or in none."""
    rng = np.random.default_rng(digitsof)
    for n in (1, 2, 3, 50, 3000):
        d = 1 + rng.integers(0, 2**digitsof + 1, n) * 2.0**-52
        d[rng.random(n) < 0.1] = 0.0
        D = np.stack([d, rng.permutation(d), np.arange(n) / 7, d[::-1]])
        order, tied = neighbours.ranked(D)
        np.testing.assert_array_equal(order, np.argsort(D, axis=1, kind="stable"))
        repeats = np.diff(np.take_along_axis(D, order, 1), axis=1, prepend=-1) == 0
        assert (tied is None) == (not repeats.any())
        np.testing.assert_array_equal(repeats, np.zeros((4, n), bool) if tied is None else tied)
        single, _ = neighbours.ranked(D.astype(np.float32))
        np.testing.assert_array_equal(single, np.argsort(D.astype(np.float32), axis=1, kind="stable"))


def test_nearest_of_equal_distances_takes_the_first():
    rng = np.random.default_rng(0)
    X, Q = rng.integers(0, 3, (500, 3)), rng.integers(0, 3, (40, 3))
    want = np.argsort(distances(Q, X), axis=1, kind="stable")
    for kind in (np.float64, np.uint8, sp.csr_array):
        d, at = neighbours.nearest(kind(Q), kind(X), 20, threads=2)
        np.testing.assert_array_equal(at, want[:, :20])
        np.testing.assert_array_equal(d, np.take_along_axis(distances(Q, X), at, 1))
    itself = neighbours.nearest(X, X, 20, turn=np.arange(40)[::-1], itself=True)[1]
    assert not (itself == np.arange(40)[::-1, None]).any()
    assert neighbours.nearest(X[:4], X[:4], 9, itself=True)[1].shape == (4, 3)


def test_equal_rows_are_equally_far_wherever_they_stand(monkeypatch):
    """Products of other shapes can differ in the last bit."""
    rng = np.random.default_rng(0)
    X = rng.random((5000, 33))
    X[rng.permutation(5000)[:2000]] = X[rng.integers(0, 5000, 2000)]
    first = neighbours.equal_rows(X)
    np.testing.assert_array_equal(X[first], X)
    assert len(np.unique(first)) == len(np.unique(X, axis=0))
    np.testing.assert_array_equal(neighbours.equal_rows(sp.csr_array(X)), first)
    for d in np.concatenate(list(neighbours.each(lambda i, D: D.copy(), X[:40], X))):
        np.testing.assert_array_equal(d, d[first])
    # and where the arithmetic did differ from place to place
    exact, noise = neighbours._Rows.squares, 1 + rng.random(5000) * 1e-15
    monkeypatch.setattr(neighbours._Rows, "squares", lambda self, Z: exact(self, Z) * noise[: len(Z)])
    for d in np.concatenate(list(neighbours.each(lambda i, D: D.copy(), X[:40], X))):
        np.testing.assert_array_equal(d, d[first])


def test_a_common_offset_costs_no_digits():
    rng = np.random.default_rng(0)
    X, Q = rng.integers(0, 50, (200, 3)).astype(float), rng.integers(0, 50, (20, 3)).astype(float)
    far = np.array([1e9, -1e12, 0])
    D = np.concatenate(list(neighbours.each(lambda i, D: D.copy(), Q + far, X + far)))
    np.testing.assert_array_equal(D, distances(Q, X))


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number from 1 on, got 0"),
        ({"k": 2.5}, "k must be a whole number from 1 on, got 2.5"),
        ({"k": True}, "k must be a whole number from 1 on, got True"),
        (
            {"form": "loud"},
            "form must be 'hard' or 'soft' or 'threshold' or 'calibrated' or 'weighted' or 'weighted-soft', got 'loud'",
        ),
        ({"levels": 4}, "levels belongs to form='weighted'"),
        ({"metric": "l1"}, "metric must be 'euclidean' or 'cosine', got 'l1'"),
        ({"judge": "all"}, "judge must be 'validation' or 'rows', got 'all'"),
        ({"search": "hnsw"}, "search must be 'exact' or 'faiss', got 'hnsw'"),
        ({"dtype": "float16"}, "dtype must be 'float64' or 'float32', got 'float16'"),
        ({"radius": 3.0}, "radius belongs to form='threshold'"),
        ({"radius": -1, "form": "threshold"}, "radius must be None or a number above 0, got -1"),
        ({"max_error": -0.1}, "max_error must be a number from 0 to 1, got -0.1"),
        ({"max_error": 0.1, "form": "soft"}, "max_error is for form='hard'"),
        ({"search": "faiss"}, "search='faiss' finds the nearest rows only: pass a max_error above 0"),
        ({"seed": -1}, "seed must be a whole number from 0 on, got -1"),
        ({"n_jobs": 0}, "n_jobs must be None or a whole number other than 0, got 0"),
        ({"progress": "yes"}, "progress must be True or False, got 'yes'"),
    ],
)
def test_wrong_options(digits, options, message):
    with pytest.raises(DataError, match=re.escape(f"knn-shapley: {message}")):
        knn_shapley(digits, **options)


def test_wrong_data(digits, amounts):
    with pytest.raises(DataError, match=r"needs validation rows, X_val and y_val .* judge='rows'"):
        knn_shapley(digits.without_validation())
    with pytest.raises(DataError, match="form='soft' is about classes, and this is regression"):
        knn_shapley(amounts, form="soft")
    with pytest.raises(DataError, match="form='weighted' is about classes, and this is regression"):
        knn_shapley(amounts, form="weighted")
    many = da.Dataset(np.arange(2000.0)[:, None], np.arange(2000) % 2, [[0.0]], [0])
    with pytest.raises(
        DataError, match=r"the sets of 999 of 2000 rows are more than float64 can count\. Lower k=1000, or take"
    ):
        knn_shapley(many, k=1000, form="weighted")
    with pytest.raises(DataError, match="max_error is for form='hard' and classes"):
        knn_shapley(amounts, max_error=0.1)
    X = digits.X.copy()
    X[3] = 0
    with pytest.raises(DataError, match=r"row 3 \(id 3\) is zero in every column, .* pass metric='euclidean'"):
        knn_shapley(da.Dataset(X, digits.y, digits.X_val, digits.y_val), metric="cosine")
    knn_shapley(da.Dataset(X, digits.y, digits.X_val, digits.y_val))
    X[3] = 1e200
    with pytest.raises(DataError, match="the square of the length of row 3 is beyond float64"):
        knn_shapley(da.Dataset(X, digits.y, digits.X_val, digits.y_val))


@pytest.mark.parametrize("options", [{}, {"form": "threshold"}, {"form": "soft"}, {"max_error": 0.1}])
@pytest.mark.parametrize("k", [3, 500])
def test_rows_that_judge_one_another_vote_and_the_votes_are_counted(k, options):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    data = da.Dataset(3 * np.eye(3)[y] + rng.normal(size=(60, 3)), np.where(np.arange(60) < 6, (y + 1) % 3, y))
    values = knn_shapley(data, k=k, judge="rows", progress=False, **options)
    distance = ((data.X[:, None] - data.X[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, : min(k, 59)]
    votes = (data.codes[nearest][:, :, None] == np.arange(3)).mean(1)
    expected = noise_model.of_probabilities(votes, data.codes, votes=min(k, 59))
    np.testing.assert_allclose(values.columns["probability_wrong"], expected.probability)
    assert values.flagged.tolist() == expected.flagged.tolist()
    assert values.stats["wrong_labels"] == expected.wrong_labels()
    paper = knn_shapley(data, k=k, judge="rows", flag="sign", progress=False, **options)
    assert paper.flagged.tolist() == (values.scores < 0).tolist()


def test_votes_need_rows_that_judge_one_another():
    data = da.Dataset(np.eye(4), [0, 1, 0, 1], np.eye(4), [0, 1, 0, 1])
    with pytest.raises(DataError, match="needs judge='rows'"):
        knn_shapley(data, flag="likely")
    assert "wrong_labels" not in knn_shapley(data, k=2).stats
