"""TracIn, CRAIG, In-Run Data Shapley, features and kernel velocity against their definitions, written out with autograd."""

import itertools
from dataclasses import replace
from math import factorial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.func import functional_call, jacrev

import datassay as da
from children import ended, killed_by
from datassay.checks import DataError
from datassay.engines import training
from datassay.engines.facility import locate
from datassay.engines.gradients import RowGradients
from datassay.engines.training import Recipe, Run, outputs, spawned
from datassay.evaluation import kernel_velocity, levels, plant_wrong_labels
from datassay.methods.craig import craig
from datassay.methods.in_run_shapley import in_run_shapley, shares
from datassay.methods.tracin import tracin
from datassay.networks.features import logit_kernel, network_features, penultimate, velocity

PLAIN = Recipe(epochs=3, batch_size=8, lr=0.3, momentum=0.0, weight_decay=0.0)


def blobs(n=20, m=12, d=3, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = (rng.normal(size=(n + m, d)) + 2 * np.eye(classes, d)[y]).astype(np.float32)
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def small(seed, d=3, out=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, out))


def with_dropout(seed):
    net = small(seed)
    return nn.Sequential(net[0], net[1], nn.Dropout(0.5), net[2])


def loss(out, y):
    return F.cross_entropy(out, y, reduction="none")


def tensors(data):
    return torch.tensor(data.X), torch.tensor(data.codes), torch.tensor(data.X_val), torch.tensor(data.codes_val)


def gradient(net, total):
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(net.parameters()))])


def row_gradients(net, x, y):
    return torch.stack([gradient(net, loss(net(x[i : i + 1]), y[i : i + 1])[0]) for i in range(len(x))])


