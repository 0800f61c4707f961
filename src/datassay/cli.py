"""The command line: parse, call, print. Exit status 0 done, 1 the run failed, 2 the call or the data is wrong."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datassay.checks import DataError, OptionError
from datassay.checks import jobs as check_jobs
from datassay.files import check_paths, check_target

if TYPE_CHECKING:
    from datassay.data.dataset import Dataset

app = typer.Typer(
    help="What each training row is worth, and which rows are wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Stopped(Exception):  # noqa: N818
    """Ctrl-C or SIGTERM: what is kept, and how to go on."""


class _Out:
    """Standard output, which may go away or be full: no reason to lose what was found."""

    trouble: Exception | None = None

    def write(self, text: str) -> int:
        try:
            if self.trouble is None:
                sys.stdout.write(text)
        except (OSError, ValueError) as error:
            self.trouble = error
        return len(text)

    def flush(self) -> None:
        try:
            if self.trouble is None:
                sys.stdout.flush()
        except (OSError, ValueError) as error:
            self.trouble = error

    def isatty(self) -> bool:
        return sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()

    def fileno(self) -> int:
        return sys.stdout.fileno()

    @property
    def encoding(self) -> str:
        return getattr(sys.stdout, "encoding", None) or "utf-8"


stdout = _Out()
out = Console(file=cast(IO[str], stdout), soft_wrap=True, highlight=False, emoji=False)

FEWEST = 40  # rows with which methods are compared; with fewer it is the CG-score

DataPath = Annotated[
    Path, typer.Argument(help="CSV, Parquet, npz, npy, or a folder of images with a sub-folder for each class.")
]
Label = Annotated[str | None, typer.Option("--label", help="Column of labels; for npy the file of labels.")]
Id = Annotated[str | None, typer.Option("--id", help="Column of ids; default: the row number.")]
Val = Annotated[Path | None, typer.Option("--val", help="File of validation rows, of the same form.")]
Features = Annotated[
    str | None,
    typer.Option(
        "--features",
        help="What to value the rows on: pixels, patches (of images) or auto; or .npy or .parquet with a row of numbers for each row.",
    ),
]
ValFeatures = Annotated[Path | None, typer.Option("--val-features", help="The same for the validation rows.")]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="Column to leave out; may be repeated.")]
Missing = Annotated[
    str, typer.Option("--missing", help="What to do with missing cells: error, drop the row, or fill in the mean.")
]
Task = Annotated[str | None, typer.Option("--task", help="classification or regression; default: found from the labels.")]
ImageSize = Annotated[int | None, typer.Option("--image-size", min=1, help="Bring images to this many pixels a side.")]
Encoding = Annotated[str, typer.Option("--encoding", help="Of CSV files, such as latin-1.")]
Budget = Annotated[str | None, typer.Option("--budget", help="Time that may be spent, such as '10 min'.")]
Memory = Annotated[
    str | None, typer.Option("--memory", help="Memory that may be used, such as '8 GB'; default: what is free.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that datassay did not write.")]
Top = Annotated[int, typer.Option("--top", min=1, help="How many suspects the report shows.")]


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from datassay import __version__

        out.print(__version__)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to write; made if it is not there.")] = Path(
        "datassay-demo"
    ),
    seed: Annotated[int, typer.Option(help="Which labels are planted wrong.")] = 0,
    force: Force = False,
) -> None:
    """Find wrong labels planted in real data.

    1,797 handwritten digits, scikit-learn's, 10 % of the labels planted wrong.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    from datassay.data.dataset import Dataset
    from datassay.evaluation import detection, plant_wrong_labels
    from datassay.methods import value as value_rows
    from datassay.reporting import report as write_report

    if not folder.is_dir() and os.path.lexists(folder):
        raise DataError(f"{str(folder)!r} is a file: give the name of a folder.")
    saved, page = folder / "values.parquet", folder / "report.html"
    if folder.is_dir():
        _paths([], [saved, page, page.with_suffix(".json")], force)
    elif not folder.parent.is_dir():
        raise DataError(f"the folder {str(folder.parent)!r} does not exist: make it first.")
    digits = load_digits()
    data, wrong = plant_wrong_labels(Dataset(digits.images, digits.target), 0.1, seed=seed)
    out.print(
        f"{len(data)} handwritten digits (scikit-learn's); {wrong.sum()} labels (10 %) were planted wrong for this demo."
    )
    values = value_rows(data, method="cg-score", seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    values.save(saved, force=force)
    write_report(values, data, page, top=200, force=force)
    found = detection(values.scores, wrong)
    first = np.argsort(values.scores, kind="stable")
    out.print(f"Valued by cg-score in {values.stats['seconds']:.1f} s, no model trained. Planted rows among the")
    for k in (50, 100, int(wrong.sum())):
        out.print(f"  first {k:4d} suspects: {wrong[first[:k]].sum():4d}    (by chance: {k * wrong.mean():.0f})")
    out.print(
        f"{values.flagged.sum()} rows are flagged, {(values.flagged & wrong).sum()} of them planted; "
        f"AUC {found['auc']:.4f} (by chance 0.5)."
    )
    out.print(
        f"Wrote {saved} and {page}.\nOpen {page.resolve().as_uri()} in a browser: the suspects, and what speaks against them."
    )


@app.command()
def value(
    data: DataPath,
    label: Label = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="One of `datassay methods`; default: what `datassay audit` recommends."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")] = Path("values.parquet"),
    id: Id = None,
    val: Val = None,
    features: Features = None,
    val_features: ValFeatures = None,
    drop: Drop = None,
    missing: Missing = "error",
    task: Task = None,
    image_size: ImageSize = None,
    encoding: Encoding = "utf-8",
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the method, as in --set ridge=0; may be repeated.")
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            help="Out-of-sample probabilities of a model (Parquet, CSV: a column a class; npy): the default method is then noise-model.",
        ),
    ] = None,
    budget: Budget = None,
    memory: Memory = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Workers; default: a thread for each core.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", help="joblib's: loky, threading, dask or ray.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Address of a running dask or ray cluster.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many suspects to print.")] = 10,
    report: Annotated[Path | None, typer.Option("--report", help="Also write the report to this HTML file.")] = None,
    force: Force = False,
) -> None:
    """Value every row of a file.

    Prints the most suspicious rows and writes all values to a Parquet file. Without --method, errors are planted in copies of the
    data for half of the budget (20 seconds if none is given), a method that none clearly beats values the rows, and a column
    probability_wrong says what its suspects are worth. With --method and --budget or --memory, the approximation is that of
    `datassay plan`.
    """
    from datassay.engines.machine import backend as workers
    from datassay.methods import value as value_rows
    from datassay.methods.spec import options_of
    from datassay.reporting import report as write_report
    from datassay.subsets.study import INTERRUPTED

    if scheduler is not None and backend not in ("dask", "ray"):
        raise DataError("--scheduler is the address of a cluster: it goes with --backend dask or --backend ray.")
    check_jobs("value", jobs)
    if backend == "ray" and scheduler is None:
        out.print(
            "Ray's services listen on all addresses of this machine while this runs: on a network of others take dask."
        )
    options = options_of(set_ or [])
    if probabilities is not None:
        method, options = method or "noise-model", options | {"probabilities": str(probabilities)}
    _paths(
        [data, *_beside(data, label, id), val, _file(features), val_features, probabilities],
        [output, report, _json(report)],
        force,
        options,
    )
    rows = _read(
        data, label, id, val, features, val_features, drop, missing, task, image_size, encoding,
        choose=_on_any_features(method),
    )  # fmt: skip
    out.print(escape(f"{data}: {rows!r}"))
    if len(rows.dropped):
        out.print(f"{len(rows.dropped)} rows with missing cells were left out.")
    audited = None
    if method is None and rows.task == "classification" and len(rows) >= FEWEST and not options:
        from datassay.evaluation.audit import audit as look
        from datassay.units import in_seconds

        with _stopping("nothing is written, and what was there is as it was"):
            audited = look(rows, budget=in_seconds(budget or "40 s", "budget") / 2, seed=seed)
        _audited(audited, len(rows))
        method = audited.name
    if budget is not None or memory is not None or (audited is not None and len(rows) > audited.rows):
        from datassay.planning import plan as make

        found = make(rows, method, budget=budget, memory=memory)
        if found.method is None:
            _table(found.shown(), title="what each would take on this machine")
            _fail("nothing fits: give a larger --budget or --memory, or fewer rows", 1)
        method, options = found.method, found.options | options
        out.print(escape(f"Planned: {method} {found.options}"))
    name = method or "cg-score"
    with ExitStack() as stack:
        try:
            stack.enter_context(workers(backend, jobs, scheduler))
        except ValueError as error:
            raise DataError(f"--backend, --scheduler: {error}") from None
        with _going_on(name, options):
            values = value_rows(rows, method=name, seed=seed, **options)
    if audited is not None:
        values = audited.calibrate(values)
    if values.stats.get("stopped") == INTERRUPTED and not force:
        output, report = _beside_finished(output), report and _beside_finished(report)
    saved = values.save(output, force=force)
    if report is not None:
        write_report(values, rows, report, top=100, force=force)
    if (stopped := values.stats.get("stopped")) in (INTERRUPTED, "the time was up"):
        of = values.options.get("n_models")
        done = f"{values.stats['trainings']:,}" + (f" of {of:,}" if isinstance(of, int) else "") + " trainings"
        out.print(f"This run stopped early, {done}: {stopped}.")
    if doubled := values.stats.get("equal_rows"):
        groups = len(values.stats["conflicting_rows"])
        out.print(
            f"{doubled} rows have an equal row"
            + ("" if values.stats.get("bias") else ", or one that is a multiple of it")
            + (f"; in {groups} groups of them the labels conflict." if groups else ".")
        )
    if said := values.headline("label" if rows.task == "classification" else "target"):
        out.print(escape(f"{said[0].upper()}{said[1:]}."))
    share = values.flagged.mean()
    out.print(
        escape(f"{values.flagged.sum()} of {len(values)} rows ({share:.1%}) are flagged: {values.stats['flag_rule']}.")
    )
    if "way" in values.stats:
        out.print(escape(f"How: {values.stats['way']}."))
    if "warning" in values.stats:
        out.print(escape(f"Warning: {values.stats['warning']}."))
    if top:
        _table(values.suspects(top).iloc[:, :6], title="most suspicious rows")
    out.print(escape(_shown(f"{values.stats['seconds']:.1f} s; wrote {saved}.")))
    if report is not None:
        _wrote(report)
    else:
        out.print(escape(f"Next: datassay report {saved} --data {data} -o report.html"))


