"""Influence: against fits without the row, derivatives in its weight, and dense matrices."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC
from torch import nn

import datassay as da
from datassay.checks import DataError
from datassay.engines import linear, removal
from datassay.engines.curvature import gauss_newton_product, mean_eigenvalue, solve
from datassay.engines.training import Recipe, Run, spawned
from datassay.methods import influence as module
from datassay.methods.influence import influence
from datassay.networks.problem import problem
from datassay.networks.recipes import recipe

LOG_LIKELIHOOD = module.Question("log-likelihood", None, -1)


def blobs(n=60, m=24, d=3, classes=3, seed=0, wrong=6):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = rng.normal(size=(n + m, d)) + 1.5 * np.eye(classes, d)[y]
    given = y.copy()
    given[:wrong] = (y[:wrong] + 1) % classes
    return da.Dataset(X[:n], given[:n], X[n:], y[n:])


def amounts(n=40, m=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + m, d))
    y = X @ np.arange(1, d + 1) + rng.normal(size=n + m)
    return da.Dataset(X[:n], y[:n], X[n:], y[n:], task="regression")


# ----------------------------------------------------------------------------------------------- linear models, by fits


def fitted(X, y, classes, C, w=None):
    """(D, K) weights of rows that count so often."""
    w = np.ones(len(y)) if w is None else w
    return linear.Logistic(X, y, classes, C=C)(w[None], tol=1e-11)[0]


def log_likelihood(W, Q, y):
    outputs = np.c_[Q, np.ones(len(Q))] @ W
    return outputs[np.arange(len(y)), y] - np.log(np.exp(outputs).sum(1))


def gradient(Q, W, data):
    """(D, K) of the mean log-likelihood."""
    return Q.T @ module._towards(Q @ W, data, LOG_LIKELIHOOD) / len(Q)


@pytest.mark.parametrize(("classes", "d"), [(2, 3), (3, 3), (3, 80)])
def test_logistic_models_are_those_without_the_row(classes, d):
    """Also of more columns than rows. Outputs and answers by the Newton step beside n fits; what is missed is of higher order."""
    data, C = blobs(classes=classes, d=d), 0.3
    X, y, n = data.X, data.codes, len(data)
    W = fitted(X, y, classes, C)
    away, outputs = removal.of_softmax(np.c_[X, np.ones(n)], W, y, linear.Logistic(X, y, classes, C=C).penalty)
    Q = np.c_[data.X_val, np.ones(24)]
    first, own = away.first_order(gradient(Q, W, data)), away.own(outputs)
    rescaled = module._lost(away, Q, W, data, LOG_LIKELIHOOD, None)[0]
    each = [fitted(X, y, classes, C, (np.arange(n) != i).astype(float)) for i in range(n)]
    lost = np.array(
        [
            log_likelihood(W, data.X_val, data.codes_val).mean() - log_likelihood(V, data.X_val, data.codes_val).mean()
            for V in each
        ]
    )
    assert np.corrcoef(rescaled, lost)[0, 1] > (0.998 if d < n else 0.97)
    assert np.abs(rescaled - lost).mean() < 0.5 * np.abs(first - lost).mean()
    without = np.array([np.r_[x, 1] @ V for x, V in zip(X, each, strict=True)])
    step = without - outputs
    step -= step.mean(1, keepdims=True)
    moved = own - outputs
    moved -= moved.mean(1, keepdims=True)
    np.testing.assert_allclose(moved, step, atol=0.12 * np.abs(step).max())


def test_the_first_order_is_the_derivative_in_a_rows_weight():
    data, C, eps = blobs(), 0.5, 1e-4
    X, y, n = data.X, data.codes, len(data)
    W = fitted(X, y, 3, C)
    away, _ = removal.of_softmax(np.c_[X, np.ones(n)], W, y, 1 / C)
    found = away.first_order(gradient(np.c_[data.X_val, np.ones(24)], W, data))
    for i in (0, 7, 33):
        more, less = (
            log_likelihood(fitted(X, y, 3, C, 1 + s * eps * (np.arange(n) == i)), data.X_val, data.codes_val).mean()
            for s in (1, -1)
        )
        assert found[i] == pytest.approx((more - less) / (2 * eps), rel=1e-4)


def test_ridge_regression_is_exact():
    """Predictions without each row, and what is lost, by n fits."""
    data, alpha = amounts(), 2.0
    values = influence(data, Ridge(alpha=alpha))
    np.testing.assert_allclose(
        values.scores, da.value(data, "leave-one-out", model=Ridge(alpha=alpha)).scores, rtol=1e-7, atol=1e-12
    )
    everything = Ridge(alpha=alpha).fit(data.X, data.y)
    residual = everything.predict(data.X_val) - data.y_val
    for i in range(len(data)):
        keep = np.arange(len(data)) != i
        one = Ridge(alpha=alpha).fit(data.X[keep], data.y[keep])
        assert values.suggested_label[i] == pytest.approx(one.predict(data.X[i : i + 1])[0], rel=1e-9)
        lost = ((one.predict(data.X_val) - data.y_val) ** 2 - residual**2).mean() / data.y.var()
        assert values.scores[i] == pytest.approx(lost, rel=1e-7, abs=1e-12)
    one = influence(data, Ridge(alpha=alpha), query=3)
    keep = np.arange(len(data)) != 5
    without = Ridge(alpha=alpha).fit(data.X[keep], data.y[keep]).predict(data.X_val)[3]
    assert one.scores[5] == pytest.approx(everything.predict(data.X_val)[3] - without, rel=1e-8)


@pytest.mark.parametrize("utility", ["margin", "log-likelihood"])
def test_it_is_leave_one_out_without_the_trainings(utility):
    data, wrong = da.plant(da.datasets.drawn("wine", train=90, val=60, test=20).data, "uniform", 0.1, seed=1)
    values, exact = influence(data, utility=utility), da.value(data, "leave-one-out", utility=utility, progress=False)
    assert np.corrcoef(values.scores, exact.scores)[0, 1] > 0.998
    assert (values.flagged == exact.flagged).mean() > 0.95
    assert values.scores[wrong].mean() < 0 < values.scores[~wrong].mean()


def test_the_answer_for_one_row():
    data = blobs()
    model = LogisticRegression(C=0.3)
    values = influence(data, model, query=4)
    W = fitted(data.X, data.codes, 3, 0.3)

    def odds(V, k):
        p = np.exp(log_likelihood(V, data.X_val[[4] * 3], np.arange(3)))[k]
        return np.log(p / (1 - p))

    own = data.codes_val[4]
    lost = [
        odds(W, own) - odds(fitted(data.X, data.codes, 3, 0.3, (np.arange(60) != i).astype(float)), own) for i in range(60)
    ]
    assert np.corrcoef(values.scores, lost)[0, 1] > 0.99
    np.testing.assert_allclose(values.scores, lost, atol=0.1 * np.abs(lost).max())
    other = influence(data, model, query=4, label=int((own + 1) % 3))
    np.testing.assert_array_equal(other.scores, -other.columns["influence"])
    np.testing.assert_array_equal(influence(data, model, query=4, label=int(own)).scores, values.scores)
    two = blobs(classes=2)  # of two classes what speaks for the one speaks against the other
    one, other = (influence(two, model, query=4, label=k) for k in (0, 1))
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-9)


@pytest.mark.parametrize("first_order", [False, True])
def test_the_matrix_holds_the_answers_for_each_row(tmp_path, first_order):
    """Of log-odds each is what a query gives; of utilities the mean is what the rows together give."""
    data = blobs()
    for utility in ("margin", "log-likelihood"):
        values = influence(data, utility=utility, first_order=first_order, matrix=tmp_path / f"{utility}.npy")
        each = np.load(tmp_path / f"{utility}.npy")
        assert each.shape == (60, 24)
        np.testing.assert_allclose(each.mean(1), values.scores, rtol=1e-9, atol=1e-12)
    each = np.load(tmp_path / "margin.npy")
    for q in (0, 9):
        values = influence(data, query=q, first_order=first_order, matrix=tmp_path / "one.npy")
        np.testing.assert_allclose(each[:, q], values.scores, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(np.load(tmp_path / "one.npy")[:, 0], values.scores)
    rows = amounts()
    values = influence(rows, first_order=first_order, matrix=tmp_path / "amounts.npy")
    np.testing.assert_allclose(np.load(tmp_path / "amounts.npy").mean(1), values.scores, rtol=1e-9, atol=1e-12)


def test_self_influence_is_what_the_row_loses_itself():
    data = blobs().without_validation()
    values = influence(data, LogisticRegression(C=0.3), influence="self")
    W = fitted(data.X, data.codes, 3, 0.3)
    lost = [
        (
            log_likelihood(W, data.X, data.codes)
            - log_likelihood(fitted(data.X, data.codes, 3, 0.3, (np.arange(60) != i) * 1.0), data.X, data.codes)
        )[i]
        for i in range(60)
    ]
    np.testing.assert_allclose(values.columns["influence"], lost, rtol=0.2, atol=1e-3)
    assert (values.columns["influence"] > 0).all()
    np.testing.assert_array_equal(values.scores, -values.columns["influence"])
    assert set(np.argsort(values.scores)[:6]) & set(range(6))
    assert values.stats["wrong_labels"]["low"] <= 6 <= values.stats["wrong_labels"]["high"]
    assert (values.suggested_label[:6] != data.y[:6]).sum() >= 4
    amount = influence(amounts().without_validation(), influence="self")
    assert (amount.columns["influence"] >= 0).all()


def test_rows_of_no_influence_and_equal_rows():
    """A row on which the model is certain hardly matters; equal rows matter alike."""
    data = blobs()
    X = np.r_[data.X, [[40.0, 0, 0]], data.X[:1]]
    y = np.r_[data.y, [0], data.y[:1]]
    values = influence(da.Dataset(X, y, data.X_val, data.y_val), LogisticRegression(C=0.3))
    assert abs(values.scores[60]) < 0.05 * np.abs(values.scores).max()
    assert values.scores[61] == pytest.approx(values.scores[0], rel=1e-9)


# -------------------------------------------------------------------------------------------------------------- networks


def small(seed, out=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, out))


def dense(net, x, classes):
    """(P, P) mean of J' B J, from a Jacobian for each row."""
    names = [n for n, _ in net.named_parameters()]
    G = 0
    for one in x:
        J = torch.cat(
            [
                j.reshape(-1, p.numel())
                for j, p in zip(
                    torch.autograd.functional.jacobian(
                        lambda *w, one=one: torch.func.functional_call(net, dict(zip(names, w, strict=True)), one[None])[0],
                        tuple(p.detach() for p in net.parameters()),
                    ),
                    net.parameters(),
                    strict=True,
                )
            ],
            1,
        )
        p = net(one[None])[0].detach().softmax(0)
        B = torch.diag(p) - torch.outer(p, p) if classes else torch.eye(len(J), dtype=J.dtype)
        G = G + J.T @ B @ J / len(x)
    return G


