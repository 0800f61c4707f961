"""`evaluate`: methods side by side on a task, over data sets, kinds and rates of errors, and seeds."""

from __future__ import annotations

import inspect
import itertools
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel
from numpy import ndarray
from scipy.stats import rankdata
from tqdm import tqdm

from datassay.checks import DataError, one_of, shown, whole
from datassay.checks import jobs as check_jobs
from datassay.data.dataset import Dataset
from datassay.engines import machine
from datassay.engines.ranks import spearman
from datassay.evaluation.cells import Cell, CellResult, Sizes, clear_cases, key, load_cell, run_and_save, sources
from datassay.evaluation.tasks import LOWER, TASKS, Learner
from datassay.files import PARQUET_KEY, check_target, replacing
from datassay.methods import METHODS, check_options, find, meant
from datassay.methods.spec import method_of
from datassay.units import in_seconds

NAMES = ["task", "data", "kind", "rate", "seed", "method"]
TABLES = ("results", "curves", "agreement")  #: files of a bench
MOST_SEEDS = 100_000
SHIPPED = ("digits", "breast-cancer", "wine", "iris", "2dplanes", "fried", "gaussians")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found, in tidy tables."""

    results: pd.DataFrame  #: task, data, kind, rate, seed, method, metric, value, error: a line for each number, or failure
    curves: pd.DataFrame  #: task, data, kind, rate, seed, method, curve, x, y
    agreement: (
        pd.DataFrame
    )  #: task, data, kind, rate, method, other, spearman: mean over seeds of the rank correlation of the scores
    scores: dict[tuple[Any, ...], ndarray]  #: by task, data, kind, rate, seed, method: (n,) the values themselves

    def table(self, metric: str | None = None, task: str | None = None) -> pd.DataFrame:
        """Mean over seeds, kinds and rates: a line a method, a column a data set, and the mean of these; best first. NaN where a method
        failed in some cell of a data set."""
        task = task or str(self.results["task"].iloc[0])
        if task not in TASKS or not (self.results["task"] == task).any():
            raise DataError(f"there is no task {task!r} here; there are: {', '.join(self.results['task'].unique())}.")
        metric = metric or TASKS[task].main
        some = self.results[(self.results["task"] == task) & (self.results["metric"] == metric)]
        if some.empty:
            raise DataError(f"task {task!r} has no metric {metric!r} here.")
        groups = some.groupby(["method", "data"])["value"]
        wide, counts = groups.mean().unstack("data"), groups.count().unstack("data")
        wide = wide.where(counts == counts.max(), np.nan)  # a mean over other cells than the others' is no comparison
        wide["mean"] = wide.mean(axis=1, skipna=False)
        return wide.sort_values("mean", ascending=metric in LOWER)

    def failures(self) -> pd.DataFrame:
        """The cells that came to nothing, and why."""
        return self.results[self.results["error"] != ""][[*NAMES, "error"]].reset_index(drop=True)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """results.parquet, curves.parquet and agreement.parquet in this folder, each written beside and renamed.

        Files that are there are replaced if datassay wrote them, or with ``force``.
        """
        folder = Path(folder)
        for name in TABLES:
            check_target(folder / f"{name}.parquet", force=force, or_force=", or pass force=True")
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            table = pa.Table.from_pandas(getattr(self, name), preserve_index=False)
            with replacing(folder / f"{name}.parquet") as beside:
                table = table.replace_schema_metadata({**table.schema.metadata, PARQUET_KEY + b".bench": b"1"})
                pq.write_table(table, beside, write_page_checksum=True)
        return folder

    def page(
        self, path: str | Path, *, title: str = "Methods side by side", notes: Sequence[str] = (), force: bool = False
    ) -> Path:
        """One HTML file: tables, critical differences, time against quality, curves."""
        from datassay.evaluation.page import page

        main = {name: TASKS[name].main for name in self.results["task"].unique()}
        return page(
            self.results,
            self.curves,
            path,
            title=title,
            notes=notes,
            metric=main,
            lower=LOWER,
            agreement=self.agreement,
            force=force,
        )

    def __repr__(self) -> str:
        lines = []
        for task in dict.fromkeys(self.results["task"]):
            lines.append(f"{task}, {TASKS[task].main}:")
            try:
                lines.append(self.table(task=task).round(3).to_string())
            except DataError:
                lines.append("nothing: all failed")
        if len(failed := self.failures()):
            lines.append(f"{len(failed)} cells failed: failures() says why.")
        return "\n".join(lines)


def evaluate(
    data: str | Dataset | Sequence[str] | Mapping[str, Dataset | str] = SHIPPED,
    methods: Sequence[str | Mapping[str, Any]] | str | None = None,
    *,
    task: str | Sequence[str] = "noisy-labels",
    kinds: str | Sequence[str] | None = None,
    rates: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] = 5,
    train: int = 1000,
    val: int = 200,
    test: int = 1000,
    learner: Any = None,
    training: Any = None,
    limit: str | float | None = None,
    paths: Mapping[str, str | Path] | None = None,
    download: bool = False,
    cache: str | Path | None = None,
    flat: bool = True,
    folder: str | Path | None = None,
    fresh: bool = False,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Run methods on tasks whose answers are known, and measure.

    For every data set, kind, rate and seed, training, validation and test rows are drawn, errors are planted in the training rows
    alone, each method values the rows, and the task's protocol says how well. Each of these cells has one thread.

    Parameters
    ----------
    data
        Names of data sets (`datassay.evaluation.datasets.SETS`), a `Dataset`, or a dict of names and these.
    methods
        Names, with options if need be: "cg-score", "lossval transport_power=0", or {"method": "lossval", "transport_power": 0,
        "name": "losses alone"}. Default: all.
    task
        One or more of `datassay.evaluation.TASKS`.
    kinds, rates
        Of errors; default: the task's own.
    seeds
        How many, from 0, or which. All randomness of a cell follows from its seed, whatever ``n_jobs``.
    train, val, test
        Rows that are drawn of each data set; fewer, in these proportions, where it has fewer.
    learner, training
        The model that is trained on what values say to keep (tasks removal, addition, window, difficulty, velocity): a scikit-learn
        estimator or a torch module; default: a linear model, and a small network for the last two. Task lds: the model that methods are
        asked about, default: their own.
    limit
        Cells that by their plan take longer are not run, and named as failures: "1 min", or seconds.
    paths
        Files of the sets that come by path: {"mnist": "mnist_train.parquet"}, or {"": folder}.
    download, cache
        Whether sets may be fetched from the network ("openml:pol", "torchvision:FashionMNIST"), and the folder that keeps them.
    flat
        Pictures are given to the methods as columns, so that a perceptron is the default network and not a convolutional one, which
        takes ten times as long.
    folder
        Cells are kept here as they finish: the same call goes on where it was stopped, and another one adds to it. None: nowhere.
    fresh
        Run all cells anew.
    n_jobs
        Cells that run side by side; default: joblib's configuration, else one.
    progress
        A bar on stderr.

    Returns
    -------
    Evaluation
        Tables of results and curves; a method that fails is a line with its error.

    Raises
    ------
    DataError
        There is no such task, data set, method or kind; a file is missing.

    Examples
    --------
    >>> import datassay as da
    >>> found = da.evaluate("iris", ["cg-score", "random"], rates=0.1, seeds=2)
    >>> table = found.table("auc")
    >>> table.index.tolist(), bool(table.loc["cg-score", "mean"] > 0.9)
    (['cg-score', 'random'], True)
    """
    for name, size in (("train", train), ("val", val), ("test", test)):
        whole("evaluate", 1, **{name: size})
    one_of("evaluate", (True, False), download=download, flat=flat, fresh=fresh, progress=progress)
    check_jobs("evaluate", n_jobs)
    if paths is not None and not isinstance(paths, Mapping):
        raise DataError(f"evaluate: paths must be a table of names and files, got {paths!r}.")
    for name, folder_name in (("folder", folder), ("cache", cache)):
        if not isinstance(folder_name, (str, Path, type(None))):
            raise DataError(f"evaluate: {name} must be the name of a folder, got {folder_name!r}.")
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise DataError(f"{str(folder)!r} is a file: give the name of a folder.")
    where, sizes, learns = sources(data, paths, download, cache, flat), Sizes(train, val, test), Learner(learner, training)
    cells = _cells(list(where), methods, task, kinds, rates, seeds)
    seconds = None if limit is None else in_seconds(limit, "limit")
    home = None if folder is None else Path(folder) / "cells"
    for source in where.values():  # a set that is not there is said before the work begins
        source.split(sizes, 0)
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)

    def path(cell: Cell) -> Path | None:
        return None if home is None else home / f"{key(cell, where[cell.data], sizes, learns)}.cell"

    clear_cases()
    done: dict[int, CellResult] = {}
    if home is not None and not fresh:
        for number, cell in enumerate(cells):
            file = path(cell)
            if file is not None and (result := load_cell(file, cell)) is not None:
                done[number] = result
    bar = tqdm(
        total=len(cells), initial=len(done), desc="evaluate", disable=None if progress else True, leave=False, unit="cell",
        smoothing=0.05,
    )  # fmt: skip
    with bar, warnings.catch_warnings():
        # a worker that imports torch has grown so much that loky replaces it: nothing is lost
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        tasks = (
            machine.task(
                run_and_save,
                number,
                cell,
                where[cell.data],
                sizes,
                learns,
                seconds,
                None if (p := path(cell)) is None else str(p),
            )
            for number, cell in enumerate(cells)
            if number not in done
        )
        with machine.by_default(n_jobs), machine.deaf_workers():
            results = Parallel(n_jobs=machine.at_most(n_jobs), return_as="generator_unordered")(tasks)
        for number, result in results:
            done[number] = result
            bar.set_postfix_str(f"{result.cell.data} {result.cell.title}")
            bar.update()
    ordered = [done[number] for number in range(len(cells))]
    return Evaluation(
        _results(ordered), _curves(ordered), _agreement(ordered), {f.cell[:6]: f.scores for f in ordered if not f.error}
    )


