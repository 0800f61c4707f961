"""Methods that ask models about rows that these were trained without: each is done again by hand from what the models were fitted on."""

from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_wine
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

import datassay as da
from datassay.checks import DataError
from datassay.engines import designs
from datassay.engines.designs import Inclusion, Subsets
from datassay.evaluation import plant_wrong_labels
from datassay.methods import confident_learning as cl
from datassay.subsets.held_out import utility_of_rows, without
from datassay.subsets.study import study

METHODS = ("self-confidence", "confident-learning", "data-oob", "c-score")
FEW = {"data-oob": {"n_models": 30}, "c-score": {"n_models": 30, "inclusion": (0.3, 0.7)}}
QUIET = {"n_jobs": 1, "progress": False}


def rows(n=30, classes=3, seed=0, val=0):
    """Clouds that overlap; the first column tells the rows apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(n + val) % classes
    X = rng.normal(0, 1, (n + val, 3)) + 1.2 * np.eye(classes, 3)[y]
    names = np.array(["red", "green", "blue"])[y]
    ids = [f"row {i}" for i in range(n)]
    return da.Dataset(X[:n], names[:n], X[n:], names[n:], ids=ids) if val else da.Dataset(X, names, ids=ids)


def amounts(n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.05 * rng.normal(size=n)
    wrong = np.isin(np.arange(n), rng.permutation(n)[:4])
    y[wrong] += rng.choice([-4.0, 4.0], 4)
    return da.Dataset(X, y), wrong


class Watched:
    """A mixin that notes on which rows it is fitted."""

    fitted: ClassVar[list] = []

    def fit(self, X, y):
        self.fitted.append(X[:, 0].copy())
        return super().fit(X, y)


class WatchedNB(Watched, GaussianNB):
    pass


class WatchedKNN(Watched, KNeighborsClassifier):
    pass


class WatchedLine(Watched, LinearRegression):
    pass


@pytest.fixture(autouse=True)
def _forget():
    Watched.fitted.clear()


def watched(data):
    """(trainings, n) how often each row was in, as the models saw it."""
    return np.stack([(data.X[:, 0] == seen[:, None]).sum(0) for seen in Watched.fitted])


def said(data, model, counts):
    """(trainings, n, c) probabilities of the model fitted again on these rows."""
    found = np.zeros((len(counts), len(data), len(data.classes)))
    for j, count in enumerate(counts):
        inside = np.repeat(np.arange(len(data)), count)
        fit = model.fit(data.X[inside], data.codes[inside])
        found[j][:, fit.classes_] = fit.predict_proba(data.X)
    return found


def own(p, codes):
    return np.take_along_axis(p, codes[None, :, None], 2)[..., 0]


# --------------------------------------------------------------------------------------------------------- self-confidence


@pytest.mark.parametrize("repeats", [1, 3])
def test_self_confidence_is_the_probability_by_models_without_the_row(repeats):
    data = rows()
    values = da.value(data, "self-confidence", model=WatchedNB(), folds=4, repeats=repeats, flag="other", **QUIET)
    counts = watched(data)
    assert counts.shape[0] == 4 * repeats
    assert set(counts.ravel().tolist()) == {0, 1}
    np.testing.assert_array_equal((counts == 0).sum(0), repeats)  # in one fold of each partition
    assert {7, 8} >= set((counts == 0).sum(1))
    p = np.einsum("jn,jnc->nc", counts == 0, said(data, GaussianNB(), counts)) / repeats
    rest = np.where(np.arange(3) == data.codes[:, None], -1, p).max(1)
    mine = p[np.arange(30), data.codes]
    np.testing.assert_allclose(values.columns["self_confidence"], mine, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(values.columns["normalized_margin"], (mine - rest + 1) / 2, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(values.scores, values.columns["self_confidence"])
    np.testing.assert_array_equal(values.suggested_label, data.labels_of(p.argmax(1)))
    np.testing.assert_array_equal(values.flagged, p.argmax(1) != data.codes)
    assert 0 < values.flagged.mean() < 1
    if repeats > 1:
        each = [own(said(data, GaussianNB(), part), data.codes)[part == 0] for part in np.split(counts, repeats)]
        where = [np.nonzero(part == 0)[1] for part in np.split(counts, repeats)]
        by_row = np.array([one[np.argsort(at)] for one, at in zip(each, where, strict=True)])
        np.testing.assert_allclose(values.stats["stderr"], by_row.std(0, ddof=1) / np.sqrt(repeats), rtol=1e-3, atol=1e-7)
    margin = da.value(data, "self-confidence", model=GaussianNB(), folds=4, repeats=repeats, rank_by="normalized_margin")
    np.testing.assert_array_equal(margin.scores, values.columns["normalized_margin"])


def test_judged_by_a_model_of_the_validation_rows():
    data = rows(val=24)
    values = da.value(data, "self-confidence", model=GaussianNB(), judge="validation")
    p = GaussianNB().fit(data.X_val, data.codes_val).predict_proba(data.X)
    np.testing.assert_allclose(values.scores, p[np.arange(30), data.codes], rtol=1e-5)
    np.testing.assert_array_equal(values.suggested_label, data.labels_of(p.argmax(1)))
    assert values.data_hash == data.hash
    assert values.stats["trainings"] == 1
    odd = [("a", 1), 2, "b"]  # can't be sorted, and the validation rows begin with another
    mixed = np.empty(54, object)
    mixed[:] = [odd[k] for k in np.r_[data.codes, data.codes_val[::-1]]]
    plain, other = (
        da.Dataset(data.X, y[:30], data.X_val[::-1], y[30:]) for y in (np.r_[data.codes, data.codes_val[::-1]], mixed)
    )
    assert other.classes != list(dict.fromkeys(mixed[30:].tolist()))
    one, two = (da.value(found, "self-confidence", judge="validation") for found in (plain, other))
    np.testing.assert_allclose(two.scores, one.scores, rtol=1e-4)
    assert [odd[k] for k in one.suggested_label] == two.suggested_label.tolist()
    few = da.Dataset(data.X, data.y, data.X_val[:4], data.y_val[:4])
    with pytest.raises(
        DataError, match=r"validation rows alone, and 1 of them are of class '(red|green|blue)': at least two"
    ):
        da.value(few, "self-confidence", judge="validation")
    with pytest.raises(DataError, match="needs validation rows, X_val and y_val"):
        da.value(data.without_validation(), "self-confidence", judge="validation")


def test_amounts_are_judged_by_their_residuals():
    data, wrong = amounts()
    for method, options in (("self-confidence", {}), ("data-oob", {"n_models": 60})):
        values = da.value(data, method, **QUIET, **options)
        assert roc_auc_score(wrong, -values.scores) > 0.95
        assert values.flagged[wrong].mean() > 0.7 > 0.1 > values.flagged[~wrong].mean()
    values = da.value(data, "self-confidence", model=WatchedLine(), **QUIET)
    e = np.empty(60)
    for out in watched(data) == 0:
        e[out] = data.y[out] - LinearRegression().fit(data.X[~out], data.y[~out]).predict(data.X[out])
    np.testing.assert_allclose(values.columns["residual"], e, atol=1e-5)
    unit = 1.4826 * np.median(np.abs(e - np.median(e)))
    np.testing.assert_allclose(values.scores, -np.abs(e - np.median(e)) / unit, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(values.suggested_label, data.y - e, atol=1e-5)
    both = da.Dataset(data.X, data.y, data.X, data.y - np.where(wrong, e, 0))
    judged = da.value(both, "self-confidence", judge="validation")
    assert judged.flagged[wrong].all()


def test_a_network_is_asked_too():
    torch = pytest.importorskip("torch")
    from datassay.engines.training import Recipe

    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    images = rng.random((80, 4, 4)) + y[:, None, None]
    data, wrong = plant_wrong_labels(da.Dataset(images[:60], y[:60], images[60:], y[60:]), 0.1)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    for judge in ("folds", "validation"):
        options = {
            "training": Recipe(epochs=15, batch_size=8, optimiser="adam", lr=0.05, weight_decay=0.0),
            "device": "cpu",
            **QUIET,
        }
        values = da.value(data, "self-confidence", model=net, judge=judge, folds=3, repeats=2, **options)
        assert roc_auc_score(wrong, -values.scores) > 0.9
        assert values.stats["stderr"].max() > 0


# ------------------------------------------------------------------------------------------------------ confident learning


def one_hot(flips, counts):
    """Perfect probabilities, and labels of which flips[j][k] of true class k are labelled j."""
    c = len(counts)
    true = np.repeat(np.arange(c), counts)
    y = true.copy()
    for k in range(c):
        at = iter(np.flatnonzero(true == k))
        for j in range(c):
            for _ in range(flips[j][k] if j != k else 0):
                y[next(at)] = j
    return np.eye(c)[true], y, y != true


@pytest.mark.parametrize("filter", cl.FILTERS)
def test_of_perfect_probabilities_the_planted_counts_come_back(filter):
    flips = [[0, 3, 1], [2, 0, 0], [4, 1, 0]]
    p, y, wrong = one_hot(flips, [20, 15, 12])
    values = da.value(da.Dataset(np.eye(47), y), "confident-learning", probabilities=p, filter=filter)
    expected = np.array(flips) + np.diag([20 - 6, 15 - 4, 12 - 1])
    assert values.stats["confident_joint"] == values.stats["calibrated_joint"] == expected.tolist()
    assert values.stats["estimated_errors"] == 11 == wrong.sum()
    np.testing.assert_array_equal(values.flagged, wrong)
    np.testing.assert_allclose(values.stats["noise_matrix"], expected / [20, 15, 12])
    np.testing.assert_array_equal(values.suggested_label, p.argmax(1))
    np.testing.assert_array_equal(values.scores, ~wrong)


def made(seed, n, c):
    rng = np.random.default_rng(seed)
    true = np.arange(n) % c
    y, wrong = true.copy(), rng.permutation(n)[: n // 4]
    y[wrong] = (true[wrong] + rng.integers(1, c, len(wrong))) % c
    z = rng.normal(0, 0.8, (n, c))
    z[np.arange(n), true] += 1.5
    p = np.exp(z)
    return p / p.sum(1, keepdims=True), y


CLEANLAB = {  # cleanlab 2.9.0: compute_confident_joint, calibrated and not, and find_label_issues for each filter
    (2, 40, 2): (
        [[13, 5], [4, 12]],
        [[14, 6], [5, 15]],
        [3, 6, 12, 20, 22, 23, 32, 33, 34, 37],
        [3, 6, 12, 20, 22, 23, 32, 33, 34, 37],
        [3, 6, 12, 20, 22, 23, 32, 33, 34, 37],
        [3, 6, 20, 22, 23, 32, 33, 34, 37],
        [3, 5, 6, 12, 20, 22, 23, 32, 33, 34, 37, 39],
        [22, 37, 33, 34, 20, 3, 23, 6, 32, 12],
    ),
    (3, 60, 3): (
        [[12, 2, 1], [1, 8, 2], [4, 3, 12]],
        [[15, 3, 1], [1, 12, 3], [5, 4, 16]],
        [2, 3, 14, 17, 22, 23, 25, 30, 37, 38, 40, 43, 46, 48, 49],
        [0, 2, 3, 17, 22, 23, 25, 30, 37, 38, 39, 40, 43, 46, 48, 49, 58],
        [2, 3, 17, 22, 23, 25, 30, 37, 38, 40, 43, 46, 48, 49],
        [2, 3, 14, 17, 22, 25, 30, 37, 38, 40, 46, 48, 49],
        [0, 2, 3, 14, 17, 21, 22, 23, 25, 26, 30, 32, 37, 38, 39, 40, 43, 46, 48, 49, 53, 58],
        [30, 48, 37, 2, 46, 22, 17, 3, 49, 40, 38, 25, 43, 14, 23],
    ),
    (6, 60, 3): (
        [[12, 1, 5], [1, 12, 3], [1, 3, 10]],
        [[14, 1, 6], [1, 15, 4], [1, 4, 14]],
        [2, 4, 5, 7, 8, 16, 17, 20, 26, 33, 36, 42, 43, 56, 57, 59],
        [2, 4, 5, 7, 8, 16, 17, 20, 26, 33, 36, 40, 42, 43, 56, 57, 59],
        [2, 4, 5, 7, 8, 16, 17, 20, 26, 33, 36, 42, 43, 56, 57, 59],
        [2, 4, 5, 8, 16, 17, 20, 26, 33, 36, 42, 43, 56, 59],
        [1, 2, 4, 5, 7, 8, 16, 17, 18, 20, 26, 33, 36, 40, 42, 43, 56, 57, 59],
        [16, 26, 2, 8, 59, 5, 20, 33, 36, 56, 4, 43, 17, 42, 7, 57],
    ),
}


@pytest.mark.parametrize("case", CLEANLAB)
def test_the_same_rows_as_cleanlab(case):
    joint, calibrated, *flagged, ranked = CLEANLAB[case]
    p, y = made(*case)
    data = da.Dataset(np.eye(len(y)), y)
    for filter, expected in zip(cl.FILTERS, flagged, strict=True):
        values = da.value(data, "confident-learning", probabilities=p, filter=filter)
        assert np.flatnonzero(values.flagged).tolist() == expected
    assert values.stats["confident_joint"] == joint
    assert values.stats["calibrated_joint"] == calibrated
    worst = da.value(data, "confident-learning", probabilities=p, rank_by="normalized_margin")
    assert [i for i in np.argsort(worst.scores, kind="stable").tolist() if worst.flagged[i]] == ranked


def test_where_cleanlab_departs_from_the_paper():
    """The last row reaches the thresholds of classes 1 and 2, not that of class 0, which is the likeliest: the paper counts it for 1."""
    p = np.array([[0.9, 0.05, 0.05]] * 2 + [[0.1, 0.3, 0.6]] * 2 + [[0.1, 0.7, 0.2]] * 2 + [[0.4, 0.35, 0.25]])
    y = np.array([0, 0, 1, 1, 2, 2, 0])
    t = cl.thresholds(p, y)
    np.testing.assert_array_equal(p[6] >= t, [False, True, True])
    C, guess = cl.confident_joint(p, y, t)
    assert guess[6] == 1
    assert C.tolist() == [[2, 1, 0], [0, 1, 2], [0, 2, 1]]
    # cleanlab 2.9.0: [[3, 0, 0], [0, 1, 2], [0, 2, 1]]


def test_probabilities_that_say_nothing_accuse_nobody():
    for filter in cl.FILTERS:
        values = da.value(rows(), "confident-learning", probabilities=np.full((30, 3), 1 / 3), filter=filter)
        assert values.stats["estimated_errors"] == 0
        assert not values.flagged.any()


def test_whole_rows_keep_the_number_of_rows_of_each_class():
    rng = np.random.default_rng(0)
    for _ in range(200):
        c = int(rng.integers(2, 7))
        C = rng.integers(0, 9, (c, c)) * (rng.random((c, c)) < 0.7)
        np.fill_diagonal(C, np.maximum(C.diagonal(), 1))
        counts = rng.integers(2, 60, c)
        joint, share = cl.calibrated(C, counts), C / C.sum(1, keepdims=True) * counts[:, None]
        np.testing.assert_array_equal(joint.sum(1), counts)
        assert (joint.diagonal() >= 1).all()
        rounded = np.abs(joint - share) < 1
        assert (rounded | (share.diagonal() < 0.5 + 1 / c)[:, None]).all()  # there a row was kept back
        assert (np.abs(joint - share) < 2).all()
    assert cl.calibrated(np.array([[1, 30], [0, 5]]), np.array([4, 5])).tolist() == [[1, 3], [0, 5]]  # .13 on the diagonal


def test_one_row_of_a_class_stays():
    p = np.array([[0.1, 0.9]] * 9 + [[0.2, 0.8]])
    data = da.Dataset(np.eye(10), [0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    for filter in ("prune_by_noise_rate", "prune_by_class", "both"):
        flagged = da.value(data, "confident-learning", probabilities=p, filter=filter).flagged
        assert np.flatnonzero(flagged).tolist() == [0, 2, 3] if filter == "prune_by_class" else flagged[:4].sum() == 3
        assert not flagged[4:].any()
    # by C, t = (.1, .89): all rows reach the first, nine the second, and count for it; the diagonal of class 0 counts 1
    assert da.value(data, "confident-learning", probabilities=p).stats["confident_joint"] == [[1, 4], [1, 5]]


def test_rows_of_which_no_other_class_is_likelier_are_not_flagged():
    p, y = made(0, 60, 3)
    t = cl.thresholds(p, y)
    C, _ = cl.confident_joint(p, y, t)
    joint = cl.calibrated(C, np.bincount(y))
    before = cl.prune_by_class(p, y, joint, np.arange(60))
    assert before.sum() == joint.sum() - np.trace(joint)
    values = da.value(da.Dataset(np.eye(60), y), "confident-learning", probabilities=p, filter="prune_by_class")
    np.testing.assert_array_equal(values.flagged, before & (p.argmax(1) != y))


def test_equal_rows_are_told_apart_by_their_ids():
    """Eight rows of class 1 are wrong by C, six surely; two are chosen from eight that are equal."""
    p = np.array([[0.9, 0.1]] * 12 + [[0.9, 0.1]] * 6 + [[0.6, 0.4]] * 8 + [[0.2, 0.8]] * 16)
    data = da.Dataset(np.eye(42), [0] * 12 + [1] * 30, ids=[f"row {i}" for i in range(42)])
    order = np.random.default_rng(0).permutation(42)
    for filter in cl.FILTERS:
        here = da.value(data, "confident-learning", probabilities=p, filter=filter).flagged
        there = da.value(data.take(order), "confident-learning", probabilities=p[order], filter=filter).flagged
        np.testing.assert_array_equal(there, here[order])
        if filter.startswith("prune"):
            assert here[12:18].all()
            assert here[18:26].sum() == 2


def test_a_model_s_probabilities_are_those_of_self_confidence():
    data = rows()
    values, other = (
        da.value(data, method, model=GaussianNB(), repeats=2) for method in ("confident-learning", "self-confidence")
    )
    for name, column in other.columns.items():
        np.testing.assert_array_equal(values.columns[name], column)
    np.testing.assert_array_equal(values.suggested_label, other.suggested_label)
    np.testing.assert_allclose(np.mean(values.stats["thresholds"]), other.scores.mean(), rtol=1e-12)  # classes of one size


# --------------------------------------------------------------------------------------------------------- data-oob, c-score


def correct(p, codes):
    """Whether the likeliest class is the label, equal ones in equal shares."""
    return np.array(
        [[(row[y] == row.max()) / (row == row.max()).sum() for row, y in zip(one, codes, strict=True)] for one in p]
    )


def test_data_oob_is_the_mean_over_bags_without_the_row():
    data = rows()
    values = da.value(data, "data-oob", model=WatchedKNN(2), n_models=30, flag="other", **QUIET)
    counts = watched(data)
    np.testing.assert_array_equal(counts.sum(1), 30)  # draws with replacement
    assert counts.max() > 2
    p, out = said(data, KNeighborsClassifier(2), counts), counts == 0
    T = correct(p, data.codes)
    assert (T == 0.5).any()
    psi = [T[out[:, i], i].mean() for i in range(30)]
    np.testing.assert_allclose(values.columns["data_oob"], psi, rtol=1e-12)
    np.testing.assert_array_equal(values.scores, values.columns["data_oob"])
    stderr = [T[out[:, i], i].std(ddof=1) / np.sqrt(out[:, i].sum()) for i in range(30)]
    np.testing.assert_allclose(values.stats["stderr"], stderr, rtol=1e-9, atol=1e-12)
    assert values.stats["fewest_out_of_bag"] == out.sum(0).min()
    votes = np.stack([correct(p, np.full(30, k)) for k in range(3)], 2)
    votes = np.array([votes[out[:, i], i].mean(0) for i in range(30)])
    most = np.where(votes[np.arange(30), data.codes] >= votes.max(1) - 1e-12, data.codes, votes.argmax(1))
    np.testing.assert_array_equal(values.suggested_label, data.labels_of(most))
    np.testing.assert_array_equal(values.flagged, most != data.codes)
    for utility, worth in (("probability", lambda q: q), ("margin", lambda q: np.log(q / (1 - q)))):
        values = da.value(data, "data-oob", model=GaussianNB(), n_models=30, utility=utility, **QUIET)
        T = worth(np.clip(own(said(data, GaussianNB(), counts), data.codes), 1e-6, 1 - 1e-6))
        expected = [T[out[:, i], i].mean() for i in range(30)]
        np.testing.assert_allclose(values.scores, expected, rtol=1e-3, atol=1e-5)


def test_data_oob_of_amounts():
    data, _ = amounts(25)
    values = da.value(data, "data-oob", model=WatchedLine(), n_models=30, **QUIET)
    out, said = watched(data) == 0, []
    for j, seen in enumerate(watched(data)):
        inside = np.repeat(np.arange(25), seen)
        said.append(np.where(out[j], LinearRegression().fit(data.X[inside], data.y[inside]).predict(data.X), np.nan))
    np.testing.assert_allclose(values.scores, -np.nanmean((data.y - said) ** 2, 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values.suggested_label, np.nanmean(said, 0), rtol=1e-4, atol=1e-6)


class Constant(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), "blue")


class Memory(ClassifierMixin, BaseEstimator):
    """Knows the labels of rows that it has seen, and says the first class of all others."""

    def fit(self, X, y):
        self.classes_, self.known_ = np.unique(y), dict(zip(X[:, 0].tolist(), y, strict=True))
        return self

    def predict(self, X):
        return np.array([self.known_.get(x, "blue") for x in X[:, 0].tolist()])


@pytest.mark.parametrize("method", ["data-oob", "c-score"])
def test_only_trainings_without_the_row_are_asked(method):
    """A constant model, and one that has learned every row by heart: both are worth 1 for rows of their class, 0 for others."""
    data = rows()
    for model in (Constant(), Memory()):
        values = da.value(data, method, model=model, n_models=40, flag="other", **QUIET)
        np.testing.assert_array_equal(values.scores, data.y == "blue")
        np.testing.assert_array_equal(values.flagged, data.y != "blue")
        np.testing.assert_array_equal(values.stats["stderr"], 0)


def held(data, model):
    return study("data-oob", data, model, training=None, device="cpu", store=None, seed=0, n_jobs=1, progress=False)


def test_row_0_alone_is_out_of_the_bag():
    data = rows()
    s, worth = held(data, GaussianNB()), utility_of_rows(data, None, "data-oob")
    counts = np.ones((1, 30), np.uint8)
    counts[0, 0] = 0
    bag = Subsets(counts, np.full(1, np.nan))
    s.train(bag, rows=True)
    found = without(s, bag, worth, np.zeros(1, np.int64), 1)
    fit = GaussianNB().fit(data.X[1:], data.y[1:])
    assert found.value[0] == (fit.predict(data.X[:1])[0] == data.y[0])
    assert np.isnan(found.value[1:]).all()
    assert found.trainings.tolist() == [[1] + [0] * 29]
    with pytest.raises(DataError, match=r"29 of 30 rows are in every bag.*'row 1'.*more n_models"):
        found.check(s, "in every bag")


def test_rows_that_are_in_every_bag_are_told():
    many = da.Dataset(np.arange(4000.0)[:, None], np.arange(4000) % 2)
    dummy = DummyClassifier(strategy="most_frequent")
    with pytest.raises(DataError, match=r"\d of 4000 rows are in every bag"):
        da.value(many, "data-oob", model=dummy, n_models=20, seed=next(s for s in range(99) if in_all(s)), **QUIET)
    with pytest.raises(DataError, match=r"rows are in every subset"):
        da.value(many, "c-score", model=dummy, n_models=20, inclusion=0.9, **QUIET)


def in_all(seed):
    return (designs.bags(4000, seed, 0, 20).counts > 0).all(0).any()


def test_c_score_is_the_mean_over_ratios_of_the_mean_over_subsets_without_the_row():
    data, ratios = rows(24), (0.3, 0.6, 0.9)
    values = da.value(data, "c-score", model=WatchedKNN(1), n_models=36, inclusion=ratios, flag="other", **QUIET)
    counts = watched(data)
    p = Inclusion("grid", ratios).draw(24, 0, 0, 36).p
    assert [(p == r).sum() for r in ratios] == [12, 12, 12]
    p_said = said(data, KNeighborsClassifier(1), counts)  # zeros and ones
    out, T = counts == 0, correct(p_said, data.codes)
    each, error, votes = np.full((3, 24), np.nan), np.full((3, 24), np.nan), np.full((3, 24, 3), np.nan)
    for g, r in enumerate(ratios):
        for i in range(24):
            mine = T[(p == r) & out[:, i], i]
            if len(mine):
                each[g, i] = mine.mean()
                error[g, i] = mine.var(ddof=1) / len(mine) if len(mine) > 1 else np.inf
                votes[g, i] = p_said[(p == r) & out[:, i], i].mean(0)
    never = np.isnan(each).sum(1)
    assert 0 < never[2] < 24
    assert values.stats["in_every_subset"] == {"0.3": 0, "0.6": 0, "0.9": int(never[2])}
    np.testing.assert_allclose(values.columns["c_score"], np.nanmean(each, 0), rtol=1e-12)
    np.testing.assert_array_equal(values.scores, values.columns["c_score"])
    stderr = np.sqrt(np.nansum(error, 0)) / (~np.isnan(each)).sum(0)
    known = np.isfinite(stderr)
    assert 0 < known.sum() < 24
    np.testing.assert_allclose(values.stats["stderr"][known], stderr[known], rtol=1e-6, atol=1e-9)
    assert np.isfinite(values.stats["stderr"]).all()
    votes = np.nanmean(votes, 0)
    most = np.where(votes[np.arange(24), data.codes] >= votes.max(1) - 1e-9, data.codes, votes.argmax(1))
    np.testing.assert_array_equal(values.flagged, most != data.codes)
    np.testing.assert_array_equal(values.suggested_label, data.labels_of(most))
    assert (each[2] != np.nanmean(each, 0)).any()


def test_c_score_of_a_game_in_which_all_subsets_are_known():
    """Drawn with probabilities r, the estimate is within its error of the expectation over all 2^7 subsets."""
    rng = np.random.default_rng(3)
    data = da.Dataset(rng.normal(size=(7, 1)), [0, 1, 0, 1, 0, 1, 1])
    every = designs.all_subsets(7).counts.astype(bool)
    ratios, exact = (0.3, 0.7), np.zeros(7)
    hits = np.zeros((128, 7))
    for j, inside in enumerate(every):
        classes = np.unique(data.codes[inside])
        if len(classes) == 0:
            hits[j] = 0.5
        elif len(classes) == 1:
            hits[j] = data.codes == classes[0]
        else:
            model = KNeighborsClassifier(1).fit(data.X[inside], data.codes[inside])
            hits[j] = model.predict(data.X) == data.codes
    for r in ratios:
        for i in range(7):
            mine = ~every[:, i]
            size = every[mine].sum(1)
            exact[i] += (r**size * (1 - r) ** (6 - size) * hits[mine, i]).sum() / 2
    values = da.value(data, "c-score", model=KNeighborsClassifier(1), n_models=200, inclusion=ratios, **QUIET)
    z = (values.scores - exact) / np.maximum(values.stats["stderr"], 1e-9)
    assert np.abs(z).max() < 4
    assert values.stats["stderr"].max() < 0.07
    assert np.ptp(exact) > 0.3


# --------------------------------------------------------------------------------------------------------------- random, all


def test_random_scores_know_only_the_id_and_the_seed():
    data = da.Dataset(np.zeros((3000, 1)), np.arange(3000) % 2, ids=[f"row {i}" for i in range(3000)])
    values = da.value(data, "random", seed=1)
    assert kstest(values.scores, "uniform").pvalue > 0.01
    assert abs(roc_auc_score(data.codes, values.scores) - 0.5) < 4 * 3000**-0.5
    assert not values.flagged.any()
    np.testing.assert_array_equal(da.value(data.take([7, 3, 6, 4]), "random", seed=1).scores, values.scores[[7, 3, 6, 4]])
    assert abs(np.corrcoef(values.scores, da.value(data, "random", seed=2).scores)[0, 1]) < 4 * 3000**-0.5
    assert (da.value(data, "random").scores != values.scores).all()


@pytest.fixture(scope="module")
def planted():
    X, y = load_wine(return_X_y=True)
    return plant_wrong_labels(da.Dataset(X, y, ids=[f"bottle {i}" for i in range(178)]), 0.15, seed=2)


@pytest.mark.parametrize("method", METHODS)
def test_planted_wrong_labels_score_low(planted, method):
    data, wrong = planted
    values = da.value(data, method, **QUIET, **FEW.get(method, {}))
    assert roc_auc_score(wrong, -values.scores) > 0.95
    assert values.flagged[wrong].mean() > 0.85
    assert values.flagged[~wrong].mean() < 0.1
    right = load_wine().target
    assert (values.suggested_label[wrong] == right[wrong]).mean() > 0.85


@pytest.mark.parametrize("method", METHODS)
def test_workers_the_store_and_the_order_make_no_difference(method, tmp_path):
    data, options = rows(60), {"model": GaussianNB(), "progress": False, **FEW.get(method, {})}
    one = da.value(data, method, n_jobs=1, **options)
    assert np.ptp(one.scores) > 0.1
    stored = da.value(data, method, n_jobs=2, store=tmp_path / "s.sqlite", **options)
    Watched.fitted.clear()
    again = da.value(data, method, n_jobs=1, store=tmp_path / "s.sqlite", **options)
    for other in (stored, again):
        for name, column in one.columns.items():
            np.testing.assert_array_equal(other.columns[name], column)
        np.testing.assert_array_equal(other.flagged, one.flagged)
        np.testing.assert_array_equal(other.suggested_label, one.suggested_label)
    order = np.random.default_rng(0).permutation(60)
    there = da.value(data.take(order), method, n_jobs=1, **options)
    np.testing.assert_allclose(there.scores, one.scores[order], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(there.flagged, one.flagged[order])


@pytest.mark.parametrize("method", METHODS)
def test_a_random_model_follows_the_seed(method):
    data, options = rows(60), {"model": DecisionTreeClassifier(splitter="random"), **QUIET, **FEW.get(method, {})}
    one, same, other = (da.value(data, method, seed=seed, **options).scores for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_trainings_in_the_store_are_not_done_again(tmp_path):
    data, store = rows(), tmp_path / "s.sqlite"
    options = {"model": WatchedNB(), "store": store, **QUIET}
    for method in METHODS:
        Watched.fitted.clear()
        first = da.value(data, method, **options, **FEW.get(method, {}))
        assert len(Watched.fitted) == (0 if method == "confident-learning" else first.stats["trainings"])  # the same folds
        Watched.fitted.clear()
        da.value(data, method, **options, **FEW.get(method, {}))
        assert not Watched.fitted


@pytest.mark.parametrize("method", ["data-oob", "c-score"])
def test_stopped_early(method):
    data = rows()
    values = da.value(data, method, model=Constant(), n_models=400, stderr=0.1, **QUIET)
    assert values.stats["trainings"] == 200  # the first look
    assert "the standard error was below 0.1" in values.stats["stopped"]


BAD = [
    ({"seed": -1}, METHODS, "seed must be a whole number from 0 on, got -1"),
    ({"seed": 1.5}, ["random"], "seed must be a whole number from 0 on, got 1.5"),
    ({"n_jobs": 0}, METHODS, "n_jobs must be"),
    ({"progress": 1}, METHODS, "progress must be True or False, got 1"),
    ({"model": GaussianNB}, METHODS, "model must be an instance"),
    ({"model": 3}, METHODS, "model must be a scikit-learn estimator"),
    ({"model": LinearRegression()}, METHODS, "this is classification, and LinearRegression is a model for the other task"),
    ({"folds": 1}, METHODS[:2], "folds must be a whole number from 2 on, got 1"),
    ({"folds": 31}, METHODS[:2], "needs 31 rows for 31 folds, got 30"),
    ({"repeats": 0}, METHODS[:2], "repeats must be a whole number from 1 on, got 0"),
    ({"rank_by": "margin"}, METHODS[:2], "rank_by must be 'self_confidence' or 'normalized_margin', got 'margin'"),
    ({"judge": "rows"}, METHODS[:1], "judge must be 'folds' or 'validation', got 'rows'"),
    ({"filter": "prune"}, ["confident-learning"], "filter must be 'prune_by_noise_rate' or 'prune_by_class' or"),
    ({"probabilities": np.ones((30, 2)) / 2}, ["confident-learning"], r"30 x 3, got shape \(30, 2\)"),
    ({"probabilities": np.ones((30, 3))}, ["confident-learning"], r"sum to 1; those of row 0 are \[1.0, 1.0, 1.0\]"),
    ({"probabilities": np.tile([np.nan, 0.5, 0.5], (30, 1))}, ["confident-learning"], r"those of row 0 are \[nan"),
    ({"probabilities": np.tile([-0.5, 1, 0.5], (30, 1))}, ["confident-learning"], r"those of row 0 are \[-0.5"),
    ({"probabilities": "high"}, ["confident-learning"], "there is no file 'high' of probabilities"),
    ({"probabilities": np.eye(3), "model": GaussianNB()}, ["confident-learning"], "leave one of them out"),
    ({"n_models": 19}, METHODS[2:], "n_models must be a whole number from 20 on, got 19"),
    ({"utility": "f1"}, METHODS[2:], "utility must be None or 'accuracy' or 'probability' or 'margin'"),
    ({"settled": 2}, METHODS[2:], "settled must be None or a number above 0 and at most 1, got 2"),
    ({"budget": "soon"}, METHODS[2:], "budget must be"),
    ({"inclusion": (0.5, 1.0)}, ["c-score"], "inclusion: grid needs probabilities between 0 and 1"),
    ({"inclusion": ()}, ["c-score"], "inclusion: grid needs probabilities between 0 and 1"),
    ({"inclusion": "half"}, ["c-score"], "inclusion must be a number or a list"),
]


@pytest.mark.parametrize(("options", "method", "says"), [(o, m, s) for o, methods, s in BAD for m in methods])
def test_options_that_cannot_be(options, method, says):
    with pytest.raises(DataError, match=says) as caught:
        da.value(rows(), method, **options)
    assert "\n" not in str(caught.value)


def test_methods_that_are_about_classes():
    for method, options in (("c-score", {}), ("confident-learning", {}), ("confident-learning", {"probabilities": [[1.0]]})):
        with pytest.raises(DataError, match=f"{method} is about classes, and this is regression"):
            da.value(amounts()[0], method, **options)
    with pytest.raises(DataError, match="utility must be None or 'squared-error', got 'accuracy'"):
        da.value(amounts()[0], "data-oob", utility="accuracy")


@pytest.mark.parametrize("method", ["self-confidence", "cg-score"])
@pytest.mark.parametrize(("n", "wrong"), [(200, 0), (200, 2), (200, 10), (1000, 50)])
def test_as_many_wrong_targets_are_flagged_as_there_are(method, n, wrong):
    """Of cleanlab 2.9.0 it is 0 to 40 (findings/cleanlab-regression-flags.sh)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    y = X.sum(axis=1) + rng.normal(size=n)
    y[:wrong] += 20
    flagged = da.value(da.Dataset(X, y, task="regression"), method, progress=False).flagged
    assert flagged[:wrong].all()
    assert flagged.sum() <= wrong + 3
