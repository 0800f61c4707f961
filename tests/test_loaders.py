import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay.checks import DataError
from datassay.data.dataset import is_images
from datassay.data.out_of_core import is_mapped

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")

from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype(np.float32)
Y = np.arange(60) % 3
PICTURES = RNG.integers(0, 256, (12, 6, 4, 3), dtype=np.uint8)  # 6 high, 4 wide


class Photos:
    """Pictures as torchvision's sets give them, with or without a transform."""

    def __init__(self, pictures=PICTURES, transform=lambda picture: picture):
        self.pictures, self.transform = pictures, transform

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, row):
        if row >= len(self):
            raise IndexError(row)
        return self.transform(Image.fromarray(self.pictures[row])), row % 2


def png(array):
    held = io.BytesIO()
    Image.fromarray(array).save(held, "PNG")
    return held.getvalue()


def images(pictures, **more):
    """A Hugging Face data set with a column of images."""
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    kinds |= {c: datasets.Value("string") for c in more}
    cells = {"image": [{"bytes": png(p), "path": None} for p in pictures], "label": [i % 2 for i in range(len(pictures))]}
    return datasets.Dataset.from_dict(cells | more, features=datasets.Features(kinds))


def says(match, *args, **options):
    with pytest.raises(DataError, match=match) as caught:
        da.read(*args, **options)
    assert "\n" not in str(caught.value)


# -- torch


def test_tensors_come_back_in_the_order_of_the_data_set():
    pairs = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    data = da.read(pairs)
    np.testing.assert_array_equal(data.X, X)
    assert data.X.dtype == np.float32
    assert data.y.tolist() == Y.tolist()
    assert data.classes == [0, 1, 2]
    assert all(type(c) is int for c in data.classes)
    assert data.ids.tolist() == list(range(60))
    assert data.source == {}
    torch.manual_seed(0)
    for loader in (DataLoader(pairs, batch_size=7, shuffle=True), DataLoader(pairs, batch_size=7, drop_last=True)):
        assert da.read(loader).hash == data.hash
    rows = [5, 3, 8, 10, 0, 1]
    np.testing.assert_array_equal(da.read(Subset(pairs, rows)).X, X[rows])
    np.testing.assert_array_equal(da.read(ConcatDataset([pairs, pairs])).X, np.r_[X, X])


def test_values_are_those_of_the_arrays():
    expected = da.value(da.Dataset(X, Y), method="cg-score")
    read = da.read(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)))
    values = da.value(read, method="cg-score")
    np.testing.assert_array_equal(values.scores, expected.scores)
    table = datasets.Dataset.from_dict({"v": list(X), "y": Y.tolist()}).cast_column(
        "v", datasets.Sequence(datasets.Value("float32"))
    )
    np.testing.assert_array_equal(da.value(da.read(table, label="y"), method="cg-score").scores, expected.scores)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_channels_of_tensors_come_first(channels, dtype):
    pictures = np.random.default_rng(1).integers(0, 256, (8, 6, 4, channels), dtype=np.uint8)  # 4 wide: no channels
    tensors = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(dtype)
    data = da.read(TensorDataset(tensors, torch.arange(8) % 2))
    assert is_images(data.shown)
    assert data.shown.dtype == (np.uint8 if dtype == torch.uint8 else np.float32)
    expected = tensors.permute(0, 2, 3, 1).float().numpy()
    np.testing.assert_array_equal(data.shown, expected[..., 0] if channels == 1 else expected)


def test_other_rows_keep_their_axes():
    for shape in [(8,), (8, 4), (8, 4, 5), (8, 2, 4, 5)]:
        rows = torch.randn(shape)
        data = da.read(TensorDataset(rows, torch.arange(8) % 2))
        np.testing.assert_array_equal(data.X, rows.numpy().reshape(8, -1))
        assert data.shown.shape == (shape if len(shape) > 1 else (8, 1))
    as_lists = [([1, 2], "a"), ([1.5, 2], "a"), ([3, 4], "b"), ([5, 6], "b")]
    np.testing.assert_array_equal(da.read(as_lists).X, [[1, 2], [1.5, 2], [3, 4], [5, 6]])  # not cut to whole numbers
    gaps = [([1.0, float("nan")], 0), ([1.0, 2.0], 0), ([3.0, 4.0], 1), ([5.0, 6.0], 1)]
    says(r"^list: X has nan in row 0", gaps)
    assert da.read(gaps, missing="mean").X[0, 1] == 4


