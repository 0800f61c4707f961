"""DVRL: its gradients against sums over all selections, what its selector sees, and runs that are killed."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.metrics import roc_auc_score
from torch import nn

import datassay as da
from children import ended, killed_by
from datassay.checks import DataError
from datassay.engines import training
from datassay.engines.training import Recipe, Run, outputs, spawned
from datassay.evaluation import plant_wrong_labels
from datassay.methods import dvrl as module
from datassay.methods.dvrl import Selector, dvrl, objective
from datassay.networks.problem import problem

QUICK = {"iterations": 12, "runs": 1, "progress": False}


def blobs(n=24, m=12, d=3, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = (rng.normal(size=(n + m, d)) + 2 * np.eye(classes, d)[y]).astype(np.float32)
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def small(seed, d=3, out=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, out))


# --------------------------------------------------------------------------------------------------------- the objective


@pytest.mark.parametrize("baseline", [0.0, 0.7])
@pytest.mark.parametrize("n", [3, 4])
def test_reinforce_is_the_gradient_of_the_expected_utility(n, baseline):
    """sum_s P(s) grad loss(s) = -grad sum_s P(s) U(s), through a selector, for any table U and any baseline."""
    torch.manual_seed(1)
    net, rows, gap = Selector(5, 2).double(), torch.randn(n, 5).double(), torch.rand(n, 2).double()
    every = [torch.tensor(s).double() for s in itertools.product((0.0, 1.0), repeat=n)]
    U = np.random.default_rng(n).normal(size=len(every))
    weights = list(net.parameters())

    def gradient(of):
        return torch.cat([g.flatten() for g in torch.autograd.grad(of, weights)])

    w = net(rows, gap).sigmoid()
    assert 0.1 < w.mean() < 0.9  # no penalty
    P = [(s * w + (1 - s) * (1 - w)).prod() for s in every]
    exact = gradient(sum(p * u for p, u in zip(P, U, strict=True)))
    estimates = [gradient(objective(net(rows, gap), s, u - baseline, 0.9)) for s, u in zip(every, U, strict=True)]
    mean = sum(p.item() * g for p, g in zip(P, estimates, strict=True))
    assert exact.abs().max() > 1e-4
    np.testing.assert_allclose(mean, -exact, rtol=1e-9, atol=1e-12)
    assert (estimates[0] - estimates[1]).abs().max() > 1e-3


def test_the_derivative_in_the_logits_by_hand():
    """-r (s_i - w_i)"""
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    (found,) = torch.autograd.grad(objective(logits, s, 1.7, 0.9), logits)
    np.testing.assert_allclose(found, -1.7 * (s - logits.detach().sigmoid()), rtol=1e-12)
    assert torch.isfinite(objective(torch.tensor([200.0, -200.0]), torch.tensor([0.0, 1.0]), 1.0, 0.9))


@pytest.mark.parametrize(("at", "sign"), [(3.0, 1), (-3.0, -1), (0.5, 0)])
def test_the_penalty_pulls_the_mean_back(at, sign):
    """1000 dw_i / dlogit_i / n above .9, minus that below .1, none between; also for another threshold."""
    logits = torch.tensor([at, at + 0.1, at - 0.1, at], dtype=torch.float64, requires_grad=True)
    s, w = torch.ones(4, dtype=torch.float64), logits.detach().sigmoid()
    (found,) = torch.autograd.grad(objective(logits, s, 0.0, 0.9), logits)
    np.testing.assert_allclose(found, sign * 1000 * w * (1 - w) / 4, atol=1e-12)
    assert objective(logits, s, 0.0, 0.9).item() == pytest.approx(1000 * max(0, abs(w.mean().item() - 0.5) - 0.4))
    assert (objective(logits, s, 0.0, 0.55).item() > 0) == (abs(w.mean().item() - 0.5) > 0.05)


# ------------------------------------------------------------------------------------------------------------- the loop


def test_the_selector_sees_the_validation_networks_difference_from_first_to_last(monkeypatch):
    data, seen, forward = blobs(), [], Selector.forward

    def watched(net, rows, difference):
        seen.append((rows.clone(), difference.clone()))
        return forward(net, rows, difference)

    monkeypatch.setattr(Selector, "forward", watched)
    values = dvrl(data, small, **QUICK)
    p = problem(data, small, "cpu", "dvrl")
    on_val = Run(p.make(0, 0), p.loss, p.x_val, p.y_val, module.recipe(None, module.VALIDATION, 12), seed=spawned(0, 0))
    said = outputs(on_val.through(), p.x).softmax(1)
    y = F.one_hot(p.y, 3)
    assert len(seen) == 13  # twelve selections and the valuation
    scaled = (p.x - p.x.mean(0)) / p.x.std(0, correction=0)
    for rows, difference in seen:
        np.testing.assert_allclose(difference, (y - said).abs(), atol=1e-6)
        np.testing.assert_allclose(rows, torch.cat([scaled, y], 1), atol=1e-5)
    np.testing.assert_allclose(values.columns["difference"], (y - said).abs().amax(1), atol=1e-6)
    np.testing.assert_array_equal(values.suggested_label, said.argmax(1))
    other = outputs(Run(p.make(0, 0), p.loss, p.x, p.y, module.DEFAULT, seed=1).through(), p.x).softmax(1)  # a predictor
    assert (said - other).abs().max() > 0.05  # its predictions would be another input


@pytest.mark.parametrize("baseline", ["moving", "all"])
def test_the_loop_written_out(baseline, monkeypatch):
    """Selections, rewards and baseline of a run in which each selection's utility is the mean of a fixed number of its rows."""
    data, rewards, drawn = blobs(), [], []
    monkeypatch.setattr(module, "Run", Remembered)
    worth = np.random.default_rng(0).normal(size=24)
    utilities = []

    def of(out):
        utilities.append(worth[Remembered.rows].sum())
        return np.array([utilities[-1]])

    monkeypatch.setattr(module, "utility_of", lambda *a, **k: of)
    original = module.objective

    def recorded(logits, s, reward, threshold):
        rewards.append(reward)
        drawn.append((np.flatnonzero(s.numpy()), logits.detach().sigmoid().numpy()))
        return original(logits, s, reward, threshold)

    monkeypatch.setattr(module, "objective", recorded)
    values = dvrl(data, small, baseline=baseline, window=4, **QUICK)
    b, of_all = worth.sum(), worth.sum()
    for t, (rows, w) in enumerate(drawn):
        np.testing.assert_array_equal(rows, np.flatnonzero(np.random.default_rng([spawned(0, 0), 3, t]).random(24) < w))
        assert rewards[t] == pytest.approx(worth[rows].sum() - (b if baseline == "moving" else of_all))
        b += (worth[rows].sum() - b) / 4
    np.testing.assert_array_equal(drawn[0][1], 0.5)
    np.testing.assert_allclose(values.scores, np.mean([w for _, w in drawn[9:]], 0), rtol=1e-6)
    assert np.ptp(values.scores) > 1e-3
    assert values.stats["utility_of_all_rows"] == [pytest.approx(of_all)]
    assert values.stats["utility"] == [pytest.approx(np.mean(utilities[1:]))]


