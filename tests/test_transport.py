"""Transport against POT, geomloss, closed forms and finite differences."""

import math

import numpy as np
import ot
import pytest
import torch
from geomloss import SamplesLoss

from datassay.engines import transport
from datassay.engines.transport import Cost, divergence, half_squared_distances, own, softmin_of, solve
from datassay.methods.lossval_released import annealed


def clouds(n=12, m=9, d=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
    a, b = rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, m)
    return tuple(z.astype(dtype) for z in (x, y, a / a.sum(), b / b.sum()))


def costs(x, y):
    return [half_squared_distances(*two) for two in ((x, y), (x, x), (y, y))]


def plan(C, a, b, f, g, eps):
    return a[:, None] * b * np.exp((f[:, None] + g - C) / eps)


def test_costs_are_half_squared_distances():
    x, y, *_ = clouds()
    np.testing.assert_allclose(half_squared_distances(x, y), ot.dist(x, y) / 2, atol=1e-12)
    assert (half_squared_distances(x + 1e4, x + 1e4) >= 0).all()


@pytest.mark.parametrize("eps", [1.0, 0.05])
def test_balanced_is_pots(eps):
    x, y, a, b = clouds()
    C = half_squared_distances(x, y)
    found = solve(C, a, b, eps, tol=1e-10)
    P = plan(C, a, b, found.f, found.g, eps)
    expected = ot.bregman.sinkhorn_log(a, b, C, eps, numItermax=100_000, stopThr=1e-13)
    np.testing.assert_allclose(P, expected, atol=1e-9)
    np.testing.assert_allclose(P.sum(0), b, atol=1e-9)
    primal = (P * C).sum() + eps * (P * np.log(P / (a[:, None] * b))).sum()
    assert found.f @ a + found.g @ b == pytest.approx(primal, rel=1e-8)


def test_a_small_eps_is_exact_transport():
    x, y, a, b = clouds()
    C = half_squared_distances(x, y)
    f, g, *_ = solve(C, a, b, 2e-4, steps=100_000)
    exact = ot.emd2(a, b, C)
    assert f @ a + g @ b == pytest.approx(exact, rel=2e-3)
    assert (plan(C, a, b, f, g, 2e-4) * C).sum() == pytest.approx(exact, rel=1e-3)


def test_unbalanced_is_pots():
    x, y, a, b = clouds()
    a, b, eps, reach = 2 * a, 0.7 * b, 0.1, 1.3
    C = half_squared_distances(x, y)
    f, g, *_ = solve(C, a, b, eps, reach=reach, tol=1e-12)
    expected = ot.unbalanced.sinkhorn_unbalanced(
        a, b, C, eps, reach**2, reg_type="kl", numItermax=100_000, stopThr=1e-14
    )  # its KL is to a b' where that is the entropy's
    np.testing.assert_allclose(plan(C, a, b, f, g, eps), expected, atol=1e-8)


@pytest.mark.parametrize("masses", ["equal", "raw", "some not above 0"])
def test_annealed_is_geomloss(masses):
    x, y, *_ = (torch.from_numpy(z) for z in clouds(32, 100, 10, dtype=np.float32))
    w = torch.from_numpy(np.random.default_rng(3).uniform(0.5, 1.5, 32).astype(np.float32))
    b = torch.ones(100)
    if masses == "equal":
        w, b = w / w.sum(), b / 100
    if masses == "some not above 0":
        w[3], w[7] = -1.0, 0.0
    w.requires_grad_()
    diameter = 1.1 * torch.cdist(x, y).max().item()
    expected = SamplesLoss("sinkhorn", diameter=diameter)(w, x, b, y)
    expected.backward()
    Cs, mine = costs(x, y), w.detach()
    for clouds_ in ((*Cs, mine, b), tuple(z.numpy() for z in (*Cs, mine, b))):
        found = annealed(*clouds_, diameter=diameter)
        assert float(found.value) == pytest.approx(expected.item(), rel=1e-4)
        np.testing.assert_allclose(np.asarray(found.da), w.grad.numpy(), rtol=1e-4, atol=1e-4 * abs(w.grad).max().item())


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("reach", [None, 2.0])
def test_divergence_is_geomloss(debias, reach):
    x, y, a, b = clouds()
    blur = 0.5
    loss = SamplesLoss("sinkhorn", blur=blur, reach=reach, debias=debias, scaling=0.995)
    expected = loss(*(torch.from_numpy(z) for z in (a, x, b, y))).item()
    found = divergence(x, y, a, b, blur**2, reach=reach, debias=debias)
    assert float(found.value) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("reach", [None, 1.5])
