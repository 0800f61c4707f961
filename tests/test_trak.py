"""TRAK: against dense gradients and inverses, projections against the products that they stand for, and what it finds."""

import cloudpickle
import numpy as np
import pytest
import torch
from scipy.linalg import LinAlgError
from torch import nn

import datassay as da
from datassay.checks import DataError
from datassay.engines import machine
from datassay.engines.row_store import RowStore
from datassay.engines.training import Recipe, Run, spawned
from datassay.methods.trak import trak
from datassay.networks import trak as module
from datassay.networks.problem import problem
from datassay.networks.recipes import recipe

EPOCHS = {"epochs": 5, "progress": False, "device": "cpu"}


def blobs(n=50, m=20, d=4, classes=3, seed=0, wrong=5):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = rng.normal(size=(n + m, d)) + 1.5 * np.eye(classes, d)[y]
    given = y.copy()
    given[:wrong] = (y[:wrong] + 1) % classes
    return da.Dataset(X[:n], given[:n], X[n:], y[n:])


def amounts(n=40, m=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + m, d))
    y = 5 + X @ np.arange(1, d + 1) + rng.normal(size=n + m)
    return da.Dataset(X[:n], y[:n], X[n:], y[n:], task="regression")


def small(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def small_regression(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))


def trained(data, model, run):
    """The network of a run, as the method trains it."""
    p = problem(data, model, "cpu", "trak")
    used = recipe(None, Recipe(), len(data), epochs=5)
    net = p.make(run, 0)
    run = Run(net, p.loss, p.x, p.y, used, seed=spawned(0, run))
    for _ in run:
        pass
    return p, net.eval()


def gradients(net, said, x, y):
    """(n, parameters), row by row; and what is said."""
    rows, values = [], []
    for i in range(len(x)):
        value = said(net(x[i : i + 1])[0], y[i])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(net.parameters()))]).double())
        values.append(float(value.detach()))
    return torch.stack(rows), np.array(values)


def odds(outputs, y):
    p = outputs.softmax(0)[y]
    return torch.log(p / (1 - p))


