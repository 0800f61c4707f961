from itertools import product

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import Lasso, LinearRegression

from datassay.engines import effects

GRID = np.array([0.2, 0.4, 0.6, 0.8])
V = effects.inclusion_variance(GRID)
TABLE = np.random.default_rng(0).normal(size=2**8)
GAMES = {  # name: players, what a coalition, as a row of a mask, is worth
    "random": (6, lambda S: TABLE[int(S @ 2 ** np.arange(len(S)))]),
    "random, 8 players": (8, lambda S: TABLE[int(S @ 2 ** np.arange(len(S)))]),
    "additive": (5, lambda S: float(S @ np.array([1.0, -2.0, 0.0, 0.5, 3.0]))),
    "first two together": (4, lambda S: float(S[0] and S[1])),
    "two of the first three": (6, lambda S: float(S[:3].sum() >= 2)),
}


def every(game, p):
    """Every subset with every p: masks, p, weights p^|S| (1 - p)^(n - |S|), utilities."""
    n, worth = GAMES[game]
    S = np.array(list(product([False, True], repeat=n)))
    keep, each = np.tile(S, (len(p), 1)), np.repeat(p, len(S))
    weight = each ** keep.sum(axis=1) * (1 - each) ** (n - keep.sum(axis=1))
    return keep, each, weight, np.array([worth(s) for s in S] * len(p))


def by_definition(game, p, share):
    """AME_i = sum over p of its share times E_S[U(S + i) - U(S)]."""
    n, worth = GAMES[game]
    out = np.zeros(n)
    for i in range(n):
        for S in product([False, True], repeat=n):
            S = np.array(S)
            if not S[i]:
                others = p ** S.sum() * (1 - p) ** (n - 1 - S.sum())
                more = S.copy()
                more[i] = True
                out[i] += (share @ others) * (worth(more) - worth(S))
    return out


def drawn(m, n, seed=0, effect=3, noise=0.5, dtype=np.float64):
    """A design on the grid, with an effect of so many rows, an effect of p, and noise."""
    rng = np.random.default_rng(seed)
    p = rng.choice(GRID, m)
    keep = rng.random((m, n)) < p[:, None]
    X = effects.coded(keep, p, V, dtype)
    b = np.zeros(n)
    b[:effect] = rng.choice([-1.0, 1.0], effect)
    return keep, p, X, X @ b + 5 * p + noise * rng.normal(size=m)


@pytest.mark.parametrize("game", GAMES)
def test_least_squares_over_every_subset_is_the_ame(game):
    keep, p, weight, U = every(game, GRID)
    truth = by_definition(game, GRID, np.full(4, 1 / 4))
    assert np.ptp(truth) > 0.1
    X, Z = effects.coded(keep, p, V), effects.covariates(p)
    found = effects.ridge(X, U, Z, alphas=np.zeros(1), weights=weight)
    np.testing.assert_allclose(np.sqrt(V) * found.coef, truth, atol=1e-12)
    if game == "additive":
        np.testing.assert_allclose(truth, [1.0, -2.0, 0.0, 0.5, 3.0], atol=1e-12)
    if game == "first two together":
        np.testing.assert_allclose(truth, [0.5, 0.5, 0, 0], atol=1e-12)  # E[p] on the grid
    # the design has uncorrelated columns of variance 1, of which the LASSO is the soft threshold
    alpha = np.sort(np.abs(found.coef))[-2] / 2
    sparse = effects.lasso(X, U, Z, alpha=alpha, weights=weight, tol=1e-14)
    np.testing.assert_allclose(sparse.coef, np.sign(found.coef) * np.maximum(np.abs(found.coef) - alpha, 0), atol=1e-7)


