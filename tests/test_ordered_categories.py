"""Categories that have an order: one column of numbers, their places; validation rows by the same order."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datassay as da
from datassay.checks import DataError

SIZES = ["S", "M", "L", "XL"]
Y = np.array(["a", "b"] * 10)


def sizes(n=20, gaps=()):
    cells = np.random.default_rng(0).choice(SIZES[:3], n).astype(object)
    cells[list(gaps)] = None
    return pd.Series(pd.Categorical(cells, SIZES, ordered=True))


def test_they_are_their_places():
    size, n = sizes(), np.arange(20) % 7
    data = da.Dataset(pd.DataFrame({"size": size, "n": n}), Y, standardise=False)
    assert data.columns == ["size", "n"]
    np.testing.assert_array_equal(data.X[:, 0], [SIZES.index(cell) for cell in size])
    assert data.encoding["size"] == "number, as it is; the place among 4 ordered values, from 'S' to 'XL'"
    assert data.one_hot == []
    scaled = da.Dataset(pd.DataFrame({"size": size}), Y)
    np.testing.assert_allclose(scaled.X[:, 0], (data.X[:, 0] - data.X[:, 0].mean()) / data.X[:, 0].std())
    assert scaled.shown["size"].tolist() == size.tolist()
    assert scaled.encoding["size"].startswith("number, mean 1, standard deviation 0.774597; the place")


def test_without_an_order_they_are_kinds():
    size = sizes().cat.as_unordered()
    data = da.Dataset(pd.DataFrame({"size": size}), Y)
    assert data.encoding["size"] == "text, one-hot, 3 values"


@pytest.mark.parametrize("kind", ["ordered", "of its own", "text"])
def test_validation_rows_go_by_the_training_rows_order(kind):
    cells = ["XL", "S"]  # a size that no training row has, too
    val = {
        "ordered": pd.Categorical(cells, SIZES, ordered=True),
        "of its own": pd.Categorical(cells, ["XL", "S"], ordered=True),
        "text": cells,
    }[kind]
    data = da.Dataset(pd.DataFrame({"size": sizes()}), Y, pd.DataFrame({"size": val}), ["a", "b"], standardise=False)
    np.testing.assert_array_equal(data.X_val, [[3], [0]])


def test_what_has_no_place_is_named():
    frame = pd.DataFrame({"size": sizes()})
    with pytest.raises(DataError, match=r"validation rows, column 'size' has 'XXL' in row 1.*'S' < 'M' < 'L' < 'XL'"):
        da.Dataset(frame, Y, pd.DataFrame({"size": ["S", "XXL"]}), ["a", "b"])


def test_gaps():
    frame = pd.DataFrame({"size": sizes(gaps=[4])})
    with pytest.raises(DataError, match=r"row 4.*column 'size'"):
        da.Dataset(frame, Y)
    assert da.Dataset(frame, Y, missing="drop").dropped.tolist() == [4]
    filled = da.Dataset(frame, Y, missing="mean", standardise=False)
    assert filled.X[4, 0] == pytest.approx(np.delete(filled.X[:, 0], 4).mean())


def test_intervals_and_numbers_as_categories():
    ages = pd.cut(pd.Series(np.arange(20)), [-1, 4, 9, 19])
    grades = pd.Series(pd.Categorical(np.arange(20) % 3 * 10, [20, 10, 0], ordered=True))
    data = da.Dataset(pd.DataFrame({"age": ages, "grade": grades}), Y, standardise=False)
    np.testing.assert_array_equal(data.X[:, 0], np.repeat([0, 1, 2], [5, 5, 10]))
    np.testing.assert_array_equal(data.X[:, 1], 2 - np.arange(20) % 3)
    assert data.encoding["age"].endswith("3 ordered values, from '(-1, 4]' to '(9, 19]'")


def test_files_keep_the_order(tmp_path):
    frame = pd.DataFrame({"size": sizes(), "n": np.arange(20) % 7, "y": Y})
    frame.to_parquet(tmp_path / "pandas.parquet")
    frame.to_feather(tmp_path / "pandas.feather")
    cells = pa.DictionaryArray.from_arrays(frame["size"].cat.codes.to_numpy(), SIZES, ordered=True)
    (tmp_path / "parts").mkdir()
    pq.write_table(pa.table({"size": cells, "n": frame.n, "y": Y}), tmp_path / "parts" / "one.parquet")
    expected = da.Dataset(frame[["size", "n"]], Y)
    for name in ("pandas.parquet", "pandas.feather", "parts"):
        data = da.read(tmp_path / name, label="y")
        assert data.encoding == expected.encoding
        np.testing.assert_array_equal(data.X, expected.X)
    frame.to_stata(
        tmp_path / "labels.dta", write_index=False
    )  # value labels, of which Stata does not say that they are ordered
    assert da.read(tmp_path / "labels.dta", label="y").encoding["size"] == "text, one-hot, 3 values"


def test_frames_of_polars_and_arrow():
    pl = pytest.importorskip("polars")
    cells = sizes().tolist()
    expected = da.Dataset(pd.DataFrame({"size": sizes()}), Y)
    enum = pl.DataFrame({"size": pl.Series(cells, dtype=pl.Enum(SIZES))})
    coded = pa.DictionaryArray.from_arrays(sizes().cat.codes.to_numpy(), SIZES, ordered=True)
    arrow = pd.DataFrame({"size": pd.Series(coded, dtype=pd.ArrowDtype(coded.type))})
    for frame in (enum, arrow):
        np.testing.assert_array_equal(da.Dataset(frame, Y).X, expected.X)
    loose = pl.DataFrame({"size": pl.Series(cells, dtype=pl.Categorical)})
    assert da.Dataset(loose, Y).encoding["size"] == "text, one-hot, 3 values"


def test_the_order_is_kept_where_rows_are_split_anew():
    frame = pd.DataFrame({"size": sizes(40)})
    data = da.Dataset(frame[:30], np.resize(Y, 30), pd.DataFrame({"size": frame["size"][30:].astype(str)}), np.resize(Y, 10))
    split = da.datasets.divided(data, seed=0, train=20, val=10, test=10)
    assert split.data.columns == ["size"]
    assert "ordered values" in split.data.encoding["size"]
