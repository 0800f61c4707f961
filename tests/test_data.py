import copy
import datetime as dt
import json
import pickle
import subprocess
import sys
import tempfile
import tracemalloc
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp

import datassay as da
from datassay.checks import DataError
from datassay.data.dataset import is_images
from datassay.data.out_of_core import SMALL, Table, is_mapped, room
from datassay.evaluation.planting import plant
from datassay.reporting.nearest import similarities
from datassay.reporting.typical import Typical
from datassay.subsets.default_model import scaled
from datassay.values import _from_column, _to_column

X = np.arange(12.0).reshape(6, 2)
Y = ["b", "a", "b", "a", "a", "b"]


def test_labels_of_any_kind_come_back():
    mixed = [(1, "x"), "two", (1, "x"), "two", dt.date(2020, 1, 2), dt.date(2020, 1, 2)]
    for labels, classes in [
        (Y, ["a", "b"]),
        (np.array([5, 3, 5, 3, 3, 5], np.int8), [3, 5]),
        ([True, False, True, False, False, True], [False, True]),
        (pd.Series(Y, dtype="category"), ["a", "b"]),
        (pl.Series(Y), ["a", "b"]),
        (np.array(Y)[:, None], ["a", "b"]),
        ([2.0, 1.0, 2.0, 1.0, 1.0, 2.0], [1.0, 2.0]),
        (mixed, [(1, "x"), "two", dt.date(2020, 1, 2)]),
    ]:
        data = da.Dataset(X, labels)
        assert data.classes == classes
        assert data.task == "classification"
        assert list(data.labels_of(data.codes)) == list(data.y)
        assert data.labels_of(data.codes).dtype == data.y.dtype


def test_kinds_of_x_agree():
    torch = pytest.importorskip("torch")
    for other in (X.tolist(), torch.tensor(X), X.astype(int), sp.csr_array(X), sp.coo_matrix(X)):
        data = da.Dataset(other, Y)
        dense = data.X.toarray() if sp.issparse(data.X) else data.X
        np.testing.assert_array_equal(dense, X)
        assert data.columns == ["x0", "x1"]
    assert da.Dataset(X.astype(np.float32), Y).X.dtype == np.float32


def test_frames_are_encoded_and_recorded():
    frame = pd.DataFrame(
        {"size": [1, 2, 3, 4, 5, 6], "colour": ["red", "blue", "red", "red", "blue", "green"], "old": [True, False] * 3}
    )
    for given in (frame, pl.from_pandas(frame)):
        data = da.Dataset(given, Y)
        assert data.columns == ["size", "colour=blue", "colour=green", "colour=red", "old=False", "old=True"]
        np.testing.assert_allclose(data.X[:, 0], (np.arange(6) - 2.5) / np.std(np.arange(6)))
        np.testing.assert_array_equal(data.X[:, 3], [1, 0, 1, 1, 0, 0])
        assert data.encoding["size"] == "number, mean 3.5, standard deviation 1.70783"
        assert data.encoding["colour"] == "text, one-hot, 3 values"
        assert list(data.shown["colour"]) == list(frame["colour"])
    plain = da.Dataset(frame, Y, standardise=False)
    np.testing.assert_array_equal(plain.X[:, 0], frame["size"])


def test_validation_rows_are_encoded_as_the_training_rows():
    frame = pd.DataFrame({"size": [1.0, 3, 1, 3, 1, 3], "colour": list("rrrbbb")})
    val = pd.DataFrame({"colour": ["b", "unheard"], "size": [2.0, 4.0]})
    data = da.Dataset(frame, Y, val, ["a", "b"])
    np.testing.assert_array_equal(data.X_val, [[0, 1, 0], [2, 0, 0]])
    np.testing.assert_array_equal(data.codes_val, [0, 1])
    assert data.without_validation().X_val is None


def test_dates_are_days():
    frame = pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2020-01-02"] * 3)})
    np.testing.assert_allclose(np.ptp(da.Dataset(frame, Y, standardise=False).X), 1)


def test_images_are_flattened_and_shown():
    pictures = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    data = da.Dataset(pictures, Y)
    assert is_images(data.shown)
    assert data.X.shape == (6, 60)
    assert data.X.dtype == np.float32
    np.testing.assert_allclose(data.X.max(), pictures.max() / 255, rtol=1e-6)
    channels_first = da.Dataset(np.moveaxis(pictures, -1, 1), Y)
    np.testing.assert_array_equal(channels_first.shown, pictures)


def test_task_is_inferred_and_can_be_given():
    assert da.Dataset(X, [0.5, 1, 2, 3, 4, 5]).task == "regression"
    assert da.Dataset(X, pd.Series([0.5, 1, 2, 3, 4, 5], dtype="Float64")).task == "regression"
    assert da.Dataset(X, [1, 1, 2, 2, 3, 3], task="regression").task == "regression"
    assert da.Dataset(X, [1, 1, 2, 2, 3, 3]).task == "classification"
    with pytest.raises(DataError, match="task must be"):
        da.Dataset(X, Y, task="ranking")


def test_missing_cells():
    hole = X.copy()
    hole[2, 1] = np.nan
    hole[4, 0] = np.inf
    ids = list("uvwxyz")
    with pytest.raises(DataError, match=r"nan in row 2 \(id 'w'\), column 'x1' \(2 such cells\).*missing='drop'"):
        da.Dataset(hole, Y, ids=ids)
    dropped = da.Dataset(hole, ["b", "a", "b", "a", "a", "b"], ids=ids, missing="drop")
    assert list(dropped.ids) == ["u", "v", "x", "z"]
    assert list(dropped.dropped) == ["w", "y"]
    filled = da.Dataset(hole, Y, missing="mean")
    assert filled.X[2, 1] == pytest.approx(np.mean([1, 3, 7, 9, 11]))
    assert filled.X[4, 0] == pytest.approx(np.mean([0, 2, 4, 6, 10]))


