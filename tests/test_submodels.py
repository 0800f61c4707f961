"""Trainings on subsets: kept by content, done once, the same bits wherever and however often they were interrupted."""

import gc
import itertools
import signal
import sqlite3
import threading
import time
import warnings
import weakref
from contextlib import closing
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import datassay as da
from children import begun, ended
from datassay.checks import DataError
from datassay.engines import designs, training_store
from datassay.engines.designs import Inclusion, Subsets
from datassay.engines.train_subsets import keys_of, train, utilities
from datassay.engines.training_store import Predictions, Store, Training, training_key
from datassay.subsets import default_model
from datassay.subsets.trainers import LogisticTrainer, RidgeTrainer, trainable
from datassay.subsets.utilities import LOWEST, log_odds, query_utility, utility_of

GRID = Inclusion("grid", (0.3, 0.7))


def digits(n=120, m=40):
    X, y = load_digits(return_X_y=True)
    names = np.array([f"digit {i}" for i in range(10)])[y]
    return da.Dataset(X[:n] / 16, names[:n], X[n : n + m] / 16, names[n : n + m])


def amounts(n=80, m=20):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n + m, 4))
    y = X @ [1.0, -2.0, 0.5, 0.0] + 0.3 * rng.normal(size=n + m)
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


@dataclass
class Counting:
    """A trainer that says who is in, and remembers how often it was asked."""

    block: int = 4
    random: bool = True
    calls: int = 0

    def __call__(self, counts, seeds, *, val, rows):
        self.calls += 1
        answers = []
        for c, seed in zip(counts, seeds, strict=True):
            said = np.array([[c.sum(), seed % 1000]], np.float32)
            answers.append(Predictions(said if val else None, c[:, None].astype(np.float32) if rows else None))
        return answers


def done(store, subsets, trainer, **options):
    study = store.study({"data": "d"})
    return study, sum(part.new for part in train(store, study, subsets, trainer, **options))


# ------------------------------------------------------------------------------------------------------------- the store


def line(counts, said, p=0.5, seed=0):
    return Training(training_key(counts, seed), counts, p, said, 0.25)


def test_what_is_put_in_comes_out(tmp_path):
    counts = np.array([[1, 0, 1, 1, 0], [2, 0, 0, 1, 2]], np.uint8)
    val, rows = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32)
    store = Store(tmp_path / "s.sqlite")
    study = store.study({"data": "d", "model": "m"})
    store.put(study, [line(counts[0], Predictions(val[0], rows[0])), line(counts[1], Predictions(val[1], None), p=np.nan)])
    store.close()
    store = Store(tmp_path / "s.sqlite")
    keys = [training_key(c, 0) for c in counts]
    ((one, two),) = store.read(study, keys, val=True, rows=True)
    np.testing.assert_array_equal(one.val, val[0])
    np.testing.assert_array_equal(one.rows, rows[0])
    np.testing.assert_array_equal(two.val, val[1])
    assert two.rows is None
    assert store.present(study, keys, val=True, rows=True) == {0}
    found, drawn = store.drawn(study, 5)  # a bag was not drawn row by row
    assert found == [keys[0]]
    np.testing.assert_array_equal(drawn.counts, counts[:1])
    assert store.seconds(study) == 0.5
    assert store.studies() == [{"data": "d", "model": "m", "trainings": 2}]
    assert store.study({"data": "other"}) != study
    # the same training, which now says more
    store.put(study, [line(counts[1], Predictions(None, rows[1]))])
    ((both,),) = store.read(study, keys[1:], val=True, rows=True)
    np.testing.assert_array_equal(both.val, val[1])
    np.testing.assert_array_equal(both.rows, rows[1])
    assert len(store) == 2


class Interrupting:
    """A connection during one of whose statements Ctrl-C is pressed: it is heard when the statement has been carried out."""

    def __init__(self, file, at):
        self.file, self.at = file, at

    def __getattr__(self, name):
        return getattr(self.file, name)

    def _after(self, what, statement, *arguments):
        found = what(statement, *arguments)
        if statement.startswith(self.at):
            raise KeyboardInterrupt
        return found

    def execute(self, *arguments):
        return self._after(self.file.execute, *arguments)

    def executemany(self, *arguments):
        return self._after(self.file.executemany, *arguments)