@app.command()
def report(
    values: Annotated[Path, typer.Argument(help="What `datassay value` wrote.")],
    data: Annotated[Path, typer.Option("--data", help="The file that was valued.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write; the JSON goes beside it.")] = Path(
        "report.html"
    ),
    top: Top = 100,
    label: Label = None,
    id: Id = None,
    val: Val = None,
    features: Features = None,
    val_features: ValFeatures = None,
    drop: Drop = None,
    missing: Annotated[str | None, typer.Option("--missing", help="As in `datassay value`.")] = None,
    task: Task = None,
    image_size: ImageSize = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="As in `datassay value`.")] = None,
    force: Force = False,
) -> None:
    """Write one HTML page of suspects.

    With what is unusual about them, and the rows that speak against their labels.

    How the data was read is remembered in the values; the options are needed only where it changed.
    """
    from datassay.values import Values

    _paths([values, data, val, _file(features), val_features], [output, _json(output)], force)
    found = Values.load(values)
    was = found.stats.get("source", {})
    given = {
        "label": label, "id": id, "val": val, "features": features, "val_features": val_features, "drop": drop,
        "missing": missing, "task": task, "image_size": image_size, "encoding": encoding,
    }  # fmt: skip
    asked: dict[str, Any] = {name: was.get(name) if came is None else came for name, came in given.items()}
    asked["missing"], asked["encoding"] = asked["missing"] or "error", asked["encoding"] or "utf-8"
    reads = [values, data, *_beside(data, asked["label"], asked["id"])]
    files = (asked["val"], _file(asked["features"]), asked["val_features"])
    reads += [Path(str(file)) for file in files if file is not None]
    _paths(reads, [output, _json(output)], force)
    rows = _read(data, **asked)
    _report(found, rows, output, top, force)


