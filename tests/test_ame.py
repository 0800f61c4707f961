"""AME and semivalues by their public functions: beside the definition on few rows, and what they find on many."""

import itertools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor

import datassay as da
from datassay.checks import DataError
from datassay.engines import designs, marginal_effects
from datassay.engines.designs import Subsets
from datassay.engines.training_store import Store
from datassay.evaluation import plant_wrong_labels
from datassay.subsets.study import _check_points
from datassay.subsets.trainers import trainable
from datassay.subsets.utilities import log_odds, utility_of

GRID = (0.2, 0.4, 0.6, 0.8)


def few(n=6, m=10, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + m, 3))
    y = np.where(X[:, 0] + 0.5 * rng.normal(size=n + m) > 0, "up", "down")
    y[:4] = ["up", "down", "up", "down"]
    return da.Dataset(X[:n], y[:n], X[n:], y[n:], ids=[f"row {i}" for i in range(n)])


def planted(n=200, m=100, rate=0.2, seed=0):
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))[: n + m]
    X, y = X[order] / 16, np.array([f"digit {i}" for i in range(10)])[y[order]]
    data = da.Dataset(X[:n], y[:n], X[n:], y[n:], ids=[f"row {i}" for i in range(n)])
    return plant_wrong_labels(data, rate, seed=seed)


MODEL = LogisticRegression(C=0.3)
HARMED = LogisticRegression(C=3.0)  # a weak penalty: wrong rows do harm, and don't only help less


@pytest.fixture(scope="module")
def digits():
    return planted()


def game(data, model, worth):
    """v(S) by training on every subset, one by one."""
    n, v = len(data), {}
    trainer = trainable(data, model, "test").trainer
    for k in range(n + 1):
        for S in itertools.combinations(range(n), k):
            counts = np.zeros((1, n), np.uint8)
            counts[0, list(S)] = 1
            (said,) = trainer(counts, [0], val=True, rows=False)
            v[frozenset(S)] = float(worth(said.val[None])[0])
    return v


def mean_effect(v, n, p):
    """E_S [v(S + i) - v(S)], every other row in S with probability p."""
    phi = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for k in range(n):
            for S in itertools.combinations(others, k):
                phi[i] += p**k * (1 - p) ** (n - 1 - k) * (v[frozenset(S) | {i}] - v[frozenset(S)])
    return phi


@pytest.mark.parametrize("model", [None, GaussianNB(var_smoothing=0.5)], ids=["default", "naive Bayes"])
def test_few_rows_have_exact_values(model):
    data = few()
    v = game(data, model, utility_of(data, None, "test"))
    ame = np.mean([mean_effect(v, 6, p) for p in GRID], axis=0)
    np.testing.assert_allclose(da.value(data, method="ame", model=model).scores, ame, atol=1e-6)
    np.testing.assert_allclose(da.value(data, method="banzhaf", model=model).scores, mean_effect(v, 6, 0.5), atol=1e-6)
    np.testing.assert_allclose(
        da.value(data, method="banzhaf", model=model, inclusion=0.2).scores, mean_effect(v, 6, 0.2), atol=1e-6
    )
    shapley = da.value(data, method="shapley", model=model, utility="margin")
    orders = np.zeros(6)
    for order in itertools.permutations(range(6)):
        for k, i in enumerate(order):
            orders[i] += (v[frozenset(order[: k + 1])] - v[frozenset(order[:k])]) / 720
    np.testing.assert_allclose(shapley.scores, orders, atol=1e-6)
    assert shapley.scores.sum() == pytest.approx(v[frozenset(range(6))] - v[frozenset()], abs=1e-6)
    loo = [v[frozenset(range(6))] - v[frozenset(range(6)) - {i}] for i in range(6)]
    np.testing.assert_allclose(da.value(data, method="leave-one-out", model=model).scores, loo, atol=2e-5)
    assert np.ptp(ame) > 0.001