@pytest.mark.parametrize(("at", "kept"), [("BEGIN", 0), ("INSERT", 0), ("COMMIT", 1)])
def test_ctrl_c_while_it_is_written_leaves_all_or_nothing(at, kept):
    store = Store()
    study, counts = store.study({"data": "d"}), np.array([[1, 0], [0, 1]], np.uint8)
    whole = store._file
    store._file = Interrupting(whole, at)
    with pytest.raises(KeyboardInterrupt):
        store.put(study, [line(counts[0], Predictions(np.zeros((1, 1), np.float32), None))])
    store._file = whole
    assert len(store) == kept
    store.put(study, [line(c, Predictions(np.zeros((1, 1), np.float32), None)) for c in counts])
    assert len(store) == 2


def test_bags_and_masks_are_told_apart():
    for n in (4, 8, 9, 64, 1000):
        rng = np.random.default_rng(n)
        mask, bag = rng.integers(0, 2, n).astype(np.uint8), rng.integers(0, 4, n).astype(np.uint8)
        bag[0] = 3
        for counts in (mask, bag, np.zeros(n, np.uint8)):
            np.testing.assert_array_equal(training_store._unpacked(training_store._packed(counts), n), counts)
        assert training_key(mask, 0) != training_key(mask, 1)


def test_two_stores_merge(tmp_path):
    trainer = Counting()
    subsets = GRID.draw(30, 0, 0, 40)
    one, two = Store(tmp_path / "one.sqlite"), Store(tmp_path / "two.sqlite")
    done(one, Subsets(subsets.counts[:24], subsets.p[:24]), trainer)
    done(two, Subsets(subsets.counts[16:], subsets.p[16:]), trainer)
    two.close()
    assert one.merge(tmp_path / "two.sqlite") == 16
    assert one.merge(tmp_path / "two.sqlite") == 0
    asked = trainer.calls
    _, new = done(one, subsets, trainer)
    assert (new, trainer.calls) == (0, asked)
    # what one says of the rows is added to what the other says of the validation rows
    three = Store(tmp_path / "three.sqlite")
    study, _ = done(three, Subsets(subsets.counts[:4], subsets.p[:4]), trainer, rows=True, val=False)
    three.close()
    one.merge(tmp_path / "three.sqlite")
    assert len(one.present(study, keys_of(subsets, trainer, 0), val=True, rows=True)) == 4


def test_a_file_says_its_format(tmp_path):
    path = tmp_path / "s.sqlite"

    def version(new=None):
        with closing(sqlite3.connect(path)) as file:
            if new is not None:
                file.execute(f"PRAGMA user_version = {new}")
            return file.execute("PRAGMA user_version").fetchone()[0]

    Store(path).close()
    assert version() == 2
    assert version(0) == 0  # as files were before they had a number
    Store(path).close()
    assert version() == 2
    version(3)
    with pytest.raises(
        ValueError, match=r"a store of format 3, and this version of datassay reads formats up to 2: install"
    ):
        Store(path)
    assert version() == 3


def test_a_store_is_closed_by_whatever_thread(tmp_path, recwarn):
    held = [Store(tmp_path / "s.sqlite")]
    threading.Thread(target=held.clear).start()
    while held:
        time.sleep(0.01)
    gc.collect()
    assert not recwarn.list


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to look like one\n" * 40)
    with pytest.raises(ValueError, match="no store of trainings"):
        Store(tmp_path / "text")
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as other, other:
        other.execute("CREATE TABLE cats (name TEXT)")
    with pytest.raises(ValueError, match="another kind, with tables cats"):
        Store(tmp_path / "other.sqlite")
    with pytest.raises(ValueError, match="in a folder that can be written to"):
        Store(tmp_path / "nowhere" / "s.sqlite")
    with pytest.raises(ValueError, match="there is no file"):
        Store().merge(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"ame: .*no store of trainings"):
        da.value(digits(), method="ame", store=tmp_path / "text")


