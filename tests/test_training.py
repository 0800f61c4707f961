"""The training loop: what it does at each step, and that it goes on to the same bits after being killed."""

import os
import time
from functools import partial

import joblib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from children import begun, ended
from datassay.engines import training
from datassay.engines.training import Recipe, Run, each_run, logit_margin, outputs, set_mode, spawned


def loss(out, y):
    return F.cross_entropy(out, y, reduction="none")


def blobs(n=50, d=4, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return torch.randn(n, d, generator=g) + 2 * F.one_hot(y, d).float(), y


def net(seed=0, drop=0.5, d=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(d, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(drop), nn.Linear(8, 3))


def bits(module):
    return torch.cat([t.flatten().double() for t in module.state_dict().values()])


def test_sgd_is_the_textbook_loop():
    """Momentum, weight decay, cosine, equal batches: against a loop written out."""
    x, y = blobs()
    recipe = Recipe(epochs=3, batch_size=20, lr=0.2, momentum=0.9, weight_decay=0.01, schedule="cosine")
    model = nn.Linear(4, 3)
    W, b = model.weight.detach().clone(), model.bias.detach().clone()
    run = Run(model, loss, x, y, recipe, seed=5)
    steps = [(s.epoch, s.batch, s.step, s.rows, s.lr) for s in run]
    assert [s[:3] for s in steps] == [(e, k, 3 * e + k) for e in range(3) for k in range(3)]
    assert [len(s[3]) for s in steps] == [17, 17, 16] * 3
    for epoch in range(3):
        seen = torch.cat([s[3] for s in steps if s[0] == epoch])
        assert sorted(seen.tolist()) == list(range(50))
    V, v = torch.zeros_like(W), torch.zeros_like(b)
    for *_, step, rows, lr in steps:
        assert lr == pytest.approx(0.1 * (1 + np.cos(np.pi * step / 9)))
        r = ((x[rows] @ W.T + b).softmax(1) - F.one_hot(y[rows], 3)) / len(rows)
        V, v = 0.9 * V + r.T @ x[rows] + 0.01 * W, 0.9 * v + r.sum(0) + 0.01 * b
        W, b = W - lr * V, b - lr * v
    np.testing.assert_allclose(model.weight.detach(), W, atol=1e-5)
    np.testing.assert_allclose(model.bias.detach(), b, atol=1e-5)


def test_adam_is_torchs():
    x, y = blobs()
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    other.load_state_dict(model.state_dict())
    adam = torch.optim.Adam(other.parameters(), 0.01, weight_decay=0.1)
    for step in Run(model, loss, x, y, Recipe(epochs=4, batch_size=25, optimiser="adam", lr=0.01, weight_decay=0.1)):
        adam.zero_grad()
        loss(other(x[step.rows]), y[step.rows]).mean().backward()
        adam.step()
    np.testing.assert_allclose(bits(model), bits(other), atol=1e-6)


def test_balanced_classes_have_equal_weight():
    x, y = blobs()
    y[:40] = 0
    run = Run(nn.Linear(4, 3), loss, x, y, Recipe(balanced=True))
    from sklearn.utils.class_weight import compute_class_weight

    present = np.unique(y)
    np.testing.assert_allclose(
        run.weights[present], compute_class_weight("balanced", classes=present, y=y.numpy()), rtol=1e-6
    )
    # all in one batch: the step is that of the mean over classes of the classes' mean losses
    model, x1 = nn.Linear(4, 3), x
    other = nn.Linear(4, 3)
    other.load_state_dict(model.state_dict())
    Run(model, loss, x1, y, Recipe(epochs=1, batch_size=50, momentum=0.0, weight_decay=0.0, lr=0.5, balanced=True)).through()
    losses = loss(other(x), y)
    torch.stack([losses[y == c].mean() for c in present]).mean().backward()
    np.testing.assert_allclose(model.weight.detach(), (other.weight - 0.5 * other.weight.grad).detach(), atol=1e-6)


def test_watched_is_what_the_batch_said():
    x, y = blobs()
    model = net(drop=0.0)
    run, said = Run(model, loss, x, y, Recipe(epochs=2, batch_size=13), watch=True), []
    for step in run:
        with torch.no_grad():
            frozen = net(drop=0.0)
            frozen.load_state_dict(model.state_dict())
            out = frozen.train()(x[step.rows])
        said.append((step, (loss(out, y[step.rows]), logit_margin(out, y[step.rows]), out.argmax(1))))
    assert len(said) == 8
    for step, expected in said:
        for found, e in zip(run.watched, expected, strict=True):
            np.testing.assert_allclose(found[step.epoch, step.rows], e, rtol=1e-4, atol=1e-5)
    assert (run.watched.margin > 0).equal(run.watched.predicted == y)


def test_the_margin_is_to_the_best_other_class():
    z = torch.randn(20, 4)
    y = torch.randint(4, (20,))
    expected = [z[i, y[i]] - max(z[i, k] for k in range(4) if k != y[i]) for i in range(20)]
    np.testing.assert_allclose(logit_margin(z, y), expected, rtol=1e-6)


def test_dropout_can_be_left_out():
    model = net()
    set_mode(model, dropout=False, batch_norm=True)
    assert [m.training for m in model] == [False, True, False, False, False]
    x, y = blobs()
    with_p, without = net(drop=0.5), net(drop=0.0)
    for m in (with_p, without):
        Run(m, loss, x, y, Recipe(epochs=2), dropout=False).through()
    np.testing.assert_array_equal(bits(with_p), bits(without))
    Run(other := net(drop=0.5), loss, x, y, Recipe(epochs=2)).through()
    assert not bits(other).equal(bits(with_p))


RECIPES = [
    Recipe(epochs=6, batch_size=16, lr=0.1, schedule="cosine"),
    Recipe(epochs=6, batch_size=16, optimiser="adam", lr=0.01, balanced=True),
]


def noisy(x, g):
    return x + 0.1 * torch.randn(x.shape, generator=g)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_goes_on_to_the_same_bits(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    x, y = blobs()
    recipe = Recipe(**{**recipe.__dict__, "augment": noisy})
    whole = Run(net(), loss, x, y, recipe, seed=3, watch=True, state={"steps": torch.zeros(1)})
    for _ in whole:
        whole.state["steps"] += 1
    for stop in (0, 3, 7, 23):
        file = tmp_path / f"{stop}.pt"
        for go_on in (False, True):
            torch.rand(7)  # whatever else draws random numbers
            run = Run(
                net(seed=go_on),
                loss,
                x,
                y,
                recipe,
                seed=3,
                watch=True,
                state={"steps": torch.zeros(1)},
                checkpoint=file,
                key="k",
            )
            for step in run:
                run.state["steps"] += 1
                if not go_on and step.step == stop:
                    break
            else:
                assert run.epoch == 6
            if not file.exists():  # killed in the first epoch: nothing to go on from
                assert stop == 0 or stop == 3
                run = Run(
                    net(), loss, x, y, recipe, seed=3, watch=True, state={"steps": torch.zeros(1)}, checkpoint=file, key="k"
                )
                for _ in run:
                    run.state["steps"] += 1
                break
        np.testing.assert_array_equal(bits(run.net), bits(whole.net))
        for name, tensor in whole.state.items():
            np.testing.assert_array_equal(run.state[name], tensor)
    assert not list(tmp_path.glob(".*"))  # nothing half-written is left
    with pytest.raises(ValueError, match="belongs to a run with other data, model or options"):
        Run(net(), loss, x, y, recipe, checkpoint=file, key="other")
    other = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)
    )  # of the same shapes
    with pytest.raises(ValueError, match="belongs to a run with other data, model or options"):
        Run(other, loss, x, y, recipe, seed=3, watch=True, state={"steps": torch.zeros(1)}, checkpoint=file, key="k")
    finished = Run(net(), loss, x, y, recipe, seed=3, watch=True, state={"steps": torch.zeros(1)}, checkpoint=file, key="k")
    assert list(finished) == []


def walked(folder):
    """The steps that are done come into a file, one by one."""
    training.SAVE_EVERY = 0.0
    torch.set_num_threads(1)
    x, y = blobs()
    run = Run(net(), loss, x, y, RECIPES[0], seed=3, checkpoint=folder / "run.pt", key="k")
    for step in run:
        with (folder / "steps").open("a") as file:
            file.write(f"{step.step}\n")
        time.sleep(0.02)
    torch.save(run.net.state_dict(), folder / "out.pt")


def test_killed_at_any_point(tmp_path):
    x, y = blobs()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the child: sums over a batch depend on how many share them
    whole = Run(net(), loss, x, y, RECIPES[0], seed=3).through()
    torch.set_num_threads(threads)
    steps = tmp_path / "steps"
    for lines in (6, 5):  # twice killed, then let go
        child, until = begun(walked, tmp_path), time.monotonic() + 120
        while time.monotonic() < until and (not steps.exists() or len(steps.read_text().split()) < lines):
            time.sleep(0.01)
        child.kill()
        child.join()
        steps.unlink()
    assert not (tmp_path / "out.pt").exists()
    assert ended(walked, tmp_path) == 0
    assert int(steps.read_text().split()[0]) >= 4  # an epoch at least was not done again
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, tensor in whole.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor)