def test_of_batches_the_mean_is_over_those_a_row_is_in(monkeypatch):
    """A row that is in none of the last quarter's is asked about at the end."""
    data, seen, original = blobs(), [], module.objective

    def recorded(logits, s, reward, threshold):
        seen.append(logits.detach().sigmoid().double().numpy())
        return original(logits, s, reward, threshold)

    monkeypatch.setattr(module, "objective", recorded)
    for batch in (8, 2):
        seen.clear()
        values = dvrl(data, small, selector_batch=batch, **QUICK)
        total, times = np.zeros(24), np.zeros(24)
        for t in range(9, 12):
            rows = np.sort(np.random.default_rng([spawned(0, 0), 3, t]).choice(24, batch, replace=False))
            total[rows] += seen[t]
            times[rows] += 1
        there = times > 0
        assert 0 < (~there).sum() < 24
        np.testing.assert_allclose(values.scores[there], total[there] / times[there], rtol=1e-6)
        assert ((values.scores > 0) & (values.scores < 1)).all()


class Remembered(Run):
    """A run that keeps its rows in mind: their positions in `blobs`."""

    rows = None

    def __init__(self, net, loss, x, y, recipe, **options):
        super().__init__(net, loss, x, y, recipe, **options)
        where = (torch.tensor(blobs().X)[:, None] == x[None]).all(2).any(1)
        Remembered.rows = np.flatnonzero(where)


