"""A few checked rows: the draws, the intervals beside all draws that can be, and what people type."""

import itertools
import sys

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay import cli
from datassay.checks import DataError
from datassay.engines import confidence
from datassay.evaluation.checking import precision_at, read_answers, recall_at, rows_needed, sheet
from datassay.values import Values


def made(n=400, rate=0.2, seed=0, known=False):
    """Values whose ranking says something, and who is wrong."""
    rng = np.random.default_rng(seed)
    p = np.clip(2.4 * rate * np.exp(-np.arange(n) / n / 0.35), 0, 1)
    wrong = rng.random(n) < p
    place = rng.permutation(n)
    scores, truth = np.empty(n), np.empty(n, bool)
    scores[place], truth[place] = np.linspace(-1, 1, n), wrong
    columns = {}
    if known:
        columns["probability_wrong"] = np.empty(n)
        columns["probability_wrong"][place] = p
    return Values(
        np.arange(n) + 1000, scores, scores < -0.8, columns, "cg-score", given_label=np.array(["a", "b"])[np.arange(n) % 2]
    ), truth


def answered(sample, values, truth):
    row = {one: i for i, one in enumerate(values.ids.tolist())}
    return sample.assign(wrong=[bool(truth[row[one]]) for one in sample["id"].tolist()])


# ------------------------------------------------------------------------------------------------------------- engine


def total_of(history, wrong):
    """The arrays that the test of a number of wrong rows works on."""
    S = history.left.shape[1]
    here, found = history.strata[history.rows], np.cumsum(history.wrong) - history.wrong
    U = confidence._outcomes(history.left, history.chance, history.guess, np.ones(S)) + found[:, None]
    return U, np.ones_like(U), confidence._weights(history.chance, history.guess), here + S * history.wrong


