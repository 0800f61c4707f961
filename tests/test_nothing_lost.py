"""Files of others are never replaced, and nothing is read and written at once."""

import contextlib
import dataclasses
import hashlib
import inspect
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_iris

import datassay as da
from command import run
from datassay.engines.train_subsets import train as real_train
from datassay.files import check_paths, check_target, is_ours, replacing, save_npy
from datassay.methods import METHODS
from datassay.subsets import study


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Data of every kind, and files of others that lie beside them."""
    folder = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) + np.repeat([[1.5], [-1.5]], 30, axis=0)
    y = np.repeat(["a", "b"], 30)
    frame = pd.DataFrame(X, columns=list("pqrs")).assign(label=y)
    frame.to_csv(folder / "t.csv", index=False)
    frame.iloc[::3].to_csv(folder / "val.csv", index=False)
    frame.to_parquet(folder / "t.parquet", index=False)
    frame.to_parquet(folder / "results.parquet", index=False)
    (folder / "d").mkdir()
    np.save(folder / "d" / "X.npy", X)
    np.save(folder / "d" / "y.npy", y)
    np.savez(folder / "t.npz", X=X, y=y)
    (folder / "other.csv").write_text("mine\n1\n")
    (folder / "index.html").write_text("<!doctype html><title>mine</title>")
    (folder / "r.json").write_text('{"mine": 1}')
    (folder / "notes.md").write_text("mine")
    for name in "ab":
        (folder / "img" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (4, 4), np.uint8)).save(folder / "img" / name / f"{i}.png")
    (folder / "study.toml").write_text('data = ["iris"]\nmethods = ["random"]\nseeds = 1\nrates = 0.1\n')
    (folder / "bench").mkdir()
    (folder / "bench" / "index.html").write_text("mine")
    return folder


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


VALUE = ("value", "t.csv", "--label", "label")
CALLS = [
    (*VALUE, "--val", "val.csv", "-m", "datamodels", "--set", "n_models=40", "--set", "matrix=t.csv"),
    (*VALUE, "--val", "val.csv", "-m", "lossval", "--set", "epochs=1", "--set", "save_model=t.csv"),
    (*VALUE, "--val", "val.csv", "-m", "datamodels", "--set", "matrix=./d/../val.csv"),
    (*VALUE, "--val", "val.csv", "-m", "datamodels", "--set", "matrix=other.csv"),
    (*VALUE, "--val", "val.csv", "-m", "datamodels", "--set", "matrix=other.csv", "--force"),
    (*VALUE, "--val", "val.csv", "-m", "datamodels", "--set", "matrix=n.npy", "-o", "n.npy"),
    (*VALUE, "--val", "val.csv", "-m", "ame", "--set", "n_models=40", "--set", "store=s.x", "-o", "s.x"),
    (*VALUE, "--val", "val.csv", "-m", "ame", "--set", "n_models=40", "--set", "store=t.csv"),
    (*VALUE, "--val", "val.csv", "-m", "ame", "--set", "n_models=40", "--set", "store=notes.md"),
    (*VALUE, "-m", "cg-score", "--set", "checkpoint=t.csv"),
    (*VALUE, "-m", "random", "-o", "other.csv"),
    (*VALUE, "-m", "random", "-o", "t.csv", "--force"),
    (*VALUE, "-m", "random", "-o", "t.parquet"),
    (*VALUE, "-m", "random", "-o", "v.parquet", "--report", "index.html"),
    (*VALUE, "-m", "random", "-o", "v.parquet", "--report", "r.html"),
    (*VALUE, "-m", "random", "-o", "v.parquet", "--report", "."),
    (*VALUE, "-m", "random", "-o", "v.html", "--report", "v.html"),
    ("value", "d/X.npy", "--label", "y.npy", "-m", "random", "-o", "d/y.npy"),
    ("value", "d/X.npy", "--label", "y.npy", "-m", "random", "-o", "d/y.npy", "--force"),
    ("value", "img", "-m", "random", "-o", "img/a/0.png"),
    ("value", "img", "-m", "random", "-o", "img/a/0.png", "--force"),
    ("value", "img", "-m", "random", "-o", "img/a/new.png"),
    (
        "audit",
        "t.csv",
        "--label",
        "label",
        "--val",
        "val.csv",
        "-m",
        "datamodels n_models=40 matrix=t.csv",
        "--repeats",
        "1",
    ),
    ("bench", "--data", "results.parquet", "--label", "label", "-m", "random", "--seeds", "1", "-o", "."),
    ("bench", "study.toml", "-o", "bench"),
    ("demo", "-o", "bench/.."),
    ("demo", "-o", "t.csv"),
]


@pytest.mark.parametrize("call", CALLS, ids=[" ".join(call)[-60:] for call in CALLS])
def test_a_call_that_would_destroy_a_file_is_status_2_and_changes_nothing(home, tmp_path, call):
    folder = shutil.copytree(home, tmp_path / "home")
    if call[0] == "demo":
        (folder / "values.parquet").write_bytes((folder / "t.parquet").read_bytes())
    before = digests(folder)
    done = run(*call, cwd=folder)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert digests(folder) == before


def test_links_pipes_and_devices_are_not_replaced(home, tmp_path):
    folder = shutil.copytree(home, tmp_path / "home")
    (folder / "link.parquet").symlink_to("nowhere.parquet")
    (folder / "loop.parquet").symlink_to("loop.parquet")
    os.mkfifo(folder / "pipe.parquet")
    os.link(folder / "t.csv", folder / "same.csv")
    for name in ("link.parquet", "loop.parquet", "pipe.parquet", "/dev/null"):
        with pytest.raises(da.DataError, match=r"is a link|no file that can be replaced"):
            check_target(folder / name, force=True)
    with pytest.raises(da.DataError, match="reads or writes"):
        check_paths([folder / "t.csv"], [folder / "same.csv"], force=True)


def test_our_own_files_are_replaced_and_others_with_force(home, tmp_path):
    folder = shutil.copytree(home, tmp_path / "home")
    call = (
        *VALUE,
        "--val",
        "val.csv",
        "-m",
        "datamodels",
        "--set",
        "n_models=40",
        "--set",
        "matrix=n.npy",
        "--report",
        "v.html",
    )
    for _ in range(2):
        done = run(*call, cwd=folder)
        assert done.returncode == 0, done.stderr
    assert np.load(folder / "n.npy").shape == (60, 20)
    for name in ("n.npy", "values.parquet", "v.html", "v.json"):
        assert is_ours(folder / name), name
    done = run(*VALUE, "-m", "random", "-o", "other.csv", "--report", "index.html", "--force", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert is_ours(folder / "other.csv")
    assert is_ours(folder / "index.html")
    for _ in range(2):
        done = run("bench", "study.toml", "-o", "b", cwd=folder)
        assert done.returncode == 0, done.stderr


def test_from_python_too(home, tmp_path):
    folder = shutil.copytree(home, tmp_path / "home")
    data = da.read(folder / "t.csv", label="label", val=folder / "val.csv")
    values = da.value(data, "random")
    for write in (
        lambda: values.save(folder / "t.csv"),
        lambda: values.save(folder / "t.parquet"),
        lambda: da.report(values, data, folder / "index.html"),
        lambda: da.report(values, data, folder / "r.html"),
        lambda: da.value(data, "datamodels", n_models=40, matrix=folder / "other.csv"),
        lambda: da.value(data, "lossval", epochs=1, save_model=folder / "other.csv"),
        lambda: da.value(data, "ame", store=folder / "val.csv"),
    ):
        before = digests(folder)
        with pytest.raises(da.DataError, match=r"not replaced|would overwrite"):
            write()
        assert digests(folder) == before
    values.save(folder / "t.parquet", force=True)
    save_npy(np.zeros((60, 4)), folder / "d" / "X.npy.new")
    os.replace(folder / "d" / "X.npy.new", folder / "d" / "X.npy")  # of ours, and now it is data
    read = da.Dataset(
        np.load(folder / "d" / "X.npy") + np.arange(60)[:, None], np.repeat([0, 1], 30), np.eye(4), [0, 1, 0, 1]
    )
    read.source = {"path": str(folder / "d" / "X.npy")}
    with pytest.raises(da.DataError, match="would overwrite"):
        da.value(read, "datamodels", n_models=40, matrix=folder / "d" / "X.npy")


def test_what_a_killed_run_left_is_removed(tmp_path):
    code = f"""