@pytest.mark.parametrize("game", ["random", "two of the first three"])
def test_of_log_odds_designs_b_is_the_ame_of_uniform_p(game):
    e = 0.05
    nodes, share = np.polynomial.legendre.leggauss(40)
    p = 1 / (1 + np.exp(-nodes * logit(1 - e)))  # logit p by quadrature
    keep, each, weight, U = every(game, p)
    weight = weight * np.repeat(share, len(U) // len(p))
    Z = effects.covariates(each)
    assert Z.shape[1] == 7  # smooth functions of p, not 40 columns
    found = effects.ridge(effects.centred(keep, each), U, Z, alphas=np.zeros(1), weights=weight)
    np.testing.assert_allclose(found.coef, by_definition(game, 0.5 + nodes * (0.5 - e), share / 2), atol=1e-9)


def test_the_size_column_takes_what_all_rows_share():
    _, p, X, U = drawn(300, 20)
    one = np.zeros(1)
    found = effects.ridge(X, U, effects.covariates(p), alphas=one)
    shared = effects.ridge(X, U, effects.covariates(p, size=X.sum(axis=1)), alphas=one)
    np.testing.assert_allclose(shared.coef + shared.fixed[-1], found.coef, atol=1e-10)
    assert abs(shared.coef.mean()) < 1e-10 < 1e-3 < abs(found.coef.mean())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize(("m", "n", "wide"), [(120, 30, 3), (80, 150, 3), (80, 150, 0)])
def test_the_optimum_of_the_whole_problem(m, n, wide, standardize, weighted, monkeypatch):
    """KKT: Z'r = 0; X_j'r / m = alpha s_j sign b_j where b_j is not 0, no more than alpha s_j where it is."""
    monkeypatch.setattr(effects, "WIDE", wide)  # 0: without a Gram matrix
    _, p, X, U = drawn(m, n)
    X[:, 3] *= 7
    w = np.random.default_rng(1).uniform(0.2, 2, m) if weighted else np.ones(m)
    Z = effects.covariates(p, size=X[:, :5].sum(axis=1))
    found = effects.lasso(X, U, Z, alpha=0.15, weights=w if weighted else None, standardize=standardize, tol=1e-13)
    r = U - Z @ found.fixed - X @ found.coef
    np.testing.assert_allclose(Z.T @ (w * r) / w.sum(), 0, atol=1e-10)
    mean = w @ X / w.sum()
    s = np.sqrt(w @ (X - mean) ** 2 / w.sum()) if standardize else np.ones(n)
    slope, on = X.T @ (w * r) / w.sum() / s, found.coef != 0
    assert 2 <= on.sum() < n
    np.testing.assert_allclose(slope[on], 0.15 * np.sign(found.coef[on]), atol=2e-6)
    assert np.abs(slope[~on]).max() < 0.15 + 2e-6


def test_equals_sklearn_with_columns_that_hardly_cost():
    _, p, X, U = drawn(100, 20)
    Z = effects.covariates(p)
    found = effects.lasso(X, U, Z, alpha=0.1, tol=1e-12)
    s = X.std(axis=0)
    plain = Lasso(alpha=0.1, fit_intercept=False, tol=1e-11, max_iter=10**6).fit(np.hstack([X / s, 1e5 * Z]), U)
    np.testing.assert_allclose(found.coef, plain.coef_[:20] / s, atol=1e-5)
    np.testing.assert_allclose(found.fixed, plain.coef_[20:] * 1e5, atol=1e-5)
    constant = effects.lasso(X, U, alpha=0.1, standardize=False, tol=1e-12)
    plain = Lasso(alpha=0.1, tol=1e-13).fit(X, U)
    np.testing.assert_allclose(constant.coef, plain.coef_, atol=1e-6)
    np.testing.assert_allclose(constant.fixed, [plain.intercept_], atol=1e-6)


@pytest.mark.parametrize("wide", [0, 3])
def test_cross_validation_is_fits_to_the_other_folds(wide, monkeypatch):
    monkeypatch.setattr(effects, "WIDE", wide)
    _, p, X, U = drawn(90, 25, noise=2.0)
    w = np.random.default_rng(1).uniform(0.2, 2, 90)
    Z = effects.covariates(p)
    found = effects.lasso(X, U, Z, rule="min", folds=6, strata=p, seed=3, length=30, ratio=0.02, weights=w)
    fold = effects.folds_of(90, 6, 3, p)
    assert 4 < found.at < 29
    np.testing.assert_allclose(found.alphas, found.alphas[0] * np.geomspace(1, 0.02, 30))
    for at in (0, 4, int(found.at)):
        each, size = np.zeros(6), np.zeros(6)
        for f in range(6):
            held = fold == f
            fit = effects.lasso(X[~held], U[~held], Z[~held], alpha=found.alphas[at], weights=w[~held], tol=1e-10)
            miss = U[held] - Z[held] @ fit.fixed - X[held] @ fit.coef
            each[f], size[f] = w[held] @ miss**2 / w[held].sum(), w[held].sum()
        mean = size @ each / size.sum()
        np.testing.assert_allclose(found.error[at], mean, rtol=2e-3)
        np.testing.assert_allclose(found.stderr[at], np.sqrt(size @ (each - mean) ** 2 / size.sum() / 5), rtol=2e-2)
    assert found.at == np.nanargmin(found.error)
    np.testing.assert_allclose(found.alpha, found.alphas[found.at])
    fit = effects.lasso(X, U, Z, alpha=found.alpha, weights=w)
    np.testing.assert_allclose(found.coef, fit.coef, atol=1e-3)
    least = effects.lasso(X, U, Z, rule="1se", folds=6, strata=p, seed=3, length=30, ratio=0.02, weights=w)
    within = found.error <= found.error[found.at] + found.stderr[found.at]
    assert least.at == np.flatnonzero(within)[0] < found.at


@pytest.mark.parametrize("wide", [0, 3])
def test_generalised_cross_validation_is_one_fit_and_its_coefficients(wide, monkeypatch):
    monkeypatch.setattr(effects, "WIDE", wide)
    _, p, X, U = drawn(90, 25, noise=2.0)
    w = np.random.default_rng(1).uniform(0.2, 2, 90)
    Z = effects.covariates(p)
    options = {"rule": "gcv", "length": 30, "ratio": 0.02, "weights": w}
    found = effects.lasso(X, U, Z, **options)
    assert 4 < found.at < 29
    for at in (0, 4, int(found.at)):
        fit = effects.lasso(X, U, Z, alpha=found.alphas[at], weights=w, tol=1e-10)
        miss = U - Z @ fit.fixed - X @ fit.coef
        df = (fit.coef != 0).sum() + np.linalg.matrix_rank(Z)
        np.testing.assert_allclose(found.error[at], w @ miss**2 / w.sum() / (1 - df / 90) ** 2, rtol=5e-3)
    assert found.at == np.nanargmin(found.error)
    fit = effects.lasso(X, U, Z, alpha=found.alpha, weights=w)
    np.testing.assert_allclose(found.coef, fit.coef, atol=1e-3)
    several = effects.lasso(X, np.column_stack([U[::-1], U]), Z, n_jobs=2, **options)
    np.testing.assert_allclose(several.coef[:, 1], found.coef, atol=1e-9)
    np.testing.assert_array_equal(effects.lasso(X, U, Z, n_jobs=2, **options).coef, found.coef)


def test_generalised_cross_validation_tells_the_error_on_new_trainings():
    """At the alpha that it takes, and nowhere is one much better; 60 effects, a third of them not 0."""
    rng, told, true, best = np.random.default_rng(0), [], [], []
    for _ in range(12):
        b = rng.normal(size=60) * (rng.random(60) < 0.3)
        X, new = rng.choice([-1.0, 1.0], (150, 60)), rng.choice([-1.0, 1.0], (1000, 60))
        U = X @ b + 2 * rng.normal(size=150)

        def off(fit, new=new, b=b):
            return np.mean((new @ (fit.coef - b) + fit.fixed) ** 2) + 4

        found = effects.lasso(X, U, rule="gcv")
        told.append(found.error[found.at])
        true.append(off(found))
        best.append(min(off(effects.lasso(X, U, alpha=a)) for a in found.alphas[found.at] * np.geomspace(0.3, 3, 9)))
    assert np.mean(told) == pytest.approx(np.mean(true), rel=0.1)
    assert np.mean(true) < 1.1 * np.mean(best)


def test_the_path_ends_only_beyond_the_lowest_error(monkeypatch):
    _, p, X, U = drawn(150, 40, noise=2.0)
    found = effects.lasso(X, U, effects.covariates(p), strata=p)
    assert np.isnan(found.error[-1])
    monkeypatch.setattr(effects, "BEYOND", 1e300)
    whole = effects.lasso(X, U, effects.covariates(p), strata=p)
    assert not np.isnan(whole.error).any()
    assert np.nanargmin(found.error) == np.argmin(whole.error)
    np.testing.assert_array_equal(found.coef, whole.coef)


def test_folds_share_each_p_and_each_neighbourhood():
    p = np.repeat(GRID, [40, 41, 10, 9])
    fold = effects.folds_of(100, 10, 0, p)
    assert set(np.bincount(fold)) == {10}
    for level, least in zip(GRID, [3, 3, 0, 0], strict=True):
        count = np.bincount(fold[p == level], minlength=10)
        assert least <= count.min() <= count.max() <= count.mean() + 2
    smooth = np.random.default_rng(0).random(100)
    fold = effects.folds_of(100, 10, 0, smooth)
    assert all(set(fold[np.argsort(smooth)[i : i + 10]]) == set(range(10)) for i in range(0, 100, 10))
    assert (effects.folds_of(100, 10, 1, p) != effects.folds_of(100, 10, 2, p)).any()


def test_several_utilities_at_once_are_each_alone():
    _, p, X, U = drawn(100, 30)
    both = np.column_stack([U, (X[:, 9] - U) * 1e-6, p])
    Z = effects.covariates(p)
    for fit in (
        lambda U: effects.lasso(X, U, Z, folds=5, rule="min", strata=p),
        lambda U: effects.ridge(X, U, Z, errors=True, strata=p)._replace(alphas=None),
    ):
        together = fit(both)
        assert np.ptp(together.coef[:, 0]) > 0.1 < np.ptp(together.coef[:, 1]) * 1e6
        assert (together.coef[:, 2] == 0).all()  # p is in the span of Z
        for j in range(2):
            for name, value in fit(both[:, j])._asdict().items():
                if value is not None:
                    got = getattr(together, name)[..., j]
                    np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-9 * np.ptp(both[:, j]), err_msg=name)