@app.command()
def plan(
    data: DataPath,
    label: Label = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="One of `datassay methods`; default: all.")] = None,
    budget: Budget = None,
    memory: Memory = None,
    id: Id = None,
    val: Val = None,
    features: Features = None,
    val_features: ValFeatures = None,
    drop: Drop = None,
    missing: Missing = "error",
    task: Task = None,
    image_size: ImageSize = None,
    encoding: Encoding = "utf-8",
) -> None:
    """Predict time, memory and disk; nothing is valued.

    For every method, from a probe of a few seconds; with a budget, which to take.
    """
    from datassay.planning import plan as make

    rows = _read(
        data, label, id, val, features, val_features, drop, missing, task, image_size, encoding,
        choose=_on_any_features(method),
    )  # fmt: skip
    out.print(escape(f"{data}: {rows!r}"))
    found = make(rows, method, budget=budget, memory=memory)
    _table(found.shown(), title="what each would take on this machine")
    if found.method is None:
        _fail("nothing fits: give a larger --budget or --memory, or fewer rows", 1)
    told = _told(label, id, val, features, val_features, drop, missing, task, image_size, encoding)
    out.print(escape(f"Next: {_shown(shlex.join(_to_value(data, told, found.method, found.options)))}"))


@app.command()
def audit(
    data: DataPath,
    label: Label = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", "-m", help="Try this one, as in 'lossval transport_power=0'; may be repeated. Default: all that fit."
        ),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="Time for all methods, such as '5 min'.")] = "1 min",
    kind: Annotated[
        str, typer.Option("--kind", help="Of the planted errors: uniform, pair-flip, features or mixed.")
    ] = "uniform",
    rate: Annotated[float, typer.Option("--rate", help="Their share of the rows.")] = 0.05,
    repeats: Annotated[
        int,
        typer.Option("--repeats", min=1, help="Copies of the data, each with other errors; fewer where the budget ends."),
    ] = 8,
    rows: Annotated[int, typer.Option("--rows", min=20, help="Of more rows so many are drawn.")] = 2000,
    id: Id = None,
    val: Val = None,
    features: Features = None,
    val_features: ValFeatures = None,
    drop: Drop = None,
    missing: Missing = "error",
    task: Task = None,
    image_size: ImageSize = None,
    encoding: Encoding = "utf-8",
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
) -> None:
    """Find out which method to trust on these data.

    Plants known errors in copies of them, and says how many of the first suspects to expect to be wrong.
    """
    from datassay.evaluation.audit import audit as look
    from datassay.methods.spec import method_of

    for _, _, options in map(method_of, method or []):
        _paths([data, *_beside(data, label, id), val, _file(features), val_features], [], options=options)
    given = _read(data, label, id, val, features, val_features, drop, missing, task, image_size, encoding, choose=True)
    out.print(escape(f"{data}: {given!r}"))
    with _stopping("an audit keeps nothing: a smaller --budget ends sooner"):
        found = look(given, method, budget=budget, kind=kind, rate=rate, repeats=repeats, rows=rows, seed=seed)
    _audited(found, len(given))
    told = _told(label, id, val, features, val_features, drop, missing, task, image_size, encoding)
    words = _to_value(data, told, found.name, found.options)
    out.print(escape(f"Next: {_shown(shlex.join(words))}"))


