"""One method in one case, run and kept in a file of its own, so that a study that was stopped goes on."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy import ndarray

from datassay.checks import DataError
from datassay.data.dataset import Dataset, is_images
from datassay.data.encoding import plain
from datassay.engines import machine
from datassay.evaluation import lds
from datassay.evaluation.datasets import Split, divided, drawn, files
from datassay.evaluation.tasks import TASKS, Case, Curve, Learner
from datassay.files import replacing
from datassay.methods import find, takes, value
from datassay.signals import INTERRUPTED, came
from datassay.subsets.identity import coded
from datassay.values import Values

DIGEST = 16  # bytes


@dataclass(frozen=True)
class Sizes:
    """How many rows are drawn."""

    train: int
    val: int
    test: int


@dataclass(frozen=True, eq=False)
class Source:
    """Where rows come from: a named set, or a data set that was given."""

    name: str
    given: Dataset | None = None
    paths: tuple[tuple[str, str], ...] = ()
    download: bool = False
    cache: str | None = None
    flat: bool = True
    text: str = ""  #: for the key of a cell, and for what a worker has at hand

    def __post_init__(self) -> None:
        name = self.name if self.given is None else f"{self.name} {self.given.hash}"
        sizes = []
        if self.given is None:
            about = [(path, path.stat()) for path in files(self.name, dict(self.paths))]
            sizes = [(str(path.resolve()), stat.st_size, stat.st_mtime_ns) for path, stat in about]
        if self.cache is not None and ":" in self.name:
            sizes.append((self.cache, 0, 0))
        object.__setattr__(self, "text", f"{name}{'' if self.flat else ' as pictures'}{f' {sizes}' if sizes else ''}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def split(self, sizes: Sizes, seed: int) -> Split:
        """Training, validation and test rows."""
        if self.given is not None:
            split = divided(self.given, seed=seed, **asdict(sizes))
        else:
            split = drawn(
                self.name, seed=seed, paths=dict(self.paths), download=self.download, cache=self.cache, **asdict(sizes)
            )
        d = split.data
        if self.flat and is_images(d.shown):  # a perceptron, and not a convolutional network, is then the default
            d = Dataset(
                np.asarray(d.X), d.y, None if d.X_val is None else np.asarray(d.X_val), d.y_val, ids=d.ids, task=d.task
            )
            split = split._replace(data=d)
        return split


class Cell(NamedTuple):
    """One method in one case."""

    task: str
    data: str
    kind: str
    rate: float
    seed: int
    title: str  #: what the method is called: its name and options
    method: str | Callable[..., Any]  #: its name, or the function itself
    options: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class CellResult:
    """The result of a cell."""

    cell: Cell
    metrics: dict[str, float]
    curves: dict[str, Curve]
    scores: ndarray  #: (n,), empty if it failed
    error: str  #: empty if it did not


def key(cell: Cell, source: Source, sizes: Sizes, learner: Learner) -> str:
    """Name of the cell's file: everything that makes a difference to what is in it."""
    about = {
        "cell": [plain(part) for part in cell[:5]] + [_name(cell.method), _content(sorted(cell.options))],
        "data": source.text,
        "sizes": asdict(sizes),
        "learner": _content(tuple(learner))
        if cell.task in ("removal", "addition", "window", "difficulty", "velocity", "lds")
        else "",
        "datassay": version("datassay"),
    }
    return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def _content(thing: Any) -> str:
    """A name for what is in it: arrays, and networks with their weights; of functions the source's name."""
    try:
        return str(joblib.hash(thing))
    except Exception:  # what can't be pickled, a lambda say
        return repr(thing)


def run(cell: Cell, source: Source, sizes: Sizes, learner: Learner, limit: float | None) -> CellResult:
    """Draw the rows, plant the errors, value the rows, measure. What goes wrong in the method is an outcome with its error."""
    with _threads():
        task = TASKS[cell.task]
        try:
            case = _case(cell.task, source, sizes, cell.kind, cell.rate, 0 if task.same_rows else cell.seed)
            case = case._replace(seed=cell.seed)
            _, method = find(cell.method)
            if not task.needs(cell.method):
                raise DataError(f"{cell.title} can't be asked about one validation row.")
            if limit is not None:
                costs = method.costs(case.data, _rates())
                if costs and (least := min(cost.seconds for cost in costs)) > limit:
                    raise DataError(f"it would take {least:.0f} s by its plan, more than the limit of {limit:.0f} s.")
            options = dict(cell.options) | case.options | _quiet(cell.method)
            start = time.perf_counter()
            if task.matrix:
                model = {
                    name: thing
                    for name, thing in learner._asdict().items()
                    if thing is not None and takes(name, cell.method)
                }
                values, matrix = lds.ask(case.data, cell.method, cell.seed, model | options)
                case = case._replace(matrix=matrix)
            else:
                values = value(case.data, cell.method, seed=cell.seed, **options)
            seconds = time.perf_counter() - start
            uninterrupted(values)
            metrics, curves = task.measure(case, values, learner)
        except KeyboardInterrupt:
            raise
        except Exception as error:  # whatever a method does: it is named in the table, and the others go on
            if came():  # a library made an error of its own of the interrupt
                raise KeyboardInterrupt from error
            message = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            return CellResult(cell, {}, {}, np.zeros(0), message or type(error).__name__)
    return CellResult(cell, {k: float(v) for k, v in metrics.items()} | {"seconds": seconds}, curves, values.scores, "")