def test_the_number_of_threads_does_not_change_a_bit():
    _, p, X, U = drawn(150, 60)
    Z, both = effects.covariates(p), np.column_stack([U, X[:, 9] - U])
    one = effects.lasso(X, both, Z, strata=p, n_jobs=1)
    assert np.ptp(one.coef, axis=0).min() > 0.1
    three = effects.lasso(X, both, Z, strata=p, n_jobs=3)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (effects.lasso(X, both, Z, strata=p, seed=1).error != one.error).any()


def test_columns_without_a_life_of_their_own(monkeypatch):
    _, p, X, U = drawn(80, 12)
    Z = effects.covariates(p)
    X[:, 4], X[:, 5] = 0.1, Z @ np.array([1.0, 2.0, -1.0, 0.5])
    for found in (
        effects.lasso(X, U, Z, folds=5),
        effects.lasso(X, U, Z, folds=5, standardize=False),
        effects.lasso(X.astype(np.float32), U, Z, folds=5),
        effects.ridge(X, U, Z, alphas=np.array([0.0, 1.0])),
    ):
        np.testing.assert_allclose(found.coef[[4, 5]], 0, atol=1e-7)
        assert np.abs(found.coef[:3]).min() > 0.3
    monkeypatch.setattr(effects, "WIDE", 0)
    w = np.random.default_rng(1).uniform(0.2, 2, 80)  # by which the mean of equal numbers is rounded
    assert (effects.lasso(X.astype(np.float32), U, Z, alpha=1e-5, weights=w).coef[[4, 5]] == 0).all()
    monkeypatch.undo()
    flat = effects.lasso(X, Z @ np.ones(4), Z, folds=5)
    assert (flat.coef == 0).all()
    np.testing.assert_allclose(flat.fixed, 1, atol=1e-12)
    # columns of Z that say the same
    doubled = effects.lasso(X, U, np.hstack([Z, np.ones((80, 1))]), alpha=0.1)
    np.testing.assert_allclose(doubled.coef, effects.lasso(X, U, Z, alpha=0.1).coef, atol=1e-6)
    with pytest.raises(ValueError, match="rule must be"):
        effects.lasso(X, U, Z, rule="best")
    with pytest.raises(ValueError, match="above 0"):
        effects.lasso(X, U, Z, alpha=0.0)
    with pytest.raises(ValueError, match="2 folds"):
        effects.lasso(X, U, Z, folds=1)