def test_a_selector_learns_which_rows_pay(monkeypatch):
    """The utility is how many more right rows than wrong ones are selected: the w of wrong rows falls below the others'."""
    data = blobs(60)
    wrong = data.codes == 1
    monkeypatch.setattr(module, "Run", RememberedLabels)
    monkeypatch.setattr(
        module,
        "utility_of",
        lambda *a, **k: lambda out: np.array([np.where(RememberedLabels.y == 1, -1, 1).sum() / 60]),
    )
    values = dvrl(data, small, epochs=1, iterations=400, runs=3, progress=False)
    assert roc_auc_score(wrong, -values.scores) > 0.95  # seeds 0 to 4: .986 and more


class RememberedLabels(Run):
    y = None

    def __init__(self, net, loss, x, y, recipe, **options):
        super().__init__(net, loss, x, y, recipe, **options)
        RememberedLabels.y = y.numpy()


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "cosine", "weight_decay": 0.1, "momentum": 0.5},
        {"balanced": True, "epochs": 3},
        {"optimiser": "adam"},
    ],
)
def test_the_linear_predictor_is_the_one_that_the_loop_trains(task, options, monkeypatch):
    """A selection's utility is the same to rounding by `descend` and by `Run` on a linear layer from 0."""
    data = blobs(40)
    if task == "regression":
        y = data.X @ [1.0, -2.0, 0.5]
        data = da.Dataset(data.X, y, data.X_val, data.X_val @ [1.0, -2.0, 0.5], task="regression")
    recipe = Recipe(**{"epochs": 8, "batch_size": 100, "lr": 0.1} | options)
    fast = dvrl(data, training=recipe, **QUICK)
    taken = []
    monkeypatch.setattr(module, "descend", lambda *a, **k: taken.append(1) or torch.tensor(float("nan")).expand(4, 3))
    slow = dvrl(data, training=recipe, **QUICK)
    assert bool(taken) == (recipe.optimiser == "sgd")
    np.testing.assert_allclose(fast.stats["utility_of_all_rows"], slow.stats["utility_of_all_rows"], rtol=1e-5)
    np.testing.assert_allclose(fast.scores, slow.scores, rtol=1e-3)


def planted(load, n, m):
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[: n + m]
    X, y = X[order], y[order]
    return plant_wrong_labels(da.Dataset(X[:n], y[:n], X[n:], y[n:]), 0.2, seed=0)


@pytest.mark.parametrize(("load", "n", "m"), [(load_digits, 400, 200), (load_breast_cancer, 300, 100)])
def test_wrong_labels_score_low(load, n, m):
    data, wrong = planted(load, n, m)
    values = dvrl(data, iterations=150, runs=2, progress=False)
    assert roc_auc_score(wrong, -values.scores) > 0.6
    assert ((values.scores >= 0) & (values.scores <= 1)).all()
    assert values.flagged[wrong].mean() > values.flagged[~wrong].mean()
    np.testing.assert_array_equal(values.scores, values.columns["probability"])
    np.testing.assert_allclose(values.scores, (values.columns["run_0"] + values.columns["run_1"]) / 2)