def uninterrupted(values: Values) -> None:
    """A method on subsets that Ctrl-C stops goes on with what it has: for one who compares methods that is half a training.

    Raises
    ------
    KeyboardInterrupt
        It was stopped so.
    """
    if values.stats.get("stopped") == INTERRUPTED:
        raise KeyboardInterrupt


@lru_cache(maxsize=2)
def _case(task: str, source: Source, sizes: Sizes, kind: str, rate: float, seed: int) -> Case:
    """Cached for the next method."""
    return TASKS[task].prepare(source.split(sizes, seed), kind, rate, seed)


@cache
def _rates() -> machine.Rates:
    return machine.probe()


def _name(method: str | Callable[..., Any]) -> str:
    """A function is known by its code, too: changed, it is another one."""
    return method if isinstance(method, str) else str(coded(method))


def _quiet(method: str | Callable[..., Any]) -> dict[str, Any]:
    """One process and no bar, where a method would have them."""
    return {name: setting for name, setting in (("progress", False), ("n_jobs", 1)) if takes(name, method)}


@contextmanager
def _threads() -> Iterator[None]:
    """One thread, in torch too: cells run side by side, and their seconds can be compared."""
    torch = import_module("torch") if importlib.util.find_spec("torch") else None
    before = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)
    try:
        with machine.one_thread():
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


# ------------------------------------------------------------------------------------------------------------- keeping


def save_cell(result: CellResult, path: Path) -> None:
    """Written beside and renamed. No pickle: numbers in arrays, the rest as JSON; before them a digest of it all."""
    about = {"cell": _named(result.cell), "metrics": result.metrics, "error": result.error}
    arrays: dict[str, Any] = {f"curve {name}": np.stack(xy) for name, xy in result.curves.items()}
    content = io.BytesIO()
    np.savez_compressed(content, about=np.frombuffer(json.dumps(about).encode(), np.uint8), scores=result.scores, **arrays)
    with replacing(path) as beside:
        beside.write_bytes(_digest(content.getvalue()) + content.getvalue())


def load_cell(path: Path, cell: Cell) -> CellResult | None:
    """The result that `save_cell` wrote; None if there is none, the file is incomplete, or it is another cell's."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    digest, content = data[:DIGEST], data[DIGEST:]
    if _digest(content) != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        if about["cell"] != _named(cell):
            return None
        curves = {name[6:]: (file[name][0], file[name][1]) for name in file.files if name.startswith("curve ")}
        return CellResult(cell, about["metrics"], curves, file["scores"], about["error"])


def _named(cell: Cell) -> list[Any]:
    """What is known of a cell without its options, whose names are in the file's."""
    return [plain(part) for part in cell[:5]] + [_name(cell.method)]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def run_and_save(
    number: int, cell: Cell, source: Source, sizes: Sizes, learner: Learner, limit: float | None, path: str | None
) -> tuple[int, CellResult]:
    """For a worker: run the cell and save its result, unless it failed; a failure is tried again by the next run."""
    result = run(cell, source, sizes, learner, limit)
    if path is not None and not result.error:
        save_cell(result, Path(path))
    return number, result


def clear_cases() -> None:
    """Drop the cached cases: a file may have changed since."""
    _case.cache_clear()


def sources(data: Any, paths: Mapping[str, Any] | None, download: bool, cache: Any, flat: bool) -> dict[str, Source]:
    """Named sets, and data sets that were given, by their names."""
    if isinstance(data, (str, Dataset)):
        data = [data]
    if not isinstance(data, (Mapping, list, tuple)):
        raise DataError(f"data must be names of data sets, a Dataset, or a dict of them, got {type(data).__name__}.")
    if isinstance(data, Mapping):
        pairs = list(data.items())
    else:
        pairs = [(one if isinstance(one, str) else "data", one) for one in data]
    where = tuple(sorted((str(k), str(v)) for k, v in (paths or {}).items()))
    result: dict[str, Source] = {}
    for name, one in pairs:
        if name in result:
            raise DataError(f"two data sets are called {name!r}: pass a dict of names and data sets.")
        if isinstance(one, Dataset):
            result[name] = Source(name, one, flat=flat)
        elif isinstance(one, str):
            result[name] = Source(one, None, where, download, None if cache is None else str(cache), flat)
        else:
            raise DataError(f"data must be names of data sets, a Dataset, or a dict of them, got {type(one).__name__}.")
    return result
