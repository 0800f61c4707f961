"""DVGS against its definition: one autograd call for each row at each step of a loop written out."""

import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import roc_auc_score
from torch import nn

import datassay as da
from children import ended, killed_by
from datassay.checks import DataError
from datassay.engines import training
from datassay.engines.training import Recipe
from datassay.evaluation import plant_wrong_labels
from datassay.methods import dvgs as module
from datassay.methods.dvgs import dvgs
from datassay.networks.problem import problem

PLAIN = Recipe(epochs=5, batch_size=8, lr=0.3, momentum=0.0, weight_decay=0.0)


def blobs(n=20, m=12, d=3, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % classes
    X = (rng.normal(size=(n + m, d)) + 2 * np.eye(classes, d)[y]).astype(np.float32)
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def small(seed, d=3, outputs=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, outputs))


def gradient(net, loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


SIMILAR = {
    "cosine": lambda g, h: F.cosine_similarity(g, h, dim=0),
    "dot": lambda g, h: g @ h,
    "scalar": lambda g, h: g @ h / g.norm(),
    "distance": lambda g, h: -(g - h).norm(),
}


def by_definition(data, net, similarity, recipe, order, every=1, of_all=False):
    """(looks, n): a target step with plain SGD, and one gradient for each row before it, beside that of a batch or of all rows."""
    x, x_val = torch.tensor(data.X), torch.tensor(data.X_val)
    y, y_val = torch.tensor(data.codes), torch.tensor(data.codes_val)
    values = []
    for step, rows in enumerate(order):
        g = gradient(net, F.cross_entropy(net(x_val[rows]), y_val[rows]))
        if step % every == every - 1:
            target = gradient(net, F.cross_entropy(net(x_val), y_val)) if of_all else g
            each = [gradient(net, F.cross_entropy(net(x[i : i + 1]), y[i : i + 1])) for i in range(len(x))]
            values.append([float(SIMILAR[similarity](target, h)) for h in each])
        with torch.no_grad():
            for p, part in zip(net.parameters(), g.split([p.numel() for p in net.parameters()]), strict=True):
                p -= recipe.lr * part.view_as(p)
    return np.array(values)


def steps_of(data, recipe, seed, run):
    from datassay.engines.training import spawned

    m = len(data.codes_val)
    for epoch in range(recipe.epochs):
        order = torch.from_numpy(np.random.default_rng([spawned(seed, run), epoch]).permutation(m))
        yield from torch.tensor_split(order, -(-m // recipe.batch_size))


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("similarity", SIMILAR)
def test_the_definition(similarity, every):
    data, seeds = blobs(), []

    def model(seed):
        seeds.append(seed)
        return small(seed)

    values = dvgs(data, model, similarity=similarity, training=PLAIN, runs=2, every=every, seed=4, n_jobs=1)
    each = []
    for r, seed in enumerate(seeds):
        found = by_definition(data, small(seed), similarity, PLAIN, steps_of(data, PLAIN, 4, r), every)
        each.append(found.mean(0))
        np.testing.assert_allclose(values.columns[f"restart_{r}"], each[-1], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(values.scores, np.mean(each, 0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(values.stats["stderr"], np.std(each, 0, ddof=1) / np.sqrt(2), rtol=1e-2, atol=1e-5)
    np.testing.assert_array_equal(values.columns["dvgs"], values.scores)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_target_may_be_all_validation_rows(similarity):
    data = blobs()
    found = by_definition(data, small(0), similarity, PLAIN, steps_of(data, PLAIN, 0, 0), 3, of_all=True)
    values = dvgs(data, lambda seed: small(0), similarity=similarity, training=PLAIN, runs=1, every=3, target="all")
    np.testing.assert_allclose(values.scores, found.mean(0), rtol=1e-3, atol=1e-5)


def test_centred_is_less_the_offset_of_a_class_as_far_as_chance_explains_it():
    data = blobs().with_labels(np.arange(20) % 7 % 3)  # classes of unequal size
    kept = []
    for lr in (0.0, 0.3):  # weights that stand still: no chance, all is kept
        recipe = replace(PLAIN, lr=lr)
        found = [by_definition(data, small(r), "dot", recipe, steps_of(data, recipe, 0, r)) for r in range(2)]
        offsets = np.array(
            [[look[data.codes == c].mean() - look.mean() for c in range(3)] for look in np.concatenate(found)]
        )
        B = max(0, 1 - np.mean(offsets.var(0, ddof=1)) / len(offsets) / np.mean(offsets.mean(0) ** 2))
        nets = iter((small(0), small(1)))
        values = dvgs(
            data, lambda seed, nets=nets: next(nets), similarity="dot", training=recipe, runs=2, centred=True, n_jobs=1
        )
        kept.append(values.stats["class_offset_kept"])
        assert kept[-1] == pytest.approx(B, abs=1e-4)
        expected = np.mean(np.concatenate(found), 0) - (1 - B) * offsets.mean(0)[data.codes]
        np.testing.assert_allclose(values.scores, expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(values.scores, (values.columns["restart_0"] + values.columns["restart_1"]) / 2)
    assert 0 < kept[1] < kept[0]


def test_the_target_of_all_rows_is_their_weighted_mean_part_by_part():
    """Balanced, and more validation rows than go through at once: images, 256 at a time."""
    rng = np.random.default_rng(0)
    X, y = rng.random((300, 4, 4)), (rng.random(300) < 0.2).astype(int)
    data = da.Dataset(X[:10], y[:10], X[10:], y[10:])
    still = Recipe(epochs=1, batch_size=290, lr=0.0, weight_decay=0.0, balanced=True)

    def model(seed):
        return nn.Sequential(nn.Flatten(), small(0, 16, 2))

    whole, part = (dvgs(data, model, training=still, runs=1, target=target, centred=False) for target in ("batch", "all"))
    np.testing.assert_allclose(whole.scores, part.scores, atol=1e-6)


def test_chance_alone_keeps_little_of_an_offset_and_classes_without_rows_none():
    """Classes that are alike, 20 looks: the share that is kept of offsets that are chance, on average."""
    rng = np.random.default_rng(0)
    for classes in (2, 10):
        codes = np.repeat(np.arange(classes), 5)
        kept = []
        for _ in range(200):
            moved = rng.normal(size=(20, classes))[:, codes] + 0.01 * rng.normal(size=(20, len(codes)))
            offsets = np.array(
                [module._offsets(torch.tensor(sim), torch.tensor(codes), classes + 3).numpy() for sim in moved]
            )
            assert (offsets[:, classes:] == 0).all()
            kept.append(module._kept(offsets[:, :classes]))
        assert np.mean(kept) < 0.2
        told = offsets[:, :classes] + 3 * np.linspace(-1, 1, classes)
        assert module._kept(told) > 0.9


def some_images(n=30, m=20):
    rng = np.random.default_rng(0)
    return da.Dataset(rng.random((n, 8, 8)), np.arange(n) % 3, rng.random((m, 8, 8)), np.arange(m) % 3)


def test_images_are_looked_at_once_an_epoch_and_centred():
    data = some_images()
    values = dvgs(data, epochs=6)
    assert [values.options[name] for name in ("every", "runs", "target", "centred")] == [1, 2, "all", True]
    kept, offsets = values.stats["class_offset_kept"], [values.scores[data.codes == c].mean() for c in range(3)]
    plain = dvgs(data, epochs=6, centred=False).scores
    shrunk = [kept * plain[data.codes == c].mean() for c in range(3)]
    np.testing.assert_allclose(offsets - np.mean(offsets), shrunk - np.mean(shrunk), atol=1e-6)
    one = dvgs(data, epochs=2, runs=1, every=99)  # fewer steps than that: at the last; one look tells nothing of chance
    assert (one.options["every"], one.stats["class_offset_kept"]) == (2, 1.0)
    assert not dvgs(data, epochs=0).scores.any()
    autoencoded = dvgs(data, epochs=1, unsupervised=True)
    assert not autoencoded.options["centred"]
    for wrong in ({"unsupervised": True}, {}):
        numbers = da.Dataset(data.X, np.arange(30.0), data.X_val, np.arange(20.0), task="regression")
        with pytest.raises(DataError, match="centred=True is about classes"):
            dvgs(data if wrong else numbers, centred=True, **wrong)


def test_a_stopped_run_on_images_goes_on_to_the_same_bits(tmp_path):
    """Looks span two epochs, offsets of classes are kept; with batch normalisation."""
    data = some_images()

    def model(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

    options = {"epochs": 7, "runs": 2, "batch_size": 8, "every": 5, "n_jobs": 1}
    whole = dvgs(data, model, **options)
    stopped = 0

    def ticking(bar, by=1):
        nonlocal stopped
        stopped += by
        if stopped > 10:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datassay.engines.training.SAVE_EVERY", 0)
        patch.setattr("tqdm.std.tqdm.update", ticking)
        with pytest.raises(KeyboardInterrupt):
            dvgs(data, model, checkpoint=tmp_path / "runs", **options)
    assert list((tmp_path / "runs").iterdir())
    again = dvgs(data, model, checkpoint=tmp_path / "runs", **options)
    np.testing.assert_array_equal(again.scores, whole.scores)
    assert again.stats["class_offset_kept"] == whole.stats["class_offset_kept"]


def test_quantiles_are_ranks_at_each_step():
    data = blobs()
    values = dvgs(data, lambda seed: small(0), similarity="dot", aggregate="quantile", training=PLAIN, runs=1)
    found = by_definition(data, small(0), "dot", PLAIN, steps_of(data, PLAIN, 0, 0))
    ranks = np.argsort(np.argsort(found, axis=1), axis=1) / (len(data) - 1)
    np.testing.assert_allclose(values.scores, ranks.mean(0), atol=1e-6)


def test_the_target_itself_has_cosine_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 3))
    data = da.Dataset(X, [0, 1, 0, 1, 0, 1], X_val=X[[2]], y_val=[0])
    values = dvgs(data, epochs=20, runs=2)
    np.testing.assert_allclose(values.columns["dvgs"][2], 1, atol=1e-6)
    assert (np.abs(values.scores) <= 1).all()
    opposite = dvgs(data.with_labels([0, 1, 1, 1, 0, 1]), epochs=20, runs=2)
    np.testing.assert_allclose(opposite.scores[2], -1, atol=1e-6)


def test_a_flipped_label_negates_the_cosine():
    """Two classes and theta held still: p - y turns round, and so does the whole gradient."""
    data = blobs(classes=2)
    still = Recipe(epochs=3, batch_size=100, lr=0.0, weight_decay=0.0)
    before = dvgs(data, training=still, runs=2).scores
    after = dvgs(data.with_labels(1 - data.y), training=still, runs=2).scores
    np.testing.assert_allclose(after, -before, atol=1e-6)
    assert np.ptp(before) > 0.1


def test_cosine_knows_no_scale_and_dot_does():
    """A constant factor on the logits' layer is not the same thing; a factor on a row's loss is: two equal rows, one twice as
    far out in a linear model without bias have parallel gradients only if p - y is parallel, as for two classes."""
    X = np.array([[1.0, 0], [2, 0], [0, 1], [0, 3]], np.float32)
    data = da.Dataset(X, [0, 0, 1, 1], X_val=[[1.0, 1.0]], y_val=[0])
    still = Recipe(epochs=1, lr=0.0)

    def linear(seed):
        torch.manual_seed(seed)
        return nn.Linear(2, 2, bias=False)

    cosine, dot = (dvgs(data, linear, similarity=s, training=still, runs=1).scores for s in ("cosine", "dot"))
    assert cosine[0] == pytest.approx(cosine[1], abs=1e-6)
    assert abs(dot[0] - dot[1]) > 1e-2


def test_least_squares_in_closed_form():
    """g_i = (x_i' theta - y_i) x_i with targets in standard deviations."""
    X, y = load_diabetes(return_X_y=True)
    data = da.Dataset(X[:50], y[:50], X[50:80], y[50:80], task="regression")
    theta = torch.zeros(1, 10)

    def linear(seed):
        net = nn.Linear(10, 1, bias=False)
        net.weight.data = theta.clone()
        return net

    values = dvgs(data, linear, similarity="dot", training=Recipe(epochs=1, batch_size=100, lr=0.0), runs=1)
    t, t_val = ((a - y[:50].mean()) / y[:50].std() for a in (y[:50], y[50:80]))
    np.testing.assert_allclose(
        values.scores, (X[:50] * t[:, None]) @ (X[50:80] * t_val[:, None]).mean(0), rtol=1e-4, atol=1e-7
    )
    assert np.isfinite(dvgs(data, epochs=5).suggested_label).all()


def test_balanced_counts_in_the_target_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)).astype(np.float32)
    y_val = np.array([0] * 9 + [1])
    data = da.Dataset(X[:30], np.arange(30) % 2, X[30:], y_val)
    still = Recipe(epochs=1, batch_size=100, lr=0.0)
    values = dvgs(data, lambda s: small(0, outputs=2), similarity="dot", balanced=True, training=still, runs=1)
    net = small(0, outputs=2)
    losses = F.cross_entropy(net(torch.from_numpy(X[30:])), torch.from_numpy(y_val), reduction="none")
    g = gradient(net, (losses[:9].mean() + losses[9]) / 2)
    each = [gradient(net, F.cross_entropy(net(torch.from_numpy(X[i : i + 1])), torch.tensor([i % 2]))) for i in range(30)]
    np.testing.assert_allclose(values.scores, torch.stack(each) @ g, rtol=1e-4, atol=1e-6)


def test_chosen_parameters():
    data = blobs()
    still = Recipe(epochs=1, batch_size=100, lr=0.0)
    values = dvgs(data, lambda s: small(0), similarity="dot", grad_params=["2.bias"], training=still, runs=1)
    net = small(0)
    x, x_val = torch.tensor(data.X), torch.tensor(data.X_val)
    r = net(x).softmax(1) - F.one_hot(torch.tensor(data.codes), 3)
    t = net(x_val).softmax(1) - F.one_hot(torch.tensor(data.codes_val), 3)
    np.testing.assert_allclose(values.scores, (r @ t.mean(0)).detach(), rtol=1e-4, atol=1e-6)
    with pytest.raises(DataError, match="no parameter 'head', which grad_params names"):
        dvgs(data, grad_params=["head"])


@pytest.fixture(scope="module")
def planted():
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    return plant_wrong_labels(da.Dataset(X[:300], y[:300], X[300:400], y[300:400]), 0.2, seed=0)


def test_pretraining_dropout_and_the_published_setting(planted):
    data, wrong = planted
    start = dvgs(data, runs=1, epochs=1).scores
    assert not np.allclose(dvgs(data, runs=1, epochs=1, pretrain=3).scores, start)
    faithful = dvgs(data, faithful=True, epochs=30)
    assert roc_auc_score(wrong, -faithful.scores) > 0.85
    assert faithful.options["training"]["balanced"]

    def model(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(30, 50), nn.LayerNorm(50), nn.Mish(), nn.Dropout(0.5), nn.Linear(50, 2))

    with_noise, without = (dvgs(data, model, dropout=d, runs=2, epochs=30).scores for d in (True, False))
    assert roc_auc_score(wrong, -without) > 0.9
    assert not np.allclose(with_noise, without)
    torch.rand(5)  # whatever else draws random numbers
    np.testing.assert_array_equal(with_noise, dvgs(data, model, dropout=True, runs=2, epochs=30).scores)


def test_rows_do_not_see_one_another(planted):
    """The trajectory is the target's: other rows change nothing, in another order neither."""
    data, _ = planted
    alone = dvgs(data.take(np.arange(100)[::-1]), runs=1, epochs=5).scores
    # the default network standardises by all rows: one that doesn't
    model = partial(small, d=30, outputs=2)
    some = dvgs(data.take(np.arange(100)[::-1]), model, runs=1, epochs=5).scores
    np.testing.assert_allclose(some[::-1], dvgs(data, model, runs=1, epochs=5).scores[:100], atol=1e-5)
    assert alone.shape == (100,)


def test_unsupervised_finds_noisy_rows_without_labels():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12))
    noise = rng.uniform(0, 3, 200)
    X[:200] += noise[:, None] * rng.normal(size=(200, 12))
    data = da.Dataset(X[:200], np.arange(200) % 2, X[200:], np.arange(100) % 2)
    values = dvgs(data, unsupervised=True, runs=2, epochs=100, similarity="distance")
    assert np.corrcoef(values.scores, noise)[0, 1] < -0.4
    shuffled = data.with_labels(rng.permutation(data.y))
    np.testing.assert_array_equal(
        dvgs(shuffled, unsupervised=True, runs=2, epochs=100, similarity="distance").scores, values.scores
    )
    assert values.suggested_label is None
    with pytest.raises(DataError, match="an autoencoder must give back the shape that it gets"):
        dvgs(data, nn.Linear(12, 3), unsupervised=True)


def test_images_reach_the_network_as_images():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (30, 8, 9, 3)).astype(np.uint8), np.arange(30) % 2
    data = da.Dataset(X[:20], y[:20], X[20:], y[20:])
    shapes = []

    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            shapes.append(tuple(x.shape[1:]))
            if len(x) == 20:
                np.testing.assert_allclose(x.numpy(), X[:20].transpose(0, 3, 1, 2) / np.float32(255), rtol=1e-6)
            return self.head(x.mean((2, 3)))

    dvgs(data, lambda seed: Looks(), epochs=1, runs=1)
    assert set(shapes) == {(3, 8, 9)}
    assert dvgs(data, epochs=1, runs=1).scores.shape == (20,)


def test_of_the_default_network_for_images_the_last_block_counts():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (30, 8, 9)).astype(np.uint8), np.arange(30) % 2
    data = da.Dataset(X[:20], y[:20], X[20:], y[20:])
    parts = problem(data, None, "cpu", "dvgs").make(0, 0)
    last = [f"{i}.{name}" for i in (6, 9) for name, _ in parts[i].named_parameters()]
    options = {"epochs": 2, "runs": 1, "progress": False}
    values = dvgs(data, **options)
    np.testing.assert_array_equal(values.scores, dvgs(data, grad_params=last, **options).scores)
    every = [name for name, _ in parts.named_parameters()]
    assert set(last) < set(every)
    assert (values.scores != dvgs(data, grad_params=every, **options).scores).any()
    own = dvgs(
        data, partial(problem(data, None, "cpu", "dvgs").make, 0), **options
    )  # of a network that is given all layers count
    assert (own.scores != values.scores).any()


