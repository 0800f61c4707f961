"""EL2N, GraNd, forgetting events and AUM: what they say of a row follows from the training alone, which is done again by hand here."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from torch import nn

import datassay as da
from children import ended, killed_by
from datassay.checks import DataError
from datassay.engines import training
from datassay.engines.robust import counts, is_outlier, top
from datassay.engines.training import Recipe, Run, spawned
from datassay.evaluation import plant_wrong_labels
from datassay.methods.aum import threshold_set
from datassay.methods.el2n import distance
from datassay.methods.forgetting import events

METHODS = ("el2n", "grand", "forgetting", "aum")
SHORT = Recipe(epochs=3, batch_size=16, lr=0.1, momentum=0.9, weight_decay=0.01)


def rows(n=60, classes=3, seed=0):
    """Clouds that overlap, so that there is something to forget."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return da.Dataset(rng.normal(0, 1, (n, 4)) + np.eye(classes, 4)[y], y, ids=[f"row {i}" for i in range(n)])


def amounts(n=120):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.05 * rng.normal(size=n)
    wrong = rng.permutation(n)[:8]
    y[wrong] += rng.choice([-4.0, 4.0], 8)
    return da.Dataset(X, y), np.isin(np.arange(n), wrong)


def small(outputs=3):
    """Dropout, of which nothing may be seen where rows are only looked at."""

    def make(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, outputs))

    return make


def plain(outputs=3):
    def make(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs))

    return make


def noisy(x, g):
    return x + torch.randn(x.shape, generator=g)


def losses(out, y):
    return F.cross_entropy(out, y, reduction="none")


def trained(data, make, recipe, r, seed=0):
    """The network of run r, for those who look at it after the training."""
    X, y = torch.tensor(data.X.astype(np.float32)), torch.tensor(data.codes)
    return Run(make(spawned(seed, r)), losses, X, y, recipe, seed=spawned(seed, r)).through().eval(), X, y


def by_hand(data, make, recipe, r, y, seed=0):
    """Logits (epochs, n, outputs) of each row when its batch comes, in a loop of torch's own optimiser."""
    X, n = torch.tensor(data.X.astype(np.float32)), len(data)
    net = make(spawned(seed, r))
    sgd = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    said = []
    for epoch in range(recipe.epochs):
        order = np.random.default_rng([spawned(seed, r), epoch]).permutation(n)
        logits = {}
        for batch in np.array_split(order, int(np.ceil(n / recipe.batch_size))):
            out = net(X[batch])
            logits |= {int(i): out[j].tolist() for j, i in enumerate(batch)}
            sgd.zero_grad()
            F.cross_entropy(out, y[batch]).backward()
            sgd.step()
        said.append([logits[i] for i in range(n)])
    return np.array(said)


# --------------------------------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("sequence", "lost"),
    [("011010", 2), ("000000", 6), ("111111", 0), ("000001", 0), ("100000", 1), ("1", 0), ("0", 1), ("101010", 3)],
)
def test_events_of_known_sequences(sequence, lost):
    assert events(np.array([[c == "1"] for c in sequence])).tolist() == [lost]


def test_events_are_right_then_wrong():
    right = np.random.default_rng(0).random((7, 500)) < 0.4
    for i, found in enumerate(events(right)):
        one = right[:, i].tolist()
        assert found == (sum(a and not b for a, b in pairwise(one)) if any(one) else 7)


def test_the_class_predicted_most_often():
    predicted = np.array([[0, 2, 1], [1, 2, 1], [1, 0, 2], [0, 0, 2]])
    said = counts(predicted, 3)
    assert said.tolist() == [[2, 2, 0], [2, 0, 2], [0, 2, 2]]
    assert top(said, np.array([1, 1, 2])).tolist() == [
        1,
        0,
        2,
    ]  # the given one among equals, where it is one of them


def test_corners_of_el2n():
    c = 5
    y = torch.tensor([2, 2, 2])
    said = torch.stack([F.one_hot(torch.tensor(2), c), F.one_hot(torch.tensor(4), c), torch.full((c,), 1 / c)]).double()
    np.testing.assert_allclose(distance(said, y), [0, np.sqrt(2), np.sqrt(1 - 1 / c)], rtol=1e-12)


# --------------------------------------------------------------------------------------------------------------- el2n, grand