def test_missing_cells_of_frames():
    frame = pd.DataFrame({"size": [1.0, None, 3, 4, 5, 6], "colour": ["red", "red", None, "blue", "red", "blue"]})
    with pytest.raises(DataError, match=r"nan in row 1 .*column 'size' \(2 such cells\)"):
        da.Dataset(frame, Y)
    with pytest.raises(DataError, match=r"nothing in row 2 .*column 'colour'"):
        da.Dataset(frame[["colour"]], Y)
    assert len(da.Dataset(frame, Y, missing="drop")) == 4
    filled = da.Dataset(frame, Y, missing="mean", standardise=False)
    assert filled.X[1, 0] == pytest.approx(3.8)
    assert filled.columns == ["size", "colour=(empty)", "colour=blue", "colour=red"]  # often "has none", so a kind
    np.testing.assert_array_equal(filled.X[2, 1:], [1, 0, 0])
    val = da.Dataset(frame, Y, pd.DataFrame({"size": [None], "colour": ["blue"]}), ["a"], missing="mean", standardise=False)
    np.testing.assert_allclose(val.X_val, [[3.8, 0, 1, 0]])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: da.Dataset(X, Y[:5]), "X has 6 rows but y has 5 labels"),
        (lambda: da.Dataset(X, Y, ids=[1, 2, 3]), "ids has 3 entries"),
        (lambda: da.Dataset(X, Y, ids=[1, 2, 3, 2, 5, 6]), "rows 1 and 3 have the same id, 2"),
        (lambda: da.Dataset(X, ["a"] * 6), "one class, 'a'"),
        (lambda: da.Dataset(X, ["a"] * 5 + ["b"]), r"class 'b' has one row only \(row 5, id 5\)"),
        (lambda: da.Dataset(X, np.arange(6)), "task='regression'"),
        (lambda: da.Dataset(X, ["a", None, "b", "b", "a", "b"]), r"row 1 \(id 1\) has no label"),
        (lambda: da.Dataset(X[:0], []), "no rows"),
        (lambda: da.Dataset(np.arange(6), Y), r"shape \(6,\)"),
        (lambda: da.Dataset([[1, 2], [3]] * 3, Y), "not all of one length"),
        (lambda: da.Dataset([["1", "x"]] * 6, Y), "row 0, column 1 has 'x'"),
        (lambda: da.Dataset(X.astype(complex), Y), "real numbers"),
        (lambda: da.Dataset(X, [["a"], ["b"]] * 3), r"y holds \['a'\] in row 0.*several labels a row are not supported"),
        (lambda: da.Dataset(X, np.eye(6)), r"it came with shape \(6, 6\); several labels a row are not supported"),
        (lambda: da.Dataset(X, Y, X), "go together"),
        (lambda: da.Dataset(X, Y, X[:2], ["a"]), "X_val has 2 rows but y_val has 1"),
        (lambda: da.Dataset(X, Y, X[:2, :1], ["a", "b"]), "they must agree"),
        (lambda: da.Dataset(X, Y, X[:1], ["c"]), "label 'c', which no training row has"),
        (lambda: da.Dataset(X, [1.5, np.nan, 2, 3, 4, 5]), "has no label"),
        (lambda: da.Dataset(X, [1.5] * 6), "all 6 labels are 1.5"),
        (lambda: da.Dataset(X, Y, task="regression"), "needs numbers as labels, got 'b'"),
        (lambda: da.Dataset(sp.csr_array([[np.inf, 1]] * 6), Y), "inf in row 0"),
        (
            lambda: da.Dataset(
                pd.DataFrame({"age": ["1"] * 5 + ["old"]}).take([0] * 11 + [5]).reset_index(drop=True), ["a", "b"] * 6
            ),
            "row 11 has 'old'",
        ),
        (
            lambda: da.Dataset(pd.DataFrame({"name": [f"n{i}" for i in range(99)]}), ["a", "b", "c"] * 33),
            "99 different values",
        ),
        (lambda: da.Dataset(pd.DataFrame([[1, 2]] * 6, columns=["a", "a"]), Y), "two columns named 'a'"),
        (lambda: da.Dataset(X, Y, missing="guess"), "missing must be"),
        (lambda: da.Dataset(X, Y, ids=["a", None, "b", None, "c", "d"]), "row 1 has no id"),
        (lambda: da.Dataset(X, Y, X[:0], []), "X_val has no rows"),
        (lambda: da.Dataset(sp.csr_array(X), Y, X, Y), "sparse matrix or an array as X is"),
        (lambda: da.Dataset(X, np.arange(6) / 4, X[:1], ["b"]), "numbers as validation labels, got 'b'"),
        (
            lambda: da.Dataset(
                pd.DataFrame({"a": ["1,200", "3,400", "560"] * 20 + [f"{i},000" for i in range(30)]}), ["x", "y"] * 45
            ),
            "without thousands separators",
        ),
        (
            lambda: da.Dataset(pd.DataFrame({"a": [str(i) for i in range(30)] + ["-"] * 6}), ["x", "y"] * 18),
            "row 30 has '-'",
        ),
        (lambda: da.Dataset(pd.DataFrame({"a": [1e300, -1e300] * 3}), Y), "too large to standardise"),
        (lambda: da.Dataset(X, Y).take([0, 0, 1]), "same id"),
        (lambda: da.Dataset(X, Y).take([True]), "mask of 6"),
        (lambda: da.Dataset(X, Y).take([9]), "positions from 0 to 5"),
    ],
)
def test_bad_input_is_one_sentence(make, says):
    with pytest.raises(DataError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert "np." not in str(caught.value)


def test_rows_keep_their_ids():
    data = da.Dataset(X, Y, ids=list("uvwxyz"))
    assert list(data.take([5, 0, 1, 3]).ids) == ["z", "u", "v", "x"]
    mask = np.array([True, True, False, True, False, True])
    assert list(data.take(mask).ids) == ["u", "v", "x", "z"]
    turned = data.with_labels(["a", "b", "a", "b", "b", "a"])
    assert list(turned.codes) == list(1 - data.codes)
    assert list(data.y) == Y


def test_features_are_valued_and_originals_shown():
    frame = pd.DataFrame({"colour": list("rgbrgb")})
    data = da.Dataset(frame, Y, ids=list("uvwxyz"))
    F = np.random.default_rng(0).normal(size=(6, 3))
    on_features = data.with_features(F)
    np.testing.assert_array_equal(on_features.X, F)
    assert on_features.shown.equals(frame)
    assert list(on_features.ids) == list(data.ids)
    with pytest.raises(DataError, match=r"needs 6 rows of features.*got 5"):
        data.with_features(F[:5])
    with pytest.raises(DataError, match="needs F_val"):
        da.Dataset(X, Y, X, Y).with_features(F)
    assert da.Dataset(X, Y, X, Y).with_features(F, F[:6]).X_val.shape == (6, 3)


def test_hash_follows_content():
    data = da.Dataset(X, Y)
    assert data.hash == da.Dataset(X.copy(), list(Y)).hash
    changed = X.copy()
    changed[0, 0] = 99
    others = [da.Dataset(changed, Y), da.Dataset(X, Y[::-1]), da.Dataset(X, Y, ids=range(1, 7))]
    others += [da.Dataset(X, Y, X, Y), da.Dataset(X, Y, X, Y[::-1])]
    assert len({d.hash for d in [data, *others]}) == 6


def test_the_user_s_array_is_neither_changed_nor_locked():
    mine = X.copy()
    data = da.Dataset(mine, Y)
    da.value(data, progress=False)
    np.testing.assert_array_equal(mine, X)
    mine[0, 0] = 1
    assert data.X[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        data.X[0, 0] = 5


@pytest.mark.parametrize("names", [[10, 0], [("a", 1), ("a", 2)], [1.5, True], pd.to_datetime(["2020-01-01", "2021-01-01"])])
def test_columns_may_have_any_name(names):
    frame = pd.DataFrame([[1, "u"], [2, "v"], [3, "u"], [4, "v"], [5, "u"], [6, "v"]])
    frame.columns = names
    data = da.Dataset(frame, Y, frame[:2], Y[:2])
    assert data.columns == [str(names[0]), f"{names[1]}=u", f"{names[1]}=v"]
    assert list(data.shown.columns) == list(names)
    np.testing.assert_array_equal(data.X_val, data.X[:2])


def test_a_column_may_be_named_as_an_encoded_one():
    frame = pd.DataFrame({"fur": ["long", "short"] * 3, "fur=long": range(6)})
    assert da.Dataset(frame, Y).X.shape == (6, 3)


def test_gaps_in_validation_rows_alone_are_filled():
    frame = pd.DataFrame({"size": [1.0, 2, 3, 4, 5, 6], "colour": list("rrrrbb")})
    val = pd.DataFrame({"size": [None, 2.0], "colour": ["b", None]})
    data = da.Dataset(frame, Y, val, ["a", "b"], missing="mean", standardise=False)
    np.testing.assert_array_equal(data.X_val, [[3.5, 1, 0], [2, 0, 0]])  # no training row is empty


def mapped(folder, X, name="X.npy"):
    np.save(folder / name, X)
    return np.load(folder / name, mmap_mode="r")


@pytest.mark.parametrize("dtype", sorted(SMALL, key=str))
def test_small_types_are_used_where_they_lie(dtype, tmp_path):
    small = X.astype(dtype)
    for given in (small, mapped(tmp_path, small)):
        data = da.Dataset(given, Y, given[:2], Y[:2])
        assert data.X.dtype == data.X_val.dtype == dtype
        assert np.shares_memory(data.X, given)
        assert np.shares_memory(data.shown, given)
        assert is_mapped(data.X) == is_mapped(given)
        assert not data.X.flags.writeable
        assert data.columns == ["x0", "x1"]
        np.testing.assert_array_equal(data.take([5, 0, 1, 3]).X, X[[5, 0, 1, 3]])
        assert data.take([5, 0, 1, 3]).shown.dtype == dtype
        assert np.shares_memory(data.with_labels(Y[::-1]).X, given)
        assert np.shares_memory(data.without_validation().X, given)
        np.testing.assert_array_equal(da.Dataset(X, Y).with_features(given).X, X)
    assert da.Dataset(small, Y).hash == da.Dataset(mapped(tmp_path, small, "again.npy"), Y).hash
    strided = da.Dataset(np.asfortranarray(small), Y).X
    assert strided.flags.c_contiguous
    np.testing.assert_array_equal(strided, X)


def test_other_types_become_float64_unless_they_lie_in_a_file(tmp_path):
    for dtype in (np.int32, np.int64, np.uint64, np.float64, np.longdouble, ">f4"):
        assert da.Dataset(X.astype(dtype), Y).X.dtype == np.float64
    for dtype in (np.int32, np.int64, np.float64):
        given = mapped(tmp_path, X.astype(dtype), f"{np.dtype(dtype)}.npy")
        assert da.Dataset(given, Y).X.dtype == dtype
        assert np.shares_memory(da.Dataset(given, Y).X, given)
    truth = X > 3
    assert da.Dataset(truth, Y).X.dtype == np.float64
    np.testing.assert_array_equal(da.Dataset(mapped(tmp_path, truth, "truth.npy"), Y).X, truth)
    assert da.Dataset(mapped(tmp_path, truth, "truth.npy"), Y).X.dtype == np.uint8
    swapped = da.Dataset(mapped(tmp_path, X.astype(">f8"), "swapped.npy"), Y).X
    assert swapped.dtype == np.dtype("=f8")
    columns_first = da.Dataset(mapped(tmp_path, np.asfortranarray(X), "F.npy"), Y)
    assert columns_first.hash == da.Dataset(X, Y).hash


def test_the_hash_of_float64_is_that_of_former_versions(monkeypatch):
    monkeypatch.setattr("datassay.data.out_of_core._ENTRIES", 4)  # several blocks
    assert da.Dataset(X, Y).hash == "479dea5aa0c319b3a671bba751bd01fe"
    assert da.Dataset(np.asfortranarray(X), Y).hash == "479dea5aa0c319b3a671bba751bd01fe"
    assert da.Dataset(sp.csr_array(X), Y).hash == "dc533885505fe3c33f0720b4a7fcd67d"
    assert da.Dataset(X, Y, standardise=True).hash == "ecc1f17419851b19c698fd80addb593c"


def test_missing_cells_block_by_block(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(50, 3)) * [1, 10, 100] + [0, 5, 1e4]
    hole = whole.copy()
    hole[[7, 31], [1, 2]] = np.nan, np.inf
    y = rng.integers(0, 2, 50)
    for dtype in (np.float64, np.float32, np.float16):
        given = mapped(tmp_path, hole.astype(dtype), f"{np.dtype(dtype)}.npy")
        monkeypatch.setattr("datassay.data.out_of_core._ENTRIES", 2**20)
        monkeypatch.setattr("datassay.data.out_of_core.LARGE", 2**30)
        small = [da.Dataset(given, y, missing=how) for how in ("drop", "mean")]
        small += [da.Dataset(given, y, given[:40], y[:40], missing=how, standardise=True) for how in ("drop", "mean")]
        assert not any(is_mapped(data.X) for data in small)
        monkeypatch.setattr("datassay.data.out_of_core._ENTRIES", 24)
        monkeypatch.setattr("datassay.data.out_of_core.LARGE", 100)
        large = [da.Dataset(given, y, missing=how) for how in ("drop", "mean")]
        large += [da.Dataset(given, y, given[:40], y[:40], missing=how, standardise=True) for how in ("drop", "mean")]
        for one, other in zip(small, large, strict=True):
            assert is_mapped(other.X)
            assert list(one.dropped) == list(other.dropped)
            np.testing.assert_allclose(one.X, other.X, rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(one.shown, other.shown)
        for one, other in zip(small[2:], large[2:], strict=True):
            assert other.X.dtype == other.X_val.dtype == np.float32
            np.testing.assert_allclose(one.X_val, other.X_val, rtol=1e-6, atol=1e-6)
        with pytest.raises(DataError, match=r"X has nan in row 7 \(id 7\), column 'x1' \(2 such cells\)"):
            da.Dataset(given, y)


def test_large_images_are_divided_in_blocks(monkeypatch):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    expected = da.Dataset(pictures, Y)
    monkeypatch.setattr("datassay.data.out_of_core._ENTRIES", 100)
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 100)
    large = da.Dataset(pictures, Y)
    assert is_mapped(large.X)
    assert large.hash == expected.hash


def test_a_table_as_one_array_is_treated_as_a_frame():
    frame = pd.DataFrame({"a": [1, 2, 3, 4, 5, 6.5], "b": [7.0] * 6, "c": [1e6, 1e6, 1e6, 1e6, 1e6, 1e6 + 1]})
    expected = da.Dataset(frame, Y, frame[:2], Y[:2])
    data = da.Dataset(Table(frame.to_numpy(), list(frame)), Y, Table(frame[:2].to_numpy(), list(frame)), Y[:2])
    np.testing.assert_allclose(data.X, expected.X, atol=1e-12)
    np.testing.assert_allclose(data.X_val, expected.X_val, atol=1e-12)
    assert data.columns == expected.columns
    assert data.encoding == expected.encoding
    np.testing.assert_array_equal(data.shown, frame)


def test_a_column_of_one_number_stays_0(monkeypatch):
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 0)
    same = np.full((1000, 2), [0.1, 1e8], np.float32)
    data = da.Dataset(same, np.arange(1000) % 2, standardise=True)
    assert np.abs(data.X).max() < 1e-6


def test_numbers_too_large_to_standardise(monkeypatch, tmp_path):
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 0)
    with pytest.raises(DataError, match=r"column 'x1' holds numbers too large to standardise, up to 1e\+300"):
        da.Dataset(mapped(tmp_path, np.array([[0, 1e300], [1, -1e300]] * 3)), Y, standardise=True)