def test_amounts():
    X, y = load_diabetes(return_X_y=True)
    y = y.copy()
    wrong = np.arange(442) < 40
    y[wrong] = y[wrong].max() + 300
    data = da.Dataset(X[:300], y[:300], X[300:], y[300:], task="regression")
    values = dvrl(data, iterations=120, runs=1, progress=False)
    assert roc_auc_score(wrong[:300], -values.scores) > 0.6
    assert values.suggested_label.dtype == np.float64
    np.testing.assert_allclose(values.columns["difference"], np.abs(data.y - values.suggested_label), rtol=1e-3, atol=0.1)
    assert values.options["utility"] == "squared-error"
    assert ((values.scores >= 0) & (values.scores <= 1)).all()


def test_bits_follow_from_the_seed_and_not_from_the_order_of_the_rows():
    data = blobs(40)
    values = dvrl(data, small, selector_batch=30, iterations=15, runs=2, progress=False)
    assert np.ptp(values.scores) > 0
    again = dvrl(data, small, selector_batch=30, iterations=15, runs=2, progress=False)
    np.testing.assert_array_equal(again.scores, values.scores)
    order = np.random.default_rng(0).permutation(40)
    there = dvrl(data.take(order), small, selector_batch=30, iterations=15, runs=2, progress=False)
    np.testing.assert_array_equal(there.scores, values.scores[order])
    np.testing.assert_array_equal(there.columns["difference"], values.columns["difference"][order])
    np.testing.assert_array_equal(there.suggested_label, values.suggested_label[order])
    assert not np.array_equal(
        dvrl(data, small, selector_batch=30, iterations=15, runs=2, seed=1, progress=False).scores, values.scores
    )


def test_the_released_settings():
    values = dvrl(blobs(), faithful=True, iterations=2, epochs=2, progress=False)
    kept = values.options
    assert (kept["baseline"], kept["utility"], kept["runs"], kept["selector_batch"]) == ("all", "accuracy", 1, 24)
    assert (kept["selector_lr"], kept["threshold"], kept["training"]["optimiser"]) == (0.01, 0.9, "adam")
    assert kept["training"]["batch_size"] == 256
    assert kept["iterations"] == 2
    images = load_digits().images[:40]
    data = da.Dataset(images, np.arange(40) % 2, images, np.arange(40) % 2)
    assert dvrl(data, **QUICK).scores.shape == (40,)


@pytest.mark.parametrize(("faithful", "activation", "decay"), [(False, nn.Tanh, 0.1), (True, nn.ReLU, 0.0)])
def test_the_selector_and_its_steps(faithful, activation, decay, monkeypatch):
    made, steps = [], []
    forward, original = Selector.forward, torch.optim.AdamW

    def watched(net, rows, difference):
        made.append(net)
        return forward(net, rows, difference)

    def adam(weights, lr, weight_decay, fused):
        steps.append((lr, weight_decay))
        return original(weights, lr, weight_decay=weight_decay, fused=fused)

    monkeypatch.setattr(Selector, "forward", watched)
    monkeypatch.setattr(torch.optim, "AdamW", adam)
    dvrl(blobs(), small, faithful=faithful, epochs=1, selector_lr=0.02, **QUICK)
    parts = [type(m) for m in made[0].modules() if not any(True for _ in m.children())]
    assert parts == [nn.Linear, activation] * 5 + [nn.Linear]
    widths = [tuple(m.weight.shape) for m in made[0].modules() if isinstance(m, nn.Linear)]
    assert widths == [(100, 6), (100, 100), (100, 100), (10, 100), (10, 13), (1, 10)]
    assert steps == [(0.02, decay)]


@pytest.mark.parametrize(
    ("options", "expected"), [({"selector_batch": 1}, 2400), ({"selector_batch": 3}, 1000), ({"faithful": True}, 2000)]
)
def test_how_many_iterations_there_are(options, expected, monkeypatch):
    """So many that each of the 24 rows is in 100 batches on average, and at least 1000."""
    monkeypatch.setattr(module, "run_all", lambda work, call, p, used, options, **k: pytest.fail(str(options["iterations"])))
    with pytest.raises(pytest.fail.Exception, match=f"^{expected}$"):
        dvrl(blobs(), small, **options)