# -------------------------------------------------------------------------------------------------------------- training


def test_nothing_is_trained_twice():
    store, trainer = Store(), Counting()
    subsets = GRID.draw(30, 0, 0, 40)
    _, new = done(store, subsets, trainer)
    assert (new, trainer.calls) == (40, 10)
    _, new = done(store, subsets, trainer)
    assert (new, trainer.calls) == (0, 10)
    _, new = done(store, GRID.draw(30, 0, 0, 48), trainer)  # a larger budget
    assert (new, trainer.calls) == (8, 12)
    done(store, subsets, trainer, rows=True, val=False)  # another question
    assert trainer.calls == 22
    done(store, subsets, trainer, seed=1)
    assert trainer.calls == 32


def test_whole_blocks_are_trained_so_that_bits_do_not_depend_on_where_it_stopped():
    store, trainer = Store(), Counting()
    subsets = GRID.draw(30, 0, 0, 12)
    done(store, Subsets(subsets.counts[5:6], subsets.p[5:6]), trainer)
    seen = []
    real = trainer.__class__.__call__

    class Watched(Counting):
        def __call__(self, counts, seeds, **wanted):
            seen.append(len(counts))
            return real(self, counts, seeds, **wanted)

    _, new = done(store, subsets, Watched())
    assert seen == [4, 4, 4]
    assert new == 11


def test_seeds_follow_from_the_rows_that_are_in():
    store, trainer = Store(), Counting()
    subsets = GRID.draw(30, 0, 0, 8)
    study, _ = done(store, subsets, trainer)
    turned = Subsets(subsets.counts[::-1], subsets.p[::-1])
    said = utilities(store, study, keys_of(turned, trainer, 0), lambda s: s[:, 0, 1])
    assert len(set(said.tolist())) == 8
    other, _ = done(Store(), turned, trainer)
    again = Store()
    study, _ = done(again, turned, trainer)
    np.testing.assert_array_equal(utilities(again, study, keys_of(turned, trainer, 0), lambda s: s[:, 0, 1]), said)
    assert other == study
    done(again, subsets, trainer, same_seed=True, seed=77)
    one = utilities(again, study, keys_of(subsets, trainer, 77, same_seed=True), lambda s: s[:, 0, 1])
    assert set(one.tolist()) == {77.0}


@pytest.mark.parametrize("model", [None, RandomForestClassifier(5, max_depth=3)], ids=["default", "forest"])
def test_the_same_bits_for_any_workers(model):
    data, subsets = digits(), GRID.draw(120, 0, 0, 48)
    trainer = trainable(data, model, "test").trainer

    def run(**options):
        store = Store()
        study, new = done(store, subsets, trainer, **options)
        assert new == 48
        return utilities(store, study, keys_of(subsets, trainer, 0), lambda s: s.astype(float))

    alone = run(n_jobs=1)
    assert np.ptp(alone) > 1
    np.testing.assert_array_equal(run(n_jobs=2), alone)
    for backend in ("threading", "loky"):
        with parallel_config(backend, n_jobs=2):
            np.testing.assert_array_equal(run(), alone)


def valued(store, out):
    X, y = load_digits(return_X_y=True)
    data = da.Dataset(X[:120] / 16, y[:120], X[120:160] / 16, y[120:160])
    model = MLPClassifier((8,), max_iter=20, solver="sgd")
    warnings.simplefilter("ignore")  # it has not converged
    options = {"model": model, "n_models": 120, "knockoff": None, "n_jobs": 1, "progress": False}
    da.value(data, method="ame", store=store, **options).save(out)


