"""A rare class: errors can be planted so that it stays as rare."""

import numpy as np
import pytest

import datassay as da
from datassay.checks import DataError
from datassay.engines import noise_model


def frauds(n=2000, rare=40):
    rng = np.random.default_rng(1)
    y = np.zeros(n, int)
    y[:rare] = 1
    X = rng.normal(size=(n, 4)) + 3 * y[:, None]
    return da.Dataset(X, np.array(["fine", "fraud"])[y])


def test_balanced_errors_keep_the_size_of_every_class():
    data = frauds()
    spoilt, wrong = da.plant(data, "balanced", 0.1, seed=3)
    assert np.array_equal(np.bincount(spoilt.codes), np.bincount(data.codes))
    assert np.array_equal(wrong, spoilt.codes != data.codes)
    assert wrong[data.codes == 1].sum() == 4  # missed
    assert wrong[spoilt.codes == 1].sum() == 4  # false alarms


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_balanced_errors_of_many_classes(rate):
    rng = np.random.default_rng(0)
    data = da.Dataset(rng.normal(size=(300, 2)), rng.choice(list("abcde"), 300, p=[0.5, 0.2, 0.2, 0.07, 0.03]))
    spoilt, wrong = da.plant(data, "balanced", rate)
    assert np.array_equal(np.bincount(spoilt.codes), np.bincount(data.codes))
    assert np.array_equal(wrong, spoilt.codes != data.codes)
    share = np.bincount(data.codes, wrong) / np.bincount(data.codes)
    assert np.allclose(share[1:], rate, atol=0.15)


def test_classes_of_two_rows_can_not_be_swapped():
    with pytest.raises(DataError, match="can't be swapped"):
        da.plant(da.Dataset(np.eye(4), ["a", "a", "b", "b"]), "balanced", 0.5)


def test_an_audit_takes_balanced_errors():
    found = da.audit(frauds(300, 20), kind="balanced", budget=10, progress=False)
    assert found.method


def rare_frauds(seed=1, n=2000, rare=40):
    """Frauds are hard to tell, some are missed, some are false alarms."""
    rng = np.random.default_rng(seed)
    true = np.zeros(n, int)
    true[:rare] = 1
    X = rng.standard_t(4, size=(n, 10))
    X[:rare, :5] += np.array([-4, 4, -3, 4, -3]) * rng.uniform(0.5, 1.3, (rare, 1))
    y = true.copy()
    y[:12], y[100:108] = 0, 1
    return da.Dataset(X, y, standardise=True), y != true


@pytest.mark.parametrize("method", ["self-confidence", "cg-score", "data-oob", "c-score", "noise-model"])
def test_rows_of_a_rare_class_are_not_flagged_for_its_rarity(method):
    flagged, right, wrong = 0, 0, 0
    for seed in (1, 2):
        data, bad = rare_frauds(seed)
        found = da.value(data, method, progress=False)
        assert found.stats["wrong_labels"]["low"] <= bad.sum() <= found.stats["wrong_labels"]["high"]
        of_class = found.flagged & (data.codes == 1)
        flagged, right = flagged + of_class.sum(), right + (of_class & ~bad).sum()
        wrong += (of_class & bad).sum()
    assert right <= 0.15 * 56  # of the right frauds
    assert right <= flagged / 2
    assert wrong >= (0 if method == "c-score" else 6)  # of 16 false alarms; votes can't tell them from frauds


def test_the_given_class_counts_as_much_as_the_others(monkeypatch):
    rng = np.random.default_rng(0)
    one = 1 / (1 + np.exp(rng.normal(7, 2.5, 5000)))
    p, codes = np.c_[1 - one, one], (rng.random(5000) < one).astype(int)  # all right, by what can be known
    found = noise_model.fit(np.log(p), codes)
    assert found.flagged[codes == 1].mean() < 0.25
    assert (found.probability[codes == 1] > noise_model.LIKELY).mean() > 0.75  # so rare is the class
    monkeypatch.setattr(noise_model, "RARE", np.inf)
    assert noise_model.fit(np.log(p), codes).flagged[codes == 1].mean() > 0.75


def test_a_class_that_no_row_has_may_be_the_likelier_one():
    p = np.full((300, 3), [0.9, 0.09, 0.01])
    p[150:] = [0.09, 0.9, 0.01]
    p[:3] = [0.01, 0.01, 0.98]
    found = noise_model.fit(np.log(p), np.repeat([0, 1], 150))
    assert found.flagged.nonzero()[0].tolist() == [0, 1, 2]
