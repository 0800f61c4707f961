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
from datassay.networks import influence as of_networks
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


def trained(data, epochs=5, training=None):
    """The problem, the network that the method trains, and its weight decay."""
    p = problem(data, small, "cpu", "influence")
    used = recipe(training, Recipe(), len(data), epochs=epochs)
    return p, Run(p.make(0, 0), p.loss, p.x, p.y, used, seed=spawned(0, 0)).through().eval(), used.weight_decay


def each_gradient(net, said, x, y):
    """(n, P) of what is said of every row."""
    each = [
        torch.autograd.grad(said(net(one[None]), label[None])[0], tuple(net.parameters()))
        for one, label in zip(x, y, strict=True)
    ]
    return torch.stack([torch.cat([g.flatten() for g in grads]) for grads in each])


def odds(outputs, y):
    p = outputs.softmax(1).gather(1, y[:, None])[:, 0]
    return torch.log(p / (1 - p))


def ek_fac(net, x):
    """(P, P) by the definition, for `small`: eigenvectors of what enters and leaves its two layers, and mean squares along them."""
    entered, parts = [x, net[1](net[0](x)).detach()], []
    for layer, a in zip((net[0], net[2]), entered, strict=True):
        a = torch.cat([a, torch.ones(len(a), 1)], 1)
        deltas = []  # for each row and class: sqrt(p) times the gradient of -log p in what the layer says
        for one in x:
            h = (net[0](one) if layer is net[0] else net[2](net[1](net[0](one)))).detach().requires_grad_()
            log_p = (net[2](net[1](h)) if layer is net[0] else h).log_softmax(0)
            deltas.append([torch.autograd.grad(s, h, retain_graph=True)[0] * (s / 2).exp().detach() for s in log_p])
        QA = torch.linalg.eigh(sum(torch.outer(v, v) for v in a)).eigenvectors
        QS = torch.linalg.eigh(sum(torch.outer(d, d) for row in deltas for d in row)).eigenvectors
        values = sum((QS.T @ torch.outer(d, v) @ QA) ** 2 for v, row in zip(a, deltas, strict=True) for d in row) / len(x)
        Q = torch.kron(QS.contiguous(), QA.contiguous())
        G = (Q * values.flatten()) @ Q.T
        o, i = len(QS), len(QA)  # vec(W b) is taken apart into the weight and the bias
        order = torch.arange(o * i).reshape(o, i)
        order = torch.cat([order[:, :-1].flatten(), order[:, -1]])
        parts.append(G[order][:, order])
    return torch.block_diag(*parts)


@pytest.mark.parametrize(("hessian", "matrix"), [("ek-fac", ek_fac), ("gauss-newton", lambda net, x: dense(net, x, True))])
def test_of_a_network_it_is_the_solution_by_the_dense_matrix(hessian, matrix, tmp_path):
    data = blobs(30)
    options = {"hessian": hessian, "damping": 0.05, "epochs": 5, "progress": False}
    p, net, weight_decay = trained(data)
    G = matrix(net, p.x).detach()
    R = torch.linalg.inv(G + (0.05 + weight_decay) * torch.eye(len(G)))
    g = each_gradient(net, p.loss, p.x, p.y)
    for utility, said in (("log-likelihood", lambda out, y: -p.loss(out, y)), ("margin", odds)):
        expected = -g @ R @ each_gradient(net, said, p.x_val, p.y_val).T / 30
        close = {"rtol": 2e-2, "atol": 2e-3 * float(expected.abs().max())}
        values = influence(data, small, utility=utility, matrix=tmp_path / "m.npy", **options)
        each = np.load(tmp_path / "m.npy")
        np.testing.assert_allclose(each, expected, **close)
        np.testing.assert_allclose(values.scores, each.mean(1), rtol=1e-6)
        mean = influence(data, small, utility=utility, **options)
        np.testing.assert_allclose(mean.scores, expected.mean(1), rtol=2e-2, atol=2e-3 * float(expected.mean(1).abs().max()))
        assert values.stats["damping"] == [0.05]
    one = influence(data, small, query=4, **options)
    np.testing.assert_allclose(one.scores, expected[:, 4], **close)
    alone = influence(data.without_validation(), small, influence="self", **options)
    np.testing.assert_allclose(alone.columns["influence"], (g @ R * g).sum(1) / 30, rtol=5e-3)
    np.testing.assert_array_equal(alone.scores, -alone.columns["influence"])
    assert values.stats["own_axes"] == [[]] if hessian == "ek-fac" else values.stats["residual"][0] <= 1e-3


def test_one_answer_is_asked_of_the_matrix_itself_and_many_by_ek_fac(tmp_path):
    data, options = blobs(30), {"epochs": 5, "progress": False}
    one, many = influence(data, small, **options), influence(data, small, matrix=tmp_path / "m.npy", **options)
    assert (one.options["hessian"], many.options["hessian"]) == ("gauss-newton", "ek-fac")
    assert (one.stats["way"], many.stats["way"]) == ("influence function, Gauss-Newton", "influence function, EK-FAC")
    assert influence(data, small, influence="self", **options).options["hessian"] == "ek-fac"
    p, net, _ = trained(data)
    G = dense(net, p.x, True)
    assert one.stats["damping"][0] == pytest.approx(30 * float(G.trace()) / len(G), rel=0.5)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01, 1.0])