def flat(v):
    return torch.cat([a.flatten() for a in v.values()])


@pytest.mark.parametrize("classes", [True, False])
def test_the_gauss_newton_product_is_that_of_the_matrix(classes):
    net = small(0, 3 if classes else 1).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    v = {n: torch.randn_like(p) for n, p in net.named_parameters()}
    G = dense(net, x, classes)
    found = gauss_newton_product(net, x, v, classes=classes)
    np.testing.assert_allclose(flat(found), G @ flat(v), rtol=1e-9, atol=1e-12)
    assert all(p.grad is None for p in net.parameters())
    g = {n: torch.randn_like(p) for n, p in net.named_parameters()}
    solved = solve(lambda v: gauss_newton_product(net, x, v, classes=classes), g, 0.01, tol=1e-10, steps=500)
    exact = torch.linalg.solve(G + 0.01 * torch.eye(len(G)), flat(g))
    np.testing.assert_allclose(flat(solved.solution), exact, rtol=1e-6, atol=1e-9)
    estimate = mean_eigenvalue(lambda v: gauss_newton_product(net, x, v, classes=classes), v, range(400))
    assert estimate == pytest.approx(float(G.trace()) / len(G), rel=0.1)


def test_of_a_network_it_is_the_solution_by_the_dense_matrix():
    data = blobs(30)
    values = influence(data, small, utility="log-likelihood", damping=0.05, epochs=5, progress=False)
    p = problem(data, small, "cpu", "influence")
    used = recipe(None, Recipe(), 30, epochs=5)
    net = Run(p.make(0, 0), p.loss, p.x, p.y, used, seed=spawned(0, 0)).through().eval()
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(p.loss(net(x[None]), y[None])[0], tuple(net.parameters()))])
        for x, y in zip(p.x, p.y, strict=True)
    ]
    g = torch.cat([g.flatten() for g in torch.autograd.grad(p.loss(net(p.x_val), p.y_val).mean(), tuple(net.parameters()))])
    G = dense(net, p.x, True)
    u = torch.linalg.solve(G + (0.05 + used.weight_decay) * torch.eye(len(G)), g)
    expected = torch.stack(rows) @ u / 30
    np.testing.assert_allclose(values.scores, expected.detach(), rtol=2e-2, atol=2e-3 * float(expected.abs().max()))
    assert values.stats["damping"] == [0.05]
    assert values.stats["residual"][0] <= 1e-3