def test_untruncated_permutations_add_up_and_come_near(digits):
    data = few(8, 30)
    exact = da.value(data, method="shapley", model=GaussianNB(var_smoothing=0.5))
    drawn = da.value(
        data, method="shapley", model=GaussianNB(var_smoothing=0.5), estimator="permutation", truncation=0, n_models=2000
    )
    assert drawn.stats["permutations"] >= 250
    assert drawn.scores.sum() == pytest.approx(exact.scores.sum(), abs=1e-9)
    z = (drawn.scores - exact.scores) / drawn.stats["stderr"]
    assert np.abs(z).max() < 4
    assert (drawn.stats["stderr"] < 0.02).all()
    assert np.ptp(exact.scores) > 0.05


def test_truncation_saves_trainings_and_says_what_it_costs(digits):
    data, _ = digits
    options = {"model": MODEL, "estimator": "permutation", "n_models": 800, "utility": "accuracy", "progress": False}
    whole = da.value(data, method="shapley", truncation=0, **options)
    cut = da.value(data, method="shapley", truncation=0.1, **options)
    assert whole.stats["trainings"] == whole.stats["permutations"] * 199
    assert cut.stats["trainings"] / cut.stats["permutations"] < 0.9 * 199
    full = whole.stats["utility_of_all"] - whole.stats["utility_of_none"]
    assert whole.scores.sum() == pytest.approx(full)
    assert 0 < abs(cut.scores.sum() - full) < 0.2 * abs(full)
    with pytest.raises(DataError, match="a permutation takes 200 trainings"):
        da.value(data, method="shapley", estimator="permutation", n_models=100)


METHODS = {
    "ame": {},
    "ame lasso": {"estimator": "lasso", "bootstrap": 0},
    "shapley": {},
    "beta-shapley": {},
    "banzhaf": {},
    "banzhaf msr": {"estimator": "msr"},
    "shapley differences": {"estimator": "differences"},
}


@pytest.mark.parametrize("name", METHODS)
def test_wrong_rows_are_found(name, digits):
    data, wrong = digits
    method, options = name.split()[0], {"model": MODEL, "n_models": 600, "progress": False} | METHODS[name]
    values = da.value(data, method=method, **options)
    least = {"shapley differences": 0.6, "banzhaf msr": 0.85, "ame lasso": 0.85}.get(name, 0.9)
    assert roc_auc_score(wrong, -values.scores) > least


def test_values_follow_their_rows_to_the_last_digits(digits):
    data, _ = planted(n=150, m=15)
    order = np.random.default_rng(0).permutation(len(data))
    for method, options, share in (
        ("ame", {}, 0.02),
        ("shapley", {"estimator": "permutation", "truncation": 0}, 0.02),
        ("banzhaf", {}, 0.02),
        ("datamodels", {"rule": "min"}, 0.02),
        (
            "datamodels",
            {},
            0.15,
        ),  # by the number of coefficients, of which one more or less can decide between two penalties
    ):
        options = {"model": MODEL, "n_models": 200, "progress": False} | options
        here, there = da.value(data, method=method, **options), da.value(data.take(order), method=method, **options)
        np.testing.assert_array_equal(there.ids, here.ids[order])
        assert spearmanr(there.scores, here.scores[order]).statistic > 0.999
        np.testing.assert_allclose(there.scores, here.scores[order], atol=share * np.std(here.scores))


def test_selected_rows_are_harmful_and_few_are_not(digits):
    data, wrong = planted(n=300, m=150, seed=1)
    shares, found = [], 0
    for seed in range(2):
        values = da.value(data, method="ame", model=HARMED, n_models=1200, seed=seed, q=0.2, progress=False)
        found += values.flagged.sum()
        shares.append((values.flagged & ~wrong).sum() / max(1, values.flagged.sum()))
        W = values.columns["knockoff_statistic"]
        if values.stats["threshold"] is not None:
            np.testing.assert_array_equal(values.flagged, values.stats["threshold"] <= W)
    assert found > 30
    assert np.mean(shares) < 0.2  # rows with a right label can be harmful, too


