"""Methods that datassay did not bring: functions, and those of installed packages."""

import hashlib
import inspect
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import datassay as da
from datassay.checks import Count, OptionError
from datassay.evaluation.cells import Cell, Sizes, Source, key
from datassay.evaluation.tasks import Learner
from datassay.methods import Method, takes
from datassay.methods.definition import Finding, method


def near(data, *, seed=0, power=2.0):
    """far from the mean of its class"""
    centres = np.stack([data.X[data.codes == c].mean(0) for c in range(len(data.classes))])
    return -((np.abs(data.X - centres[data.codes]) ** power).sum(1))


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    y = np.repeat(["a", "b"], 30)
    y[3] = "b"
    return da.Dataset(X, y)


def test_a_function_is_a_method(rows):
    values = da.value(rows, near, power=1.0)
    np.testing.assert_array_equal(values.scores, near(rows, power=1.0))
    assert values.suspects(1)["id"].item() == 3
    assert values.method == "near"
    assert values.options == {"seed": 0, "power": 1.0}
    assert not values.flagged.any()
    assert values.data_hash == rows.hash


def test_a_function_may_return_values(rows):
    def theirs(data, *, seed=0):
        return da.value(data, "random", seed=seed)

    values = da.value(rows, theirs, seed=5)
    assert values.method == "theirs"
    np.testing.assert_array_equal(values.scores, da.value(rows, "random", seed=5).scores)
    with pytest.raises(da.DataError, match="must return Values of the 60 rows"):
        da.value(rows, lambda data, *, seed: da.value(data.take(np.arange(59)), "random"))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (lambda data, *, seed: np.zeros(5), r"one number for each of 60 rows, got shape \(5,\)"),
        (lambda data, *, seed: "no", "Values or one number a row, got str"),
        (lambda data, *, seed: np.full(60, np.nan), r"the score of row 0 \(id 0\) is nan"),
    ],
)
def test_what_is_no_value_is_an_error(rows, found, says):
    with pytest.raises(da.DataError, match=says):
        da.value(rows, found)


def test_what_is_no_method_is_an_error(rows):
    for wrong in (3, None, dict):
        with pytest.raises(da.DataError, match="method must be a name or a function"):
            da.value(rows, wrong)
    with pytest.raises(TypeError, match="near has no option 'powr'; did you mean 'power'"):
        da.value(rows, near, powr=1)


def test_a_function_without_options_is_called_with_the_rows_alone(rows):
    values = da.value(rows, lambda data: data.X[:, 0], seed=7)
    np.testing.assert_array_equal(values.scores, rows.X[:, 0])
    assert values.options == {}


def test_an_entry_says_what_the_data_must_have(rows, monkeypatch):
    numbers = da.Dataset(rows.X, rows.X[:, 0])
    entries = {
        "judged": da.methods.Method(near, requires=frozenset({"validation"})),
        "sorted": da.methods.Method(near, requires=frozenset({"classes"})),
    }
    monkeypatch.setattr(da.methods, "installed", lambda: entries)
    with pytest.raises(da.DataError, match="judged needs validation rows"):
        da.value(rows, "judged")
    with pytest.raises(da.DataError, match="sorted is about classes"):
        da.value(numbers, "sorted")
    assert {"judged", "sorted", "cg_score"} <= set(dir(da))
    np.testing.assert_array_equal(da.value(rows, "sorted").scores, near(rows))


def test_functions_of_our_own_are_known_by_their_names(rows):
    from datassay.methods.random import random

    assert da.value(rows, random).method == "random"


def test_a_function_beside_methods_in_audit_and_evaluate(rows):
    found = da.audit(rows, methods=[near, "random"], repeats=2)
    assert set(found.table["method"]) == {"near", "random"}
    assert found.name == "near"
    assert found.method is near
    assert "probability_wrong" in found.calibrate(da.value(rows, found.method)).columns
    lines = da.evaluate(rows, [near, "random"], seeds=2, rates=0.1).results
    auc = lines[lines["metric"] == "auc"].groupby("method")["value"].mean()
    assert auc["near"] > 0.9 > auc["random"]


def test_a_changed_function_is_another_cell():
    def cell(function):
        return Cell("noisy-labels", "wine", "uniform", 0.1, 0, "f", function, ())

    def with_power(p):
        def f(data, *, seed=0):
            return near(data, power=p)

        return f

    sizes, learner = Sizes(100, 50, 50), Learner(None, None)
    source = Source("wine")
    assert key(cell(with_power(1)), source, sizes, learner) == key(cell(with_power(1)), source, sizes, learner)
    assert key(cell(with_power(1)), source, sizes, learner) != key(cell(with_power(2)), source, sizes, learner)


CODE = """
from datassay.methods import Method


def spread(data, *, seed=0, power=2.0):
    return -(abs(data.X - data.X.mean(0)) ** power).sum(1)


RECORD = Method(spread, says="it lies far from the mean of all rows", cost="a pass", paper="none: a test")


def plain(data, *, seed=0):
    \"\"\"it lies right of others\"\"\"
    return -data.X[:, 0]
"""


