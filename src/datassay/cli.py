"""The command line: parse, call, print. Exit status 0 done, 1 the run failed, 2 the call or the data is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datassay.checks import DataError
from datassay.checks import jobs as check_jobs
from datassay.terminal.curating import curate
from datassay.terminal.exits import kept_of_method, resuming_hint, run, when_stopped
from datassay.terminal.output import fail, out, print_next, print_table, print_text_table, print_written, safe
from datassay.terminal.paths import check_all_paths, features_file, free_path, json_beside, label_files, path_of_stopped
from datassay.terminal.reviewing import review

if TYPE_CHECKING:
    from datassay.data.dataset import Dataset
    from datassay.values import Values

app = typer.Typer(
    help="What each training row is worth, and which rows are wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
        help="What to value the rows on: pixels, patches (of images), tfidf or auto; or .npy or .parquet with numbers.",
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
Text = Annotated[
    list[str] | None,
    typer.Option("--text", help="Column of free text, whatever is in it; may be repeated. Others are found."),
]
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
        check_all_paths([], [saved, page, page.with_suffix(".json")], force)
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
    auc = detection(values.scores, wrong)["auc"]
    order = np.argsort(values.scores, kind="stable")
    out.print(f"Valued by cg-score in {values.stats['seconds']:.1f} s, no model trained. Planted rows among the")
    for k in (50, 100, int(wrong.sum())):
        out.print(f"  first {k:4d} suspects: {wrong[order[:k]].sum():4d}    (by chance: {k * wrong.mean():.0f})")
    out.print(
        f"{values.flagged.sum()} rows are flagged, {(values.flagged & wrong).sum()} of them planted; "
        f"AUC {auc:.4f} (by chance 0.5)."
    )
    said = values.headline()
    out.print(safe(f"Not told of them, it says: {said[0].upper()}{said[1:]}."))
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
    text: Text = None,
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
    check_all_paths(
        [data, *label_files(data, label, id), val, features_file(features), val_features, probabilities],
        [output, report, json_beside(report)],
        force,
        options,
    )
    with when_stopped(lambda: kept_of_method(method or "cg-score", options)) as written:
        rows = _read(
            data, label, id, val, features, val_features, drop, missing, task, image_size, encoding, text,
            choose=_on_any_features(method),
        )  # fmt: skip
        out.print(safe(f"{data}: {rows!r}"))
        if len(rows.dropped):
            out.print(f"{len(rows.dropped)} rows with missing cells were left out.")
        audited = None
        if method is None and rows.task == "classification" and len(rows) >= FEWEST and not options:
            from datassay.evaluation.audit import audit as run_audit
            from datassay.units import in_seconds

            audited = run_audit(rows, budget=in_seconds(budget or "40 s", "budget") / 2, seed=seed)
            _print_audit(audited, len(rows))
            method = audited.name
        if budget is not None or memory is not None or (audited is not None and len(rows) > audited.rows):
            from datassay.planning import plan as make_plan

            planned = make_plan(rows, method, budget=budget, memory=memory)
            if planned.method is None:
                print_table(planned.shown(), title="what each would take on this machine")
                fail("nothing fits: give a larger --budget or --memory, or fewer rows", 1)
            method, options = planned.method, planned.options | options
            out.print(safe(f"Planned: {method} {planned.options}"))
        name = method or "cg-score"
        with ExitStack() as stack:
            try:
                stack.enter_context(workers(backend, jobs, scheduler))
            except ValueError as error:
                raise DataError(f"--backend, --scheduler: {error}") from None
            values = value_rows(rows, method=name, seed=seed, **options)
        if audited is not None:
            values = audited.calibrate(values)
        if values.stats.get("stopped") == INTERRUPTED and not force:
            output, report = path_of_stopped(output), report and path_of_stopped(report)
        saved = values.save(output, force=force)
        written.append(saved)
        if report is not None:
            write_report(values, rows, report, top=100, force=force)
            written.append(report)
        _print_values(values, rows, options, top, saved)
        if report is not None:
            print_written(report)
        else:
            print_next("report", saved, "--data", data, "-o", free_path("report.html"))
    if values.stats.get("stopped") == INTERRUPTED:
        raise typer.Exit(130)


def _print_values(values: Values, rows: Dataset, options: Mapping[str, Any], top: int, saved: Path) -> None:
    """What was found, in sentences and a table."""
    from datassay.subsets.study import INTERRUPTED

    if (stopped := values.stats.get("stopped")) in (INTERRUPTED, "the time was up"):
        n_models = values.options.get("n_models")
        done = f"{values.stats['trainings']:,}" + (f" of {n_models:,}" if isinstance(n_models, int) else "") + " trainings"
        store = options.get("store") is not None
        resuming = f"; {kept_of_method(values.method, options)}" if store else resuming_hint(values.method)
        out.print(safe(f"This run stopped early, {done}: {stopped}{resuming}."))
    if doubled := values.stats.get("equal_rows"):
        groups = len(values.stats["conflicting_rows"])
        out.print(
            f"{doubled} rows have an equal row"
            + ("" if values.stats.get("bias") else ", or one that is a multiple of it")
            + (f"; in {groups} groups of them the labels conflict." if groups else ".")
        )
    if headline := values.headline("label" if rows.task == "classification" else "target"):
        out.print(safe(f"{headline[0].upper()}{headline[1:]}."))
    share = values.flagged.mean()
    out.print(safe(f"{values.flagged.sum()} of {len(values)} rows ({share:.1%}) are flagged: {values.stats['flag_rule']}."))
    if "way" in values.stats:
        out.print(safe(f"How: {values.stats['way']}."))
    if "warning" in values.stats:
        out.print(safe(f"Warning: {values.stats['warning']}."))
    if top:
        print_table(values.suspects(top).iloc[:, :6], title="most suspicious rows")
    out.print(safe(f"{values.stats['seconds']:.1f} s; wrote {saved}."))


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
    text: Text = None,
    force: Force = False,
) -> None:
    """Write one HTML page of suspects.

    With what is unusual about them, and the rows that speak against their labels.

    How the data was read is remembered in the values; the options are needed only where it changed.
    """
    from datassay.reporting import report as write_report
    from datassay.values import Values

    check_all_paths([values, data, val, features_file(features), val_features], [output, json_beside(output)], force)
    saved = Values.load(values)
    source = saved.stats.get("source", {})
    arguments = {
        "label": label, "id": id, "val": val, "features": features, "val_features": val_features, "drop": drop,
        "missing": missing, "task": task, "image_size": image_size, "encoding": encoding, "text": text,
    }  # fmt: skip
    reading: dict[str, Any] = {
        name: source.get(name) if argument is None else argument for name, argument in arguments.items()
    }
    reading["missing"], reading["encoding"] = reading["missing"] or "error", reading["encoding"] or "utf-8"
    reads = [values, data, *label_files(data, reading["label"], reading["id"])]
    files = (reading["val"], features_file(reading["features"]), reading["val_features"])
    reads += [Path(str(file)) for file in files if file is not None]
    check_all_paths(reads, [output, json_beside(output)], force)
    rows = _read(data, **reading)
    print_written(write_report(saved, rows, output, top=top, force=force))


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
    text: Text = None,
) -> None:
    """Predict time, memory and disk; nothing is valued.

    For every method, from a probe of a few seconds; with a budget, which to take.
    """
    from datassay.planning import plan as make_plan

    rows = _read(
        data, label, id, val, features, val_features, drop, missing, task, image_size, encoding, text,
        choose=_on_any_features(method),
    )  # fmt: skip
    out.print(safe(f"{data}: {rows!r}"))
    planned = make_plan(rows, method, budget=budget, memory=memory)
    print_table(planned.shown(), title="what each would take on this machine")
    if planned.method is None:
        fail("nothing fits: give a larger --budget or --memory, or fewer rows", 1)
    arguments = _reading_arguments(label, id, val, features, val_features, drop, missing, task, image_size, encoding, text)
    print_next(
        "value", data, *arguments, *_method_arguments(planned.method, planned.options), "-o", free_path("values.parquet")
    )


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
    text: Text = None,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
) -> None:
    """Find out which method to trust on these data.

    Plants known errors in copies of them, and says how many of the first suspects to expect to be wrong.
    """
    from datassay.evaluation.audit import audit as run_audit
    from datassay.methods.spec import method_of

    for _, _, options in map(method_of, method or []):
        check_all_paths(
            [data, *label_files(data, label, id), val, features_file(features), val_features], [], options=options
        )
    dataset = _read(
        data, label, id, val, features, val_features, drop, missing, task, image_size, encoding, text, choose=True
    )
    out.print(safe(f"{data}: {dataset!r}"))
    with when_stopped(lambda: "an audit keeps nothing: a smaller --budget ends sooner"):
        audited = run_audit(dataset, method, budget=budget, kind=kind, rate=rate, repeats=repeats, rows=rows, seed=seed)
    _print_audit(audited, len(dataset))
    arguments = _reading_arguments(label, id, val, features, val_features, drop, missing, task, image_size, encoding, text)
    chosen = _method_arguments(audited.name, audited.options) + (["--seed", str(seed)] if seed else [])
    print_next("value", data, *arguments, *chosen, "-o", free_path("values.parquet"))


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
        print_text_table(("task", "what is done", "kinds", "rates", "metric"), [
            (name, t.says, ", ".join(t.kinds + t.other_kinds), ", ".join(f"{r:g}" for r in t.rates), t.main) for name, t in TASKS.items()
        ])  # fmt: skip
        print_text_table(("data", "what it is", "task", "from", "licence"), [
            (name, one.says, one.task, one.source, one.licence) for name, one in SETS.items()
        ])  # fmt: skip
        return
    tables = [output / f"{name}.parquet" for name in TABLES]
    study_options = {} if study is None else bench_file(study)
    pairs = {
        name if equals else "": file if equals else name for name, equals, file in (one.partition("=") for one in path or [])
    }
    arguments = {
        "task": task, "methods": method, "kinds": kind, "rates": rate, "seeds": seeds, "train": train, "val": val, "test": test,
        "limit": limit, "paths": pairs or None, "download": download or None, "cache": cache, "fresh": fresh or None, "n_jobs": jobs,
    }  # fmt: skip
    study_options |= {name: chosen for name, chosen in arguments.items() if chosen is not None and chosen != []}
    if os.path.lexists(output) and not output.is_dir():
        raise DataError(f"{str(output)!r} is a file: give the name of a folder.")
    if output.is_dir():
        files = (
            [Path(str(file)) for file in study_options["paths"].values()]
            if isinstance(study_options.get("paths"), dict)
            else []
        )
        check_all_paths([study, *map(Path, data or []), *files], [*tables, output / "index.html"], force)
    cells = str(output / "cells")
    with when_stopped(lambda: f"the cells that were done are kept in {cells!r}: the same call goes on there") as written:
        if data:
            study_options["data"] = {
                name: _read(Path(name), label, None, None, None, None, None, "error", None, None, "utf-8", None)
                if Path(name).suffix and ":" not in name
                else name
                for name in data
            }
        study_options.setdefault("folder", output)
        evaluation = evaluate(**study_options)
        evaluation.save(output, force=force)
        written += tables
        try:
            page = evaluation.page(output / "index.html", title="datassay bench", force=force)
            written.append(page)
        except DataError as error:
            fail(f"the tables are in {str(output)!r}, and there is no page: {error}", 1)
        for name in dict.fromkeys(evaluation.results["task"]):
            print_table(_summary(evaluation, name), title=f"{name}: {TASKS[name].main}, mean over seeds, kinds and rates")
        if len(failed := evaluation.failures()):
            out.print(
                safe(
                    f"{len(failed)} of the cells failed; the first: {failed['method'][0]} on {failed['data'][0]}: {failed['error'][0]}"
                )
            )
        out.print(safe(f"Wrote {output / 'results.parquet'} and {page}. Open {page.resolve().as_uri()} in a browser."))


def _summary(evaluation: Any, task: str) -> Any:
    """The main metric, a line a method."""
    try:
        return evaluation.table(task=task).reset_index().round(4)
    except DataError:
        return evaluation.failures()[["method", "data", "error"]].head(10)


def _print_audit(audited: Any, n: int) -> None:
    """What an audit says, in a table and two sentences."""
    copies = "a copy" if audited.repeats == 1 else f"{audited.repeats} copies"
    table = audited.table.drop(columns="error") if (audited.table["error"] == "").all() else audited.table
    print_table(
        table.round(4), title=f"errors planted in {copies} of {audited.rows} rows: {audited.kind}, {audited.rate:.0%}"
    )
    if audited.early:
        out.print(
            safe(f"{audited.name} finds them well, and others are seldom better by much: none was tried (-m all tries all).")
        )
    reasons: dict[str, list[str]] = {}
    for name, reason in audited.left_out.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        out.print(safe(f"Not tried: {', '.join(names)}: {reason}."))
    best = audited.table.iloc[0]
    out.print(safe(f"Take {audited.name}: it puts a planted error before another row with probability {best['auc']:.3f}."))
    if audited.error_rate is not None:
        share = audited.share_in_words()
        out.print(safe(f"{share[0].upper()}{share[1:]}."))
        for k in sorted({min(k, n) for k in (20, 100, max(1, round(audited.error_rate * n)))}):
            out.print(safe(f"{str(audited.expected(k, n)).capitalize()}."))


@app.command()
def methods() -> None:
    """Print the table of methods.

    What a low score says, what the method needs, its cost, the paper's sign, the paper.
    """
    from datassay.methods import METHODS

    print_text_table(
        ("method", "a low score says", "needs", "cost", "the paper's sign", "paper"),
        [(name, m.says, m.needs, m.cost, m.sign, m.paper) for name, m in METHODS.items()],
    )
    out.print("Scores are always turned so that higher = more worth keeping; the columns keep the paper's sign.")


def _read(
    path: Path, label: Any, id: Any, val: Any, features: Any, val_features: Any, drop: Any, missing: Any, task: Any,
    image_size: Any, encoding: Any, text: Any = None, *, choose: bool = False,
) -> Dataset:  # fmt: skip
    """The rows; with ``choose``, and without --features, images on patches where their labels are likelier so."""
    from datassay.data.dataset import is_images
    from datassay.data.read import read

    data = read(
        path, label=label, id=id, val=val, features=features, val_features=val_features, drop=drop or (),
        missing=missing, task=task, image_size=image_size, encoding=encoding, text=text or (),
    )  # fmt: skip
    if choose and features is None and is_images(data.shown):
        source = data.source
        data = data.with_features("auto")
        data.source = source | {"features": next(iter(data.features["features"]))}
    for note in data.notes:
        out.print(safe(f"Note: {note}."))
    return data


def _on_any_features(method: str | None) -> bool:
    """Whether it is no method that trains a network, which makes its own features of pixels."""
    from datassay.methods import METHODS

    return method is None or method not in METHODS or METHODS[method].model != "network"


def _reading_arguments(
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
    text: Any,
) -> list[Any]:
    """How the rows are read, as arguments of a command; defaults are left out."""
    arguments = {
        "--label": label, "--id": id, "--val": val, "--features": features, "--val-features": val_features, "--task": task,
        "--image-size": size, "--missing": None if missing == "error" else missing,
        "--encoding": None if encoding == "utf-8" else encoding,
    }  # fmt: skip
    words = [word for name, value in arguments.items() if value is not None for word in (name, value)]
    words += [word for name in drop or [] for word in ("--drop", name)]
    return words + [word for name in text or [] for word in ("--text", name)]


def _method_arguments(method: str, options: Mapping[str, Any]) -> list[str]:
    """A method and its options, as arguments of a command."""
    return ["-m", method, *(word for name, value in options.items() for word in ("--set", f"{name}={value}"))]


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
    check_all_paths([values, answers], [] if answers is None else [written], force)  # a sheet takes the place of nothing
    loaded = Values.load(values)
    if answers is None:
        write_sheet(loaded, number, written, seed)
        out.print(safe(f"Wrote {number} of {len(loaded)} rows to {written}: fill in the column wrong with yes or no."))
        print_next("check", values, "--answers", written, "-o", free_path("checked.parquet"))
        return
    result = checked(loaded, read_answers(answers))
    for line in in_words(result):
        out.print(safe(line))
    out.print(safe(f"Wrote {result.save(written, force=force)}."))


@app.command()
def apply(
    decisions: Annotated[Path, typer.Argument(help="decisions.csv, or with a rule the values that `datassay value` wrote.")],
    data: Annotated[Path, typer.Option("--data", help="The file that was valued.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, of the same form.")],
    drop_top: Annotated[str | None, typer.Option("--drop-top", help="Drop this share of the rows, such as 2%.")] = None,
    relabel: Annotated[
        str | None, typer.Option("--relabel", help="above=.95: take the suggestion where the label is so probably wrong.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    label: Label = None,
    id: Id = None,
    drop: Drop = None,
    missing: Missing = "error",
    task: Task = None,
    image_size: ImageSize = None,
    encoding: Encoding = "utf-8",
    text: Text = None,
    force: Force = False,
) -> None:
    """Do to a file what was decided about its rows.

    The file is written anew in its own form: labels replaced, rows dropped, all else as it was, CSV byte for byte. Of values
    a rule decides, --drop-top or --relabel, without anybody having looked.
    """
    from datassay.decisions.files import write_applied
    from datassay.decisions.records import by_rule, read_decisions, settled
    from datassay.values import Values

    check_all_paths([decisions, data], [output], force)
    rule = drop_top is not None or relabel is not None
    if rule:
        values = Values.load(decisions)
        source = values.stats.get("source", {})
        label, id = label or source.get("label"), id or source.get("id")
        lines = by_rule(values, drop_top=_share(drop_top), relabel_above=_above(relabel))
    else:
        lines = read_decisions(decisions)
    rows = _read(data, label, id, None, None, None, drop, missing, task, image_size, encoding, text)
    if rule and values.data_hash and values.data_hash != rows.hash:  # valued on other features, or beside validation rows
        lines["data"] = ""
    decided = settled(lines, rows)
    counts = decided.counts()
    out.print(
        safe(
            f"Of {len(rows):,} rows {counts['relabel']:,} get another label and {counts['drop']:,} are dropped; {counts['keep']:,} are "
            f"kept as they are, {counts['unsure'] - counts['disputed']:,} are undecided, and about {counts['disputed']:,} people disagree."
        )
    )
    if relabel is not None and counts["relabel"]:
        p = values.columns["probability_wrong"][decided.action == "relabel"]
        out.print(
            safe(
                f"Nobody looked at these rows: about {float((1 - p).sum()):.0f} of the {counts['relabel']:,} labels were right, and become "
                "wrong; of those that were wrong the suggestion may be wrong, too. Look at some first: datassay check."
            )
        )
    if dry_run:
        out.print("Nothing was written (--dry-run).")
        return
    written = write_applied(data, rows, decided, output, label=label, encoding=encoding, force=force)
    out.print(safe(f"Wrote {written}."))


@app.command()
def gain(
    before: Annotated[Path, typer.Option("--before", help="The file as it was.")],
    after: Annotated[Path, typer.Option("--after", help="The file with the decisions done.")],
    label: Label = None,
    id: Annotated[str | None, typer.Option("--id", help="Column of ids; needed where rows were dropped.")] = None,
    val: Val = None,
    drop: Drop = None,
    missing: Missing = "error",
    task: Task = None,
    image_size: ImageSize = None,
    encoding: Encoding = "utf-8",
    text: Text = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Where there are no validation rows.")] = 5,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Partitions into folds.")] = 3,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
) -> None:
    """Measure whether a model is better for what was done to the rows, with an interval.

    The same model is trained on both files and asked about the same rows that it has not seen: validation rows, or rows that
    nothing was done to.
    """
    from datassay.decisions.gain import gain as measure

    first, second = (
        _read(path, label, id, val, None, None, drop, missing, task, image_size, encoding, text) for path in (before, after)
    )
    if id is None and len(first) != len(second):
        raise DataError(
            f"{before} has {len(first)} rows and {after} has {len(second)}: pass --id, by which rows are found again."
        )
    found = measure(first, second, folds=folds, repeats=repeats, seed=seed)
    out.print(safe(f"{found.relabelled:,} rows have another label, {found.dropped:,} are gone."))
    out.print(safe(f"{found}"))


@app.command()
def export(
    values: Annotated[Path, typer.Argument(help="What `datassay value` wrote.")],
    data: Annotated[Path, typer.Option("--data", help="The file that was valued.")],
    to: Annotated[str, typer.Option("--to", help="label-studio, argilla, fiftyone, cleanlab, huggingface or csv.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="So many of the most suspicious rows; default: all.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Before the paths of images: where the tool finds them.")] = "",
    force: Force = False,
) -> None:
    """Write the suspects for a tool in which people label.

    The file is read as it was when it was valued.
    """
    from datassay.decisions.exchange import export as write
    from datassay.values import Values

    check_all_paths([values, data], [output], force)
    loaded = Values.load(values)
    rows = _as_valued(loaded, data)
    for path in write(loaded, rows, to, output, top=top, prefix=prefix, force=force):
        out.print(safe(f"Wrote {path}."))


@app.command("import")
def import_answers(
    answers: Annotated[Path, typer.Argument(help="What Label Studio, Argilla or a spreadsheet exported: JSON or CSV.")],
    data: Annotated[Path, typer.Option("--data", help="The file that was valued.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of decisions to write.")] = Path("decisions.csv"),
    label: Label = None,
    id: Id = None,
    drop: Drop = None,
    missing: Missing = "error",
    task: Task = None,
    image_size: ImageSize = None,
    encoding: Encoding = "utf-8",
    text: Text = None,
    force: Force = False,
) -> None:
    """Make decisions of what people answered in another tool."""
    from datassay.decisions.exchange import read_answers
    from datassay.files import replacing

    check_all_paths([answers, data], [output], force)
    rows = _read(data, label, id, None, None, None, drop, missing, task, image_size, encoding, text)
    lines = read_answers(answers, rows)
    with replacing(output) as beside:
        lines.to_csv(beside, index=False)
    counts = lines["action"].value_counts()
    said = ", ".join(f"{count:,} {action}" for action, count in counts.items()) or "none"
    out.print(safe(f"Wrote {len(lines):,} decisions ({said}) to {output}."))


app.command()(review)
app.command()(curate)


def _as_valued(values: Any, data: Path) -> Dataset:
    """The rows, read as they were when they were valued."""
    from datassay.data.read import read

    source = {name: value for name, value in values.stats.get("source", {}).items() if name != "path"}
    return read(data, **source)


def _share(text: str | None) -> float | None:
    """2% or .02."""
    if text is None:
        return None
    try:
        return float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        raise DataError(f"--drop-top must be a share such as 2% or .02, got {text!r}.") from None


def _above(text: str | None) -> float | None:
    """above=.95."""
    if text is None:
        return None
    try:
        return float(text.removeprefix("above="))
    except ValueError:
        raise DataError(f"--relabel must be above= and a probability, such as above=.95, got {text!r}.") from None


def main() -> None:
    """Entry point: errors become one sentence and a status."""
    sys.exit(run(app))
