"""Semivalues: all at once over all subsets, and estimated from some, beside their definition."""

import functools
import itertools
import math
import warnings

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta as beta_distribution
from scipy.stats import binom, spearmanr

import datassay as da
import oracles
from datassay.engines import designs, semivalues
from datassay.engines.designs import Inclusion
from datassay.engines.semivalues import banzhaf_law, beta_law, estimate, exact, inclusion_law, shapley_law
from datassay.subsets.semivalues import order_kept

GRID = np.array([0.2, 0.4, 0.6, 0.8])


def by_inclusion(v, n, density):
    """E_p E_S [v(S + i) - v(S)] for p with this density, by integration: nothing of the laws of sizes."""
    phi = np.zeros(n)
    weights = [density(lambda p, k=k: p**k * (1 - p) ** (n - 1 - k)) for k in range(n)]
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for k in range(n):
            weight = weights[k]
            for S in itertools.combinations(others, k):
                phi[i] += weight * (v(frozenset(S) | {i}) - v(frozenset(S)))
    return phi


DENSITIES = {
    "shapley": (shapley_law, lambda f: quad(f, 0, 1)[0]),
    "banzhaf": (banzhaf_law, lambda f: f(0.5)),
    "weighted banzhaf": (lambda n: banzhaf_law(n, 0.3), lambda f: f(0.3)),
    "beta (16, 1)": (
        lambda n: beta_law(n, 16, 1),
        lambda f: quad(lambda p: f(p) * beta_distribution.pdf(p, 1, 16), 0, 1)[0],
    ),
    "beta (1, 4)": (lambda n: beta_law(n, 1, 4), lambda f: quad(lambda p: f(p) * beta_distribution.pdf(p, 4, 1), 0, 1)[0]),
    "ame": (lambda n: inclusion_law(n, GRID), lambda f: np.mean([f(p) for p in GRID])),
}
every_semivalue = pytest.mark.parametrize("name", DENSITIES)


@functools.cache
def some_subsets(n, seed, m):
    return Inclusion("uniform", (0.0, 1.0)).draw(n, seed, 0, m)


def a_game(n, seed=0):
    """A value for each subset, at random, and as a function of frozensets."""
    values = np.random.default_rng(seed).normal(size=2**n)
    return values, lambda S: values[sum(1 << i for i in S)]


@every_semivalue
@pytest.mark.parametrize("n", [2, 5, 8])
def test_all_subsets_give_the_definition(name, n):
    law, density = DENSITIES[name]
    values, v = a_game(n)
    np.testing.assert_allclose(exact(values, law(n)), by_inclusion(v, n, density), rtol=1e-9, atol=1e-12)


def test_beta_shapley_is_written_as_in_its_paper():
    """w_s = B(s + beta, n - s - 1 + alpha) / B(alpha, beta); a large alpha counts small subsets."""
    n, a, b = 6, 16, 1

    def B(x, y):
        return math.gamma(x) * math.gamma(y) / math.gamma(x + y)

    w = [math.comb(n - 1, s) * B(s + b, n - s - 1 + a) / B(a, b) for s in range(n)]
    np.testing.assert_allclose(beta_law(n, a, b), w)
    assert beta_law(n, a, b).argmax() == 0
    np.testing.assert_allclose(beta_law(n, 1, 1), shapley_law(n))


@pytest.mark.parametrize("name", list(oracles.GAMES))
def test_games_whose_values_are_known(name):
    n, v, shapley, banzhaf = oracles.GAMES[name]
    values = np.array([v(frozenset(i for i in range(n) if j >> i & 1)) for j in range(2**n)])
    np.testing.assert_allclose(exact(values, shapley_law(n)), shapley, atol=1e-12)
    np.testing.assert_allclose(exact(values, banzhaf_law(n)), banzhaf, atol=1e-12)


def test_additive_games_give_what_each_row_adds():
    a = np.array([3.0, -1.0, 0.0, 2.5])
    values = designs.all_subsets(4).counts @ a
    for law, _ in DENSITIES.values():
        np.testing.assert_allclose(exact(values, law(4)), a, atol=1e-12)