def test_a_run_killed_three_times_goes_on_to_the_same_bits(tmp_path):
    alone = tmp_path / "alone.parquet"
    assert ended(valued, tmp_path / "a.sqlite", alone) == 0
    held = []
    for _ in range(3):
        running = begun(valued, tmp_path / "b.sqlite", tmp_path / "killed.parquet")
        before, now, begin = (held[-1] if held else 0), 0, time.monotonic()
        while time.monotonic() - begin < 120:
            time.sleep(0.01)
            try:
                with closing(sqlite3.connect(f"file:{tmp_path / 'b.sqlite'}?mode=ro", uri=True)) as file:
                    now = file.execute("SELECT count(*) FROM training").fetchone()[0]
            except sqlite3.OperationalError:  # not there yet
                continue
            if now >= before + 12:
                break
        running.kill()
        running.join()
        assert running.exitcode == -signal.SIGKILL
        held.append(now)
    assert held == sorted(held)
    assert held[-1] < 120
    assert ended(valued, tmp_path / "b.sqlite", tmp_path / "killed.parquet") == 0
    one, other = da.Values.load(alone), da.Values.load(tmp_path / "killed.parquet")
    assert np.ptp(one.scores) > 0
    np.testing.assert_array_equal(other.scores, one.scores)


# ---------------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("model", [GaussianNB(), LinearSVC(), KNeighborsClassifier(3)], ids=lambda m: type(m).__name__)
def test_an_estimator_is_fitted_on_the_rows_that_are_in(model):
    data = digits()
    trainer = trainable(data, model, "test").trainer
    counts = np.zeros((4, 120), np.uint8)
    counts[0, :60] = 1
    counts[1, 30:90] = np.random.default_rng(0).integers(0, 4, 60)
    counts[2, data.codes == 3] = 1  # one class alone
    said = trainer(counts, [0, 1, 2, 3], val=True, rows=True)
    for c, s in zip(counts[:2], said[:2], strict=True):
        rows = np.repeat(np.arange(120), c)
        fitted = model.__class__(**model.get_params()).fit(data.X[rows], data.y[rows])
        for X, answer in ((data.X_val, s.val), (data.X, s.rows)):
            assert answer.dtype == np.float32
            np.testing.assert_array_equal(data.labels_of(answer.argmax(1)), fitted.predict(X))
            if hasattr(fitted, "predict_proba"):
                columns = [data.classes.index(label) for label in fitted.classes_]
                np.testing.assert_allclose(np.exp(answer[:, columns]), fitted.predict_proba(X), atol=1e-6)
                assert (np.delete(answer, columns, axis=1) == np.float32(LOWEST)).all()
    np.testing.assert_array_equal(said[2].val.argmax(1), 3)
    np.testing.assert_allclose(np.exp(said[2].val[:, 3]), 1)
    np.testing.assert_allclose(np.exp(said[3].val), 0.1, rtol=1e-6)  # no row at all


class Locked(ClassifierMixin, BaseEstimator):
    """What can't be copied: the constructor makes a lock."""

    def __init__(self, depth=3, random_state=None):
        self.depth, self.random_state, self._lock = depth, random_state, threading.Lock()

    def fit(self, X, y):
        self._tree = DecisionTreeClassifier(max_depth=self.depth, random_state=self.random_state).fit(X, y)
        self.classes_ = self._tree.classes_
        return self

    def predict(self, X):
        return self._tree.predict(X)

    def predict_proba(self, X):
        return self._tree.predict_proba(X)