def trained(data, recipe, done, seed=0, model=small):
    """The network after so many steps of the run with this seed, by a loop written out."""
    x, y, *_ = tensors(data)
    own = spawned(seed, 0)
    net = model(own)
    for step, rows in enumerate(steps_of(len(x), recipe, own)[:done]):
        g = gradient(net, loss(net(x[rows]), y[rows]).mean())
        lr = recipe.rate(step / (recipe.epochs * -(-len(x) // recipe.batch_size)))
        with torch.no_grad():
            nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(net.parameters()) - lr * g, net.parameters())
    return net


def steps_of(n, recipe, own):
    order = [torch.from_numpy(np.random.default_rng([own, e]).permutation(n)) for e in range(recipe.epochs)]
    return [rows for epoch in order for rows in torch.tensor_split(epoch, -(-n // recipe.batch_size))]


# ---------------------------------------------------------------------------------------------------------------- TracIn


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_tracin_is_the_mean_of_pairwise_products(schedule):
    """Checkpoints after 2, 5, 7 and 9 of nine steps; the rate of the step before each."""
    data, recipe = blobs(), replace(PLAIN, schedule=schedule)
    x, y, x_val, y_val = tensors(data)
    expected, self_influence, said = np.zeros(20), np.zeros(20), np.zeros((20, 3))
    for done in (2, 4, 7, 9):
        net, lr = trained(data, recipe, done), recipe.rate((done - 1) / 9)
        g, g_val = row_gradients(net, x, y), row_gradients(net, x_val, y_val)
        pairs = np.array([[float(lr * (a @ b)) for b in g_val] for a in g])
        expected += pairs.mean(1)
        self_influence += [float(lr * (a @ a)) for a in g]
        said += net(x).softmax(1).detach().numpy() / 4
    values = tracin(data, small, training=recipe, n_checkpoints=4)
    np.testing.assert_allclose(values.scores, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(values.columns["tracin"], values.scores)
    np.testing.assert_array_equal(values.flagged, values.scores < 0)
    np.testing.assert_array_equal(values.suggested_label, said.argmax(1))
    own = tracin(data.without_validation(), small, training=recipe, n_checkpoints=4, influence="self")
    np.testing.assert_allclose(own.columns["tracin"], self_influence, rtol=1e-3)
    np.testing.assert_array_equal(own.scores, -own.columns["tracin"])
    np.testing.assert_array_equal(own.flagged, said.argmax(1) != data.codes)


def test_self_influence_at_one_checkpoint_is_the_rate_times_the_squared_norm():
    data = blobs()
    x, y, *_ = tensors(data)
    g = row_gradients(trained(data, PLAIN, 9), x, y)
    values = tracin(data, small, training=PLAIN, n_checkpoints=1, influence="self")
    np.testing.assert_allclose(values.columns["tracin"], 0.3 * (g * g).sum(1), rtol=1e-3)


def test_the_last_layer_in_closed_form():
    """((p - y) . (p' - y')) (h . h' + 1)"""
    data = blobs()
    x, y, x_val, y_val = tensors(data)
    net = trained(data, PLAIN, 9)
    with torch.no_grad():
        h, h_val = net[:2](x), net[:2](x_val)
        r, r_val = (net(a).softmax(1) - F.one_hot(b, 3) for a, b in ((x, y), (x_val, y_val)))
    expected = 0.3 * (r @ r_val.T) * (h @ h_val.T + 1)
    values = tracin(data, small, training=PLAIN, n_checkpoints=1, layers="last")
    np.testing.assert_allclose(values.scores, expected.mean(1), rtol=1e-3, atol=1e-6)
    own = tracin(data, small, training=PLAIN, n_checkpoints=1, layers="last", influence="self")
    np.testing.assert_allclose(-own.scores, 0.3 * (r * r).sum(1) * ((h * h).sum(1) + 1), rtol=1e-3)


def test_influence_is_symmetric_and_positive_semidefinite():
    x, y, *_ = tensors(blobs())
    net = small(0).double()
    a, b = (RowGradients(net, loss, x[rows].double(), y[rows]) for rows in (slice(0, 12), slice(12, 20)))
    np.testing.assert_allclose(a.products(b), b.products(a).T, rtol=1e-12)
    whole = RowGradients(net, loss, x.double(), y).products(RowGradients(net, loss, x.double(), y)).numpy()
    assert np.linalg.eigvalsh((whole + whole.T) / 2).min() > -1e-12 * np.trace(whole)


def test_a_step_on_a_linear_loss_lowers_it_by_the_self_influence():
    """l(w) - l(w - eta g) = eta |g|^2"""
    torch.manual_seed(0)
    net, x, y = nn.Linear(3, 1).double(), torch.randn(1, 3).double(), torch.zeros(1).double()

    def linear(out, y):
        return out[:, 0] - y

    before, own = linear(net(x), y).item(), RowGradients(net, linear, x, y).squared_norms().item()
    Run(net, linear, x, y, replace(PLAIN, epochs=1)).through()
    assert before - linear(net(x), y).item() == pytest.approx(0.3 * own, rel=1e-12)


def test_many_rows_go_through_in_parts(monkeypatch):
    from datassay.methods import in_run_shapley as shapley_module
    from datassay.methods import tracin as tracin_module

    data = blobs(50, 30)
    for module, method in ((tracin_module, tracin), (shapley_module, in_run_shapley)):
        whole = method(data, small, training=PLAIN).scores
        monkeypatch.setattr(module, "AT_ONCE", 7)
        np.testing.assert_allclose(method(data, small, training=PLAIN).scores, whole, rtol=1e-4, atol=1e-7)


# ------------------------------------------------------------------------------------------------------- In-Run Shapley


def quadratic_game(net, x, y, x_val, y_val, lr, weights):
    """U(S) for every S by the explicit gradient and Hessian of the validation loss; (subsets as bits,)."""
    names = [name for name, _ in net.named_parameters()]
    shapes = [p.shape for p in net.parameters()]
    w = nn.utils.parameters_to_vector(net.parameters()).detach()

    def of(vector, x, y):
        parts = torch.split(vector, [s.numel() for s in shapes])
        return loss(functional_call(net, {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}, (x,)), y)

    slope = jacrev(lambda v: of(v, x_val, y_val).mean())
    g, H = slope(w), jacrev(slope)(w)
    moves = -lr * (weights / weights.sum())[:, None] * jacrev(lambda v: of(v, x, y))(w)
    n, U = len(x), []
    for S in range(2**n):
        move = moves[[i for i in range(n) if S >> i & 1]].sum(0)
        U.append(((g @ move), (g @ move + move @ H @ move / 2)))
    return np.array([[float(u) for u in both] for both in U]).T


def shapley_by_subsets(U, n):
    phi = np.zeros(n)
    for i in range(n):
        for S in range(2**n):
            if not S >> i & 1:
                s = S.bit_count()
                phi[i] += factorial(s) * factorial(n - s - 1) / factorial(n) * (U[S | 1 << i] - U[S])
    return phi


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_in_run_shapley_is_the_shapley_value_of_the_step(n, weighted):
    x, y, x_val, y_val = tensors(blobs(n=10))
    x, y, x_val, net = x[:n].double(), y[:n], x_val.double(), small(3).double()
    weights = torch.linspace(0.5, 2, n).double() if weighted else torch.ones(n).double()
    first, second = quadratic_game(net, x, y, x_val, y_val, 0.7, weights)
    for order, U in ((1, first), (2, second)):
        phi, _ = shares(net, loss, (x, y), (x_val, y_val), 0.7, order, weights if weighted else None)
        np.testing.assert_allclose(phi, shapley_by_subsets(U, n), rtol=1e-10, atol=1e-13)
        assert float(phi.sum()) == pytest.approx(U[-1], rel=1e-10)  # efficiency
    assert abs(second - first).max() > 1e-4


@pytest.mark.parametrize("val_batch", [None, 5])
def test_in_run_shapley_adds_up_over_the_steps(val_batch):
    data = blobs()
    x, y, x_val, y_val = tensors(data)
    expected, said, own = np.zeros(20), np.zeros((20, 3)), spawned(0, 0)
    for done, rows in enumerate(steps_of(20, PLAIN, own)):
        net, judges = trained(data, PLAIN, done), torch.arange(12)
        if val_batch:
            judges = torch.from_numpy(np.random.default_rng([own, 2, done]).choice(12, val_batch, replace=False))
        g = gradient(net, loss(net(x_val[judges]), y_val[judges]).mean())
        expected[rows] += -0.3 / len(rows) * (row_gradients(net, x[rows], y[rows]) @ g).numpy()
        said[rows] += net(x[rows]).softmax(1).detach().numpy() / 3
    values = in_run_shapley(data, small, training=PLAIN, val_batch_size=val_batch)
    np.testing.assert_allclose(values.columns["loss_change"], expected, rtol=2e-3, atol=1e-6)
    np.testing.assert_array_equal(values.scores, -values.columns["loss_change"])
    np.testing.assert_array_equal(values.flagged, values.scores < 0)
    np.testing.assert_array_equal(values.suggested_label, said.argmax(1))
    before, after = (loss(trained(data, PLAIN, k)(x_val), y_val).mean().item() for k in (0, 9))
    np.testing.assert_allclose(values.stats["validation_loss"], (before, after), rtol=1e-4)


def test_the_first_order_is_tracin_with_the_rate_of_the_step():
    """One step on all rows: each has its share of the rate."""
    data, recipe = blobs(), replace(PLAIN, epochs=1, batch_size=20)
    x, y, x_val, y_val = tensors(data)
    net = small(spawned(0, 0))
    pairs = RowGradients(net, loss, x, y).products(RowGradients(net, loss, x_val, y_val))
    values = in_run_shapley(data, small, training=recipe)
    np.testing.assert_allclose(values.scores, 0.3 / 20 * pairs.mean(1), rtol=1e-4, atol=1e-7)


def test_the_second_order_is_nearer_to_what_the_steps_do():
    data, recipe = blobs(60, 40), replace(PLAIN, lr=0.8, epochs=5)
    off = []
    for order in (1, 2):
        stats = in_run_shapley(data, small, training=recipe, order=order).stats
        before, after = stats["validation_loss"]
        off.append(abs(stats["loss_change"] - (after - before)))
    assert off[1] < off[0] / 3


def test_balanced_classes_count_in_the_shares():
    data = blobs()
    data = data.take(np.flatnonzero((data.codes > 0) | (np.arange(20) < 9)))
    x, y, x_val, y_val = tensors(data)
    recipe = replace(PLAIN, epochs=1, batch_size=100, balanced=True)
    net, w = small(spawned(0, 0)), 1 / np.bincount(data.codes)[data.codes]
    g = gradient(net, loss(net(x_val), y_val).mean())
    expected = 0.3 * w / w.sum() * (row_gradients(net, x, y) @ g).numpy()
    np.testing.assert_allclose(in_run_shapley(data, small, training=recipe).scores, expected, rtol=1e-4, atol=1e-7)


def test_dropout_is_off_in_the_steps_and_in_their_gradients():
    data = blobs()
    a, b = (in_run_shapley(data, model, training=PLAIN, order=2).scores for model in (small, with_dropout))
    np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------------------------------------------------- CRAIG


def plain_greedy(P, k):
    D = np.array([[np.float32(np.linalg.norm(a - b)) for b in P] for a in P]).astype(float)
    nearest, chosen, gains = np.full(len(P), D.max()), [], []
    for _ in range(k):
        gain = [np.maximum(nearest - D[j], 0).sum() if j not in chosen else -1 for j in range(len(P))]
        chosen.append(int(np.argmax(gain)))
        gains.append(max(gain))
        nearest = np.minimum(nearest, D[chosen[-1]])
    return D, chosen, gains


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 2, 9, 60])
def test_lazy_is_plain_greedy(n, ties):
    rng = np.random.default_rng(n)
    P = rng.integers(0, 3, (n, 2)).astype(float) if ties else rng.normal(size=(n, 3))
    k = max(1, n // 2)
    D, chosen, gains = plain_greedy(P, k)
    found = locate(P, k)
    np.testing.assert_array_equal(found.chosen, chosen)
    np.testing.assert_allclose(found.gains, gains, rtol=1e-6)
    assert (np.diff(found.gains) <= 0).all()
    np.testing.assert_array_equal(found.nearest, D[:, chosen].argmin(1))  # argmin: the earliest of equally near ones
    np.testing.assert_allclose(found.distance, D[:, chosen].min(1), atol=1e-6)
    assert found.largest == pytest.approx(D.max(), rel=1e-6)
    for here, there in zip(found, locate(P, k, most=0), strict=True):  # distances that are not held
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_comes_near_the_best(seed):
    P = np.random.default_rng(seed).normal(size=(11, 2))
    D, *_ = plain_greedy(P, 1)

    def f(S):
        return (D.max() - D[:, list(S)].min(1)).sum()

    for k in (1, 2, 4):
        best, found = max(f(S) for S in itertools.combinations(range(11), k)), locate(P, k)
        assert found.gains.sum() == pytest.approx(f(found.chosen), rel=1e-6)
        assert best + 1e-6 >= found.gains.sum() >= (1 - 1 / np.e) * best


def test_a_copy_of_a_chosen_point_gains_nothing():
    P = np.repeat(np.random.default_rng(0).normal(size=(4, 2)), 3, axis=0)
    found = locate(P, 7)
    assert (found.gains[:4] > 0).all()
    assert (found.gains[4:] == 0).all()
    assert len(set(found.chosen.tolist())) == 7
    assert set(found.nearest.tolist()) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="from 1 to 12 of 12 points"):
        locate(P, 13)


def test_craig_is_its_definition():
    data = blobs(60)
    x, *_ = tensors(data)
    p = trained(data, PLAIN, 24)(x).softmax(1).detach().double().numpy()
    values = craig(data, small, training=PLAIN, fraction=0.23)
    columns = values.columns
    for c in range(3):
        rows = np.flatnonzero(data.codes == c)
        D, chosen, _ = plain_greedy(p[rows] - np.eye(3)[c], round(0.23 * len(rows)))
        np.testing.assert_array_equal(columns["craig_order"][rows[chosen]], range(len(chosen)))
        assert (np.delete(columns["craig_order"][rows], chosen) == -1).all()
        nearest = D[:, chosen].argmin(1)
        np.testing.assert_array_equal(columns["representative"][rows], rows[np.array(chosen)[nearest]])
        gamma = np.bincount(nearest, minlength=len(chosen))
        np.testing.assert_array_equal(columns["craig_weight"][rows[chosen]], gamma)
        assert columns["craig_weight"][rows].sum() == len(rows)
        np.testing.assert_allclose(columns["share"][rows], gamma[nearest] / len(rows))
        np.testing.assert_allclose(columns["distance"][rows], D[:, chosen].min(1), atol=1e-5)
    m = columns["representative"]
    np.testing.assert_allclose(values.scores, -np.linalg.norm(p[m] - np.eye(3)[data.codes], axis=1), atol=1e-5)
    np.testing.assert_array_equal(values.flagged, p[m].argmax(1) != data.codes)
    np.testing.assert_array_equal(values.suggested_label, p.argmax(1))
    assert values.stats["chosen"] == {"0": 5, "1": 5, "2": 5}
    everyone = craig(data, small, training=PLAIN, fraction=1.0).columns
    np.testing.assert_array_equal(everyone["representative"], np.arange(60))
    alone = craig(data, small, training=PLAIN, fraction=1e-9)
    assert alone.stats["chosen"] == {"0": 1, "1": 1, "2": 1}


# ---------------------------------------------------------------------------------------------- features, kernel velocity


def naive_kernel(net, x):
    names = dict(net.named_parameters())
    J = jacrev(lambda w: functional_call(net, w, (x,)))({name: p.detach() for name, p in names.items()})
    J = torch.cat([j.flatten(2) for j in J.values()], 2).flatten(0, 1)
    return J @ J.T


def convolution(seed):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, stride=2), nn.Tanh()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * 2 * 2, 3))


@pytest.mark.parametrize(("make", "shape"), [(small, (3,)), (convolution, (1, 5, 5)), (with_dropout, (3,))])
def test_the_kernel_is_the_jacobian_times_itself(make, shape):
    torch.manual_seed(1)
    x = torch.randn(6, *shape).double()
    net, other = make(0).double().train(), make(1).double()
    K = logit_kernel(net, x)
    np.testing.assert_allclose(K, naive_kernel(net.eval(), x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(logit_kernel(net, x, size=4), K, rtol=1e-9, atol=1e-12)
    assert velocity(K, K) == pytest.approx(0, abs=1e-14)
    assert velocity(K, 7 * K) == pytest.approx(0, abs=1e-14)
    L = naive_kernel(other.eval(), x)
    expected = 1 - (K * L).sum() / ((K * K).sum().sqrt() * (L * L).sum().sqrt())
    assert velocity(K, logit_kernel(other, x)) == pytest.approx(float(expected), rel=1e-9)
    assert 1e-3 < float(expected) < 1


def test_a_scaled_jacobian_has_not_turned():
    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return self.factor * x

    x, net = torch.randn(5, 3), small(0)
    K, L = logit_kernel(net, x), logit_kernel(nn.Sequential(net, Times(3.0)), x)
    np.testing.assert_allclose(L, 9 * K, rtol=1e-4, atol=1e-5)
    assert velocity(K, L) == pytest.approx(0, abs=1e-6)


def test_kernel_velocity_of_a_training():
    data, groups = blobs(), [np.array([0, 5, 7]), np.arange(10, 20)]
    x, *_ = tensors(data)
    found = kernel_velocity(data, groups, small, training=PLAIN)
    assert found.shape == (3, 2)
    for g, rows in enumerate(groups):
        kernels = [naive_kernel(trained(data, PLAIN, 3 * epoch).double(), x[rows].double()) for epoch in range(4)]
        expected = [velocity(kernels[t], kernels[t + 1]) for t in range(3)]
        np.testing.assert_allclose(found[:, g], expected, rtol=1e-2, atol=1e-6)
    for bad in ([], [20], [-1], [[1]], [0.5]):
        with pytest.raises(DataError, match="kernel_velocity: group 0 must hold positions of rows, from 0 to 19"):
            kernel_velocity(data, [np.array(bad)], small)


def test_levels_are_the_starts_of_the_shares():
    scores = np.random.default_rng(0).normal(size=200)
    groups = levels(scores, 10, 5)
    order = np.argsort(scores)
    for k, rows in enumerate(groups):
        np.testing.assert_array_equal(rows, order[20 * k : 20 * k + 5])
    with pytest.raises(DataError, match="200 rows don't have 10 groups of 21"):
        levels(scores, 10, 21)


def test_features_are_what_enters_the_last_layer():
    data = blobs()
    x, _, x_val, _ = tensors(data)
    found, net = network_features(data, with_dropout, training=replace(PLAIN, epochs=0)), small(spawned(0, 0))
    with torch.no_grad():
        np.testing.assert_allclose(found.X, net[:2](x), rtol=1e-5)
        np.testing.assert_allclose(found.X_val, net[:2](x_val), rtol=1e-5)
        maps, x = convolution(0)[:4], torch.randn(4, 1, 5, 5)
        late = nn.Sequential(*maps, nn.Conv2d(2, 3, 2), nn.Flatten())
        np.testing.assert_allclose(penultimate(late, x), maps(x).flatten(1), rtol=1e-5)
    trained_features = network_features(data, small, training=PLAIN)
    np.testing.assert_allclose(
        trained_features.X, trained(data, PLAIN, 9)[:2](tensors(data)[0]).detach(), rtol=1e-3, atol=1e-5
    )
    assert network_features(data.without_validation(), small).X_val is None
    np.testing.assert_array_equal(trained_features.shown, data.shown)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    with pytest.raises(DataError, match="network_features: layer must be applied once"):
        network_features(data, Twice())


def test_features_of_a_trained_network_find_wrong_labels():
    X, y = load_digits(return_X_y=True)
    data, wrong = plant_wrong_labels(da.Dataset(X[:400], y[:400], X[400:600], y[400:600]), 0.2)
    features = network_features(data)
    assert features.X.shape == (400, 100)
    assert features.X_val.shape == (200, 100)
    for method in ("cg-score", "knn-shapley"):
        assert roc_auc_score(wrong, -da.value(features, method=method).scores) > 0.9


# --------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("method", [tracin, in_run_shapley])
def test_amounts(method):
    X, y = load_diabetes(return_X_y=True)
    y = y.copy()
    wrong = np.zeros(442, bool)
    wrong[:20] = True
    y[:20] = y[:20].max() + 200
    data = da.Dataset(X[:300], y[:300], X[300:], y[300:], task="regression")
    values = method(data, training=Recipe(epochs=3, batch_size=16, lr=0.01, momentum=0.0, weight_decay=0.0))
    assert roc_auc_score(wrong[:300], -values.scores) > 0.7
    assert values.suggested_label.dtype == np.float64
    assert values.flagged.any()
    assert not values.flagged.all()
    if method is tracin:
        own = tracin(data, influence="self")
        assert roc_auc_score(wrong[:300], -own.scores) > 0.9
        assert own.flagged[wrong[:300]].mean() > 0.5 > own.flagged[~wrong[:300]].mean()


def test_images_and_several_runs():
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    data = da.Dataset(images[:60], y[:60], images[60:80], y[60:80])
    net = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10))
    for method in (tracin, in_run_shapley):
        values = method(data, net, epochs=2, runs=2, n_jobs=1)
        assert values.options["lr"] == 0.05
        assert values.stats["stderr"].shape == (60,)
        assert values.stats["through_torch_func"] == []
        one = method(data, net, epochs=2, n_jobs=1)
        assert not np.array_equal(one.scores, values.scores)
    assert craig(data, net, epochs=2).options["lr"] == 0.05


def resumable(folder=None):
    for name, method, options in (
        ("tracin", tracin, {"n_checkpoints": 7, "runs": 2, "n_jobs": 1}),
        ("shapley", in_run_shapley, {"order": 2, "val_batch_size": 5, "runs": 2, "n_jobs": 1}),
        ("craig", craig, {}),
    ):
        place = None if folder is None else f"{folder}/{name}"
        yield name, method(blobs(), with_dropout, training=PLAIN, checkpoint=place, progress=False, **options)


def killed(kill, folder):
    training.SAVE_EVERY = 0.0
    killed_by(kill, Run, "_save")
    for name, values in resumable(folder):
        values.save(f"{folder}/{name}.parquet")


def test_killed_runs_go_on_to_the_same_bits(tmp_path):
    for kill in (5, 4, 3, -1):  # tracin's second run; in-run's first and second; never
        assert ended(killed, kill, str(tmp_path)) == (0 if kill < 0 else -9)
    for name, whole in resumable():
        found = da.Values.load(tmp_path / f"{name}.parquet")
        np.testing.assert_array_equal(found.scores, whole.scores)
        for column, expected in whole.columns.items():
            np.testing.assert_array_equal(found.columns[column], expected)
        np.testing.assert_array_equal(found.suggested_label, whole.suggested_label)
    again = dict(resumable(str(tmp_path)))  # all is done: only the last look is taken again
    np.testing.assert_array_equal(again["tracin"].scores, da.Values.load(tmp_path / "tracin.parquet").scores)
    assert again["shapley"].stats["validation_loss"] == da.Values.load(tmp_path / "shapley.parquet").stats["validation_loss"]
    with pytest.raises(DataError, match="belongs to a run with other data, model or options"):
        craig(blobs(), with_dropout, training=PLAIN, fraction=0.5, checkpoint=tmp_path / "craig")


SHAPLEY = "in-run-shapley"


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("tracin", {"influence": "others"}, "influence must be 'validation' or 'self', got 'others'"),
        ("tracin", {"layers": 2}, "layers must be 'all' or 'last', got 2"),
        ("tracin", {"n_checkpoints": 0}, "n_checkpoints must be None or a whole number from 1 on, got 0"),
        ("tracin", {"n_checkpoints": 11, "training": PLAIN}, "11 checkpoints need as many steps, and 3 epochs have 9"),
        ("tracin", {"epochs": 0}, "epochs=0 has none"),
        ("tracin", {"epochs": -1}, "epochs must be None or a whole number from 0 on, got -1"),
        ("tracin", {"lr": 1e20, "epochs": 50}, "the loss became .*: lower lr"),
        ("tracin", {"runs": 0}, "runs must be a whole number from 1 on, got 0"),
        ("tracin", {"seed": -1}, "seed must be a whole number from 0 on, got -1"),
        ("tracin", {"model": "resnet"}, "model must be a torch nn.Module"),
        ("craig", {"fraction": 0}, "fraction must be a number above 0 and at most 1, got 0"),
        ("craig", {"fraction": 1.5}, "fraction must be a number above 0 and at most 1, got 1.5"),
        ("craig", {"fraction": float("nan")}, "fraction must be a number above 0 and at most 1, got nan"),
        ("craig", {"seed": 0.5}, "seed must be a whole number from 0 on, got 0.5"),
        (SHAPLEY, {"order": 3}, "order must be 1 or 2, got 3"),
        (SHAPLEY, {"val_batch_size": 0}, "val_batch_size must be None or a whole number from 1 on, got 0"),
        (SHAPLEY, {"val_batch_size": 13}, "val_batch_size must be at most 12, the number of validation rows, got 13"),
        (SHAPLEY, {"epochs": 0}, "epochs=0 has none"),
        (SHAPLEY, {"training": Recipe()}, "values the steps of plain SGD"),
        (SHAPLEY, {"training": replace(PLAIN, optimiser="adam")}, "values the steps of plain SGD"),
        (SHAPLEY, {"training": replace(PLAIN, weight_decay=0.1)}, "values the steps of plain SGD"),
        (SHAPLEY, {"training": replace(PLAIN, augment=lambda x, g: x)}, "values the steps of plain SGD"),
        (SHAPLEY, {"training": replace(PLAIN, mixed_precision=True)}, "values the steps of plain SGD"),
    ],
)
def test_options_that_cannot_be(method, options, says):
    with pytest.raises(DataError, match=f"^({method}|epochs|{says[:4]}).*") as caught:
        da.value(blobs(), method=method, **options)
    assert caught.match(says)
    assert "\n" not in str(caught.value)


def test_what_the_data_must_be():
    amounts = da.Dataset(np.eye(4), [0.5, 1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="craig is about classes, and this is regression"):
        craig(amounts)
    for method in (tracin, in_run_shapley):
        with pytest.raises(DataError, match="X_val and y_val"):
            method(blobs().without_validation())
    assert outputs(small(0), torch.zeros(2, 3)).shape == (2, 3)