def test_el2n_is_the_mean_distance_over_runs():
    data, recipe = rows(), Recipe(epochs=2, batch_size=16, lr=0.1, augment=noisy)
    values = da.value(data, "el2n", model=small(), runs=3, training=recipe, seed=5)
    each, said = [], 0
    for r in range(3):
        net, X, y = trained(data, small(), recipe, r, seed=5)
        p = net(X).detach().double().softmax(1).numpy()
        each.append(np.sqrt(((p - np.eye(3)[y]) ** 2).sum(1)))
        said += p / 3
    np.testing.assert_allclose(values.columns["el2n"], np.mean(each, 0), rtol=1e-5)
    np.testing.assert_array_equal(values.scores, -values.columns["el2n"])
    np.testing.assert_allclose(values.stats["stderr"], np.std(each, 0, ddof=1) / np.sqrt(3), rtol=1e-4)
    np.testing.assert_array_equal(values.suggested_label, said.argmax(1))
    np.testing.assert_array_equal(values.flagged, said.argmax(1) != data.y)
    assert 0 < values.flagged.mean() < 1
    assert "stderr" not in da.value(data, "el2n", model=small(), runs=1, training=recipe).stats


def test_el2n_is_grand_of_the_logits():
    """A bias on logits that stay as they are has the gradient p - y."""

    def frozen(seed):
        torch.manual_seed(seed)
        layer = nn.Linear(4, 3)
        layer.weight.requires_grad_(False)
        return layer

    data, options = rows(), {"model": frozen, "runs": 3, "epochs": 4, "lr": 0.1}
    el2n, grand = (da.value(data, method, **options) for method in ("el2n", "grand"))
    np.testing.assert_allclose(grand.columns["grand"], el2n.columns["el2n"], rtol=1e-5)
    assert np.ptp(el2n.scores) > 0.5
    np.testing.assert_array_equal(grand.suggested_label, el2n.suggested_label)
    np.testing.assert_array_equal(grand.flagged, el2n.flagged)


@pytest.mark.parametrize("layers", ["all", "last"])
def test_grand_is_the_norm_of_one_row_s_gradient(layers, monkeypatch):
    monkeypatch.setattr("datassay.methods.grand.AT_ONCE", 23)  # batches that don't come out even
    data = rows()
    values = da.value(data, "grand", model=small(), layers=layers, runs=2, training=SHORT)
    expected = np.zeros(60)
    for r in range(2):
        net, X, y = trained(data, small(), SHORT, r)
        chosen = list((net if layers == "all" else net[-1]).parameters())
        for i in range(60):
            g = torch.autograd.grad(losses(net(X[i : i + 1]), y[i : i + 1])[0], chosen)
            expected[i] += float(torch.cat([part.flatten() for part in g]).norm()) / 2
    np.testing.assert_allclose(values.columns["grand"], expected, rtol=1e-4)
    np.testing.assert_array_equal(values.scores, -values.columns["grand"])
    assert values.stats["stderr"].shape == (60,)


def test_grand_takes_amounts():
    data, wrong = amounts()
    values = da.value(data, "grand", epochs=10)
    assert roc_auc_score(wrong, -values.scores) > 0.95
    assert values.flagged[wrong].mean() > 0.7 > 0.1 > values.flagged[~wrong].mean()
    assert values.suggested_label.dtype.kind == "f"
    right = np.abs(values.suggested_label - data.y)[~wrong]
    assert np.median(right) < np.abs(data.y).std() / 2
    np.testing.assert_array_equal(values.flagged, is_outlier(data.y - values.suggested_label))


def test_far_is_in_units_of_the_median():
    rng = np.random.default_rng(0)
    e = rng.normal(7, 2, 20_000)
    assert is_outlier(e).mean() == pytest.approx(0.0027, abs=0.001)  # beyond three standard deviations
    np.testing.assert_array_equal(is_outlier(e), is_outlier(100 * e - 3))
    assert not is_outlier(np.ones(5)).any()


def test_before_training_nothing_is_known():
    data, wrong = plant_wrong_labels(rows(300), 0.2)
    start = da.value(data, "el2n", epochs=0)
    assert abs(roc_auc_score(wrong, -start.scores) - 0.5) < 0.15
    assert start.columns["el2n"].mean() == pytest.approx(np.sqrt(2 / 3), abs=0.2)


# ----------------------------------------------------------------------------------------------------------- forgetting, aum


