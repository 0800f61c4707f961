import gzip
import io

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import datassay as da
from datassay.data import DataError

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


def test_images_that_are_broken_or_of_two_sizes(tmp_path):
    for label, array in [("a", np.zeros((4, 4), np.uint8)), ("b", np.ones((4, 4), np.uint8))]:
        (tmp_path / label).mkdir()
        for i in range(2):
            (tmp_path / label / f"{i}.png").write_bytes(png(array))
    assert len(da.read(tmp_path)) == 4
    (tmp_path / "b" / "1.png").write_bytes(png(np.zeros((5, 4), np.uint8)))
    with pytest.raises(DataError, match=r"b/1.png is 4x5 pixels, .*a/0.png is 4x4: pass image_size"):
        da.read(tmp_path)
    (tmp_path / "b" / "1.png").write_bytes(b"\x89PNG\r\n but cut")
    with pytest.raises(DataError, match=r"b/1.png is not a readable image"):
        da.read(tmp_path)


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
