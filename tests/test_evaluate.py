"""`evaluate`: what is planted, what is measured, and that cells are kept: against definitions, brute force, and runs that were killed."""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.metrics import auc as area
from sklearn.metrics import roc_auc_score

import datassay as da
from children import begun
from command import run
from datassay.checks import DataError
from datassay.engines.training import Recipe
from datassay.evaluation import TASKS, by_tenths, plant
from datassay.evaluation.bench import NAMES, _agreement, bench_file
from datassay.evaluation.cells import Cell, CellResult, Sizes, Source, key, load_cell
from datassay.evaluation.datasets import drawn
from datassay.evaluation.detection import detection, found_area, found_curve, two_groups
from datassay.evaluation.subsets import accuracies, by_class, removed, windows
from datassay.evaluation.tasks import (
    Case,
    Learner,
    addition_outcome,
    detection_outcome,
    removal_outcome,
    stream,
    takes,
    window_outcome,
    with_errors,
    with_poison,
)
from datassay.methods.spec import method_of


def three_classes(n=90, d=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(n, d)) + 4 * np.eye(3, d)[y]
    return da.Dataset(X, np.array(["a", "b", "c"])[y], X[:30] + 0.1, np.array(["a", "b", "c"])[y[:30]])


# ---------------------------------------------------------------------------------------------------------------- planting


