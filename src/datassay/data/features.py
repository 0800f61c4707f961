"""What rows are valued on, by name or by a model: pixels, whitened patches, an encoder's output, or several of these, weighed."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.checks import DataError, refuse, whole
from datassay.data import encoders
from datassay.data.dataset import Dataset, is_images
from datassay.data.out_of_core import blocks, room
from datassay.data.prose import as_texts
from datassay.engines import feature_blocks, patches
from datassay.engines.gp_loo import choose
from datassay.engines.gram import zero_rows
from datassay.engines.machine import pick_device
from datassay.engines.progress import progress_bar
from datassay.files import replacing

WITHOUT_MODEL = ("pixels", "patches", "mirrored-patches", "tfidf", "table", "auto")
NAMES = (*WITHOUT_MODEL, *encoders.NAMES)
SAMPLE = 1000  # rows by which features are chosen and weighed, as the CG-score chooses its ridge
FEWEST = 100  # rows, and ...
SMALLEST = 12  # ... pixels of a side, from which on patches are tried
AT_ONCE = 256  # rows that an encoder is given
_EDITION = "1"  #: of the numbers that a name stands for


class Block(NamedTuple):
    """Features of one kind."""

    X: Any  #: (n, p)
    X_val: Any  #: (m, p) or None
    key: str  #: from what they were made, by content; empty where only the numbers themselves can tell
    how: str  #: in words


def is_named(F: Any) -> bool:
    """Whether features are asked for, and not given: a name, a model, or several."""
    if isinstance(F, str | Mapping) or _is_module(F) or _is_pair(F) or (callable(F) and not hasattr(F, "__array__")):
        return True
    return encoders.is_path(F) or encoders.is_pair(F) or encoders.encodes(F)


def is_asked(F: Any) -> bool:
    """Whether it is no file of numbers, where a text that is no name of features would be one."""
    return is_named(F) and (not isinstance(F, str) or F in NAMES or encoders.is_path(F))


def featured(
    data: Dataset, F: Any, F_val: Any, *, seed: int, k: int | None, cache: str | Path | None, device: str, progress: bool
) -> Dataset:
    """The rows on the features that a name, a model, or a dict of such asks for."""
    whole("with_features", 0, seed=seed)
    if k is not None:
        whole("with_features", 1, k=k)
    if not isinstance(F, Mapping) and F_val is not None:
        raise DataError("with_features needs F_val only with arrays: a name or a model makes those of the validation rows.")
    base = data.base or data
    make = _Maker(base, data, seed, k, None if cache is None else Path(cache), device, progress)
    if isinstance(F, Mapping):
        return make.several(F, {} if F_val is None else F_val)
    if isinstance(F, str) and F == "auto":
        return make.chosen()
    name = _name(F)
    return make.one(name, make.block(name, F, None))


class _Maker:
    """The rows, and how to make features of them."""

    def __init__(
        self, base: Dataset, data: Dataset, seed: int, k: int | None, cache: Path | None, device: str, progress: bool
    ) -> None:
        self.base, self.data, self.seed = base, data, seed
        self.k = k or (1024 if len(base) > 2000 else 512)
        self.cache, self.device, self.progress = cache, device, progress

    def block(self, name: str, F: Any, F_val: Any, without_texts: bool = False) -> Block:
        """What is asked for by a name, a model or an array; ``without_texts``: these are a block of their own."""
        if isinstance(F, str):
            if F in ("patches", "mirrored-patches"):
                return self._patches(mirrored=F != "patches")
            if F == "pixels" and not is_images(self.base.shown):
                raise DataError(
                    "features 'pixels' need images, and these rows are none: 'table' is what they are valued on."
                )
            if F == "tfidf":
                return self._texts()
            if F == "table" and without_texts and self.base.prose:
                return self._texts(others=True)
            if F in ("pixels", "table"):
                return Block(self.base.X, self.base.X_val, F, ", ".join(sorted(set(self.base.encoding.values()))) or F)
        images = self.base.shown if is_images(self.base.shown) else None
        if (model := encoders.model_of(F, images, self.device)) is not None:
            return self._made(name, model.encode, model.how, model.of, model.key, encoders.AT_ONCE)
        if isinstance(F, str):
            known = ", ".join(map(repr, NAMES))
            raise DataError(
                f"there are no features {F!r}: give {known}, an array, a function of a list of rows, a torch module, a file of "
                "ONNX, or a folder of sentence-transformers."
            )
        if _is_module(F) or _is_pair(F):
            return self._by_module(name, F)
        if callable(F) and not hasattr(F, "__array__"):
            return self._by_function(name, F)
        try:
            given = self.base.with_features(F, F_val)
        except DataError as error:
            raise DataError(f"features {name!r}: {error}") from None
        return Block(given.X, given.X_val, _digest([given.X, given.X_val]), f"array of {given.X.shape[1]} columns")

    def one(self, name: str, block: Block, stats: Mapping[str, Any] | None = None, notes: tuple[str, ...] = ()) -> Dataset:
        """The rows on one block."""
        new = copy.copy(self.data)
        new.base = self.base
        new.features = {"features": {name: 1.0}} | dict(stats or {})
        if block.X is self.base.X:
            new.recipe = ""
            new.X, new.X_val, new.columns = self.base.X, self.base.X_val, self.base.columns
            new.encoding, new.one_hot, new.standardised = self.base.encoding, self.base.one_hot, self.base.standardised
            new.prose, new.written, new.written_val = self.base.prose, self.base.written, self.base.written_val
            new.text_key = self.base.text_key
            if self.base.features:
                new.features = dict(self.base.features) | dict(stats or {})
        else:
            self._put(
                new, block.X, block.X_val, [f"{name}{j}" for j in range(block.X.shape[1])], {name: block.how}, block.key
            )
        new.notes = (*new.notes, *notes)
        return new

    def chosen(self) -> Dataset:
        """Patches, or mirrored ones, where the rows are images and the labels ask for them; else the rows as they came."""
        images = is_images(self.base.shown)
        plain = self.block("pixels", "pixels", None) if images else self.block("table", "table", None)
        if not images:
            return self.one("table", plain)
        if len(self.base) < FEWEST or min(self.base.shown.shape[1:3]) < SMALLEST:
            return self.one("pixels", plain)
        pick = self._sample()
        plainly = self._dictionary()
        dictionaries = {"patches": plainly, "mirrored-patches": replace(plainly, mirrored=True)}
        ways = {"pixels": np.asarray(self.base.X[pick], np.float64)}
        with self._bar(f"patches of {len(pick)} images", len(pick) * len(dictionaries)) as bar:
            for name, it in dictionaries.items():
                few = patches.features(self.base.shown[pick], it, report=bar.update)
                ways[name] = ((few - few.mean(axis=0)) / _spread(few.std(axis=0))).astype(np.float64)
        there = np.ones(len(pick), bool)
        for X in ways.values():
            there[zero_rows(X)] = False
        Y = self._targets()[pick][there]
        found = dict.fromkeys(ways, 0.0)
        if there.sum() > 1:
            found = {name: choose(X[there], Y, None, None, None, False, ()).log_likelihood for name, X in ways.items()}
        better = max(found, key=found.__getitem__)
        others = ", ".join(f"{found[name]:.3f} on {name}" for name in found if name != better)
        note = (
            f"valued on {better}: of {there.sum()} rows the leave-one-out log likelihood of the labels is {found[better]:.3f} on "
            f"{better}, {others} (--features says which to take)"
        )
        stats = {"feature_likelihoods": found, "feature_choice": note}
        block = plain if better == "pixels" else self._patches(dictionaries[better], mirrored=better != "patches")
        return self.one(better, block, stats, (note,))

    def several(self, F: Mapping[Any, Any], F_val: Any) -> Dataset:
        """Blocks side by side, weighed by the leave-one-out likelihood."""
        refuse(
            "with_features",
            (len(F) == 0, "a dict of features needs at least one entry"),
            (not all(isinstance(name, str) and name for name in F), "the names in a dict of features are texts"),
            (not isinstance(F_val, Mapping), "where F is a dict, F_val is one, too, with an array for each array in F"),
            (bool(set(F_val) - set(F)), f"F_val has {sorted(set(F_val) - set(F))[:1]}, and F has no such entry"),
            (any(isinstance(one, Mapping) or one == "auto" for one in F.values() if isinstance(one, str | Mapping)),
             "in a dict of features each is a name, a model or an array"),
        )  # fmt: skip
        texts = any((isinstance(one, str) and one == "tfidf") or encoders.takes_texts(one) for one in F.values())
        made = {name: self.block(name, one, F_val.get(name), texts) for name, one in F.items()}
        pick = self._sample()
        with self._bar(f"weights of {len(made)} features", None) as bar:
            weights, reached, alone = feature_blocks.weigh(
                [block.X[pick] for block in made.values()], self._targets()[pick], bar.update
            )
        of = dict(zip(made, weights, strict=True))
        matrices = [block.X for block in made.values()]
        X = feature_blocks.side_by_side(matrices, weights)
        X_val = None
        if self.base.X_val is not None:
            X_val = feature_blocks.side_by_side([block.X_val for block in made.values()], weights)
        columns = [f"{name}{j}" for name, block in made.items() if of[name] > 0 for j in range(block.X.shape[1])]
        encoding = {name: f"{block.how}; weight {of[name]:g}" for name, block in made.items()}
        new = copy.copy(self.data)
        new.base = self.base
        likelihoods = dict(zip(made, alone, strict=True)) | {"together": reached}
        new.features = {"features": of, "feature_likelihoods": likelihoods}
        key = " + ".join(f"{name}={block.key or _digest([block.X, block.X_val])}" for name, block in made.items())
        self._put(new, X, X_val, columns, encoding, f"weighed by {self.seed}: {key}")
        said = ", ".join(f"{name} {w:.2f}" for name, w in of.items())
        new.notes = (*new.notes, f"features weighed by the leave-one-out likelihood of the labels: {said}")
        return new

    def _put(self, new: Dataset, X: Any, X_val: Any, columns: list[str], encoding: dict[str, str], key: str) -> None:
        for matrix, of in ((X, ""), (X_val, " of the validation rows")):
            stored = matrix.data if sp.issparse(matrix) else matrix
            if stored is not None and not np.isfinite(stored).all():
                raise DataError(f"the features{of} hold numbers that are not finite.")
            if isinstance(matrix, np.ndarray):
                matrix.flags.writeable = False
        new.X, new.X_val, new.columns, new.encoding = X, X_val, columns, encoding
        new.one_hot, new.standardised, new.recipe = [], False, key
        new.prose, new.written, new.written_val = {}, None, None

    def _targets(self) -> np.ndarray:
        """(n, k): +1 for a class, -1 for the rest, or the standardised amount."""
        codes = self.data.codes
        if self.data.task == "regression":
            return ((codes - codes.mean()) / codes.std())[:, None]
        return np.where(codes[:, None] == np.arange(len(self.data.classes)), 1.0, -1.0)

    def _sample(self) -> np.ndarray:
        return np.sort(np.random.default_rng(self.seed).permutation(len(self.base))[:SAMPLE])

    def _bar(self, title: str, total: int | None) -> Any:
        return progress_bar(title, total or 1, progress=self.progress and total is not None, smoothing=0)

    def _dictionary(self) -> patches.Dictionary:
        return patches.learn(self.base.shown, k=self.k, seed=self.seed)

    def _texts(self, others: bool = False) -> Block:
        """The columns of free text, or the others."""
        base = self.base
        if not base.prose:
            raise DataError("features 'tfidf' need a column of free text, and there is none: text= (--text) names one.")
        chosen = np.full(base.X.shape[1], others)
        for columns in base.prose.values():
            chosen[columns] = not others
        if not chosen.any():
            raise DataError("features 'table' beside 'tfidf' need other columns than free text, and there are none.")
        how = [h for h in base.encoding.values() if h.startswith("text, TF-IDF") != others and not h.startswith("left out")]
        X_val = None if base.X_val is None else np.ascontiguousarray(base.X_val[:, chosen])
        key = f"{'table' if others else 'tfidf'} {_EDITION}"
        return Block(np.ascontiguousarray(base.X[:, chosen]), X_val, key, "; ".join(dict.fromkeys(how)))

    def _patches(self, it: patches.Dictionary | None = None, *, mirrored: bool = False) -> Block:
        name = "mirrored-patches" if mirrored else "patches"
        if not is_images(self.base.shown):
            raise DataError(
                f"features {name!r} need images, (n, height, width) or (n, height, width, channels), and these rows are none."
            )
        shown, shown_val = self.base.shown, self.base.shown_val
        key = f"{name} {_EDITION}, k={self.k}, seed={self.seed}, {_digest([shown])}"
        size = patches.working_size(shown.shape[1], shown.shape[2])
        kind = "mirrored patches" if mirrored else "patches"
        how = f"{self.k} random {kind} of {patches.patch_side(*size)} pixels, whitened, in 2 x 2 cells"
        if size != shown.shape[1:3]:
            how += f", of images brought to {size[0]} x {size[1]}"
        kept = self._kept(f"{key}, {_digest([shown_val])}")
        if kept and all(path.is_file() for path in kept) and (found := _loaded(kept, shown, shown_val)):
            return Block(found[0], found[1] if len(found) > 1 else None, key, how)
        it = it or replace(self._dictionary(), mirrored=mirrored)
        try:
            device = pick_device(self.device, worthwhile=len(shown) >= 500)
        except ValueError as error:
            raise DataError(f"with_features: {error}") from None
        images = [shown] + ([] if shown_val is None else [shown_val])
        n = sum(map(len, images))
        with self._bar(f"patches of {n} images", n) as bar:
            X, *rest = (patches.features(some, it, device=device, report=bar.update) for some in images)
        mean, scale = np.zeros(X.shape[1]), np.zeros(X.shape[1])
        for rows in blocks(X):
            mean += X[rows].sum(axis=0, dtype=np.float64) / len(X)
        for rows in blocks(X):
            scale += ((X[rows] - mean) ** 2).sum(axis=0) / len(X)
        scale = _spread(np.sqrt(scale))
        for matrix in (X, *rest):
            for rows in blocks(matrix):
                matrix[rows] = (matrix[rows] - mean) / scale
        X_val = rest[0] if rest else None
        _keep(kept, (X, *rest))
        return Block(X, X_val, key, how)

    def _kept(self, key: str) -> list[Path]:
        """The files of these features and of the validation rows', where they are to be kept."""
        if self.cache is None:
            return []
        if self.cache.exists() and not self.cache.is_dir():
            raise DataError(f"cache: {str(self.cache)!r} is a file: give the name of a folder.")
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        whole = [self.cache / f"features-{name}.npy", self.cache / f"features-{name}-val.npy"]
        return whole[: 1 + (self.base.shown_val is not None)]

    def _by_function(self, name: str, f: Callable[[list[Any]], Any]) -> Block:
        return self._made(name, f, f"made by {name}")

    def _by_module(self, name: str, F: Any) -> Block:
        import torch

        module, transform = F if _is_pair(F) else (F, None)
        try:
            device = pick_device(self.device)
        except ValueError as error:
            raise DataError(f"with_features: {error}") from None
        images = is_images(self.base.shown)

        def tensor(rows: Any) -> Any:
            if transform is not None:
                return torch.stack([torch.as_tensor(transform(row)) for row in rows])
            batch: Any = np.asarray(rows, np.float32)
            if images:
                batch = batch[..., None] if batch.ndim == 3 else batch
                batch = np.moveaxis(batch / 255 if self.base.shown.dtype == np.uint8 else batch, -1, 1)
            return torch.from_numpy(np.ascontiguousarray(batch))

        was = module.training
        module.to(device).eval()
        try:
            with torch.no_grad():
                return self._made(
                    name, lambda rows: module(tensor(rows).to(device)).float().cpu().numpy(), f"output of {name}"
                )
        finally:
            module.train(was)

    def _made(
        self,
        name: str,
        f: Callable[[list[Any]], Any],
        how: str,
        of: encoders.Of = "rows",
        key: str = "",
        at_once: int | None = None,
    ) -> Block:
        """What a function makes of the rows; found again where it was kept, and ``key`` says by what it is made."""
        sources = self._sources(name, of)
        key = f"{key}, {_EDITION}" if key else ""
        kept = self._kept(f"{key}, {_digest(sources)}") if key and self.cache is not None else []
        found: Any = _loaded(kept, *sources) if kept and all(path.is_file() for path in kept) else None
        if found is None:
            found = []
            n = sum(some.shape[0] for some in sources)
            with self._bar(f"features by {name}, {n} rows", n) as bar:
                for some in sources:
                    parts: list[np.ndarray] = []
                    for batch in _batches(some, at_once or AT_ONCE):
                        parts.append(_checked(f(batch), len(batch), name, parts))
                        bar.update(len(batch))
                    out = room((sum(map(len, parts)), parts[0].shape[1]), np.float32 if key else parts[0].dtype)
                    np.concatenate(parts, out=out, casting="same_kind")
                    found.append(out)
            _keep(kept, found)
        X, X_val = found[0], found[1] if len(found) > 1 else None
        return Block(X, X_val, key, f"{how}, {X.shape[1]} columns")

    def _sources(self, name: str, of: encoders.Of) -> list[Any]:
        """The training rows and, where there are some, the validation rows, in the form that a model takes."""
        base, images = self.base, is_images(self.base.shown)
        both = [base.shown] if base.X_val is None else [base.shown, base.shown_val]
        if of == "images" and not images:
            raise DataError(f"features {name!r} are made of images, and these rows are none.")
        if of == "texts":
            if not base.prose or not all(isinstance(shown, pd.DataFrame) for shown in both):
                raise DataError(
                    f"features {name!r} need a column of free text, and there is none: text= (--text) names one."
                )
            return [_texts_of(shown, list(base.prose)) for shown in both]
        if of == "numbers" or not (images or isinstance(base.shown, pd.DataFrame)):
            return [base.X] if base.X_val is None else [base.X, base.X_val]
        return both


