import gzip
import io
import json
import time
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

import datassay as da
from datassay.checks import DataError
from datassay.data import in_memory
from datassay.data.out_of_core import is_mapped

Image = pytest.importorskip("PIL.Image")
CSV = "name,weight,kind\nrex,30,dog\ntom,4,cat\nace,25,dog\nmia,3,cat\n"


def write(folder, text, name="pets.csv"):
    path = folder / name
    path.write_text(text)
    return path


def png(array):
    held = io.BytesIO()
    Image.fromarray(array).save(held, "PNG")
    return held.getvalue()


def test_csv_of_any_separator(tmp_path):
    expected = da.read(write(tmp_path, CSV), label="kind", id="name")
    assert list(expected.ids) == ["rex", "tom", "ace", "mia"]
    assert list(expected.y) == ["dog", "cat", "dog", "cat"]
    assert expected.columns == ["weight"]
    for separator in (";", "\t", "|"):
        data = da.read(write(tmp_path, CSV.replace(",", separator), "other.csv"), label="kind", id="name")
        assert data.hash == expected.hash
    zipped = tmp_path / "pets.csv.gz"
    zipped.write_bytes(gzip.compress(CSV.encode()))
    assert da.read(zipped, label="kind", id="name").hash == expected.hash
    bom = tmp_path / "bom.csv"
    bom.write_bytes(b"\xef\xbb\xbf" + CSV.encode())
    assert da.read(bom, label="kind", id="name").hash == expected.hash
    assert list(da.read(write(tmp_path, CSV), label="kind", drop=["name"]).ids) == [0, 1, 2, 3]


def test_parquet_npz_and_csv_agree(tmp_path):
    frame = pd.read_csv(write(tmp_path, CSV))
    frame.to_parquet(tmp_path / "pets.parquet")
    table = da.read(tmp_path / "pets.parquet", label="kind", id="name")
    assert table.hash == da.read(write(tmp_path, CSV), label="kind", id="name").hash
    np.savez(
        tmp_path / "pets.npz",
        X=table.X,
        y=np.array(["dog", "cat"] * 2),
        ids=np.array(frame["name"], str),
        X_val=table.X[:1],
        y_val=["cat"],
    )
    arrays = da.read(tmp_path / "pets.npz")
    np.testing.assert_array_equal(arrays.X, table.X)
    assert list(arrays.y_val) == ["cat"]


def test_validation_file(tmp_path):
    val = write(tmp_path, "weight,kind\n28,dog\n2,cat\n", "val.csv")
    data = da.read(write(tmp_path, CSV), label="kind", id="name", val=val)
    assert data.X_val.shape == (2, 1)
    assert data.source["val"] == str(val)


def test_images_in_folders_and_in_parquet_agree(tmp_path):
    digits = load_digits()
    keep = np.flatnonzero(digits.target < 2)[:6]
    pictures = [(digits.images[i] * 15).astype(np.uint8) for i in keep]
    for i, picture in zip(keep, pictures, strict=True):
        folder = tmp_path / "images" / f"digit{digits.target[i]}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(png(picture))
    (tmp_path / "images" / "digit0" / "notes.txt").write_text("not an image")
    data = da.read(tmp_path / "images")
    assert data.classes == ["digit0", "digit1"]
    assert data.ids[0] == f"digit0/{keep[0]}.png"
    np.testing.assert_array_equal(data.shown[0], pictures[0])
    frame = pd.DataFrame({"image": [png(p) for p in pictures], "label": digits.target[keep]})
    frame.to_parquet(tmp_path / "digits.parquet")
    packed = da.read(tmp_path / "digits.parquet", label="label")
    assert sorted(map(tuple, packed.X)) == sorted(map(tuple, data.X))
    frame["image"] = [{"bytes": b, "path": None} for b in frame["image"]]  # as Hugging Face stores them
    frame.to_parquet(tmp_path / "hf.parquet")
    assert da.read(tmp_path / "hf.parquet", label="label").hash == packed.hash
    assert da.read(tmp_path / "images", image_size=4).shown.shape == (6, 4, 4)


def test_features_file(tmp_path):
    path = write(tmp_path, CSV)
    F = np.random.default_rng(0).normal(size=(4, 3))
    np.save(tmp_path / "F.npy", F)
    data = da.read(path, label="kind", id="name", features=tmp_path / "F.npy")
    np.testing.assert_array_equal(data.X, F)
    assert list(data.shown.columns) == ["weight"]
    pd.DataFrame(F, columns=list("abc")).to_parquet(tmp_path / "F.parquet")
    assert da.read(path, label="kind", id="name", features=tmp_path / "F.parquet").hash == data.hash
    hole = write(tmp_path, CSV + "zoe,,cat\n", "hole.csv")
    np.save(tmp_path / "F5.npy", np.r_[F, F[:1]])
    dropped = da.read(hole, label="kind", id="name", features=tmp_path / "F5.npy", missing="drop")
    assert dropped.hash == data.hash


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (CSV, {"label": "knd"}, "no column 'knd' .*it has name, weight, kind; did you mean 'kind'"),
        (CSV, {}, "needs the name of its label column"),
        (CSV, {"label": "kind", "id": "nam"}, r"no column 'nam' \(id\); .*did you mean 'name'"),
        (CSV, {"label": "kind", "drop": ["heigth"]}, "no column 'heigth'"),
        ("", {"label": "kind"}, "is empty"),
        ("name,weight,kind\n", {"label": "kind"}, "no rows"),
        (CSV + "zoe,3\n", {"label": "kind"}, "ragged: line 6 has 2 fields, the header 3"),
        (CSV + "zoe,3,cat,9\nx,1,dog,8\n", {"label": "kind"}, r"ragged: line 6 has 4 fields.*\(2 such lines\)"),
        ("a,kind\n" + "1,x\n2,y\n" * 10 + "lots,x\n", {"label": "kind"}, "column 'a' needs numbers, but row 20 has 'lots'"),
        (CSV + "zoe,,cat\n", {"label": "kind", "id": "name"}, r"nan in row 4 \(id 'zoe'\), column 'weight'"),
        (CSV.replace("tom", "rex"), {"label": "kind", "id": "name"}, "rows 0 and 1 have the same id, 'rex'"),
        (CSV.replace("cat", "dog"), {"label": "kind", "id": "name"}, "all 4 rows are of one class, 'dog'"),
        (CSV + "zoe,3,bat\n", {"label": "kind", "id": "name"}, "class 'bat' has one row only .*id 'zoe'"),
        ("kind\ndog\ncat\ndog\ncat\n", {"label": "kind"}, "no column left beside 'kind'"),
    ],
)
def test_bad_csv_is_one_sentence(tmp_path, text, options, says):
    with pytest.raises(DataError, match=says) as caught:
        da.read(write(tmp_path, text), **options)
    assert "pets.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_text_is_missing_too(tmp_path):
    text = "size,colour,kind\n" + "1,red,a\n2,blue,b\n" * 3 + "3,,a\n"
    with pytest.raises(DataError, match=r"nothing in row 6 .*column 'colour'"):
        da.read(write(tmp_path, text), label="kind")


def test_missing_can_be_treated(tmp_path):
    path = write(tmp_path, CSV + "zoe,,cat\n")
    assert len(da.read(path, label="kind", id="name", missing="drop")) == 4
    assert len(da.read(path, label="kind", id="name", missing="mean")) == 5


