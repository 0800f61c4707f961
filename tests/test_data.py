import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

import datassay as da
from datassay.data import DataError, is_images

X = np.arange(12.0).reshape(6, 2)
Y = ["b", "a", "b", "a", "a", "b"]


def test_labels_of_any_kind_come_back():
    mixed = [(1, "x"), "two", (1, "x"), "two", None.__class__, None.__class__]
    for labels, classes in [
        (Y, ["a", "b"]),
        (np.array([5, 3, 5, 3, 3, 5], np.int8), [3, 5]),
        ([True, False, True, False, False, True], [False, True]),
        (pd.Series(Y, dtype="category"), ["a", "b"]),
        (pl.Series(Y), ["a", "b"]),
        (np.array(Y)[:, None], ["a", "b"]),
        ([2.0, 1.0, 2.0, 1.0, 1.0, 2.0], [1.0, 2.0]),
        (mixed, [(1, "x"), "two", type(None)]),
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
    np.testing.assert_array_equal(filled.X[2, 1:], [0, 1])  # red is the commonest
    val = da.Dataset(frame, Y, pd.DataFrame({"size": [None], "colour": ["blue"]}), ["a"], missing="mean", standardise=False)
    np.testing.assert_allclose(val.X_val, [[3.8, 1, 0]])


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
        (lambda: da.Dataset(X, [["a"], ["b"]] * 3), "hashable"),
        (lambda: da.Dataset(X, Y, X), "go together"),
        (lambda: da.Dataset(X, Y, X[:2], ["a"]), "X_val has 2 rows but y_val has 1"),
        (lambda: da.Dataset(X, Y, X[:2, :1], ["a", "b"]), "they must agree"),
        (lambda: da.Dataset(X, Y, X[:1], ["c"]), "label 'c', which no training row has"),
        (lambda: da.Dataset(X, [1.5, np.nan, 2, 3, 4, 5]), "has no label"),
        (lambda: da.Dataset(X, [1.5] * 6), "all 6 labels are 1.5"),
        (lambda: da.Dataset(X, Y, task="regression"), "needs numbers as labels, got 'b'"),
        (lambda: da.Dataset(sp.csr_array([[np.inf, 1]] * 6), Y), "inf in row 0"),
        (
            lambda: da.Dataset(pd.DataFrame({"age": ["1"] * 5 + ["old"]}).loc[[0] * 11 + [5]], ["a", "b"] * 6),
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
    others = [da.Dataset(changed, Y), da.Dataset(X, Y[::-1]), da.Dataset(X, Y, ids=range(1, 7)), da.Dataset(X, Y, X, Y)]
    assert len({d.hash for d in [data, *others]}) == 5


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
    np.testing.assert_array_equal(data.X_val, [[3.5, 1, 0], [2, 0, 1]])