def test_single_precision_says_the_same():
    for shape in ((100, 40), (60, 200)):
        _, p, X, U = drawn(*shape)
        Z = effects.covariates(p)
        small, full = (effects.lasso(A, U, Z, strata=p, folds=5) for A in (X.astype(np.float32), X))
        assert small.at == full.at
        np.testing.assert_allclose(small.coef, full.coef, atol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("m", "n"), [(30, 8), (30, 30), (25, 60)])
def test_ridge_leaves_one_out_as_a_refit_does(m, n, weighted):
    rng = np.random.default_rng(m + n)
    X, Z, U = rng.normal(size=(m, n)), rng.normal(size=(m, 3)), rng.normal(size=m)
    U += X[:, 0] * 2
    w = rng.uniform(0.5, 2, m) if weighted else np.ones(m)
    found = effects.ridge(X, U, Z, weights=w if weighted else None, errors=True)
    penalty = w.sum() * found.alpha  # kept when a row goes

    def fit(rows):
        A = np.hstack([X, Z])[rows]
        H = A.T @ (w[rows, None] * A)
        H[:n, :n] += penalty * np.eye(n)
        return np.linalg.solve(H, A.T @ (w[rows] * U[rows]))

    everything = np.arange(m)
    whole = fit(everything)
    np.testing.assert_allclose(found.coef, whole[:n], atol=1e-10)
    np.testing.assert_allclose(found.fixed, whole[n:], atol=1e-10)
    refits = np.array([fit(np.delete(everything, i)) for i in range(m)])
    misses = U - np.einsum("ij,ij->i", np.hstack([X, Z]), refits)
    np.testing.assert_allclose(found.residuals, misses, atol=1e-9)
    np.testing.assert_allclose(found.error.min(), w @ misses**2 / w.sum())
    assert found.alpha == found.alphas[np.argmin(found.error)]
    assert 0 < np.argmin(found.error) < 60
    jackknife = np.sqrt((m - 1) * refits[:, :n].var(axis=0))
    np.testing.assert_allclose(found.stderr, jackknife, rtol=1e-7)