def test_a_full_disk_is_said_at_once(monkeypatch):
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 0)
    with pytest.raises(
        DataError, match=r"1,000,000,000,000 rows x 7 columns need .* GiB for a temporary file, and the folder"
    ):
        room((10**12, 7), np.float32)


def test_a_temporary_file_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = da.Dataset(X.astype(np.float32), Y, standardise=True)
    np.testing.assert_allclose(data.X.mean(axis=0), 0, atol=1e-6)
    del data
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.float16, np.float32])
def test_reports_of_small_types_are_those_of_float64(dtype, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    top = min(200, np.iinfo(dtype).max) if np.dtype(dtype).kind in "iu" else 200
    wide = rng.integers(0, top + 1, size=(60, 4)).astype(np.float64)  # products of these overflow one byte
    wide[3] = 0
    wide[5, 1] = 0
    y = rng.integers(0, 2, 60)
    small, plain = da.Dataset(mapped(tmp_path, wide.astype(dtype)), y), da.Dataset(wide, y)
    monkeypatch.setattr("datassay.data.out_of_core._ENTRIES", 40)
    rows = np.arange(60)
    found, expected = (np.array(list(similarities(data.X, rows))) for data in (small, plain))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    one, other = Typical(small), Typical(plain)
    np.testing.assert_array_equal(one.step, other.step)
    for row in range(60):
        np.testing.assert_array_equal(one.severity(row), other.severity(row))
        np.testing.assert_array_equal(one.differs(row, [0, 5, 9]), other.differs(row, [0, 5, 9]))
        assert one.reason(row, 1) == other.reason(row, 1)
    for data in (small, plain):
        values = da.Values(method="cg-score", ids=data.ids, scores=wide[:, 0], flagged=wide[:, 0] < 20, columns={})
        da.report(values, data, tmp_path / f"{data.X.dtype}.html", top=10)
    pages = [(tmp_path / f"{data.X.dtype}.json").read_text() for data in (small, plain)]
    said = [json.loads(page)["suspects"] for page in pages]
    assert said[0] == said[1]


CHILD = """
import sys
import numpy as np
import datassay as da

def memory():
    fields = dict(line.split(":") for line in open("/proc/self/status"))
    return int(fields["RssAnon"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024

X = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(X)) % 10
da.Dataset(X[:100], y[:100]).hash  # everything is imported and has run once
before, _ = memory()
data = da.Dataset(X, y)
data.hash, repr(data)
after, most = memory()
print(after - before, most)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_memory_map_costs_no_memory(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.uint8, (200_000, 784))
    for start in range(0, len(X), 10_000):
        X[start : start + 10_000] = np.random.default_rng(start).integers(0, 256, (10_000, 784), dtype=np.uint8)
    X.flush()
    ran = subprocess.run([sys.executable, "-c", CHILD, tmp_path / "X.npy"], capture_output=True, text=True, check=True)
    grown, most = map(int, ran.stdout.split())
    assert grown < 40e6  # ids, labels and a few blocks of 8 MB; X in float64 would be 1254 MB, a copy of it 157 MB
    assert most < X.nbytes + 450e6  # the most there ever was: the libraries, the pages of the file, and little else


def test_a_frame_of_text_is_encoded_into_one_matrix():
    """Beside X there is no other array of its size at any time."""
    n, rng = 20_000, np.random.default_rng(0)
    words = np.array([f"kind {k}" for k in range(40)])
    frame = pd.DataFrame({"n": rng.normal(size=n)} | {f"t{j}": words[rng.integers(0, 40, n)] for j in range(3)})
    y = rng.integers(0, 2, n)
    da.Dataset(frame[:100], y[:100])  # what is imported is no part of it
    tracemalloc.start()
    try:
        data = da.Dataset(frame, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert data.X.shape == (n, 121)
    assert peak < 1.6 * data.X.nbytes


# -- whether columns are standardised


def test_what_was_scaled_is_said_and_not_guessed():
    """A frame with standardise=False has an encoding, and its columns come as they are."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(0, [1000, 1], (40, 2)), np.repeat([0, 1], 20)
    frame = pd.DataFrame(X, columns=["a", "b"])
    made = {
        "array": da.Dataset(X, y),
        "frame": da.Dataset(frame, y),
        "frame as it is": da.Dataset(frame, y, standardise=False),
        "array, standardised": da.Dataset(X, y, standardise=True),
    }
    assert [d.standardised for d in made.values()] == [False, True, False, True]
    for name, data in made.items():
        assert data.take(np.arange(30)).standardised == data.standardised, name
        assert data.with_labels(y).standardised == data.standardised, name
        np.testing.assert_allclose(scaled(data)[0].std(0), 1, err_msg=name)
    assert not da.Dataset(frame, y).with_features(X).standardised


def test_columns_of_ones_own_scale_are_taken_as_they_are():
    rng = np.random.default_rng(0)
    X, y = rng.normal(0, [1000, 1], (40, 2)), np.repeat([0, 1], 20)
    data = da.Dataset(X, y)
    ready = data.as_standardised()
    np.testing.assert_array_equal(scaled(ready)[0], X)
    np.testing.assert_allclose(scaled(data)[0].std(0), 1)  # the first is as it was
    assert ready.hash == data.hash
    assert ready.take(np.arange(30)).standardised


def test_planted_noise_leaves_the_scaling_as_it_was():
    rng = np.random.default_rng(0)
    X, y = rng.normal(0, [1000, 1, 30], (60, 3)), np.repeat([0, 1], 30)
    for kind in ("features", "mixed"):
        planted, _ = plant(da.Dataset(X, y, X[:6], y[:6]), rate=0.2, kind=kind, seed=0)
        np.testing.assert_allclose(scaled(planted)[0].std(0), 1)
        again = da.Dataset(np.array(planted.X), planted.y, np.array(planted.X_val), planted.y_val)
        np.testing.assert_array_equal(scaled(planted)[0], scaled(again)[0])
        assert planted.hash == again.hash


# -- whose ids


def labelled_frame(index=None):
    frame = pd.DataFrame({"size": [1.0, 2, 3, 4, 5, 6], "colour": list("rgbrgb")})
    return frame if index is None else frame.set_axis(index)


@pytest.mark.parametrize(
    "index",
    [
        list("uvwxyz"),
        [10, 20, 30, 40, 50, 60],
        pd.RangeIndex(5, 11),
        pd.date_range("2020-01-01", periods=6),
        pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]]),
        pd.CategoricalIndex(list("uvwxyz")),
    ],
)
def test_the_index_of_a_frame_names_the_rows(tmp_path, index):
    frame = labelled_frame(index)
    data = da.Dataset(frame, pd.Series(Y, index=frame.index))
    assert data.ids.tolist() == frame.index.to_numpy().tolist()
    values = da.value(data, "random")
    values.save(tmp_path / "v.parquet")
    for ids in (values.suspects().id, da.Values.load(tmp_path / "v.parquet").suspects().id):
        pd.testing.assert_frame_equal(
            frame.loc[ids], frame.iloc[np.argsort(values.scores, kind="stable")], check_names=False
        )
    assert da.Dataset(frame, Y, ids=list("ABCDEF")).ids.tolist() == list("ABCDEF")
    with_gap = frame.assign(size=[1.0, None, 3, 4, 5, 6])
    dropped = da.Dataset(with_gap, ["b", "a", "b", "a", "a", "b"], missing="drop")
    assert dropped.ids.tolist() == np.delete(data.ids, 1).tolist()
    assert dropped.dropped.tolist() == data.ids[[1]].tolist()