def test_any_number_of_processes_gives_the_same_bits(planted):
    data, _ = planted
    one = dvgs(data, epochs=4, n_jobs=1)
    two = dvgs(data, epochs=4, n_jobs=2)
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.stats["stderr"], two.stats["stderr"])


def killed(kill, folder, out):
    training.SAVE_EVERY = 0.0
    killed_by(kill, training.Run, "_save")
    dvgs(blobs(), small, epochs=6, runs=2, n_jobs=1, checkpoint=folder).save(out)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    whole = dvgs(blobs(), small, epochs=6, runs=2, n_jobs=1)
    for kill in (4, 5, -1):  # in the first run, in the second, never
        assert ended(killed, kill, tmp_path / "runs", tmp_path / "v.parquet") == (0 if kill < 0 else -9)
    found = da.Values.load(tmp_path / "v.parquet")
    np.testing.assert_array_equal(found.scores, whole.scores)
    np.testing.assert_array_equal(found.stats["stderr"], whole.stats["stderr"])
    with pytest.raises(DataError, match="belongs to a run with other data, model or options"):
        dvgs(blobs(), small, epochs=6, runs=2, every=2, n_jobs=1, checkpoint=tmp_path / "runs")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"similarity": "angle"}, "similarity must be 'cosine' or 'dot'"),
        ({"every": 0}, "every must be None or a whole number from 1 on, got 0"),
        ({"runs": 1.5}, "runs must be None or a whole number"),
        ({"lr": -1.0}, "lr must be None or a number from 0 on"),
        ({"device": "tpu"}, "device must be"),
        ({"training": "fast"}, "training must be a Recipe, got str"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"model": object()}, "model must be a torch nn.Module or a function from a seed to one, got object"),
        ({"model": nn.Linear(5, 3)}, r"can't take a batch of shape \(2, 3\)"),
        ({"model": nn.Linear(3, 2)}, r"must give 3 logits, one a class, for each row; for two rows it gave shape \(2, 2\)"),
        ({"model": lambda seed: "net"}, "must return an nn.Module, got str"),
        ({"model": nn.Linear(3, 3).requires_grad_(False)}, "nothing in the model is trained"),
        ({"model": nn.Linear(3, 3), "lr": 1e38, "epochs": 9}, "the loss became"),
    ],
)
def test_what_cannot_be_is_refused(options, says):
    with pytest.raises(DataError, match=says):
        dvgs(blobs(), **options)


def test_an_estimator_is_no_network():
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(DataError, match=r"dvgs reads gradients: model must be a torch nn\.Module.*got LogisticRegression"):
        da.value(blobs(), method="dvgs", model=LogisticRegression())


def test_the_example(capsys):
    path = Path(__file__).parents[1] / "examples" / "dvgs_unsupervised.py"
    runpy.run_path(str(path), run_name="__main__")
    found = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 2
    assert max(found) < -0.7
