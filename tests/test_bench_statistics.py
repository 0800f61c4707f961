"""The tests that compare methods: against published tables, SciPy, and cases worked by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from datassay import DataError
from datassay.evaluation.statistics import blocks, cliques, friedman, means, nemenyi_cd, pareto, wilcoxon_pairs

COLUMNS = ["task", "data", "kind", "rate", "seed", "method", "metric", "value", "error"]

# Demšar 2006, Table 6: AUC of C4.5 and three variants on 14 data sets
DEMSAR = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)


def frame(*lines) -> pd.DataFrame:
    """Lines of data, rate, seed, method, value; the rest is the same everywhere."""
    full = [
        ("t", d, "uniform", r, s, m, "auc" if v is not None else "failed", v, "" if v is not None else "no")
        for d, r, s, m, v in lines
    ]
    return pd.DataFrame(full, columns=COLUMNS).astype({"value": float})


def grid(data=3, methods=3, rates=(0.1, 0.2), seeds=2) -> list[tuple]:
    """value = 100 data + 10 method + rate + seed / 100, so that every mean can be told."""
    return [
        (f"d{d}", r, s, f"m{m}", 100 * d + 10 * m + r + s / 100)
        for d in range(data)
        for m in range(methods)
        for r in rates
        for s in range(seeds)
    ]


# -- means


def test_means_have_students_interval() -> None:
    found = means(frame(*[("d", 0.1, s, "a", v) for s, v in enumerate([0.5, 0.7, 0.9, 0.6])]), "auc")
    low, high = stats.t.interval(0.95, 3, loc=0.675, scale=stats.sem([0.5, 0.7, 0.9, 0.6]))
    assert len(found) == 1
    assert found["mean"][0] == pytest.approx(0.675)
    assert found["half"][0] == pytest.approx((high - low) / 2)
    assert (found["n"][0], found["failed"][0]) == (4, 0)


def test_means_count_what_failed() -> None:
    results = frame(
        ("d", 0.1, 0, "a", 0.5),
        ("d", 0.1, 1, "a", None),
        ("d", 0.1, 2, "a", np.nan),
        ("d", 0.1, 0, "b", None),
        ("d", 0.2, 0, "a", 0.7),
    )
    results.loc[3, "value"] = 5.0  # a number beside an error is none
    found = means(results, "auc").set_index(["rate", "method"])
    assert found["n"].to_dict() == {(0.1, "a"): 1, (0.1, "b"): 0, (0.2, "a"): 1}
    assert found["failed"].to_dict() == {(0.1, "a"): 2, (0.1, "b"): 1, (0.2, "a"): 0}
    assert np.isnan(found["mean"][0.1, "b"])
    assert found["half"].isna().all()  # one seed tells nothing of the others


def test_a_failed_seed_with_two_rows_is_one_failure() -> None:
    both = frame(("d", 0.1, 0, "a", np.nan), ("d", 0.1, 0, "a", None), ("d", 0.1, 1, "a", 0.5))
    assert means(both, "auc")["failed"].tolist() == [1]


def test_data_without_a_rate_is_not_lost() -> None:
    found = means(frame(("d", np.nan, 0, "a", 0.5), ("d", np.nan, 1, "a", 0.7)), "auc")
    assert found["mean"].tolist() == pytest.approx([0.6])
    both = frame(*[(d, np.nan, 0, m, v) for d, m, v in [("d", "a", 1), ("d", "b", 2), ("e", "a", 3), ("e", "b", 4)]])
    assert blocks(both, "auc").matrix.to_numpy().tolist() == [[1, 2], [3, 4]]


def test_other_metrics_are_not_mixed_in() -> None:
    results = frame(("d", 0.1, 0, "a", 0.5), ("d", 0.1, 1, "a", 0.7))
    results.loc[1, "metric"] = "f1"
    assert means(results, "auc")[["mean", "n", "failed"]].to_numpy().tolist() == [[0.5, 1, 0]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.assign(metric="f1"), "'auc'; there are: f1"),
        (lambda f: pd.concat([f, f]), "auc is there twice for task t, data d, kind uniform, rate 0.1, method a, seed 0"),
        (lambda f: f.drop(columns="seed"), "results needs the column 'seed'; it has task, "),
        (lambda f: f.iloc[:0], "there are: none"),
    ],
)
def test_what_means_refuse(change, says) -> None:
    with pytest.raises(DataError, match=says):
        means(change(frame(("d", 0.1, 0, "a", 0.5))), "auc")


# -- blocks


def test_a_data_set_is_one_block() -> None:
    found = blocks(frame(*grid()), "auc")
    assert found.matrix.shape == (3, 3)
    np.testing.assert_allclose(found.matrix.to_numpy(), 100 * np.arange(3)[:, None] + 10 * np.arange(3) + 0.155)
    assert (found.methods_left_out, found.data_left_out) == ([], [])


def test_seeds_are_averaged_before_rates() -> None:
    lines = [*grid(), *[("d0", 0.1, s, "m0", 50.0) for s in range(2, 10)]]  # more seeds give a rate no more weight
    first = np.mean([0.1, 0.11, *[50.0] * 8])
    assert blocks(frame(*lines), "auc").matrix.loc["d0", "m0"] == pytest.approx((first + 0.205) / 2)


def test_a_method_without_a_rate_is_not_there() -> None:
    lines = [line for line in grid() if not (line[0] == "d1" and line[1] == 0.2 and line[3] == "m2")]
    found = blocks(frame(*lines), "auc")
    assert (list(found.matrix.index), list(found.matrix.columns)) == (["d0", "d2"], ["m0", "m1", "m2"])
    assert (found.methods_left_out, found.data_left_out) == ([], ["d1"])


def test_a_method_that_is_rarely_there_goes_rather_than_most_data() -> None:
    lines = [line for line in grid(data=6) if not (line[3] == "m2" and line[0] not in ("d0", "d1"))]
    found = blocks(frame(*lines), "auc")
    assert found.matrix.shape == (6, 2)
    assert (found.methods_left_out, found.data_left_out) == (["m2"], [])
    half = blocks(frame(*[line for line in grid(data=6) if not (line[3] == "m2" and line[0] < "d3")]), "auc")
    assert (half.matrix.shape, half.data_left_out) == ((3, 3), ["d0", "d1", "d2"])


def test_a_method_that_failed_everywhere_is_named() -> None:
    found = blocks(frame(*grid(), ("d0", 0.1, 0, "never", None)), "auc")
    assert (found.matrix.shape, found.methods_left_out) == ((3, 3), ["never"])


@pytest.mark.parametrize("lines", [grid(data=1), grid(methods=1), [("d0", 0.1, 0, "a", 1.0), ("d1", 0.1, 0, "b", 1.0)]])
def test_too_little_for_a_matrix(lines) -> None:
    with pytest.raises(DataError, match="two methods measured on the same two data sets"):
        blocks(frame(*lines), "auc")


def test_tasks_are_not_mixed() -> None:
    one = frame(*grid())
    with pytest.raises(DataError, match="the tasks t, u can't share one matrix"):
        blocks(pd.concat([one, one.assign(task="u")]), "auc")


# -- the tests of the paper


def test_friedman_as_published() -> None:
    found = friedman(DEMSAR)
    assert found.ranks.round(3).to_dict() == {"C4.5": 3.143, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    untied = 12 * 14 / 20 * (float((found.ranks**2).sum()) - 4 * 25 / 4)
    assert untied == pytest.approx(9.28, abs=0.01)  # the paper's number has no correction for ties
    assert found.statistic > untied


def test_friedman_as_scipy() -> None:
    ours, theirs = friedman(DEMSAR), stats.friedmanchisquare(*DEMSAR.to_numpy().T)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    F = 13 * ours.statistic / (14 * 3 - ours.statistic)
    assert (ours.f, ours.f_p) == pytest.approx((F, stats.f.sf(F, 3, 39)))


def test_rank_one_is_the_best() -> None:
    assert friedman(-DEMSAR, higher_is_better=False).ranks.equals(friedman(DEMSAR).ranks)
    assert friedman(DEMSAR, higher_is_better=False).ranks.idxmin() == "C4.5"


def test_friedman_at_its_ends() -> None:
    same = friedman(pd.DataFrame(np.ones((3, 3))))
    assert (same.statistic, same.p, same.f_p) == (0, 1, 1)
    clear = friedman(pd.DataFrame([[1, 2, 3]] * 3))
    assert (clear.statistic, clear.f, clear.f_p) == (pytest.approx(6), np.inf, 0)
    assert friedman(pd.DataFrame([[1, 2]] * 3)).statistic == pytest.approx(3)


def test_critical_values_as_published() -> None:
    published = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]  # Demšar's Table 5(a), k = 2 to 10
    ours = [nemenyi_cd(k, 10) / np.sqrt(k * (k + 1) / 60) for k in range(2, 11)]
    np.testing.assert_allclose(ours, published, atol=8e-4)
    tenth = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]
    np.testing.assert_allclose([nemenyi_cd(k, 10, 0.1) / np.sqrt(k * (k + 1) / 60) for k in range(2, 11)], tenth, atol=6e-4)


def test_cliques_are_the_largest_groups() -> None:
    ranks = pd.Series({"d": 4.0, "a": 1.0, "c": 2.2, "b": 1.5, "e": 4.1, "f": 9.0})
    assert cliques(ranks, 0.4) == [["d", "e"]]
    assert cliques(ranks, 1.2) == [["a", "b", "c"], ["d", "e"]]
    assert cliques(ranks, 1.9) == [["a", "b", "c"], ["c", "d", "e"]]
    assert cliques(ranks, 99) == [["a", "b", "c", "d", "e", "f"]]
    assert cliques(ranks, 0) == []


def test_wilcoxon_as_scipy_without_ties() -> None:
    rng = np.random.default_rng(0)
    for n in (4, 7, 12, 20):
        matrix = pd.DataFrame(rng.normal(size=(n, 2)) + np.array([0, 0.7]), columns=["a", "b"])
        expected = stats.wilcoxon(matrix["a"] - matrix["b"], method="exact").pvalue
        assert wilcoxon_pairs(matrix)["p"][0] == pytest.approx(expected)


def test_wilcoxon_with_ties_counts_all_signs() -> None:
    matrix = pd.DataFrame(
        {"a": [0.3, 0.5, 0.9, 0.2], "b": [0.1, 0.3, 0.7, 0.4]}
    )  # four ties but for the last bit; ranks 2.5
    found = wilcoxon_pairs(matrix).iloc[0]
    assert found["p"] == pytest.approx(10 / 16)  # all signs but the 6 with two of each
    assert (found["a_higher"], found["b_higher"], found["median"]) == (3, 1, pytest.approx(0.2))


def test_wilcoxon_of_few_data_sets_is_the_share_of_all_signs() -> None:
    rng = np.random.default_rng(2)
    for n in (2, 3, 5, 8, 11, 12):
        difference = rng.integers(-3, 4, n).astype(float)  # many ties, and zeros, which are dropped
        difference[:2] = [1, -2]
        found = wilcoxon_pairs(pd.DataFrame({"a": difference, "b": 0.0}))["p"][0]
        other = difference[difference != 0]
        ranks = stats.rankdata(np.abs(other))
        off = [abs(np.dot(signs, ranks)) for signs in product([-1, 1], repeat=len(other))]
        assert found == pytest.approx(np.mean(np.array(off) >= abs(np.sign(other) @ ranks) - 1e-9), abs=1e-14)


def test_wilcoxon_as_scipy_s_permutations() -> None:
    for difference in ([1.0, -2, 2, 2, 3], [1.0, 1, -1, 4, 4, -2]):
        found = wilcoxon_pairs(pd.DataFrame({"a": difference, "b": 0.0}))["p"][0]
        assert found == pytest.approx(stats.wilcoxon(difference, method=stats.PermutationMethod()).pvalue, abs=1e-14)


def test_wilcoxon_of_one_that_differs_says_nothing() -> None:
    assert wilcoxon_pairs(pd.DataFrame({"a": [0.3, 0.2], "b": [0.1, 0.2]}))["p"][0] == 1


def test_holm_by_hand() -> None:
    rng = np.random.default_rng(1)
    found = wilcoxon_pairs(pd.DataFrame(rng.normal(size=(9, 4)) + np.arange(4) * 0.6, columns=list("abcd")))
    p, worst, expected = found["p"].tolist(), 0.0, []
    for i, value in enumerate(p):
        worst = max(worst, min(1.0, (6 - i) * value))
        expected.append(worst)
    assert p == sorted(p)
    assert found["holm"].tolist() == pytest.approx(expected)
    assert len({frozenset(pair) for pair in zip(found["a"], found["b"], strict=True)}) == 6


def test_equal_methods_do_not_differ() -> None:
    assert wilcoxon_pairs(pd.DataFrame({"a": [0.1, 0.2], "b": [0.1, 0.2]}))[["p", "holm"]].to_numpy().tolist() == [[1, 1]]


@pytest.mark.parametrize("test", [friedman, wilcoxon_pairs])
@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (np.ones((1, 3)), "two data sets and two methods at least, got 1 and 3"),
        (np.ones((3, 1)), "got 3 and 1"),
        (np.array([[1, 2], [3, np.nan]]), "cells without a number"),
    ],
)
def test_what_the_tests_refuse(test, matrix, says) -> None:
    with pytest.raises(DataError, match=says):
        test(pd.DataFrame(matrix))


@pytest.mark.parametrize("call", [(1, 5), (5, 1), (3, 3, 0.0), (3, 3, 1.0)])
def test_what_the_critical_difference_refuses(call) -> None:
    with pytest.raises(DataError, match=r"critical difference needs|alpha must be"):
        nemenyi_cd(*call)


# -- pareto


def test_pareto_as_by_pairs() -> None:
    rng = np.random.default_rng(2)
    s, q = rng.integers(0, 8, 60).astype(float), rng.integers(0, 8, 60).astype(float)
    q[3] = np.nan
    expected = [
        np.isfinite(q[i]) and not any(s[j] <= s[i] and q[j] >= q[i] and (s[j], q[j]) != (s[i], q[i]) for j in range(60))
        for i in range(60)
    ]
    assert pareto(s, q).tolist() == expected
    assert pareto([], []).tolist() == []


def test_of_few_data_sets_the_permutations_count() -> None:
    two = friedman(pd.DataFrame([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6]], columns=list("abc")))
    assert (two.f, two.f_p) == (np.inf, 0.0)
    assert two.exact == pytest.approx(1 / 6)  # chance
    many = friedman(pd.DataFrame([np.arange(12.0), np.arange(12.0)], columns=list("abcdefghijkl")))
    assert many.exact == pytest.approx(1e-4)
    assert friedman(pd.DataFrame(np.random.default_rng(0).normal(size=(10, 3)), columns=list("abc"))).exact is None