def test_errors_like_people_s_lie_where_classes_meet():
    """ "near": rows with neighbours of another class first, and that class's label; "confused": any row of a class that has such."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 1, 200), rng.normal(3, 1, 200), rng.normal(30, 1, 200)]
    data = da.Dataset(np.c_[x, x], np.repeat(["left", "middle", "far"], 200))
    near, wrong = plant(data, "near", 0.05, seed=1)
    assert wrong.sum() == 30
    assert np.array_equal(near.y != data.y, wrong)
    assert np.mean(np.abs(x[wrong] - 1.5) < 1) > 0.6 > 0.4 > np.mean(np.abs(x[:400] - 1.5) < 1)
    confused, mistaken = plant(data, "confused", 0.2, seed=1)
    pairs = set(zip(data.y[mistaken].tolist(), confused.y[mistaken].tolist(), strict=True))
    often = [
        np.mean((data.y[mistaken] == a) & (confused.y[mistaken] == b)) for a, b in (("left", "middle"), ("middle", "left"))
    ]
    assert sum(often) > 0.55
    assert len(pairs) > 2  # none is out of the question
    assert np.mean(np.abs(x[mistaken] - 1.5) < 1) < 0.5
    again, _ = plant(data, "near", 0.05, seed=1)
    assert np.array_equal(again.y, near.y)
    with pytest.raises(da.DataError, match="'near' and 'confused' are about classes"):
        plant(da.Dataset(np.eye(9), np.arange(9.0) + 0.5, task="regression"), "near", 0.2)


@pytest.mark.parametrize("kind", ["uniform", "pair-flip", "near", "confused", "features", "mixed"])
def test_the_rows_that_are_said_to_be_wrong_are_those_that_changed(kind):
    data = three_classes()
    spoilt, wrong = plant(data, kind, 0.2, seed=3)
    changed = (spoilt.y != data.y) | (np.asarray(spoilt.X) != np.asarray(data.X)).any(1)
    np.testing.assert_array_equal(changed, wrong)
    assert wrong.sum() == 18
    np.testing.assert_array_equal(spoilt.ids, data.ids)
    np.testing.assert_array_equal(spoilt.X_val, data.X_val)
    np.testing.assert_array_equal(spoilt.y_val, data.y_val)
    again, same = plant(data, kind, 0.2, seed=3)
    np.testing.assert_array_equal(same, wrong)
    np.testing.assert_array_equal(again.X, spoilt.X)
    assert (plant(data, kind, 0.2, seed=4)[1] != wrong).any()


def test_uniform_takes_every_other_class_alike_and_pair_flip_the_next():
    data = three_classes(9000)
    spoilt, wrong = plant(data, "uniform", 0.5)
    step = (spoilt.codes - data.codes)[wrong] % 3
    assert abs((step == 1).mean() - 0.5) < 0.03
    spoilt, wrong = plant(data, "pair-flip", 0.5)
    assert set((spoilt.codes - data.codes)[wrong] % 3) == {1}
    mixed, wrong = plant(data, "mixed", 0.5)
    assert (mixed.y != data.y).sum() == 2250
    noise = (np.asarray(mixed.X) - np.asarray(data.X))[(mixed.y == data.y) & wrong]
    assert noise.std() == pytest.approx(np.asarray(data.X).std(), rel=0.03)
    assert abs(noise.mean()) < 0.05


def test_an_amount_becomes_that_of_another_row():
    y = np.arange(40.0) + 0.5
    data = da.Dataset(np.eye(40), y)
    spoilt, wrong = plant(data, "uniform", 0.25)
    assert wrong.sum() == 10
    assert (spoilt.y[wrong] != y[wrong]).all()
    assert set(spoilt.y[wrong]) <= set(y)


def test_labels_of_people():
    data = three_classes()
    human = data.y.copy()
    human[:20] = np.roll(human[:20], 1)
    spoilt, wrong = plant(data, "human", 0, human=human)
    np.testing.assert_array_equal(wrong, human != data.y)
    np.testing.assert_array_equal(spoilt.y, human)
    some, fewer = plant(data, "human", 0.1, human=human)
    assert fewer.sum() == 9
    assert (wrong | ~fewer).all()
    np.testing.assert_array_equal(some.y != data.y, fewer)


@pytest.mark.parametrize(
    ("kind", "rate", "more", "says"),
    [
        (
            "gaussian",
            0.1,
            {},
            "kind must be one of uniform, pair-flip, balanced, near, confused, human, features, mixed, got 'gaussian'",
        ),
        ("uniform", 0, {}, "rate must be between 0 and 1, got 0"),
        ("uniform", 1.0, {}, "rate must be between"),
        ("human", 0, {}, "needs the 90 labels that people gave, one a row, got none"),
        ("human", 0, {"human": ["a"]}, "got 1"),
        ("human", 0.5, {"human": None}, "got none"),
    ],
)
def test_what_cannot_be_planted_is_said(kind, rate, more, says):
    with pytest.raises(DataError, match=says):
        plant(three_classes(), kind, rate, **more)
    with pytest.raises(DataError, match=r"a rate of 0\.5 can't be had"):
        plant(three_classes(), "human", 0.5, human=three_classes().y)


# --------------------------------------------------------------------------------------------------------------- measures


def test_measures_are_their_definitions():
    rng = np.random.default_rng(0)
    for _ in range(5):
        wrong = rng.random(200) < 0.2
        scores = np.round(rng.normal(size=200) - wrong, 1)  # with ties
        assert detection(scores, wrong)["auc"] == pytest.approx(roc_auc_score(wrong, -scores))
        x, y = found_curve(scores, wrong, points=201)
        order = np.argsort(scores, kind="stable")
        slow = [wrong[order[:k]].sum() / wrong.sum() for k in range(201)]
        np.testing.assert_allclose(y, slow, atol=1e-12)
        assert found_area(scores, wrong) == pytest.approx(area(x, slow))
    assert found_area(-wrong.astype(float), wrong) == pytest.approx(1 - wrong.mean() / 2)  # the wrong rows first


def test_two_groups_of_random_scores_are_what_theory_says():
    """METHODS E19: i.i.d. uniform scores give mean F1 rate / (1/2 + rate) over rates; constants about 0."""
    rng = np.random.default_rng(0)
    rates = (0.05, 0.1, 0.15, 0.2)
    got = [two_groups(rng.random(2000), np.arange(2000) < rate * 2000) for rate in rates for _ in range(10)]
    assert np.mean(got) == pytest.approx(0.193, abs=0.01)
    assert two_groups(np.ones(100), np.arange(100) < 10) == 0
    assert two_groups(np.r_[-np.inf, -1.0, np.full(98, 5.0)], np.arange(100) < 2) == 1.0  # what is infinite is the lowest


def test_ranks_of_infinite_scores_count():
    wrong = np.array([True, False, False, True])
    assert detection(np.array([-np.inf, 1.0, np.inf, 0.0]), wrong)["auc"] == 1.0


def test_what_is_measured_of_flags_and_of_the_first_tenth():
    n, wrong = 40, np.arange(40) < 8
    scores = np.arange(40.0)
    scores[[0, 39]] = scores[[39, 0]]  # one wrong row has the highest score
    flagged = np.isin(np.arange(n), [1, 2, 3, 20])
    values = da.Values(np.arange(n), scores, flagged, {}, "random")
    case = Case(da.Dataset(np.eye(n), np.arange(n) % 2), wrong, None, 0)
    got = detection_outcome(case, values, Learner())
    assert got.metrics["recall_10"] == 3 / 8  # of the first four
    assert got.metrics["flag_recall"] == 3 / 8
    assert got.metrics["flag_precision"] == 3 / 4
    assert got.metrics["flagged"] == 4 / 40
    assert got.metrics["precision"] == 7 / 8
    x, y = got.curves["found"]
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    with pytest.raises(DataError, match="no wrong row to find"):
        detection_outcome(case._replace(wrong=np.zeros(n, bool)), values, Learner())


# ---------------------------------------------------------------------------------------------------------------- subsets


def test_the_same_share_of_each_class_goes():
    scores, codes = np.random.default_rng(0).normal(size=60), np.repeat([0, 1], [40, 20])
    masks = removed(by_class(scores, codes), (0.0, 0.25, 0.5))
    for side, worst in (("low", np.argsort), ("high", lambda s: np.argsort(-s))):
        assert masks[side].sum(1).tolist() == [60, 45, 30]
        for mask, share in zip(masks[side], (0.0, 0.25, 0.5), strict=True):
            for c in (0, 1):
                rows = np.flatnonzero(codes == c)
                gone = rows[worst(scores[rows])[: round(share * len(rows))]]
                assert set(np.flatnonzero(~mask & (codes == c))) == set(gone)


def test_windows_go_from_the_highest_scores_to_the_lowest():
    scores = np.arange(20.0)
    masks = windows(by_class(scores, None), (0.0, 0.25, 0.5))
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [
        list(range(10, 20)),
        list(range(5, 15)),
        list(range(10)),
    ]


def test_accuracies_are_those_of_trainings_one_by_one():
    data = three_classes(60, seed=1)
    test = three_classes(90, seed=2)
    X_test, y_test = np.asarray(test.X), test.y
    masks = removed(by_class(np.random.default_rng(0).normal(size=60), data.codes), (0.0, 0.3, 0.6))
    got = accuracies(data, X_test, y_test, masks, LogisticRegression(C=0.5))
    for side, some in masks.items():
        slow = [LogisticRegression(C=0.5).fit(data.X[m], data.y[m]).score(X_test, y_test) for m in some]
        np.testing.assert_allclose(got[side], slow, atol=1e-12)


def test_leaving_wrong_rows_out_helps_and_right_ones_hurts():
    """Planted, and scored by who knows: the low end must go first."""
    split = drawn("2dplanes", train=300, val=50, test=1000)
    spoilt, wrong = plant(split.data, "pair-flip", 0.4)
    values = da.Values(spoilt.ids, 1.0 - wrong, wrong, {}, "random")
    got = removal_outcome(Case(spoilt, wrong, split, 0), values, Learner())
    assert got.metrics["remove_low_area"] > got.metrics["remove_high_area"] + 0.05
    assert got.metrics["gap"] > 0.02
    assert got.metrics["best_gain"] > 0
    assert set(got.curves) == {"remove-high", "remove-low", "remove-high-by-class", "remove-low-by-class"}


def test_half_windows_and_growing_sets_are_trained_as_said():
    split = drawn("wine", train=90, val=20, test=60)
    scores = np.random.default_rng(0).normal(size=len(split.data))
    values = da.Values(split.data.ids, scores, scores < -1, {}, "random")
    case, learner = Case(split.data, scores < 0, split, 0), Learner(LogisticRegression(C=0.5))
    place = by_class(scores, split.data.codes)

    def fitted(mask):
        model = LogisticRegression(C=0.5).fit(np.asarray(split.data.X)[mask], split.data.codes[mask])
        return model.score(np.asarray(split.X_test), split.codes_test)

    got = window_outcome(case, values, learner)
    x, y = got.curves["window"]
    assert y[0] == pytest.approx(fitted(place > 0.5 - 1e-9 - 1 / 200), abs=0.04)
    assert y[-1] == pytest.approx(fitted(place < 0.5), abs=0.04)
    assert got.metrics["best"] == y.max()
    assert got.metrics["best_offset"] == x[y.argmax()]
    got = addition_outcome(case, values, learner)
    x, y = got.curves["add-low"]
    assert y[list(x).index(0.5)] == pytest.approx(fitted(place < 0.5))
    assert y[-1] == pytest.approx(fitted(np.ones(len(place), bool)))
    assert got.metrics["gap"] == pytest.approx(got.curves["add-high"][1].mean() - y.mean())
    pruning = removal_outcome(case, values, learner)
    x, y = pruning.curves["remove-low-by-class"]
    assert y[list(x).index(0.3)] == pytest.approx(fitted(place >= 0.3 - 1e-9))
    assert pruning.metrics["best_gain"] == pytest.approx(y.max() - y[0])


# --------------------------------------------------------------------------------------------------------------- evaluate


def test_any_number_of_workers_gives_the_same_bits_and_the_sign_is_right():
    asked = {"data": ["iris", "wine"], "methods": ["cg-score", "knn-shapley k=3", "random"], "rates": [0.1, 0.2], "seeds": 2}
    one, two = da.evaluate(**asked, n_jobs=1), da.evaluate(**asked, n_jobs=2)
    timeless = one.results["metric"] != "seconds"
    pd.testing.assert_frame_equal(one.results[timeless], two.results[two.results["metric"] != "seconds"])
    pd.testing.assert_frame_equal(one.curves, two.curves)
    pd.testing.assert_frame_equal(one.agreement, two.agreement)
    table = one.table("auc")
    assert (table.loc[["cg-score", "knn-shapley k=3"], "mean"] > 0.85).all()
    assert table.index[-1] == "random"
    cells = one.results.groupby(NAMES).size()
    assert len(cells) == 2 * 3 * 2 * 2
    assert one.failures().empty


def test_numbers_are_those_of_the_steps_done_by_hand():
    got = da.evaluate("iris", "cg-score ridge=0.1", rates=0.1, seeds=[7], train=60, val=20, test=40)
    split = drawn("iris", seed=7, train=60, val=20, test=40)
    data, wrong = plant(split.data, "uniform", 0.1, seed=stream(7, 0))
    values = da.value(data, "cg-score", ridge=0.1, seed=7)
    (key,) = got.scores
    assert key == ("noisy-labels", "iris", "uniform", 0.1, 7, "cg-score ridge=0.1")
    np.testing.assert_array_equal(got.scores[key], values.scores)
    line = got.results[got.results["metric"] == "auc"].iloc[0]
    assert line["value"] == roc_auc_score(wrong, -values.scores)


def test_a_method_that_fails_is_a_line_with_its_error(tmp_path):
    asked = {"data": "iris", "methods": ["cg-score", "ame n_models=4", "shapley n_models=3"], "rates": 0.1, "seeds": 1}
    got = da.evaluate(**asked, folder=tmp_path)
    failed = got.failures()
    assert failed["method"].tolist() == ["ame n_models=4", "shapley n_models=3"]
    assert "n_models must be" in failed["error"][0]
    assert "n_models must be" in failed["error"][1]
    assert len(list((tmp_path / "cells").glob("*.cell"))) == 1  # failures are tried again
    assert "2 cells failed" in repr(got)
    slow = da.evaluate("iris", ["cg-score", "dvrl"], rates=0.1, seeds=1, limit="1 s")
    assert "more than the limit of 1 s" in slow.failures()["error"][0]


STUDY = {
    "data": ["iris", "wine"],
    "methods": ["cg-score", "self-confidence", "data-oob n_models=30", "random"],
    "rates": [0.1, 0.2],
    "seeds": 2,
    "progress": False,
}


def killed(folder):
    da.evaluate(**STUDY, folder=folder)


def test_a_killed_study_goes_on_to_the_same_results(tmp_path):
    home = tmp_path / "cells"
    process = begun(killed, tmp_path)
    deadline = time.monotonic() + 100
    while len(list(home.glob("*.cell"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    before = {p: p.stat().st_mtime_ns for p in home.glob("*.cell")}
    assert 10 <= len(before) < 32
    went_on, anew = da.evaluate(**STUDY, folder=tmp_path), da.evaluate(**STUDY)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())  # what was done is not done again
    assert len(list(home.glob("*.cell"))) == 32
    for a, b in ((went_on, anew),):
        pd.testing.assert_frame_equal(
            a.results[a.results["metric"] != "seconds"], b.results[b.results["metric"] != "seconds"]
        )
        pd.testing.assert_frame_equal(a.curves, b.curves)
        assert all(np.array_equal(a.scores[k], b.scores[k]) for k in b.scores)
    broken = next(iter(before))
    broken.write_bytes(broken.read_bytes()[:100])
    assert load_cell(broken, Cell("noisy-labels", "iris", "uniform", 0.1, 0, "random", "random", ())) is None
    again = da.evaluate(**STUDY, folder=tmp_path)  # half a file counts as none
    assert len(again.results) == len(anew.results)


def test_saved_tables_come_back(tmp_path):
    got = da.evaluate("iris", ["cg-score", "random"], rates=0.1, seeds=2)
    got.save(tmp_path / "new")
    back = pd.read_parquet(tmp_path / "new" / "results.parquet")
    pd.testing.assert_frame_equal(back, got.results)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["agreement.parquet", "curves.parquet", "results.parquet"]


def test_own_data_and_other_tasks():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 3)) + 3 * np.eye(2, 3)[y]
    own = da.Dataset(X, y)
    got = da.evaluate(
        {"mine": own}, ["cg-score", "random"], task=["removal", "addition", "window", "stability"], rates=0.2, seeds=2
    )
    assert set(got.results["task"]) == {"removal", "addition", "window", "stability"}
    assert got.table(task="removal").loc["cg-score", "mine"] > got.table(task="removal").loc["random", "mine"]
    assert got.table(task="addition").loc["cg-score", "mine"] > got.table(task="addition").loc["random", "mine"]
    stable = got.table(task="stability")
    assert stable.loc["cg-score", "mine"] == 1.0  # it has no randomness
    assert abs(stable.loc["random", "mine"]) < 0.4
    same = got.results[(got.results["metric"] == "same_suspects") & (got.results["method"] == "cg-score")]
    assert (same["value"] == 1).all()


def test_agreement_is_the_rank_correlation():
    got = da.evaluate("wine", ["cg-score", "self-confidence", "random"], rates=0.1, seeds=1)
    for _, line in got.agreement.iterrows():
        a, b = (got.scores[("noisy-labels", "wine", "uniform", 0.1, 0, line[name])] for name in ("method", "other"))
        assert line["spearman"] == pytest.approx(spearmanr(a, b).statistic, abs=1e-6)
    assert len(got.agreement) == 3


def test_sizes_have_seconds_and_other_tasks_ask_networks():
    got = da.evaluate("digits", ["random"], task="time", kinds=["n=50", "n=100"], seeds=1, train=100)
    assert [len(s) for s in got.scores.values()] == [50, 100]
    assert (got.results["metric"] == "seconds").sum() == 2
    too_many = da.evaluate("digits", ["random"], task="time", kinds="n=500", seeds=1, train=100)
    assert "raise train" in too_many.failures()["error"][0]
    dynamics = da.evaluate("iris", ["cg-score"], task=["difficulty", "velocity"], seeds=1)
    assert dynamics.failures().empty
    assert dynamics.table(task="difficulty").loc["cg-score", "iris"] > 0.5
    assert len(dynamics.curves["curve"].unique()) == 30


def test_poison_is_marked_rows_of_other_classes_with_the_first_label():
    split = drawn("digits", train=200, val=50, test=50)
    case = with_poison(split, "mark", 0.05, 1)
    bad = np.flatnonzero(case.wrong)
    assert len(bad) == 10
    assert (split.data.codes[bad] != 0).all()
    assert (case.data.codes[bad] == 0).all()
    np.testing.assert_array_equal(case.data.X[~case.wrong], split.data.X[~case.wrong])
    assert len(case.data.y_val) == 51
    assert case.options["query"] == 50
    assert case.data.codes_val[50] != 0
    marked = (np.asarray(case.data.X)[bad] == split.data.X.max()).all(0)
    assert marked.sum() >= 6
    query = np.asarray(case.data.X_val)[50]
    assert (query[marked] == split.data.X.max()).all()
    assert any((query[~marked] == np.asarray(row)[~marked]).all() for row in split.data.X_val)
    assert [m for m in da.methods.METHODS if takes("query", m)]
    got = da.evaluate("digits", ["ame n_models=400"], task="poison", rates=0.1, seeds=1, train=150, val=50, test=50)
    assert got.table("auc").loc["ame n_models=400", "mean"] > 0.65


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"task": "noisy-label"}, "no task 'noisy-label'; did you mean 'noisy-labels'"),
        ({"methods": "cg-scor"}, "no method 'cg-scor'; did you mean 'cg-score'"),
        ({"methods": "cg-score ridge"}, "needs name=value"),
        ({"methods": ["cg-score", "cg-score"]}, "two methods are called the same"),
        ({"methods": []}, "needs a task, a method and a data set"),
        ({"methods": 3}, "must be a name or a list"),
        ({"data": "irish"}, "iris"),
        ({"data": [3]}, "data must be names of data sets"),
        ({"data": ["iris", "iris"]}, "two data sets are called 'iris'"),
        ({"kinds": "flip"}, "has no kind 'flip'; it has uniform, pair-flip, near, confused, human"),
        ({"rates": 1.5}, "a rate is a share of the rows"),
        ({"rates": [0.1, 0.1]}, "a rate is there twice"),
        ({"seeds": [0, 0]}, "a seed is there twice"),
        ({"seeds": 1.5}, "seeds must be"),
        ({"seeds": 99999999999999999999}, "seeds must be at most 100,000"),
        ({"seeds": range(10**20)}, "seeds must be at most 100,000"),
        ({"rates": "x"}, "rates must be"),
        ({"task": 3}, "task must be"),
        ({"data": 3}, "data must be names"),
        ({"paths": "x"}, "paths must be"),
        ({"folder": 3}, "folder must be"),
        ({"seeds": 0}, "one seed at least"),
        ({"seeds": [-1]}, "seed must be"),
        ({"train": 0}, "train must be"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"progress": 1}, "progress must be"),
        ({"limit": "soon"}, "limit must be an amount"),
        ({"data": "mnist"}, "mnist"),
    ],
)
def test_a_call_that_is_wrong_gets_a_sentence(asked, says):
    with pytest.raises(DataError, match=says):
        da.evaluate(**({"data": "iris", "methods": "random", "seeds": 1} | asked))


def test_methods_are_asked_for_in_words_or_tables():
    assert method_of("lossval transport_power=0 clip=None") == (
        "lossval transport_power=0 clip=None", "lossval", {"transport_power": 0, "clip": None},
    )  # fmt: skip
    assert method_of({"method": "ame", "n_models": 50, "name": "short"}) == ("short", "ame", {"n_models": 50})


def test_every_task_has_a_sentence_and_a_metric():
    for task in TASKS.values():
        assert task.says
        assert task.kinds
        assert task.rates
        assert task.main


def test_a_networks_first_batches_are_not_the_wrong_rows():
    """The order in which a network's runs see the rows has nothing to do with which are wrong."""
    from datassay.engines.training import spawned

    for seed, repeat in ((s, r) for s in range(6) for r in range(5)):
        case = with_errors(drawn("digits", train=300, val=50, test=50), "uniform", 0.1, seed)
        order = np.random.default_rng([spawned(seed, repeat), 0]).permutation(300)
        assert case.wrong[order[:30]].sum() <= 12
        assert case.wrong[np.random.default_rng(seed).permutation(300)[:30]].sum() <= 12


