"""Named data sets, cut into training, validation and test rows: from scikit-learn, generated, from files, or downloaded.

Nothing is downloaded unless ``download=True`` asks for it. The same name, sizes and seed give the same rows on every machine.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy import ndarray

from datassay import checks
from datassay.checks import DataError
from datassay.data import in_memory, parquet
from datassay.data.dataset import Dataset, Task, is_images
from datassay.data.encoding import Missing
from datassay.data.image_size import Side
from datassay.evaluation import openml

Paths = Mapping[str, str | Path]


@dataclass(frozen=True)
class Set:
    """What is known of a data set before it is drawn."""

    name: str
    says: str  #: what the rows are, in one sentence
    task: Task
    classes: int  #: how many; 0 for regression
    source: Literal["scikit-learn", "generated", "file", "download"]
    licence: str
    paper: str
    images: bool = False


class Split(NamedTuple):
    """A data set cut in three; what the columns were scaled and encoded by was learned on the training rows alone."""

    name: str  #: as it was asked for; "" for a data set of one's own
    data: Dataset  #: the n training rows, with the validation rows as X_val and y_val; without any if ``val=0``
    X_test: Any  #: (t, d) the test rows, encoded as the training rows were
    y_test: ndarray  #: (t,) their labels
    codes_test: ndarray  #: (t,) the numbers of their classes, as in ``data.codes``; regression: the targets
    human: ndarray | None  #: (n,) labels that people gave the training rows, where the set has such
    rows: ndarray  #: (n,) where the training rows are in the source; of a named set these are the ids
    rows_val: ndarray  #: (m,) where the validation rows are; of a data set with validation rows of its own: among those
    rows_test: ndarray  #: (t,) where the test rows are


_UCI, _NONE = "CC BY 4.0 (UCI)", "none stated"
_OPENML = "as openml.org says of it"
_LOSSVAL = "of the tables of Wibiral et al., 2024 (LossVal)"
_MNIST, _CIFAR_N = "usually given as CC BY-SA 3.0", "CC BY-NC 4.0 (the labels), non-commercial"

# fmt: off
#: The sets that have a name; any other of OpenML is ``openml:<name>`` or ``openml:<name>@<version>``.
SETS: dict[str, Set] = {
    one.name: one
    for one in (
        Set("digits", "1,797 handwritten digits of 8 x 8 pixels.", "classification", 10, "scikit-learn", _UCI,
            "Alpaydin & Kaynak, 1998", images=True),
        Set("breast-cancer", "569 tumours, 30 measurements of their cells: malignant or benign?", "classification", 2,
            "scikit-learn", _UCI, "Street, Wolberg & Mangasarian, 1993"),
        Set("wine", "178 wines, 13 measurements, from three cultivars.", "classification", 3, "scikit-learn", _UCI,
            "Aeberhard, Coomans & de Vel, 1992"),
        Set("iris", "150 irises, four measurements, of three species.", "classification", 3, "scikit-learn", _UCI,
            "Fisher, 1936"),
        Set("diabetes", "442 patients, ten measurements: how far is the disease a year later?", "regression", 0,
            "scikit-learn", _NONE, "Efron, Hastie, Johnstone & Tibshirani, 2004"),
        Set("2dplanes", "Ten columns of -1, 0 and 1, one of which says which of two planes holds: is the target above 0?",
            "classification", 2, "generated", "free", "Breiman, Friedman, Olshen & Stone, 1984"),
        Set("2dplanes-regression", "The target of 2dplanes itself.", "regression", 0, "generated", "free",
            "Breiman, Friedman, Olshen & Stone, 1984"),
        Set("fried", "Ten uniform columns, of which five make the target: is it above its mean?", "classification", 2,
            "generated", "free", "Friedman, 1991"),
        Set("fried-regression", "The target of fried itself.", "regression", 0, "generated", "free", "Friedman, 1991"),
        Set("gaussians", "Two normal classes in 3,000 dimensions, means 1 and -1 along the first, variance 1/4 along each.",
            "classification", 2, "generated", "free", "Ki, Choi & Chung, ICLR 2023, figure 1"),
        Set("mnist", "60,000 handwritten digits of 28 x 28 pixels.", "classification", 10, "file", _MNIST,
            "LeCun, Bottou, Bengio & Haffner, 1998", images=True),
        Set("cifar10", "50,000 colour photographs of 32 x 32 pixels, of ten kinds of things.", "classification", 10, "file",
            _NONE, "Krizhevsky, 2009", images=True),
        Set("cifar10n-aggregate", "CIFAR-10, and the label that most of three people gave (about 9 % are wrong).",
            "classification", 10, "file", _CIFAR_N, "Wei et al., ICLR 2022", images=True),
        Set("cifar10n-random1", "CIFAR-10, and the label that one person gave (about 17 % are wrong).", "classification", 10,
            "file", _CIFAR_N, "Wei et al., ICLR 2022", images=True),
        Set("adult", "People of the 1994 census of the United States: do they earn more than 50,000 dollars?",
            "classification", 2, "file", _UCI, "Kohavi, 1996"),
        Set("openml:electricity@1", "Half hours of a market for electricity: does the price rise?", "classification", 2,
            "download", _OPENML, f"Harries, 1999; {_LOSSVAL}"),
        Set("openml:MiniBooNE@1", "Events of a neutrino experiment: signal or background?", "classification", 2, "download",
            _OPENML, f"Roe et al., 2005; {_LOSSVAL}"),
        Set("openml:pol@2", "A telecommunication problem, in two classes.", "classification", 2, "download", _OPENML,
            f"Weiss & Indurkhya, 1995; {_LOSSVAL}"),
        Set("openml:nomao@1", "Pairs of places: are they the same?", "classification", 2, "download", _OPENML,
            f"Candillier & Lemaire, 2012; {_LOSSVAL}"),
        Set("torchvision:MNIST", "The 60,000 training digits of MNIST.", "classification", 10, "download", _MNIST,
            "LeCun, Bottou, Bengio & Haffner, 1998", images=True),
        Set("torchvision:FashionMNIST", "60,000 pictures of clothes, 28 x 28 pixels.", "classification", 10, "download", "MIT",
            "Xiao, Rasul & Vollgraf, 2017", images=True),
        Set("torchvision:KMNIST", "60,000 Japanese characters, 28 x 28 pixels, of ten kinds.", "classification", 10,
            "download", "CC BY-SA 4.0", "Clanuwat et al., 2018", images=True),
        Set("torchvision:CIFAR10", "The 50,000 training photographs of CIFAR-10.", "classification", 10, "download", _NONE,
            "Krizhevsky, 2009", images=True),
        Set("torchvision:CIFAR100", "50,000 colour photographs of 32 x 32 pixels, of a hundred kinds of things.",
            "classification", 100, "download", _NONE, "Krizhevsky, 2009", images=True),
    )
}
# fmt: on

#: Files that are passed by path: their usual name, and the columns that are read.
_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mnist": ("mnist_train.parquet", ("image", "label")),
    "cifar10": ("cifar10_train.parquet", ("image", "label")),
    "adult": ("adult.parquet", ("income",)),
    "cifar10n": ("cifar10n_labels.parquet", ("index", "aggre_label", "random_label1")),
}
#: The files of each set, and where it has labels of people their column.
_NEEDS = {
    "mnist": ("mnist",),
    "cifar10": ("cifar10",),
    "cifar10n-aggregate": ("cifar10", "cifar10n"),
    "cifar10n-random1": ("cifar10", "cifar10n"),
    "adult": ("adult",),
}
_HUMAN = {"cifar10n-aggregate": "aggre_label", "cifar10n-random1": "random_label1"}
#: Where torchvision keeps a set, below the cache.
_TORCHVISION = {
    "MNIST": "MNIST/raw/train-images-idx3-ubyte",
    "FashionMNIST": "FashionMNIST/raw/train-images-idx3-ubyte",
    "KMNIST": "KMNIST/raw/train-images-idx3-ubyte",
    "CIFAR10": "cifar-10-batches-py/data_batch_1",
    "CIFAR100": "cifar-100-python/train",
}


class _Source(NamedTuple):
    """All rows of a set: labels at once, features only of the rows that are drawn."""

    y: ndarray
    task: Task
    take: Callable[[ndarray], Any]  # positions to a frame, an array, images or a sparse matrix
    missing: Missing = "error"
    standardise: bool | None = None
    human: ndarray | None = None
    ids: ndarray | None = None
    encoder: Any = None  # a transformer of the caller's


def drawn(
    name: str,
    *,
    seed: int = 0,
    train: int = 1000,
    val: int = 200,
    test: int = 1000,
    paths: Paths | None = None,
    download: bool = False,
    cache: str | Path | None = None,
) -> Split:
    """Draw training, validation and test rows of a named set, each with about the classes' shares in the whole.

    Rows are drawn without replacement. Where the set has fewer than asked, all are used and the three sizes keep their shares.
    Every class has at least two training rows, and a validation row where there are enough. Frames are standardised and
    one-hot encoded by the training rows alone. Gaps in tables of OpenML are filled by the training rows' means.

    Parameters
    ----------
    name
        One of `SETS`, or ``openml:<name>`` or ``openml:<name>@<version>``.
    seed
        Which rows are drawn; of generated sets, also what they are.
    train, val, test
        How many rows; val and test may be 0.
    paths
        Parquet files by name: mnist, cifar10, cifar10n, adult; or the folder with a file of the usual name. The name ""
        stands for a folder with all others.
    download
        Whether what is not in the cache may be fetched from the network.
    cache
        The folder of downloads; default: that of scikit-learn, ``SCIKIT_LEARN_DATA`` or ``~/scikit_learn_data``. A set of OpenML is
        kept there in a Parquet file of our own, and drawn from it without scikit-learn.

    Raises
    ------
    DataError
        If there is no such set, a file is missing, or the rows are too few.
    ImportError
        If images need pillow, or torchvision is not installed.

    Examples
    --------
    >>> split = drawn("wine", train=100, val=20, test=50)
    >>> split.data
    Dataset: 100 rows x 13 columns, classification, 3 classes ('class_0' 33, 'class_1' 40, 'class_2' 27), 20 validation rows
    >>> split.X_test.shape, split.codes_test.shape
    ((50, 13), (50,))
    """
    sizes = _sizes(seed, train, val, test)
    source = _source(name, seed, sum(sizes), paths, download, cache)
    rng = np.random.default_rng(seed)
    return _split(name, source, *_positions(_codes(source), sizes, rng, f"set {name!r}"))


def divided(data: Dataset, *, seed: int = 0, train: int = 1000, val: int = 200, test: int = 1000) -> Split:
    """Cut a data set of one's own as `drawn` cuts a named one; its ids stay.

    Where it has validation rows, these are the validation rows, at most ``val`` of them. Tables, and arrays that were
    standardised, are encoded anew by the training rows alone; other numbers, such as an embedding, stay as they are.

    Examples
    --------
    >>> X = np.arange(40.0).reshape(20, 2)
    >>> split = divided(Dataset(X, ["cat", "dog"] * 10), train=10, val=4, test=6)
    >>> split.data
    Dataset: 10 rows x 2 columns, classification, 2 classes ('cat' 5, 'dog' 5), 4 validation rows
    >>> sorted(split.y_test.tolist())
    ['cat', 'cat', 'cat', 'dog', 'dog', 'dog']
    """
    sizes = _sizes(seed, train, val, test)
    source, rng, n = _held(data), np.random.default_rng(seed), len(data)
    codes = _codes(source)
    if data.codes_val is None:
        return _split("", source, *_positions(codes, sizes, rng, "the data set"))
    # these rows are trusted, and the others need not be: they are not mixed
    rows, _, rows_test = _positions(codes[:n], (sizes[0], 0, sizes[2]), rng, "the data set")
    counts = np.bincount(codes[n:], minlength=codes.max() + 1)
    size = min(sizes[1], len(codes) - n)
    least = np.minimum(counts, 1) if size >= (counts > 0).sum() else 0 * counts
    chosen = _chosen(codes[n:], [_quotas(counts, size, least, counts)], rng)[0]
    split = _split("", source, rows, n + chosen, rows_test)
    return split._replace(rows_val=chosen)


def available(
    paths: Paths | None = None, download: bool = False, task: Task | None = None, cache: str | Path | None = None
) -> list[str]:
    """The names of `SETS` that can be drawn with these arguments, of one task or of both.

    Examples
    --------
    >>> available(task="regression")
    ['diabetes', '2dplanes-regression', 'fried-regression']
    """
    _check_paths(paths)
    return [one.name for one in SETS.values() if task in (None, one.task) and _is_here(one, paths, download, cache)]


def planes(rng: np.random.Generator, n: int) -> tuple[ndarray, ndarray]:
    """2dplanes: (n, 10) columns of mean 0 and variance 1, and the (n,) targets.

    x1 is -1 or 1, the others are -1, 0 or 1. The target is 3 + 3 x2 + 2 x3 + x4 if x1 = 1, else -3 + 3 x5 + 2 x6 + x7, and
    N(0, 1) is added, as in the copy that is in use, not N(0, 2) as in the book. The columns are divided by their standard
    deviations. The median of the target is 0.

    >>> X, target = planes(np.random.default_rng(0), 1000)
    >>> X.shape, np.unique(X[:, 0]).tolist(), np.unique(X[:, 1]).round(3).tolist()
    ((1000, 10), [-1.0, 1.0], [-1.225, 0.0, 1.225])
    """
    X = rng.integers(-1, 2, (n, 10)).astype(float)
    X[:, 0] = rng.choice([-1.0, 1.0], n)
    t = np.where(X[:, 0] > 0, 3 + 3 * X[:, 1] + 2 * X[:, 2] + X[:, 3], -3 + 3 * X[:, 4] + 2 * X[:, 5] + X[:, 6])
    return X / np.array([1.0] + [np.sqrt(2 / 3)] * 9), t + rng.normal(size=n)


def fried(rng: np.random.Generator, n: int) -> tuple[ndarray, ndarray]:
    """Friedman's function: (n, 10) columns of mean 0 and variance 1, and the (n,) targets.

    With u uniform on (0, 1), the target is 10 sin(pi u1 u2) + 20 (u3 - 1/2)^2 + 10 u4 + 5 u5 + N(0, 1), its mean 14.41; the
    columns are (u - 1/2) sqrt(12).

    >>> X, target = fried(np.random.default_rng(0), 100_000)
    >>> X.shape, abs(float(target.mean()) - 14.41) < 0.05
    ((100000, 10), True)
    """
    X = rng.uniform(size=(n, 10))
    t = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4] + rng.normal(size=n)
    return (X - 0.5) * np.sqrt(12), t


def gaussians(rng: np.random.Generator, n: int, d: int = 3000) -> tuple[ndarray, ndarray]:
    """(n, d) rows of N(y e_1, I / 4), and the (n,) labels y, 1 and -1 in turn.

    >>> X, y = gaussians(np.random.default_rng(0), 10_000, d=2)
    >>> y[:4].tolist(), X[y == 1].mean(axis=0).round(1).tolist(), X[y == 1].var(axis=0).round(2).tolist()
    ([1, -1, 1, -1], [1.0, 0.0], [0.25, 0.25])
    """
    y = 1 - 2 * (np.arange(n) % 2)
    X = rng.normal(scale=0.5, size=(n, d))
    X[:, 0] += y
    return X, y


# -- sources


def _source(name: str, seed: int, n: int, paths: Paths | None, download: bool, cache: str | Path | None) -> _Source:
    _check_paths(paths)
    if name.startswith("openml:"):
        return _openml(name, download, _folder(cache))
    if name.startswith("torchvision:"):
        return _torchvision(name, download, _folder(cache))
    if name not in SETS:
        near = difflib.get_close_matches(name.lower(), SETS, n=1)
        hint = f"did you mean {near[0]!r}" if near else f"known are {', '.join(SETS)}, and openml:<name>"
        raise DataError(f"there is no set {name!r}: {hint}; a file of your own goes to da.read.")
    if SETS[name].source == "scikit-learn":
        return _bundled(name)
    if SETS[name].source == "generated":
        return _generated(name, seed, n)
    return _filed(name, paths)


def _bundled(name: str) -> _Source:
    from sklearn import datasets

    if name == "digits":
        digits = datasets.load_digits()
        return _Source(digits.target, "classification", _from_array((digits.images / 16).astype(np.float32)))
    load = {
        "breast-cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
        "iris": datasets.load_iris,
        "diabetes": datasets.load_diabetes,
    }[name]
    held = load(as_frame=True)
    if name == "diabetes":
        return _Source(held.target.to_numpy(np.float64), "regression", _from_frame(held.data))
    labels = np.array([str(held.target_names[code]) for code in held.target])
    return _Source(labels, "classification", _from_frame(held.data))


def _generated(name: str, seed: int, n: int) -> _Source:
    rng = np.random.default_rng([seed, 1])  # not the numbers that say which rows are drawn
    if name == "gaussians":
        X, y = gaussians(rng, n)
        return _Source(y, "classification", _from_array(X))
    X, target = (planes if name.startswith("2dplanes") else fried)(rng, n)
    if name.endswith("-regression"):
        return _Source(target, "regression", _from_array(X))
    return _Source((target > (0 if name == "2dplanes" else 14.41)).astype(int), "classification", _from_array(X))


def _filed(name: str, paths: Paths | None) -> _Source:
    path, *others = [_path_of(name, key, paths) for key in _NEEDS[name]]
    if name == "adult":
        frame = parquet.read_columns(path, parquet.names_of(path))
        y = frame.pop("income").to_numpy()
        return _Source(_labelled(y, path, "income"), "classification", _from_frame(frame))
    y = _labelled(parquet.read_columns(path, ["label"])["label"].to_numpy(), path, "label")
    human = _human(others[0], _HUMAN[name], len(y)) if others else None

    def take(rows: ndarray) -> ndarray:  # only these are decoded
        cells = parquet.read_columns(path, ["image"])["image"].iloc[rows]
        return in_memory.decoded(
            lambda: (cell["bytes"] if isinstance(cell, dict) else cell for cell in cells),
            len(rows),
            lambda i: f"{path}, row {rows[i]}, column 'image'",
            Side(None, most=None),
        )

    return _Source(y, "classification", take, human=human)


def _human(path: Path, column: str, n: int) -> ndarray:
    """(n,) labels in the order of the rows, which ``index`` numbers."""
    frame = parquet.read_columns(path, ["index", column])
    labels = pd.Series(frame[column].to_numpy(), index=frame["index"])
    if labels.index.duplicated().any():
        raise DataError(f"{path} has index {labels.index[labels.index.duplicated()][0]} twice: one label a row is needed.")
    ordered = labels.reindex(np.arange(n))
    if ordered.isna().any():
        raise DataError(
            f"{path} has no {column} for index {int(np.flatnonzero(ordered.isna())[0])}: a label for each of the {n} rows of the "
            "file of images is needed."
        )
    return ordered.to_numpy(labels.dtype)


def _check_paths(paths: Paths | None) -> None:
    for key in paths or {}:
        if key not in _FILES and key != "":
            raise DataError(
                f"paths has {key!r}, which is no file of a set: known are {', '.join(_FILES)}, and '' for a folder."
            )


def _path_of(name: str, key: str, paths: Paths | None) -> Path:
    """The file, which has the columns that are needed."""
    usual, columns = _FILES[key]
    given = dict(paths or {})
    named = f"column{'s' * (len(columns) > 1)} {', '.join(columns)}"
    need = f"set {name!r} needs a Parquet file with the {named} (usually {usual})"
    how = f"pass paths={{{key!r}: file}} (--path {key}=FILE), or paths={{'': folder}} (--path FOLDER) with the folder that has it"
    if key not in given and "" not in given:
        raise DataError(f"{need}, and no path to it came: {how}.")
    path = Path(given.get(key, given.get("", ""))).expanduser()
    if path.is_dir():
        path /= usual
    if not path.is_file():
        raise DataError(f"{need}, and there is no file {str(path)!r}: {how}.")
    if absent := [c for c in columns if c not in parquet.names_of(path)]:
        raise DataError(f"{need}, and {path} has no column {absent[0]!r}: {how}.")
    return path


def files(name: str, paths: Paths | None) -> list[Path]:
    """The files that a set from files is read from; of other sets none.

    >>> files("iris", None)
    []
    """
    if name not in SETS or SETS[name].source != "file":
        return []
    return [_path_of(name, key, paths) for key in (("cifar10", "cifar10n") if name.startswith("cifar10n") else (name,))]


def _openml(name: str, download: bool, home: Path) -> _Source:
    X, y = openml.load(name, download, home)
    # OpenML tells classification from regression, also where the targets are whole numbers
    if pd.api.types.is_numeric_dtype(y.dtype) and not pd.api.types.is_bool_dtype(y.dtype):
        return _Source(y.to_numpy(np.float64), "regression", _from_any(X), missing="mean")
    if isinstance(y.dtype, pd.CategoricalDtype):
        y = y.astype(y.cat.categories.dtype)
    return _Source(y.to_numpy(), "classification", _from_any(X), missing="mean")


def _torchvision(name: str, download: bool, root: Path) -> _Source:
    kind = name.removeprefix("torchvision:")
    if kind not in _TORCHVISION:
        raise DataError(f"the sets of torchvision that can be drawn are {', '.join(_TORCHVISION)}, got {kind!r}.")
    try:
        datasets = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise ImportError(f"set {name!r} needs torchvision: pip install torchvision") from error
    except RuntimeError as error:  # it is there, but was built for another torch
        raise ImportError(
            f"set {name!r} needs the torchvision that was built for the torch that is installed ({_line(error)}): for a torch without "
            "CUDA, pip install torchvision --index-url https://download.pytorch.org/whl/cpu"
        ) from error
    try:
        held = getattr(datasets, kind)(root=str(root), train=True, download=download)
    except RuntimeError as error:
        if download:
            raise DataError(f"set {name!r} could not be downloaded: {_line(error)}.") from error
        raise DataError(
            f"set {name!r} is not whole in the cache {str(root)!r}, and nothing is downloaded unasked: pass download=True (--download), "
            "or the cache (--cache) that has it."
        ) from error
    return _Source(np.asarray(held.targets), "classification", _from_array(np.asarray(held.data)))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _folder(cache: str | Path | None) -> Path:
    """The folder of downloads; it need not be there."""
    return Path(cache or os.environ.get("SCIKIT_LEARN_DATA") or "~/scikit_learn_data").expanduser()


def _is_here(one: Set, paths: Paths | None, download: bool, cache: str | Path | None) -> bool:
    if one.source == "file":
        try:
            for key in _NEEDS[one.name]:
                _path_of(one.name, key, paths)
        except DataError:
            return False
        return not one.images or importlib.util.find_spec("PIL") is not None
    if one.name.startswith("openml:"):
        return download or openml.cache_file(one.name, _folder(cache)).is_file()
    if one.name.startswith("torchvision:"):
        folder = _folder(cache) / _TORCHVISION[one.name.removeprefix("torchvision:")]
        return importlib.util.find_spec("torchvision") is not None and (download or folder.is_file())
    return True


def _held(data: Dataset) -> _Source:
    """The rows of a data set and, after them, its validation rows; as they were shown where they are to be encoded anew."""
    both = data.X_val is not None
    y = data.y
    if data.codes_val is not None:  # in the type of the training rows' labels
        y = np.concatenate([y, data.codes_val if data.task == "regression" else data.labels_of(data.codes_val)])
    shown, standardise = data.shown, None
    own = data.encoder is not None and data.base is None
    if isinstance(shown, pd.DataFrame) and (own or set(data.encoding) == {str(c) for c in shown}):
        frame, val = shown, data.shown_val
        if isinstance(val, pd.DataFrame):
            ordered = {c: dtype for c, dtype in shown.dtypes.items() if getattr(dtype, "ordered", False)}
            frame = pd.concat([shown, val[list(shown)].astype(ordered)], ignore_index=True)
        standardise = data.standardised
        # there are gaps only where they were filled before
        return _Source(y, data.task, _from_frame(frame), "mean", standardise, ids=data.ids, encoder=data.encoder)
    X, X_val = data.X, data.X_val
    if isinstance(X, ndarray):
        if _is_pixels(data):
            X, X_val = shown, data.shown_val
        if both:
            X = np.concatenate([X, X_val])
        # what was standardised over all rows gives the same as the raw numbers when that is done again over some
        return _Source(
            y, data.task, _from_array(X), standardise=data.standardised and data.shown is not data.X, ids=data.ids
        )
    return _Source(y, data.task, _from_array(sp.vstack([X, X_val], format="csr") if both else X), ids=data.ids)


def _is_pixels(data: Dataset) -> bool:
    """Whether what is valued are the numbers of the images that are shown."""
    if not is_images(data.shown) or math.prod(data.shown.shape[1:]) != data.X.shape[1]:
        return False
    some = data.shown[:10].reshape(-1, data.X.shape[1])
    return np.allclose(data.X[:10], some / 255 if some.dtype == np.uint8 else some, atol=1e-6)


def _from_array(X: Any) -> Callable[[ndarray], Any]:
    return lambda rows: X[rows]


def _from_frame(frame: pd.DataFrame) -> Callable[[ndarray], Any]:
    return lambda rows: frame.iloc[rows]


def _from_any(X: Any) -> Callable[[ndarray], Any]:
    return _from_frame(X) if isinstance(X, pd.DataFrame) else _from_array(X)


# -- which rows


def _sizes(seed: Any, train: Any, val: Any, test: Any) -> tuple[int, int, int]:
    checks.whole("drawing", 0, seed=seed, val=val, test=test)
    checks.whole("drawing", 2, train=train)
    return int(train), int(val), int(test)


def _labelled(y: ndarray, path: Path, column: str) -> ndarray:
    if len(blank := np.flatnonzero(pd.isna(y))):
        raise DataError(f"row {blank[0]} of {path} has no label in column {column!r}: give it one or drop the row.")
    return y


def _codes(source: _Source) -> ndarray:
    """Numbers of the classes that rows are drawn by; one class in regression."""
    if source.task == "regression":
        return np.zeros(len(source.y), np.int64)
    return np.asarray(pd.factorize(source.y)[0], np.int64)


def _positions(
    codes: ndarray, sizes: tuple[int, int, int], rng: np.random.Generator, what: str
) -> tuple[ndarray, ndarray, ndarray]:
    """Training, validation and test rows: disjoint, each class with its share of each."""
    counts = np.bincount(codes)
    if counts.min() < 2:
        row = int(np.flatnonzero(codes == counts.argmin())[0])
        raise DataError(f"{what} has a class with one row only (row {row}), and two for training are needed: leave it out.")
    least, three = 2 * len(counts), int((counts > 2).sum())  # a class of three rows has one to spare
    if sizes[0] < least:
        raise DataError(
            f"{what} has {len(counts)} classes, each needs two training rows: train must be {least} at least, got {sizes[0]}."
        )
    if sum(sizes) > len(codes):
        sizes = _shrunk(sizes, len(codes), least, three, what)
    spared = (counts > 2).astype(int) if 0 < three <= sizes[1] else 0 * counts
    train = _quotas(counts, sizes[0], np.full(len(counts), 2), counts - spared)
    left = counts - train
    val = _quotas(counts, sizes[1], np.minimum(left, 1) if sizes[1] >= (left > 0).sum() else 0 * left, left)
    left = left - val
    rows, rows_val, rows_test = _chosen(codes, [train, val, _quotas(counts, sizes[2], 0 * left, left)], rng)
    return rows, rows_val, rows_test


def _shrunk(sizes: tuple[int, int, int], n: int, least: int, three: int, what: str) -> tuple[int, int, int]:
    """The sizes with n rows in all, in the same shares but for what is needed: least training rows, three for validation."""
    for need_val in (three, 1):
        needed = np.minimum(sizes, (least, need_val, 1))
        if needed.sum() <= n:
            train, val, test = _quotas(np.array(sizes), n, needed, np.array(sizes)).tolist()
            return train, val, test
    raise DataError(
        f"{what} has {n} rows, and {needed.sum()} are needed at least: two of each class for training, and one each for "
        "validation and test; add rows, or ask for val=0 or test=0."
    )


def _quotas(counts: ndarray, size: int, least: ndarray, most: ndarray) -> ndarray:
    """Whole numbers as near to the shares of ``counts`` as can be, ``size`` in all, each within its bounds.

    >>> _quotas(np.array([50, 30, 3]), 10, np.array([2, 2, 2]), np.array([50, 30, 3])).tolist()
    [5, 3, 2]
    """
    share = size * counts / counts.sum()
    out = np.clip(np.floor(share).astype(np.int64), least, most)
    while short := size - int(out.sum()):
        step = 1 if short > 0 else -1
        can = out < most if step > 0 else out > least
        out[np.argmax(np.where(can, step * (share - out), -np.inf))] += step
    return out


def _chosen(codes: ndarray, quotas: list[ndarray], rng: np.random.Generator) -> list[ndarray]:
    """For each of the quotas, so many rows of each class, all different, in random order."""
    parts: list[list[ndarray]] = [[] for _ in quotas]
    for c in range(len(quotas[0])):
        rows, start = rng.permutation(np.flatnonzero(codes == c)), 0
        for part, quota in zip(parts, quotas, strict=True):
            part.append(rows[start : start + quota[c]])
            start += quota[c]
    return [rng.permutation(np.concatenate(part)) for part in parts]


def _split(name: str, source: _Source, rows: ndarray, rows_val: ndarray, rows_test: ndarray) -> Split:
    """The rows as data sets. Validation and test rows go through the same encoder, and are cut apart behind it."""
    every = np.concatenate([rows, rows_val, rows_test])
    X, y = source.take(every), source.y[every]
    n, m = len(rows), len(rows_val)
    others = slice(n, None) if len(every) > n else None
    data = Dataset(
        _cut(X, slice(n)),
        y[:n],
        None if others is None else _cut(X, others),
        None if others is None else y[others],
        rows if source.ids is None else source.ids[rows],
        source.task,
        missing=source.missing,
        standardise=source.standardise,
        encoder=source.encoder,
    )
    X_test, y_test, codes_test = data.X[:0], data.y[:0], data.codes[:0]
    if data.y_val is not None and data.codes_val is not None:
        X_test, y_test, codes_test = data.X_val[m:], data.y_val[m:], data.codes_val[m:]
        data = data.take_validation(np.arange(m)) if m else data.without_validation()
    human = None if source.human is None else source.human[rows]
    return Split(name, data, X_test, y_test, codes_test, human, rows, rows_val, rows_test)


def _cut(X: Any, rows: slice) -> Any:
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]