class Frozen(TransformerMixin, BaseEstimator):
    """An embedding that is not to be copied: it says so to scikit-learn."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        assert self is FROZEN
        return X

    def __sklearn_clone__(self):
        return self


FROZEN = Frozen()


def test_what_is_not_to_be_copied_is_made_anew_or_shared():
    data = digits()
    options = {"n_models": 30, "n_jobs": 1, "progress": False}
    locked = da.value(data, "banzhaf", model=Locked(), **options)
    tree = da.value(data, "banzhaf", model=DecisionTreeClassifier(max_depth=3), **options)
    np.testing.assert_array_equal(locked.scores, tree.scores)  # with the same seeds
    assert (
        np.ptp(da.value(data, "banzhaf", model=make_pipeline(FROZEN, DecisionTreeClassifier(max_depth=3)), **options).scores)
        > 0
    )


def test_logistic_regression_is_that_of_scikit_learn():
    data = digits()
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
    trainer = trainable(data, model, "test", tol=1e-9).trainer
    assert isinstance(trainer, LogisticTrainer)
    counts = np.random.default_rng(0).integers(0, 3, (3, 120)).astype(np.uint8)
    for c, s in zip(counts, trainer(counts, [0] * 3, val=True, rows=False), strict=True):
        rows = np.repeat(np.arange(120), c)
        fitted = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(data.X[rows], data.codes[rows])
        np.testing.assert_allclose(s.val, fitted.predict_log_proba(data.X_val), atol=1e-4)
        assert s.rows is None


@pytest.mark.parametrize("model", [Ridge(alpha=2.0), LinearRegression(), DecisionTreeRegressor(max_depth=3)], ids=repr)
def test_amounts(model):
    data = amounts()
    made = trainable(data, model, "test")
    assert isinstance(made.trainer, RidgeTrainer) == isinstance(model, Ridge)
    counts = np.random.default_rng(0).integers(0, 3, (2, 80)).astype(np.uint8)
    counts[1] = 0
    some, none = made.trainer(counts, [5, 6], val=True, rows=True)
    rows = np.repeat(np.arange(80), counts[0])
    options = {"random_state": 5} if "random_state" in model.get_params() else {}
    fitted = model.__class__(**model.get_params() | options).fit(data.X[rows], data.codes[rows])
    np.testing.assert_allclose(some.val[:, 0], fitted.predict(data.X_val), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(some.rows[:, 0], fitted.predict(data.X), rtol=1e-5, atol=1e-6)
    assert np.ptp(none.val) == 0


def test_the_default_model_fits_better_than_chance_and_takes_any_unit():
    data = digits(300, 100)
    everything = np.ones((1, 300), np.uint8)
    (said,) = trainable(data, None, "test").trainer(everything, [0], val=True, rows=False)
    assert (said.val.argmax(1) == data.codes_val).mean() > 0.85
    scale = np.where(np.arange(64) % 2, 1000.0, 0.01)
    other = da.Dataset(data.X * scale, data.y, data.X_val * scale, data.y_val)
    (there,) = trainable(other, None, "test").trainer(everything, [0], val=True, rows=False)
    assert (there.val.argmax(1) == data.codes_val).mean() > 0.8


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (LinearRegression(), "this is classification, and LinearRegression is a model for the other task"),
        (3, "must be a scikit-learn estimator, a torch nn.Module, or a function"),
        (GaussianNB, "must be an instance, GaussianNB\\(\\) say"),
    ],
)
def test_what_is_no_model_is_refused(model, says):
    with pytest.raises(DataError, match=says):
        trainable(digits(), model, "test")


def test_the_penalty_is_chosen_by_rows_that_were_not_seen():
    """To models that begin where they have seen the rows of their fold, the weakest penalty looks best."""
    X, y = load_digits(return_X_y=True)
    data = da.Dataset(X[:200], y[:200])
    C, together = default_model._choose(data)
    X, fold = default_model.scaled(data, together=together)[0], np.arange(200) % 3

    def likelihood(C):
        said = np.empty(200)
        for k in range(3):
            fitted = LogisticRegression(C=C, tol=1e-6, max_iter=5000).fit(X[fold != k], data.codes[fold != k])
            said[fold == k] = fitted.predict_log_proba(X[fold == k])[np.arange((fold == k).sum()), data.codes[fold == k]]
        return said.mean()

    assert C < 30
    assert likelihood(C) > likelihood(1000) + 0.01


def test_models_are_told_apart_by_what_their_functions_do():
    from sklearn.preprocessing import FunctionTransformer

    def text(function):
        return trainable(digits(), make_pipeline(FunctionTransformer(function), GaussianNB()), "test").text

    def scaling(factor):
        return lambda X: factor * X

    assert text(scaling(2)) == text(scaling(2))
    assert len({text(scaling(2)), text(scaling(3)), text(np.sqrt), text(np.square), text(None)}) == 5


def test_a_subset_that_a_model_can_not_take_is_one_sentence():
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

    with pytest.raises(DataError, match=r"could not be fitted on a subset of \d+ rows .*draw larger subsets"):
        da.value(digits(), method="ame", model=QuadraticDiscriminantAnalysis(), n_models=40, progress=False)


# ------------------------------------------------------------------------------------------------------------- utilities


def test_utilities_are_what_scikit_learn_reckons():
    data = digits()
    model = GaussianNB(var_smoothing=1.0)
    subsets = GRID.draw(120, 0, 0, 6)
    said = np.stack([s.val for s in trainable(data, model, "test").trainer(subsets.counts, [0] * 6, val=True, rows=False)])
    for name in ("accuracy", "neg_log_loss", "f1_macro", "balanced_accuracy"):
        scorer, found = get_scorer(name), utility_of(data, name, "test")(said)
        for c, value in zip(subsets.counts, found, strict=True):
            rows = np.repeat(np.arange(120), c)
            if len(set(data.y[rows])) == 10 or name != "neg_log_loss":
                fitted = GaussianNB(var_smoothing=1.0).fit(data.X[rows], data.y[rows])
                assert value == pytest.approx(scorer(fitted, data.X_val, data.y_val), abs=2e-4)
    own = np.take_along_axis(said, data.codes_val[None, :, None], 2)[..., 0].astype(float)
    np.testing.assert_allclose(utility_of(data, "probability", "t")(said), np.exp(own).mean(1), rtol=1e-6)
    np.testing.assert_allclose(
        utility_of(data, "log-likelihood", "t")(said), np.maximum(own, np.log(1e-6)).mean(1), rtol=1e-6
    )
    odds = np.clip(np.exp(own), 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(utility_of(data, None, "t")(said), np.log(odds / (1 - odds)).mean(1), rtol=1e-4)
    with pytest.raises(DataError, match="utility must be 'margin', 'accuracy'"):
        utility_of(data, "acuracy", "test")


def test_utilities_of_amounts():
    data = amounts()
    subsets = GRID.draw(80, 0, 0, 3)
    said = np.stack([s.val for s in trainable(data, None, "test").trainer(subsets.counts, [0] * 3, val=True, rows=False)])
    error = ((said[..., 0] - data.codes_val) ** 2).mean(1)
    np.testing.assert_allclose(utility_of(data, None, "test")(said), -error / data.codes.var(), rtol=1e-6)
    r2 = 1 - error / data.codes_val.var()
    np.testing.assert_allclose(utility_of(data, "r2", "test")(said), r2, rtol=1e-5)


def test_equal_probabilities_are_right_in_equal_shares():
    data = digits()
    nothing = np.full((1, 40, 10), np.log(0.1), np.float32)
    assert utility_of(data, "accuracy", "test")(nothing)[0] == pytest.approx(0.1)


def test_one_query():
    data = digits()
    said = np.log(np.random.default_rng(0).dirichlet(np.ones(10), (5, 40))).astype(np.float32)
    worth, own = query_utility(data, 7, None, "test")
    assert own
    np.testing.assert_allclose(worth(said), log_odds(said[:, 7, data.codes_val[7]]))
    label = data.classes[(data.codes_val[7] + 1) % 10]
    worth, own = query_utility(data, 7, label, "test")
    assert not own
    np.testing.assert_allclose(worth(said), log_odds(said[:, 7, (data.codes_val[7] + 1) % 10]))
    for query, label in ((40, None), (-1, None), (True, None), (0, "no such")):
        with pytest.raises(DataError, match=r"query must be|label must be"):
            query_utility(data, query, label, "test")


def test_rows_are_found_by_their_places():
    assert sorted(designs.places(range(50)).tolist()) == list(range(50))


def test_a_penalty_is_chosen_once_for_the_same_rows_and_keeps_none_of_them(monkeypatch):
    chosen = []

    def choose(data):
        chosen.append(weakref.ref(data))
        return 1.0, False

    monkeypatch.setattr(default_model, "_choose", choose)
    default_model._choice.cache_clear()
    X, y = load_digits(return_X_y=True)

    def rows(n=200, standardise=None):
        return da.Dataset(X[:n], y[:n], standardise=standardise)

    data, again = rows(), rows()
    for one in (data, again, data.take(np.arange(200)), rows(201), rows(201)):
        assert default_model.default_C(one) == (1.0, False)
    assert len(chosen) == 2
    again.standardised = True  # the same numbers, to be taken as they are
    default_model.default_C(again)
    assert len(chosen) == 3
    del one, data, again
    gc.collect()
    assert [held() for held in chosen] == [None] * 3
    assert default_model._choice.cache_info().maxsize == default_model.KNOWN
    default_model._choice.cache_clear()


def test_a_flipped_bit_is_an_error_and_never_another_training(tmp_path):
    path = tmp_path / "s.sqlite"
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2, (6, 50)).astype(np.uint8)
    keys = [training_key(c, 0) for c in counts]
    with closing(Store(path)) as store:
        study = store.study({"data": "abc"})
        said = [
            Predictions(rng.normal(size=(8, 2)).astype(np.float32), rng.normal(size=(50, 2)).astype(np.float32))
            for _ in keys
        ]
        store.put(study, [Training(k, c, 0.5, s, 0.1) for k, c, s in zip(keys, counts, said, strict=True)])
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
    was = path.read_bytes()
    found = {"error": 0, "same": 0, "absent": 0}
    for bit in rng.integers(0, 8 * len(was), 300):
        now = bytearray(was)
        now[bit // 8] ^= 1 << bit % 8
        path.write_bytes(now)
        try:
            with closing(Store(path)) as store:
                there = store.present(study, keys, val=True, rows=True)
                which = [i for i in range(len(keys)) if i in there]
                parts = store.read(study, [keys[i] for i in which], val=True, rows=True)
                for i, told in zip(which, itertools.chain.from_iterable(parts), strict=True):
                    assert all((a == b).all() for a, b in zip(told, said[i], strict=True))
                back, subsets = store.drawn(study, 50)
                for key, row, p in zip(back, subsets.counts, subsets.p, strict=True):
                    assert p == 0.5
                    assert (row == counts[keys.index(key)]).all()
                found["same" if len(there) == len(keys) == len(back) else "absent"] += 1
        except ValueError:  # DataError is one
            found["error"] += 1
        for beside in tmp_path.glob("s.sqlite-*"):
            beside.unlink()
    assert found["error"] > 20


def test_a_store_that_can_only_be_read_is_used(tmp_path):
    path = tmp_path / "s.sqlite"
    counts = np.eye(3, dtype=np.uint8)
    with closing(Store(path)) as store:
        study = store.study({"data": "abc"})
        store.put(
            study,
            [Training(training_key(c, 0), c, 0.5, Predictions(np.zeros((2, 2), np.float32), None), 0.1) for c in counts],
        )
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
    refused = sqlite3.OperationalError("attempt to write a readonly database")
    with mock.patch.object(Store, "_open", side_effect=refused), closing(Store(path)) as store:
        assert store.study({"data": "abc"}) == study
        assert len(store.present(study, [training_key(c, 0) for c in counts], val=True, rows=False)) == 3
        assert len(next(store.read(study, [training_key(counts[0], 0)], val=True, rows=False))) == 1
        with pytest.raises(DataError, match="can't be written to"):
            store.study({"data": "other"})


def test_a_store_of_the_format_before_is_read_and_added_to(tmp_path):
    path = tmp_path / "s.sqlite"
    one, two = np.eye(2, dtype=np.uint8)
    with closing(Store(path)) as store:
        study = store.study({"data": "abc"})
        store.put(study, [Training(training_key(one, 0), one, 0.5, Predictions(np.ones((2, 2), np.float32), None), 0.1)])
    with closing(sqlite3.connect(path)) as file:
        file.execute("ALTER TABLE training DROP COLUMN digest")
        file.execute("PRAGMA user_version = 1")
    with closing(Store(path)) as store:
        store.put(study, [Training(training_key(two, 0), two, 0.5, Predictions(np.ones((2, 2), np.float32), None), 0.1)])
        store.put(study, [Training(training_key(one, 0), one, np.nan, Predictions(None, np.ones((2, 2), np.float32)), 0.1)])
        both = [training_key(one, 0), training_key(two, 0)]
        assert len(next(store.read(study, both, val=True, rows=False))) == 2
        assert store.present(study, both, val=True, rows=True) == {0}