def test_pil_images_become_8_bit_arrays():
    data = da.read(Photos())
    np.testing.assert_array_equal(data.shown, PICTURES)
    assert data.shown.dtype == np.uint8
    assert data.hash == da.Dataset(PICTURES, np.arange(12) % 2).hash
    assert da.read(Photos(PICTURES[..., 0])).shown.shape == (12, 6, 4)
    for first in (0, 1):  # grey among colour
        mixed = [(Image.fromarray(PICTURES[i] if i % 2 == first else PICTURES[i, ..., 0]), i % 2) for i in range(12)]
        shown = da.read(mixed).shown
        np.testing.assert_array_equal(shown[first::2], PICTURES[first::2])
        np.testing.assert_array_equal(shown[1 - first :: 2], np.repeat(PICTURES[1 - first :: 2, ..., :1], 3, axis=3))
    two_sizes = [*Photos(PICTURES[:, :, :3]), *Photos()]
    assert da.read(two_sizes).shown.shape == (24, 3, 3, 3)
    assert da.read(two_sizes).notes[-1].startswith("images of 3 to 6 pixels a side were brought to 3x3: image_size")
    assert da.read(two_sizes, image_size=4).shown.shape == (24, 4, 4, 3)
    arrays = [*zip(PICTURES[:, :, :3], range(12), strict=True), *zip(PICTURES, range(12), strict=True)]
    says(r"row 12 of list has shape \(6, 4, 3\), row 0 has \(6, 3, 3\).*image_size", arrays)
    says(r"row 12 of list has shape \(6, 4, 3\)", [*Photos(PICTURES[:, :, :3]), *arrays[12:]])  # arrays are not resized


def test_large_sets_lie_in_a_file(monkeypatch):
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 0)
    data = da.read(Photos())
    assert is_mapped(data.shown)
    np.testing.assert_array_equal(data.shown, PICTURES)


def test_labels_stay_as_they_are():
    rows = torch.randn(6, 2)
    for labels in (list("ababab"), [True, False] * 3, [0.5, 1.0, 2.0, 3.0, 4.0, 5.0], ["a", 1] * 3):
        data = da.read(list(zip(rows, labels, strict=True)))
        assert data.y.tolist() == labels
        assert list(map(type, data.y.tolist())) == list(map(type, labels))
    assert da.read(TensorDataset(rows, torch.arange(6)[:, None] % 2)).classes == [0, 1]
    assert da.read(TensorDataset(rows, torch.rand(6))).task == "regression"
    assert da.read([(x, np.int8(i % 2)) for i, x in enumerate(rows)]).classes == [0, 1]
    says(
        r"row 0 of TensorDataset must have one label, and has \(3,\) numbers.*argmax",
        TensorDataset(rows, torch.eye(6)[:, :3]),
    )


def test_random_transforms_are_refused():
    generator = np.random.default_rng(0)

    def flip(picture):
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else picture

    says("of Photos is not the same when it is read twice: take the random transforms", Photos(transform=flip))
    says(
        "row 0 of Photos is not the same when it is read twice",
        Photos(transform=lambda p: p.resize(generator.integers(1, 999, 2))),
    )
    says(
        r"row 0 of Photos \(val\) is not the same",
        Photos(),
        val=Photos(transform=lambda p: generator.random(PICTURES[0].shape)),
    )

    class Noise(TensorDataset):
        def __getitem__(self, row):
            x, y = super().__getitem__(row)
            return x.add_(torch.randn(2)), y  # in place

    says("row 0 of Noise is not the same", Noise(torch.zeros(6, 2), torch.arange(6) % 2))

    class NoisyLabels(list):
        def __getitem__(self, row):
            return np.ones(2), generator.random()

    says("row 0 of NoisyLabels is not the same", NoisyLabels([0] * 6))
    nan = [(np.array([np.nan if i == 2 else i, i]), float("nan")) for i in range(6)]
    says("6 rows have no label .row 0 ", nan, missing="mean")  # NaN is the same as NaN


