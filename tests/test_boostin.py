"""BoostIn: leaf values that scikit-learn, LightGBM and XGBoost have, sums written out, derivatives in a row's weight, and what it finds."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, HistGradientBoostingRegressor

import datassay as da
from datassay.checks import DataError
from datassay.engines.boosting import Trees, derivatives, leaves_of_nodes
from datassay.engines.boosting import boostin as computed
from datassay.methods.boostin import boostin
from datassay.subsets.boosted import fitted


def blobs(n=120, m=30, d=4, classes=3, seed=0, wrong=12):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = rng.normal(size=(n + m, d)) + 1.5 * np.eye(classes, d)[y]
    given = y.copy()
    given[:wrong] = (y[:wrong] + 1) % classes
    return da.Dataset(X[:n], given[:n], X[n:], y[n:])


def amounts(n=120, m=30, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + m, d))
    y = 5 + X @ np.arange(1, d + 1) + rng.normal(size=n + m)
    return da.Dataset(X[:n], y[:n], X[n:], y[n:], task="regression")


def trees_of(data, **options):
    kind = HistGradientBoostingClassifier if data.classes else HistGradientBoostingRegressor
    model = kind(early_stopping=False, max_iter=8, min_samples_leaf=5, l2_regularization=0.3, **options)
    return fitted(data, data.X, data.X_val, model, 0, "boostin")


@pytest.mark.parametrize("data", [blobs(), blobs(classes=2), amounts()], ids=["three classes", "two classes", "regression"])
def test_values_of_leaves_are_scikit_learns(data):
    trees, says, _ = trees_of(data)
    found = computed(trees, data.codes, len(data.classes), np.ones_like)
    np.testing.assert_allclose(found.outputs, says, rtol=1e-5, atol=1e-6)


def test_trees_that_have_nothing_left_to_say_are_still():
    data = da.datasets.drawn(
        "wine", train=100, val=40, test=20
    ).data  # after 70 iterations there are no Hessians left to split
    values = boostin(data)
    assert np.isfinite(values.scores).all()


def test_it_is_the_sum_over_trees_written_out(tmp_path):
    data = blobs(n=40, m=6)
    trees, *_ = trees_of(data)
    c, n, m = 3, 40, 6
    f, q, expected = np.tile(trees.base, (n, 1)), np.tile(trees.base, (m, 1)), np.zeros((n, m))
    for t in range(8):
        g, h = derivatives(f, data.codes, c)
        p = np.exp(q) / np.exp(q).sum(1, keepdims=True)
        after_f, after_q = f.copy(), q.copy()
        for k in range(c):
            for i in range(n):
                leaf = np.flatnonzero(trees.leaves[t, k] == trees.leaves[t, k, i])
                H = h[leaf, k].sum() + 0.3
                value = -0.1 * g[leaf, k].sum() / H
                after_f[i, k] = f[i, k] + value
                for z in np.flatnonzero(trees.asked[t, k] == trees.leaves[t, k, i]):
                    own = data.codes_val[z]
                    a = ((k == own) - p[z, k]) / (1 - p[z, own])
                    expected[i, z] += a * -(0.1 * g[i, k] + value * h[i, k]) / H
                    after_q[z, k] = q[z, k] + value
        f, q = after_f, after_q
    model = HistGradientBoostingClassifier(early_stopping=False, max_iter=8, min_samples_leaf=5, l2_regularization=0.3)
    values = boostin(data, model, matrix=tmp_path / "m.npy")
    np.testing.assert_allclose(np.load(tmp_path / "m.npy"), expected, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(values.scores, expected.mean(1), rtol=1e-6, atol=1e-10)
    one = boostin(data, model, query=2)
    np.testing.assert_allclose(one.scores, expected[:, 2], rtol=1e-6, atol=1e-10)
    own = int(data.codes_val[2])
    np.testing.assert_array_equal(boostin(data, model, query=2, label=own).scores, one.scores)
    other = boostin(data, model, query=2, label=(own + 1) % 3)
    np.testing.assert_array_equal(other.scores, -other.columns["boostin"])


def test_of_one_tree_it_is_the_derivative_in_the_rows_weight():
    data = amounts(n=30, m=5)
    model = HistGradientBoostingRegressor(early_stopping=False, max_iter=1, min_samples_leaf=5, learning_rate=0.7)
    trees, *_ = fitted(data, data.X, data.X_val, model, 0, "boostin")
    values = boostin(data, model, query=1)
    leaf = np.flatnonzero(trees.leaves[0, 0] == trees.asked[0, 0, 1])
    g = trees.base[0] - data.codes

    def said(w):
        return trees.base[0] - 0.7 * (w[leaf] * g[leaf]).sum() / w[leaf].sum()

    for i in range(30):
        step = np.zeros(30)
        step[i] = 1e-5
        slope = (said(1 + step) - said(1 - step)) / 2e-5
        assert values.scores[i] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_missing_values_and_thresholds_go_scikit_learns_way():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)).round(1)
    X[rng.random((200, 3)) < 0.2] = np.nan
    y = (np.nan_to_num(X[:, 0], nan=1.0) + X[:, 1] ** 2 > 0.5).astype(int)
    model = HistGradientBoostingClassifier(early_stopping=False, max_iter=5, min_samples_leaf=5).fit(X, y)
    total = np.full(200, model._baseline_prediction.ravel()[0])
    for (tree,) in model._predictors:
        total += tree.nodes["value"][leaves_of_nodes(tree.nodes, X)]
    np.testing.assert_allclose(total, model.decision_function(X), rtol=1e-9)


@pytest.mark.parametrize("utility", ["margin", "log-likelihood"])
def test_wrong_labels_hurt(utility):
    data, wrong = da.plant(da.datasets.drawn("breast-cancer", train=300, val=100, test=50).data, "uniform", 0.1, seed=1)
    values = boostin(data, utility=utility)
    assert values.scores[wrong].mean() < 0 < values.scores[~wrong].mean()
    assert wrong[values.suspects(int(wrong.sum())).index].mean() > 0.5


def test_without_the_rows_that_speak_most_for_an_answer_trees_say_less():
    data = da.datasets.drawn("2dplanes", train=400, val=60, test=20).data
    less = []
    for q in range(6):
        order = np.argsort(-boostin(data, query=q).scores, kind="stable")
        sign = 2 * data.codes_val[q] - 1

        def says(rows, q=q, sign=sign):
            model = HistGradientBoostingClassifier(early_stopping=False).fit(data.X[rows], data.codes[rows])
            return sign * model.decision_function(data.X_val[q : q + 1])[0]

        less.append(says(np.sort(order[:-40])) - says(np.sort(order[40:])))
    assert np.mean(less) > 1


@pytest.mark.parametrize("name", ["lightgbm.LGBM", "xgboost.XGB"])
@pytest.mark.parametrize("data", [blobs(), blobs(classes=2), amounts()], ids=["three classes", "two classes", "regression"])
def test_other_libraries_trees(name, data):
    package, kind = name.split(".")
    library = pytest.importorskip(package)
    model = getattr(library, kind + ("Classifier" if data.classes else "Regressor"))(n_estimators=20, max_depth=3, n_jobs=1)
    if package == "lightgbm":
        model.set_params(verbose=-1, min_child_samples=5)
    values = boostin(data, model)  # which compares what was computed with what the library says
    if data.classes:
        assert values.scores[:12].mean() < values.scores[12:].mean()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"query": 99}, "query must be the position of a validation row, from 0 to 29, got 99"),
        ({"label": 1}, "label is for a query"),
        ({"query": 1, "utility": "margin"}, "utility is about the validation rows together"),
        ({"utility": "squared-error"}, "utility must be None or 'margin' or 'log-likelihood'"),
        (
            {"model": GradientBoostingClassifier()},
            "reads the trees of Hist.* got GradientBoostingClassifier: take ame or datamodels",
        ),
        (
            {"model": HistGradientBoostingRegressor()},
            "this is classification, and HistGradientBoostingRegressor is a model for the",
        ),
        ({"model": HistGradientBoostingClassifier(early_stopping=True)}, "early_stopping leaves rows out"),
        (
            {"model": HistGradientBoostingClassifier(class_weight={0: 5, 1: 1, 2: 1}, early_stopping=False)},
            "don't say what their leaves' rows make of them",
        ),
        ({"matrix": "nowhere/m.npy"}, "boostin: the folder of 'nowhere/m.npy' does not exist"),
    ],
)
def test_what_cannot_be(options, says):
    with pytest.raises(DataError, match=says):
        da.value(blobs(), method="boostin", **options)


def test_a_loss_that_is_no_square_is_a_sentence():
    with pytest.raises(DataError, match="its loss is absolute_error, and log_loss or squared_error is needed"):
        boostin(amounts(), HistGradientBoostingRegressor(loss="absolute_error", early_stopping=False))


def test_a_tree_that_splits_on_categories_is_a_sentence():
    rng = np.random.default_rng(0)
    X = np.c_[rng.integers(6, size=200), rng.normal(size=200)].astype(float)
    data = da.Dataset(X[:150], (X[:150, 0] % 2 == 0).astype(int), X[150:], (X[150:, 0] % 2 == 0).astype(int))
    with pytest.raises(DataError, match="a tree splits on categories"):
        boostin(data, HistGradientBoostingClassifier(early_stopping=False, categorical_features=[0]))


def test_leaves_that_are_not_there_say_nothing():
    trees = Trees(np.array([[[0, 0, 1]]]), np.array([[[2]]]), np.zeros(1), rate=1.0)
    assert not computed(trees, np.array([1.0, 3.0, 9.0]), 0, np.ones_like).total.any()