def test_rows_without_an_index_of_their_own_are_numbered():
    for rows in (labelled_frame(), pl.from_pandas(labelled_frame()), labelled_frame().to_numpy()[:, :1].astype(float)):
        ids = da.Dataset(rows, Y).ids
        assert ids.dtype == np.int64
        assert ids.tolist() == list(range(6))
    val = labelled_frame(list("mmmmmm"))  # of validation rows the index names nothing
    assert da.Dataset(labelled_frame(), Y, val, Y).ids.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ([0, 1, 2, 0, 1, 2], "index of X has 0 twice, in rows 0 and 3: .*reset_index.*or pass ids"),
        (["a", None, "b", "c", "d", "e"], "index of X has nothing in row 1: "),
        (pd.period_range("2020", periods=6, freq="D"), "index of X holds Period"),
        (pd.date_range("2020", periods=6, tz="Europe/Rome"), "index of X holds Timestamp"),
    ],
)
def test_an_index_that_can_not_name_rows(index, says):
    frame = labelled_frame(index)
    with pytest.raises(DataError, match=says):
        da.Dataset(frame, Y)
    assert da.Dataset(frame, Y, ids=range(6)).ids.tolist() == list(range(6))
    assert da.Dataset(frame.reset_index(drop=True), Y).ids.tolist() == list(range(6))