def test_rows_of_several_shapes_are_refused():
    ragged = [(torch.ones(3 if i == 4 else 2), i % 2) for i in range(6)]
    says(r"row 4 of list has shape \(3,\), row 0 has \(2,\): all must be of one shape, so resize or pad", ragged)
    says(r"row 1 of list has shape \(4, 3\), row 0 has \(4,\)", [(np.ones(4), 0), (np.ones((4, 3)), 1)])
    says("row 0 of list must hold numbers or an image, and holds a list", [([[1, 2], [3]], 0)] * 4)


def test_validation_rows_of_torch():
    pairs = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    data = da.read(Subset(pairs, range(40)), val=DataLoader(Subset(pairs, range(40, 60)), shuffle=True))
    np.testing.assert_array_equal(data.X_val, X[40:])
    assert data.y_val.tolist() == Y[40:].tolist()
    says(
        r"a row of TensorDataset \(val\) has shape \(3,\), a row of TensorDataset has \(5,\)",
        pairs,
        val=TensorDataset(torch.ones(4, 3), torch.arange(4)),
    )
    says(
        r"^TensorDataset \(val\): validation row 0 has label 7",
        pairs,
        val=TensorDataset(torch.ones(4, 5), torch.full((4,), 7)),
    )
    says("must both be files, or both be data sets in memory", pairs, val="val.csv")
    says("must both be files, or both be data sets in memory", "train.csv", val=pairs, label="y")
    says(r"training rows are a TensorDataset, the validation rows \(val\) a datasets.Dataset", pairs, val=images(PICTURES))


def test_features_go_with_a_data_set(tmp_path):
    F = np.random.default_rng(0).normal(size=(12, 3))
    np.save(tmp_path / "F.npy", F)
    data = da.read(Photos(), features=tmp_path / "F.npy")
    np.testing.assert_array_equal(data.X, F)
    np.testing.assert_array_equal(data.shown, PICTURES)
    assert data.source == {}


def test_what_can_not_be_read():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.ones(2), 0)])

    rows = torch.ones(4, 2)
    for stream in (Stream(), DataLoader(Stream()), images(PICTURES).to_iterable_dataset(), iter([])):
        says("rows with numbers are needed, and a .* only streams them: give a data set with len", stream)
    says("list has no rows", [])
    says("row 0 of TensorDataset must be a pair .*and is 1 entries", TensorDataset(rows))
    says("row 0 of Tensor must be a pair .*and is a Tensor.*da.Dataset", rows)
    says("row 0 of Subset must be a pair .*and is a dict.*Hugging Face", Subset(images(PICTURES), [0, 1]))
    says("is needed, got a DataFrame: arrays and frames go to da.Dataset", pd.DataFrame({"a": [1]}))
    says("is needed, got a NoneType", None)
    says("row 0 of list must hold numbers or an image, and holds a str", [("text", 0)] * 4)
    says("row 0 of list must hold numbers or an image, and holds a dict", [({"a": 1}, 0)] * 4)
    labelled = TensorDataset(rows, torch.arange(4) % 2)
    says("image_size needs PIL images, and row 0 of TensorDataset is a Tensor", labelled, image_size=4)
    for option, given in {"label": "y", "id": "y", "drop": ["y"]}.items():
        says(f"have no column 'y': leave {option} out", labelled, **{option: given})

    class Broken(list):
        def __getitem__(self, row):
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):  # the user's own errors stay theirs
        da.read(Broken([1]))