def test_nothing_is_selected_where_nothing_has_an_effect():
    """A model that says what it likes, whatever it is trained on."""

    class Moody(GaussianNB):
        def predict_proba(self, X):
            p = np.random.default_rng(int(1e6 * abs(self.theta_.sum()) % 2**31)).uniform(
                0.1, 1, (len(X), len(self.classes_))
            )
            return p / p.sum(1, keepdims=True)

    data, _ = planted(n=60, m=20)
    selected = [
        da.value(data, method="ame", model=Moody(), n_models=150, seed=seed, progress=False, **{"q": 0.1}).flagged.sum()
        for seed in range(6)
    ]
    assert np.mean(np.array(selected) > 0) <= 0.34


def test_one_store_serves_all(tmp_path, digits):
    data, wrong = digits
    store = tmp_path / "s.sqlite"
    options = {"model": MODEL, "progress": False, "store": store}
    first = da.value(data, method="ame", n_models=400, **options)
    trained = len(Store(store))
    again = da.value(data, method="ame", n_models=400, **options)
    np.testing.assert_array_equal(again.scores, first.scores)
    assert len(Store(store)) == trained
    np.testing.assert_array_equal(
        da.value(data, method="ame", n_models=400, model=MODEL, progress=False).scores, first.scores
    )
    for method in ("banzhaf", "shapley", "beta-shapley", "ame"):
        values = da.value(data, method=method, reuse=True, **options)
        assert (values.stats["stderr"] > 0).all()
        assert values.stats["trainings"] == 400
        assert roc_auc_score(wrong, -values.scores) > 0.85
    assert len(Store(store)) == trained
    other = da.value(data, method="ame", n_models=400, utility="log-likelihood", **options)
    assert len(Store(store)) == trained
    assert 0.5 < spearmanr(other.scores, first.scores).statistic < 0.999
    with pytest.raises(DataError, match="the store has 0 trainings of this model"):
        da.value(data, method="banzhaf", reuse=True, store=store, model=GaussianNB())
    with pytest.raises(DataError, match="reuse=True takes trainings from a store"):
        da.value(data, method="ame", reuse=True)


def test_only_trainings_of_its_grid_count_for_ame(tmp_path, digits):
    data, _ = digits
    options = {"model": MODEL, "progress": False, "store": tmp_path / "s.sqlite", "knockoff": None}
    alone = da.value(data, method="ame", n_models=200, **options)
    da.value(data, method="ame", n_models=100, inclusion=(0.35, 0.65), **options)
    again = da.value(data, method="ame", reuse=True, **options)
    assert again.stats["trainings"] == 200
    assert np.corrcoef(again.scores, alone.scores)[0, 1] > 0.999
    np.testing.assert_allclose(again.scores.std(), alone.scores.std(), rtol=0.05)


def test_weights_for_another_law_say_how_little_they_know(tmp_path, digits):
    data, _ = digits
    store = tmp_path / "s.sqlite"
    da.value(data, method="ame", n_models=400, model=MODEL, progress=False, store=store)
    values = da.value(data, method="banzhaf", model=MODEL, progress=False, store=store, reuse=True, standardise=False)
    assert values.stats["effective_trainings"] < 50


def test_a_query_is_explained_by_the_rows_that_cause_it():
    """Two poisoned rows have a mark and a wrong label; a validation row with the mark gets that label."""
    rng = np.random.default_rng(0)
    n, m = 120, 40
    y = np.arange(n + m) % 2
    X = np.c_[rng.normal(size=(n + m, 3)) + 2.5 * y[:, None], np.zeros(n + m)]
    poison = [0, 2, 4, 6]
    X[poison, 3] = 6.0
    y[poison] = 1
    X[n, 3] = 6.0  # class 0, with the mark
    y[n] = 0
    data = da.Dataset(X[:n], y[:n], X[n:], y[n:])
    options = {"method": "ame", "model": LogisticRegression(), "n_models": 800, "query": 0, "progress": False}
    blamed = da.value(data, label=1, knockoff="plain", **options)
    assert set(blamed.suspects(4)["id"]) == set(poison)
    assert (blamed.columns["ame"][poison] > 0).all()  # they raise the log-odds of the wrong label
    np.testing.assert_array_equal(blamed.scores, -blamed.columns["ame"])
    own = da.value(data, **options)
    assert set(own.suspects(4)["id"]) == set(poison)
    np.testing.assert_array_equal(own.scores, own.columns["ame"])
    np.testing.assert_allclose(own.scores, blamed.scores, atol=1e-6)  # two classes: log-odds change their sign
    theta = da.value(data, method="datamodels", model=LogisticRegression(), n_models=800, query=0, label=1, progress=False)
    assert set(theta.suspects(4)["id"]) == set(poison)