@pytest.mark.parametrize("wrong", [[1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [1, 1, 1, 0, 1], [0, 0, 0, 0, 0]])
def test_wealth_against_the_truth_is_a_martingale_over_all_draws_that_can_be(wrong):
    strata, share, prior = np.array([0, 0, 1, 1, 1]), np.array([0.7, 0.3]), np.array([0.6, 0.5, 0.1, 0.1, 0.05])
    wrong = np.array(wrong)
    first = np.array([True, False, True, False, False])
    expected, recall, sure = np.zeros(5), np.zeros(5), 0.0
    for rows in itertools.permutations(range(5)):
        h = confidence.History.of(strata, share, prior, np.array(rows), wrong[list(rows)])
        s = strata[list(rows)]
        chance = np.prod(h.chance[np.arange(5), s] / h.left[np.arange(5), s])
        expected += chance * np.exp(confidence._wealth(*total_of(h, wrong), np.array([float(wrong.sum())]))[:, 0])
        sure += chance
        assert confidence.count_interval(h) == (wrong.sum(), wrong.sum())
        if wrong.any():
            cells = s + 2 * ~first[list(rows)]
            arrays = confidence._ratio(h, first)
            assert arrays[3].tolist() == (cells + 4 * wrong[list(rows)]).tolist()
            path = confidence._wealth(*arrays, np.array([wrong[first].sum() / wrong.sum()]))[:, 0]
            recall += chance * np.exp(path)
    assert sure == pytest.approx(1)
    np.testing.assert_allclose(expected, 1, rtol=1e-9)
    if wrong.any():
        np.testing.assert_allclose(recall, 1, rtol=1e-9)


def test_wealth_within_a_group_of_rows_is_a_martingale_too():
    """Group: rows 0, 2, 3; what its draws say, however many of the others come between."""
    strata, share, prior = np.array([0, 0, 1, 1, 1]), np.array([0.7, 0.3]), np.array([0.6, 0.5, 0.1, 0.1, 0.05])
    wrong, inside = np.array([1, 1, 0, 1, 0]), np.array([True, False, True, True, False])
    expected = np.zeros(3)
    for rows in itertools.permutations(range(5)):
        h = confidence.History.of(strata, share, prior, np.array(rows), wrong[list(rows)])
        s = strata[list(rows)]
        chance = np.prod(h.chance[np.arange(5), s] / h.left[np.arange(5), s])
        arrays, _, _ = confidence._count(h, inside)
        expected += chance * np.exp(confidence._wealth(*arrays, np.array([2.0]))[:, 0])
    np.testing.assert_allclose(expected, 1, rtol=1e-9)


@pytest.mark.parametrize(("share_wrong", "sorted_right"), [(0.05, True), (0.3, True), (0.3, False), (0.9, True)])
def test_the_truth_is_lost_at_no_time_in_19_of_20_runs(share_wrong, sorted_right):
    """The worst rule of stopping: go on until the truth is outside, or all rows are checked."""
    n, runs = 50, 100
    bad = round(share_wrong * n)
    wrong = np.arange(n) < bad if sorted_right else np.arange(n) >= n - bad
    strata, prior = confidence.strata_of(np.arange(n)), confidence.usual(n)
    share, lost = confidence.shares(strata, prior), 0
    for seed in range(runs):
        rows = confidence.draw(strata, share, n, seed)
        h = confidence.History.of(strata, share, prior, rows, wrong[rows])
        lost += confidence._wealth(*total_of(h, wrong), np.array([float(bad)])).max() >= np.log(20)
    assert lost <= 0.05 * runs + 2 * np.sqrt(0.05 * 0.95 * runs)


def test_the_interval_is_the_hull_of_what_no_time_rejects():
    values, truth = made(300)
    strata, prior = confidence.strata_of(np.argsort(values.ranks())), confidence.usual(300)
    share = confidence.shares(strata, prior)
    rows = confidence.draw(strata, share, 40, 3)
    h = confidence.History.of(strata, share, prior, rows, truth[rows])
    bad = int(truth[rows].sum())
    every = np.arange(bad, 300 - 40 + bad + 1)
    kept = every[confidence._wealth(*total_of(h, truth), every.astype(float)).max(0) < np.log(20)]
    assert confidence.count_interval(h) == (kept.min(), kept.max())


def test_strata_are_drawn_by_their_shares_and_none_is_left_out():
    strata = confidence.strata_of(np.arange(200))
    assert np.bincount(strata).min() >= 5
    share = confidence.shares(strata, np.zeros(200) + 1e-9)
    assert share.min() > 0.02
    sizes, share = np.array([4, 30]), np.array([0.5, 0.5])
    counts = np.zeros(2)
    for seed in range(2000):
        counts += np.bincount(
            np.repeat([0, 1], sizes)[confidence.draw(np.repeat([0, 1], sizes), share, 9, seed)], minlength=2
        )
    np.testing.assert_allclose(confidence.inclusion(sizes, share, 9), counts / 2000 / sizes, rtol=0.03)


def test_a_curve_is_brought_to_what_was_found():
    """Guesses of a tenth of what is true are corrected as answers come; few answers move them little."""
    z = np.log(np.array([0.03, 0.01]) / (1 - np.array([0.03, 0.01])))
    a, b = confidence.calibrated(z, np.array([4000.0, 4000.0]), np.array([1200.0, 400.0]), steps=30)
    np.testing.assert_allclose(1 / (1 + np.exp(-(a + b * z))), [0.3, 0.1], atol=0.015)
    few = confidence.calibrated(z, np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    assert 0 < few[0] < 1.5


# ------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("known", [False, True])
def test_a_sample_goes_on_and_says_its_probabilities(known):
    values, _ = made(known=known)
    sample = da.check_sample(values, 40, seed=3)
    assert list(sample) == ["id", "draw", "probability", "rank", "given_label", "suggested_label"]
    assert sample["id"].is_unique
    more = da.check_sample(values, 90, seed=3)
    assert more["id"].tolist()[:40] == sample["id"].tolist()
    assert da.check_sample(values, 40, seed=4)["id"].tolist() != sample["id"].tolist()
    weights = [(1 / da.check_sample(values, 40, seed=s)["probability"]).sum() for s in range(100)]
    assert np.mean(weights) == pytest.approx(400, rel=0.05)
    everything = da.check_sample(values, 400)
    assert sorted(everything["id"]) == values.ids.tolist()
    assert (everything["probability"] == 1).all()
    assert (sample["rank"].to_numpy() == values.ranks()[sample["id"].to_numpy() - 1000]).all()


@pytest.mark.parametrize("known", [False, True])
def test_the_truth_lies_within_and_more_rows_say_more(known):
    values, truth = made(1000, known=known)
    widths = []
    for n in (30, 100, 300):
        found = da.checked(values, answered(da.check_sample(values, n), values, truth))
        wrong = found.stats["wrong_labels"]
        assert wrong["low"] <= truth.sum() <= wrong["high"]
        assert wrong["low"] <= wrong["estimate"] <= wrong["high"]
        assert (wrong["told"], wrong["checked"], wrong["level"]) == (True, n, 0.95)
        assert wrong["likely"] == found.flagged.sum()
        widths.append(wrong["high"] - wrong["low"])
        order = np.argsort(values.scores)
        for good, whole in zip(found.stats["precision_at"], found.stats["recall_at"], strict=True):
            k = good["k"]
            assert good["low"] <= truth[order[:k]].mean() <= good["high"]
            assert whole["low"] <= truth[order[:k]].sum() / truth.sum() <= whole["high"]
    assert widths[0] > widths[1] > widths[2]
    assert rows_needed(found, float(widths[2])) == 300
    assert 300 < rows_needed(found, widths[2] / 2) == 300 + wrong["more_to_halve"]
    assert precision_at(found, 50) == found.stats["precision_at"][1]
    assert recall_at(found, 50) == found.stats["recall_at"][1]
    assert recall_at(found, 1000)["low"] == 1


def test_probabilities_are_the_answers_and_fall_with_the_rank():
    values, truth = made(600, rate=0.3)
    sample = answered(da.check_sample(values, 150), values, truth)
    found = da.checked(values, sample)
    p, rows = found.columns["probability_wrong"], sample["id"].to_numpy() - 1000
    np.testing.assert_array_equal(p[rows], truth[rows].astype(float))
    np.testing.assert_array_equal(found.flagged[rows], truth[rows])
    rest = np.delete(np.argsort(values.scores), np.flatnonzero(np.isin(np.argsort(values.scores), rows)))
    assert (np.diff(p[rest]) <= 1e-12).all()
    assert p.min() >= 0
    assert p.max() <= 1
    assert abs(p.sum() - truth.sum()) < 0.08 * 600
    np.testing.assert_array_equal(found.scores, values.scores)


def test_all_rows_checked_is_the_truth():
    values, truth = made(60)
    found = da.checked(values, answered(da.check_sample(values, 60), values, truth))
    wrong = found.stats["wrong_labels"]
    assert wrong["low"] == wrong["high"] == wrong["estimate"] == truth.sum()
    assert wrong["more_to_halve"] == 0
    assert found.stats["precision_at"][0]["low"] == found.stats["precision_at"][0]["high"]


def test_going_on_is_as_good_as_all_at_once(tmp_path):
    values, truth = made()
    everything = answered(da.check_sample(values, 80), values, truth)
    at_once = da.checked(values, everything)
    first = da.checked(values, everything.head(30))
    first.save(tmp_path / "checked.parquet")
    again = Values.load(tmp_path / "checked.parquet")
    pd.testing.assert_frame_equal(da.check_sample(again, 80), da.check_sample(values, 80))
    for answers in (everything, everything.tail(50), everything.sample(frac=1, random_state=1)):
        went_on = da.checked(again, answers)
        assert went_on.stats["wrong_labels"] == at_once.stats["wrong_labels"]
        np.testing.assert_array_equal(went_on.columns["probability_wrong"], at_once.columns["probability_wrong"])
    only = everything[["id", "wrong"]]
    assert da.checked(values, only).stats["wrong_labels"] == at_once.stats["wrong_labels"]
    assert (sheet(again, 80)["wrong"] != "").sum() == 30


def test_texts_are_understood():
    values, truth = made()
    sample = answered(da.check_sample(values, 20), values, truth)
    expected = da.checked(values, sample).stats["wrong_labels"]
    for yes, no in (("yes", "no"), (" Wrong", "right "), (1, 0), ("TRUE", "FALSE"), (1.0, 0.0), (np.True_, np.False_)):
        words = sample.assign(wrong=[yes if w else no for w in sample["wrong"]], id=sample["id"].astype(str), note="-")
        assert da.checked(values, words).stats["wrong_labels"] == expected


def broken(sample, what):
    return {
        "no column": sample.drop(columns="wrong"),
        "unknown": sample.assign(id=[7, *sample["id"][1:]]),
        "twice": pd.concat([sample, sample.head(1).assign(wrong=~sample["wrong"].head(1))]),
        "empty": sample.assign(wrong=["", *sample["wrong"][1:]]),
        "nan": sample.assign(wrong=[np.nan, *sample["wrong"][1:]]),
        "word": sample.assign(wrong=["perhaps", *sample["wrong"][1:]]),
        "gap": sample.drop(index=4),
        "none": sample.head(0),
        "draw": sample.assign(draw="x"),
    }[what]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("no column", "no column 'wrong'"), ("unknown", "no row has the id 7"), ("twice", "two different answers"),
        ("empty", "has no answer"), ("nan", "has no answer"), ("word", "must be yes or no .* got 'perhaps'"), ("gap", "draw 5 is missing"),
        ("none", "there are no answers"), ("draw", "whole numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_answers_is_said(what, says):
    values, truth = made()
    sample = answered(da.check_sample(values, 20), values, truth)
    with pytest.raises(DataError, match=says):
        da.checked(values, broken(sample, what))


def test_an_answer_that_was_given_before_stays():
    values, truth = made()
    sample = answered(da.check_sample(values, 20), values, truth)
    found = da.checked(values, sample)
    with pytest.raises(DataError, match="two different answers"):
        da.checked(found, sample.assign(wrong=~sample["wrong"]))


def test_numbers_that_cannot_be():
    values, _ = made(50)
    for n in (0, 51):
        with pytest.raises(DataError, match="check_sample: n must be a whole number from 1 to 50"):
            da.check_sample(values, n)
    with pytest.raises(DataError, match="no rows of these values were checked"):
        precision_at(values, 5)
    with pytest.raises(DataError, match="recall_at: k must be"):
        recall_at(da.checked(values, da.check_sample(values, 5).assign(wrong=False)), 51)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_rows(n):
    values = Values(np.arange(n), np.arange(n, dtype=float), np.zeros(n, bool), {}, "random")
    found = da.checked(values, da.check_sample(values, 1).assign(wrong=True))
    assert found.stats["wrong_labels"]["low"] >= 1
    assert found.stats["wrong_labels"]["high"] == n


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command in this process and in a folder of its own: its status, what it printed, what it complained of."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["datassay", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def test_the_command_draws_and_tells(run, tmp_path):
    values, truth = made()
    values.save(tmp_path / "values.parquet")
    status, said, complaint = run("check", "values.parquet", "-n", 30)
    assert status == 0, complaint
    assert "Next: datassay check values.parquet --answers sample.csv" in said
    status, _, complaint = run("check", "values.parquet", "-n", 30)
    assert (status, "may hold answers" in complaint) == (2, True)
    status, _, complaint = run("check", "values.parquet", "--answers", "sample.csv")
    assert (status, len(complaint.strip().splitlines())) == (2, 1)
    frame = read_answers(tmp_path / "sample.csv")
    assert list(frame)[:4] == ["id", "given_label", "suggested_label", "wrong"]
    frame["wrong"] = ["yes" if truth[int(one) - 1000] else "no" for one in frame["id"]]
    frame.to_csv(tmp_path / "sample.csv", index=False, sep=";")
    status, said, complaint = run("check", "values.parquet", "--answers", "sample.csv")
    assert status == 0, complaint
    found = Values.load(tmp_path / "checked.parquet").stats["wrong_labels"]
    assert f"Of 400 rows between {found['low']} and {found['high']} labels are wrong" in said
    assert "more rows would halve that" in said
    for name, content in (("nothing.csv", None), ("odd.csv", "a"), ("odd.parquet", "a")):
        if content:
            (tmp_path / name).write_text(content)
        status, _, complaint = run("check", "values.parquet", "--answers", name)
        assert (status, len(complaint.strip().splitlines())) == (2, 1)
