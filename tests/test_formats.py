"""Files of other programs: SVMlight, ARFF, Excel."""

import bz2
import gzip

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file

import datassay as da
from datassay.checks import DataError


def sparse(n=30, d=5, seed=0):
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, d)) < 0.5, rng.normal(size=(n, d)).round(3), 0)
    X[0] = 1.5
    return X, np.arange(n) % 2 * 2 - 1


@pytest.mark.parametrize("zero_based", [True, False])
@pytest.mark.parametrize("name", ["t.svm", "t.txt", "t.libsvm.gz", "a9a", "a9a.t", "t.csv.bz2"])
def test_svmlight(tmp_path, zero_based, name):
    X, y = sparse()
    dump_svmlight_file(X, y, str(tmp_path / "plain"), zero_based=zero_based, comment="made here")
    content = (tmp_path / "plain").read_bytes()
    path = tmp_path / name
    path.write_bytes(
        gzip.compress(content) if name.endswith("gz") else bz2.compress(content) if name.endswith("bz2") else content
    )
    data = da.read(path)
    assert sp.issparse(data.X)
    np.testing.assert_array_equal(data.X.toarray(), X)
    assert data.y.tolist() == y.tolist()
    assert data.classes == [-1, 1]
    assert len(da.value(data, "self-confidence", progress=False)) == 30


@pytest.mark.parametrize("first", ["train", "val", "none"])
def test_svmlight_rows_and_validation_rows_are_numbered_from_one_base(tmp_path, first):
    """Either file alone may lack the first column, or the last one."""
    X, y = sparse(20, 6)
    X_val, y_val = sparse(12, 6, seed=1)
    X[:, 0] = 1.0 if first == "train" else 0.0
    X_val[:, 0] = 1.0 if first == "val" else 0.0
    X_val[:, 5] = 0
    dump_svmlight_file(X, y, str(tmp_path / "a.svm"), zero_based=first != "none")
    dump_svmlight_file(X_val, y_val, str(tmp_path / "b.svm"), zero_based=first != "none")
    data = da.read(tmp_path / "a.svm", val=tmp_path / "b.svm")
    np.testing.assert_array_equal(data.X.toarray(), X)
    np.testing.assert_array_equal(data.X_val.toarray(), X_val)
    assert len(da.value(data, "knn-shapley", progress=False)) == 20


def test_svmlight_targets_that_are_not_whole_stay_so(tmp_path):
    (tmp_path / "t.svm").write_text("0.5 1:1 3:2\n1.25 qid:3 2:1 # note\n-1e-3 1:4\n2 3:1\n")
    data = da.read(tmp_path / "t.svm")
    assert data.task == "regression"
    assert data.y.tolist() == [0.5, 1.25, -0.001, 2]
    assert data.X.toarray().tolist() == [[1, 0, 2], [0, 1, 0], [4, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("1,2 1:0.5\n1 1:0.2\n", {}, "can't be read as SVMlight.*several labels a row are not supported"),
        ("1 3:0.5 2:0.1\n", {}, "can't be read as SVMlight.*rising order"),
        ("a 1:0.5\n", {}, "needs a number as label"),
        ("1\n-1\n", {}, "the rows are empty"),
        ("1 1:0.5\n-1 1:2\n", {"label": "y"}, "labels stand in front: leave 'y' out"),
        ("1 1:0.5\n-1 1:2\n", {"val": "v.npz"}, "is a file of SVMlight, and the other is none"),
    ],
)
def test_bad_svmlight_is_one_sentence(tmp_path, text, options, says):
    (tmp_path / "t.svm").write_text(text)
    if "val" in options:
        np.savez(tmp_path / "v.npz", X=np.eye(2), y=[1, -1])
        options = {"val": tmp_path / "v.npz"}
    with pytest.raises(DataError, match=says) as caught:
        da.read(tmp_path / "t.svm", **options)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "empty" in says


ARFF = """% a comment
@RELATION 'pets of a street'
@ATTRIBUTE weight NUMERIC
@ATTRIBUTE legs INTEGER
@ATTRIBUTE rooms {1,2,'3 or more'}
@ATTRIBUTE "a name" STRING
@ATTRIBUTE class {cat,dog}
@DATA
"""


def test_arff(tmp_path):
    rooms = ["1", "2", "'3 or more'"]
    rows = [f"{3 * i}.5,{i % 3 + 2},{rooms[i % 3]},'n, {i}',{['cat', 'dog'][i % 2]}" for i in range(12)]
    (tmp_path / "t.arff").write_text(ARFF + "\n".join(rows) + "\n")
    data = da.read(tmp_path / "t.arff", label="class", id="a name")
    assert data.classes == ["cat", "dog"]
    assert data.columns == ["weight", "legs", "rooms=1", "rooms=2", "rooms=3 or more"]
    assert data.shown["legs"].tolist() == [i % 3 + 2 for i in range(12)]
    assert data.ids[3] == "n, 3"
    rows[4] = rows[4].replace("12.5", "?")
    (tmp_path / "t.arff.gz").write_bytes(gzip.compress((ARFF + "\n".join(rows)).encode()))
    with pytest.raises(DataError, match=r"row 4.*column 'weight'"):
        da.read(tmp_path / "t.arff.gz", label="class", id="a name")