def test_it_is_the_definition_by_dense_matrices(tmp_path):
    data = blobs()
    values = trak(data, small, runs=2, matrix=tmp_path / "m.npy", **EPOCHS)
    steps, errors = [], []
    for run in range(2):
        p, net = trained(data, small, run)
        Phi, f = gradients(net, odds, p.x, p.y)
        phi, _ = gradients(net, odds, p.x_val, p.y_val)
        damping = float((Phi**2).sum(1).mean())
        assert values.stats["damping"][run] == pytest.approx(damping, rel=1e-4)
        inverse = torch.linalg.inv(Phi.T @ Phi + damping * torch.eye(Phi.shape[1]))
        steps.append((Phi @ inverse @ phi.T).numpy())
        errors.append(1 - 1 / (1 + np.exp(-f)))
    expected = np.mean(steps, 0) * np.mean(errors, 0)[:, None]
    matrix = np.load(tmp_path / "m.npy")
    np.testing.assert_allclose(matrix, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(values.scores, matrix.mean(1), rtol=1e-5, atol=1e-8)
    assert values.stats["numbers"] == 0
    assert (values.stats["stderr"] > 0).any()


def test_one_row_and_a_class(tmp_path):
    data = blobs()
    trak(data, small, runs=1, matrix=tmp_path / "m.npy", **EPOCHS)
    matrix = np.load(tmp_path / "m.npy")
    values = trak(data, small, runs=1, query=3, **EPOCHS)
    np.testing.assert_allclose(values.scores, matrix[:, 3], rtol=1e-4, atol=1e-6)
    own = int(data.codes_val[3])
    np.testing.assert_array_equal(trak(data, small, runs=1, query=3, label=own, **EPOCHS).scores, values.scores)
    other = trak(data, small, runs=1, query=3, label=(own + 1) % 3, **EPOCHS)
    np.testing.assert_array_equal(other.scores, -other.columns["trak"])
    assert np.corrcoef(other.scores, values.scores)[0, 1] > 0  # what speaks for another class has low scores


def test_the_log_likelihood_has_the_slope_of_the_log_odds_times_what_is_missing(tmp_path):
    """d log p = (1 - p) d log-odds"""
    data = blobs()
    trak(data, small, runs=1, matrix=tmp_path / "m.npy", **EPOCHS)
    p, net = trained(data, small, 0)
    missing = 1 - net(p.x_val).softmax(1).gather(1, p.y_val[:, None])[:, 0].detach().numpy()
    values = trak(data, small, runs=1, utility="log-likelihood", matrix=tmp_path / "l.npy", **EPOCHS)
    np.testing.assert_allclose(np.load(tmp_path / "l.npy"), np.load(tmp_path / "m.npy") * missing, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(values.scores, np.load(tmp_path / "l.npy").mean(1), rtol=1e-5, atol=1e-9)


def test_regression_by_dense_matrices(tmp_path):
    data = amounts()
    values = trak(data, small_regression, runs=1, matrix=tmp_path / "m.npy", **EPOCHS)
    p, net = trained(data, small_regression, 0)
    Phi, f = gradients(net, lambda out, y: out[0], p.x, p.y)
    phi, g = gradients(net, lambda out, y: out[0], p.x_val, p.y_val)
    inverse = torch.linalg.inv(Phi.T @ Phi + float((Phi**2).sum(1).mean()) * torch.eye(Phi.shape[1]))
    step, residual = (Phi @ inverse @ phi.T).numpy(), p.y.numpy() - f
    expected = step * residual[:, None] * (-2 * (g - p.y_val.numpy()))
    np.testing.assert_allclose(np.load(tmp_path / "m.npy"), expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())
    one = trak(data, small_regression, runs=1, query=2, **EPOCHS)
    expected = step[:, 2] * residual * data.codes.std()
    np.testing.assert_allclose(one.scores, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())
    assert values.scores.shape == (40,)


def test_with_as_many_numbers_as_parameters_coordinates_are_exact(monkeypatch):
    """The system of parameters has the solution of that of rows."""
    data = blobs()
    exact = trak(data, small, runs=1, **EPOCHS)
    full = trak(data, small, runs=1, projection=1000, **EPOCHS)
    assert full.stats["numbers"] <= 4 * 6 + 6 + 6 * 3 + 3
    np.testing.assert_allclose(full.scores, exact.scores, rtol=1e-3, atol=1e-5 * np.abs(exact.scores).max())
    few = trak(data, small, runs=1, projection=20, **EPOCHS)
    assert few.stats["numbers"] == 20
    assert np.corrcoef(few.scores, exact.scores)[0, 1] > 0.9
    monkeypatch.setattr(module, "MOST", 10)  # of more rows coordinates are kept
    assert trak(data, small, runs=1, **EPOCHS).stats["numbers"] == full.stats["numbers"]


def test_what_is_kept_answers_other_questions_without_a_training(tmp_path, monkeypatch):
    data = blobs()
    folder = tmp_path / "kept"
    options = dict(runs=2, projection=1000, **EPOCHS)
    first = trak(data, small, gradients=folder, **options)
    np.testing.assert_array_equal(first.scores, trak(data, small, **options).scores)
    asked = trak(data, small, query=3, **options).scores
    others = data.take_validation([7, 1])
    of_others = trak(others, small, **options).scores

    def never(*_, **__):
        raise AssertionError("a training")

    monkeypatch.setattr(Run, "through", never)
    np.testing.assert_array_equal(trak(data, small, gradients=folder, n_jobs=2, **options).scores, first.scores)
    np.testing.assert_array_equal(trak(data, small, gradients=folder, query=3, **options).scores, asked)
    np.testing.assert_array_equal(trak(others, small, gradients=folder, **options).scores, of_others)
    for changed in (
        {"seed": 1}, {"epochs": 3}, {"projection": 30}, {"precision": "float16"},
    ):  # fmt: skip
        with pytest.raises(AssertionError, match="a training"):
            trak(data, small, gradients=folder, **(options | changed))
    relabelled = da.Dataset(data.X, data.y[::-1].copy(), data.X_val, data.y_val)
    with pytest.raises(AssertionError, match="a training"):
        trak(relabelled, small, gradients=folder, **options)


def test_half_of_the_bits_keep_the_answer(tmp_path):
    data = blobs()
    options = dict(runs=1, projection=1000, **EPOCHS)
    whole, half = (
        trak(data, small, gradients=tmp_path / kind, precision=kind, **options).scores for kind in ("float32", "float16")
    )
    assert (whole != half).any()
    np.testing.assert_allclose(half, whole, rtol=0, atol=2e-3 * np.abs(whole).max())
    size = {kind: next((tmp_path / kind).glob("*/gradients/numbers.npy")).stat().st_size for kind in ("float32", "float16")}
    assert size["float32"] - 128 == 2 * (size["float16"] - 128)


def test_a_network_of_the_same_layers_that_says_other_things_is_told(tmp_path):
    data = blobs()
    sizes = [4, 6, 3]

    class Same(nn.Module):
        def __init__(self, between):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last, self.between = nn.Linear(*sizes[:2]), nn.Linear(*sizes[1:]), between

        def forward(self, x):
            return self.last(self.between(self.first(x)))

    options = dict(runs=1, gradients=tmp_path / "kept", **EPOCHS)
    trak(data, lambda: Same(torch.relu), **options)
    trak(data, lambda: Same(torch.relu), query=1, **options)
    with pytest.raises(DataError, match="holds the gradients of another network, which has the same layers"):
        trak(data, lambda: Same(torch.sin), **options)


def test_columns_that_the_sample_of_rows_does_not_see_fit_into_half_of_the_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 40)
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(90, 4)), np.zeros((90, 30))]
    for j in range(30):
        X[3 * j : 3 * j + 3, 4 + j] = 5.0
    y = (X[:, 0] > 0).astype(int)
    data = da.Dataset(X[:80], y[:80], X[80:], y[80:], standardise=False)

    def net(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(34, 5), nn.ReLU(), nn.Linear(5, 2))

    options = dict(runs=1, projection=300, **EPOCHS)
    exact = trak(data, net, runs=1, **EPOCHS).scores
    for precision in ("float16", "float32"):
        kept = trak(data, net, gradients=tmp_path / precision, precision=precision, **options).scores
        assert np.isfinite(kept).all()
        assert np.corrcoef(kept, exact)[0, 1] > 0.7  # directions of the rows outside the sample are lost