def test_labels_in_another_order_than_the_rows():
    frame = labelled_frame(list("uvwxyz"))
    turned = pd.Series(Y, index=list("zyxwvu"))
    with pytest.raises(DataError, match=r"index of y has the labels of X's in another order \(row 0: 'z', X 'u'\)"):
        da.Dataset(frame, turned)
    with pytest.raises(DataError, match="index of y_val has the labels of X_val's in another order"):
        da.Dataset(labelled_frame(), Y, frame, turned)
    with pytest.raises(DataError, match="index of ids has the labels of X's in another order"):
        da.Dataset(frame, Y, ids=turned)
    with pytest.raises(DataError, match="another order"):
        da.Dataset(frame, turned.to_frame())
    assert da.Dataset(frame, turned.to_numpy()).y.tolist() == Y
    assert da.Dataset(frame, turned.loc[frame.index]).y.tolist() == Y[::-1]
    assert da.Dataset(frame, pd.Series(Y)).y.tolist() == Y  # other labels altogether: by position, as scikit-learn does
    assert da.Dataset(frame, pd.Series(Y, index=list("uvwxya"))).y.tolist() == Y
    assert da.Dataset(frame.to_numpy()[:, :1].astype(float), turned).y.tolist() == Y


# -- a Dataset stays what it was


def frozen_arrays(data):
    return [
        array
        for array in (data.X, data.y, data.ids, data.codes, data.X_val, data.y_val, data.codes_val, data.kept, data.dropped)
        if isinstance(array, np.ndarray)
    ]


@pytest.mark.parametrize("kind", [str, object, np.int64, np.float64])
def test_labels_and_ids_are_the_datasets_own(kind):
    y = np.array([0, 1, 0, 1, 1, 0]).astype(kind)
    ids = np.array([5, 4, 3, 2, 1, 0]).astype(kind)
    y_val = y[:2].copy()
    data = da.Dataset(X, y, X[:2].copy(), y_val, ids=ids)
    hash, labels = data.hash, data.y.tolist()
    for array in (y, ids, y_val):
        assert array.flags.writeable
        array[0] = array[1]
    assert data.y.tolist() == labels
    assert len(set(data.ids.tolist())) == 6
    assert da.Dataset(X, data.y, data.X_val, data.y_val, ids=data.ids).hash == hash


def test_labels_of_other_kinds_are_the_datasets_own():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([0, 1, 0, 1, 1, 0])
    column = np.array([[0], [1], [0], [1], [1], [0]])
    series = pd.Series([0, 1, 0, 1, 1, 0])
    for y in (tensor, column, series):
        data = da.Dataset(X, y)
        y[0] = 1
        assert data.y.tolist() == [0, 1, 0, 1, 1, 0]
        assert not data.y.flags.writeable


def test_nothing_of_a_dataset_can_be_written():
    whole = da.Dataset(X, Y, X, Y, ids=list("abcdef"))
    amounts = da.Dataset(X, np.arange(6.0) / 2, X, np.arange(6.0))
    framed = da.Dataset(labelled_frame(list("uvwxyz")), Y, labelled_frame(), Y, missing="drop")
    for data in (whole, amounts, framed):
        for variation in (
            data,
            data.take([0, 1, 2, 3]),
            data.take(slice_mask := np.array([True] * 5 + [False])),
            data.with_labels(data.y.tolist()),
            data.with_features(X, X),
            data.without_validation(),
            data.take_validation([0, 1]),
            pickle.loads(pickle.dumps(data)),
            copy.deepcopy(data),
        ):
            assert len(slice_mask) == 6
            for array in frozen_arrays(variation):
                with pytest.raises(ValueError, match="read-only"):
                    array[...] = array[:1]


def test_the_hash_is_taken_once_and_follows_the_data(monkeypatch):
    data = da.Dataset(X, Y, X[:2], Y[:2])
    others = [
        data.take([0, 1, 2, 3]),
        data.with_labels(Y[::-1]),
        data.with_features(X + 2, X[:2]),
        data.with_matrix(X + 1),
        data.without_validation(),
        data.take_validation([1]),
    ]
    hashes = {data.hash, *(other.hash for other in others)}
    assert len(hashes) == 7
    for again in (
        data.take([0, 1, 2, 3]),
        data.with_labels(Y[::-1]),
        data.with_features(X + 2, X[:2]),
        data.with_matrix(X + 1),
        data.without_validation(),
        data.take_validation([1]),
    ):
        assert again.hash in hashes - {data.hash}
    monkeypatch.setattr("datassay.data.dataset.blocks", None)
    assert data.hash in hashes
    monkeypatch.undo()
    assert pickle.loads(pickle.dumps(data)).hash == data.hash
    twin = copy.copy(data)
    twin.X = twin.X + 1
    assert twin.hash != data.hash