def resumable(folder=None, **options):
    chosen = {"iterations": 12, "runs": 2, "selector_batch": 18, "n_jobs": 1, "progress": False} | options
    return dvrl(blobs(), small, checkpoint=folder, **chosen)


def killed(kill, folder):
    training.SAVE_EVERY = 0.0
    killed_by(kill, module, "save_state")
    resumable(folder).save(f"{folder}/values.parquet")


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    for kill in (16, -1):  # in the second run; never
        assert ended(killed, kill, str(tmp_path)) == (0 if kill < 0 else -9)
    found, whole = da.Values.load(tmp_path / "values.parquet"), resumable()
    np.testing.assert_array_equal(found.scores, whole.scores)
    assert found.stats["utility"] == whole.stats["utility"]
    for column, expected in whole.columns.items():
        np.testing.assert_array_equal(found.columns[column], expected)
    np.testing.assert_array_equal(resumable(tmp_path).scores, whole.scores)  # all is done
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(DataError, match="belongs to a run with other data, model or options"):
        resumable(tmp_path, iterations=13)


# --------------------------------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"iterations": 0}, "iterations must be None or a whole number from 1 on, got 0"),
        ({"selector_batch": 0}, "selector_batch must be None or a whole number from 1 on, got 0"),
        ({"window": 0}, "window must be a whole number from 1 on, got 0"),
        ({"runs": 0}, "runs must be None or a whole number from 1 on, got 0"),
        ({"seed": -1}, "seed must be a whole number from 0 on, got -1"),
        ({"epochs": 0}, "epochs must be a whole number from 1 on, got 0"),
        ({"selector_lr": 0}, "selector_lr must be None or a number above 0, got 0"),
        ({"selector_lr": float("nan")}, "selector_lr must be None or a number above 0, got nan"),
        ({"threshold": 0.5}, "threshold must be a number above 0.5 and at most 1, got 0.5"),
        ({"threshold": 1.1}, "threshold must be a number above 0.5 and at most 1, got 1.1"),
        ({"baseline": "none"}, "baseline must be None or 'moving' or 'all', got 'none'"),
        ({"faithful": 1}, "faithful must be True or False, got 1"),
        ({"utility": "loss"}, "utility must be 'margin', 'accuracy', .*got 'loss'"),
        ({"model": "resnet"}, "model must be a torch nn.Module"),
        ({"lr": 1e38, "epochs": 50}, "the loss became .*: lower lr"),
    ],
)
def test_options_that_cannot_be(options, says):
    with pytest.raises(DataError, match=says) as caught:
        da.value(blobs(), method="dvrl", **{**QUICK, **options})
    assert str(caught.value).startswith("dvrl")
    assert "\n" not in str(caught.value)


def test_what_the_data_must_be():
    with pytest.raises(DataError, match="dvrl needs validation rows, X_val and y_val"):
        dvrl(blobs().without_validation())
    with pytest.raises(DataError, match="the model must give 3 logits, one a class"):
        dvrl(blobs(), nn.Linear(3, 2), **QUICK)


def test_an_empty_selection_leaves_the_predictor_untrained(monkeypatch):
    monkeypatch.setattr(Selector, "forward", lambda net, rows, difference: rows.sum(1) * 0 - 60 + net.joined[-1].bias.sum())
    values = dvrl(blobs(), **QUICK)
    assert values.stats["utility"][0] == pytest.approx(1 / 3, abs=1e-6)


def test_the_recipe_is_the_predictors():
    given = Recipe(epochs=2, batch_size=5, optimiser="adam", lr=0.01)
    values = dvrl(blobs(), training=given, lr=0.02, **QUICK)
    assert (values.options["epochs"], values.options["lr"], values.options["training"]["optimiser"]) == (2, 0.02, "adam")
