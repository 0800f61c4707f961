"""A plan tells what a run would take, and picks what fits."""

import shlex

import numpy as np
import pandas as pd
import pytest

import datassay as da
from command import run
from datassay.checks import DataError
from datassay.engines import machine
from datassay.methods import METHODS

RATES = machine.Rates(2, 150e9, 80e9, 1e8, 8e7, 0.3, 1e9)  # a machine of two cores


def rows(n, d=20, val=0):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n + val, d)).astype(np.float32), np.arange(n + val) % 3
    return da.Dataset(X[:n], y[:n], X[n:], y[n:]) if val else da.Dataset(X, y)


def test_every_method_has_a_line_and_every_line_can_be_run():
    data = rows(120, val=40)
    found = da.plan(data, rates=RATES)
    assert set(found.table["method"]) == set(METHODS)
    assert (found.table[["seconds", "memory"]] > 0).all(axis=None)
    asked = [line for line in found.table.itertuples() if line.options]  # others are run as they come in test_every_method
    assert len(asked) == 3
    for line in asked:
        assert len(da.value(data, line.method, **line.options)) == 120
    assert "chosen: cg-score approx=exact dtype=float64" in repr(found)


@pytest.mark.parametrize("method", METHODS)
def test_more_rows_take_more(method):
    small, large = (da.plan(rows(n, val=2000), method, rates=RATES).table.iloc[0] for n in (2000, 200_000))
    assert large["seconds"] > 5 * small["seconds"]
    assert large["memory"] > small["memory"]


def test_budget_and_memory_choose_the_most_exact_that_fits():
    data = rows(50_000)
    table = da.plan(data, "cg-score", rates=RATES).table
    exact, fine, coarse = (table.iloc[i] for i in range(3))
    assert exact["seconds"] > fine["seconds"] > coarse["seconds"]
    assert [row["options"]["approx"] for row in (exact, fine, coarse)] == ["exact", "landmarks", "landmarks"]
    plenty = da.plan(data, "cg-score", budget="10 h", memory="100 GB", rates=RATES)
    assert plenty.options["approx"] == "exact"
    some = da.plan(data, "cg-score", budget=fine["seconds"] * 1.01, memory="100 GB", rates=RATES)
    assert some.options == fine["options"]
    less = da.plan(data, "cg-score", budget=f"{coarse['seconds'] * 1.01:.3f} s", memory="100 GB", rates=RATES)
    assert less.options == coarse["options"]
    narrow = da.plan(data, "cg-score", budget="10 h", memory=coarse["memory"] * 1.01, rates=RATES)
    assert narrow.options == coarse["options"]
    nothing = da.plan(data, "cg-score", budget=0.001, rates=RATES)
    assert nothing.method is None
    assert not nothing.table["fits"].any()
    with pytest.raises(DataError, match="nothing fits: the quickest, cg-score"):
        nothing.value()


def test_where_memory_is_short_the_exact_score_is_planned_on_disk(monkeypatch):
    data = rows(20_000)
    monkeypatch.setattr(machine, "available_memory", lambda: 850_000_000)  # half a matrix in float32 takes 882 MB
    found = da.plan(data, "cg-score", rates=RATES)
    assert found.options == {"approx": "exact", "dtype": "float32", "checkpoint": "cg-score-panels"}
    (line,) = [row for row in found.table.itertuples() if "checkpoint" in row.options]
    assert line.disk == pytest.approx(20_000 * 22_048 / 2 * 4)
    in_memory = found.table.iloc[1]
    assert in_memory["options"]["dtype"] == "float32"
    assert not in_memory["fits"]
    assert line.seconds > in_memory["seconds"]


def test_the_plan_can_be_carried_out():
    data = rows(500)
    found = da.plan(data, budget="1 h", rates=RATES)
    values = found.value(seed=3)
    assert values.method == found.method
    assert values.options["seed"] == 3
    assert values.options["approx"] == found.options["approx"]


def test_a_probe_measures_this_machine():
    rates = machine.probe()
    assert rates.product32 > 1e9
    assert rates.product64 > 1e9
    assert all(rate > 1e5 for rate in (rates.values, rates.sort, rates.disk))
    assert 0.01 < rates.choice < 60


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"budget": "soon"}, "budget must be"),
        ({"budget": -1}, "budget must be"),
        ({"memory": "8 elephants"}, "memory must be"),
        ({"method": "cg"}, "no method 'cg'"),
    ],
)
def test_what_is_no_amount_is_refused(given, says):
    with pytest.raises(DataError, match=says):
        da.plan(rows(50), rates=RATES, **given)


def test_on_the_command_line(tmp_path):
    data = rows(400, d=5)
    pd.DataFrame(data.X, columns=list("abcde")).assign(label=data.y).to_csv(tmp_path / "t.csv", index=False)
    told = run("plan", tmp_path / "t.csv", "--label", "label", "--budget", "1 h")
    assert told.returncode == 0, told.stderr
    assert "cg-score" in told.stdout
    assert "--set approx=exact --set dtype=float64" in told.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "t.csv"]
    done = run(
        "value",
        tmp_path / "t.csv",
        "--label",
        "label",
        "-m",
        "cg-score",
        "--budget",
        "1 h",
        "--jobs",
        2,
        "-o",
        tmp_path / "v.parquet",
    )
    assert done.returncode == 0, done.stderr
    assert da.Values.load(tmp_path / "v.parquet").options["dtype"] == "float64"
    short = ("--label", "label", "-m", "cg-score", "--budget", "0.000000001 s")
    none = run("value", tmp_path / "t.csv", *short, "-o", tmp_path / "w.parquet")
    assert none.returncode == 1
    assert "nothing fits: give a larger --budget or --memory, or fewer rows" in none.stderr
    assert "what each would take on this machine" in none.stdout
    assert "Traceback" not in none.stderr
    assert not (tmp_path / "w.parquet").exists()
    assert run("plan", tmp_path / "t.csv", *short).returncode == 1
    wrong = run("plan", tmp_path / "t.csv", "--label", "label", "--budget", "much")
    assert wrong.returncode == 2
    assert "budget must be an amount" in wrong.stderr
    lost = run("value", tmp_path / "t.csv", "--label", "label", "--backend", "pigeons", "-o", tmp_path / "w.parquet")
    assert lost.returncode == 2
    assert "backend must be" in run("value", tmp_path / "no such file.csv", "--backend", "pigeons").stderr  # before any work
    assert "backend must be 'loky', 'threading', 'dask' or 'ray', got 'pigeons'" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_the_command_that_a_plan_proposes_can_be_run(tmp_path):
    data = rows(300, d=3)
    frame = pd.DataFrame(data.X, columns=list("abc")).assign(name=[f"row {i}" for i in range(300)], note="", label=data.y)
    frame.loc[5, "a"] = np.nan
    path, held = tmp_path / "my rows.csv", tmp_path / "held.csv"
    frame.to_csv(path, index=False)
    frame[5:100].to_csv(held, index=False)
    asked = ("--label", "label", "--id", "name", "--drop", "note", "--missing", "drop", "--val", held, "-m", "knn-shapley")
    told = run("plan", path, *asked)
    assert told.returncode == 0, told.stderr
    (proposed,) = (line for line in told.stdout.splitlines() if line.startswith("Next: datassay "))
    words = shlex.split(proposed.removeprefix("Next: datassay "))
    done = run(*words, "-o", tmp_path / "v.parquet")
    assert done.returncode == 0, done.stderr
    assert da.Values.load(tmp_path / "v.parquet").ids[0] == "row 0"