@app.command()
def bench(
    study: Annotated[
        Path | None, typer.Argument(help="TOML file with what is asked for; options below go before it.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="One of the tasks; may be repeated. Default: noisy-labels.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Name of a data set, or a file with --label; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="As in 'lossval transport_power=0'; may be repeated. Default: all."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Of errors; may be repeated. Default: the task's.")
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option("--rate", help="Of errors; may be repeated. Default: the task's.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many; default 5.")] = None,
    train: Annotated[int | None, typer.Option("--train", min=4, help="Training rows; default 1000.")] = None,
    val: Annotated[int | None, typer.Option("--val", min=1, help="Validation rows; default 200.")] = None,
    test: Annotated[int | None, typer.Option("--test", min=1, help="Test rows; default 1000.")] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="Leave out cells that by their plan take longer.")] = None,
    path: Annotated[
        list[str] | None,
        typer.Option("--path", help="mnist=mnist_train.parquet, or a folder with the usual names; may be repeated."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch openml: and torchvision: sets from the network.")
    ] = False,
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder that keeps what was fetched.")] = None,
    label: Label = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; a study that was stopped goes on there.")
    ] = Path("datassay-bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Run all cells anew.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Cells that run side by side; default 1.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the tasks and the data sets, and run nothing.")] = False,
    force: Force = False,
) -> None:
    """Run methods side by side on tasks whose answers are known.

    Writes results.parquet, curves.parquet, agreement.parquet and one page, index.html.
    """
    from datassay.evaluation import TASKS, evaluate
    from datassay.evaluation.bench import TABLES, bench_file
    from datassay.evaluation.datasets import SETS

    if list_:
        _listed(("task", "what is done", "kinds", "rates", "metric"), [
            (name, t.says, ", ".join(t.kinds + t.other_kinds), ", ".join(f"{r:g}" for r in t.rates), t.main) for name, t in TASKS.items()
        ])  # fmt: skip
        _listed(("data", "what it is", "task", "from", "licence"), [
            (name, one.says, one.task, one.source, one.licence) for name, one in SETS.items()
        ])  # fmt: skip
        return
    tables = [output / f"{name}.parquet" for name in TABLES]
    asked = {} if study is None else bench_file(study)
    pairs = {
        name if equals else "": file if equals else name for name, equals, file in (one.partition("=") for one in path or [])
    }
    given = {
        "task": task, "methods": method, "kinds": kind, "rates": rate, "seeds": seeds, "train": train, "val": val, "test": test,
        "limit": limit, "paths": pairs or None, "download": download or None, "cache": cache, "fresh": fresh or None, "n_jobs": jobs,
    }  # fmt: skip
    asked |= {name: chosen for name, chosen in given.items() if chosen is not None and chosen != []}
    if os.path.lexists(output) and not output.is_dir():
        raise DataError(f"{str(output)!r} is a file: give the name of a folder.")
    if output.is_dir():
        files = [Path(str(file)) for file in asked["paths"].values()] if isinstance(asked.get("paths"), dict) else []
        _paths([study, *map(Path, data or []), *files], [*tables, output / "index.html"], force)
    if data:
        asked["data"] = {
            name: _read(Path(name), label, None, None, None, None, None, "error", None, None, "utf-8")
            if Path(name).suffix and ":" not in name
            else name
            for name in data
        }
    asked.setdefault("folder", output)
    with _stopping(f"the cells that were done are kept in {str(output / 'cells')!r}: the same call goes on there"):
        found = evaluate(**asked)
    found.save(output, force=force)
    try:
        written = found.page(output / "index.html", title="datassay bench", force=force)
    except DataError as error:
        _fail(f"the tables are in {str(output)!r}, and there is no page: {error}", 1)
    for name in dict.fromkeys(found.results["task"]):
        _table(_summary(found, name), title=f"{name}: {TASKS[name].main}, mean over seeds, kinds and rates")
    if len(failed := found.failures()):
        out.print(
            escape(
                f"{len(failed)} of the cells failed; the first: {failed['method'][0]} on {failed['data'][0]}: {failed['error'][0]}"
            )
        )
    out.print(escape(f"Wrote {output / 'results.parquet'} and {written}. Open {written.resolve().as_uri()} in a browser."))