def _texts_of(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """(n,) the texts of each row, below one another."""
    cells = [as_texts(frame[c]) for c in frame if str(c) in columns]
    texts = np.empty(len(frame), object)
    texts[:] = ["\n".join(each) for each in zip(*cells, strict=True)]
    return texts


def _batches(rows: Any, at_once: int) -> Iterator[list[Any]]:
    """Lists of pictures, of rows of numbers, of the cells of a frame with one column, or of dicts of a frame with more."""
    n = rows.shape[0]
    for start in range(0, n, at_once):
        part: Any = rows.iloc[start : start + at_once] if isinstance(rows, pd.DataFrame) else rows[start : start + at_once]
        if isinstance(part, pd.DataFrame):
            yield part.iloc[:, 0].tolist() if part.shape[1] == 1 else part.to_dict("records")
        else:
            yield list(part.toarray() if sp.issparse(part) else part)


def _checked(came: Any, n: int, name: str, before: list[np.ndarray]) -> np.ndarray:
    """(n, p) numbers, as wide as those of the batches before."""
    if hasattr(came, "detach"):
        came = came.detach().cpu().numpy()
    try:
        F = np.asarray(came.toarray() if sp.issparse(came) else came)
        F = F if F.dtype in (np.float32, np.float64) else F.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"features by {name}: numbers are needed, one row for each row, got {type(came).__name__}."
        ) from None
    if F.ndim < 2 or len(F) != n or math.prod(F.shape[1:]) == 0:
        raise DataError(f"features by {name}: for {n} rows an array of {n} rows of numbers is needed, got shape {F.shape}.")
    F = F.reshape(n, -1)
    if before and F.shape[1] != before[0].shape[1]:
        raise DataError(f"features by {name}: rows have {before[0].shape[1]} numbers first and {F.shape[1]} later.")
    return F