def test_by_ek_fac_half_of_what_rows_do_to_themselves_is_the_matrixs_own(weight_decay):
    """The weight decay counts as damping; where it is more than enough there is none beside it."""
    data, training = blobs(30), Recipe(epochs=20, weight_decay=weight_decay)
    values = influence(data, small, influence="self", training=training, progress=False)
    p, net, _ = trained(data, 20, training)
    G, g = ek_fac(net, p.x).detach(), each_gradient(net, p.loss, p.x, p.y)

    def share(added):
        R = torch.linalg.inv(G + added * torch.eye(len(G)))
        return float((((g @ R @ G @ R) * g).sum(1) / ((g @ R) * g).sum(1)).mean())

    added = values.stats["damping"][0] + weight_decay
    assert share(1.06 * added) < 0.5
    assert (share(0.98 * added) > 0.5) if weight_decay < 1 else values.stats["damping"][0] == 0
    assert values.stats["mean_eigenvalue"][0] == pytest.approx(float(G.trace()) / len(G), rel=1e-3)


def test_regression_on_itself_is_in_squares_of_the_labels_unit():
    data = amounts().without_validation()
    one, tenfold = (
        influence(
            da.Dataset(data.X, c * data.y, task="regression"), small_regression, influence="self", epochs=5, progress=False
        )
        for c in (1.0, 10.0)
    )
    np.testing.assert_allclose(tenfold.scores, 100 * one.scores, rtol=1e-3)
    assert (one.scores < 0).all()


def small_regression(seed):
    return small(seed, 1)


def test_of_many_classes_labels_are_drawn(monkeypatch):
    """Two draws a row, in place of three classes: wrong at random, so that the mean over draws is less wrong."""
    data, options = blobs(40), {"epochs": 5, "progress": False, "damping": 0.05, "influence": "self"}
    exact = influence(data, small, **options).scores
    monkeypatch.setattr(of_networks, "LABELS", 2)
    drawn = []
    for k in range(12):
        monkeypatch.setattr(of_networks, "spawned", lambda *path, k=k: k)
        drawn.append(influence(data, small, **options).scores / exact - 1)
    np.testing.assert_array_equal(influence(data, small, **options).scores / exact - 1, drawn[-1])
    alone, together = np.abs(drawn).mean(), np.abs(np.mean(drawn, 0)).mean()
    assert 0.005 < alone < 0.2
    assert together < 0.5 * alone


def test_the_same_bits_for_any_number_of_jobs_and_close_ones_for_any_batches(tmp_path, monkeypatch):
    data, options = blobs(40), {"runs": 2, "epochs": 3, "progress": False}
    found = {}
    for name, jobs in (("one", 1), ("two", 2)):
        values = influence(data, small, matrix=tmp_path / f"{name}.npy", n_jobs=jobs, **options)
        found[name] = np.load(tmp_path / f"{name}.npy"), values.scores, influence(data, small, n_jobs=jobs, **options).scores
    assert np.ptp(found["one"][0]) > 0
    for a, b in zip(found["one"], found["two"], strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(of_networks, "AT_ONCE", 7)
    values = influence(data, small, matrix=tmp_path / "few.npy", **options)
    np.testing.assert_allclose(
        np.load(tmp_path / "few.npy"), found["one"][0], rtol=5e-3, atol=1e-4 * np.ptp(found["one"][0])
    )
    assert values.stats["stderr"].shape == (40,)


@pytest.mark.parametrize("options", [{"hessian": "ek-fac"}, {"hessian": "gauss-newton"}, {"influence": "self"}])
def test_wrong_labels_hurt_a_network_and_runs_are_averaged(options):
    data, wrong = da.plant(da.datasets.drawn("wine", train=90, val=60, test=20).data, "uniform", 0.1, seed=1)
    values = influence(
        data,
        lambda seed: nn.Sequential(nn.LayerNorm(13), nn.Linear(13, 8), nn.Tanh(), nn.Linear(8, 3)),
        runs=2,
        progress=False,
        **options,
    )
    assert values.scores[wrong].mean() < values.scores[~wrong].mean()
    assert values.stats["stderr"].shape == (90,)
    assert values.suggested_label.dtype == data.y.dtype


@pytest.mark.parametrize("hessian", ["ek-fac", "gauss-newton"])
def test_one_answer_of_a_network_changes_as_it_says(hessian):
    """Removed by retraining: the rows that speak most for an answer cost it more than those that speak most against it."""
    data = blobs(60, wrong=0)
    options = {"epochs": 60, "progress": False, "hessian": hessian}
    values = influence(data, small, query=2, **options)
    order = np.argsort(values.scores)

    def answer(rows):
        p = problem(data.take(rows), small, "cpu", "influence")
        net = Run(p.make(0, 0), p.loss, p.x, p.y, recipe(None, Recipe(), 60, epochs=60), seed=spawned(0, 0)).through().eval()
        z = net(p.x_val[2:3])[0].log_softmax(0)[data.codes_val[2]].item()
        return z - np.log(-np.expm1(min(z, -1e-7)))

    assert answer(np.sort(order[:-12])) < answer(np.sort(order[12:]))


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
        ({"hessian": "ek-fac"}, "hessian is for networks, and this fits a linear model"),
        ({"model": small, "hessian": "fisher"}, "hessian must be None or 'ek-fac' or 'gauss-newton', got 'fisher'"),
        ({"model": small, "first_order": True}, "first_order is for linear models"),
        ({"damping": 0, "model": small}, "damping must be None or a number above 0, got 0"),
        ({"model": "resnet"}, "model must be a"),
        ({"matrix": "nowhere/m.npy"}, "influence: the folder of 'nowhere/m.npy' does not exist"),
        ({"matrix": "m.npy", "influence": "self"}, "matrix is about validation rows"),
    ],
)
def test_what_cannot_be(options, says):
    with pytest.raises(DataError, match=says):
        da.value(blobs(), method="influence", progress=False, **options)


def test_a_hessian_that_is_too_large_is_a_sentence(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    with pytest.raises(DataError, match=r"forms the Hessian of 12 parameters \(4 x 3 classes\), and 10 are the most"):
        influence(blobs())