@every_semivalue
@pytest.mark.parametrize("by", ["differences", "ridge"])
def test_estimates_from_every_subset_once_are_exact(name, by, monkeypatch):
    """Every subset once is drawing each size with probability C(n, s) / 2^n. What all rows have in common comes from a smooth
    curve over the sizes, and is exact for Shapley alone."""
    n = 6
    law = DENSITIES[name][0](n)
    values, _ = a_game(n)
    keep = designs.all_subsets(n).counts.astype(bool)
    drawn = np.array([math.comb(n, s) for s in range(n + 1)]) / 2**n
    if by == "ridge":  # least squares: no shrinkage
        real = semivalues.effects.ridge
        monkeypatch.setattr(semivalues.effects, "ridge", lambda *a, **k: real(*a, alphas=np.zeros(1), **k))
        monkeypatch.setattr(semivalues, "of_size", lambda size, n, degree=4: np.eye(n + 1)[size])  # each size its own mean
    found = estimate(keep, values, drawn, law, ends=(values[0], values[-1]), by=by, errors=False)
    true = exact(values, law)
    np.testing.assert_allclose(found.value - found.value.mean(), true - true.mean(), rtol=1e-9, atol=1e-9)
    if name == "shapley":
        np.testing.assert_allclose(found.value, true, rtol=1e-9, atol=1e-9)


@every_semivalue
def test_differences_are_unbiased_and_their_error_is_real(name):
    """From subsets of one distribution the values of another."""
    n, m = 6, 6000
    law = DENSITIES[name][0](n)
    values, _ = a_game(n)
    true = exact(values, law)
    z = []
    for seed in range(4):
        subsets = some_subsets(n, seed, m)
        keep = subsets.counts.astype(bool)
        v = values[keep @ (1 << np.arange(n))]
        drawn = semivalues.mixture(n, subsets.p)
        found = estimate(keep, v, drawn, law, ends=(values[0], values[-1]), by="differences")
        off = found.value - found.value.mean() - (true - true.mean())
        z.append(off / found.stderr)
    z = np.array(z)
    assert np.abs(z).max() < 4.5
    assert 0.6 < np.sqrt((z**2).mean()) < 1.3


@every_semivalue
def test_adjusted_values_are_unbiased_and_their_error_is_real(name):
    """The values themselves, what all rows have in common included, in a game that no regression fits."""
    n, m = 6, 6000
    law = DENSITIES[name][0](n)
    values, _ = a_game(n)
    true, z = exact(values, law), []
    for seed in range(4):
        subsets = some_subsets(n, seed, m)
        keep = subsets.counts.astype(bool)
        v = values[keep @ (1 << np.arange(n))]
        found = estimate(keep, v, semivalues.mixture(n, subsets.p), law, ends=(values[0], values[-1]), by="msr-adjusted")
        z.append((found.value - true) / found.stderr)
    z = np.array(z)
    assert np.abs(z).max() < 4.5
    assert 0.6 < np.sqrt((z**2).mean()) < 1.4


def pair_game(n, seed=0, strength=1.0):
    """Rows and pairs of rows: its Shapley and Banzhaf values are what a row adds alone, and half of its pairs."""
    rng = np.random.default_rng(seed)
    w, W = rng.normal(size=n), np.triu(rng.normal(size=(n, n)), 1) * strength / np.sqrt(n)
    return (lambda keep: keep @ w + np.einsum("mi,ij,mj->m", keep, W, keep, optimize=True)), w + (W + W.T).sum(1) / 2


@pytest.mark.parametrize("law", [shapley_law, banzhaf_law])
def test_pairs_see_through_effects_of_two(law):
    """What is left is the curve over sizes: error a third of the ridge's and of permutations', and intervals that hold."""
    n, m, cover, errors = 101, 1000, [], {"adjusted": [], "ridge": []}
    for seed in range(3):
        v, true = pair_game(n, seed)
        ends = (0.0, float(v(np.ones((1, n)))[0]))
        design = Inclusion("beta", (0.5, 0.5)) if law is shapley_law else Inclusion("grid", (0.5,))
        subsets = design.draw(n, seed, 0, m, antithetic=True)
        keep, drawn = subsets.counts.astype(bool), semivalues.mixture(n, subsets.p)
        found = estimate(keep, v(keep * 1.0), drawn, law(n), ends=ends, by="msr-adjusted", pairs=True)
        usual = (Inclusion("uniform", (0.1, 0.9)) if law is shapley_law else design).draw(n, seed, 0, m)
        keep = usual.counts.astype(bool)
        ridge = estimate(
            keep, v(keep * 1.0), semivalues.mixture(n, usual.p), law(n), ends=ends, standardise=True, errors=False
        )
        errors["adjusted"].append(found.value - true)
        errors["ridge"].append(ridge.value - true)
        cover.append((np.abs(found.value - true) < 1.96 * found.stderr).mean())
    rms = {name: np.sqrt(np.mean(np.square(off))) for name, off in errors.items()}
    assert rms["adjusted"] < rms["ridge"] / 3
    assert np.mean(cover) > 0.88