def test_validation_rows_are_taken():
    frame = labelled_frame()
    data = da.Dataset(frame, Y, frame, Y)
    some = data.take_validation([4, 1])
    np.testing.assert_array_equal(some.X_val, data.X_val[[4, 1]])
    assert some.y_val.tolist() == [Y[4], Y[1]]
    assert some.codes_val.tolist() == data.codes_val[[4, 1]].tolist()
    assert some.shown_val["colour"].tolist() == ["g", "g"]
    assert some.kept_val.tolist() == [True, True]
    assert some.X is data.X
    assert data.take_validation(np.arange(6) > 3).y_val.tolist() == Y[4:]
    for rows in ([], [6], [0.5], [True]):
        with pytest.raises(DataError, match="take_validation needs"):
            data.take_validation(rows)
    with pytest.raises(DataError, match="take_validation needs validation rows, and there are none"):
        data.without_validation().take_validation([0])


def test_numbers_in_place_of_the_matrix():
    frame = labelled_frame()
    data = da.Dataset(frame, Y, frame, Y)
    numbers = data.X + 1
    other = data.with_matrix(numbers)
    np.testing.assert_array_equal(other.X, numbers)
    assert other.shown is other.X
    assert other.shown_val is other.X_val
    assert (other.columns, other.standardised, other.ids.tolist()) == (data.columns, True, list(range(6)))
    with pytest.raises(DataError, match=r"with_matrix needs 6 x 4 numbers, as X has, got \(6, 3\)"):
        data.with_matrix(numbers[:, :3])
    with pytest.raises(DataError, match="with_matrix needs finite numbers, and row 2 has nan"):
        data.with_matrix(np.where(np.arange(6)[:, None] == 2, np.nan, numbers))


# -- noise in features


@pytest.mark.parametrize("standardise", [True, False])
def test_noise_in_a_frame_keeps_each_column_in_its_kind(standardise):
    rng = np.random.default_rng(0)
    n = 2000
    frame = pd.DataFrame(
        {"a": rng.normal(size=n), "colour": rng.choice(list("rgb"), n, p=[0.6, 0.3, 0.1]), "b": rng.normal(size=n)}
    )
    data = da.Dataset(frame, rng.choice(["p", "q"], n), standardise=standardise)
    for sigma in (0.5, 1.0, 3.0):
        noisy, wrong = plant(data, "features", 0.5, sigma=sigma)
        assert noisy.standardised == standardise
        assert noisy.columns == data.columns
        np.testing.assert_array_equal(noisy.X[~wrong], data.X[~wrong])
        colour, was = noisy.X[wrong][:, 2:], data.X[wrong][:, 2:]
        assert set(np.unique(colour)) == {0, 1}
        np.testing.assert_array_equal(colour.sum(1), 1)
        np.testing.assert_allclose(colour.mean(0), was.mean(0), atol=0.04)  # as often as before
        moved = (noisy.X[wrong] - data.X[wrong])[:, :2].std(0)
        np.testing.assert_allclose(moved, sigma, rtol=0.1)
        numbers = np.corrcoef(noisy.X[wrong][:, 0], data.X[wrong][:, 0])[0, 1]
        assert np.corrcoef(colour[:, 2], was[:, 2])[0, 1] == pytest.approx(numbers, abs=0.08)


def test_noise_in_text_alone_changes_each_row():
    frame = pd.DataFrame({"colour": list("rgbr") * 50, "one": ["x"] * 200, "size": list("sl") * 100})
    data = da.Dataset(frame, ["p", "q", "q", "p"] * 50)
    noisy, wrong = plant(data, "features", 0.2, sigma=0.1)
    assert ((noisy.X != data.X).any(axis=1) == wrong).all()
    for columns in data.one_hot:
        np.testing.assert_array_equal(noisy.X[:, columns].sum(1), 1)


def test_noise_needs_something_that_can_change():
    data = da.Dataset(pd.DataFrame({"one": ["x"] * 20}), [0, 1] * 10)
    with pytest.raises(DataError, match="needs a column with two values"):
        plant(data, "features", 0.2)


def test_noise_in_numbers_is_what_it_was():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(50, 3))
    for rows in (numbers, pd.DataFrame(numbers)):
        data = da.Dataset(rows, [0, 1] * 25)
        noisy, wrong = plant(data, "features", 0.2)
        draws = np.random.default_rng(0)
        places = draws.permutation(50)[:10]
        expected = data.X.copy()
        expected[places] += data.X.std() * draws.standard_normal((10, 3))
        np.testing.assert_array_equal(noisy.X, expected)
        assert wrong[places].all()


def test_one_extreme_cell_does_not_flatten_its_column():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    y = np.arange(300) % 2
    plain = da.Dataset(frame, y)
    assert plain.notes == ()
    for odd in (1e12, -999999, -999):
        broken = frame.copy()
        broken.loc[7, "b"] = odd
        data = da.Dataset(broken, y, frame[:4], y[:4])
        assert abs(np.delete(data.X, 7, axis=0) - np.delete(plain.X, 7, axis=0)).max() < 0.2
        assert data.X[7, 1] == (data.X[:, 1].max() if odd > 0 else data.X[:, 1].min())
        (note,) = data.notes
        assert note.startswith(f"column 'b' has {odd:g} in row 7 (1 such cells), far beyond all others (")
        assert data.shown.loc[7, "b"] == odd
        array = da.Dataset(broken.to_numpy(), y, standardise=True)
        np.testing.assert_allclose(array.X, data.X)
        assert len(array.notes) == 1
        gaps = broken.copy()
        gaps.loc[9, "b"] = None
        assert abs(da.Dataset(gaps, y, missing="mean").X[9, 1]) < 0.1
    val = da.Dataset(frame, y, broken[:8].assign(b=lambda f: f.b * 1e9), y[:8])
    assert abs(val.X_val).max() < 5
    assert val.notes[0].startswith("column 'b' of the validation rows has ")


def test_signs_for_gaps_count_as_the_nearest_number():
    rng = np.random.default_rng(0)
    age = rng.integers(18, 90, 400).astype(float)
    age[::20] = -999
    data = da.Dataset(pd.DataFrame({"age": age, "b": rng.normal(size=400)}), np.arange(400) % 2)
    assert data.X.min() > -5
    assert "-999 in row 0, -999 in row 20, -999 in row 40, ... (20 such cells)" in data.notes[0]


