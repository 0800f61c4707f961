"""What rows are valued on: names, models, several features at once; `Dataset.with_features`, `read`, the command line."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import datassay as da
from datassay.checks import DataError
from datassay.data import features as features_of
from datassay.engines import feature_blocks, gp_loo, gram


def shapes(n=160, side=14, seed=0, wrong=0.0):
    """Pictures of crosses and squares at random places: their pixels say little, their patches much."""
    rng = np.random.default_rng(seed)
    images, y = rng.integers(0, 60, (n, side, side)).astype(np.uint8), rng.integers(0, 2, n)
    for i in range(n):
        a, b = rng.integers(0, side - 6, 2)
        if y[i]:
            images[i, a + 3, b : b + 7] = images[i, a : a + 7, b + 3] = 255
        else:
            images[i, a, b : b + 7] = images[i, a + 6, b : b + 7] = 255
            images[i, a : a + 7, b] = images[i, a : a + 7, b + 6] = 255
    given = y.copy()
    flipped = rng.choice(n, round(wrong * n), replace=False)
    given[flipped] = 1 - given[flipped]
    return images, np.array(["square", "cross"])[given], np.isin(np.arange(n), flipped)


def test_patches_by_name():
    images, y, wrong = shapes(wrong=0.1)
    data = da.Dataset(images, y)
    on = data.with_features("patches", k=64, progress=False)
    assert on.X.shape == (160, 8 * 64)
    assert on.X.dtype == np.float32
    np.testing.assert_allclose(on.X.mean(axis=0), 0, atol=1e-5)
    assert np.isin(np.round(on.X.std(axis=0), 3), [0, 1]).all()
    assert on.shown is data.shown
    values = da.value(on, progress=False)
    assert values.stats["features"] == {"patches": 1.0}
    first = values.suspects(16)["id"].to_numpy()
    worse = da.value(data, progress=False).suspects(16)["id"].to_numpy()
    assert wrong[first].sum() > wrong[worse].sum()


def test_validation_rows_go_through_the_same_dictionary():
    images, y, _ = shapes()
    whole = da.Dataset(images[:120], y[:120], images[:40], y[:40]).with_features("patches", k=16, progress=False)
    np.testing.assert_allclose(whole.X_val, whole.X[:40], atol=1e-5)


def test_the_likelihood_chooses_patches_and_says_so():
    images, y, _ = shapes()
    data = da.Dataset(images, y).with_features("auto", progress=False)
    found = data.features["feature_likelihoods"]
    assert data.features["features"] == {"mirrored-patches": 1.0}  # squares and crosses
    assert found["mirrored-patches"] >= found["patches"] > found["pixels"]
    assert f"{found['patches']:.3f} on patches" in data.notes[-1]
    assert f"{found['pixels']:.3f} on pixels" in data.notes[-1]
    assert f"{found['mirrored-patches']:.3f} on mirrored-patches" in data.notes[-1]
    stats = da.value(data, progress=False).stats
    assert stats["feature_likelihoods"] == found


def test_mirrored_patches_where_pictures_may_be_turned_and_not_where_they_may_not():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    slope = np.tril(np.ones((5, 5), np.uint8)) * 150
    shape = [slope, slope[::-1]]
    for turned in (True, False):
        images = rng.integers(0, 110, (300, 16, 16)).astype(np.uint8)
        for i in range(300):
            r, c = rng.integers(0, 12, 2)
            # which way up is the label; left to right means nothing, or the same in another way
            what = shape[y[i]] if turned else slope[:, :: 1 - 2 * y[i]]
            what = what[:, :: -1 if turned and rng.random() < 0.5 else 1]
            images[i, r : r + 5, c : c + 5] = np.maximum(images[i, r : r + 5, c : c + 5], what)
        data = da.Dataset(images, y).with_features("auto", k=64, progress=False)
        assert data.features["features"] == {"mirrored-patches" if turned else "patches": 1.0}
        if turned:
            named = da.Dataset(images, y).with_features("mirrored-patches", k=64, progress=False)
            np.testing.assert_array_equal(named.X, data.X)
            assert named.encoding["mirrored-patches"].startswith("64 random mirrored patches of 4 pixels")


def test_the_likelihood_keeps_pixels_where_places_tell():
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 60, (150, 14, 14)).astype(np.uint8), rng.integers(0, 2, 150)
    for i in range(150):  # the same dot, one pixel further
        images[i, 3, 2 + y[i]] = 200
    data = da.Dataset(images, y).with_features("auto", progress=False)
    assert data.features["features"] == {"pixels": 1.0}
    np.testing.assert_array_equal(data.X, da.Dataset(images, y).X)


def test_few_or_small_images_stay_pixels():
    images, y, _ = shapes(40)
    assert da.Dataset(images, y).with_features("auto").features == {"features": {"pixels": 1.0}}
    table = da.Dataset(np.arange(12.0).reshape(6, 2), list("ababab")).with_features("auto")
    assert table.features == {"features": {"table": 1.0}}


def test_the_hash_is_of_the_rows_and_the_recipe():
    images, y, _ = shapes(60)
    data = da.Dataset(images, y)
    one, two = (data.with_features("patches", k=8, progress=False) for _ in range(2))
    assert one.hash == two.hash != data.hash
    assert data.with_features("patches", k=9, progress=False).hash != one.hash
    assert data.with_features("patches", k=8, seed=1, progress=False).hash != one.hash
    assert one.take(range(50)).hash != one.hash
    assert data.take(range(50)).with_features("patches", k=8, progress=False).hash != one.take(range(50)).hash
    assert one.with_labels(np.roll(y, 1)).hash != one.hash
    assert one.with_features("pixels").hash == data.hash
    assert pickle.loads(pickle.dumps(one)).hash == one.hash
    np.testing.assert_array_equal(one.take([3, 1, 8, 9]).base.X, data.X[[3, 1, 8, 9]])


def test_features_are_kept_and_found_by_content(tmp_path, monkeypatch):
    images, y, _ = shapes(60)
    data = da.Dataset(images, y, images[:9], y[:9])
    made = data.with_features("patches", k=8, cache=tmp_path / "kept", progress=False)
    files = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert len(files) == 2
    monkeypatch.setattr(features_of.patches, "features", None)  # nothing is made again
    again = da.Dataset(images.copy(), y, images[:9], y[:9]).with_features("patches", k=8, cache=tmp_path / "kept")
    np.testing.assert_array_equal(again.X, made.X)
    np.testing.assert_array_equal(again.X_val, made.X_val)
    monkeypatch.undo()
    for other in (da.Dataset(images[::-1], y, images[:9], y[:9]), data):
        other.with_features("patches", k=8, seed=int(other is data), cache=tmp_path / "kept", progress=False)
    assert len(list((tmp_path / "kept").iterdir())) == 6
    (tmp_path / "kept" / files[0]).write_bytes(b"broken")
    mended = data.with_features("patches", k=8, cache=tmp_path / "kept", progress=False)
    np.testing.assert_array_equal(mended.X, made.X)


def test_a_function_gets_rows_as_people_have_them(monkeypatch):
    monkeypatch.setattr(features_of, "AT_ONCE", 7)
    images, y, _ = shapes(20)
    seen = []

    def brightness(rows):
        seen.append(len(rows))
        assert isinstance(rows, list)
        assert rows[0].shape == (14, 14)
        return [[row.mean(), row.std()] for row in rows]

    data = da.Dataset(images, y).with_features(brightness, progress=False)
    np.testing.assert_allclose(data.X, np.c_[images.mean(axis=(1, 2)), images.std(axis=(1, 2))])
    assert seen == [7, 7, 6]
    assert data.features == {"features": {"brightness": 1.0}}
    frame = pd.DataFrame({"a": [1, 2, 3, 4.0], "b": list("xyxy")})
    cells = da.Dataset(frame, list("uvuv")).with_features(lambda rows: [[row["a"], row["b"] == "x"] for row in rows])
    np.testing.assert_array_equal(cells.X, [[1, 1], [2, 0], [3, 1], [4, 0]])
    single = da.Dataset(frame[["b"]], list("uvuv")).with_features(lambda rows: [[len(cell)] for cell in rows])
    np.testing.assert_array_equal(single.X, [[1], [1], [1], [1]])


def test_a_torch_module_gets_pictures():
    torch = pytest.importorskip("torch")
    images, y, _ = shapes(20)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 5), torch.nn.Dropout(0.5), torch.nn.AdaptiveAvgPool2d(2))
    net.train()
    data = da.Dataset(images, y, images[:5], y[:5]).with_features(net, progress=False)
    with torch.no_grad():
        expected = net.eval()(torch.tensor(images / 255, dtype=torch.float32)[:, None]).flatten(1).numpy()
    np.testing.assert_allclose(data.X, expected, atol=1e-6)
    np.testing.assert_allclose(data.X_val, expected[:5], atol=1e-6)
    pair = (net, lambda row: torch.tensor(row[None] / 127.5 - 1, dtype=torch.float32))
    with torch.no_grad():
        expected = net(torch.tensor(images / 127.5 - 1, dtype=torch.float32)[:, None]).flatten(1).numpy()
    np.testing.assert_allclose(da.Dataset(images, y).with_features(pair, progress=False).X, expected, atol=1e-6)
    net.train()
    da.Dataset(images, y).with_features(net, progress=False)
    assert net.training


def test_several_features_are_weighed():
    rng = np.random.default_rng(0)
    n = 300
    y = rng.integers(0, 2, n)
    good = rng.normal(size=(n, 4)) + 1.5 * y[:, None]
    also = rng.normal(size=(n, 4)) - 1.2 * y[:, None]
    noise = rng.normal(size=(n, 30))
    data = da.Dataset(good, y).with_features({"good": good, "also": also, "noise": noise}, progress=False)
    weights = data.features["features"]
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert weights["noise"] < 0.1 < min(weights["good"], weights["also"])
    found = data.features["feature_likelihoods"]
    assert found["together"] > max(found["good"], found["also"], found["noise"])
    assert da.value(data, progress=False).stats["features"] == weights
    cosines = sum(w * (u := gram.unit_rows(F)) @ u.T for F, w in zip((good, also, noise), weights.values(), strict=True))
    np.testing.assert_allclose(data.X @ data.X.T, cosines, atol=1e-3)


def test_weights_reach_the_likelihood_of_a_fine_grid():
    rng = np.random.default_rng(1)
    y = np.where(rng.random(150) < 0.5, 1.0, -1.0)[:, None]
    A, B = rng.normal(size=(150, 3)) + y, rng.normal(size=(150, 20)) + 0.6 * y
    weights, reached, alone = feature_blocks.weigh([A, B], y)

    def by_definition(w):
        U = np.hstack([np.sqrt(w) * gram.unit_rows(A), np.sqrt(1 - w) * gram.unit_rows(B)])
        return gp_loo.RidgePath(gram.arc_cosine(gram.unit_rows(U)), y).best()[1]

    grid = [by_definition(w) for w in np.linspace(0, 1, 41)]
    assert reached == pytest.approx(by_definition(weights[0]), abs=1e-4)
    assert reached > max(grid) - 2e-3
    assert alone == pytest.approx([grid[-1], grid[0]], abs=1e-5)


def test_sparse_blocks():
    rng = np.random.default_rng(0)
    A, B = (
        sp.random_array((40, 30), density=0.3, rng=rng, format="csr"),
        sp.random_array((40, 9), density=0.5, rng=rng, format="csr"),
    )
    both = feature_blocks.side_by_side([A, B], [0.25, 0.75])
    assert sp.issparse(both)
    dense = feature_blocks.side_by_side([A.toarray(), B], [0.25, 0.75])
    np.testing.assert_allclose(both.toarray(), dense, atol=1e-7)
    data = da.Dataset(A, rng.integers(0, 2, 40)).with_features({"a": A, "b": B}, progress=False)
    assert data.X.shape[0] == 40


def test_dict_with_validation_rows():
    images, y, _ = shapes(120)
    F = np.random.default_rng(0).normal(size=(120, 5))
    data = da.Dataset(images, y, images[:30], y[:30])
    on = data.with_features({"patches": "patches", "mine": F}, {"mine": F[:30]}, k=16, progress=False)
    np.testing.assert_allclose(on.X_val, on.X[:30], atol=1e-5)
    assert list(on.encoding) == ["patches", "mine"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("patchs", "no features 'patchs'"),
        ({}, "at least one entry"),
        ({"a": "auto"}, "each is a name"),
        ({"a": {"b": "pixels"}}, "each is a name"),
        ({1: "pixels"}, "names in a dict of features are texts"),
        (lambda rows: [1.0] * len(rows), "rows of numbers is needed, got shape"),
        (lambda rows: "no", "numbers are needed"),
        (lambda rows: np.full((len(rows), 2), np.nan), "not finite"),
        ({"a": np.ones((3, 2))}, "features 'a'"),
    ],
)
def test_what_is_no_feature(asked, says):
    images, y, _ = shapes(20)
    with pytest.raises(DataError, match=says):
        da.Dataset(images, y).with_features(asked, progress=False)


def test_names_are_of_some_rows():
    table = da.Dataset(np.arange(12.0).reshape(6, 2), list("ababab"))
    for name in ("patches", "pixels"):
        with pytest.raises(DataError, match="need images"):
            table.with_features(name)
    with pytest.raises(DataError, match="F_val only with arrays"):
        table.with_features("table", np.ones((6, 2)))


def test_read_and_the_command_line(tmp_path, monkeypatch):
    from PIL import Image

    images, y, _ = shapes(130, wrong=0.05)
    for i, (image, label) in enumerate(zip(images, y, strict=True)):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "set" / label / f"{i:03}.png")
    monkeypatch.chdir(tmp_path)
    data = da.read("set", features="patches")
    assert data.features["features"] == {"patches": 1.0}
    assert data.source["features"] == "patches"
    assert da.read("set").X.shape == (130, 14 * 14)
    from datassay.cli import app

    for asked, used in (([], "mirrored-patches"), (["--features", "pixels"], "pixels")):
        ran = CliRunner().invoke(app, ["value", "set", "-m", "cg-score", "-o", "v.parquet", "--force", *asked])
        assert ran.exit_code == 0, ran.output
        assert da.Values.load("v.parquet").stats["features"] == {used: 1.0}
        assert ("valued on patches: of 130 rows" in " ".join(ran.output.split())) == (used == "patches")
        ran = CliRunner().invoke(app, ["report", "v.parquet", "--data", "set", "-o", "r.html", "--force"])
        assert ran.exit_code == 0, ran.output
    assert "features.pixels" in (tmp_path / "r.html").read_text()
    with pytest.raises(DataError, match="there is no features file"):
        da.read("set", features="patchs")