def _cells(data: list[str], methods: Any, task: Any, kinds: Any, rates: Any, seeds: Any) -> list[Cell]:
    """All cells; those of the first seed first, so that a study that is stopped has something to say."""
    for name, argument in (("task", task), ("methods", methods), ("kinds", kinds)):
        if not isinstance(argument, (str, Mapping, list, tuple, type(None))) and not (
            name == "methods" and callable(argument)
        ):
            raise DataError(f"evaluate: {name} must be a name or a list of names, got {argument!r}.")
    tasks = [task] if isinstance(task, str) else list(task)
    for name in tasks:
        if not isinstance(name, str) or name not in TASKS:
            raise DataError(f"there is no task {name!r}{meant(str(name), TASKS)} There are: {', '.join(TASKS)}.")
    requested = (
        [methods]
        if isinstance(methods, (str, Mapping)) or callable(methods)
        else list(METHODS)
        if methods is None
        else list(methods)
    )
    named = [method_of(one) for one in requested]
    if len({title for title, _, _ in named}) < len(named):
        raise DataError(f"two methods are called the same: {', '.join(title for title, _, _ in named)}; give one a name.")
    for _, method, options in named:
        name, entry = find(method)
        if options and not entry.missing():
            check_options(name, entry, options)
    if not tasks or not named or not data:
        raise DataError("evaluate needs a task, a method and a data set.")
    if isinstance(seeds, bool) or not isinstance(seeds, (int, range, list, tuple)):
        raise DataError(f"evaluate: seeds must be a number of seeds or a list of them, got {seeds!r}.")
    which = range(seeds) if isinstance(seeds, int) else seeds
    if which and len(which[: MOST_SEEDS + 1]) > MOST_SEEDS:
        raise DataError(f"evaluate: seeds must be at most {MOST_SEEDS:,}, which nobody waits for, got {shown(seeds)}.")
    for seed in which:
        whole("evaluate", 0, seed=seed)
    if not which:
        raise DataError("evaluate needs one seed at least.")
    for name, argument in (("task", tasks), ("seed", which), ("rate", rates), ("kind", kinds)):
        if isinstance(argument, (list, tuple)) and len(set(map(str, argument))) < len(argument):
            raise DataError(f"evaluate: a {name} is there twice: {', '.join(map(str, argument))}.")
    cells = []
    for seed, name in itertools.product(which, tasks):
        t = TASKS[name]
        chosen_kinds = t.kinds if kinds is None else (kinds,) if isinstance(kinds, str) else tuple(kinds)
        for kind in chosen_kinds:
            if name != "time" and kind not in t.kinds + t.other_kinds:
                raise DataError(f"task {name!r} has no kind {kind!r}; it has {', '.join(t.kinds + t.other_kinds)}.")
        if rates is not None and not isinstance(rates, (int, float, list, tuple)):
            raise DataError(f"evaluate: rates must be a number or a list of numbers, got {rates!r}.")
        levels = t.rates if rates is None else (rates,) if isinstance(rates, (int, float)) else tuple(rates)
        for level in levels:
            if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 <= level < 1:
                raise DataError(f"a rate is a share of the rows, from 0 on and below 1, got {level!r}.")
        for kind, rate, where in itertools.product(chosen_kinds, levels, data):
            for title, method, options in named:
                if methods is None and not t.needs(method):
                    continue  # of all methods those that can be asked
                cells.append(Cell(name, where, kind, float(rate), int(seed), title, method, tuple(options.items())))
    return cells