@pytest.mark.parametrize("n", [20, 100, 2000])
def test_ordinary_columns_stay_as_they_are(n):
    rng = np.random.default_rng(n)
    rare = np.zeros(n)
    rare[3] = 1
    frame = pd.DataFrame(
        {
            "rare": rare,
            "log": rng.lognormal(8, 2, n),
            "few": rng.integers(0, 3, n) * 1.0,
            "gain": np.where(rng.random(n) < 0.03, 5000.0, 0),
            "t": rng.standard_t(3, n),
            "below": -np.arange(n)[::-1] * 1.0,
        }
    )
    data = da.Dataset(frame, np.arange(n) % 2)
    assert data.notes == ()
    a = frame.to_numpy()
    np.testing.assert_allclose(data.X, (a - a.mean(0)) / np.where(a.std(0) == 0, 1, a.std(0)))


def test_counters_of_rows_are_left_out():
    rng = np.random.default_rng(0)
    frame, y = pd.DataFrame({"a": rng.normal(size=60)}), np.arange(60) % 2
    plain = da.Dataset(frame, y)
    for name, values in [
        ("Unnamed: 0", np.arange(60)),
        ("", np.arange(60)),
        ("row", np.arange(1, 61)),
        ("Unnamed: 0.1", rng.permutation(900)[:60]),
    ]:
        data = da.Dataset(frame.assign(**{name: values}), y, frame.assign(**{name: values})[:4], y[:4])
        assert data.columns == ["a"]
        assert list(data.shown) == ["a"]
        assert data.hash == da.Dataset(frame, y, frame[:4], y[:4]).hash
        assert data.notes[0].startswith(f"column {name!r} ")
        assert "left out" in data.notes[0]
        assert "1 note (see .notes)" in repr(data)
    for values in (np.arange(60) * 2, np.arange(60) * 1.0, rng.permutation(60), np.arange(60)[::-1]):
        assert da.Dataset(frame.assign(n=values), y).columns == ["a", "n"]
    assert da.Dataset(frame[:20].assign(n=np.arange(20)), y[:20]).columns == ["a", "n"]
    assert da.Dataset(pd.DataFrame({"n": np.arange(60)}), y).columns == ["n"]
    assert plain.notes == ()


def test_whole_numbers_as_labels_are_said_to_be_classes():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(200, 2))
    says = "the labels are 10 whole numbers from 1 to 10, taken for classes without an order: if they are amounts, counts or"
    assert da.Dataset(F, np.arange(200) % 10 + 1).notes[0].startswith(says)
    assert "40 whole numbers from 1000 to 4900" in da.Dataset(F, np.arange(200) % 40 * 100 + 1000).notes[0]
    counts = np.r_[np.arange(196) % 10, 10, 10, 11, 11]
    assert "12 whole numbers from 0 to 11" in da.Dataset(F, counts).notes[0]
    for labels in (
        np.arange(200) % 10,
        np.arange(200) % 3 + 1,
        (np.arange(200) % 10 + 1).astype(str),
        np.arange(200) % 2 * 2 - 1,
    ):
        assert da.Dataset(F, labels).notes == ()
    assert da.Dataset(F, np.arange(200) % 10 + 1, task="classification").notes == ()
    assert da.Dataset(F, np.arange(200) % 10 + 1, task="regression").notes == ()
    assert da.Dataset(F, np.arange(200) % 4 - 1).notes[0].startswith("there is a class -1 beside 0, 1, ...: where it stands")


def test_classes_that_differ_by_capitals_or_blanks_are_said():
    data = da.Dataset(np.eye(12), ["yes", "No", "no ", "YES", "no", " yes"] * 2)
    assert len(data.classes) == 6
    assert data.notes == (
        "classes differ by capitals or blanks alone (' yes', 'YES', 'yes'; 'No', 'no', 'no '): if they are meant as one, "
        "write them as one",
    )


def test_odd_rows_are_all_named_and_can_be_left_out():
    F = np.arange(40.0).reshape(20, 2)
    y = np.array(["a", "b"] * 10, object)
    y[[3, 8]] = None
    y[5], y[11] = "bb", "aa"
    ids = [f"r{i}" for i in range(20)]
    with pytest.raises(DataError, match=r"2 rows have no label \(row 3 \(id 'r3'\), row 8 \(id 'r8'\)\): .*missing='drop'"):
        da.Dataset(F, y, ids=ids)
    lone = np.where(pd.isna(y), "a", y)
    with pytest.raises(
        DataError, match=r"2 classes have one row only, 'aa' \(row 11, id 'r11'\), 'bb' \(row 5, id 'r5'\): .*missing='drop'"
    ):
        da.Dataset(F, lone, ids=ids)
    data = da.Dataset(F, y, F[:4], ["a", "b", None, "a"], ids=ids, missing="drop")
    assert list(data.dropped) == ["r3", "r5", "r8", "r11"]
    np.testing.assert_array_equal(data.X, np.delete(F, [3, 5, 8, 11], axis=0))
    np.testing.assert_array_equal(np.flatnonzero(~data.kept), [3, 5, 8, 11])
    np.testing.assert_array_equal(data.kept_val, [True, True, False, True])
    assert data.classes == ["a", "b"]
    assert data.notes[0] == "2 rows have no label (row 3 (id 'r3'), row 8 (id 'r8')): left out"
    assert data.notes[1] == (
        "2 labels are of no other row, 'bb' in row 5 (id 'r5'), 'aa' in row 11 (id 'r11'): suspects by that alone, and left "
        "out; look at them"
    )
    assert data.notes[2] == "validation row 2 has no label: left out"
    hole = F.copy()
    hole[0, 0] = np.nan
    twice = da.Dataset(hole, ["c", *"ab" * 9, "c"], missing="drop")  # one of two goes, and so the other is alone
    assert list(twice.dropped) == [0, 19]
    assert twice.X.shape == (18, 2)
    assert da.Dataset(F, [*np.arange(19) / 2, None], missing="drop").task == "regression"
    with pytest.raises(DataError, match=r"validation row 1 has label 'c'.*\(2 such rows\)"):
        da.Dataset(F, ["a", "b"] * 10, F[:3], list("acd"))


def arrow(values):
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values)))


def test_columns_of_arrow_and_of_arrays_are_read():
    y, days = np.arange(60) % 2, [dt.date(2020, 1, 1) + dt.timedelta(i) for i in range(60)]
    text = da.Dataset(pd.DataFrame({"c": list("xyz") * 20}), y)
    for values in (list("xyz") * 20, pa.array(list("xyz") * 20).dictionary_encode(), [b"x", b"y", b"z"] * 20):
        assert da.Dataset(pd.DataFrame({"c": arrow(values)}), y).hash == text.hash
        assert da.Dataset(pd.DataFrame({"c": arrow(values).astype(object)}), y).hash == text.hash
    dates = da.Dataset(pd.DataFrame({"c": days}), y)
    assert da.Dataset(pd.DataFrame({"c": arrow(days)}), y).hash == dates.hash
    assert da.Dataset(pd.DataFrame({"c": pd.period_range("2020-01-01", periods=60, freq="D")}), y).hash == dates.hash
    vectors = np.random.default_rng(0).normal(size=(60, 3))
    plain = da.Dataset(pd.DataFrame(vectors), y, pd.DataFrame(vectors[:4]), y[:4])
    for cells in (list(vectors), vectors.tolist(), arrow(vectors.tolist())):
        frame = pd.DataFrame({"e": cells})
        data = da.Dataset(frame, y, frame[:4], y[:4])
        assert data.columns == ["e[0]", "e[1]", "e[2]"]
        assert data.hash == plain.hash
    frame = pl.DataFrame(
        {"e": pl.Series(vectors, dtype=pl.Array(pl.Float64, 3)), "h": pl.Series(range(60), dtype=pl.Int128)}
    )
    assert da.Dataset(frame, y).columns == ["e[0]", "e[1]", "e[2]", "h"]
    gap = da.Dataset(pd.DataFrame({"e": [None, *vectors[1:]]}), y, missing="drop")
    assert gap.dropped.tolist() == [0]
    for cells, says in [([[1, 2], [3]] * 30, "2 in its first and 1 in row 1"), ([["a"]] * 60, "not of numbers")]:
        with pytest.raises(DataError, match=f"column 'e' of X holds lists.*{says}"):
            da.Dataset(pd.DataFrame({"e": cells}), y)
    with pytest.raises(DataError, match="column 'b' of X holds bytes that are no text"):
        da.Dataset(pd.DataFrame({"b": [b"\xff"] * 60}), y)