def _keep(kept: Sequence[Path], matrices: Sequence[np.ndarray]) -> None:
    for path, matrix in zip(kept, matrices, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, beside.open("wb") as file:
            np.save(file, matrix)


def _loaded(kept: list[Path], *sources: Any) -> list[Any] | None:
    """What an earlier call kept; None where it can't be read."""
    found: list[Any] = []
    for path, rows in zip(kept, sources, strict=False):
        try:
            matrix = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if matrix.ndim != 2 or len(matrix) != rows.shape[0] or matrix.dtype != np.float32:
            return None
        found.append(matrix)
    return found


def _spread(scale: np.ndarray) -> np.ndarray:
    """Standard deviations, 1 where a column holds one number."""
    return np.where(scale > 1e-7, scale, 1.0)


def _digest(arrays: list[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for whole_array in arrays:
        parts = [whole_array.data, whole_array.indices, whole_array.indptr] if sp.issparse(whole_array) else [whole_array]
        for array in parts:
            if array is None:
                digest.update(b"none")
                continue
            digest.update(f"{array.shape}{array.dtype}".encode())
            if array.dtype == object:  # of texts
                digest.update(repr(array.tolist()).encode("utf-8", "surrogatepass"))
                continue
            for rows in blocks(array):
                digest.update(np.ascontiguousarray(array[rows]).view(np.uint8).data)
    return digest.hexdigest()


def _is_module(F: Any) -> bool:
    """Whether it is a torch module, without importing torch."""
    return hasattr(F, "forward") and hasattr(F, "state_dict") and callable(F)


def _is_pair(F: Any) -> bool:
    """A torch module and its transform, a function of one row."""
    return isinstance(F, tuple) and len(F) == 2 and _is_module(F[0]) and callable(F[1])


def _name(F: Any) -> str:
    F = F[0] if isinstance(F, tuple) else F
    if isinstance(F, str | Path):
        return Path(F).stem if encoders.is_path(F) else str(F)
    return getattr(F, "__name__", type(F).__name__).strip("<>") or "function"