def test_half_of_a_pair_is_left_out():
    v, _ = pair_game(12)
    subsets = Inclusion("grid", (0.5,)).draw(12, 0, 0, 81, antithetic=True)
    keep, drawn = subsets.counts.astype(bool), semivalues.mixture(12, subsets.p)
    some = [
        estimate(keep[:k], v(keep[:k] * 1.0), drawn, banzhaf_law(12), ends=(0.0, 1.0), by="msr-adjusted", pairs=True).value
        for k in (80, 81)
    ]
    np.testing.assert_array_equal(*some)


@pytest.mark.parametrize("method", ["shapley", "banzhaf", "beta-shapley"])
def test_ten_rows_whose_values_are_known(method):
    """From 200 trainings of 1,024: by the former name of the option, too, from pairs where the law is symmetric."""
    data = da.datasets.drawn("wine", train=10, val=40, test=20).data
    exact_values = da.value(data, method, n_models=1024, progress=False)
    assert exact_values.stats["trainings"] == 1024
    with pytest.warns(FutureWarning, match="the option by is now called estimator"):
        found = da.value(data, method, n_models=200, by="msr-adjusted", progress=False)
    z = (found.scores - exact_values.scores) / found.stats["stderr"]
    assert np.abs(z).max() < 4.5
    assert 0.3 < np.sqrt((z**2).mean()) < 2
    assert found.options["estimator"] == "msr-adjusted"
    if method == "shapley":
        assert found.scores.sum() == pytest.approx(found.stats["utility_of_all"] - found.stats["utility_of_none"])


def test_adjusted_values_of_stored_trainings(tmp_path):
    """Which were drawn by another method, and not in pairs."""
    data = da.datasets.drawn("wine", train=10, val=40, test=20).data
    store = tmp_path / "s.sqlite"
    da.value(data, "banzhaf", n_models=300, store=store, progress=False)
    found = da.value(data, "banzhaf", estimator="msr-adjusted", reuse=True, store=store, progress=False)
    exact_values = da.value(data, "banzhaf", n_models=1024, progress=False)
    z = (found.scores - exact_values.scores) / found.stats["stderr"]
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("standardise", [False, True])
def test_shapley_values_add_up_to_what_all_rows_are_worth(standardise):
    n = 30
    rng = np.random.default_rng(0)
    subsets = Inclusion("uniform", (0.0, 1.0)).draw(n, 0, 0, 300)
    keep = subsets.counts.astype(bool)
    v = np.sqrt(keep.sum(axis=1)) + keep @ rng.normal(size=n) * 0.1
    found = estimate(
        keep, v, semivalues.mixture(n, subsets.p), shapley_law(n), ends=(0.0, 7.0), standardise=standardise, by="ridge"
    )
    assert found.value.sum() == pytest.approx(7.0)


def test_effects_in_proportion_to_the_spread_are_found():
    """What a row adds falls with the size, as the noise does: the assumption of standardise=True holds, and pays."""
    n, m = 50, 400
    rng = np.random.default_rng(1)
    a = rng.normal(size=n)
    subsets = Inclusion("uniform", (0.02, 0.98)).draw(n, 0, 0, m)
    keep, size = subsets.counts.astype(bool), subsets.counts.sum(axis=1)
    v = (keep - size[:, None] / n) @ a / (size + 1) + 3 * rng.normal(size=m) / (size + 1)
    drawn, law = semivalues.mixture(n, subsets.p), shapley_law(n)
    loose = estimate(keep, v, drawn, law, ends=(0.0, 0.0))
    tight = estimate(keep, v, drawn, law, ends=(0.0, 0.0), standardise=True)
    # delta_is = a_i / (s + 1) (1 + 1 / (n - 1)) less a common part: Shapley is its mean over s
    true = (a - a.mean()) * n / (n - 1) * np.mean(1 / (np.arange(1, n) + 1)) * (n - 1) / n
    assert np.corrcoef(tight.value, true)[0, 1] > np.corrcoef(loose.value, true)[0, 1]
    assert np.corrcoef(tight.value, true)[0, 1] > 0.8
    slope = (tight.value @ true) / (true @ true)
    assert 0.6 < slope < 1.1  # shrunk, but in the right unit