def test_options_may_be_lists_and_learners_are_known_by_content(tmp_path):
    asked = {"method": "ame", "inclusion": [0.2, 0.5], "n_models": 40}
    got = da.evaluate("iris", [asked], rates=0.1, seeds=1, folder=tmp_path, n_jobs=2)
    assert got.failures().empty
    cell, source, sizes = Cell("removal", "iris", "uniform", 0.1, 0, "x", "random", ()), Source("iris"), Sizes(60, 20, 20)
    a, b = (np.full(3000, 1.0), np.full(3000, 1.0))
    b[1500] = 2.0
    keys = {key(cell, source, sizes, Learner(RidgeClassifierCV(alphas=x))) for x in (a, b, a.copy())}
    assert len(keys) == 2
    assert key(cell, source, sizes, Learner()) != key(cell, source, Sizes(61, 20, 20), Learner())
    other = cell._replace(options=(("k", 3),))
    assert key(cell, source, sizes, Learner()) != key(other, source, sizes, Learner())


def test_a_file_with_a_wrong_byte_counts_as_none(tmp_path):
    da.evaluate("iris", ["random"], rates=0.1, seeds=1, folder=tmp_path)
    (file,) = (tmp_path / "cells").glob("*.cell")
    cell, content = Cell("noisy-labels", "iris", "uniform", 0.1, 0, "random", "random", ()), file.read_bytes()
    assert load_cell(file, cell) is not None
    assert load_cell(file, cell._replace(seed=1)) is None
    for at in range(0, len(content), 7):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert load_cell(file, cell) is None