def test_jackknife_within_strata():
    _, p, X, U = drawn(60, 5)
    Z = effects.covariates(p)
    found = effects.ridge(X, U, Z, errors=True, strata=p)
    refit = [
        effects.ridge(*(np.delete(a, i, 0) for a in (X, U, Z)), alphas=found.alpha[None] * 60 / 59).coef for i in range(60)
    ]
    variance = sum(
        (q - 1) * np.array(refit)[p == level].var(axis=0) for level, q in zip(*np.unique(p, return_counts=True), strict=True)
    )
    np.testing.assert_allclose(found.stderr, np.sqrt(variance), rtol=1e-7)


def test_a_row_that_alone_has_a_column_of_z_has_no_residual():
    _, p, X, U = drawn(30, 4)
    p[0] = 0.5
    found = effects.ridge(X, U, effects.covariates(p), errors=True, strata=p)
    np.testing.assert_array_equal(np.isnan(found.residuals), np.arange(30) == 0)
    assert np.isfinite(found.error).all()
    assert np.isfinite(found.stderr).all()
    assert np.isfinite(effects.lasso(X, U, effects.covariates(p), strata=p, folds=5).coef).all()


def test_the_bootstrap_agrees_with_the_jackknife_and_with_new_trainings():
    m, alpha = 400, np.array([0.01])

    def fit(X, U, Z):
        return effects.ridge(X, U, Z, alphas=alpha).coef

    _, p, X, U = drawn(m, 10, noise=1.0)
    Z = effects.covariates(p)
    jackknife = effects.ridge(X, U, Z, alphas=alpha, errors=True, strata=p).stderr
    again = effects.bootstrap(lambda rows: fit(X[rows], U[rows], Z[rows]), m, times=200, strata=p)
    new = np.std(
        [fit(X, U, effects.covariates(p)) for _, p, X, U in (drawn(m, 10, seed=s, noise=1.0) for s in range(200))], axis=0
    )
    new = new[3:]  # the first have signs that change with the seed
    # deviations of 200 have a relative error of 1 / sqrt(400) each
    np.testing.assert_allclose(again, jackknife, rtol=4 / 20)
    np.testing.assert_allclose(np.sqrt(np.mean(new**2)), np.sqrt(np.mean(jackknife[3:] ** 2)), rtol=4 / 20 / np.sqrt(7))