def test_scale_is_the_standard_deviation_of_each_size():
    """Not only in proportion to it."""
    rng = np.random.default_rng(0)
    n = 20
    size = rng.integers(1, n, 20_000)
    true = 3 * ((size + 0.5) / (n - size + 0.5)) ** 0.3  # its logarithm is linear in the log-odds
    spread = semivalues.scale(size, n, true * rng.normal(size=len(size)))
    for s in (1, 5, 10, 15, 19):
        assert spread(np.array([s]))[0] == pytest.approx(true[size == s][0], rel=0.05)
    assert spread(np.array([0]))[0] == spread(np.array([1]))[0]


def test_of_many_rows_sizes_that_are_never_drawn_make_no_noise():
    n = 20_000
    drawn = np.zeros(n + 1)
    drawn[1 : n // 2] = 1 / (n // 2 - 1)
    drawn[n // 2 :] = 1e-315  # what is left of a law far from where it is
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        h = semivalues.weights(n, np.array([1, 500]), drawn, shapley_law(n))
    assert np.isfinite(h).all()
    assert (h > 0).all()


def wine_with_errors():
    return da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)[0]


@pytest.mark.parametrize("method", ["shapley", "banzhaf", "beta-shapley", "ame"])
def test_how_much_of_the_order_is_kept(method):
    """By another utility: what a run with that one gives; by another seed: near to what runs with others give, or less."""
    data = wine_with_errors()
    values = da.value(data, method, n_models=400, progress=False)
    kept = values.stats["order_kept"]
    other = da.value(data, method, n_models=400, utility="accuracy", progress=False)
    assert kept["accuracy"] == pytest.approx(spearmanr(values.scores, other.scores).statistic, abs=1e-9)
    assert "accuracy" not in other.stats["order_kept"]
    assert set(other.stats["order_kept"]) - {"halves", "seed"} <= {"margin", "probability"}
    again = [da.value(data, method, n_models=400, seed=seed, progress=False).scores for seed in (1, 2)]
    really = np.mean([spearmanr(values.scores, scores).statistic for scores in again])
    assert (
        -0.25 < kept["seed"] - really < 0.15
    )  # regressions with a penalty gain more from more trainings than the formula says
    assert kept["halves"] < kept["seed"]
    few = da.value(data, method, n_models=30, progress=False)
    assert "order_kept" not in few.stats


def test_halves_are_of_pairs_that_stay_together():
    """The scores of either half, by the definition: an estimate from these trainings alone."""
    n, rng = 8, np.random.default_rng(0)
    subsets = Inclusion("grid", (0.5,)).draw(n, 0, 0, 120, antithetic=True)
    v = subsets.counts @ rng.normal(size=n) + rng.normal(size=120)

    def difference(some, u):
        return np.array([u[some.counts[:, i] == 1].mean() - u[some.counts[:, i] == 0].mean() for i in range(n)])

    kept = order_kept(None, subsets, v, difference(subsets, v), difference, {})["order_kept"]
    first = np.repeat(np.arange(60) % 2 == 0, 2)
    halves = [difference(designs.Subsets(subsets.counts[some], subsets.p[some]), v[some]) for some in (first, ~first)]
    r = spearmanr(*halves).statistic
    assert (kept["halves"], kept["seed"]) == pytest.approx((r, 2 * r / (1 + r)))
    assert (subsets.counts[first][::2] + subsets.counts[first][1::2] == 1).all()


@pytest.mark.parametrize("n", [0, 1, 6, 900])
def test_a_mixture_is_the_mean_of_binomials(n):
    p = np.r_[0, 1, 1, 0.25, 0.25, np.random.default_rng(0).random(300)]
    np.testing.assert_allclose(
        semivalues.mixture(n, p), np.mean([binom.pmf(np.arange(n + 1), n, q) for q in p], axis=0), rtol=1e-9, atol=1e-300
    )