def stopped_after_three(done):
    """`RowStore.put` that is interrupted when three blocks are in ``done``."""
    put = RowStore.put

    def until_three(self, b, numbers):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(b)
        put(self, b, numbers)

    return until_three


def test_gradients_of_a_run_that_was_stopped_are_not_made_again(tmp_path, monkeypatch):
    data = blobs()
    monkeypatch.setattr(module, "AT_ONCE", 8)
    options = dict(runs=1, projection=1000, gradients=tmp_path / "kept", **EPOCHS)
    whole = trak(data, small, **(options | {"gradients": None})).scores
    put, done = RowStore.put, []
    monkeypatch.setattr(RowStore, "put", stopped_after_three(done))
    with pytest.raises(KeyboardInterrupt):
        trak(data, small, **options)
    again = []
    monkeypatch.setattr(RowStore, "put", lambda self, b, numbers: (again.append(b), put(self, b, numbers)))
    np.testing.assert_array_equal(trak(data, small, **options).scores, whole)
    assert done == [0, 0, 1]  # what is said of a block's rows, then their gradients
    assert again == [b for b in range(1, -(-len(data) // 8)) for _ in range(2)]


def test_a_task_has_its_own_rows_alone(monkeypatch):
    """A view of a tensor would take all of it along."""
    sizes, task = [], machine.task

    def weighed(*arguments):
        sizes.append(len(cloudpickle.dumps(arguments)))
        return task(*arguments)

    monkeypatch.setattr(module, "AT_ONCE", 8)
    monkeypatch.setattr(machine, "task", weighed)
    few, many = blobs(40), blobs(4000)
    trak(few, small, runs=1, projection=20, **EPOCHS)
    least = max(sizes)
    sizes.clear()
    trak(many, small, runs=1, projection=20, **(EPOCHS | {"epochs": 1}))
    assert len(sizes) == 500
    assert max(sizes) < 1.2 * least


def test_threads_are_as_before_when_it_is_stopped(monkeypatch):
    before = torch.get_num_threads()
    done = []
    monkeypatch.setattr(module, "AT_ONCE", 8)
    monkeypatch.setattr(RowStore, "put", stopped_after_three(done))
    try:
        torch.set_num_threads(2)
        for n_jobs in (None, 1):
            done.clear()
            with pytest.raises(KeyboardInterrupt):
                trak(blobs(), small, runs=1, projection=20, n_jobs=n_jobs, **EPOCHS)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_singular_system_is_told(monkeypatch):
    def singular(*_, **__):
        raise LinAlgError("3-th leading minor of the array is not positive definite")

    monkeypatch.setattr(module, "cho_factor", singular)
    with pytest.raises(DataError, match=r"trak: the gradients' products are singular .*: give a larger damping"):
        trak(blobs(), small, runs=1, projection=20, **EPOCHS)


def test_wrong_labels_hurt_and_the_strongest_rows_matter():
    data, wrong = da.plant(da.datasets.drawn("wine", train=90, val=60, test=20).data, "uniform", 0.15, seed=1)
    values = trak(data, progress=False, device="cpu")
    assert values.scores[wrong].mean() < 0 < values.scores[~wrong].mean()
    assert wrong[values.suspects(int(wrong.sum())).index].mean() > 0.6


def test_the_same_bits_for_any_number_of_jobs_and_after_a_stop(tmp_path):
    data = blobs()
    values = trak(data, small, runs=2, **EPOCHS)
    np.testing.assert_array_equal(trak(data, small, runs=2, n_jobs=2, **EPOCHS).scores, values.scores)
    kept = trak(data, small, runs=2, checkpoint=tmp_path / "c", **EPOCHS)
    again = trak(data, small, runs=2, checkpoint=tmp_path / "c", **EPOCHS)
    np.testing.assert_array_equal(kept.scores, values.scores)
    np.testing.assert_array_equal(again.scores, values.scores)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"query": 99}, "query must be the position of a validation row, from 0 to 19, got 99"),
        ({"label": 1}, "label is for a query"),
        ({"query": 1, "label": 7}, "label must be one of the classes"),
        ({"matrix": "nowhere/m.npy"}, "trak: the folder of 'nowhere/m.npy' does not exist"),
        ({"utility": "margin", "query": 1}, "utility is about the validation rows together"),
        ({"utility": "squared-error"}, "utility must be None or 'margin' or 'log-likelihood'"),
        ({"projection": 0}, "projection must be"),
        ({"damping": 0}, "damping must be None or a number above 0, got 0"),
        ({"precision": "float8"}, "precision must be 'float32' or 'float16', got 'float8'"),
        ({"precision": "float16"}, "trak: precision is that of what gradients= keeps"),
        ({"gradients": __file__}, "trak: gradients must be a folder that can be written to, got"),
    ],
)
def test_what_cannot_be(options, says):
    with pytest.raises(DataError, match=says):
        da.value(blobs(), method="trak", progress=False, **options)