def test_bootstrap_draws_within_strata():
    strata = np.repeat([0, 1, 2], [5, 10, 1])

    def count(rows):
        return np.r_[np.bincount(strata[rows], minlength=3), np.bincount(rows, minlength=16)].astype(float)

    deviation = effects.bootstrap(count, 16, times=300, strata=strata, n_jobs=1)
    assert (deviation[:3] == 0).all()
    assert deviation[-1] == 0
    np.testing.assert_allclose(deviation[3:-1], np.sqrt(1 - 1 / np.repeat([5, 10], [5, 10])), rtol=4 / np.sqrt(300))
    np.testing.assert_array_equal(deviation, effects.bootstrap(count, 16, times=300, strata=strata, n_jobs=3))
    assert (deviation != effects.bootstrap(count, 16, times=300, strata=strata, seed=1)).any()
    with pytest.raises(ValueError, match="one row"):
        effects.bootstrap(count, 16, strata=np.arange(16))


def test_the_threshold_game_is_found_among_a_thousand():
    """Two of three special players among 1000: AME E[2 p (1 - p)] = 0.4 on the grid."""
    rng = np.random.default_rng(0)
    p = rng.choice(GRID, 2000)
    keep = rng.random((2000, 1000)) < p[:, None]
    U = (keep[:, :3].sum(axis=1) >= 2).astype(float)
    X, Z = effects.coded(keep, p, V), effects.covariates(p)
    found = effects.lasso(X, U, Z, strata=p)
    np.testing.assert_array_equal(np.flatnonzero(found.coef), [0, 1, 2])
    assert (found.coef[:3] < 0.4 / np.sqrt(V)).all()  # shrunk
    again = effects.ridge(X[:, :3], U, Z, alphas=np.zeros(1), errors=True, strata=p)
    assert np.abs((again.coef - 0.4 / np.sqrt(V)) / again.stderr).max() < 4
    assert again.stderr.max() * np.sqrt(V) < 0.02
    few = effects.lasso(X[:300], U[:300], Z[:300], strata=p[:300])
    assert set(np.argsort(few.coef)[-3:]) == {0, 1, 2}


def test_the_released_scale_is_told_from_ours():
    """lazycal/ame divides b by v: 27 times too small on the grid; regression by hand on one p gives the difference of means."""
    rng = np.random.default_rng(0)
    keep = rng.random((4000, 3)) < 0.5
    U = keep @ np.array([1.0, 2.0, -1.0])
    p = np.full(4000, 0.5)
    found = effects.ridge(effects.coded(keep, p, 4.0), U, effects.covariates(p), alphas=np.zeros(1))
    np.testing.assert_allclose(2.0 * found.coef, LinearRegression().fit(keep, U).coef_)
    np.testing.assert_allclose(2.0 * found.coef, [1.0, 2.0, -1.0])