def test_the_gradient_is_the_potential(debias, reach):
    x, y, a, b = clouds(7, 6)
    if reach is not None:
        a = 1.7 * a
    found = divergence(x, y, a, b, 0.2, reach=reach, debias=debias, tol=1e-12)
    h = 1e-5
    for i in range(6):
        step = np.zeros(7)
        step[i] = h
        if reach is None:  # masses stay equal
            step[6] = -h
        up, down = (divergence(x, y, a + s, b, 0.2, reach=reach, debias=debias, tol=1e-12).value for s in (step, -step))
        expected = found.da[i] - (found.da[6] if reach is None else 0)
        assert (up - down) / (2 * h) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    if reach is not None:
        step = h * np.eye(6)[2]
        up, down = (divergence(x, y, a, b + s, 0.2, reach=reach, debias=debias, tol=1e-12).value for s in (step, -step))
        assert (up - down) / (2 * h) == pytest.approx(found.db[2], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("reach", [None, 2.0])
def test_debiased_of_equals_is_zero_and_else_above(reach):
    x, y, a, b = clouds()
    same = divergence(x, x, a, a, 0.1, reach=reach)
    assert abs(same.value) < 1e-6
    blurred = divergence(x, x, a, a, 1.0, reach=reach).da  # with a small eps a point far off has any potential
    np.testing.assert_allclose(blurred - blurred.mean(), 0, atol=1e-4)
    there, back = divergence(x, y, a, b, 0.1, reach=reach), divergence(y, x, b, a, 0.1, reach=reach)
    assert there.value > 0.01
    assert there.value == pytest.approx(back.value, rel=1e-5)
    if reach is None:
        assert divergence(x, x, a, a, 0.1, debias=False).value > 1e-3


def test_two_points_and_equal_masses():
    x, y = np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]])
    one = np.ones(1)
    for eps in (1e-3, 1.0):
        assert divergence(x, y, one, one, eps).value == pytest.approx(12.5, abs=1e-6)
    Cs = costs(x, y)
    assert float(annealed(*Cs, one, one, diameter=5.0).value) == pytest.approx(12.5, abs=1e-6)
    x, y, a, b = clouds()
    # ten times the mass: the same softmins but for a constant, so ten times the cost, once eps counts little
    assert divergence(x, y, 10 * a, 10 * b, 1e-3).value == pytest.approx(10 * divergence(x, y, a, b, 1e-3).value, rel=1e-3)


def test_raw_masses_cost_what_is_missing():
    """32 points against three copies of the same: no way to go, and yet a huge distance, which grows with the diameter given."""
    x, *_ = clouds(32, 1, 10)
    y, w = np.tile(x, (3, 1)), np.ones(32)
    Cs = costs(x, y)
    equal = annealed(*Cs, w / 32, np.ones(96) / 96, diameter=8.0)
    raw, wider = (annealed(*Cs, w, np.ones(96), diameter=diameter) for diameter in (8.0, 16.0))
    assert abs(equal.value) < 1e-3
    assert raw.value > 1000
    assert wider.value > 3 * raw.value
    assert raw.da.max() < 0  # every weight is pulled upwards, alike
    assert raw.da.std() < 0.05 * abs(raw.da.mean())


def test_batches_numpy_and_torch_are_one():
    pairs = [clouds(seed=s) for s in range(3)]
    x, y, a, b = (np.stack(z) for z in zip(*pairs, strict=True))
    C = half_squared_distances(x, y)
    together = solve(C, a, b, 0.1, tol=1e-10)
    of_torch = solve(*(torch.from_numpy(z) for z in (C, a, b)), 0.1, tol=1e-10)
    np.testing.assert_allclose(together.f, of_torch.f.numpy(), atol=1e-8)
    many = annealed(*(half_squared_distances(*two) for two in ((x, y), (x, x), (y, y))), a, b, diameter=6.0)
    for k, (x1, y1, a1, b1) in enumerate(pairs):
        one = solve(half_squared_distances(x1, y1), a1, b1, 0.1, tol=1e-10)
        # potentials are defined up to a constant
        np.testing.assert_allclose(together.f[k] - together.f[k].mean(), one.f - one.f.mean(), atol=1e-6)
        assert many.value[k] == pytest.approx(annealed(*costs(x1, y1), a1, b1, diameter=6.0).value, rel=1e-9)