def test_files_that_are_not_there_or_not_readable(tmp_path):
    write(tmp_path, CSV)
    with pytest.raises(DataError, match=r"no file or folder .*did you mean 'pets.csv'"):
        da.read(tmp_path / "pet.csv", label="kind")
    with pytest.raises(DataError, match="no images in sub-folders"):
        da.read(tmp_path)
    with pytest.raises(DataError, match="can't be read as Parquet"):
        da.read(write(tmp_path, CSV, "x.parquet"), label="kind")
    with pytest.raises(DataError, match="can't be read as npz"):
        da.read(write(tmp_path, CSV, "x.npz"))
    with pytest.raises(DataError, match="of no kind that can be read"):
        da.read(write(tmp_path, CSV, "x.docx"))
    np.savez(tmp_path / "objects.npz", X=np.eye(4), y=np.array(["a", 1, None, "b"], object))
    with pytest.raises(DataError, match="Python objects"):
        da.read(tmp_path / "objects.npz")
    np.savez(tmp_path / "named.npz", x=np.eye(4), labels=[0, 0, 1, 1])
    with pytest.raises(DataError, match=r"needs the arrays X and y, and has x, labels; did you mean 'x'\?"):
        da.read(tmp_path / "named.npz")


def folder_of(path, shapes):
    """Two images in each of two classes, the first two of the first class."""
    rng = np.random.default_rng(0)
    for i, shape in enumerate(shapes):
        (path / "ab"[i // 2]).mkdir(parents=True, exist_ok=True)
        (path / "ab"[i // 2] / f"{i % 2}.png").write_bytes(png(rng.integers(0, 256, shape).astype(np.uint8)))
    return path


def test_images_that_are_broken(tmp_path):
    folder_of(tmp_path, [(4, 4)] * 4)
    assert len(da.read(tmp_path)) == 4
    (tmp_path / "b" / "1.png").write_bytes(b"\x89PNG\r\n but cut")
    with pytest.raises(DataError, match=r"b/1.png is not a readable image"):
        da.read(tmp_path)


def test_images_of_several_sizes_are_brought_to_the_middle_of_their_shorter_sides(tmp_path):
    mixed = folder_of(tmp_path / "mixed", [(20, 30), (9, 40, 3), (31, 31), (18, 12)])
    data = da.read(mixed)
    assert data.shown.shape == (4, 16, 16, 3)  # of 20, 9, 31, 12
    assert (
        data.notes[-1]
        == "images of 9 to 40 pixels a side were brought to 16x16: image_size (--image-size) gives another size"
    )
    assert data.source["image_size"] == 16  # a report reads the same
    assert da.read(mixed, image_size=16).hash == data.hash
    assert not any("brought to" in note for note in da.read(mixed, image_size=16).notes)
    np.testing.assert_array_equal(da.read(mixed, val=mixed).X_val, data.X)
    (mixed / "a" / "2.png").write_bytes(b"no image")
    left = da.read(mixed, missing="drop")
    np.testing.assert_array_equal(left.shown, data.shown)
    with pytest.raises(DataError, match=r"a/2.png is not a readable image"):
        da.read(mixed)
    large = folder_of(tmp_path / "large", [(300, 300), (200, 300), (300, 301), (301, 300)])
    assert da.read(large).shown.shape == (4, 64, 64)
    assert da.read(large, features=lambda rows: np.asarray(rows).reshape(4, -1)[:, :3]).shown.shape == (4, 224, 224)
    both = {"one": "pixels", "other": "patches"}  # names of what no network makes
    assert da.read(large, features=both).shown.shape == (4, 64, 64)


@pytest.mark.parametrize("first", [1, 100])
def test_no_room_is_made_for_images_as_large_as_the_first(tmp_path, monkeypatch, first):
    asked = []
    monkeypatch.setattr(in_memory, "_FIRST", first)
    monkeypatch.setattr(in_memory, "room", lambda shape, dtype: (asked.append(shape), np.empty(shape, dtype))[1])
    data = da.read(folder_of(tmp_path, [(300, 200), (9, 8), (9, 8), (9, 8)]))
    assert data.shown.shape == (4, 8, 8)
    assert asked[-1] == (4, 8, 8)
    assert len(asked) == (1 if first > 1 else 2)  # the second was looked at after room for the first was made


def test_validation_images_are_of_the_size_of_training_images_of_one_size(tmp_path):
    one, mixed = folder_of(tmp_path / "one", [(4, 4)] * 4), folder_of(tmp_path / "mixed", [(4, 4)] * 3 + [(5, 4)])
    with pytest.raises(DataError, match=r"b/1.png is 4x5 pixels, .*a/0.png is 4x4: pass image_size"):
        da.read(one, val=mixed)


def test_labels_and_ids_come_back_as_written(tmp_path):
    text = "code,size,kind\n" + "".join(f"{i:03d},{i},{'NA' if i % 2 else 'true'}\n" for i in range(6))
    data = da.read(write(tmp_path, text), label="kind", id="code")
    assert list(data.ids) == [f"{i:03d}" for i in range(6)]
    assert data.classes == ["NA", "true"]
    numbers = "size,kind\n" + "".join(f"{i},{i % 2}\n" for i in range(6))
    assert da.read(write(tmp_path, numbers), label="kind").classes == [0, 1]
    amounts = "size,kind\n" + "".join(f"{i},{i}.5\n" for i in range(6))
    assert da.read(write(tmp_path, amounts), label="kind").task == "regression"
    small = "size,kind\n" + "".join(f"{i},{i}.5e-05\n" for i in range(6))  # as pandas writes small numbers
    np.testing.assert_allclose(da.read(write(tmp_path, small), label="kind").y, (np.arange(6) + 0.5) * 1e-5)
    hexes = "code,size,kind\n" + "".join(f"1e{i},{i},{i % 2}\n" for i in range(6))
    assert da.read(write(tmp_path, hexes), label="kind", id="code").ids[3] == "1e3"
    padded = "size,kind\n" + "".join(f"{i},00{i % 2}\n" for i in range(6))
    assert da.read(write(tmp_path, padded), label="kind").classes == ["000", "001"]


def test_other_encodings(tmp_path):
    path = tmp_path / "pets.csv"
    path.write_bytes("size,fur,kind\n1,gefärbt,a\n2,glatt,b\n3,gefärbt,a\n4,glatt,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not utf-8 text \(line 2\): pass its encoding"):
        da.read(path, label="kind")
    assert da.read(path, label="kind", encoding="latin-1").columns == ["size", "fur=gefärbt", "fur=glatt"]
    with pytest.raises(DataError, match="no encoding 'klingon'"):
        da.read(path, label="kind", encoding="klingon")


def test_16_bit_images_keep_their_greys(tmp_path):
    grey = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(2):
            Image.fromarray(np.roll(grey, i)).save(tmp_path / label / f"{i}.png")
    np.testing.assert_array_equal(da.read(tmp_path).shown[0], np.linspace(0, 255, 16).astype(np.uint8).reshape(4, 4))


def test_features_go_with_the_rows_that_stay(tmp_path):
    text = "size,kind\n" + "".join(f"{'' if i == 3 else i},{'ab'[i % 2]}\n" for i in range(10))
    path, F = write(tmp_path, text), np.random.default_rng(0).normal(size=(10, 2))
    np.save(tmp_path / "F.npy", F)
    np.save(tmp_path / "short.npy", F[:9])
    both = {"label": "kind", "missing": "drop", "val": path}
    data = da.read(path, **both, features=tmp_path / "F.npy", val_features=tmp_path / "F.npy")
    np.testing.assert_array_equal(data.X, np.delete(F, 3, axis=0))
    np.testing.assert_array_equal(data.X_val, np.delete(F, 3, axis=0))
    with pytest.raises(DataError, match=r"short.npy has 9 rows of features, and the data 10"):
        da.read(path, label="kind", missing="drop", features=tmp_path / "short.npy")
    with pytest.raises(DataError, match="goes with features"):
        da.read(path, label="kind", val_features=tmp_path / "F.npy")


def test_a_column_has_one_use(tmp_path):
    path = write(tmp_path, CSV)
    with pytest.raises(DataError, match="'kind' is the label"):
        da.read(path, label="kind", id="kind")
    with pytest.raises(DataError, match="'name' is the id"):
        da.read(path, label="kind", id="name", drop=["name"])
    pd.DataFrame({"r": [{"a": 1}] * 4, "y": list("abab")}).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(DataError, match=r"'r' of .* holds records"):
        da.read(tmp_path / "r.parquet", label="y")


def test_dates_in_a_file_are_days(tmp_path):
    text = "day,kind\n" + "".join(f"2020-01-{i + 1:02d},{'ab'[i % 2]}\n" for i in range(12)) + ",a\n"
    data = da.read(write(tmp_path, text), label="kind", missing="drop")
    assert data.columns == ["day"]
    np.testing.assert_allclose(np.diff(data.X[:, 0]), np.diff(data.X[:2, 0])[0])


def numeric(n=90, seed=0):
    """A table of numbers alone, of several types, with a label and an id."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "name": [f"r{i}" for i in range(n)],
            "a": rng.normal(1e6, 3, n),
            "kind": rng.choice(["x", "y"], n),
            "b": rng.integers(0, 200, n).astype(np.uint8),
            "c": rng.integers(-5, 2**40, n),
            "d": np.full(n, 4.0),
        }
    )


def streamed(monkeypatch, rows=7):
    """Every table is large from here on, and read so many rows of four columns at a time."""
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 0)
    monkeypatch.setattr("datassay.data.out_of_core._ENTRIES", 16)
    monkeypatch.setattr("datassay.data.parquet._ENTRIES", 4 * rows)


@pytest.mark.parametrize("missing", ["error", "drop", "mean"])
@pytest.mark.parametrize("val_name", ["val.parquet", "val.csv"])
def test_a_large_table_is_read_as_a_small_one_is(tmp_path, monkeypatch, missing, val_name):
    frame, val = numeric(), numeric(10, seed=1)
    if missing != "error":
        frame.loc[[3, 40], "a"] = [np.nan, np.inf]
        frame["b"] = frame["b"].astype("UInt8").mask(frame.index == 11)
        val.loc[2, "c"] = None
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=25)
    val = val[["kind", "name", "d", "c", "b", "a"]]  # in another order
    val.to_csv(tmp_path / "val.csv", index=False)
    val.to_parquet(tmp_path / "val.parquet")
    asked = {"label": "kind", "id": "name", "missing": missing, "val": tmp_path / val_name}
    small = da.read(tmp_path / "t.parquet", **asked)
    assert isinstance(small.shown, pd.DataFrame)
    streamed(monkeypatch)
    large = da.read(tmp_path / "t.parquet", **asked)
    assert is_mapped(large.X)
    assert large.X.dtype == np.float32
    np.testing.assert_allclose(large.X, small.X, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(large.X_val, small.X_val, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(large.shown, small.shown.to_numpy(np.float64, na_value=np.nan))
    assert large.columns == small.columns
    assert large.encoding == small.encoding
    for field in ("ids", "y", "dropped", "y_val", "kept", "kept_val"):
        assert getattr(large, field).tolist() == getattr(small, field).tolist()
    assert large.source == small.source
    values = [
        da.Values(method="cg-score", ids=d.ids, scores=np.arange(len(d)) / 9, flagged=np.arange(len(d)) < 5, columns={})
        for d in (small, large)
    ]
    for data, found in zip((small, large), values, strict=True):
        da.report(found, data, tmp_path / f"{data.X.dtype}.html", top=8)
    one, other = (
        [[c for c in s["cells"] if c["column"] != "c"] for s in json.loads((tmp_path / f"{t}.json").read_text())["suspects"]]
        for t in ("float64", "float32")
    )
    assert [[c["value"] for c in cells] for cells in one] == [[c["value"] for c in cells] for cells in other]


def test_a_large_table_of_one_small_type_stays_small(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 256, (40, 3), dtype=np.uint8), columns=list("abc"))
    frame["y"] = rng.integers(0, 2, 40)
    frame.to_parquet(tmp_path / "t.parquet")
    gaps = frame.assign(b=frame["b"].astype("UInt8").mask(frame.index == 5))
    gaps.to_parquet(tmp_path / "gaps.parquet")
    frame.astype({"b": str}).to_parquet(tmp_path / "text.parquet")
    frame.set_index("a").to_parquet(tmp_path / "index.parquet")
    streamed(monkeypatch)
    data = da.read(tmp_path / "t.parquet", label="y")
    assert data.shown.dtype == np.uint8
    np.testing.assert_array_equal(data.shown, frame[list("abc")])
    assert da.read(tmp_path / "gaps.parquet", label="y", missing="mean").shown.dtype == np.float32
    assert isinstance(da.read(tmp_path / "text.parquet", label="y").shown, pd.DataFrame)  # the ordinary way
    assert da.read(tmp_path / "index.parquet", label="y").columns == ["b", "c"]
    assert da.read(tmp_path / "t.parquet", label="y", drop=["b"]).columns == ["a", "c"]


def test_errors_of_large_tables_are_those_of_small_ones(tmp_path, monkeypatch):
    frame, val = numeric(), numeric(10, seed=1)
    frame.loc[33, "a"] = None
    frame.to_parquet(tmp_path / "t.parquet")
    numeric().to_parquet(tmp_path / "whole.parquet")
    val.drop(columns="c").to_parquet(tmp_path / "less.parquet")
    val.astype({"c": str}).to_parquet(tmp_path / "text.parquet")
    val.drop(columns="c").to_csv(tmp_path / "less.csv")
    val.assign(c="w").to_csv(tmp_path / "text.csv")
    cases = [
        ("t", {"label": "kind", "id": "name"}, r"nan in row 33 \(id 'r33'\), column 'a' \(1 such cells\)"),
        ("whole", {"label": "knd"}, r"no column 'knd' \(label\); it has name, a, kind, b, c, d; did you mean 'kind'\?"),
        ("whole", {"label": "kind", "id": "nme"}, r"no column 'nme' \(id\)"),
        ("whole", {}, "needs the name of its label column"),
    ]
    alone = [
        ("less.parquet", "validation rows in .*less.parquet have no column 'c'"),
        ("less.csv", "validation rows in .*less.csv have no column 'c'"),
        ("text.parquet", "column 'c' is numbers in the training rows, but not in .*text.parquet"),
        ("text.csv", "column 'c' is numbers in the training rows, but not in .*text.csv"),
    ]
    for large in (False, True):
        if large:
            streamed(monkeypatch)
            cases += [("whole", {"label": "kind", "id": "name", "val": tmp_path / name}, says) for name, says in alone]
        for name, options, says in cases:
            with pytest.raises(DataError, match=says) as caught:
                da.read(tmp_path / f"{name}.parquet", **options)
            assert "\n" not in str(caught.value)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(DataError, match=r"90 rows x 4 columns need .* for a temporary file.*TMPDIR"):
        da.read(tmp_path / "whole.parquet", label="kind", id="name")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", ["fixed", "list", "large"])
def test_a_column_of_lists_is_an_array(tmp_path, monkeypatch, large, kind):
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    shapes = {"fixed": lambda t: pa.list_(t, 4), "list": pa.list_, "large": pa.large_list}
    if large:
        streamed(monkeypatch)
    for dtype, kept in [("f4", "f4"), ("u1", "u1"), ("f8", "f4" if large else "f8"), ("i8", "f4" if large else "f8")]:
        F = rng.normal(100, 30, size=(30, 4)).astype(dtype)
        lists = pa.array(list(F), shapes[kind](pa.from_numpy_dtype(np.dtype(dtype))))
        pq.write_table(
            pa.table({"id": pa.array(range(50, 80)), "v": lists, "y": y}), tmp_path / "v.parquet", row_group_size=11
        )
        data = da.read(tmp_path / "v.parquet", label="y", id="id", val=tmp_path / "v.parquet")
        assert data.X.dtype == kept
        assert is_mapped(data.X) == large
        for matrix in (data.X, data.X_val, data.shown):  # as it is: not standardised
            np.testing.assert_array_equal(matrix, F.astype(kept))
        assert list(data.ids) == list(range(50, 80))


@pytest.mark.parametrize("large", [False, True])
def test_lists_with_gaps(tmp_path, monkeypatch, large):
    if large:
        streamed(monkeypatch, rows=2)
    rows = [[1, 2], None, [3, None], [5, 6], [7, 8], [9, 10]]
    table = {"v": pa.array(rows, pa.list_(pa.int16())), "y": [0, 1, 0, 1, 0, 1]}
    pq.write_table(pa.table(table), tmp_path / "v.parquet")
    with pytest.raises(DataError, match=r"nan in row 1 \(id 1\), column 'x0' \(3 such cells\)"):
        da.read(tmp_path / "v.parquet", label="y")
    dropped = da.read(tmp_path / "v.parquet", label="y", missing="drop")
    np.testing.assert_array_equal(dropped.X, [[1, 2], [5, 6], [7, 8], [9, 10]])
    assert dropped.X.dtype == np.float32
    filled = da.read(tmp_path / "v.parquet", label="y", missing="mean")
    np.testing.assert_array_equal(filled.X[1], [5, 6.5])
    np.testing.assert_array_equal(filled.X[2], [3, 6.5])


def test_lists_that_make_no_rows(tmp_path):
    y = [0, 1, 0, 1]
    for name, table, says in [
        (
            "ragged",
            {"v": [[1, 2], None, [3, 4], [5]], "y": y},
            "lists of several lengths, 2 numbers in its first and 1 in row 3",
        ),
        ("empty", {"v": [[], [], [], []], "y": y}, "holds no numbers"),
        (
            "beside",
            {"v": [[1, 2], [3]] * 2, "a": y, "y": y},
            r"'v' of X holds lists of several lengths, 2 in its first and 1",
        ),
        ("text", {"v": [["a"], ["b"]] * 2, "y": y}, "'v' of .* holds lists, but not of numbers"),
    ]:
        if name == "empty":
            table["v"] = pa.array(table["v"], pa.list_(pa.int64()))
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
        with pytest.raises(DataError, match=says) as caught:
            da.read(tmp_path / f"{name}.parquet", label="y")
        assert "\n" not in str(caught.value)
    pq.write_table(pa.table({"v": [[1, 2]] * 4, "a": y, "y": y}), tmp_path / "beside.parquet")
    assert da.read(tmp_path / "beside.parquet", label="y", drop=["a"]).X.shape == (4, 2)
    assert da.read(tmp_path / "beside.parquet", label="y").X.shape == (4, 3)


def test_large_features_stay_in_their_file(tmp_path, monkeypatch):
    path, F = write(tmp_path, CSV), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    np.save(tmp_path / "F.npy", F)
    pq.write_table(pa.table({"v": list(F)}), tmp_path / "lists.parquet")
    pd.DataFrame(F, columns=list("abc")).to_parquet(tmp_path / "F.parquet")
    asked = {"label": "kind", "id": "name"}
    expected = da.read(path, **asked, features=tmp_path / "F.npy")
    assert not is_mapped(expected.X)
    assert da.read(path, **asked, features=tmp_path / "lists.parquet").hash == expected.hash
    streamed(monkeypatch)
    monkeypatch.setattr("datassay.data.array_files.LARGE", 0)
    for name in ("F.npy", "lists.parquet", "F.parquet"):
        data = da.read(path, **asked, features=tmp_path / name)
        assert is_mapped(data.X)
        assert data.hash == expected.hash


def test_npy_is_read_where_it_lies(tmp_path, monkeypatch):
    X = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "X.npy", X)
    np.save(tmp_path / "in" / "y.npy", np.array(list("ababab")))
    np.save(tmp_path / "ids.npy", np.arange(10, 16))
    monkeypatch.chdir(tmp_path)
    data = da.read("in/X.npy", label="y.npy", id="ids.npy")  # beside X.npy; and from here
    assert is_mapped(data.X)
    assert data.X.dtype == np.uint8
    np.testing.assert_array_equal(data.X, X)
    assert data.classes == ["a", "b"]
    assert list(data.ids) == list(range(10, 16))
    assert data.source["label"] == str(tmp_path / "in" / "y.npy")
    source = {name: data.source[name] for name in ("path", "label", "id")}
    assert da.read(source.pop("path"), **source).hash == data.hash
    pictures = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    seen = da.read("pictures.npy", label="in/y.npy")
    assert is_mapped(seen.shown)
    np.testing.assert_allclose(seen.X, pictures.reshape(6, -1) / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("X.npy", {}, r"X.npy has no labels: name the .npy file"),
        ("X.npy", {"label": "z.npy"}, r"X.npy needs its labels in another .npy file, and '.*z.npy' is none"),
        ("X.npy", {"label": "kind"}, "needs its labels in another .npy file, and '.*kind' is none"),
        ("X.npy", {"label": "y.npy", "id": "ids"}, "needs its ids in another .npy file"),
        ("X.npy", {"label": "y.npy", "drop": ["a"]}, "no column 'a' to leave out"),
        ("X.npy", {"label": "y.npy", "val": "X.npy"}, r"validation rows have no place beside X.npy: use npz"),
        ("pets.csv", {"label": "kind", "val": "X.npy"}, "X.npy has no labels, which validation rows need"),
        ("X.npy", {"label": "objects.npy"}, "objects.npy holds Python objects"),
        ("objects.npy", {"label": "y.npy"}, "objects.npy holds Python objects"),
        ("broken.npy", {"label": "y.npy"}, "broken.npy can't be read as npy"),
        ("empty.npy", {"label": "y.npy"}, "empty.npy is empty"),
        ("X.npy", {"label": "empty.npy"}, "empty.npy can't be read as npy"),
        ("X.npy", {"label": "short.npy"}, "X.npy: X has 4 rows but y has 3 labels"),
        ("gaps.npy", {"label": "y.npy"}, r"gaps.npy: X has nan in row 1 \(id 1\), column 'x0'"),
        ("Y.npy", {"label": "y.npy"}, "no file or folder 'Y.npy'"),
        ("pets.csv", {"label": "kind", "id": "name", "features": "empty.npy"}, "empty.npy can't be read as an array"),
    ],
)
def test_bad_npy_is_one_sentence(tmp_path, monkeypatch, path, options, says):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, CSV)
    np.save("X.npy", np.arange(8.0).reshape(4, 2))
    np.save("gaps.npy", np.array([[0, 1], [np.nan, 2], [3, 4], [5, 6]]))
    np.save("y.npy", np.array([0, 1, 0, 1]))
    np.save("short.npy", np.array([0, 1, 0]))
    np.save("objects.npy", np.array([0, "a", None, 1], object))
    write(tmp_path, "no array", "broken.npy")
    write(tmp_path, "", "empty.npy")
    with pytest.raises(DataError, match=says) as caught:
        da.read(path, **options)
    assert "\n" not in str(caught.value)


def test_rows_of_a_file_are_numbered_whatever_index_pandas_kept(tmp_path):
    frame = pd.DataFrame({"a": range(6), "b": list("xyzxyz"), "y": list("pqpqpq")}, index=list("uuvvww"))
    frame.to_parquet(tmp_path / "t.parquet")
    data = da.read(tmp_path / "t.parquet", label="y")
    assert data.ids.tolist() == list(range(6))
    assert data.columns == ["a", "b=x", "b=y", "b=z"]


# -- folders of Parquet parts


def parted(folder, frame, by=None, parts=3):
    """The frame in parts, their rows in its order; hive-partitioned by a column."""
    groups = [(f"part-{i}.parquet", frame.iloc[rows]) for i, rows in enumerate(np.array_split(np.arange(len(frame)), parts))]
    if by is not None:
        groups = [
            (f"{by}={value}/part-{i}.parquet", some[some[by] == value].drop(columns=by))
            for value in sorted(frame[by].unique())
            for i, (_, some) in enumerate(groups)
        ]
    for name, some in reversed(groups):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        some.to_parquet(folder / name)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").write_bytes(b"crc")
    return folder


def mixed_frame(n=60):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "b": rng.integers(0, 100, n).astype(float),
            "colour": rng.choice(["red", "green"], n),
            "year": np.arange(n) * 3 // n + 2020,
            "name": [f"r{i}" for i in range(n)],
            "y": ["p", "q"] * (n // 2),
        }
    )


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("by", [None, "year"])
def test_a_folder_of_parts_is_one_table(tmp_path, monkeypatch, by, text, large):
    frame = mixed_frame() if text else mixed_frame().drop(columns="colour")
    frame.to_parquet(tmp_path / "one.parquet")
    folder = parted(tmp_path / "parts", frame, by)
    if large:
        streamed(monkeypatch, 7)
    asked = {"label": "y", "id": "name"}
    one, parts = (da.read(path, **asked, val=path) for path in (tmp_path / "one.parquet", folder))
    assert parts.ids.tolist() == one.ids.tolist()
    order = [parts.columns.index(c) for c in one.columns]
    np.testing.assert_array_equal(parts.X[:, order], one.X)
    np.testing.assert_array_equal(parts.X_val[:, order], one.X_val)
    assert parts.y.tolist() == one.y.tolist()
    assert isinstance(parts.shown, np.ndarray) == (large and not text)
    assert da.read(folder, label="y", drop=["name"]).ids.tolist() == list(range(60))
    assert parts.source["path"] == str(folder)
    if by:
        assert "year" in parts.columns
        assert da.read(folder, label="year", drop=["name"]).classes == [2020, 2021, 2022]
        assert "year" not in da.read(folder, label="y", drop=["name", "year"]).columns


def test_parts_come_in_the_order_of_their_paths(tmp_path):
    for name, values in (("b/1.parquet", [2.0, 3.0]), ("a/9.parquet", [0.0, 1.0]), ("c.parquet", [4.0, 5.0])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pd.DataFrame({"a": values, "y": ["p", "q"]}).to_parquet(tmp_path / name)
    assert da.read(tmp_path, label="y").shown["a"].tolist() == [0, 1, 2, 3, 4, 5]


def test_parts_of_several_types_and_lists(tmp_path):
    folder = tmp_path / "types"
    folder.mkdir()
    pd.DataFrame({"a": [1, 2], "y": ["p", "q"]}).to_parquet(folder / "1.parquet")
    pd.DataFrame({"a": [0.5, 4.0], "y": ["p", "q"]}).to_parquet(folder / "2.parquet")
    assert da.read(folder, label="y").shown["a"].tolist() == [1, 2, 0.5, 4]
    folder = tmp_path / "lists"
    folder.mkdir()
    for i in range(2):
        pq.write_table(pa.table({"v": [[1.0, i], [2.0, i]], "y": ["p", "q"]}), folder / f"{i}.parquet")
    np.testing.assert_array_equal(da.read(folder, label="y").X, [[1, 0], [2, 0], [1, 1], [2, 1]])


def test_folders_that_can_not_be_read(tmp_path):
    frame = mixed_frame()
    folder = parted(tmp_path / "parts", frame)
    with pytest.raises(DataError, match="parts needs the name of its label column"):
        da.read(folder)
    frame.drop(columns="b").to_parquet(folder / "part-9.parquet")
    with pytest.raises(DataError, match=r"part-9.parquet has no column 'b', which .*part-0.parquet has"):
        da.read(folder, label="y")
    frame.assign(more=1).to_parquet(folder / "part-9.parquet")
    with pytest.raises(DataError, match=r"part-9.parquet has a column 'more', which .*part-0.parquet has not"):
        da.read(folder, label="y")
    frame.assign(b="text").to_parquet(folder / "part-9.parquet")
    with pytest.raises(DataError, match=r"parts can't be read as Parquet: .*b has incompatible types"):
        da.read(folder, label="y")
    (folder / "part-9.parquet").write_bytes(b"no Parquet")
    with pytest.raises(DataError, match=r"part-9.parquet can't be read as Parquet"):
        da.read(folder, label="y")
    (folder / "part-9.parquet").unlink()
    (folder / "cat").mkdir()
    (folder / "cat" / "1.PNG").write_bytes(b"")
    with pytest.raises(DataError, match=r"parts' holds images \(cat/1.PNG\) and Parquet parts \(part-0.parquet\): .*own"):
        da.read(folder, label="y")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty' has no images in sub-folders: .*or Parquet parts"):
        da.read(tmp_path / "empty")


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["1234567890123456789", "1234567890123456788"], int),
        (["12345678901234567890", "12345678901234567891"], str),
        (["-9223372036854775808", "9223372036854775808"], str),
        (["9007199254740993.0", "9007199254740992.0"], str),
        (["9007199254740992.0", "9007199254740994.0"], float),
        (["1e300", "2.5e300"], float),
        (["1e400", "2e400"], str),
        (["0.10000000000000000555", "1.50"], float),
        (["123456789012345678", "1"], int),
    ],
)
def test_labels_that_a_number_would_merge_stay_as_they_are_written(tmp_path, labels, kind):
    path = tmp_path / "t.csv"
    rows = [f"{i},{i % 7},{labels[i % 2]}" for i in range(20)]
    path.write_text("\n".join(["p,q,label", *rows]) + "\n")
    data = da.read(path, label="label", task="classification")
    assert len(data.classes) == 2
    assert {type(label) for label in data.y.tolist()} == {kind}
    assert set(data.y.tolist()) == {kind(label) for label in labels}
    assert len(np.unique(data.codes)) == 2


@pytest.mark.parametrize("damaged", [b'{"index_columns"; []}', b"[]", b'{"index_columns": 3}'])
def test_damaged_metadata_of_pandas_are_said(tmp_path, damaged):
    table = pa.table({"a": [0.0, 1.0, 0.1, 0.9], "t": list("uvuv"), "y": [0, 1, 0, 1]}, metadata={b"pandas": damaged})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet can't be read as Parquet"):
        da.read(tmp_path / "t.parquet", label="y")


@pytest.mark.parametrize("order", ["<", ">"])
def test_damaged_text_in_an_array_is_said(tmp_path, order):
    X, y = np.random.default_rng(0).normal(size=(6, 2)), np.array(list("ababab")).astype(f"{order}U1")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    assert da.read(tmp_path / "X.npy", label="y.npy").classes == ["a", "b"]
    content = bytearray((tmp_path / "y.npy").read_bytes())
    content[-2 if order == "<" else -3] = 0x7F  # the second or third byte of the last character
    (tmp_path / "y.npy").write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        da.read(tmp_path / "X.npy", label="y.npy")


def test_dates_before_1678_and_after_2262(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{i},{('0001-01-01', '9999-12-31')[i % 2]},{'ab'[i % 2]}" for i in range(20)]
    path.write_text("\n".join(["p,day,label", *rows]) + "\n")
    data = da.read(path, label="label")
    assert data.X.shape == (20, 6)  # p; days, and where in the week and in the year
    assert np.unique(data.X[:, 1]).size == 2
    assert len(da.read(path, label="day").classes) == 2
    near = pd.DataFrame({"day": np.array(["1970-01-03", "1970-01-04"] * 5, "datetime64[s]")})
    assert da.Dataset(near, np.arange(10) % 2, standardise=False).X[:2, 0].tolist() == [2.0, 3.0]


def test_an_index_that_pandas_wrote_along_is_no_column(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "y": np.arange(60) // 30})
    frame.to_csv(tmp_path / "with.csv")
    frame.to_csv(tmp_path / "without.csv", index=False)
    data = da.read(tmp_path / "with.csv", label="y")
    assert data.hash == da.read(tmp_path / "without.csv", label="y").hash
    assert data.notes == ("column '' counts the rows (0, 1, ... 59): left out; to value it, turn it into decimals",)


def pictures_in(folder, arrays, labels="abab", kind="png"):
    for i, array in enumerate(arrays):
        (folder / labels[i % len(labels)]).mkdir(exist_ok=True, parents=True)
        Image.fromarray(array).save(folder / labels[i % len(labels)] / f"{i}.{kind}")


@pytest.mark.parametrize(
    ("top", "dtype", "kind"),
    [
        (4095, np.uint16, "png"),
        (2**31 - 1, np.int32, "tif"),
        (63 * 2**20, np.int32, "tif"),
        (1.0, np.float32, "tif"),
        (63, "u2", "png"),
    ],
)
def test_deep_images_keep_their_levels(tmp_path, top, dtype, kind):
    levels = np.linspace(0, top, 64).astype(dtype).reshape(8, 8)
    pictures_in(tmp_path, [levels, levels.T.copy(), levels // 2 if kind == "png" else levels, levels], kind=kind)
    data = da.read(tmp_path)
    assert data.shown.dtype == np.uint8
    assert len(np.unique(data.shown[0])) == 64
    assert (np.diff(data.shown[0].ravel().astype(int)) > 0).all()
    pairs = [(Image.open(tmp_path / "ab"[i % 2] / f"{i}.{kind}"), i % 2) for i in range(4)]
    np.testing.assert_array_equal(da.read(pairs).shown, data.shown[[0, 2, 1, 3]])


def test_hidden_files_at_any_depth_are_no_rows(tmp_path):
    pictures_in(tmp_path, [np.full((4, 4), i, np.uint8) for i in range(4)])
    for odd in ("a/.ipynb_checkpoints/0-checkpoint.png", "a/._0.png", ".thumbs/0.png", "a/in/.x/1.png"):
        (tmp_path / odd).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / odd).write_bytes(b"\x00\x05")
    assert da.read(tmp_path).ids.tolist() == ["a/0.png", "a/2.png", "b/1.png", "b/3.png"]


def test_splits_are_no_classes(tmp_path):
    images = [np.full((4, 4), i, np.uint8) for i in range(4)]
    for split in ("train", "val"):
        pictures_in(tmp_path / split, images)
    with pytest.raises(
        DataError, match=r"splits \(train, val\), not classes: .*da.read\('.*train', val='.*val'\).*--val"
    ) as caught:
        da.read(tmp_path)
    assert "\n" not in str(caught.value)
    assert da.read(tmp_path / "train", val=tmp_path / "val").classes == ["a", "b"]
    pictures_in(tmp_path / "flat", images, ["train", "test"])
    with pytest.raises(DataError, match="with a sub-folder inside for each class"):
        da.read(tmp_path / "flat")


@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_broken_images_are_all_named_and_can_be_left_out(tmp_path, form):
    images = [png(np.full((4, 4), 20 * i, np.uint8)) for i in range(8)]
    images[3], images[6] = images[3][:20], b"nothing"
    if form == "folder":
        path, options = tmp_path / "f", {}
        for i, image in enumerate(images):
            (path / "ab"[i // 4]).mkdir(parents=True, exist_ok=True)
            (path / "ab"[i // 4] / f"{i}.png").write_bytes(image)
        ids, name = [f"{'ab'[i // 4]}/{i}.png" for i in range(8)], "a/3.png is not .*b/6.png"
    else:
        path, options = tmp_path / "f.parquet", {"label": "y"}
        pd.DataFrame({"t": images, "y": [0] * 4 + [1] * 4}).to_parquet(path)
        ids, name = list(range(8)), "row 3, column 't', is not .*row 6, column"
    with pytest.raises(DataError, match=rf"{name}.*missing='drop'"):
        da.read(path, **options)
    np.save(tmp_path / "F.npy", np.arange(16.0).reshape(8, 2))
    data = da.read(path, **options, val=path, missing="drop")
    assert data.ids.tolist() == [i for n, i in enumerate(ids) if n not in (3, 6)]
    assert data.dropped.tolist() == [ids[3], ids[6]]
    assert data.kept.tolist() == data.kept_val.tolist() == [i not in (3, 6) for i in range(8)]
    assert data.shown[:, 0, 0].tolist() == [0, 20, 40, 80, 100, 140]
    assert data.notes[0].startswith("2 rows have no readable image (row 3 (id ")
    assert data.notes[1] == "2 validation rows have no readable image (row 3, row 6): left out"
    on = da.read(path, **options, missing="drop", features=tmp_path / "F.npy")
    assert on.X[:, 0].tolist() == [0, 2, 4, 8, 10, 14]


def test_bytes_that_are_no_images(tmp_path):
    table = {"t": [b"red", b"blue", "rosé".encode()] * 4, "y": [0, 1] * 6}
    pd.DataFrame(table).to_parquet(tmp_path / "t.parquet")
    assert da.read(tmp_path / "t.parquet", label="y").columns == ["t=blue", "t=red", "t=rosé"]
    pd.DataFrame(table | {"t": [b"\xff\x00"] * 12}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"column 't' of .* holds bytes that are no images: leave it out"):
        da.read(tmp_path / "b.parquet", label="y")


def written(folder, table, name="t.parquet"):
    pq.write_table(pa.table(table), folder / name)
    return folder / name


def test_what_other_tools_write_is_taken_and_saved(tmp_path):
    n, rng = 60, np.random.default_rng(0)
    a, y = rng.normal(size=n), np.arange(n) % 2
    uuids = [uuid.UUID(int=i) for i in range(n)]
    quarters = pa.array([Decimal(i) / 4 for i in range(n)])
    for table, options, y_is, ids_are in [
        ({"a": a, "y": pa.array([Decimal(int(i)) for i in y])}, {}, y, np.arange(n)),
        ({"a": a, "y": quarters}, {}, np.arange(n) / 4, np.arange(n)),
        ({"a": a, "y": pa.array([timedelta(hours=6 * i) for i in range(n)])}, {}, np.arange(n) / 4, np.arange(n)),
        ({"a": a, "y": pa.array([b"x", b"y"] * 30)}, {}, ["x", "y"] * 30, np.arange(n)),
        ({"a": a, "y": y, "i": quarters}, {"id": "i"}, y, np.arange(n) / 4),
        ({"a": a, "y": y, "i": pa.array([u.bytes for u in uuids], pa.uuid())}, {"id": "i"}, y, list(map(str, uuids))),
        ({"a": a, "y": y, "i": pa.array([b"r%d" % i for i in range(n)])}, {"id": "i"}, y, [f"r{i}" for i in range(n)]),
    ]:
        data = da.read(written(tmp_path, table), label="y", **options)
        assert data.y.tolist() == list(y_is)
        assert data.ids.tolist() == list(ids_are)
        values = da.value(data, "random")
        saved = da.Values.load(values.save(tmp_path / "v.parquet", force=True))
        assert saved.ids.tolist() == data.ids.tolist()
        assert saved.given_label.tolist() == data.y.tolist()
    nested = pa.array([[[1, 2], [3, i]] for i in range(n)], pa.list_(pa.list_(pa.int64(), 2), 2))
    assert da.read(written(tmp_path, {"v": nested, "y": y}), label="y").X[5].tolist() == [1, 2, 3, 5]
    beside = da.read(written(tmp_path, {"v": [[1.0, i] for i in range(n)], "a": a, "y": y}), label="y")
    assert beside.columns == ["v[0]", "v[1]", "a"]
    text = da.read(written(tmp_path, {"t": pa.array([b"x", b"y", b"z"] * 20), "y": y}), label="y")
    assert text.columns == ["t=x", "t=y", "t=z"]


def test_columns_that_can_not_be_read_stop_nothing_once_they_are_dropped(tmp_path):
    n = 60
    a, y = np.random.default_rng(0).normal(size=n), np.arange(n) % 2
    times = pa.array(np.arange(n) % 3 * 10**9 + 1, pa.time64("ns"))
    data = da.read(written(tmp_path, {"a": a, "t": times, "y": y}), label="y")
    assert data.columns == ["a", "t=00:00:00", "t=00:00:01", "t=00:00:02"]
    path = written(tmp_path, {"a": a, "t": pa.array([2**30] + [0] * (n - 1), pa.date32()), "y": y})
    with pytest.raises(DataError, match=r"column 't' of .* can't be read \(.*\): leave it out"):
        da.read(path, label="y")
    assert da.read(path, label="y", drop=["t"]).columns == ["a"]
    never = pa.array([datetime(9999, 12, 31)] + [datetime(2020, 1, 1 + i % 20) for i in range(n - 1)])
    data = da.read(written(tmp_path, {"a": a, "t": never, "y": y}), label="y")
    assert abs(data.X[:, 1]).max() < 3
    assert data.notes[0].startswith("column 't' has 2.9329e+06 in row 0")
    pl.DataFrame({"a": a, "h": pl.Series(range(n), dtype=pl.Int128), "y": y}).write_parquet(tmp_path / "wide.parquet")
    with pytest.raises(
        DataError, match=r"wide.parquet has a column of a type that pyarrow does not know \(Integers with more"
    ):
        da.read(tmp_path / "wide.parquet", label="y")


def test_an_index_that_pandas_kept_can_be_the_id(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4], "y": [0, 1, 0, 1]}, index=pd.Index(list("uvwx"), name="key"))
    frame.to_parquet(tmp_path / "t.parquet")
    data = da.read(tmp_path / "t.parquet", label="y", id="key")
    assert data.ids.tolist() == list("uvwx")
    assert data.columns == ["a"]


def labelled(labels):
    return "size,kind\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))


def test_labels_of_csv_are_looked_at(tmp_path):
    path = write(tmp_path, labelled(["0.0", "1.0"] * 4 + ["nan"]))
    with pytest.raises(DataError, match=r"row 8 \(id 8\) has no label"):
        da.read(path, label="kind")
    assert da.read(path, label="kind", missing="drop").classes == [0, 1]
    for labels in (['"0,5"', '"1,5"'] * 4, ['"1,200"', '"900"'] * 4, ["1'200", "900"] * 4, ['"1,2"', "3", '"3,2"'] * 3):
        with pytest.raises(DataError, match=r"are numbers with commas or marks .*several labels a row are not supported"):
            da.read(write(tmp_path, labelled(labels)), label="kind")
    assert da.read(write(tmp_path, labelled(['"a,b"', "1"] * 4)), label="kind").classes == ["1", "a,b"]
    assert da.read(write(tmp_path, labelled(["nan", "x"] * 4)), label="kind").classes == ["nan", "x"]  # as it is written
    says = da.read(write(tmp_path, labelled(["yes", "No", "no", "YES", "no"] * 4)), label="kind").notes
    assert says == (
        "classes differ by capitals or blanks alone ('No', 'no'; 'YES', 'yes'): if they are meant as one, write them as one",
    )


@pytest.mark.parametrize("word", [" ", "n/a", "None", "#N/A", "<NA>", "-"])
def test_words_for_gaps_among_numbers(tmp_path, word):
    text = "a,b,kind\n" + "".join(f"{word if i == 3 else i * i},{i * 2},{'xy'[i % 2]}\n" for i in range(20))
    with pytest.raises(DataError, match=r"nan in row 3 .*column 'a' \(1 such cells\)"):
        da.read(write(tmp_path, text), label="kind")
    assert da.read(write(tmp_path, text), label="kind", missing="drop").X.shape == (19, 2)
    kinds = "a,kind\n" + "red,x\nNone,y\n-,x\nblue,y\n" * 3
    assert da.read(write(tmp_path, kinds), label="kind").columns == ["a=-", "a=None", "a=blue", "a=red"]


def test_all_columns_that_are_refused_are_named_at_once(tmp_path):
    text = "size,cost,age,kind\n" + "".join(
        f"{i if i else 'big'},{i if i else 'low'},{i},{'xy'[i % 2]}\n" for i in range(20)
    )
    with pytest.raises(DataError, match=r"'size' needs numbers.* The same goes for 'cost': .*drop=\['size', 'cost'\]"):
        da.read(write(tmp_path, text), label="kind")
    names = "name,ticket,age,kind\n" + "".join(f"Mr {i},t{i * 7},{i},{'xy'[i % 2]}\n" for i in range(20))
    data = da.read(write(tmp_path, names), label="kind")
    assert data.columns == ["age"]
    assert [note.split("'")[1] for note in data.notes[-2:]] == ["name", "ticket"]


def test_bad_cells_of_validation_rows_go_by_their_file(tmp_path):
    train = write(tmp_path, "a,kind\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(20)))
    val = write(tmp_path, "a,kind\n" + "".join(f"{'old' if i == 3 else i},{'xy'[i % 2]}\n" for i in range(20)), "val.csv")
    with pytest.raises(DataError, match=r"val.csv: in the validation rows, column 'a' needs numbers, but row 3 has 'old'"):
        da.read(train, label="kind", val=val)


def test_commas_in_decimals_are_told_from_those_in_thousands(tmp_path):
    text = "a;kind\n" + "".join(f"{i},{i % 7}4;{'xy'[i % 2]}\n" for i in range(30))
    with pytest.raises(DataError, match=r"write them with a decimal point in place of the comma, empty"):
        da.read(write(tmp_path, text), label="kind")


def test_odd_first_lines_of_csv(tmp_path):
    expected = da.read(write(tmp_path, CSV), label="kind", id="name").hash
    for said in ("sep=;\n", '"sep=;"\r\n'):
        path = write(tmp_path, said + CSV.replace(",", ";"))
        assert da.read(path, label="kind", id="name").hash == expected
    trailing = CSV.replace("\n", ",\n")
    assert da.read(write(tmp_path, trailing), label="kind", id="name").hash == expected
    with pytest.raises(DataError, match=r"first line of .* holds numbers \(5.1, 3.5, setosa\), and would be lost"):
        da.read(write(tmp_path, "5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,2.8,virginica\n"), label="setosa")
    nameless = da.read(write(tmp_path, ",,kind\n1.5,2,x\n3,5,y\n2,1,x\n8,1,y\n"), label="kind")
    assert nameless.columns == ["Unnamed: 0", "Unnamed: 1"]
    years = da.read(write(tmp_path, "1999,2000,kind\n1.5,2,x\n3,5,y\n2,1,x\n8,1,y\n"), label="kind")
    assert years.columns == ["1999", "2000"]


@pytest.mark.parametrize(("end", "kind"), [("gz", "gzip"), ("zst", "zstd"), ("bz2", "bz2")])
def test_compressed_csv(tmp_path, end, kind):
    with pa.output_stream(str(tmp_path / f"pets.csv.{end}"), compression=kind) as out:
        out.write(CSV.encode())
    assert da.read(tmp_path / f"pets.csv.{end}", label="kind", id="name").classes == ["cat", "dog"]


def test_text_that_is_not_valued_is_shown(tmp_path):
    text = "said,size,kind\n" + "".join(f"it is {i},{i},{'xy'[i % 2]}\n" for i in range(20))
    path, F = write(tmp_path, text), np.random.default_rng(0).normal(size=(20, 3))
    np.save(tmp_path / "F.npy", F)
    both = {"features": tmp_path / "F.npy", "val": path, "val_features": tmp_path / "F.npy"}
    data = da.read(path, label="kind", **both)
    np.testing.assert_array_equal(data.X, F)
    assert list(data.shown) == ["said", "size"]
    assert data.shown["said"][3] == data.shown_val["said"][3] == "it is 3"
    alone = da.read(path, label="kind", drop=["size"], **both)
    assert list(alone.shown) == ["said"]
    values = da.value(alone, "knn-shapley")
    da.report(values, alone, tmp_path / "r.html")
    assert "it is 3" in (tmp_path / "r.html").read_text()


def test_numpy_files_of_text_as_objects_say_what_to_do(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(4))
    np.save(tmp_path / "y.npy", np.array(list("abab"), object))
    with pytest.raises(DataError, match=r"text by y.astype\(str\)"):
        da.read(tmp_path / "X.npy", label="y.npy")


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_wide_tables_are_read_in_time(tmp_path, form):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 6000)), columns=[f"c{j}" for j in range(6000)]).assign(y=np.arange(40) % 2)
    path = tmp_path / f"wide.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    start = time.process_time()
    (pd.read_csv if form == "csv" else pd.read_parquet)(path)
    theirs = time.process_time() - start
    start = time.process_time()
    assert da.read(path, label="y").X.shape == (40, 6000)
    assert time.process_time() - start < 3 * theirs + 4  # column by column it took 25


def lines(folder, rows, name="t.jsonl"):
    return write(folder, "".join(json.dumps(row) + "\n" for row in rows), name)


def test_json_lines(tmp_path):
    rows = [{"weight": 3 * i, "fur": "sl"[i % 3 == 0], "kind": "cd"[i % 2], "key": f"r{i}"} for i in range(8)]
    table = write(tmp_path, "weight,fur,kind,key\n" + "".join(",".join(map(str, r.values())) + "\n" for r in rows))
    expected = da.read(table, label="kind", id="key")
    assert da.read(lines(tmp_path, rows), label="kind", id="key").hash == expected.hash
    assert da.read(write(tmp_path, json.dumps(rows), "t.json"), label="kind", id="key").hash == expected.hash
    zipped = tmp_path / "t.jsonl.gz"
    zipped.write_bytes(gzip.compress(lines(tmp_path, rows).read_bytes()))
    assert da.read(zipped, label="kind", id="key").hash == expected.hash
    prodigy = [r | {"answer": "reject" if i == 3 else "accept", "_input_hash": i} for i, r in enumerate(rows)]
    with pytest.raises(DataError, match=r"row 3 \(id 'r3'\) has no label"):
        da.read(lines(tmp_path, prodigy), label="kind", id="key")
    kept = da.read(lines(tmp_path, prodigy), label="kind", id="key", missing="drop")
    assert kept.dropped.tolist() == ["r3"]
    assert kept.columns == expected.columns
    doccano = [r | {"kind": [r["kind"]]} for r in rows]
    assert da.read(lines(tmp_path, doccano), label="kind", id="key").hash == expected.hash
    studio = [
        {
            "id": i,
            "data": {k: r[k] for k in ("weight", "fur", "key")},
            "annotations": [{"result": [{"from_name": "kind", "type": "choices", "value": {"choices": [r["kind"]]}}]}],
        }
        for i, r in enumerate(rows)
    ]
    path = write(tmp_path, json.dumps(studio), "t.json")
    assert da.read(path, label="kind", id="key", drop=["id"]).hash == expected.hash
    nested = [{"size": {"w": i, "h": 2.5 * i}, "kind": "ab"[i % 2]} for i in range(6)]
    assert da.read(lines(tmp_path, nested), label="kind").columns == ["size.w", "size.h"]
    for text, says in [
        ('{"a": 1, "kind": "x"}\n{"a": 2,\n', "line 2 is none"),
        ("[1, 2]", "row 0 is a int"),
        ("[{]", "can't be read as JSON"),
        ("[]", "has no rows"),
        ("".join(json.dumps({"a": i, "kind": ["x", "y"]}) + "\n" for i in range(4)), "row 0 has 2 labels in 'kind'"),
    ]:
        with pytest.raises(DataError, match=says) as caught:
            da.read(write(tmp_path, text, "t.jsonl"), label="kind")
        assert "\n" not in str(caught.value)


def test_feather_stata_and_what_is_read_elsewhere(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4], "kind": ["x", "y", "x", "y"]})
    frame.to_feather(tmp_path / "t.feather")
    frame.assign(kind=frame.kind.astype("category")).to_stata(tmp_path / "t.dta", write_index=False)
    expected = da.read(write(tmp_path, frame.to_csv(index=False)), label="kind")
    assert da.read(tmp_path / "t.feather", label="kind").hash == expected.hash
    stata = da.read(tmp_path / "t.dta", label="kind")
    np.testing.assert_array_equal(stata.X, expected.X)
    assert stata.classes == ["x", "y"]
    for name, text, says in [
        ("t.txt", "1 1:0.5 3:2\n-1 2:0.1\n", "is a file of SVMlight, whose columns have no names"),
        ("t.ods", "PK", "save it as .xlsx or CSV"),
        ("b.dta", "x", "can't be read as a file of Stata"),
        ("b.feather", "x", "can't be read as Feather"),
    ]:
        with pytest.raises(DataError, match=says):
            da.read(write(tmp_path, text, name), label="kind")


def test_counters_in_large_tables_are_left_out(tmp_path, monkeypatch):
    frame = numeric().drop(columns="name").assign(row=np.arange(90), reverse=np.arange(90)[::-1])
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=20)
    small = da.read(tmp_path / "t.parquet", label="kind", missing="mean")
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 0)
    large = da.read(tmp_path / "t.parquet", label="kind", val=tmp_path / "t.parquet", missing="mean")
    assert large.columns == small.columns == [c for c in frame if c not in ("row", "kind")]
    assert (
        large.notes[0]
        == small.notes[0]
        == "column 'row' counts the rows (0, 1, ... 89): left out; to value it, turn it into decimals"
    )


def test_parts_without_a_suffix_are_read(tmp_path):
    for i in range(2):
        pd.DataFrame({"a": [1.0 * i, 2], "y": [0, 1]}).to_parquet(tmp_path / "t.parquet")
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t.parquet").rename(tmp_path / "t" / f"00000{i}_0")
    assert da.read(tmp_path / "t", label="y").shown["a"].tolist() == [0, 2, 1, 2]


@pytest.mark.parametrize("name", ["X", "y", "ids", "X_val", "y_val", "features", "n"])
def test_an_array_without_rows_is_a_sentence(tmp_path, name):
    """A file that `np.save` wrote of one number has no axis."""
    whole = {
        "X": np.eye(4),
        "y": np.array([0, 1, 0, 1]),
        "ids": np.arange(4),
        "X_val": np.eye(4),
        "y_val": np.array([0, 1, 0, 1]),
    }
    np.savez(tmp_path / "d.npz", **whole | {name: np.array(1.0)})
    for part in ("X", "y", "ids"):
        np.save(tmp_path / f"{part}.npy", np.array(1.0) if part == name else whole[part])
    np.save(tmp_path / "features.npy", np.array(1.0))
    if name == "n":  # of no use to us
        assert len(da.read(tmp_path / "d.npz")) == 4
        return
    if name != "features":
        with pytest.raises(DataError, match=rf"d\.npz, {name} holds a single value: an array with an entry for each row"):
            da.read(tmp_path / "d.npz")
    if name in ("X", "y", "ids", "features"):
        features = tmp_path / "features.npy" if name == "features" else None
        with pytest.raises(DataError, match=rf"{name}\.npy holds a single value"):
            da.read(tmp_path / "X.npy", label="y.npy", id="ids.npy", features=features)


@pytest.mark.parametrize("wrong", [{"y": 5}, {"y": None}, {"y": [0, 1], "ids": 5}, {"X": 5, "y": [0, 1]}])
def test_one_number_in_place_of_many_is_a_sentence(wrong):
    with pytest.raises(DataError, match=r"one entry a row|nothing in a row"):
        da.Dataset(**{"X": np.eye(2)} | wrong)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.parquet", "t.feather"])
def test_one_column_is_read_as_the_rows_are(tmp_path, name):
    """Whatever the separator and the compression; it may be of text that no method values."""
    from datassay.data.read import read_column

    path = tmp_path / name
    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5], "who; when": ["ann, 3", "bob", "ann, 3"], "y": ["x", "y", "x"]})
    if "csv" in name:
        frame.to_csv(path, index=False, sep=";")
    elif name == "t.jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif name == "t.parquet":
        frame.to_parquet(path)
    else:
        frame.to_feather(path)
    assert read_column(path, "who; when").tolist() == ["ann, 3", "bob", "ann, 3"]
    with pytest.raises(DataError, match=r"has no column 'where'; it has a, who; when, y"):
        read_column(path, "where")
    np.save(tmp_path / "t.npy", np.zeros(3))
    with pytest.raises(DataError, match="is no table with named columns, of which 'y' could be one"):
        read_column(tmp_path / "t.npy", "y")
