"""Memory is looked at before the work, by the plan of every method."""

import inspect

import numpy as np
import pytest
from PIL import Image

import datassay as da
from datassay.checks import DataError
from datassay.engines import machine
from datassay.methods import METHODS
from datassay.methods.definition import SMALL, planned_memory


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((150_500, 30), np.float32), np.arange(150_500) % 2
    return da.Dataset(X[:150_000], y[:150_000], X[150_000:], y[150_000:])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_looks_before_it_begins(many, method, monkeypatch):
    takes = inspect.signature(METHODS[method].load()).parameters
    need = planned_memory(METHODS[method], many, {name: p.default for name, p in takes.items()})
    assert need > 0
    monkeypatch.setattr("datassay.methods.definition.SMALL", 0.0)
    monkeypatch.setattr(machine, "available_memory", lambda: int(0.9 * need))
    with pytest.raises(
        DataError, match=rf"{method} takes .* of memory for 150,000 rows x 30 columns by its plan, and .* are free"
    ):
        da.value(many, method, progress=False) if "progress" in takes else da.value(many, method)


def test_what_is_small_is_not_refused_and_options_count(monkeypatch):
    rng = np.random.default_rng(0)
    data = da.Dataset(rng.normal(size=(60, 3)), np.arange(60) % 2, rng.normal(size=(20, 3)), np.arange(20) % 2)
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    assert planned_memory(METHODS["ame"], data, {"n_models": 40}) < SMALL
    assert len(da.value(data, "ame", n_models=40, progress=False)) == 60
    with pytest.raises(DataError, match=r"fewer n_models, store='trainings.sqlite', fewer rows or columns"):
        da.value(data, "ame", n_models=10**7)
    ame, limited = METHODS["ame"], {"n_models": 10**7, "budget": "1 s"}
    assert planned_memory(ame, data, limited) == planned_memory(ame, data, {})  # n_models is a limit, and not what is done
    assert planned_memory(METHODS["banzhaf"], data, {"n_models": 10**6, "store": "s"}) < planned_memory(
        METHODS["banzhaf"], data, {"n_models": 10**6, "store": None}
    )
    assert planned_memory(METHODS["cg-score"], data, {"negatives": 1.0}) is None


def test_a_size_of_images_that_can_not_be_held(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("L", (4, 4), i).save(tmp_path / name / f"{i}.png")
    monkeypatch.setattr(machine, "available_memory", lambda: 8 * 10**9)
    with pytest.raises(DataError, match=r"one image of 100000 x 100000 pixels needs 90.0 GB of memory, and 8.0 GB are free"):
        da.read(tmp_path, image_size=100_000)
    assert da.read(tmp_path, image_size=8).X.shape == (4, 64)