import os
from datassay.files import replacing
from pathlib import Path
with replacing(Path({str(tmp_path)!r}) / "v.parquet") as beside:
    beside.write_text("half")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "other.parquet") as beside:
        beside.write_text("whole")
        with replacing(tmp_path / "v.parquet") as mine:
            mine.write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.parquet", "v.parquet"]


def stopping(after):
    """`train` of a study that Ctrl-C stops after so many trainings."""

    def train(store, key, subsets, *more, **options):
        with contextlib.closing(real_train(store, key, subsets, *more, **options)) as parts:
            for part in parts:
                yield part
                if len(subsets.p) > 100 and part.done >= after:
                    raise KeyboardInterrupt

    return train


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
def test_ctrl_c_passes_through_bench_and_audit(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "train", stopping(40))
    data = da.Dataset(*load_iris(return_X_y=True))
    kept = da.value(data, "data-oob", n_models=200, progress=False)
    assert (kept.stats["stopped"], kept.stats["trainings"] < 200) == ("interrupted", True)
    with pytest.raises(KeyboardInterrupt):
        da.evaluate("iris", "data-oob n_models=200", seeds=1, rates=0.1, folder=tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.cell"))
    with pytest.raises(KeyboardInterrupt):
        da.audit(data, "data-oob n_models=200", repeats=1, progress=False)
    monkeypatch.undo()
    found = da.evaluate("iris", "data-oob n_models=200", seeds=1, rates=0.1, folder=tmp_path, progress=False)
    assert not len(found.failures())
    assert len(list(tmp_path.rglob("*.cell"))) == 1


def two_classes(X=None, X_val=None, y=None):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) if X is None else X
    y = np.repeat(["a", "b"], 20) if y is None else y
    task = "regression" if y.dtype.kind == "f" else "classification"
    return da.Dataset(X, y, rng.normal(size=(10, 3)) if X_val is None else X_val, y[::4], task=task)