def test_sparse_arff_and_dates(tmp_path):
    head = "@relation r\n@attribute a numeric\n@attribute b numeric\n@attribute y {no,yes}\n@data\n"
    (tmp_path / "t.arff").write_text(head + "{0 1.5, 2 yes}\n{1 2}\n{0 3, 1 1}\n{2 yes}\n")
    data = da.read(tmp_path / "t.arff", label="y")
    assert data.shown.to_numpy().tolist() == [[1.5, 0], [0, 2], [3, 1], [0, 0]]
    assert data.y.tolist() == ["yes", "no", "no", "yes"]
    head = "@relation r\n@attribute d date 'yyyy-MM-dd'\n@attribute y {no,yes}\n@data\n"
    (tmp_path / "d.arff").write_text(head + "'2020-01-02',yes\n'2020-01-03',no\n'2020-02-01',yes\n'2020-01-04',no\n")
    data = da.read(tmp_path / "d.arff", label="y")
    assert data.shown["d"].tolist() == list(pd.to_datetime(["2020-01-02", "2020-01-03", "2020-02-01", "2020-01-04"]))
    assert data.y.tolist() == ["yes", "no", "yes", "no"]


@pytest.mark.parametrize(
    "text",
    ["", "@relation r\n", "@relation r\n@attribute a numeric\n@data\nx\n", "@relation r\n@attribute d date\n@data\nx\n"],
)
def test_bad_arff_is_one_sentence(tmp_path, text):
    (tmp_path / "t.arff").write_text(text)
    with pytest.raises(DataError, match=r"t.arff (can't be read as ARFF|is empty)") as caught:
        da.read(tmp_path / "t.arff", label="a")
    assert "\n" not in str(caught.value)


def sheet(n=24):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(size=n).round(3),
            "kind": ["a", "b"] * (n // 2),
            "since": pd.date_range("2020", periods=n),
            "code": ["NA", "EU"] * (n // 2),
        }
    )


def test_excel(tmp_path):
    pytest.importorskip("openpyxl")
    frame = sheet()
    cells = frame.astype({"size": object})
    cells.loc[3, "size"], cells.loc[4, "size"] = "n/a", " "
    cells.to_excel(tmp_path / "t.xlsx", index=False)
    data = da.read(tmp_path / "t.xlsx", label="code", missing="mean")
    assert data.classes == ["EU", "NA"]
    season = [f"since: {what}, {s}" for what in ("day of the year", "weekday") for s in ("cosine", "sine")]
    assert sorted(data.columns) == ["kind=a", "kind=b", "since", *season, "size"]
    assert np.isnan(data.shown["size"][[3, 4]]).all()
    with pytest.raises(DataError, match=r"row 3.*column 'size'.*2 such cells"):
        da.read(tmp_path / "t.xlsx", label="code")
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_excel(tmp_path / "u.xlsx", index=False)
    assert (
        da.read(tmp_path / "u.xlsx", label="kind", drop=["code"]).hash
        == da.read(tmp_path / "t.csv", label="kind", drop=["code"]).hash
    )


def test_excel_that_can_not_be_read(tmp_path, monkeypatch):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "two.xlsx") as file:
        sheet().to_excel(file, sheet_name="rows", index=False)
        sheet().to_excel(file, sheet_name="more", index=False)
    with pytest.raises(DataError, match=r"2 sheets with rows \(rows, more\): save one of them"):
        da.read(tmp_path / "two.xlsx", label="kind")
    titled = sheet().T.reset_index().T
    titled.to_excel(tmp_path / "titled.xlsx", header=["prices of 2020", None, None, None], index=False)
    with pytest.raises(DataError, match=r"the first line of .* names few of its columns"):
        da.read(tmp_path / "titled.xlsx", label="kind")
    sheet()[:0].to_excel(tmp_path / "none.xlsx", index=False)
    with pytest.raises(DataError, match="has no rows"):
        da.read(tmp_path / "none.xlsx", label="kind")
    (tmp_path / "bad.xlsx").write_text("size,kind")
    with pytest.raises(DataError, match="can't be read as Excel"):
        da.read(tmp_path / "bad.xlsx", label="kind")
    (tmp_path / "old.xls").write_text("size,kind")
    with pytest.raises(DataError, match=r"save it as \.xlsx or CSV"):
        da.read(tmp_path / "old.xls", label="kind")
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"pip install 'datassay\[excel\]'"):
        da.read(tmp_path / "two.xlsx", label="kind")