def test_labels_and_ids_are_of_kinds_that_can_be_saved():
    for labels, says in [
        ([Decimal(1), Decimal(2)] * 3, [1, 2] * 3),
        ([Decimal("0.5"), Decimal(2)] * 3, [0.5, 2] * 3),
        ([dt.timedelta(hours=12), dt.timedelta(3)] * 3, [0.5, 3] * 3),
        (np.array([12, 72] * 3, "timedelta64[h]"), [0.5, 3] * 3),
        ([b"a", "é".encode()] * 3, ["a", "é"] * 3),
        (np.array([b"a", b"b"] * 3), ["a", "b"] * 3),
        ([uuid.UUID(int=1), uuid.UUID(int=2)] * 3, [str(uuid.UUID(int=1)), str(uuid.UUID(int=2))] * 3),
    ]:
        assert da.Dataset(X, labels).y.tolist() == says
    near = [Decimal(1), Decimal("1." + "0" * 30 + "1"), *map(Decimal, "2345")]
    assert da.Dataset(X, Y, ids=near).ids[1] == str(near[1])  # as floats they would be one
    assert da.Dataset(X, Y, ids=[bytes(15) + bytes([200 + i]) for i in range(6)]).ids[0] == str(uuid.UUID(int=200))
    with pytest.raises(DataError, match=r"same id, 1e\+17.*decimals of this size fall together"):
        da.Dataset(X, Y, ids=[1e17, 1e17 + 1, 2.0, 3, 4, 5])
    with pytest.raises(DataError, match="y holds bytes that are no text in UTF-8"):
        da.Dataset(X, [b"\xff", b"a"] * 3)


class Odd:
    def __repr__(self):
        return "odd" * 100


@pytest.mark.parametrize(
    "labels",
    [
        [frozenset("ab"), frozenset("c")] * 3,
        [1j, 2j] * 3,
        np.array([1, 2] * 3, np.complex64),
        [("a", frozenset("b")), ("c", frozenset("d"))] * 3,
        [range(2), range(3)] * 3,
        [Odd(), Odd()] * 3,
        [["a"], ["b", "c"]] * 3,
        [{"a"}, {"b"}] * 3,
        ["a", "b", "a", "b", "b", dt.time(3)],
    ],
)
def test_what_can_not_be_saved_is_refused_at_the_door(labels):
    with pytest.raises(
        DataError, match=r"^y holds .* in row \d, and labels are numbers, text, dates or tuples of these"
    ) as caught:
        da.Dataset(X, labels)
    assert ("several labels a row" in str(caught.value)) == isinstance(labels[0], (frozenset, set, list))
    assert len(str(caught.value)) < 240
    with pytest.raises(DataError, match="can't be saved"):
        _to_column(np.array([*labels, None], dtype=object)[:-1], "given_label")
    if isinstance(labels, list) and not isinstance(labels[0], str):
        with pytest.raises(DataError, match=r"^ids holds .* in row 0, and ids are"):
            da.Dataset(X, Y, ids=[(label, i, {}) for i, label in enumerate(labels)])


@pytest.mark.parametrize(
    "labels",
    [
        [("a", 1), ("b", dt.date(2020, 1, 2))] * 3,
        [dt.datetime(2020, 1, 1, 3), dt.date(2021, 1, 1)] * 3,
        [2**70, "a"] * 3,
        [True, "a"] * 3,
        [np.float32(1.5), np.int8(2)] * 3,
        [np.datetime64("2020"), "a"] * 3,
    ],
)
def test_what_passes_the_door_can_be_saved(labels):
    data = da.Dataset(X, labels, task="classification")
    column, kind = _to_column(data.y, "given_label")
    assert _from_column(pa.chunked_array([column]), kind).tolist() == data.y.tolist()


def test_the_text_behind_numbers_is_shown(tmp_path):
    F, y = sp.random_array((40, 200), density=0.1, rng=np.random.default_rng(0), format="csr"), np.arange(40) % 2
    said = [f"sentence {i}" for i in range(40)]
    data = da.Dataset(F, y, F[:4], y[:4])
    shown = data.showing(said, said[:4])
    assert shown.hash == data.hash
    assert shown.take([3, 5, 6, 8]).shown["text"].tolist() == [said[i] for i in (3, 5, 6, 8)]
    assert shown.shown_val["text"].tolist() == said[:4]
    da.report(da.value(shown, "knn-shapley"), shown, tmp_path / "r.html")
    assert "sentence 7" in (tmp_path / "r.html").read_text()
    with pytest.raises(DataError, match="showing needs 40 rows, one for each row of the data, got 3"):
        data.showing(said[:3])
    with pytest.raises(DataError, match="no validation rows"):
        data.without_validation().showing(said, said[:4])


def test_wrong_labels_are_found_beside_odd_columns_and_cells():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(400, 4))
    true = (F[:, 0] + F[:, 1] > 0).astype(int)
    order = np.argsort(true, kind="stable")  # a file sorted by class
    F, true = F[order], true[order]
    bad = rng.random(400) < 0.05
    frame, y = pd.DataFrame(F, columns=list("abcd")), np.where(bad, 1 - true, true)

    def flagged(data):
        values = da.value(data, "cg-score")
        return values.flagged.sum(), (values.flagged & bad).sum()

    plain, found = flagged(da.Dataset(frame, y))
    assert found >= 0.8 * bad.sum()
    for odd in (1e12, -999999):
        cell = frame.copy()
        cell.loc[5, "a"] = odd
        assert flagged(da.Dataset(cell, y)) == pytest.approx((plain, found), abs=8)
    assert flagged(da.Dataset(frame.assign(**{"Unnamed: 0": range(400)}), y)) == (plain, found)
    none = frame[["c"]].assign(t=np.where(true == 1, rng.choice(["p", "q"], 400), None))
    assert flagged(da.Dataset(none, y, missing="mean")) == pytest.approx((bad.sum(), bad.sum()), abs=2)