def test_a_loss_that_runs_away_is_named():
    x, y = blobs()
    with pytest.raises(FloatingPointError, match=r"the loss became (nan|inf) in epoch \d+: lower lr \(it is 1e\+20\)"):
        Run(net(), loss, x, y, Recipe(lr=1e20, epochs=50)).through()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", -1),
        ("epochs", 2.5),
        ("batch_size", 0),
        ("lr", -1.0),
        ("lr", float("nan")),
        ("optimiser", "lbfgs"),
        ("schedule", "steps"),
    ],
)
def test_recipes_that_cannot_be(name, value):
    # the type checker of the tests stands in the way of some: the class itself is asked
    with pytest.raises((ValueError, TypeError)) as caught:
        Recipe(**{name: value})
    assert name in str(caught.value)


def draw(run, tick):
    tick(1)
    model = net(seed=run)
    Run(model, loss, *blobs(n=200), Recipe(epochs=2), seed=spawned(0, run)).through()
    return bits(model).numpy()


def test_runs_are_the_same_wherever_they_are_done(monkeypatch):
    ticks = []
    alone = each_run(draw, 3, None, "cpu", ticks.append, 1)
    assert sum(ticks) == 3
    monkeypatch.setattr(training, "WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # as on a machine with two cores
    elsewhere = each_run(draw, 3, None, "cpu", lambda k: None, 1)
    told = each_run(draw, 3, 2, "cpu", lambda k: None, 1)
    with joblib.parallel_config("threading", n_jobs=2):
        threads = each_run(draw, 3, None, "cpu", lambda k: None, 1)
    with joblib.parallel_config("loky", n_jobs=2):
        around = each_run(draw, 3, None, "cpu", lambda k: None, 1)
    for other in (elsewhere, told, threads, around):
        np.testing.assert_array_equal(alone, other)


def ticking(run, tick, begun):
    """Nine units; where it is done is told by the files that it leaves."""
    tick(1)  # of a checkpoint
    for unit in range(8):
        (begun / f"{run}-{unit}-{os.getpid()}").touch()
        tick(1)
    return run


def test_long_runs_are_all_done_elsewhere_after_the_first_has_begun(tmp_path, monkeypatch):
    """Two runs on two cores, of which the first would else be done alone."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    ticks = []
    work = partial(ticking, begun=tmp_path)
    assert each_run(work, 2, None, "cpu", ticks.append, 9) == [0, 1]  # short: both here
    assert {int(f.name.split("-")[2]) for f in tmp_path.iterdir()} == {os.getpid()}
    assert sum(ticks) == 18
    monkeypatch.setattr(training, "WORTH_PROCESSES", 0.0)
    for path in tmp_path.iterdir():
        path.unlink()
    ticks.clear()
    assert each_run(work, 2, None, "cpu", ticks.append, 9) == [0, 1]
    here = [f.name for f in tmp_path.iterdir() if int(f.name.split("-")[2]) == os.getpid()]
    assert here == [f"0-0-{os.getpid()}"]  # left after its first unit
    assert len(list(tmp_path.iterdir())) == 17
    assert sum(ticks) == 18


def test_outputs_are_in_evaluation_mode_and_in_order():
    x, _ = blobs(n=10)
    model = net()
    np.testing.assert_allclose(outputs(model, x, size=3), model.eval()(x).detach(), rtol=1e-6)


def test_a_balanced_batch_is_divided_by_its_weights():
    """Batches hold other shares of the classes than all rows do: each loss is the mean by weights, as torch's is."""
    x, y = blobs()
    y[:40] = 0
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    other.load_state_dict(model.state_dict())
    run = Run(model, loss, x, y, Recipe(epochs=2, batch_size=10, momentum=0.0, weight_decay=0.0, lr=0.5, balanced=True))
    sgd, sums = torch.optim.SGD(other.parameters(), 0.5), []
    for step in run:
        sgd.zero_grad()
        F.cross_entropy(other(x[step.rows]), y[step.rows], weight=run.weights).backward()
        sgd.step()
        sums.append(float(run.weights[y[step.rows]].mean()))
    assert max(sums) > 1.2
    np.testing.assert_allclose(bits(model), bits(other), atol=1e-5)


class Counting(nn.Linear):
    """How many threads torch has at each step."""

    def __init__(self, threads):
        super().__init__(4, 3)
        self.threads = threads

    def forward(self, x):
        self.threads.append(torch.get_num_threads())
        return super().forward(x)


def test_what_a_step_takes_is_in_the_checkpoint(tmp_path, monkeypatch):
    """A run that goes on has all threads from its first step on, as the one that wasn't stopped had there."""
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    x, y = blobs()
    threads = []

    def run():
        threads.clear()
        torch.manual_seed(0)
        return Run(Counting(threads), loss, x, y, Recipe(epochs=2, batch_size=25), checkpoint=tmp_path / "run.pt")

    monkeypatch.setattr(training, "WORTH_THREADS", 400)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for step in run():
            if step.epoch == 1:
                break
        list(run())
        assert threads == [2, 2]
    finally:
        torch.set_num_threads(before)


def test_what_cannot_be_counted_is_worth_threads():
    with training.Operations() as counted:
        nn.LSTM(4, 8)(torch.zeros(3, 2, 4))
    assert counted.total > 0
    with training.Operations() as counted:
        nn.functional.scaled_dot_product_attention(*torch.zeros(3, 1, 2, 5, 8))
    assert counted.total > 0


def test_small_steps_have_one_thread_and_large_ones_all(monkeypatch):
    """Of two, which would wait for one another."""
    x, y = blobs()
    threads = []

    def run():
        threads.clear()
        torch.manual_seed(0)
        one = Run(Counting(threads), loss, x, y, Recipe(epochs=1, batch_size=10))
        list(one)
        return one

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        small = run()
        assert small._operations == 2 * (2 * 10 * 4 * 3)  # the outputs, and the gradient of the weights
        assert threads == [1] * 5
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(training, "WORTH_THREADS", 400)
        large = run()
        assert threads == [1, 2, 2, 2, 2]
        torch.set_num_threads(1)
        alone = run()
        assert alone._operations is None
        assert threads == [1] * 5
    finally:
        torch.set_num_threads(before)
    for other in (large, alone):
        assert torch.equal(bits(other.net), bits(small.net))
