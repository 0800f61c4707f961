"""A rare class: errors can be planted so that it stays as rare."""

import numpy as np
import pytest

import datassay as da
from datassay.checks import DataError


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
