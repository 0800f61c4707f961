import numpy as np
import pytest

from datassay.engines import designs, effects, knockoffs

GRID = np.array([0.2, 0.4, 0.6, 0.8])
V = effects.inclusion_variance(GRID)


def study(seed, m=200, n=60, signals=15, effect=0.3, harmful=0):
    """Coded masks and knockoffs, utilities, Z, p and the true effects of m trainings, with noise of variance 1."""
    rng = np.random.default_rng([seed, 99])
    p = rng.choice(GRID, m)
    keep = rng.random((m, n)) < p[:, None]
    b = np.zeros(n)
    on = rng.permutation(n)[:signals]
    b[on] = effect
    b[on[:harmful]] *= -1
    X = effects.coded(keep, p, V)
    twin = effects.coded(knockoffs.knockoff_masks(p, n, seed), p, V)
    return X, twin, X @ b + 3 * p + rng.normal(size=m), effects.covariates(p), p, b


def studies(times, **options):
    """For q = 0.1, 0.2 and knockoff (its modified share), knockoff+: (times, 4) false shares, powers; signs of W without effect."""
    false, power, signs = np.zeros((times, 4)), np.zeros((times, 4)), []
    shape = {k: options.pop(k) for k in ("m", "n", "signals", "effect") if k in options}
    for s in range(times):
        X, twin, U, Z, p, b = study(s, **shape)
        W = knockoffs.joint(X, twin, U, Z, strata=p, seed=s, folds=5, n_jobs=1, **options)
        signs.append(np.sign(W[b == 0]))
        for j, (q, plus) in enumerate([(0.1, False), (0.1, True), (0.2, False), (0.2, True)]):
            chosen = knockoffs.threshold(W, q, plus=plus) <= W
            wrong = (chosen & (b == 0)).sum()
            false[s, j] = wrong / max(1, chosen.sum()) if plus else wrong / (chosen.sum() + 1 / q)
            power[s, j] = (chosen & (b > 0)).sum() / max(1, (b > 0).sum())
    return false, power, np.concatenate(signs)


def assert_controlled(false, power, signs, least):
    """The bounds hold, to three standard errors of the mean of these studies; signs of W without effect are fair coins."""
    stderr = false.std(axis=0, ddof=1) / np.sqrt(len(false))
    assert (false.mean(axis=0) < np.array([0.1, 0.1, 0.2, 0.2]) + 3 * stderr).all()
    assert (power[:, [1, 3]].mean(axis=0) > least).all()
    coins = signs[signs != 0]
    assert abs(coins.sum()) < 4 * np.sqrt(len(coins))
    assert len(coins) > 200


@pytest.mark.parametrize("how", ["lasso", "ridge"])
def test_false_discoveries_are_as_few_as_promised(how):
    false, power, signs = studies(40, how=how)
    assert_controlled(false, power, signs, [0.4, 0.7])
    # the bound is near: half as many would be no test of it
    assert false[:, 3].mean() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lasso", "ridge"])
def test_false_discoveries_of_two_hundred_designs(how):
    false, power, signs = studies(200, how=how, m=250, n=80, signals=20)
    print(how, "false", false.mean(axis=0).round(3), "power", power.mean(axis=0).round(2))
    assert_controlled(false, power, signs, [0.8, 0.9] if how == "lasso" else [0.7, 0.85])
    assert false[:, 3].mean() > 0.1


@pytest.mark.parametrize(("how", "direction"), [("lasso", "both"), ("ridge", "helpful"), ("ridge", "harmful")])
def test_nothing_is_found_where_there_is_nothing(how, direction):
    """Under the null P(any selected) is the false discovery rate; the sign of W is a coin."""
    times = 40
    false, _, signs = studies(times, how=how, direction=direction, signals=0, n=40, m=120)
    assert (false > 0)[:, [1, 3]].sum(axis=0).tolist() <= [times * q + 4 * np.sqrt(times * q * (1 - q)) for q in (0.1, 0.2)]
    assert (false > 0)[:, 1].mean() < 0.3  # and so not vacuous: 10 % and four errors
    coins = signs[signs != 0]
    assert abs(coins.sum()) < 4 * np.sqrt(len(coins))
    if how == "ridge":
        assert len(coins) > 1000
        # without the 1 the largest |W| decides: in half of all studies something is found
        assert (false > 0)[:, 0].mean() > 0.25


def test_masks_have_their_p_and_extend():
    p = np.repeat([0.1, 0.7], 200)
    masks = knockoffs.knockoff_masks(p, 500, seed=3)
    for level in (0.1, 0.7):
        drawn = masks[p == level]
        assert abs(drawn.mean() - level) < 4 * np.sqrt(level * (1 - level) / drawn.size)
        columns = drawn.mean(axis=0)
        assert abs(columns - level).max() < 5 * np.sqrt(level * (1 - level) / 200)
    np.testing.assert_array_equal(knockoffs.knockoff_masks(p[:150], 500, seed=3), masks[:150])
    assert (knockoffs.knockoff_masks(p, 500, seed=4) != masks).any()
    C = np.corrcoef(masks[p == 0.7].T)
    assert np.abs(C[~np.eye(500, dtype=bool)]).mean() < 1.1 * np.sqrt(
        2 / np.pi / 200
    )  # columns independent: E|r| of 200 rows


def test_masks_do_not_repeat_those_of_the_design():
    subsets = designs.Inclusion("grid", (0.5,)).draw(2000, 7, 0, 20)
    masks = knockoffs.knockoff_masks(subsets.p, 2000, seed=7)
    for row in subsets.counts > 0:
        assert np.abs((masks == row).mean(axis=1) - 0.5).max() < 5 * 0.5 / np.sqrt(2000)