def test_reading_imports_neither_torch_nor_datasets():
    code = (
        "import sys, datassay as da; da.read([([0., i], i % 2) for i in range(6)]); "
        "assert not {'torch', 'datasets', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# -- Hugging Face


def test_columns_are_those_of_a_frame():
    frame = pd.DataFrame(
        {
            "name": [f"r{i}" for i in range(8)],
            "weight": RNG.normal(20, 5, 8),
            "age": RNG.integers(1, 9, 8),
            "fur": ["short", "long"] * 4,
            "kind": [0, 1, 1, 0, 0, 1, 0, 1],
        }
    )
    named = frame.assign(kind=np.array(["cat", "dog"])[frame["kind"]])
    expected = da.Dataset(named[["weight", "age", "fur"]], named["kind"], ids=named["name"])
    kinds = datasets.ClassLabel(names=["cat", "dog"])
    table = datasets.Dataset.from_pandas(frame).cast_column("kind", kinds)
    data = da.read(table, label="kind", id="name")
    assert data.hash == expected.hash
    assert data.columns == ["weight", "age", "fur=long", "fur=short"]
    assert data.classes == ["cat", "dog"]
    assert data.ids.tolist() == frame["name"].tolist()
    assert data.source == {}
    for same in (DataLoader(table, shuffle=True), table.with_format("torch"), table.with_transform(lambda rows: {"a": [1]})):
        assert da.read(same, label="kind", id="name").hash == expected.hash
    order = [3, 1, 0, 2, 7, 5]
    assert da.read(table.select(order), label="kind", id="name").ids.tolist() == [f"r{i}" for i in order]
    assert da.read(table, label="kind", drop=["name", "fur"]).columns == ["weight", "age"]
    assert da.read(table, label="fur", drop=["name"]).columns == ["weight", "age", "kind=cat", "kind=dog"]
    says("datasets.Dataset has no column 'knd'.*did you mean 'kind'", table, label="knd")
    says("datasets.Dataset needs the name of its label column", table)
    says("no column left beside 'kind'", table.select_columns(["kind"]), label="kind")
    unlabelled = datasets.Dataset.from_dict({"a": [1, 2, 3], "kind": [0, 1, -1]}).cast_column("kind", kinds)
    says(r"row 2 \(id 2\) has no label", unlabelled, label="kind")
    says("datasets.Dataset has no rows", table.select([]), label="kind")


@pytest.mark.parametrize("batch", [500, 5])
def test_images_of_hugging_face(tmp_path, monkeypatch, batch):
    monkeypatch.setattr("datassay.data.in_memory._BATCH", batch)
    named = images(PICTURES, name=[f"r{i}" for i in range(12)])
    data = da.read(named, label="label", id="name")
    np.testing.assert_array_equal(data.shown, PICTURES)
    assert data.shown.dtype == np.uint8
    assert data.y.tolist() == ["cat", "dog"] * 6
    assert data.ids[-1] == "r11"
    order = [7, 2, 9, 4]
    np.testing.assert_array_equal(da.read(named.select(order), label="label", drop=["name"]).shown, PICTURES[order])
    files = [tmp_path / f"{i}.png" for i in range(12)]
    for path, picture in zip(files, PICTURES, strict=True):
        path.write_bytes(png(picture))
    on_disk = datasets.Dataset.from_dict({"image": list(map(str, files)), "label": [0, 1] * 6})
    read = da.read(on_disk.cast_column("image", datasets.Image()), label="label")
    np.testing.assert_array_equal(read.shown, PICTURES)
    encoded = datasets.Dataset.from_dict({"image": list(map(png, PICTURES)), "label": [0, 1] * 6})
    np.testing.assert_array_equal(da.read(encoded, label="label").shown, PICTURES)
    two_sizes = images([*PICTURES[:8], *PICTURES[8:, :5]])
    assert da.read(two_sizes, label="label").shown.shape == (12, 4, 4, 3)
    assert da.read(two_sizes, label="label", image_size=3).shown.shape == (12, 3, 3, 3)
    gone = datasets.Dataset.from_dict({"image": [png(PICTURES[0]), None] * 2, "label": [0, 0, 1, 1]})
    says("row 1 of .* is not a readable image", gone.cast_column("image", datasets.Image()), label="label")


@pytest.mark.parametrize("batch", [500, 4])
def test_lists_of_numbers(monkeypatch, batch):
    monkeypatch.setattr("datassay.data.in_memory._BATCH", batch)
    y = [0, 1] * 5
    cubes = RNG.integers(0, 256, (10, 4, 6)).astype(np.uint8)
    number = datasets.Value("uint8")
    for kind in (datasets.Sequence(number, length=24), datasets.Sequence(number)):
        kinds = datasets.Features({"v": kind, "y": datasets.Value("int64")})
        data = da.read(datasets.Dataset.from_dict({"v": cubes.reshape(10, -1), "y": y}, features=kinds), label="y")
        np.testing.assert_array_equal(data.X, cubes.reshape(10, -1))
        assert data.X.dtype == np.uint8
    for kind in (datasets.Array2D((4, 6), "uint8"), datasets.Sequence(datasets.Sequence(number))):
        kinds = datasets.Features({"v": kind, "y": datasets.Value("int64")})
        table = datasets.Dataset.from_dict({"v": cubes, "y": y}, features=kinds)
        np.testing.assert_array_equal(da.read(table, label="y").shown, cubes)
        reverse = table.select(range(9, -1, -1))
        np.testing.assert_array_equal(da.read(reverse, label="y", val=table).shown, cubes[::-1])

    def table(rows):
        return datasets.Dataset.from_dict({"v": rows, "y": y})

    rows = [[i, i + 1] for i in range(10)]
    holes = table([*rows[:8], [8, None], [9, 10]])
    says(r"X has nan in row 8 .*'x1' \(1 such cells\)", holes, label="y")
    np.testing.assert_array_equal(da.read(holes, label="y", missing="drop").X, [*rows[:8], [9, 10]])
    for other, came in [([1], "length 1|lists of .1,. numbers"), (None, "no list"), ([], "length 0")]:
        ragged = table([*rows[:7], other, *rows[8:]])
        says(f"row 7 of column 'v' of datasets.Dataset .*({came})", ragged, label="y")
    for other, came in [(None, "no list"), ([], "length 0")]:
        says(f"row 0 of column 'v' of .* must have a list of numbers.*{came}", table([other, *rows[1:]]), label="y")
    nested = table([[[1, 2], [3, 4]]] * 6 + [[[1, 2], [3]]] + [[[1, 2], [3, 4]]] * 3)
    says("row 6 of column 'v' of .* has a list of length 1", nested, label="y")
    beside = table(rows).add_column("a", y)
    assert da.read(beside, label="y").columns == ["v[0]", "v[1]", "a"]
    np.testing.assert_array_equal(da.read(beside, label="y", drop=["a"]).X, rows)
    says("'v' of datasets.Dataset holds lists, but not of numbers", table([["a", "b"]] * 10), label="y")


def test_validation_rows_of_hugging_face():
    table = images(PICTURES, name=[f"r{i}" for i in range(12)])
    data = da.read(table, label="label", id="name", val=images(PICTURES[:4]))  # which need no ids
    np.testing.assert_array_equal(data.shown_val, PICTURES[:4])
    assert data.y_val.tolist() == ["cat", "dog"] * 2
    says(
        r"datasets.Dataset \(val\) has no column 'label'", table, label="label", id="name", val=table.remove_columns("label")
    )
    numbers = datasets.Dataset.from_dict({"a": [1.0, 2, 3, 4], "b": [1, 0, 1, 0], "y": list("xyxy")})
    assert da.read(numbers, label="y", val=numbers).X_val.shape == (4, 2)
    says(
        r"^datasets.Dataset \(val\): the validation rows have no column 'b'",
        numbers,
        label="y",
        val=numbers.remove_columns("b"),
    )


def test_several_splits_are_refused():
    splits = datasets.DatasetDict({"train": images(PICTURES), "test": images(PICTURES)})
    says("a DatasetDict holds several \\('train', 'test'\\): give one of them, and another as val", splits, label="label")
    says("a DatasetDict holds several", splits["train"], label="label", val=splits)


def test_a_report_is_written_from_memory(tmp_path):
    data = da.read(Photos())
    values = da.value(data, method="cg-score")
    page = da.report(values, data, tmp_path / "report.html", top=3)
    assert "data:image/png" in page.read_text()


def test_parquet_that_hugging_face_wrote_has_its_names(tmp_path):
    kinds = datasets.Features(
        {
            "a": datasets.Value("int64"),
            "fur": datasets.ClassLabel(names=["short", "long"]),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {"a": [1, 2, 3, 4, 5, 7], "fur": [0, 1, 1, 0, 1, 1], "kind": [0, 1, 1, 0, 0, -1]}
    table = datasets.Dataset.from_dict(rows, features=kinds)
    table.to_parquet(tmp_path / "t.parquet")
    says(r"row 5 \(id 5\) has no label", tmp_path / "t.parquet", label="kind")
    data = da.read(tmp_path / "t.parquet", label="kind", missing="drop")
    assert data.classes == ["cat", "dog"]
    assert data.columns == ["a", "fur=long", "fur=short"]
    assert data.hash == da.read(table, label="kind", missing="drop").hash
    (tmp_path / "parts").mkdir()
    table.to_parquet(tmp_path / "parts" / "0.parquet")
    assert da.read(tmp_path / "parts", label="kind", missing="drop").hash == data.hash
    images(PICTURES).to_parquet(tmp_path / "i.parquet")
    pictures = da.read(tmp_path / "i.parquet", label="label")
    assert pictures.classes == ["cat", "dog"]
    np.testing.assert_array_equal(pictures.shown, PICTURES)
