import gzip
import hashlib
import importlib
import importlib.util
import io
import json
import pickle
import shutil
import socket
import sys
import types
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import datassay as da
from datassay.checks import DataError
from datassay.evaluation import datasets as sets
from datassay.evaluation import openml
from datassay.evaluation.datasets import SETS, available, divided, drawn

HERE = [one.name for one in SETS.values() if one.source in ("scikit-learn", "generated")]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Any request is an error."""

    def refuse(*args, **options):
        raise AssertionError("a request left")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def says(match, call, *args, **options):
    with pytest.raises(DataError, match=match) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)


def counts(labels):
    return pd.Series(labels).value_counts().to_dict()


# -- what is drawn


@pytest.mark.parametrize("name", HERE)
def test_every_set_that_needs_no_file_is_drawn(name):
    split = drawn(name, train=60, val=20, test=30)
    about = SETS[name]
    assert (split.name, split.data.task, len(split.data.classes)) == (name, about.task, about.classes)
    assert (len(split.data), split.data.X_val.shape[0], len(split.X_test)) == (60, 20, 30)
    assert split.X_test.shape == (30, split.data.X.shape[1])
    assert len(split.y_test) == len(split.codes_test) == len(split.rows_test) == 30
    assert len(split.data.y_val) == len(split.data.codes_val) == len(split.data.shown_val) == len(split.rows_val) == 20
    assert split.data.ids.tolist() == split.rows.tolist()
    assert da.data.dataset.is_images(split.data.shown) == about.images
    if about.task == "classification":
        assert split.data.labels_of(split.codes_test).tolist() == split.y_test.tolist()
    else:
        assert split.codes_test.tolist() == split.y_test.tolist()


@pytest.mark.parametrize("name", HERE)
def test_the_seed_says_which_rows(name):
    sizes = {"train": 50, "val": 20, "test": 30}
    one, same, other = drawn(name, seed=4, **sizes), drawn(name, seed=4, **sizes), drawn(name, seed=5, **sizes)
    assert one.data.hash == same.data.hash
    assert np.array_equal(one.X_test, same.X_test)
    assert one.rows_test.tolist() == same.rows_test.tolist()
    assert one.data.hash != other.data.hash
    if SETS[name].source == "scikit-learn":  # other rows, not the same in another order
        assert set(one.rows) != set(other.rows)


def test_other_seeds_generate_other_rows():
    everything = [np.sort(drawn("fried", seed=seed, train=20, val=0, test=0).data.X[:, 0]) for seed in (0, 1)]
    assert not np.allclose(*everything)


@pytest.mark.parametrize("name", ["digits", "wine", "diabetes", "fried"])
@pytest.mark.parametrize("sizes", [(60, 20, 30), (1000, 200, 1000), (100, 0, 40), (100, 30, 0), (40, 0, 0)])
def test_training_validation_and_test_rows_are_disjoint(name, sizes):
    train, val, test = sizes
    split = drawn(name, train=train, val=val, test=test)
    every = np.concatenate([split.rows, split.rows_val, split.rows_test])
    assert len(np.unique(every)) == len(every)
    assert (split.data.X_val is None) == (val == 0)
    assert len(split.X_test) == len(split.rows_test)


def test_what_is_fewer_than_asked_keeps_its_shares():
    split = drawn("iris", train=1000, val=200, test=1000)
    assert (len(split.rows), len(split.rows_val), len(split.rows_test)) == (68, 14, 68)
    every = np.concatenate([split.rows, split.rows_val, split.rows_test])
    assert sorted(every) == list(range(150))


@pytest.mark.parametrize("name", ["digits", "breast-cancer", "wine"])
def test_classes_have_their_shares_in_each_part(name):
    split = drawn(name, train=80, val=40, test=50)
    of_all = counts(sets._source(name, 0, 0, None, False, None).y)
    n = sum(of_all.values())
    for labels in (split.data.y, split.data.y_val, split.y_test):
        found = counts(labels)
        for label, count in of_all.items():
            assert abs(found[label] - len(labels) * count / n) <= 1


def test_a_rare_class_has_two_training_rows_and_one_for_validation():
    y = np.repeat(["often", "rare", "pair"], [95, 3, 2])
    for seed in range(20):
        split = divided(da.Dataset(RNG.normal(size=(100, 2)), y), seed=seed, train=80, val=10, test=10)
        assert counts(split.data.y) == {"often": 76, "rare": 2, "pair": 2}
        assert counts(split.data.y_val) == {"often": 9, "rare": 1}


def test_a_rare_class_keeps_a_row_for_validation():
    split = divided(da.Dataset(RNG.normal(size=(53, 2)), np.repeat(["often", "rare"], [50, 3])), train=48, val=5, test=0)
    assert (counts(split.data.y), counts(split.data.y_val)) == ({"often": 46, "rare": 2}, {"often": 4, "rare": 1})


def test_a_rare_class_has_two_training_rows_where_the_rows_are_too_few_as_well():
    y = np.repeat([0, 1, 2, 3], [8, 4, 3, 3])
    split = divided(da.Dataset(RNG.normal(size=(18, 2)), y))
    assert min(counts(split.data.y).values()) >= 2
    assert set(split.data.y_val) == {0, 1, 2, 3}
    assert len(split.rows) + len(split.rows_val) + len(split.rows_test) == 18


def test_quotas_are_within_their_bounds_and_nearest_to_the_shares():
    for _ in range(300):
        k = int(RNG.integers(1, 7))
        of_all = RNG.integers(1, 30, k)
        least = RNG.integers(0, of_all + 1)
        most = RNG.integers(least, of_all + 1)
        size = int(RNG.integers(least.sum(), most.sum() + 1))
        found = sets._quotas(of_all, size, least, most)
        assert found.sum() == size
        assert np.all((least <= found) & (found <= most))
        # no row moved from one class to another would bring the squares down
        off = found - size * of_all / of_all.sum()
        up, down = np.where(found < most, 1 + 2 * off, np.inf), np.where(found > least, 1 - 2 * off, np.inf)
        assert up.min() + down.min() >= -1e-9 or up.argmin() == down.argmin()


def test_order_says_nothing_of_the_class():
    y = drawn("iris", train=90, val=20, test=40).data.y
    assert len(np.flatnonzero(y[1:] != y[:-1])) > 30


# -- no leak


def test_frames_are_standardised_by_the_training_rows_alone():
    from sklearn.datasets import load_wine

    split, raw = drawn("wine", train=80, val=30, test=40), load_wine().data
    mean, scale = raw[split.rows].mean(axis=0), raw[split.rows].std(axis=0)
    np.testing.assert_allclose(split.data.X, (raw[split.rows] - mean) / scale, atol=1e-9)
    np.testing.assert_allclose(split.data.X_val, (raw[split.rows_val] - mean) / scale, atol=1e-9)
    np.testing.assert_allclose(split.X_test, (raw[split.rows_test] - mean) / scale, atol=1e-9)


def own_frame(spoilt=()):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"b": rng.choice(["x", "y"], 60), "a": rng.normal(5, 3, 60)})
    frame.loc[list(spoilt), "a"] = 1e4
    frame.loc[list(spoilt), "b"] = "only there"
    return da.Dataset(frame, ["cat", "dog"] * 30, ids=[f"row {i}" for i in range(60)])


def own_array(spoilt=()):
    X = np.random.default_rng(1).normal(5, 3, size=(60, 3))
    X[list(spoilt)] = 1e4
    return da.Dataset(X, ["cat", "dog"] * 30, ids=[f"row {i}" for i in range(60)], standardise=True)


def own_gaps(spoilt=()):
    frame = pd.DataFrame({"a": np.random.default_rng(1).normal(5, 3, 60), "b": np.arange(60.0)})
    frame.loc[::7, "a"] = np.nan
    frame.loc[list(spoilt), "a"] = 1e4
    return da.Dataset(frame, ["cat", "dog"] * 30, missing="mean", ids=[f"row {i}" for i in range(60)])


@pytest.mark.parametrize("own", [own_frame, own_array, own_gaps])
def test_what_is_in_the_other_rows_does_not_change_the_training_rows(own):
    sizes = {"train": 30, "val": 10, "test": 20}
    split = divided(own(), **sizes)
    again = divided(own(np.concatenate([split.rows_val, split.rows_test])), **sizes)
    np.testing.assert_allclose(again.data.X, split.data.X, atol=1e-12)
    assert again.data.columns == split.data.columns
    numbers = split.data.X[:, :1]
    np.testing.assert_allclose([numbers.mean(), numbers.std()], [0, 1], atol=1e-9)
    assert split.data.ids.tolist() == [f"row {i}" for i in split.rows]


# -- a data set of one's own


def test_ones_own_arrays_stay_as_they_are():
    X, y = RNG.normal(5, 3, size=(50, 4)), RNG.normal(size=50)
    split = divided(da.Dataset(X, y), train=20, val=10, test=15)
    assert split.data.task == "regression"
    assert np.array_equal(split.data.X, X[split.rows])
    assert np.array_equal(split.data.X_val, X[split.rows_val])
    assert np.array_equal(split.X_test, X[split.rows_test])
    assert np.array_equal(split.codes_test, y[split.rows_test])


def test_ones_own_frame_that_was_not_standardised_is_not():
    frame = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) ** 2})
    split = divided(da.Dataset(frame, [0, 1] * 10, standardise=False), train=10, val=4, test=6)
    assert np.array_equal(split.X_test, frame.to_numpy()[split.rows_test])


def test_ones_own_images_stay_images():
    images = RNG.integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
    split = divided(da.Dataset(images, [0, 1] * 20), train=20, val=8, test=12)
    assert np.array_equal(split.data.shown, images[split.rows])
    assert split.data.X.dtype == np.float32
    np.testing.assert_allclose(split.X_test, images[split.rows_test].reshape(12, -1) / np.float32(255))


def test_ones_own_sparse_rows_and_features():
    X = sp.random_array((40, 6), density=0.5, format="csr", rng=np.random.default_rng(0))
    split = divided(da.Dataset(X, [0, 1] * 20), train=20, val=8, test=12)
    assert np.array_equal(split.X_test.toarray(), X.toarray()[split.rows_test])
    F = RNG.normal(size=(40, 4))
    for shown in (pd.DataFrame({"a": np.arange(40.0)}), RNG.integers(0, 256, (40, 2, 2), dtype=np.uint8)):
        split = divided(da.Dataset(shown, [0, 1] * 20).with_features(F), train=20, val=8, test=12)
        assert np.array_equal(split.data.X, F[split.rows])


@pytest.mark.parametrize("kind", ["frame", "array", "images", "sparse"])
def test_validation_rows_of_ones_own_stay_validation_rows(kind):
    X, X_val = RNG.integers(0, 256, (40, 3, 3), dtype=np.uint8), RNG.integers(0, 256, (20, 3, 3), dtype=np.uint8)
    if kind != "images":
        X, X_val = X.reshape(40, 9) / 7.0, X_val.reshape(20, 9) / 7.0
    if kind == "frame":
        X, X_val = pd.DataFrame(X), pd.DataFrame(X_val).assign(more=1.0)
    if kind == "sparse":
        X, X_val = sp.csr_array(X), sp.csr_array(X_val)
    y_val = np.repeat([0.0, 1.0], [15, 5])
    whole = da.Dataset(X, [0, 1] * 20, X_val, y_val)
    split = divided(whole, train=20, val=8, test=12)
    assert counts(split.data.y_val) == {0: 6, 1: 2}
    assert np.array_equal(split.data.y_val, y_val[split.rows_val])
    assert split.data.classes == whole.classes
    assert type(split.data.classes[0]) is int
    assert len(np.intersect1d(split.rows, split.rows_test)) == 0
    assert (len(split.rows), len(split.rows_test)) == (20, 12)
    if kind in ("array", "images"):
        assert np.array_equal(split.data.X_val, whole.X_val[split.rows_val])
    assert divided(whole, train=20, val=99, test=12).data.X_val.shape[0] == 20
    assert divided(whole, train=20, val=0, test=12).data.X_val is None


# -- formulas


def test_2dplanes_is_what_the_formula_says():
    X, target = sets.planes(np.random.default_rng(3), 4000)
    raw = X.copy()
    raw[:, 1:] *= np.sqrt(2 / 3)
    assert set(np.unique(raw[:, 0])) == {-1, 1}
    assert set(np.unique(raw[:, 1:].round(9))) == {-1, 0, 1}
    without_noise = [3 + 3 * x[1] + 2 * x[2] + x[3] if x[0] == 1 else -3 + 3 * x[4] + 2 * x[5] + x[6] for x in raw.tolist()]
    noise = target - np.array(without_noise)
    assert abs(noise.mean()) < 0.07
    assert abs(noise.std() - 1) < 0.05
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=0.07)
    np.testing.assert_allclose(X.std(axis=0), 1, atol=0.05)


def test_fried_is_what_the_formula_says():
    X, target = sets.fried(np.random.default_rng(3), 4000)
    u = X / np.sqrt(12) + 0.5
    assert u.min() >= 0
    assert u.max() <= 1
    without_noise = [10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e for a, b, c, d, e, *_ in u.tolist()]
    noise = target - np.array(without_noise)
    assert abs(noise.mean()) < 0.07
    assert abs(noise.std() - 1) < 0.05
    np.testing.assert_allclose(X.std(axis=0), 1, atol=0.05)


@pytest.mark.parametrize(("name", "cut"), [("2dplanes", 0), ("fried", 14.41)])
def test_classes_are_the_target_above_its_middle(name, cut):
    sizes = {"train": 1500, "val": 0, "test": 500}
    classes, target = sets._generated(name, 2, 2000).y, sets._generated(f"{name}-regression", 2, 2000).y
    assert np.array_equal(classes == 1, target > cut)
    assert 0.45 < drawn(name, seed=2, **sizes).data.y.mean() < 0.55


def test_gaussians_are_those_of_the_figure():
    split = drawn("gaussians", train=200, val=0, test=0)
    X, y = split.data.X, split.data.y
    assert X.shape == (200, 3000)
    assert counts(y) == {1: 100, -1: 100}
    assert abs((X[:, 0] * y).mean() - 1) < 0.15
    assert abs(X[:, 1:].mean()) < 0.005
    assert abs(X[:, 1:].var() - 0.25) < 0.005


# -- files


Image = pytest.importorskip("PIL.Image")


def encoded(pixels, kind="PNG"):
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


PIXELS = np.random.default_rng(2).integers(0, 256, (40, 6, 6), dtype=np.uint8)
LABELS = np.arange(40) % 4
SIZES = {"train": 12, "val": 4, "test": 8}


@pytest.fixture
def folder(tmp_path):
    """Small files in the form of the large ones."""
    mnist = pd.DataFrame({"image": [encoded(p) for p in PIXELS], "label": LABELS})
    mnist.to_parquet(tmp_path / "mnist_train.parquet")
    colour = np.stack([PIXELS] * 3, axis=-1)
    pd.DataFrame({"image": [encoded(p, "JPEG") for p in colour], "label": LABELS}).to_parquet(
        tmp_path / "cifar10_train.parquet"
    )
    human = pd.DataFrame(
        {"index": np.arange(40), "aggre_label": LABELS, "random_label1": (LABELS + (np.arange(40) < 10)) % 4}
    )
    human.sample(frac=1, random_state=0).to_parquet(tmp_path / "cifar10n_labels.parquet")
    rng = np.random.default_rng(0)
    adult = pd.DataFrame({"age": rng.integers(17, 90, 40), "sex": pd.Categorical(rng.choice(["F", "M"], 40))})
    adult["income"] = pd.Categorical(np.where(LABELS > 2, ">50K", "<=50K"))
    adult.to_parquet(tmp_path / "adult.parquet")
    return tmp_path


@pytest.mark.parametrize("way", ["folder for all", "folder", "file"])
def test_images_of_a_file(folder, way):
    paths = {
        "folder for all": {"": folder},
        "folder": {"mnist": folder},
        "file": {"mnist": str(folder / "mnist_train.parquet")},
    }
    split = drawn("mnist", paths=paths[way], **SIZES)
    assert np.array_equal(split.data.shown, PIXELS[split.rows])
    np.testing.assert_allclose(split.X_test, PIXELS[split.rows_test].reshape(8, -1) / np.float32(255))
    assert split.y_test.tolist() == LABELS[split.rows_test].tolist()
    assert split.human is None


def test_only_images_that_are_drawn_are_decoded(folder):
    split, frame = drawn("mnist", paths={"": folder}, **SIZES), pd.read_parquet(folder / "mnist_train.parquet")
    every = np.concatenate([split.rows, split.rows_val, split.rows_test])
    frame.loc[~frame.index.isin(every), "image"] = b"broken"
    frame.to_parquet(folder / "mnist_train.parquet")
    assert drawn("mnist", paths={"": folder}, **SIZES).data.hash == split.data.hash
    frame.loc[split.rows_test[3], "image"] = b"broken"
    frame.to_parquet(folder / "mnist_train.parquet")
    says(f"row {split.rows_test[3]}, column 'image' is not a readable image", drawn, "mnist", paths={"": folder}, **SIZES)


def test_images_as_records(folder):
    frame = pd.read_parquet(folder / "mnist_train.parquet")
    frame["image"] = [{"bytes": cell, "path": None} for cell in frame["image"]]
    before = drawn("mnist", paths={"": folder}, **SIZES)
    frame.to_parquet(folder / "mnist_train.parquet")
    assert drawn("mnist", paths={"": folder}, **SIZES).data.hash == before.data.hash


@pytest.mark.parametrize(("name", "wrong"), [("cifar10n-aggregate", 0), ("cifar10n-random1", 10)])
def test_human_labels_are_those_of_the_training_rows(folder, name, wrong):
    split = drawn(name, paths={"": folder}, train=24, val=4, test=12)
    assert split.data.shown.shape == (24, 6, 6, 3)
    assert split.data.y.tolist() == LABELS[split.rows].tolist()
    assert split.human.dtype == split.data.y.dtype
    assert np.array_equal(split.human != split.data.y, split.rows < wrong)
    assert drawn("cifar10", paths={"": folder}, train=24, val=4, test=12).data.hash == split.data.hash


def test_adult(folder):
    split = drawn("adult", paths={"": folder}, **SIZES)
    assert split.data.columns == ["age", "sex=F", "sex=M"]
    assert split.data.classes == ["<=50K", ">50K"]
    assert abs(split.data.X[:, 0].mean()) < 1e-9


def test_files_that_are_missing_are_named(folder, tmp_path):
    says(
        r"'mnist' needs a Parquet file with the columns image, label \(usually mnist_train.parquet\), and no path to it came: "
        "pass paths={'mnist': file}",
        drawn,
        "mnist",
    )
    says(r"'adult' needs a Parquet file with the column income \(usually adult", drawn, "adult", paths={"mnist": folder})
    says("there is no file '.*nothing.parquet': pass paths=", drawn, "mnist", paths={"mnist": folder / "nothing.parquet"})
    (folder / "cifar10n_labels.parquet").unlink()
    says(
        "'cifar10n-random1' needs .* index, aggre_label, random_label1 .*no file",
        drawn,
        "cifar10n-random1",
        paths={"": folder},
    )
    says("adult.parquet has no column 'image'", drawn, "mnist", paths={"mnist": folder / "adult.parquet"})
    says("paths has 'minst', which is no file of a set: known are mnist", drawn, "mnist", paths={"minst": folder})
    (folder / "adult.parquet").write_text("age,income\n")
    says("adult.parquet", drawn, "adult", paths={"": folder})


def test_labels_that_are_missing_are_named(folder):
    frame = pd.read_parquet(folder / "mnist_train.parquet").astype({"label": "float"})
    frame.loc[7, "label"] = np.nan
    frame.to_parquet(folder / "mnist_train.parquet")
    says("row 7 of .*mnist_train.parquet has no label in column 'label'", drawn, "mnist", paths={"": folder})
    path = folder / "cifar10n_labels.parquet"
    human = pd.read_parquet(path)
    human[human["index"] != 5].to_parquet(path)
    says("has no aggre_label for index 5: a label for each of the 40 rows", drawn, "cifar10n-aggregate", paths={"": folder})
    pd.concat([human, human[human["index"] == 6]]).to_parquet(path)
    says("has index 6 twice", drawn, "cifar10n-aggregate", paths={"": folder})


# -- what goes wrong


def test_names_that_are_not_known():
    says("there is no set 'mnits': did you mean 'mnist'; a file of your own goes to da.read", drawn, "mnits")
    says("there is no set 'zzzz': known are digits, .*openml:<name>; a file", drawn, "zzzz")
    for name in ("openml:", "openml:../../x", "openml:..", "openml:a@b", "openml:a b"):
        says("is openml:<name> or openml:<name>@<version>, got", drawn, name)
    says("sets of torchvision that can be drawn are MNIST, .*got 'SVHN'", drawn, "torchvision:SVHN")


def test_sizes_that_do_not_fit():
    says(
        "set 'digits' has 10 classes, each needs two training rows: train must be 20 at least, got 19",
        drawn,
        "digits",
        train=19,
    )
    says("train must be a whole number from 2 on, got 1.5", drawn, "digits", train=1.5)
    says("val must be a whole number from 0 on, got -1", drawn, "digits", val=-1)
    says("seed must be a whole number from 0 on, got 'a'", drawn, "digits", seed="a")
    says("has 5 rows, and 6 are needed at least", divided, da.Dataset(RNG.normal(size=(5, 2)), [0, 1, 0, 1, 0]))
    split = divided(da.Dataset(RNG.normal(size=(5, 2)), [0, 1, 0, 1, 0]), val=0)
    assert (len(split.rows), len(split.rows_test)) == (4, 1)


# -- OpenML


def write_gz(home, path, content):
    file = home / "openml" / "openml.org" / f"{path}.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wb") as held:
        held.write(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def openml_cache(home, name, columns, rows, version=1, which=None, kind="ARFF", missing=0):
    """What scikit-learn would have kept of a set; the last column is the label."""
    number, last = 7, len(columns) - 1
    attributes = "".join(f"@ATTRIBUTE {c} {t}\n" for c, t in columns)
    arff = f"@RELATION {name}\n{attributes}@DATA\n{rows}".encode()
    api = "api/v1/json/data"
    listing = f"{api}/list/data_name/{name.lower()}/limit/2/{which or f'data_version/{version}'}"
    write_gz(home, listing, {"data": {"dataset": [{"did": number, "version": version, "status": "active", "name": name}]}})
    about = {
        "id": str(number), "name": name, "version": str(version), "format": kind, "status": "active", "file_id": "70",
        "description": "made for a test", "url": f"https://www.openml.org/data/v1/download/70/{name}.arff",
        "md5_checksum": hashlib.md5(arff).hexdigest(),
    }  # fmt: skip
    write_gz(home, f"{api}/{number}", {"data_set_description": about})
    features = [
        {
            "index": str(i), "name": c, "data_type": "nominal" if "{" in t else "numeric", "is_target": str(i == last).lower(),
            "is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0",
        }
        for i, (c, t) in enumerate(columns)
    ]  # fmt: skip
    write_gz(home, f"{api}/features/{number}", {"data_features": {"feature": features}})
    quality = [{"name": "NumberOfInstances", "value": str(float(rows.count("\n")))}]
    if kind == "ARFF":  # of sparse tables they are not asked for
        write_gz(home, f"{api}/qualities/{number}", {"data_qualities": {"quality": quality}})
    return write_gz(home, f"data/v1/download/70/{name}.arff", arff)


PRICES = "".join(
    f"{i / 3:.3f},{'?' if i == 4 else i % 5},{'week' if i % 3 else 'end'},{'UP' if i % 2 else 'DOWN'}\n" for i in range(40)
)
PRICE_COLUMNS = [("date", "REAL"), ("demand", "REAL"), ("day", "{week,end}"), ("class", "{UP,DOWN}")]


def fetched(name, home, **options):
    """Drawn with leave to download: scikit-learn finds all in its own cache, which the tests write."""
    return drawn(name, cache=home, download=True, **options)


def test_openml_is_drawn_from_a_file_of_our_own(tmp_path):
    openml_cache(tmp_path, "electricity", PRICE_COLUMNS, PRICES)
    first = fetched("openml:electricity@1", tmp_path, **SIZES)
    shutil.rmtree(tmp_path / "openml" / "openml.org")  # scikit-learn's files are needed once
    split = drawn("openml:electricity@1", cache=tmp_path, **SIZES)
    assert split.data.hash == first.data.hash
    assert split.data.columns == ["date", "demand", "day=end", "day=week"]
    assert split.data.classes == ["DOWN", "UP"]
    assert split.y_test.tolist() == np.where(split.rows_test % 2, "UP", "DOWN").tolist()
    assert abs(split.data.X[:, 0].mean()) < 1e-9
    assert available(cache=tmp_path)[-1] == "openml:electricity@1"
    assert fetched("openml:electricity@1", tmp_path, **SIZES).data.hash == first.data.hash  # nor is it asked for again


def test_our_file_holds_what_scikit_learn_gave(tmp_path):
    """Names that are equal to ours, gaps, text, categories in their order, whole numbers."""
    frame = pd.DataFrame(
        {
            "y": [1.5, np.nan, 0.1], "x0": pd.Categorical(["b", None, "a"], ["b", "c", "a"]), "text": ["one", None, "ü"],
            "label": [1, 2, 3],
        }
    )  # fmt: skip
    labels = pd.Series(pd.Categorical(["2", "1", "2"], ["2", "1"]), name="y")
    openml._write(frame, labels, tmp_path / "a.parquet")
    X, y = openml._read(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(X, frame, check_dtype=False)
    assert (X["x0"].dtype, X["label"].dtype) == (frame["x0"].dtype, frame["label"].dtype)
    pd.testing.assert_series_equal(y, labels)
    for target in (pd.Series([0.1, 2.0, 3.0], name="y"), pd.Series([True, False, True], name="y")):
        openml._write(frame, target, tmp_path / "a.parquet")
        pd.testing.assert_series_equal(openml._read(tmp_path / "a.parquet")[1], target)
    sparse = sp.random_array((7, 5), density=0.3, rng=np.random.default_rng(0), format="csr")
    openml._write(sparse, pd.Series(["a"] * 7), tmp_path / "s.parquet")
    X, y = openml._read(tmp_path / "s.parquet")
    np.testing.assert_array_equal(X.toarray(), sparse.toarray())
    assert (type(X), y.tolist()) == (sp.csr_array, ["a"] * 7)


def test_openml_fills_gaps_by_the_training_rows(tmp_path):
    openml_cache(tmp_path, "electricity", PRICE_COLUMNS, PRICES)
    whole = fetched("openml:electricity@1", tmp_path, train=40, val=0, test=0)
    assert whole.data.X[whole.rows == 4, 1] == pytest.approx(0, abs=1e-12)
    for seed in range(5):
        assert np.isfinite(drawn("openml:electricity@1", cache=tmp_path, seed=seed, **SIZES).X_test).all()


def test_openml_without_a_version_is_the_active_one(tmp_path):
    openml_cache(tmp_path, "Electricity", PRICE_COLUMNS, PRICES, which="status/active/")
    assert len(fetched("openml:Electricity", tmp_path, **SIZES).data) == 12
    assert len(drawn("openml:electricity", cache=tmp_path, **SIZES).data) == 12
    says("is not in the cache", drawn, "openml:Electricity@1", cache=tmp_path)


@pytest.mark.parametrize(
    ("columns", "rows", "task", "classes"),
    [
        ([("a", "REAL"), ("foo", "REAL")], "".join(f"{'?' if i == 4 else i / 7},{i % 5 * 10}\n" for i in range(40)), "regression", []),
        ([("a", "REAL"), ("foo", "{1,2}")], "".join(f"{i / 7:.3f},{i % 2 + 1}\n" for i in range(40)), "classification", ["1", "2"]),
    ],
)  # fmt: skip
def test_openml_tells_regression_from_classification(tmp_path, columns, rows, task, classes):
    openml_cache(tmp_path, "pol", columns, rows)
    for split in (fetched("openml:pol@1", tmp_path, **SIZES), drawn("openml:pol@1", cache=tmp_path, **SIZES)):
        assert (split.data.task, split.data.classes) == (task, classes)


def test_openml_sparse(tmp_path):
    rows = "".join(f"{{0 {i + 1}, {1 + i % 3} 2.5, 4 {'b' if i % 2 else 'a'}}}\n" for i in range(40))
    columns = [*((f"x{j}", "REAL") for j in range(4)), ("class", "{a,b}")]
    openml_cache(tmp_path, "words", columns, rows, kind="Sparse_ARFF")
    for split in (fetched("openml:words@1", tmp_path, **SIZES), drawn("openml:words@1", cache=tmp_path, **SIZES)):
        assert sp.issparse(split.data.X)
        assert split.X_test.toarray()[:, 0].tolist() == (split.rows_test + 1).tolist()
        assert split.y_test.tolist() == np.where(split.rows_test % 2, "b", "a").tolist()


def test_openml_asks_for_nothing_unasked(tmp_path, monkeypatch):
    """Not even scikit-learn is called, whatever it has in its cache."""
    openml_cache(tmp_path, "electricity", PRICE_COLUMNS, PRICES)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *a, **k: pytest.fail("it was called"))
    says("'openml:electricity@1' is not in the cache .*pass download=True", drawn, "openml:electricity@1", cache=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert "openml:electricity@1" not in available(cache=tmp_path)
    assert "openml:electricity@1" in available(download=True)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "another's"])
def test_our_file_of_openml_is_damaged(tmp_path, damage):
    openml_cache(tmp_path, "electricity", PRICE_COLUMNS, PRICES)
    whole = fetched("openml:electricity@1", tmp_path, **SIZES).data.hash
    (file,) = (tmp_path / "openml" / "datassay").iterdir()
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[60] ^= 255
    file.write_bytes({"cut": content[:-9], "empty": b""}.get(damage, bytes(content)))
    if damage == "another's":
        pd.DataFrame({"a": [1.0]}).to_parquet(file)
    says("is damaged in the cache, .*electricity@1.parquet.*download=True", drawn, "openml:electricity@1", cache=tmp_path)
    assert fetched("openml:electricity@1", tmp_path, **SIZES).data.hash == whole
    assert drawn("openml:electricity@1", cache=tmp_path, **SIZES).data.hash == whole


@pytest.mark.filterwarnings("ignore:A network error occurred")
def test_openml_is_asked_where_that_is_wanted(tmp_path, monkeypatch):
    from sklearn.datasets import _openml

    asked = []

    def answer(request):
        asked.append(request.full_url)
        raise URLError("no route")

    monkeypatch.setattr(_openml, "urlopen", answer)
    monkeypatch.setattr(_openml.time, "sleep", lambda seconds: None)
    says("could not be had from OpenML: .*no route", drawn, "openml:electricity@1", cache=tmp_path, download=True)
    assert "electricity" in asked[0]


def test_openml_without_one_column_of_labels(tmp_path):
    arff = openml_cache(tmp_path, "electricity", PRICE_COLUMNS, PRICES)
    path = "api/v1/json/data/features/7"
    with gzip.open(tmp_path / f"openml/openml.org/{path}.gz", "rt") as held:
        features = json.load(held)
    for feature in features["data_features"]["feature"]:
        feature["is_target"] = "false"
    write_gz(tmp_path, path, features)
    says("has no single column of labels", drawn, "openml:electricity@1", cache=tmp_path, download=True)
    assert arff.is_file()
    assert not (tmp_path / "openml" / "datassay").exists()


def test_a_class_of_one_row(tmp_path):
    rows = "".join(f"{i / 7:.3f},{'c' if i == 9 else 'ab'[i % 2]}\n" for i in range(40))
    openml_cache(tmp_path, "lonely", [("x", "REAL"), ("class", "{a,b,c}")], rows)
    says(r"'openml:lonely@1' has a class with one row only \(row 9\)", fetched, "openml:lonely@1", tmp_path)


# -- torchvision


@pytest.fixture
def torchvision_sets(monkeypatch):
    """Its data sets; also where its operators, which they do without, were built for another torch."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError:
        operators = "torchvision._meta_registrations"
        monkeypatch.setitem(sys.modules, operators, types.ModuleType(operators))
        return importlib.import_module("torchvision.datasets")


def idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes())


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST", "KMNIST"])
def test_torchvision_digits(torchvision_sets, tmp_path, kind):
    says("not whole in the cache .*pass download=True", drawn, f"torchvision:{kind}", cache=tmp_path)
    for part in ("train", "t10k"):
        idx(tmp_path / kind / "raw" / f"{part}-images-idx3-ubyte", PIXELS)
        idx(tmp_path / kind / "raw" / f"{part}-labels-idx1-ubyte", LABELS.astype(np.uint8))
    split = drawn(f"torchvision:{kind}", cache=tmp_path, **SIZES)
    assert np.array_equal(split.data.shown, PIXELS[split.rows])
    assert split.y_test.tolist() == LABELS[split.rows_test].tolist()
    assert f"torchvision:{kind}" in available(cache=tmp_path)


@pytest.mark.parametrize(("kind", "key"), [("CIFAR10", "labels"), ("CIFAR100", "fine_labels")])
def test_torchvision_photographs(torchvision_sets, tmp_path, monkeypatch, kind, key):
    known = getattr(torchvision_sets, kind)
    folder = tmp_path / known.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    parts = {name: rng.integers(0, 256, (40, 3072), dtype=np.uint8) for name, _ in known.train_list + known.test_list}

    def keep(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    for which in ("train_list", "test_list"):
        files = [keep(name, {"data": parts[name], key: LABELS.tolist()}) for name, _ in getattr(known, which)]
        monkeypatch.setattr(known, which, files)
    name, md5 = keep(known.meta["filename"], {known.meta["key"]: list("abcd")})
    monkeypatch.setattr(known, "meta", {"filename": name, "key": known.meta["key"], "md5": md5})

    split = drawn(f"torchvision:{kind}", cache=tmp_path, **SIZES)
    train = np.concatenate([parts[name] for name, _ in known.train_list]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(split.data.shown, train[split.rows])
    assert f"torchvision:{kind}" in available(cache=tmp_path)


def test_what_torchvision_is_asked_for(monkeypatch, tmp_path):
    asked = []

    class KMNIST:
        def __init__(self, **how):
            asked.append(how)
            if how["download"]:
                raise RuntimeError("no\nroute")
            self.data, self.targets = PIXELS, LABELS

    stand_in = types.ModuleType("torchvision.datasets")
    stand_in.KMNIST = KMNIST
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", stand_in)
    split = drawn("torchvision:KMNIST", cache=tmp_path, **SIZES)
    assert np.array_equal(split.data.shown, PIXELS[split.rows])
    says(
        "'torchvision:KMNIST' could not be downloaded: no route", drawn, "torchvision:KMNIST", download=True, cache=tmp_path
    )
    assert asked == [{"root": str(tmp_path), "train": True, "download": wanted} for wanted in (False, True)]


def test_torchvision_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision") as caught:
        drawn("torchvision:MNIST")
    assert isinstance(caught.value.__cause__, ImportError)


def test_torchvision_that_was_built_for_another_torch(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(sets.importlib, "import_module", broken)
    with pytest.raises(
        ImportError, match=r"built for the torch that is installed \(operator torchvision::nms .*pip install torchvision"
    ):
        drawn("torchvision:MNIST")


# -- what can be drawn here


def test_available(folder, tmp_path):
    empty = tmp_path / "cache"
    assert available(cache=empty) == HERE
    assert not empty.exists()
    assert available(task="regression", cache=empty) == ["diabetes", "2dplanes-regression", "fried-regression"]
    files = ["mnist", "cifar10", "cifar10n-aggregate", "cifar10n-random1", "adult"]
    assert available({"": folder}, cache=empty) == HERE + files
    assert available({"cifar10": folder}, cache=empty) == [*HERE, "cifar10"]
    for name in available({"": folder}, cache=empty):
        drawn(name, paths={"": folder}, train=20, val=5, test=5)
    says("paths has 'x'", available, {"x": folder})


def test_what_is_said_of_a_set():
    for name, about in SETS.items():
        assert name == about.name
        assert about.says.count("\n") == 0
        assert about.says[-1] in ".?)"
        assert (about.classes == 0) == (about.task == "regression")
        assert about.licence
        assert about.paper