def test_forgetting_by_hand():
    data, recipe = rows(), Recipe(epochs=8, batch_size=16, lr=0.2, momentum=0.5, weight_decay=0.01)
    values = da.value(data, "forgetting", model=plain(), runs=2, training=recipe, seed=1)
    logits = [by_hand(data, plain(), recipe, r, torch.tensor(data.codes), seed=1) for r in range(2)]
    right = np.array([one.argmax(2) == data.codes for one in logits])  # (runs, epochs, n)
    lost = np.zeros(60)
    for one in right:
        lost += np.where(one.any(0), (one[:-1] > one[1:]).sum(0), 8)
    assert len(set(lost)) > 4
    assert (lost >= 8).any()
    np.testing.assert_array_equal(values.columns["forgetting_events"], lost)
    np.testing.assert_allclose(values.columns["accuracy"], right.mean((0, 1)))
    p = torch.from_numpy(np.array(logits)).softmax(3).numpy()
    confidence = np.array([p[:, :, i, data.codes[i]].mean() for i in range(60)])
    np.testing.assert_allclose(values.columns["confidence"], confidence, rtol=1e-4)
    np.testing.assert_allclose(values.scores, -(lost + 1 - confidence), rtol=1e-4)
    np.testing.assert_array_equal(values.flagged, right.mean((0, 1)) < 0.5)
    first = [[int(np.argmax(one[:, i])) for one in right if one[:, i].any()] for i in range(60)]
    np.testing.assert_allclose(values.columns["learned_at"], [np.mean(f) if f else -1 for f in first])
    said = np.array([[(np.array(logits)[:, :, i].argmax(2) == k).sum() for k in range(3)] for i in range(60)])
    np.testing.assert_array_equal(values.suggested_label, top(said, data.codes))


def test_confidence_breaks_ties_and_no_more():
    values = da.value(rows(200), "forgetting", runs=2)
    lost = values.columns["forgetting_events"]
    assert len(set(values.scores)) > 190 > 20 > len(set(lost))
    order = np.argsort(values.scores)
    assert (np.diff(lost[order]) <= 0).all()
    assert (np.diff(values.columns["confidence"][order])[np.diff(lost[order]) == 0] >= 0).all()