def test_a_warm_start_is_shorter_and_the_same():
    x, y, a, b = clouds(60, 40)
    C = half_squared_distances(x, y)
    cold = solve(C, a, b, 0.02, tol=1e-8)
    nearly = a * np.linspace(0.99, 1.01, 60)
    nearly /= nearly.sum()
    anew, warm = solve(C, nearly, b, 0.02, tol=1e-8), solve(C, nearly, b, 0.02, start=cold.g, tol=1e-8)
    both = solve(C, nearly, b, 0.02, start=(cold.f, cold.g), tol=1e-8)
    assert both.steps <= warm.steps
    np.testing.assert_allclose(both.f - both.f.mean(), anew.f - anew.f.mean(), atol=1e-5)
    np.testing.assert_allclose(both.f, softmin_of(C, 0.02, np.log(b) + both.g / 0.02), atol=1e-12)
    far = solve(C, nearly, b, 0.02, start=(cold.f + 5, cold.g * 0 + 3), tol=1e-8)  # beyond what one matrix holds
    np.testing.assert_allclose(far.f - far.f.mean(), anew.f - anew.f.mean(), atol=1e-5)
    assert warm.steps < anew.steps
    np.testing.assert_allclose(warm.f - warm.f.mean(), anew.f - anew.f.mean(), atol=1e-5)


def test_what_is_not_held_is_the_same(monkeypatch):
    x, y, a, b = clouds(50, 31)
    table, codes_x, codes_y = np.random.default_rng(0).uniform(size=(3, 2)), np.arange(50) % 3, np.arange(31) % 2
    cost = Cost(x, y, table, codes_x, codes_y)
    whole = half_squared_distances(x, y) + table[codes_x][:, codes_y]
    np.testing.assert_allclose(cost[:], whole)
    np.testing.assert_allclose(cost.T[:], whole.T)
    assert isinstance(cost.held(), np.ndarray)
    assert cost.held(100) is cost
    monkeypatch.setattr(transport, "BLOCK", 100)
    held, blocks = solve(whole, a, b, 0.05), solve(cost, a, b, 0.05)
    assert len(transport._Sides(cost).rows) > 10
    np.testing.assert_allclose(blocks.f, held.f, atol=1e-9)
    np.testing.assert_allclose(own(Cost(x, x), a, 0.05).f, own(half_squared_distances(x, x), a, 0.05).f, atol=1e-9)


def test_float32_and_far_clouds():
    x, y, a, b = clouds(200, 150, 5, dtype=np.float32)
    C = half_squared_distances(x * 20, y * 20 + 100)
    found = solve(C, a, b, 0.5, tol=1e-4)
    assert np.isfinite(found.f).all()
    assert found.f.dtype == np.float32
    exact = ot.emd2(a.astype(float) / a.sum(dtype=float), b.astype(float) / b.sum(dtype=float), C.astype(float))
    assert float(found.f @ a + found.g @ b) == pytest.approx(exact, rel=1e-3)


def test_rows_without_mass_count_for_nothing():
    x, y, a, b = clouds()
    a[3] = 0
    a /= a.sum()
    C = half_squared_distances(x, y)
    some = np.arange(12) != 3
    whole, without = solve(C, a, b, 0.1, tol=1e-10), solve(C[some], a[some], b, 0.1, tol=1e-10)
    np.testing.assert_allclose(whole.g - whole.g.mean(), without.g - without.g.mean(), atol=1e-7)
    assert math.isfinite(whole.f[3])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"eps": 0.0}, "eps and reach must be above 0"),
        ({"reach": -1.0}, "eps and reach must be above 0"),
        ({"a": np.full(12, -0.1)}, "masses must be numbers from 0 on"),
        ({"a": np.zeros(12)}, "masses must be numbers from 0 on"),
        ({"a": np.ones(12)}, "balanced transport needs equal masses, got 12 and 1; reach allows others"),
    ],
)
def test_what_cannot_be(change, says):
    x, y, a, b = clouds()
    given = {"C": half_squared_distances(x, y), "a": a, "b": b, "eps": 0.1} | change
    with pytest.raises(ValueError, match=says):
        solve(**given)