def test_wrong_labels_hurt_a_network_and_runs_are_averaged():
    data, wrong = da.plant(da.datasets.drawn("wine", train=90, val=60, test=20).data, "uniform", 0.1, seed=1)
    values = influence(
        data,
        lambda seed: nn.Sequential(nn.LayerNorm(13), nn.Linear(13, 8), nn.Tanh(), nn.Linear(8, 3)),
        runs=2,
        progress=False,
    )
    assert values.scores[wrong].mean() < values.scores[~wrong].mean()
    assert values.stats["stderr"].shape == (90,)
    assert values.suggested_label.dtype == data.y.dtype


def test_one_answer_of_a_network_changes_as_it_says():
    """Removed by retraining: the rows that speak most for an answer cost it more than those that speak most against it."""
    data = blobs(60, wrong=0)
    options = {"epochs": 60, "progress": False}
    values = influence(data, small, query=2, **options)
    order = np.argsort(values.scores)

    def odds(rows):
        p = problem(data.take(rows), small, "cpu", "influence")
        net = Run(p.make(0, 0), p.loss, p.x, p.y, recipe(None, Recipe(), 60, epochs=60), seed=spawned(0, 0)).through().eval()
        z = net(p.x_val[2:3])[0].log_softmax(0)[data.codes_val[2]].item()
        return z - np.log(-np.expm1(min(z, -1e-7)))

    assert odds(np.sort(order[:-12])) < odds(np.sort(order[12:]))