def test_antithetic_masks_are_complements():
    p = np.array([0.3, 0.7, 0.2, 0.8, 0.4])
    masks = knockoffs.knockoff_masks(p, 1000, seed=0, antithetic=True)
    np.testing.assert_array_equal(masks[[1, 3]], ~masks[[0, 2]])
    plain = knockoffs.knockoff_masks(p, 1000, seed=0)
    np.testing.assert_array_equal(masks[::2], plain[::2])


def brute(W, q, plus):
    """The definition: of all t > 0 among |W| the least that qualifies."""
    for t in sorted(set(np.abs(W[W != 0]).tolist())):
        if (plus + sum(w <= -t for w in W)) / max(1, sum(w >= t for w in W)) <= q:
            return t
    return np.inf


def test_the_threshold_is_its_definition():
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(300):
        W = rng.integers(-4, 9, rng.integers(1, 40)).astype(float) / 4  # ties and zeros
        q, plus = rng.choice([0, 0.05, 0.1, 0.3]), bool(rng.integers(2))
        tau = knockoffs.threshold(W, q, plus=plus)
        assert tau == brute(W, q, plus)
        if np.isfinite(tau):
            assert (plus + np.sum(-tau >= W)) / max(1, np.sum(tau <= W)) <= q
        found.add(tau)
    assert len(found) > 5
    assert np.inf in found
    assert knockoffs.threshold(np.zeros(4), 1.0, plus=False) == np.inf
    # q = 0 without the 1 stops at the first negative W; with it nothing can be found
    W = np.array([3.0, 2.0, -1.5, 1.0])
    assert knockoffs.threshold(W, 0.0, plus=False) == 2.0
    assert knockoffs.threshold(W, 0.0) == np.inf
    # ten rows at least for q = 0.1
    assert knockoffs.threshold(np.ones(9), 0.1) == np.inf
    assert knockoffs.threshold(np.ones(10), 0.1) == 1.0


def test_swapping_a_row_with_its_knockoff_turns_its_w():
    rng = np.random.default_rng(0)
    b, twin = rng.normal(size=30), rng.normal(size=30)
    for direction in ("helpful", "harmful", "both"):
        W = knockoffs.statistics(b, twin, direction)
        assert 0 < (W > 0).sum() < 30
        np.testing.assert_array_equal(knockoffs.statistics(twin, b, direction), -W)
    np.testing.assert_array_equal(knockoffs.statistics(b, twin, "harmful"), knockoffs.statistics(-b, -twin, "helpful"))
    with pytest.raises(ValueError, match="direction must be"):
        knockoffs.statistics(b, twin, "good")


@pytest.mark.parametrize("how", ["lasso", "ridge"])
def test_the_regression_treats_both_alike(how):
    X, twin, U, Z, p, _ = study(0, n=40)
    options = {"how": how, "direction": "both", "strata": p, "seed": 1, "folds": 5}
    W = knockoffs.joint(X, twin, U, Z, **options)
    swap = np.arange(40) < 13
    turned = knockoffs.joint(np.where(swap, twin, X), np.where(swap, X, twin), U, Z, **options)
    assert np.abs(W[swap]).max() > 0.1
    np.testing.assert_allclose(turned, np.where(swap, -W, W), atol=2e-3)


def test_directions_and_several_utilities():
    X, twin, U, Z, p, b = study(3, m=400, signals=24, effect=0.4, harmful=12)
    options = {"strata": p, "folds": 5}
    chosen = {}
    for direction in ("helpful", "harmful", "both"):
        W = knockoffs.joint(X, twin, U, Z, direction=direction, **options)
        chosen[direction] = knockoffs.threshold(W, 0.2) <= W
        both = knockoffs.joint(X, twin, np.column_stack([-U, U]), Z, direction=direction, **options)
        assert both.shape == (60, 2)
        np.testing.assert_allclose(both[:, 1], W, atol=1e-6)
    assert chosen["helpful"][b > 0].mean() > 0.8 > 0.3 > chosen["helpful"][b <= 0].mean()
    assert chosen["harmful"][b < 0].mean() > 0.8 > 0.3 > chosen["harmful"][b >= 0].mean()
    assert chosen["both"][b != 0].mean() > 0.8 > 0.3 > chosen["both"][b == 0].mean()
    assert not (chosen["helpful"] & (b < 0)).any()
    with pytest.raises(ValueError, match="how must be"):
        knockoffs.joint(X, twin, U, Z, how="tree")


def test_a_coin_orders_each_pair(monkeypatch):
    """What the regression is given does not tell rows from knockoffs by their place."""
    X, twin, U, Z, p, _ = study(0)
    given, fit = [], effects.ridge
    monkeypatch.setattr(effects, "ridge", lambda X, *a, **k: (given.append(np.array(X)), fit(X, *a, **k))[1])
    for seed in (0, 1):
        knockoffs.joint(X, twin, U, Z, how="ridge", strata=p, seed=seed)
    n, orders = X.shape[1], []
    for both in given:
        kept = (both[:, :n] == X).all(axis=0)
        np.testing.assert_array_equal(both[:, :n], np.where(kept, X, twin))
        np.testing.assert_array_equal(both[:, n:], np.where(kept, twin, X))
        assert abs(kept.sum() - n / 2) < 4 * np.sqrt(n) / 2
        orders.append(kept)
    assert (orders[0] != orders[1]).any()
