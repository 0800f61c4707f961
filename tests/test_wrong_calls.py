"""Wrong calls that end before any work and leave nothing; and data that look odd and are right."""

import contextlib
import datetime
import sys

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay import cli
from datassay.checks import DataError


def call(folder, monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["datassay", *words])
    with contextlib.chdir(folder), pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "--seed", "-1", "-o", "d"], "seed must be a whole number from 0 on"),
        (["bench", "--data", "iris", "-m", "random bla=1"], "random has no option 'bla'. It takes: seed."),
        (["bench", "--data", "iris", "-m", "ame n_models=-1"], "n_models must be a whole number"),
        (["bench", "--data", "iris", "-m", "cg-score dtype=int8"], "dtype must be"),
        (["bench", "--data", "iris", "-m", "random", "--rate", "7"], "a rate is a share"),
        (["bench", "--data", "iris", "-m", "random", "--kind", "no"], "has no kind 'no'"),
        (["bench", "--data", "iris", "-m", "random", "--limit", "much"], "limit must be an amount"),
        (["bench", "--data", "iris", "-m", "random", "--jobs", "0"], "n_jobs must be"),
        (["bench", "--data", "mnist", "-m", "random"], "--path mnist=FILE"),
        (["bench", "--data", "openml:zzz", "-m", "random"], "--download"),
        (["bench", "--data", "t.csv", "-m", "random"], "--label"),
        (["audit", "t.csv", "--label", "label", "-m", "knn-shapley bla=1"], "has no option 'bla'"),
        (["value", "t.csv", "--label", "label", "-m", "dvgs", "--budget", "90"], "needs validation rows"),
        (["value", "t" * 5000, "--label", "label"], "longer than this system allows: 'tttt"),
        (["value", "t.csv", "--label", "label", "-m", "random", "-o", "t" * 5000], "longer than this system allows: 'tttt"),
    ],
    ids=lambda part: " ".join(part)[:60] if isinstance(part, list) else "",
)
def test_a_wrong_call_leaves_nothing(tmp_path, monkeypatch, capsys, words, says):
    pd.DataFrame({"a": np.arange(50) % 7, "label": np.arange(50) % 2}).to_csv(tmp_path / "t.csv", index=False)
    status, err = call(tmp_path, monkeypatch, capsys, *words)
    assert (status, says in err) == (2, True), err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_link_to_nothing_is_said_to_be_one(tmp_path, monkeypatch, capsys):
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert call(tmp_path, monkeypatch, capsys, "value", "loop.csv", "--label", "x") == (
        2,
        "datassay: 'loop.csv' is a link, and there is nothing where it leads to.\n",
    )


def test_a_thousand_workers_are_not_started():
    from joblib import cpu_count

    from datassay.engines import machine

    assert machine.at_most(1000) == machine.workers(1000) == 4 * cpu_count()
    assert (machine.at_most(1), machine.at_most(-1), machine.at_most(None)) == (1, -1, None)
    with machine.loky(10**30):
        assert machine.workers(None) == 4 * cpu_count()


@pytest.mark.parametrize("kind", ["object", "datetime64[D]", "datetime64[ns]", "datetime64[s]"])
def test_dates_as_labels_of_validation_rows(kind):
    days = [datetime.date(2024, 1, 1 + i % 2) for i in range(40)]
    X = np.random.default_rng(0).normal(size=(40, 3)) + 3 * (np.arange(40) % 2)[:, None]
    y = np.array(days, dtype=kind)
    y_val = np.array(days[:10], dtype="object" if kind == "object" else "datetime64[D]")
    data = da.Dataset(X, y, X[:10], y_val)
    assert (data.codes_val == data.codes[:10]).all()
    assert len(da.value(data, "knn-shapley")) == 40
    with pytest.raises(DataError, match="which no training row has"):
        da.Dataset(X, y, X[:1], np.array([datetime.date(2025, 1, 1)], dtype=y_val.dtype))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("base", [2**60, -(2**60), 2**63 + 2**60])
def test_whole_numbers_that_floats_can_not_tell_apart(base, dtype):
    if not np.iinfo(dtype).min <= base <= np.iinfo(dtype).max - 100:
        return
    small = np.random.default_rng(0).permutation(40)
    frame = pd.DataFrame({"a": np.array([base + int(i) for i in small], dtype), "b": small % 5})
    y = np.arange(40) % 2
    data = da.Dataset(frame, y, frame[:10], y[:10])
    plain = da.Dataset(frame.assign(a=small), y, frame[:10].assign(a=small[:10]), y[:10])
    np.testing.assert_allclose(data.X, plain.X, atol=1e-12)
    np.testing.assert_allclose(data.X_val, plain.X_val, atol=1e-12)
    assert f"{float(base):.6g}" in data.encoding["a"]
    gaps = da.Dataset(frame, y, frame[:10].assign(a=frame["a"][:10].astype(float)), y[:10])
    assert np.isfinite(gaps.X_val).all()
