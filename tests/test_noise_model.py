"""The noise model of engines/noise_model: against its definition, by simulation from itself, and where it can't tell."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from datassay.engines import noise_model as nm


def drawn(n, K, e, *, sharp=3.0, T=None, seed=0):
    """Rows from the model itself: L, given codes, right codes."""
    rng = np.random.default_rng(seed)
    L = rng.normal(size=(n, K))
    p = nm.softmax(L, sharp)
    right = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    T = nm._uniform(e, K) if T is None else T
    given = (T[right].cumsum(1) > rng.random((n, 1))).argmax(1)
    return L, given, right


def likelihood(L, codes, s, T):
    """By definition, a row at a time."""
    total = 0.0
    for scores, code in zip(L, codes, strict=True):
        p = np.exp(s * scores) / np.exp(s * scores).sum()
        total += np.log(sum(p[c] * T[c, code] for c in range(len(p))))
    return total


@pytest.mark.parametrize("K", [2, 3, 5])
def test_one_rate_is_the_maximum_of_its_definition(K):
    L, given, _ = drawn(300, K, 0.15, seed=K)
    s, e = nm.one_rate(L, given)
    found = minimize(
        lambda x: -likelihood(L, given, np.exp(x[0]), nm._uniform(x[1], K)), [np.log(s), e], method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-8},
    )  # fmt: skip
    assert likelihood(L, given, s, nm._uniform(e, K)) == pytest.approx(-found.fun, abs=1e-5)


def test_many_classes_have_the_probabilities_and_slopes_of_the_definition_in_between():
    L, given, _ = drawn(300, 60, 0.15)
    owns = nm._owns(L, given)
    for x in (-2.03, 0.0, 0.517, 1.9, 3.26):

        def exact(x):
            return np.array(
                [s[y] - np.log(np.exp(s - s.max()).sum()) - s.max() for s, y in zip(np.exp(x) * L, given, strict=True)]
            )

        own, slope = owns.at(x)
        there = exact(x) > -50  # less is as good as nothing
        assert there.sum() > 100
        assert abs(np.log(own) - exact(x))[there].max() < 1e-4
        assert abs(slope - (exact(x + 1e-4) - exact(x - 1e-4)) / 2e-4)[there].max() < 1e-2


def test_many_classes_are_fitted_as_few_are(monkeypatch):
    L, given, _ = drawn(1000, 60, 0.15)
    found = nm.fit(L, given)
    monkeypatch.setattr(nm, "_owns", lambda L, codes: None)
    exact = nm.fit(L, given)
    assert found.temperature == pytest.approx(exact.temperature, rel=1e-3)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.5)
    assert np.array_equal(found.flagged, exact.flagged)
    assert np.allclose(found.probability, exact.probability, atol=1e-3)


def test_the_readings_are_bayes_rule():
    L, given, _ = drawn(60, 4, 0.2)
    T = np.random.default_rng(1).dirichlet(np.ones(4) + 8 * np.eye(4)[0], 4)
    p = nm.softmax(L, 2.0)
    r, R = nm.readings(p, T, given)
    for i, y in enumerate(given):
        joint = [p[i, c] * T[c, y] for c in range(4)]
        assert r[i] == pytest.approx(1 - joint[y] / sum(joint), abs=1e-12)
        assert R[i] == pytest.approx(1 - joint[y] / sum(joint) * p[i, y], abs=1e-12)
    assert np.all(r <= R + 1e-12)


def test_the_temperature_is_a_maximum_and_its_slope_right():
    L, given, _ = drawn(200, 3, 0.1)
    T = nm._uniform(0.1, 3)
    s, top = nm._temperature(L, given, T, 1.0)
    assert top == pytest.approx(likelihood(L, given, s, T), abs=1e-6)
    slope = approx_fprime([s], lambda x: likelihood(L, given, x[0], T), 1e-6)
    assert abs(slope[0]) < 0.05


def test_matrix_steps_do_not_lower_the_likelihood_and_find_the_confused_pair():
    T = nm._uniform(0.02, 4)
    T[1] = [0.01, 0.67, 0.31, 0.01]
    L, given, right = drawn(4000, 4, 0, sharp=6.0, T=T)
    s, e = nm.one_rate(L, given)
    tops = []
    for most in (1, 3, 10, 40):
        fitted, found = nm.class_rates(L, given, s, e, most=most)
        tops.append(likelihood(L[:500], given[:500], fitted, found))
    assert tops[-1] > tops[0]
    assert found[1, 2] == pytest.approx(0.31, abs=0.05)
    model = nm.fit(L, given)
    assert model.transition is not None
    assert abs(model.rate - np.mean(given != right)) < 0.02
    uniform = nm.fit(*drawn(2000, 4, 0.1, sharp=6.0)[:2])
    assert uniform.transition is None  # nothing to win out of sample


def test_the_lower_end_is_below_the_rate_of_the_model_in_39_of_40_draws():
    ends = []
    for seed in range(200):
        L, given, _ = drawn(400, 3, 0.1, sharp=4.0, seed=seed)
        s, e = nm.one_rate(L, given)
        ends.append(nm.least_rate(L, given, s, nm._uniform(e, 3)))
    assert np.mean(np.array(ends) <= 0.1) > 0.975 - 3 * np.sqrt(0.975 * 0.025 / 200)
    assert np.mean(np.array(ends) <= 0.08) < 0.975  # and not far below it, always


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_bounds_hold_the_number_wherever_between_the_readings_errors_lie(share):
    """Errors at random, and labels drawn anew where classes overlap, in so large a share of the rows."""
    held = []
    for seed in range(60):
        L, given, right = drawn(600, 3, 0.08, sharp=3.0, seed=seed)
        rng = np.random.default_rng(1000 + seed)
        p = nm.softmax(L, 3.0)
        anew = rng.random(600) < share
        truth = np.where(anew & (given == right), (p.cumsum(1) > rng.random((600, 1))).argmax(1), right)
        model = nm.fit(L, given)
        held.append(model.low <= np.sum(given != truth) <= model.high)
    assert np.mean(held) >= 0.95


def test_probabilities_are_true_where_the_model_is():
    L, given, right = drawn(20_000, 5, 0.1, sharp=8.0)
    model = nm.fit(L, given)
    wrong = given != right
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        some = (model.ambiguity >= low) & (model.ambiguity < low + 0.2)
        assert model.ambiguity[some].mean() == pytest.approx(wrong[some].mean(), abs=3 * 0.5 / np.sqrt(some.sum()))


def test_clean_well_separated_rows_have_no_errors_and_it_says_so():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 500)
    L = np.where(codes[:, None] == np.arange(4), 1.0, -1.0) + 0.1 * rng.normal(size=(500, 4))
    model = nm.fit(L, codes)
    assert model.told
    assert not model.flagged.any()
    assert model.low == 0
    assert model.high < 5


def test_of_two_tops_the_higher_one_is_found():
    """Sure predictions, a few of them mistaken: a search by slopes that begins far off ends where the likelihood is lower."""
    short = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        codes = rng.integers(0, 10, 300)
        L = np.where(codes[:, None] == np.arange(10), 0.8, -1.0) + 0.25 * rng.normal(size=(300, 10))
        L[:8, 0] = rng.uniform(0.5, 1.0, 8)
        own = (np.arange(300), codes)

        def top(s, e, L=L, own=own):
            p = nm.softmax(L, s)[own]
            return np.log((1 - e) * p + e * (1 - p) / 9).sum()

        best = max(top(s, e) for s in np.exp(np.arange(-3, 5, 0.1)) for e in (2e-4, 0.003, 0.01, 0.02, 0.03, 0.1))
        short.append(best - top(*nm.one_rate(L, codes)))
    assert max(short) < 0.05


def test_chance_is_not_told():
    rng = np.random.default_rng(0)
    model = nm.fit(rng.normal(size=(800, 3)), rng.integers(0, 3, 800))
    assert not model.told
    assert model.low < 0.1 * 800
    assert model.high > 0.4 * 800


def test_order_of_rows_and_names_of_classes_do_not_matter():
    L, given, _ = drawn(400, 4, 0.1)
    model = nm.fit(L, given)
    rows, classes = np.random.default_rng(1).permutation(400), np.array([2, 0, 3, 1])
    moved = nm.fit(L[rows][:, np.argsort(classes)], classes[given[rows]])
    assert moved.probability == pytest.approx(model.probability[rows], abs=1e-3)
    assert moved.flagged.tolist() == model.flagged[rows].tolist()


def test_odd_input():
    L, given, _ = drawn(100, 3, 0.1)
    L[3, 1], L[4], L[5, 0] = np.nan, -np.inf, np.inf
    assert np.isfinite(nm.fit(L, given).probability).all()
    one = nm.fit(np.zeros((7, 1)), np.zeros(7, int))
    assert not one.told
    assert one.probability.tolist() == [0.0] * 7
    assert len(nm.fit(np.zeros((0, 3)), np.zeros(0, int)).probability) == 0
    assert np.isfinite(nm.fit(np.zeros((50, 2)), np.arange(50) % 2).probability).all()


def test_many_rows_are_fitted_on_a_sample_and_valued_all(monkeypatch):
    L, given, right = drawn(6000, 3, 0.1, sharp=6.0)
    whole = nm.fit(L, given)
    monkeypatch.setattr(nm, "SAMPLE", 3000)
    part = nm.fit(L, given)
    assert len(part.probability) == 6000
    assert part.rate == pytest.approx(whole.rate, abs=0.02)
    assert part.low <= np.sum(given != right) <= part.high


def test_wrong_targets_are_counted_and_heavy_tails_are_not():
    held, low = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        wrong = rng.random(800) < 0.08
        found = nm.outliers(np.where(wrong, 6.0, 1.0) * rng.normal(size=800))
        held.append(found.low <= wrong.sum() <= found.high)
        low.append(nm.outliers(rng.standard_t(4, size=800)).low)
    assert np.mean(held) >= 0.95
    assert np.mean(np.array(low) == 0) >= 0.95
    assert not nm.outliers(np.zeros(30)).told
    assert len(nm.outliers(np.zeros(0)).probability) == 0
    rng = np.random.default_rng(0)
    r = np.r_[rng.normal(size=300), 20.0]
    found = nm.outliers(r)
    assert found.flagged.nonzero()[0].tolist() == [300]
    r[5], r[6] = np.inf, np.nan
    assert np.isfinite(nm.outliers(r).probability).all()
    r[5:7] = 0.1
    assert not nm.outliers(r * 1e300).told
    found = nm.outliers(r)
    assert nm.outliers(3 * r + 5).probability == pytest.approx(found.probability, abs=1e-3)


def test_what_is_promised_least_does_not_take_classes_alike_for_confused_ones():
    """Labels as people give them: right, but of two classes that look alike the predictions are too sure."""
    rng = np.random.default_rng(0)
    n, codes = 3000, rng.integers(0, 3, 3000)
    L = np.where(codes[:, None] == np.arange(3), 4.0, 0.0) + rng.normal(size=(n, 3))
    alike = (codes < 2) & (rng.random(n) < 0.3)  # looks like the other one of the two
    L[alike] = L[alike][:, [1, 0, 2]]
    model = nm.fit(L, codes)
    assert model.transition is not None
    by_matrix, _ = nm.readings(nm.softmax(L, model.temperature), model.transition, codes)
    s, e = nm.one_rate(L, codes)
    by_one_rate, _ = nm.readings(nm.softmax(L, s), np.full((3, 3), e / 2) + (1 - 1.5 * e) * np.eye(3), codes)
    np.testing.assert_allclose(model.ambiguity, np.minimum(by_matrix, by_one_rate))
    assert model.ambiguity.sum() < by_matrix.sum()
    assert model.low <= model.ambiguity.sum()