def test_an_installed_package_brings_methods(tmp_path):
    wheel = tmp_path / "spread_values-1.0-py3-none-any.whl"
    info = "spread_values-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("spread_values.py", CODE)
        z.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: spread-values\nVersion: 1.0\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        points = "spread = spread_values:RECORD\nplain = spread_values:plain\nbroken = spread_values:absent\n"
        z.writestr(f"{info}/entry_points.txt", f"[datassay.methods]\n{points}")
        z.writestr(f"{info}/RECORD", "")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    (tmp_path / "t.csv").write_text("a,b,y\n0,0,u\n0,1,u\n1,0,v\n9,9,v\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]), "COLUMNS": "200"}

    def run(*words):
        call = [sys.executable, "-m", "datassay", *words]
        return subprocess.run(call, env=env, cwd=tmp_path, capture_output=True, text=True)

    listed = run("methods")
    assert "it lies far from the mean" in listed.stdout
    assert "it lies right of others" in listed.stdout
    assert "the method 'broken' of spread_values:absent can't be loaded" in listed.stderr
    done = run("value", "t.csv", "--label", "y", "-m", "spread", "--set", "power=1", "-o", "v.parquet")
    assert done.returncode == 0, done.stderr
    values = da.Values.load(tmp_path / "v.parquet")
    assert values.suspects(1)["id"].item() == 3
    assert values.options["power"] == 1
    assert run("value", "t.csv", "--label", "y", "-m", "spred").returncode == 2


@method("halves", renamed={"restarts": "runs", "times": "runs"})
def halves(data: da.Dataset, *, runs: Count = 3, seed: int = 0) -> Finding:
    """Half of the runs."""
    return Finding(np.full(len(data), runs / 2), np.zeros(len(data), bool), {})


def test_a_former_name_of_an_option_still_works(rows):
    with pytest.warns(FutureWarning, match="^halves: the option restarts is now called runs; its former name will go.$"):
        values = halves(rows, restarts=5)
    assert values.scores[0] == 2.5
    assert values.options == {"runs": 5, "seed": 0}
    assert list(inspect.signature(halves).parameters) == ["data", "runs", "seed"]
    for both in ({"restarts": 2, "runs": 2}, {"runs": 2, "restarts": 2}):
        with pytest.raises(
            OptionError, match=r"^halves: restarts is the former name of runs, and both came: pass runs alone.$"
        ):
            halves(rows, **both)
    with (
        pytest.warns(FutureWarning),
        pytest.raises(da.DataError, match=r"^halves: runs must be a whole number from 1 on, got 0"),
    ):
        halves(rows, restarts=0)
    assert halves(rows, runs=1).scores[0] == 0.5


def test_the_door_of_names_takes_former_names_of_options(rows, monkeypatch):
    monkeypatch.setitem(da.methods.METHODS._own, "halves", Method(halves))
    with pytest.warns(FutureWarning, match="halves: the option restarts is now called runs"):
        assert da.value(rows, "halves", restarts=5).scores[0] == 2.5
    with pytest.raises(OptionError, match=r"has no option 'restart'.* It takes: runs, seed"):
        da.value(rows, "halves", restart=5)
    assert takes("restarts", "halves")
    assert takes("runs", "halves")
    assert not takes("restart", "halves")


@pytest.mark.parametrize(
    ("name", "old", "new", "options"),
    [
        ("dvgs", "restarts", "runs", {"epochs": 2}),
        ("tracin", "checkpoints", "n_checkpoints", {"epochs": 2}),
        ("in-run-shapley", "val_batch", "val_batch_size", {"epochs": 2}),
        ("dvrl", "batch", "selector_batch", {"iterations": 2, "runs": 1}),
    ],
)
def test_methods_know_the_former_names_and_so_do_their_checkpoints(name, old, new, options, rows, tmp_path):
    pytest.importorskip("torch")
    from datassay.engines import training

    data = da.Dataset(rows.X[::2], rows.y[::2], X_val=rows.X[1::2], y_val=rows.y[1::2])
    options |= {"progress": False}
    with pytest.warns(FutureWarning, match=f"^{name}: the option {old} is now called {new}"):
        before = da.value(data, name, **{old: 3}, **options)
    after = da.value(data, name, **{new: 3}, checkpoint=tmp_path, **options)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert before.options == after.options
    assert after.options[new] == 3
    text = f"{name} {data.hash} { {old if option == new else option: v for option, v in after.options.items()} }"
    if name == "dvrl":  # its rows are in the order of their ids, as they are here
        assert (np.diff(data.ids) > 0).all()
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    content = training.torch.load(tmp_path / "run-0.pt", weights_only=True)
    assert content["key"].startswith(f"{digest} ")


def test_keywords_that_a_typed_dict_stands_for_are_in_the_signature():
    pytest.importorskip("torch")
    parameters = inspect.signature(da.el2n).parameters
    assert list(parameters) == [
        *(
            "data",
            "model",
            "runs",
            "epochs",
            "batch_size",
            "lr",
            "training",
            "device",
            "checkpoint",
            "seed",
            "progress",
            "n_jobs",
        )
    ]
    assert {p.kind for p in list(parameters.values())[2:]} == {inspect.Parameter.KEYWORD_ONLY}
    assert [parameters[option].default for option in ("runs", "epochs", "device", "seed")] == [5, None, "auto", 0]
    assert parameters["epochs"].annotation == "Annotated[int, Whole(0)] | None"
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        da.el2n(da.Dataset(np.eye(4), ["a", "a", "b", "b"]), epoch=3)