def _line(cell: Cell) -> dict[str, Any]:
    return dict(zip(NAMES, cell[:6], strict=True))


def _results(results: list[CellResult]) -> pd.DataFrame:
    lines: list[dict[str, Any]] = []
    for f in results:
        if f.error:
            lines.append(_line(f.cell) | {"metric": "failed", "value": np.nan, "error": f.error})
        lines += [
            _line(f.cell) | {"metric": name, "value": value, "error": ""}
            for name, value in f.metrics.items()
            if value == value
        ]
    lines += _stability(results)
    return pd.DataFrame(lines, columns=[*NAMES, "metric", "value", "error"])


def _stability(results: list[CellResult]) -> list[dict[str, Any]]:
    """Rank correlation of each seed's scores with those of the next, and how many of the worst tenth both have."""
    groups: dict[tuple[Any, ...], list[CellResult]] = {}
    for f in results:
        if TASKS[f.cell.task].same_rows and not f.error:
            groups.setdefault((*f.cell[:4], f.cell.title), []).append(f)
    lines = []
    for group in groups.values():
        for a, b in itertools.pairwise(group):
            k = max(1, len(a.scores) // 10)
            first, other = (set(np.argsort(f.scores, kind="stable")[:k].tolist()) for f in (a, b))
            for name, value in (
                ("rank_correlation", spearman(a.scores, b.scores)),
                ("same_suspects", len(first & other) / len(first | other)),
            ):
                lines.append(_line(a.cell) | {"metric": name, "value": value, "error": ""})
    return lines


def _curves(results: list[CellResult]) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for f in results:
        for name, (x, y) in f.curves.items():
            parts.append(pd.DataFrame(_line(f.cell) | {"curve": name, "x": x, "y": y}))
    names = [*NAMES, "curve", "x", "y"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def _agreement(results: list[CellResult]) -> pd.DataFrame:
    """Mean over seeds of the rank correlation of each two methods' scores of the same rows."""
    groups: dict[tuple[Any, ...], list[CellResult]] = {}
    for f in results:
        if not f.error and not TASKS[f.cell.task].same_rows:
            groups.setdefault(f.cell[:5], []).append(f)
    lines = []
    for where, group in groups.items():
        ranks = np.stack([rankdata(f.scores) for f in group])
        for f, r in zip(group, ranks, strict=True):
            if np.ptp(f.scores) == 0:
                r[:] = np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            together = np.corrcoef(ranks) if len(group) > 1 else np.ones((1, 1))
        for (i, a), (j, b) in itertools.combinations(enumerate(group), 2):
            lines.append([*where[:4], a.cell.title, b.cell.title, together[i, j]])
    names = ["task", "data", "kind", "rate", "method", "other", "spearman"]
    frame = pd.DataFrame(lines, columns=names)
    return frame.groupby(names[:-1], sort=False, as_index=False)["spearman"].mean()


def bench_file(path: Path) -> dict[str, Any]:
    """The keywords of `evaluate` in a TOML file."""
    try:
        options_in_file = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"there is no file {str(path)!r}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} is not TOML: {error}.") from None
    options = [name for name in inspect.signature(evaluate).parameters if name not in ("learner", "training")]
    for name in options_in_file:
        if name not in options:
            raise DataError(f"{str(path)!r}: there is no {name!r}{meant(name, options)} It may have: {', '.join(options)}.")
    return options_in_file