# ------------------------------------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"query": 99}, "query must be the position of a validation row, from 0 to 23, got 99"),
        ({"query": 1, "influence": "self"}, "query asks about a validation row, and influence='self' about the row itself"),
        ({"label": 1}, "label is for a query"),
        ({"utility": "squared-error"}, "utility must be None or 'margin' or 'log-likelihood'"),
        ({"utility": "margin", "query": 1}, "utility is about the validation rows together"),
        ({"query": 1, "label": 7}, "label must be one of the classes"),
        ({"model": SVC()}, "reads the fit of a LogisticRegression .* got SVC: take ame or datamodels"),
        ({"model": LogisticRegression(class_weight="balanced")}, "no class weights"),
        ({"epochs": 3}, "epochs is for networks, and this fits a linear model"),
        ({"runs": 2}, "runs is for networks"),
        ({"model": small, "influence": "self"}, "influence='self' is for linear models"),
        ({"model": small, "first_order": True}, "first_order is for linear models"),
        ({"damping": 0, "model": small}, "damping must be None or a number above 0, got 0"),
        ({"model": "resnet"}, "model must be a"),
        ({"matrix": "nowhere/m.npy"}, "influence: the folder of 'nowhere/m.npy' does not exist"),
        ({"matrix": "m.npy", "influence": "self"}, "matrix is about validation rows"),
        ({"matrix": "m.npy", "model": small}, "matrix is for linear models"),
    ],
)
def test_what_cannot_be(options, says):
    with pytest.raises(DataError, match=says):
        da.value(blobs(), method="influence", progress=False, **options)


def test_a_hessian_that_is_too_large_is_a_sentence(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    with pytest.raises(DataError, match=r"forms the Hessian of 12 parameters \(4 x 3 classes\), and 10 are the most"):
        influence(blobs())
