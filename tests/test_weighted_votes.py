"""The weighted vote of the K nearest against the definition: all subsets, and every choice among equally far rows."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datassay.engines import weighted_votes
from datassay.engines.weighted_votes import shapley


def vote(S, x, d, K):
    """v(S), the mean over the ways to choose K among equally far rows."""
    near = sorted(S, key=lambda i: d[i])
    if len(near) > K:
        cut = d[near[K - 1]]
        sure, tied = [i for i in near if d[i] < cut], [i for i in near if d[i] == cut]
        chosen = [sure + list(B) for B in itertools.combinations(tied, K - len(sure))]
    else:
        chosen = [near]
    return float(np.mean([(np.sign(sum(x[i] for i in A)) + 1) / 2 for A in chosen]))


def by_definition(x, d, K):
    n = len(x)
    v = {S: vote(S, x, d, K) for size in range(n + 1) for S in itertools.combinations(range(n), size)}
    value = np.zeros(n)
    for S, before in v.items():
        for i in set(range(n)) - set(S):
            value[i] += (v[tuple(sorted((*S, i)))] - before) * math.factorial(len(S)) * math.factorial(n - len(S) - 1)
    return value / math.factorial(n)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), K=st.integers(1, 9), distances=st.integers(1, 8))
def test_it_is_the_definition(seed, n, K, distances):
    rng = np.random.default_rng(seed)
    d = np.sort(rng.integers(0, distances, n))
    x = rng.integers(0, 5, distances)[d] * rng.choice([-1, 1], n)  # of one distance, one weight
    tied = np.diff(d, prepend=-1) == 0
    value, turned = shapley(x, K, tied if tied.any() else None)
    np.testing.assert_allclose(value, by_definition(x, d, K), rtol=0, atol=1e-13)
    other = [by_definition(np.where(np.arange(n) == i, -x, x), d, K)[i] for i in range(n)]
    np.testing.assert_allclose(turned, other, rtol=0, atol=1e-13)


def test_rows_far_beyond_twice_k_are_the_definition_too():
    """From there on rows are taken out of the sums for all rows."""
    rng = np.random.default_rng(0)
    for K, distances in ((1, 9), (2, 30), (2, 4)):
        d = np.sort(rng.integers(0, distances, 10))
        x = rng.integers(0, 4, distances)[d] * rng.choice([-1, 1], 10)
        np.testing.assert_allclose(shapley(x, K, np.diff(d, prepend=-1) == 0)[0], by_definition(x, d, K), rtol=0, atol=1e-14)


def counted(x, K):
    """The sums of the docstring for every row by itself, in whole numbers and fractions."""
    n, value = len(x), []

    def step(u):
        return Fraction(int(np.sign(u)) + 1, 2)

    for i in range(n):
        sets = [{0: 1}] + [{} for _ in range(K - 1)]  # of l rows nearer than m, without i: how many have which sum
        s = Fraction(0)
        for m in range(n):
            if m == i:
                continue
            if m > i and m >= K:
                R = sum(c * (step(u + x[i]) - step(u + x[m])) for u, c in sets[K - 1].items())
                s += R / ((m + 1) * math.comb(m, K))
            for l in range(K - 1, 0, -1):  # noqa: E741
                for u, c in sets[l - 1].items():
                    sets[l][u + x[m]] = sets[l].get(u + x[m], 0) + c
        for l in range(K):  # noqa: E741
            s += sum(c * (step(u + x[i]) - step(u)) for u, c in sets[l].items()) / (n * math.comb(n - 1, l))
        value.append(float(s))
    return np.array(value)


@pytest.mark.parametrize(("n", "K"), [(60, 3), (36, 9), (24, 15), (9, 9)])
def test_no_digits_are_lost(n, K, monkeypatch):
    rng = np.random.default_rng(n)
    x = np.sort(rng.integers(0, 9, n))[::-1] * rng.choice([-1, 1], n, p=[0.4, 0.6])
    value = shapley(x, K)[0]
    np.testing.assert_allclose(value, counted(x.tolist(), K), rtol=0, atol=1e-13)
    monkeypatch.setattr(weighted_votes, "NUMBERS", 1)
    np.testing.assert_array_equal(shapley(x, K)[0], value)


def test_equal_rows_and_signs():
    x = np.array([3, 3, -2, 2, 2, -1, 0, 0])
    value, turned = shapley(x, 3)
    assert value[0] == pytest.approx(value[1], abs=1e-15)
    assert value[3] == pytest.approx(value[4], abs=1e-15)
    assert (value[x > 0] > 0).all()
    assert (value[x < 0] < 0).all()
    assert (turned[x > 0] < value[x > 0]).all()
    np.testing.assert_allclose(shapley(-x, 3)[0], -value, rtol=0, atol=1e-15)  # the others' game


def test_more_sets_than_can_be_counted():
    with pytest.raises(OverflowError, match="the sets of 399 of 5000 rows are more than float64 can count"):
        shapley(np.ones(5000, np.int64), 400)