def test_ties_are_ties_in_the_agreement():
    found = [
        CellResult(Cell("noisy-labels", "x", "uniform", 0.1, 0, name, name, ()), {}, {}, scores, "")
        for name, scores in (("a", np.r_[np.ones(10), np.zeros(90)]), ("b", np.tile(np.r_[1.0, np.zeros(9)], 10)))
    ]
    (line,) = _agreement(found).to_dict("records")
    assert line["spearman"] == pytest.approx(0, abs=1e-9)


def test_a_source_is_known_by_its_content():
    a, b = Source("x", three_classes(seed=1)), Source("x", three_classes(seed=1))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Source("x", three_classes(seed=2))
    assert a != Source("x", three_classes(seed=1), flat=False)


def test_another_file_is_another_source(tmp_path):
    file = tmp_path / "adult.parquet"
    texts = []
    for rows in (10, 2000):
        pd.DataFrame({"age": np.arange(rows), "income": ["a", "b"] * (rows // 2)}).to_parquet(file)
        one = Source("adult", None, (("adult", str(file)),)).text
        assert one == Source("adult", None, (("", str(tmp_path)),)).text
        texts.append(one)
        (tmp_path / "other.parquet").write_bytes(b"")
    assert texts[0] != texts[1]
    assert Source("iris", None, (("", str(tmp_path)),)).text == "iris"


# ----------------------------------------------------------------------------------------------------------- command line


def test_bench_from_a_file_and_from_options(tmp_path):
    (tmp_path / "study.toml").write_text(
        'data = ["iris"]\nmethods = ["random", {method = "cg-score", ridge = 0.1, name = "ours"}]\nrates = [0.1]\nseeds = 2\n'
    )
    done = run("bench", "study.toml", "--seeds", 1, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "agreement.parquet", "cells", "curves.parquet", "index.html", "results.parquet",
    ]  # fmt: skip
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert set(results["method"]) == {"random", "ours"}
    assert set(results["seed"]) == {0}
    listed = run("bench", "--list")
    assert "noisy-labels" in listed.stdout
    assert "2dplanes" in listed.stdout


def test_bench_on_a_file_of_ones_own(tmp_path):
    data = three_classes()
    pd.DataFrame(np.asarray(data.X)).assign(y=data.y).rename(columns=str).to_csv(tmp_path / "mine.csv", index=False)
    done = run(
        "bench",
        "--data",
        "mine.csv",
        "--label",
        "y",
        "-m",
        "cg-score",
        "-m",
        "random",
        "--rate",
        0.1,
        "--seeds",
        1,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "datassay-bench" / "index.html").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [("data = [", "is not TOML"), ("dat = ['iris']", "there is no 'dat'; did you mean 'data'"), (None, "there is no file")],
)
def test_a_wrong_study_is_said(tmp_path, text, says):
    path = tmp_path / "study.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=says):
        bench_file(path)
    assert run("bench", path, "-o", tmp_path / "o").returncode == 2


def test_what_rows_said_in_each_epoch_group_by_group():
    """Rows whose labels nothing explains are the ones that are wrong at first; later the network has learned the others alone."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = rng.normal(size=(400, 3)) + 3 * np.eye(2, 3)[y]
    wrong = np.arange(400) < 100
    data = da.Dataset(X, np.where(wrong, 1 - y, y))
    recipe = Recipe(epochs=20, optimiser="adam", lr=0.05, weight_decay=0.0)
    loss, right = by_tenths(data, np.where(wrong, 0.0, 1.0), lambda seed: torch.nn.Linear(3, 2), groups=4, training=recipe)
    assert loss.shape == right.shape == (len(loss), 4)
    assert right[-1, 0] < 0.3
    assert right[-1, 1:].min() > 0.8
    assert loss[-1, 0] > 2 * loss[-1, 1:].max()
    assert (loss[-1, 1:] < loss[0, 1:]).all()
