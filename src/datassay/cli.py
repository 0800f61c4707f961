"""The command line: parse, call, print. Exit status 0 done, 1 the run failed, 2 the call or the data is wrong."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datassay.checks import DataError, OptionError

if TYPE_CHECKING:
    from datassay.data.dataset import Dataset

app = typer.Typer(
    help="What each training row is worth, and which rows are wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(soft_wrap=True, highlight=False, emoji=False)

FEWEST = 40  # rows with which methods are compared; with fewer it is the CG-score

DataPath = Annotated[
    Path, typer.Argument(help="CSV, Parquet, npz, npy, or a folder of images with a sub-folder for each class.")
]
Label = Annotated[str | None, typer.Option("--label", help="Column of labels; for npy the file of labels.")]
Id = Annotated[str | None, typer.Option("--id", help="Column of ids; default: the row number.")]
Val = Annotated[Path | None, typer.Option("--val", help="File of validation rows, of the same form.")]
Features = Annotated[Path | None, typer.Option("--features", help=".npy or .parquet: value the rows on these numbers.")]
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

    digits = load_digits()
    data, wrong = plant_wrong_labels(Dataset(digits.images, digits.target), 0.1, seed=seed)
    out.print(
        f"{len(data)} handwritten digits (scikit-learn's); {wrong.sum()} labels (10 %) were planted wrong for this demo."
    )
    values = value_rows(data, method="cg-score", seed=seed)
    found = detection(values.scores, wrong)
    first = np.argsort(values.scores, kind="stable")
    out.print(f"Valued by cg-score in {values.stats['seconds']:.1f} s, no model trained. Planted rows among the")
    for k in (50, 100, int(wrong.sum())):
        out.print(f"  first {k:4d} suspects: {wrong[first[:k]].sum():4d}    (by chance: {k * wrong.mean():.0f})")
    out.print(
        f"{values.flagged.sum()} rows are flagged, {(values.flagged & wrong).sum()} of them planted; "
        f"AUC {found['auc']:.4f} (by chance 0.5)."
    )
    folder.mkdir(parents=True, exist_ok=True)
    saved = values.save(folder / "values.parquet")
    page = write_report(values, data, folder / "report.html", top=200)
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
    budget: Budget = None,
    memory: Memory = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Workers; default: a thread for each core.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", help="joblib's: loky, threading, dask or ray.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Address of a running dask or ray cluster.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many suspects to print.")] = 10,
    report: Annotated[Path | None, typer.Option("--report", help="Also write the report to this HTML file.")] = None,
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

    labels = Path(label) if label and data.suffix == ".npy" else None
    _writable([output, report, report and report.with_suffix(".json")], [data, labels, val, features, val_features])
    options = options_of(set_ or [])
    rows = _read(data, label, id, val, features, val_features, drop, missing, task, image_size, encoding)
    out.print(escape(f"{data}: {rows!r}"))
    if len(rows.dropped):
        out.print(f"{len(rows.dropped)} rows with missing cells were left out.")
    audited = None
    if method is None and rows.task == "classification" and len(rows) >= FEWEST and not options:
        from datassay.evaluation.audit import audit as look
        from datassay.units import in_seconds

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
    with ExitStack() as stack:
        try:
            stack.enter_context(workers(backend, jobs, scheduler))
        except ValueError as error:
            raise DataError(f"--backend, --scheduler: {error}") from None
        values = value_rows(rows, method=method or "cg-score", seed=seed, **options)
    if audited is not None:
        values = audited.calibrate(values)
    if doubled := values.stats.get("equal_rows"):
        groups = len(values.stats["conflicting_rows"])
        out.print(
            f"{doubled} rows have an equal row" + (f"; in {groups} groups of them the labels conflict." if groups else ".")
        )
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
    saved = values.save(output)
    out.print(escape(f"{values.stats['seconds']:.1f} s; wrote {saved}."))
    if report is not None:
        _report(values, rows, report, 100)
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
) -> None:
    """Write one HTML page of suspects.

    With what is unusual about them, and the rows that speak against their labels.

    How the data was read is remembered in the values; the options are needed only where it changed.
    """
    from datassay.values import Values

    _writable([output, output.with_suffix(".json")], [values, data, val, features, val_features])
    found = Values.load(values)
    was = found.stats.get("source", {})
    given = {
        "label": label, "id": id, "val": val, "features": features, "val_features": val_features, "drop": drop,
        "missing": missing, "task": task, "image_size": image_size, "encoding": encoding,
    }  # fmt: skip
    asked = {name: was.get(name) if came is None else came for name, came in given.items()}
    asked["missing"], asked["encoding"] = asked["missing"] or "error", asked["encoding"] or "utf-8"
    rows = _read(data, **asked)
    _report(found, rows, output, top)


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

    rows = _read(data, label, id, val, features, val_features, drop, missing, task, image_size, encoding)
    out.print(escape(f"{data}: {rows!r}"))
    found = make(rows, method, budget=budget, memory=memory)
    _table(found.shown(), title="what each would take on this machine")
    if found.method is None:
        _fail("nothing fits: give a larger --budget or --memory, or fewer rows", 1)
    options = "".join(f" --set {name}={chosen}" for name, chosen in found.options.items())
    out.print(escape(f"Next: datassay value {data}{f' --label {label}' if label else ''} -m {found.method}{options}"))


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

    given = _read(data, label, id, val, features, val_features, drop, missing, task, image_size, encoding)
    out.print(escape(f"{data}: {given!r}"))
    found = look(given, method, budget=budget, kind=kind, rate=rate, repeats=repeats, rows=rows, seed=seed)
    _audited(found, len(given))
    told = {
        "--label": label, "--id": id, "--val": val, "--features": features, "--val-features": val_features, "--task": task,
        "--image-size": image_size, "--missing": None if missing == "error" else missing,
        "--encoding": None if encoding == "utf-8" else encoding,
    }  # fmt: skip
    words = ["datassay", "value", str(data)]
    for name, what in told.items():
        words += [name, str(what)] if what is not None else []
    for name in drop or []:
        words += ["--drop", name]
    words += ["-m", found.name]
    for name, chosen in found.options.items():
        words += ["--set", f"{name}={chosen}"]
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
) -> None:
    """Run methods side by side on tasks whose answers are known.

    Writes results.parquet, curves.parquet, agreement.parquet and one page, index.html.
    """
    from datassay.evaluation import TASKS, evaluate
    from datassay.evaluation.bench import bench_file
    from datassay.evaluation.datasets import SETS

    if list_:
        _listed(("task", "what is done", "kinds", "rates", "metric"), [
            (name, t.says, ", ".join(t.kinds + t.other_kinds), ", ".join(f"{r:g}" for r in t.rates), t.main) for name, t in TASKS.items()
        ])  # fmt: skip
        _listed(("data", "what it is", "task", "from", "licence"), [
            (name, one.says, one.task, one.source, one.licence) for name, one in SETS.items()
        ])  # fmt: skip
        return
    asked = {} if study is None else bench_file(study)
    pairs = {
        name if equals else "": file if equals else name for name, equals, file in (one.partition("=") for one in path or [])
    }
    given = {
        "task": task, "methods": method, "kinds": kind, "rates": rate, "seeds": seeds, "train": train, "val": val, "test": test,
        "limit": limit, "paths": pairs or None, "download": download or None, "cache": cache, "fresh": fresh or None, "n_jobs": jobs,
    }  # fmt: skip
    asked |= {name: chosen for name, chosen in given.items() if chosen is not None and chosen != []}
    if data:
        asked["data"] = {
            name: _read(Path(name), label, None, None, None, None, None, "error", None, None, "utf-8")
            if Path(name).suffix and ":" not in name
            else name
            for name in data
        }
    if output.exists() and not output.is_dir():
        raise DataError(f"{str(output)!r} is a file: give the name of a folder.")
    output.mkdir(parents=True, exist_ok=True)
    asked.setdefault("folder", output)
    found = evaluate(**asked)
    found.save(output)
    written = found.page(output / "index.html", title="datassay bench")
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
    reasons: dict[str, list[str]] = {}
    for name, why in found.left_out.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        out.print(escape(f"Not tried: {', '.join(names)}: {why}."))
    line = found.table.iloc[0]
    out.print(escape(f"Take {found.name}: it puts a planted error before another row with probability {line['auc']:.3f}."))
    if found.error_rate is not None:
        half = 196 * (found.error_rate_sd or 0.0)
        out.print(escape(f"About {100 * found.error_rate:.1f} % +- {half:.1f} % of the labels seem to be wrong."))
        for k in sorted({min(k, n) for k in (20, 100, max(1, round(found.error_rate * n)))}):
            out.print(escape(f"{str(found.expected(k, n)).capitalize()}."))
        out.print("That counts on errors that don't seek the doubtful rows; people's do, and then there are more.")


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


def _read(
    path: Path, label: Any, id: Any, val: Any, features: Any, val_features: Any, drop: Any, missing: Any, task: Any,
    image_size: Any, encoding: Any,
) -> Dataset:  # fmt: skip
    from datassay.data.read import read

    return read(
        path, label=label, id=id, val=val, features=features, val_features=val_features, drop=drop or (),
        missing=missing, task=task, image_size=image_size, encoding=encoding,
    )  # fmt: skip


def _writable(outputs: list[Path | None], inputs: list[Path | None]) -> None:
    """Before any work: every output has a folder, and none is a folder, an input or another output."""
    taken = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise DataError(f"the folder {str(path.parent)!r} does not exist: make it first.")
        if path.is_dir():
            raise DataError(f"{str(path)!r} is a folder: give the name of a file to write.")
        if not os.access(path.parent, os.W_OK):
            raise DataError(f"the folder {str(path.parent)!r} can't be written to: give another.")
        if path.resolve() in taken:
            raise DataError(
                f"writing {str(path)!r} would overwrite a file that this call reads or writes: give another name."
            )
        taken.add(path.resolve())


def _report(values: Any, rows: Dataset, path: Path, top: int) -> None:
    from datassay.reporting import report as write

    page = write(values, rows, path, top=top)
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
) -> None:
    """Look at a few rows, and know how many labels are wrong.

    Draws rows and writes them to a CSV file with an empty column wrong. With --answers that file comes back: prints
    between which numbers of labels are wrong, wherever one stopped, and writes the values with what was found.
    """
    from datassay.evaluation.checking import checked, in_words, read_answers, write_sheet
    from datassay.values import Values

    written = output or Path("sample.csv" if answers is None else "checked.parquet")
    _writable([written], [values, answers])
    found = Values.load(values)
    if answers is None:
        write_sheet(found, number, written, seed)
        out.print(escape(f"Wrote {number} of {len(found)} rows to {written}: fill in the column wrong with yes or no."))
        out.print(escape(f"Next: datassay check {values} --answers {written}"))
        return
    found = checked(found, read_answers(answers))
    for line in in_words(found):
        out.print(escape(line))
    out.print(escape(f"Wrote {found.save(written)}."))


def main() -> None:
    """Entry point: errors become one sentence and a status."""
    try:
        app()
    except (DataError, OptionError) as error:
        _fail(str(error), 2)
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except (OSError, MemoryError) as error:
        _fail(f"{type(error).__name__}: {error}", 1)


def _fail(message: str, status: int) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print("datassay: " + escape(message))
    sys.exit(status)