def test_groups_are_valued_and_opened(digits):
    """Every fourth source has wrong labels; opened, its own rows are told apart."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(3).permutation(len(X))[:600]
    X, y = X[order] / 16, y[order]
    source = np.array([f"source {i // 10}" for i in range(400)])
    bad = np.arange(400) // 10 % 4 == 0
    wrong = bad & (np.arange(400) % 10 < 6)
    given = y[:400].copy()
    given[wrong] = (given[wrong] + 1 + np.random.default_rng(0).integers(0, 9, wrong.sum())) % 10
    data = da.Dataset(X[:400], given, X[400:], y[400:])
    values = da.value(data, method="ame", model=HARMED, groups=source, n_models=500, opened=2, q=0.2, progress=False)
    groups = values.columns["group_ame"]
    assert roc_auc_score(bad, -groups) > 0.95
    assert values.stats["groups"] == 40
    flagged = set(values.stats["groups_flagged"])
    assert len(flagged) >= 8
    assert len(flagged - {f"source {i}" for i in range(0, 40, 4)}) <= 1
    assert len(values.stats["groups_opened"]) == 2
    inside = np.isin(source, values.stats["groups_opened"])
    assert roc_auc_score(wrong[inside], -values.scores[inside]) > 0.8
    assert np.ptp(values.scores[source == "source 1"]) == 0
    np.testing.assert_allclose(values.scores[source == "source 1"] * 10, groups[source == "source 1"])
    with pytest.raises(DataError, match="groups must have one entry"):
        da.value(data, method="ame", groups=source[:5])


class Sum(RegressorMixin, BaseEstimator):
    """Says the sum of the first column of its rows: an additive game, whose values are known."""

    def fit(self, X, y):
        self.total_ = X[:, 0].sum()
        return self

    def predict(self, X):
        return np.full(len(X), self.total_)


def additive(n):
    rng = np.random.default_rng(0)
    X = np.c_[np.arange(1.0, n + 1), rng.normal(size=n)]
    y = rng.normal(size=n)
    return da.Dataset(X, y - y.mean(), X[:4], rng.normal(size=4))  # no rows: the mean label, 0


@pytest.mark.parametrize("n", [8, 12, 30])
@pytest.mark.parametrize("standardise", [True, False])
def test_additive_games_have_what_each_row_adds(n, standardise):
    data, true = additive(n), np.arange(1.0, n + 1)
    options = {
        "model": Sum(),
        "query": 0,
        "n_models": 255 if n == 8 else 1000,
        "standardise": standardise,
        "progress": False,
    }
    for law in ({}, {"inclusion": 0.5}, {"epsilon": 0.1}):
        values = da.value(data, method="ame", knockoff=None, **options, **law)
        assert np.abs(values.scores - true).max() < 0.2 * true.std()
    groups = np.arange(n) % 6
    values = da.value(data, method="ame", groups=groups, **options | {"n_models": 400})
    sums = np.array([true[groups == g].sum() for g in range(6)])
    assert np.abs(values.columns["group_ame"] - sums[groups]).max() < 0.2 * sums.std() + 0.1


def test_far_from_0_amounts_keep_their_digits():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, 2.0, -1.0] + 0.3 * rng.normal(size=60)
    near, far = (da.Dataset(X[:40], y[:40] + c, X[40:], y[40:] + c) for c in (0.0, 1e7))
    for model in (None, KNeighborsRegressor(3)):
        here, there = (da.value(d, method="leave-one-out", model=model).scores for d in (near, far))
        np.testing.assert_allclose(there, here, atol=1e-5)


def test_leaving_out_a_row_that_alone_decides_a_coefficient():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(30, 2)), np.arange(30) == 0]
    y = X @ [1.0, 2.0, 5.0] + 0.3 * rng.normal(size=30)
    data = da.Dataset(X[:20], y[:20], X[20:], y[20:])
    values = da.value(data, method="leave-one-out", model=LinearRegression())
    worth = utility_of(data, None, "test")
    fits = [LinearRegression().fit(X[:20][keep], y[:20][keep]).predict(X[20:]) for keep in (slice(None), slice(1, None))]
    with_it, without = (float(worth(f[None, :, None])[0]) for f in fits)
    assert values.scores[0] == pytest.approx(with_it - without, abs=1e-6)


def test_amounts_are_valued_and_no_rows_are_worth_what_the_mean_label_is():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    y = X @ [1.0, 2.0, 0.0, -1.0] + 0.3 * rng.normal(size=120) + 50
    wrong = np.arange(80) % 10 == 0
    y[:80][wrong] += rng.choice([-8.0, 8.0], 8)
    data = da.Dataset(X[:80], y[:80], X[80:], y[80:])
    for method, least in (("ame", 0.6), ("shapley", 0.7), ("banzhaf", 0.6), ("datamodels", 0.55), ("beta-shapley", 0.85)):
        values = da.value(data, method=method, n_models=400, progress=False)
        assert roc_auc_score(wrong, -values.scores) > least
        if method == "shapley":
            none = -((y[80:] - y[:80].mean()) ** 2).mean() / y[:80].var()
            assert values.stats["utility_of_none"] == pytest.approx(none, rel=1e-4)
    one = da.value(data, method="datamodels", n_models=400, query=0, progress=False)
    assert "lowers the prediction" in one.stats["flag_rule"]


@pytest.mark.parametrize("model", [None, Ridge(alpha=3.0), LinearRegression()], ids=repr)
def test_leaving_a_row_out_of_least_squares_takes_one_fit(model):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = X @ [1.0, 2.0, 0.0, -1.0] + 0.4 * rng.normal(size=60) + 7
    y[5] += 6
    data = da.Dataset(X[:40], y[:40], X[40:], y[40:])
    values = da.value(data, method="leave-one-out", model=model)
    assert values.stats["trainings"] == 1
    trainer, worth = trainable(data, model, "test").trainer, utility_of(data, None, "test")
    every = Subsets(np.r_[np.ones((1, 40), np.uint8), designs.without_each(40, range(40)).counts], np.full(41, np.nan))
    u = worth(np.stack([s.val for s in trainer(every.counts, [0] * 41, val=True, rows=False)]).astype(np.float64))
    np.testing.assert_allclose(values.scores, u[0] - u[1:], atol=2e-6)
    assert values.suspects(1)["id"].item() == 5


def test_leave_one_out_of_random_models_is_by_one_seed(digits):
    from sklearn.neural_network import MLPClassifier

    data = few(20, 20)
    model = MLPClassifier((4,), max_iter=30, solver="sgd", learning_rate_init=0.1)
    one = da.value(data, method="leave-one-out", model=model, progress=False)
    two = da.value(data, method="leave-one-out", model=model, repeats=3, progress=False)
    assert "stderr" not in one.stats
    assert (two.stats["stderr"] > 0).any()
    assert two.stats["trainings"] == 63
    # by one seed a row that is left out changes little: the networks begin alike
    assert np.std(one.scores) < 0.5


def test_datamodels_are_the_lasso_of_each_query(tmp_path):
    from sklearn.linear_model import Lasso

    data, _ = planted(n=60, m=5)
    path = tmp_path / "theta.npy"
    values = da.value(
        data, method="datamodels", model=MODEL, n_models=200, matrix=path, store=tmp_path / "s", progress=False
    )
    theta = np.load(path)
    assert theta.shape == (60, 5)
    np.testing.assert_allclose(values.scores, theta.mean(1))
    one = da.value(data, method="datamodels", model=MODEL, n_models=200, query=3, store=tmp_path / "s", progress=False)
    np.testing.assert_allclose(one.scores, theta[:, 3], atol=1e-4 * np.abs(theta).max())
    assert 0 < values.stats["explained"] < 1
    # by scikit-learn, at a penalty that keeps as many rows
    place = designs.places(data.ids.tolist())
    law = designs.Inclusion("grid", (0.5,))
    counts = designs.in_places(lambda a, b: law.draw(60, 0, a, b), place)(0, 200).counts
    said = trainable(data, MODEL, "test").trainer(counts, [0] * 200, val=True, rows=False)
    f = log_odds(np.stack([s.val for s in said])[:, 3, data.codes_val[3]])
    X = counts - counts.mean(0)
    scale = X.std(0)
    gaps = []
    for alpha in np.geomspace(0.5, 0.005, 40):
        fit = Lasso(alpha=alpha, tol=1e-8, max_iter=100_000).fit(X / scale, f - f.mean())
        gaps.append(np.abs(fit.coef_ / scale - theta[:, 3]).max())
    assert min(gaps) < 0.05 * np.abs(theta[:, 3]).max()


def test_antithetic_subsets_can_be_asked_for(digits):
    data, wrong = digits
    values = da.value(data, method="ame", model=MODEL, n_models=400, antithetic=True, progress=False)
    plain = da.value(data, method="ame", model=MODEL, n_models=400, progress=False)
    assert (values.scores != plain.scores).any()
    assert roc_auc_score(wrong, -values.scores) > 0.85


def test_shapley_mode_has_a_bound(digits):
    data, wrong = digits
    values = da.value(data, method="ame", model=MODEL, n_models=400, epsilon=0.1, utility="probability", progress=False)
    assert values.stats["shapley_bound"] == pytest.approx(0.4)
    assert "range" in values.stats["shapley_bound_R"]
    assert roc_auc_score(wrong, -values.scores) > 0.7


# ----------------------------------------------------------------------------------------------------------- when to stop


def test_looks_come_at_growing_distances_and_in_whole_blocks():
    assert _check_points(1000, 16) == [208, 304, 464, 688, 1008]
    assert _check_points(100, 1) == [100]


def test_it_stops_when_the_suspects_stay_the_same(digits):
    data, _ = digits
    options = {"method": "ame", "model": MODEL, "n_models": 3000, "knockoff": None, "progress": False}
    settled = da.value(data, settled=0.6, **options)
    assert settled.stats["trainings"] < 3000
    assert "60% the same" in settled.stats["stopped"]
    assert settled.stats["looks"][-1]["same_suspects"] >= 0.6
    sure = da.value(data, stderr=0.7, **options)
    assert sure.stats["trainings"] < 3000
    assert sure.stats["looks"][-1]["stderr"] <= 0.7
    assert np.median(sure.stats["stderr"]) <= 0.7 * sure.scores.std() * 1.01
    # the run to so many is the same
    same = da.value(data, **options | {"n_models": sure.stats["trainings"]})
    np.testing.assert_array_equal(same.scores, sure.scores)


def test_it_stops_when_the_time_is_up(digits):
    data, _ = digits
    values = da.value(data, method="banzhaf", model=GaussianNB(), n_models=10**5, budget="3 s", n_jobs=1, progress=False)
    assert 20 <= values.stats["trainings"] < 10**5
    assert values.stats["stopped"] == "the time was up"
    with pytest.raises(DataError, match="budget must be an amount"):
        da.value(data, method="banzhaf", budget="soon")


INTERRUPTED = """
import sys
sys.path.insert(0, "tests")
import datassay as da
from test_ame import planted, MODEL
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
data, _ = planted()
v = da.value(data, method="banzhaf", model=GaussianNB(), n_models=100000, store=sys.argv[1], n_jobs=1, progress=False)
print(v.stats["stopped"], v.stats["trainings"])
"""


def test_interrupted_it_gives_what_there_is(tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", INTERRUPTED, tmp_path / "s.sqlite"], stdout=subprocess.PIPE, text=True
    )
    begun = time.monotonic()
    while time.monotonic() - begun < 60:
        time.sleep(0.2)
        if (tmp_path / "s.sqlite").exists():
            try:
                if len(Store(tmp_path / "s.sqlite")) > 60:
                    break
            except ValueError:
                continue
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert said.startswith("interrupted")
    assert 20 <= int(said.split()[-1]) < 100_000


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("ame", {"n_models": 5}, "n_models must be a whole number from 20 on"),
        ("ame", {"inclusion": (0.2, 1.5)}, "probabilities between 0 and 1"),
        ("ame", {"epsilon": 0.7}, "epsilon must be None or a number above 0 and below 0.5, got 0.7"),
        ("ame", {"q": 1.5}, "q must be a number above 0 and below 1, got 1.5"),
        ("ame", {"estimator": "forest"}, "estimator must be 'ridge' or 'lasso'"),
        ("ame", {"query": 3, "utility": "accuracy"}, "utility of a query is the 'log-odds'"),
        ("ame", {"label": "digit 3"}, "label is for a query"),
        ("ame", {"query": 1000}, "position of a validation row"),
        ("ame", {"utility": "cuteness"}, "utility must be 'margin'"),
        ("ame", {"training": 3}, "training says how a network is trained"),
        ("ame", {"settled": 2.0}, "settled must be None or a number above 0 and at most 1, got 2"),
        ("ame", {"antithetic": True, "inclusion": (0.2, 0.3)}, "symmetric about 1/2"),
        ("ame", {"epsilon": 0.1, "inclusion": 0.5}, "epsilon draws subsets of its own"),
        ("ame", {"groups": np.arange(200) % 9, "settled": 0.5}, "are for single rows"),
        ("ame", {"estimator": "lasso", "bootstrap": 0, "knockoff": None}, "need bootstrap from 2 on"),
        ("banzhaf", {"antithetic": True, "inclusion": 0.3}, "symmetric about 1/2"),
        ("shapley", {"estimator": "permutation", "settled": 0.5}, "are for the other estimators"),
        ("datamodels", {"folds": 1}, "folds must be a whole number from 2 on"),
        ("ame", {"store": "/no/such/folder/s.sqlite"}, "in a folder that can be written to"),
        ("banzhaf", {"inclusion": 1.0}, "inclusion must be a number above 0 and below 1, got 1"),
        ("beta-shapley", {"alpha": 0}, "alpha must be a number above 0"),
        ("shapley", {"truncation": 1}, "truncation must be a number from 0 and below 1, got 1"),
        ("datamodels", {"inclusion": 0}, "inclusion must be a number above 0 and below 1, got 0"),
        ("datamodels", {"matrix": "/no/such/folder/theta.npy"}, "does not exist"),
        ("leave-one-out", {"repeats": 0}, "repeats must be a whole number from 1 on"),
        ("banzhaf", {"n_jobs": 0}, "n_jobs must be None or a whole number"),
    ],
)
def test_what_can_not_be_is_one_sentence(method, options, says, digits):
    with pytest.raises(DataError, match=says):
        da.value(digits[0], method=method, **options)


def test_networks_are_trained_in_stacks(digits):
    torch = pytest.importorskip("torch")
    from datassay.engines.training import Recipe

    data, wrong = digits

    def make(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(64, 24), torch.nn.ReLU(), torch.nn.Linear(24, 10))

    recipe = Recipe(epochs=3, batch_size=32, optimiser="adam", lr=0.01)
    options = {"method": "ame", "model": make, "training": recipe, "n_models": 96, "progress": False, "knockoff": None}
    one, two = da.value(data, n_jobs=1, **options), da.value(data, n_jobs=2, **options)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert roc_auc_score(wrong, -one.scores) > 0.6
    assert one.options["training"]["epochs"] == 3
    assert one.options["model"].endswith("make")


def test_of_twins_in_a_store_one_has_a_knockoff(monkeypatch):
    """Both of an antithetic pair could be told from their knockoffs, which are no such pair."""
    law, seen = designs.Inclusion("grid", GRID), []
    subsets = law.draw(30, 0, 0, 40, antithetic=True)
    monkeypatch.setattr(marginal_effects.knockoffs, "joint", lambda X, K, *a, **k: seen.append(X > 0) or np.zeros(30))
    U = np.random.default_rng(0).normal(size=40)
    for reuse in (True, False):
        how = marginal_effects.MarginalEffects(law, False, "ridge", "1se", True, (0.0, 1.0), 0, 1, reuse)
        how.select(subsets, U, np.arange(30), "harmful", not reuse)
    one, both = seen
    assert len(both) == 40
    np.testing.assert_array_equal(both[1::2], ~both[::2])
    np.testing.assert_array_equal(one, both[::2])