def _summary(found: Any, task: str) -> Any:
    """The main metric, a line a method."""
    try:
        return found.table(task=task).reset_index().round(4)
    except DataError:
        return found.failures()[["method", "data", "error"]].head(10)


def _listed(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
    table = Table(show_lines=True)
    for column in head:
        table.add_column(column, overflow="fold", no_wrap=column == head[0])
    for line in lines:
        table.add_row(*[escape(cell) for cell in line])
    out.print(table)


def _audited(found: Any, n: int) -> None:
    """What an audit says, in a table and two sentences."""
    copies = "a copy" if found.repeats == 1 else f"{found.repeats} copies"
    shown = found.table.drop(columns="error") if (found.table["error"] == "").all() else found.table
    _table(shown.round(4), title=f"errors planted in {copies} of {found.rows} rows: {found.kind}, {found.rate:.0%}")
    if found.early:
        out.print(
            escape(f"{found.name} finds them well, and others are seldom better by much: none was tried (-m all tries all).")
        )
    reasons: dict[str, list[str]] = {}
    for name, why in found.left_out.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        out.print(escape(f"Not tried: {', '.join(names)}: {why}."))
    line = found.table.iloc[0]
    out.print(escape(f"Take {found.name}: it puts a planted error before another row with probability {line['auc']:.3f}."))
    if found.error_rate is not None:
        said = found.share_in_words()
        out.print(escape(f"{said[0].upper()}{said[1:]}."))
        for k in sorted({min(k, n) for k in (20, 100, max(1, round(found.error_rate * n)))}):
            out.print(escape(f"{str(found.expected(k, n)).capitalize()}."))


@app.command()
def methods() -> None:
    """Print the table of methods.

    What a low score says, what the method needs, its cost, the paper's sign, the paper.
    """
    from datassay.methods import METHODS

    table = Table(show_lines=True)
    for column in ("method", "a low score says", "needs", "cost", "the paper's sign", "paper"):
        table.add_column(column, overflow="fold", no_wrap=column == "method")
    for name, m in METHODS.items():
        table.add_row(name, m.says, m.needs, m.cost, m.sign, m.paper)
    out.print(table)
    out.print("Scores are always turned so that higher = more worth keeping; the columns keep the paper's sign.")


def _file(features: Any) -> Path | None:
    """Where features are read from; None for a name."""
    from datassay.data.features import NAMES

    return None if features is None or features in NAMES else Path(features)


def _read(
    path: Path, label: Any, id: Any, val: Any, features: Any, val_features: Any, drop: Any, missing: Any, task: Any,
    image_size: Any, encoding: Any, *, choose: bool = False,
) -> Dataset:  # fmt: skip
    """The rows; with ``choose``, and where no features are asked for, images on patches where their labels ask for these."""
    from datassay.data.dataset import is_images
    from datassay.data.read import read

    data = read(
        path, label=label, id=id, val=val, features=features, val_features=val_features, drop=drop or (),
        missing=missing, task=task, image_size=image_size, encoding=encoding,
    )  # fmt: skip
    if choose and features is None and is_images(data.shown):
        source = data.source
        data = data.with_features("auto")
        data.source = source | {"features": next(iter(data.features["features"]))}
    for note in data.notes:
        out.print(escape(f"Note: {note}."))
    return data


def _on_any_features(method: str | None) -> bool:
    """Whether it is no method that trains a network, which makes its own features of pixels."""
    from datassay.methods import METHODS

    return method is None or method not in METHODS or METHODS[method].model != "network"


def _paths(
    reads: Sequence[Path | None],
    writes: Sequence[Path | None],
    force: bool = False,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Before any work: all that the call reads and writes, the files among a method's options too."""
    from datassay.methods.definition import ADDS_TO, WRITES

    named = {name: given for name, given in (options or {}).items() if isinstance(given, (str, Path)) and str(given)}
    check_paths(
        reads,
        [*writes, *(Path(named[name]) for name in WRITES if name in named and Path(named[name]).parent.is_dir())],
        adds_to=[Path(named[name]) for name in ADDS_TO if name in named],
        force=force,
        or_force=", or add --force",
    )
    for name in WRITES:
        if name in named:
            check_target(named[name])


def _json(page: Path | None) -> Path | None:
    """The file beside a page; a folder has none."""
    return None if page is None or page.is_dir() or not page.name else page.with_suffix(".json")


def _beside(data: Path, label: Any, id: Any) -> list[Path]:
    """The files of labels and ids of an npy file."""
    if data.suffix.lower() != ".npy":
        return []
    found = [Path(name) if Path(name).is_file() else data.parent / name for name in (label, id) if isinstance(name, str)]
    return [path for path in found if path.is_file()]


def _told(
    label: Any,
    id: Any,
    val: Any,
    features: Any,
    val_features: Any,
    drop: Any,
    missing: str,
    task: Any,
    size: Any,
    encoding: str,
) -> list[str]:
    """How the rows are read, as words of a command; what is as by default is left out."""
    chosen = {
        "--label": label, "--id": id, "--val": val, "--features": features, "--val-features": val_features, "--task": task,
        "--image-size": size, "--missing": None if missing == "error" else missing,
        "--encoding": None if encoding == "utf-8" else encoding,
    }  # fmt: skip
    words = [word for name, what in chosen.items() if what is not None for word in (name, str(what))]
    return words + [word for name in drop or [] for word in ("--drop", name)]


def _to_value(data: Path, told: list[str], method: str, options: Mapping[str, Any]) -> list[str]:
    """The command that values the rows."""
    chosen = [word for name, what in options.items() for word in ("--set", f"{name}={what}")]
    return ["datassay", "value", str(data), *told, "-m", method, *chosen]


@contextmanager
def _stopping(kept: str) -> Iterator[None]:
    """Ctrl-C inside says what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {kept}.") from None


def _going_on(method: str, options: Mapping[str, Any]) -> AbstractContextManager[None]:
    """What is kept of a method that was stopped."""
    from datassay.methods import takes

    for name, what in (("store", "the trainings that were done are"), ("checkpoint", "what was done is")):
        if options.get(name) is not None:
            return _stopping(f"{what} kept in {str(options[name])!r}: the same call goes on there")
    hints = {"store": "--set store=trainings.sqlite", "checkpoint": "--set checkpoint=a-folder"}
    hint = next(
        (f"; with {said} the same call goes on where it was stopped" for n, said in hints.items() if takes(n, method)), ""
    )
    return _stopping(f"nothing is written, and what was there is as it was{hint}")


def _beside_finished(path: Path) -> Path:
    """The path, or one beside it where a file is there: half a run does not take the place of a whole one."""
    if not path.exists():
        return path
    for number in itertools.count(1):
        beside = path.with_name(f"{path.stem}.stopped{'' if number == 1 else f'-{number}'}{path.suffix}")
        with suppress(DataError):
            check_paths([], [beside, *([beside.with_suffix(".json")] if path.suffix == ".html" else [])])
            break
    return beside


def _report(values: Any, rows: Dataset, path: Path, top: int, force: bool) -> None:
    from datassay.reporting import report as write

    _wrote(write(values, rows, path, top=top, force=force))


def _wrote(page: Path) -> None:
    out.print(escape(f"Wrote {page} and {page.with_suffix('.json')}. Open {page.resolve().as_uri()} in a browser."))


def _table(frame: Any, title: str) -> None:
    table = Table(title=escape(title))
    for column in frame.columns:
        table.add_column(escape(_shown(column)))
    for row in frame.itertuples(index=False):
        table.add_row(*[escape(_shown(cell)) for cell in row])
    out.print(table)


def _shown(cell: Any) -> str:
    """Numbers short, and no control characters: they could steer the terminal."""
    text = f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


@app.command()
def check(
    values: Annotated[Path, typer.Argument(help="What `datassay value` wrote, or an earlier `datassay check --answers`.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many rows to draw in all.")] = 60,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="The drawn rows with the column wrong filled in: yes or no.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; default: sample.csv, with --answers checked.parquet."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which rows are drawn; a larger -n with the same seed goes on.")] = 0,
    force: Force = False,
) -> None:
    """Look at a few rows, and know how many labels are wrong.

    Draws rows and writes them to a CSV file with an empty column wrong. With --answers that file comes back: prints
    between which numbers of labels are wrong, wherever one stopped, and writes the values with what was found.
    """
    from datassay.evaluation.checking import checked, in_words, read_answers, write_sheet
    from datassay.values import Values

    written = output or Path("sample.csv" if answers is None else "checked.parquet")
    _paths([values, answers], [] if answers is None else [written], force)  # a sheet takes the place of nothing
    found = Values.load(values)
    if answers is None:
        write_sheet(found, number, written, seed)
        out.print(escape(f"Wrote {number} of {len(found)} rows to {written}: fill in the column wrong with yes or no."))
        out.print(escape(f"Next: datassay check {values} --answers {written}"))
        return
    found = checked(found, read_answers(answers))
    for line in in_words(found):
        out.print(escape(line))
    out.print(escape(f"Wrote {found.save(written, force=force)}."))


def main() -> None:
    """Entry point: errors become one sentence and a status."""
    for name in ("SIGTERM", "SIGHUP"):  # like Ctrl-C: what was done is kept, and workers end
        number = getattr(signal, name, None)
        if number and threading.current_thread() is threading.main_thread() and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    status = 0
    stdout.trouble = None
    try:
        app()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except (DataError, OptionError) as error:
        status = _said(str(error), 2)
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        status = _said(str(error), 2)
    except Stopped as error:
        status = _said(str(error), 130)
    except KeyboardInterrupt:
        status = _said("stopped", 130)
    except MemoryError as error:
        status = _said(f"there is not enough memory: {str(error) or 'give fewer rows or columns'}", 1)
    except (OSError, UnicodeError) as error:
        status = _said(f"{type(error).__name__}: {error}", 1)
    except Exception as error:
        if os.environ.get("DATASSAY_DEBUG"):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        status = _said(
            f"{UNEXPECTED} {type(error).__name__}: {(str(error).splitlines() or [''])[0]} ({Path(where.filename).name}, line "
            f"{where.lineno}); nothing was written. With DATASSAY_DEBUG=1 in the environment all of it is shown: please report it.",
            1,
        )
    stdout.flush()
    if isinstance(stdout.trouble, OSError):
        if not isinstance(stdout.trouble, BrokenPipeError) and status == 0:
            status = _said(f"not all could be printed ({stdout.trouble.strerror}); the files are written", 1)
        with suppress(OSError, ValueError):  # or Python tries again at its end, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


UNEXPECTED = "an error that datassay did not expect:"


def _said(message: str, status: int) -> int:
    """The sentence on stderr, if that is there; the status."""
    with suppress(OSError, ValueError, AttributeError):
        Console(stderr=True, soft_wrap=True, highlight=False).print("datassay: " + escape(_shown(message)))
    return status


def _fail(message: str, status: int) -> NoReturn:
    sys.exit(_said(message, status))