@pytest.mark.parametrize("runs", [2, 4])
def test_aum_by_hand(runs):
    """Margins, threshold samples, each run's threshold, and who counts where."""
    data = rows(64, classes=2)
    values = da.value(data, "aum", model=plain(3), threshold_rows=20, percentile=90, runs=runs, training=SHORT, seed=2)
    margins, above, said = np.full((2, runs, 64), np.nan), np.full((runs, 64), np.nan), np.zeros((64, 2), int)
    thresholds = []
    for r in range(runs):
        chosen = threshold_set(data.ids, 20, 2, r)
        y = torch.tensor(data.codes.copy())
        y[chosen] = 2
        logits = by_hand(data, plain(3), SHORT, r, y, seed=2)
        margin = np.array(
            [np.mean([z[y[i]] - max(z[k] for k in range(3) if k != y[i]) for z in logits[:, i]]) for i in range(64)]
        )
        thresholds.append(np.percentile(margin[chosen], 90))
        for i in set(range(64)) - set(chosen.tolist()):
            margins[0, r, i], above[r, i] = margin[i], margin[i] - thresholds[-1]
            for z in logits[:, i]:
                if z.argmax() < 2:
                    said[i, z.argmax()] += 1
    np.testing.assert_allclose(values.stats["thresholds"], thresholds, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(values.scores, np.nanmean(margins[0], 0), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(values.columns["aum"], values.scores)
    np.testing.assert_array_equal(values.flagged, np.nanmean(above, 0) < 0)
    assert 0 < values.flagged.mean() < 1
    np.testing.assert_array_equal(values.suggested_label, top(said, data.codes))


def test_threshold_samples(monkeypatch):
    data, seen = rows(80, classes=3), []

    class Seen(Run):
        def __init__(self, net, loss, x, y, recipe, **others):
            seen.append((net(x).shape[1], y.numpy().copy()))
            super().__init__(net, loss, x, y, recipe, **others)

    monkeypatch.setattr("datassay.networks.runs.Run", Seen)
    values = da.value(data, "aum", epochs=1, threshold_rows=80 // 3)
    chosen = [y == 3 for _, y in seen]
    assert [outputs for outputs, _ in seen] == [4, 4]
    assert [c.sum() for c in chosen] == [26, 26]
    assert not (chosen[0] & chosen[1]).any()
    for (_, y), own in zip(seen, ~np.array(chosen), strict=True):
        np.testing.assert_array_equal(y[own], data.codes[own])
    assert set(values.suggested_label) <= {0, 1, 2}
    # how many: a class of average size, but a tenth of the rows at most
    for classes, n, k in ((3, 80, 8), (12, 130, 10), (2, 4, 1)):
        assert da.value(rows(n, classes), "aum", epochs=1).stats["threshold_rows"] == k, classes
    # they go by name, not by place
    order = np.random.default_rng(0).permutation(80)
    for r in range(4):
        here, there = threshold_set(data.ids, 26, 0, r), threshold_set(data.ids[order], 26, 0, r)
        assert set(data.ids[here]) == set(data.ids[order][there])
    assert set(threshold_set(data.ids, 26, 0, 0)) != set(threshold_set(data.ids, 26, 0, 2))
    assert set(threshold_set(data.ids, 26, 0, 0)) != set(threshold_set(data.ids, 26, 1, 0))


def test_without_threshold_samples():
    data = rows()
    values = da.value(data, "aum", model=plain(3), threshold_samples=False, runs=1, training=SHORT)
    logits = by_hand(data, plain(3), SHORT, 0, torch.tensor(data.codes))
    margin = [
        np.mean([z[data.y[i]] - max(z[k] for k in range(3) if k != data.y[i]) for z in logits[:, i]]) for i in range(60)
    ]
    np.testing.assert_allclose(values.scores, margin, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(values.flagged, values.scores < 0)
    assert values.stats["flag_rule"] == "AUM below 0"
    assert values.stats["threshold_rows"] == 0


def test_the_extra_class_is_never_suggested():
    def stubborn(seed):
        layer = nn.Linear(4, 4)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 9.0]))
        return layer

    data = rows()
    values = da.value(data, "aum", model=stubborn, epochs=1, lr=0.0)
    np.testing.assert_array_equal(values.suggested_label, data.y)
    np.testing.assert_allclose(values.scores, np.where(data.y == 1, -8, -9))


# ------------------------------------------------------------------------------------------------------------------ all four


@pytest.fixture(scope="module")
def planted():
    digits = load_digits()
    return plant_wrong_labels(da.Dataset(digits.data[:400], digits.target[:400]), 0.1, seed=1)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_labels_are_found_in_any_order(method, planted):
    data, wrong = planted
    order = np.random.default_rng(0).permutation(400)
    here, there = da.value(data, method), da.value(data.take(order), method)
    assert roc_auc_score(wrong, -here.scores) > 0.98
    assert (here.suggested_label == load_digits().target[:400])[wrong].mean() > 0.8
    assert spearmanr(here.scores[order], there.scores)[0] > 0.93


def test_bits_are_those_of_one_process():
    data = rows(100)
    for method in METHODS:
        one, same, two = (da.value(data, method, epochs=2, seed=3, n_jobs=jobs) for jobs in (None, 1, 2))
        other = da.value(data, method, epochs=2, seed=4)
        for values in (same, two):
            np.testing.assert_array_equal(one.scores, values.scores)
            np.testing.assert_array_equal(one.suggested_label, values.suggested_label)
            for name, column in one.columns.items():
                np.testing.assert_array_equal(column, values.columns[name])
        assert (one.scores != other.scores).any()


def killed(method, data, folder):
    training.SAVE_EVERY = 0.0
    killed_by(35, training.Run, "_do")  # one run of 24 steps is over, and an epoch of the second
    da.value(data, method, runs=2, epochs=3, batch_size=16, checkpoint=folder)


def test_killed_and_gone_on(planted, tmp_path, monkeypatch):
    data = planted[0].take(np.arange(128))
    assert [ended(killed, method, data, tmp_path / method) for method in METHODS] == [-9] * 4
    do, steps = training.Run._do, []

    def counted(*arguments):
        steps.append(1)
        do(*arguments)

    monkeypatch.setattr(training.Run, "_do", counted)
    for method in METHODS:
        options = {"runs": 2, "epochs": 3, "batch_size": 16}
        whole, whole_steps = da.value(data, method, **options), len(steps)
        steps.clear()
        found = da.value(data, method, **options, checkpoint=tmp_path / method)
        assert (whole_steps, len(steps)) == (48, 16)  # of six epochs the last two
        steps.clear()
        np.testing.assert_array_equal(found.scores, whole.scores)
        np.testing.assert_array_equal(found.suggested_label, whole.suggested_label)
        for name, column in whole.columns.items():
            np.testing.assert_array_equal(found.columns[name], column)
        da.value(data, method, **options, checkpoint=tmp_path / method)
        assert not steps  # what is done is done
        with pytest.raises(DataError, match="belongs to a run with other data, model or options"):
            da.value(data, method, **{**options, "epochs": 4}, checkpoint=tmp_path / method)


def test_a_run_tells_of_its_epochs(tmp_path):
    data, told = rows(), []
    X, y = torch.tensor(data.X.astype(np.float32)), torch.tensor(data.codes)
    for _ in range(2):
        Run(plain()(0), losses, X, y, SHORT, checkpoint=tmp_path / "run.pt").through(told.append)
    assert told == [0, 1, 1, 1, 3]


BAD = [
    ({"runs": 0}, METHODS, "runs must be a whole number from [12] on, got 0"),
    ({"runs": True}, METHODS, "runs must be a whole number from [12] on, got True"),
    ({"runs": 1}, ["aum"], "runs must be a whole number from 2 on, got 1"),
    ({"epochs": -1}, METHODS, "epochs must be None or a whole number from 0 on, got -1"),
    ({"epochs": 0}, ["forgetting", "aum"], "epochs must be a whole number from 1 on, got 0"),
    ({"lr": float("nan")}, METHODS, "lr must be None or a number from 0 on, got nan"),
    ({"batch_size": 0}, METHODS, "batch_size must be None or a whole number from 1 on, got 0"),
    ({"lr": 1e30}, ["forgetting", "aum"], "the loss became (nan|inf) in epoch"),
    ({"seed": -1}, METHODS, "seed must be a whole number from 0 on, got -1"),
    ({"n_jobs": 0}, METHODS, "n_jobs must be None or a whole number other than 0, got 0"),
    ({"progress": "no"}, METHODS, "progress must be True or False, got 'no'"),
    ({"device": "tpu"}, METHODS, "device"),
    ({"model": RandomForestClassifier()}, METHODS, r"model must be a torch nn.Module .* got RandomForestClassifier"),
    ({"model": nn.Linear(4, 7)}, METHODS, r"must give [34] logits, one a class.*gave shape \(2, 7\)"),
    ({"model": nn.Linear(3, 3)}, METHODS, "can't take a batch of shape"),
    ({"layers": "first"}, ["grand"], "layers must be 'all' or 'last', got 'first'"),
    (
        {"model": nn.Linear(4, 3)},
        ["aum"],
        r"must give 4 logits, one a class, and one for the threshold samples \(threshold_",
    ),
    ({"threshold_samples": "yes"}, ["aum"], "threshold_samples must be True or False, got 'yes'"),
    ({"threshold_rows": 0}, ["aum"], "threshold_rows must be None or a whole number from 1 on, got 0"),
    ({"threshold_rows": 31}, ["aum"], "threshold_rows must be at most 30, half of the rows, got 31"),
    ({"threshold_rows": 5, "threshold_samples": False}, ["aum"], "threshold_rows says how many .* that none are"),
    ({"percentile": 101}, ["aum"], "percentile must be a number from 0 to 100, got 101"),
    ({"percentile": float("nan")}, ["aum"], "percentile must be a number from 0 to 100, got nan"),
    ({"percentile": "high"}, ["aum"], "percentile must be a number from 0 to 100, got 'high'"),
]


@pytest.mark.parametrize(("options", "method", "says"), [(o, m, s) for o, methods, s in BAD for m in methods])
def test_options_that_cannot_be(options, method, says):
    with pytest.raises(DataError, match=says) as caught:
        da.value(rows(), method, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["el2n", "forgetting", "aum"])
def test_amounts_have_no_margin(method):
    with pytest.raises(DataError, match=f"{method} is about classes, and this is regression"):
        da.value(amounts()[0], method)


@pytest.mark.parametrize("method", METHODS)
def test_images_and_sparse_rows(method):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    images = rng.random((40, 8, 8)) + y[:, None, None]
    assert da.value(da.Dataset(images, y), method, epochs=1, runs=2).scores.shape == (40,)
    from scipy.sparse import csr_array

    assert da.value(da.Dataset(csr_array(images.reshape(40, 64)), y), method, epochs=1, runs=2).scores.shape == (40,)