@pytest.mark.parametrize("method", ["tracin", "in-run-shapley", "knn-shapley", "cg-score", "leave-one-out", "ame", "dvgs"])
@pytest.mark.filterwarnings("ignore")
def test_scores_are_finite_or_there_is_a_sentence(method):
    rng = np.random.default_rng(1)
    far = rng.normal(size=(10, 3))
    far[3, 1] = 1e40
    for trap in (
        {"X_val": far},
        {"X": rng.normal(size=(40, 3)) * 1e-320},
        {"y": rng.normal(size=40) * 1e-200},
        {"y": rng.normal(size=40) * 1e300},
    ):
        with contextlib.suppress(da.DataError):
            values = da.value(two_classes(**trap), method, **({"n_models": 40} if method == "ame" else {}))
            assert np.isfinite(values.scores).all()


def test_scores_of_somebodys_method_are_finite_too():
    def broken(data, *, seed=0):
        return da.value(data, "random").scores * np.where(np.arange(len(data)) == 3, np.nan, 1)

    def as_values(data, *, seed=0):
        return dataclasses.replace(da.value(data, "random"), scores=broken(data))

    for method in (broken, as_values):
        with pytest.raises(da.DataError, match=r"the score of row 3 \(id 3\) is nan: numbers ran away"):
            da.value(two_classes(), method)


def test_scores_that_are_all_equal_come_with_a_warning():
    assert "all scores are" in da.value(two_classes(), "dvgs", epochs=0).stats["warning"]
    assert "warning" not in da.value(two_classes(), "random").stats


@pytest.mark.parametrize("method", [name for name in METHODS if not METHODS[name].missing()])
def test_columns_that_are_constant_tell_nothing(method):
    """As arrays, which come as they are: a score a row, and a warning where all are equal."""
    y = np.repeat([0, 1], 10)
    data = da.Dataset(np.full((20, 3), 2.0), y, np.full((6, 3), 2.0), np.array([0, 1] * 3))
    takes = inspect.signature(METHODS[method].load()).parameters
    few = {"n_models": 20, "iterations": 5, "progress": False}
    few |= {"epochs": 1, "runs": 2} if METHODS[method].model == "network" else {}
    values = da.value(data, method, **{name: few[name] for name in few if name in takes})
    assert np.isfinite(values.scores).all()
    assert np.ptp(values.scores) > 0 or "all scores are" in values.stats["warning"]


def test_leave_one_out_in_blocks_has_the_same_bits(monkeypatch):
    data = two_classes()
    whole = da.value(data, "leave-one-out").scores
    monkeypatch.setattr(sys.modules["datassay.methods.leave_one_out"], "MASKS", 1)
    assert (da.value(data, "leave-one-out").scores == whole).all()


def test_a_wrong_call_leaves_no_store(tmp_path):
    with pytest.raises(da.DataError):
        da.value(two_classes(), "ame", epsilon=-1, store=tmp_path / "s.sqlite")
    assert not list(tmp_path.iterdir())
